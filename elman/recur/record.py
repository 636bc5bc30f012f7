"""Record one step of any recurrence as a list of native operations (csrc/program.h).

A step of a cell consists of some ten to fifty operations of torch on arrays of a few hundred
numbers, and each takes longer to call than to compute.  Here a step runs once while every operation
and its tensors are noted.  Afterwards, one native call repeats them in the memory of these tensors.
Operations that depend on weights only are not repeated, so a step has to be recorded again when a
weight changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    _get_current_dispatch_mode,
)
from torch.utils._pytree import tree_leaves

from elman import kernels
from elman.kernels.matrix_scan import matrix_step

MOST = 4  # dimensions of an operation


class CannotRecordError(Exception):
    """A step contains an operation that has no native counterpart."""


class Recorder(TorchDispatchMode):
    """A context that notes the operations that depend on some tensors.

    Args:
        inputs: the tensors that change from step to step.  The program reads them, and the results
            of the recorded operations stay where they are after each run of `program`.

    Raises:
        CannotRecordError: an operation has no native counterpart; it is raised where it is called.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        assert kernels.native is not None
        self.program = kernels.native.Program()
        self._changing = {memory_of(x) for x in inputs}
        self._alive: list[Any] = []  # no memory may be used twice
        self.masks: dict[int, Tensor] = {}  # for the memory of truth values, 1 where they are true

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and note it."""
        if function._schema.is_mutable or torch.Tag.nondeterministic_seeded in function.tags:
            raise CannotRecordError(str(function))
        found = function(*args, **(kwargs or {}))
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        results = [x for x in tree_leaves(found) if isinstance(x, Tensor)]
        self._alive.append((inputs, results))
        if not any(memory_of(x) in self._changing for x in inputs):
            return found
        places = {memory_of(x) for x in inputs}
        if not results or not all(memory_of(x) in places for x in results):  # not a view
            try:
                OPERATIONS[str(function)](self, results, *args, **(kwargs or {}))
            except (KeyError, TypeError) as error:  # an unknown operation or argument
                raise CannotRecordError(str(function)) from error
            self._changing.update(map(memory_of, results))
        return found

    def copy(self, to: Tensor, source: Tensor) -> None:
        """Note that `to` becomes a copy of `source`, which has the same shape."""
        self.elementwise("copy", to, source)

    def elementwise(self, name: str, out: Tensor, *operands: Tensor | float) -> None:
        """Note an operation on each number, with operands that can be broadcast."""
        whole = [out, *(self._number(x, out).expand(out.shape) for x in operands)]
        self._add(name, *_four_dimensions(whole))

    def reduce(self, name: str, out: Tensor, x: Tensor, dim: int) -> None:
        """Note an operation that reduces one dimension of x."""
        kept = out if out.dim() == x.dim() else out.unsqueeze(dim)
        kept, x = kept.movedim(dim, -1), x.movedim(dim, -1)
        both = _four_dimensions([kept[..., 0], x[..., 0]], dimensions=MOST - 1)
        views = [
            _view(one, (*one.shape, whole.shape[-1]), (*one.stride(), whole.stride(-1)))
            for one, whole in zip(both, (kept, x), strict=True)
        ]
        self._add(name, *views)

    def matmul(self, out: Tensor, a: Tensor, b: Tensor, bias: Tensor | None = None) -> None:
        """Note a product of matrices, out (..., M, N) = a (..., M, K) @ b (..., K, N) + bias."""
        out, a, b = (x.unsqueeze(0) if x.dim() == 2 else x for x in (out, a, b))
        shape = (*out.shape, a.shape[2])
        a = a.unsqueeze(2).expand(shape)
        b = b.transpose(1, 2).unsqueeze(1).expand(shape)
        if bias is not None:
            bias = bias.expand(out.shape).unsqueeze(3)
        self._add("matmul", out.unsqueeze(3), a, b, bias)

    def layer_norm(self, out: Tensor, x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> None:
        """Note layer normalisation over the last dimension."""
        if not x.is_contiguous():
            raise CannotRecordError("layer norm of an array that is not contiguous")
        rows = (t.view(1, 1, -1, t.shape[-1]) for t in (out, x, gain, bias))
        self._add("layer_norm", *rows, self._number(eps, x).view(1, 1, 1, 1))

    def matrix_step(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        decay: Tensor | None,
        beta: Tensor | None,
        state: Tensor,
        *,
        delta: bool,
    ) -> tuple[Tensor, Tensor]:
        """Run and note one step of a matrix recurrence, as a single operation.

        Args:
            q: (B, N, K).
            k: (B, N, K).
            v: (B, N, V).
            decay: (B, N) or (B, N, K); None for 1.
            beta: (B, N); None for 1.
            state: S before the step, (B, N, K, V).
            delta: whether the step reads what it overwrites.

        Returns:
            y (B, N, V) and the new S.
        """
        with _disable_current_modes():
            y, end = v.new_empty(v.shape), state.new_empty(state.shape)
            given = (None if x is None else self._dense(x) for x in (q, k, v, decay, beta, state))
            call, alive = matrix_step(y, end, delta, *given)
            call.forward()
        self.program.add_scan(call)
        self._alive.append(alive)
        self._changing.update((memory_of(y), memory_of(end)))
        return y, end

    def _dense(self, x: Tensor) -> Tensor:
        """Return x with the numbers of a row side by side in memory, as a copy if necessary."""
        rows = x.flatten(1)
        adjacent = rows.stride(1) == 1 and (rows.stride(0) or len(rows) == 1)
        if rows.data_ptr() == x.data_ptr() and adjacent:
            return x
        copied = x.clone(memory_format=torch.contiguous_format)
        self.copy(copied, x)
        return copied

    def _number(self, x: Tensor | float, like: Tensor) -> Tensor:
        return x if isinstance(x, Tensor) else like.new_tensor(float(x))

    def _add(self, name: str, *operands: Tensor | None) -> None:
        if any(x is not None and x.dtype != torch.float32 for x in operands):
            raise CannotRecordError(f"{name} of another type than float32")
        self._alive.append(operands)
        self.program.add(name, *operands)


def active_recorder() -> Recorder | None:
    """Return the recorder that notes the operations which run now, or None."""
    if torch.compiler.is_compiling() or not torch._C._len_torch_dispatch_stack():
        return None
    mode = _get_current_dispatch_mode()
    return mode if isinstance(mode, Recorder) else None


def memory_of(x: Tensor) -> int:
    """Return the address of the memory of a tensor, which all its views share."""
    return x.untyped_storage().data_ptr()


def _view(x: Tensor, size: Sequence[int], stride: Sequence[int]) -> Tensor:
    return x.as_strided(size, stride, x.storage_offset())


def _four_dimensions(tensors: Sequence[Tensor], dimensions: int = MOST) -> list[Tensor]:
    """Return tensors of one shape with this number of dimensions, in the same order of numbers.

    Adjacent dimensions become one wherever the strides of all tensors allow it.

    Raises:
        CannotRecordError: more dimensions are needed.
    """
    merged: list[tuple[int, ...]] = []  # size and strides
    dims = zip(tensors[0].shape, *(x.stride() for x in tensors), strict=True)
    for size, *strides in sorted((d for d in dims if d[0] != 1), key=lambda d: -d[1]):
        if merged and all(a == b * size for a, b in zip(merged[-1][1:], strides, strict=True)):
            merged[-1] = (merged[-1][0] * size, *strides)
        else:
            merged.append((size, *strides))
    if len(merged) > dimensions:
        raise CannotRecordError(f"an operation on {len(merged)} dimensions")
    missing = [(1,) + (0,) * len(tensors)] * (dimensions - len(merged))
    sizes, *every = zip(*missing, *merged, strict=True)
    return [_view(x, sizes, strides) for x, strides in zip(tensors, every, strict=True)]


Note = Callable[..., None]  # of the recorder, the results, and the arguments of the operation


def _each(name: str, operands: int = 1) -> Note:
    """Return how an operation on each number is noted, given the number of its operands."""

    def note(to: Recorder, results: list[Tensor], *given: Tensor | float) -> None:
        if len(given) != operands:
            raise CannotRecordError(f"{name} of {len(given)} arguments")
        to.elementwise(name, results[0], *given)

    return note


def _subtracted(to: Recorder, results: list[Tensor], x: Tensor, number: float) -> None:
    to.elementwise("sub", results[0], number, x)


def _clamp(
    to: Recorder,
    results: list[Tensor],
    x: Tensor,
    low: float | None = None,
    high: float | None = None,
) -> None:
    for name, bound in (("maximum", low), ("minimum", high)):
        if bound is not None:
            to.elementwise(name, results[0], x, bound)
            x = results[0]


def _power(to: Recorder, results: list[Tensor], x: Tensor, exponent: float) -> None:
    if exponent != 2:
        raise CannotRecordError(f"the power {exponent}")
    to.elementwise("mul", results[0], x, x)


def _reduce(name: str) -> Note:
    def note(
        to: Recorder, results: list[Tensor], x: Tensor, dim: Sequence[int], *_: object
    ) -> None:
        if dim is None or len(dim) != 1:
            raise CannotRecordError(f"{name} over {dim}")
        to.reduce(name, results[0], x, dim[0] % x.dim())

    return note


def _norm(
    to: Recorder,
    results: list[Tensor],
    x: Tensor,
    order: float = 2,
    dim: Sequence[int] | None = None,
    *_: object,
) -> None:
    if order != 2:
        raise CannotRecordError(f"the norm of order {order}")
    _reduce("norm")(to, results, x, dim)


def _product(to: Recorder, results: list[Tensor], a: Tensor, b: Tensor) -> None:
    to.matmul(results[0], a, b)


def _product_plus(to: Recorder, results: list[Tensor], bias: Tensor, a: Tensor, b: Tensor) -> None:
    to.matmul(results[0], a, b, bias)


def _copy(to: Recorder, results: list[Tensor], x: Tensor, **_: object) -> None:
    to.copy(results[0], x)


def _equal(to: Recorder, results: list[Tensor], x: Tensor, value: float) -> None:
    mask = torch.empty_like(results[0], dtype=torch.float32)
    to.masks[memory_of(results[0])] = mask
    to.elementwise("equal", mask, x, value)


def _where(
    to: Recorder, results: list[Tensor], where: Tensor, a: Tensor | float, b: Tensor | float
) -> None:
    if memory_of(where) not in to.masks or where.shape != to.masks[memory_of(where)].shape:
        raise CannotRecordError("a mask that is not the result of a comparison")
    to.elementwise("select", results[0], to.masks[memory_of(where)], a, b)


def _cat(to: Recorder, results: list[Tensor], parts: Sequence[Tensor], dim: int = 0) -> None:
    places = results[0].split([x.shape[dim] for x in parts], dim)
    for place, x in zip(places, parts, strict=True):
        to.copy(place, x)


def _stack(to: Recorder, results: list[Tensor], parts: Sequence[Tensor], dim: int = 0) -> None:
    for place, x in zip(results[0].unbind(dim), parts, strict=True):
        to.copy(place, x)


def _pad(to: Recorder, results: list[Tensor], x: Tensor, pad: Sequence[int], *_: object) -> None:
    inner = results[0]
    # The border keeps the value that it has.
    for n, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dim = x.dim() - 1 - n
        inner = inner.narrow(dim, before, inner.shape[dim] - before - after)
    to.copy(inner, x)


def _layer_norm(
    to: Recorder,
    results: list[Tensor],
    x: Tensor,
    shape: Sequence[int],
    gain: Tensor,
    bias: Tensor,
    eps: float,
) -> None:
    if gain is None or bias is None or len(shape) != 1:
        raise CannotRecordError("this form of layer norm")
    to.layer_norm(results[0], x, gain, bias, eps)


OPERATIONS: dict[str, Note] = {
    **{
        f"aten.{name}.default": _each(name)
        for name in ("neg", "abs", "sqrt", "rsqrt", "exp", "expm1", "sigmoid", "tanh", "silu")
    },
    **{f"aten.{name}.Tensor": _each(name, 2) for name in ("add", "sub", "mul", "div")},
    "aten.rsub.Scalar": _subtracted,
    "aten.gelu.default": _each("gelu"),
    "aten.softplus.default": _each("softplus"),
    "aten.log_sigmoid_forward.default": _each("log_sigmoid"),
    "aten.maximum.default": _each("maximum", 2),
    "aten.minimum.default": _each("minimum", 2),
    "aten.relu.default": lambda to, results, x: _clamp(to, results, x, 0),
    "aten.clamp.default": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.pow.Tensor_Scalar": _power,
    "aten.eq.Scalar": _equal,
    "aten.where.ScalarSelf": _where,
    "aten.where.self": _where,
    "aten.sum.dim_IntList": _reduce("sum"),
    "aten.mean.dim": _reduce("mean"),
    "aten.linalg_vector_norm.default": _norm,
    "aten.mm.default": _product,
    "aten.bmm.default": _product,
    "aten.addmm.default": _product_plus,
    "aten.clone.default": _copy,
    "aten.cat.default": _cat,
    "aten.stack.default": _stack,
    "aten.constant_pad_nd.default": _pad,
    "aten.native_layer_norm.default": _layer_norm,
}
