"""Products over all steps at once: the contribution of the inputs to the gates, and gradients.

They run in our own kernel (csrc/whole_product.h), which takes operands in any memory layout, or in
torch where that is as fast: for few rows of a large matrix.

Shape legend: N rows of all steps, T steps, B rows of a step, K and M features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.kernels import native
from elman.kernels.autograd import refuse_second_derivatives, resolved, seen_by_torch

FEW = 64  # rows; for fewer, packing a large matrix takes longer than it saves
LARGE = 1 << 18  # numbers; a matrix with more is large
SMALL = 1 << 20  # multiplications; a smaller product costs less than a function of Python
TURNED = 1 << 17  # floats; the gradient of a matrix is small if it has at most so many


class Steps(NamedTuple):
    """A matrix (N, K) of the rows of all steps, time first.

    Args:
        data: (T, B, K), dense in K, or (N, K).
        initial: (B, K), possibly with leading dimensions of one.  With it the rows are the states
            before each step of a sequence: `initial`, and all steps of `data` but the last.
        at_end: whether the sequence is reversed, so that the rows are all steps of `data` but the
            first, and `initial`.
    """

    data: Tensor
    initial: Tensor | None = None
    at_end: bool = False

    def rows(self) -> Tensor:
        """Return the matrix (N, K)."""
        data = self.data
        if self.initial is not None:
            initial = self.initial.to(data.dtype).reshape(1, *data.shape[1:])
            data = torch.cat([data[1:], initial] if self.at_end else [initial, data[:-1]])
        return data.reshape(-1, data.shape[-1])

    def for_kernel(self) -> object:
        """Return the addresses of the rows for the kernel; the tensors are kept alive."""
        assert native is not None
        data = self.data if self.data.stride(-1) == 1 else self.data.contiguous()
        initial = None if self.initial is None else self.initial.contiguous()
        return native.Rows(data, initial, self.at_end)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x W^T + b for all steps, like `torch.nn.functional.linear`.

    It runs in our kernel, with its own backward pass, where that is faster.

    Args:
        x: (T, B, K) or (B, K) with any strides.
        weight: W (M, K).
        bias: b (M).

    Returns:
        (T, B, M) or (B, M).

    Example:
        >>> import torch
        >>> from elman.kernels.products import linear
        >>> linear(torch.ones(2, 1, 3), torch.tensor([[1.0, 2.0, 3.0]])).flatten().tolist()
        [6.0, 6.0]
    """
    given = (x, weight) if bias is None else (x, weight, bias)
    large = x.shape[:-1].numel() * weight.numel() >= SMALL
    if not large or not _run_ours(x, weight, given):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call, no-any-return]
    return _linear(x, weight, bias)


def block_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply by several block-diagonal matrices, whose results are put side by side.

    Args:
        x: (T, B, G V) or (B, G V).
        weight: G blocks of each of M matrices, (M, G, U, V).

    Returns:
        (T, B, M G U) or (B, M G U).

    Example:
        >>> import torch
        >>> from elman.kernels.products import block_linear
        >>> blocks = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)  # the matrix diag(2, 3)
        >>> block_linear(torch.ones(1, 1, 2), blocks).flatten().tolist()
        [2.0, 3.0]
    """
    if _run_ours(x, weight, (x, weight)):
        if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
            return _BlockLinear.apply(x, weight)  # type: ignore[no-untyped-call, no-any-return]
        return _block_linear(x, weight)
    blocks = x.unflatten(-1, (weight.shape[1], weight.shape[3]))
    return torch.einsum("...gv,kguv->...kgu", blocks, weight).flatten(-3)


def _run_ours(x: Tensor, weight: Tensor, given: tuple[Tensor, ...]) -> bool:
    """Return whether our kernel multiplies x (..., K) by a matrix, with a backward pass."""
    if torch.compiler.is_compiling() or seen_by_torch():  # a graph cannot contain what follows
        return False
    if not _own(x.shape[:-1].numel(), weight.numel()) or torch.is_autocast_enabled("cpu"):
        return False
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in given)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = x.new_empty(*x.shape[:-1], len(weight))
    x, weight = resolved(x), resolved(weight)
    bias = None if bias is None else resolved(bias)
    multiply(Steps(x), weight, _rows(y), transposed=True, bias=bias)
    return y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        refuse_second_derivatives()
        x, weight = (resolved(t) for t in ctx.saved_tensors)
        rows, d_x, d_bias = _rows(d_y), None, None
        sums: dict[str, Tensor] = {}
        if ctx.needs_input_grad[0]:
            d_x = x.new_empty(x.shape)
            multiply(Steps(rows), weight, _rows(d_x), transposed=False)
        if ctx.needs_input_grad[1]:
            add_products(sums, rows, {"weight": Steps(x)})
        if ctx.needs_input_grad[2]:
            d_bias = rows.sum(0)
        return d_x, sums.get("weight"), d_bias


def _block_linear(x: Tensor, weight: Tensor) -> Tensor:
    assert native is not None
    y = x.new_empty(*x.shape[:-1], weight.shape[:3].numel())
    rows, weight = _rows(x), resolved(weight).contiguous()
    native.block_product(rows, weight, _rows(y), torch.get_num_threads())
    return y


class _BlockLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _block_linear(x, weight)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, Tensor | None]:
        refuse_second_derivatives()
        assert native is not None
        x, weight = ctx.saved_tensors
        d_x = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        d_w = weight.new_empty(weight.shape) if ctx.needs_input_grad[1] else None
        rows, of_x, dense = _rows(d_y), _rows(x), resolved(weight).contiguous()
        to_x = None if d_x is None else _rows(d_x)
        native.block_gradients(rows, of_x, dense, to_x, d_w, torch.get_num_threads())
        return d_x, d_w


def block_gradient(d_y: Tensor, x: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Return the gradient of the weight of `block_linear`.

    Args:
        d_y: gradient of the result, (T, B, M G U) float32.
        x: (T, B, G V) float32.
        shape: the shape of the weight, (M, G, U, V).
    """
    rows, of_x = _rows(d_y), _rows(x)
    if _own(len(rows), shape[0] * shape[1] * shape[2] * shape[3]):
        assert native is not None
        found = x.new_empty(shape)  # the weight itself is not read without a gradient of x
        native.block_gradients(rows, of_x, found, None, found, torch.get_num_threads())
        return found
    blocks = of_x.unflatten(1, (shape[1], shape[3]))
    return torch.einsum("nkgu,ngv->kguv", rows.unflatten(1, shape[:3]), blocks)


def _rows(x: Tensor) -> Tensor:
    """Return x (..., K) as a matrix (N, K) whose rows are dense."""
    rows = resolved(x).reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def multiply(
    a: Steps,
    w: Tensor,
    out: Tensor,
    *,
    transposed: bool,
    bias: Tensor | None = None,
    bf16: bool = False,
) -> None:
    """Compute out = a w + bias.

    Args:
        a: (N, K).
        w: (K, M), or (M, K) with `transposed`.
        out: (N, M) float32, dense; with `bf16` on AMX tiles it can also be bfloat16.
        transposed: whether w is transposed.
        bias: (M) float32.
        bf16: whether factors can be rounded to bfloat16.
    """
    if _own(len(out), w.numel()):
        assert native is not None
        w = _weight(w, bf16)
        bias = None if bias is None else bias.contiguous()
        native.product(a.for_kernel(), w, transposed, bias, out, bf16, torch.get_num_threads())
        return
    w = w.t() if transposed else w
    if bf16:
        out.copy_(torch.mm(a.rows().bfloat16(), w.bfloat16()))
        if bias is not None:
            out += bias
    elif bias is None:
        torch.mm(a.rows(), w, out=out)
    else:
        torch.addmm(bias, a.rows(), w, out=out)


def add_products(
    sums: dict[str, Tensor], a: Tensor, factors: dict[str, Steps], *, bf16: bool = False
) -> None:
    """Compute sums[name] += a^T b for each name and factor b; missing sums start from zeros.

    Args:
        sums: (M, K) float32 by name.
        a: (N, M) float32, dense in M; with `bf16` on AMX tiles it can also be bfloat16.
        factors: (N, K) by name, at most two.
        bf16: whether factors can be rounded to bfloat16.
    """
    N, M = a.shape
    width = sum(b.data.shape[-1] for b in factors.values())
    new = not any(name in sums for name in factors)
    if not factors or not _own(N, M * width):
        if bf16:
            a = a.bfloat16()
        for name, b in factors.items():
            _add_by_torch(sums, name, a, b.rows().to(a.dtype))
        return
    assert native is not None
    to = []
    for name, b in factors.items():
        if new:
            sums[name] = a.new_empty(M, b.data.shape[-1], dtype=torch.float32)
        sums[name] = sums[name].contiguous()  # torch may have transposed it
        to.append((b.for_kernel(), sums[name]))
    native.outer_product(a, to, not new, bf16, torch.get_num_threads())


def layer_gradients(
    a: Tensor, factors: dict[str, Steps], w: Tensor, d_x: Tensor | None, *, bf16: bool = False
) -> dict[str, Tensor] | None:
    """Compute all products of a layer's backward pass at once, where our kernel is faster.

    Args:
        a: (N, M) gradients of the arguments of the gates, as for `add_products`.
        factors: two matrices (N, K) by name.
        w: (M, D).
        d_x: (N, D), the memory for a w, as `out` of `multiply`; None if it is not wanted.
        bf16: whether factors can be rounded to bfloat16.

    Returns:
        a^T b for each name and factor b, or None if nothing was computed.
    """
    N, M = a.shape
    widths = [b.data.shape[-1] for b in factors.values()]
    if not _own(N, M * sum(widths)) or not _own(N, w.numel()):
        return None
    assert native is not None
    sums = [a.new_empty(M, width, dtype=torch.float32) for width in widths]
    first, second = (b.for_kernel() for b in factors.values())
    threads = torch.get_num_threads()
    native.gradients(a, first, sums[0], second, sums[1], _weight(w, bf16), d_x, bf16, threads)
    return dict(zip(factors, sums, strict=True))


def _add_by_torch(sums: dict[str, Tensor], name: str, a: Tensor, b: Tensor) -> None:
    # A small result is computed faster as a wide one; a large one would need to be transposed back.
    turned = a.shape[1] * b.shape[1] <= TURNED
    if name not in sums:
        sums[name] = (torch.mm(b.t(), a).t() if turned else torch.mm(a.t(), b)).float()
    elif a.dtype == torch.bfloat16:
        sums[name] += torch.mm(a.t(), b)
    elif not turned:
        torch.addmm(sums[name], a.t(), b, out=sums[name])
    else:
        torch.addmm(sums[name].t(), b.t(), a, out=sums[name].t())


def _weight(w: Tensor, bf16: bool) -> Tensor:
    """Return a dense matrix of a type that the kernel takes; on tiles this includes bfloat16."""
    assert native is not None
    short = bf16 and w.dtype == torch.bfloat16 and native.has_tiles()
    return (w if short else w.float()).contiguous()


def _own(rows: int, numbers: int) -> bool:
    """Return whether our kernel is faster for this number of rows and size of the matrix."""
    if native is None or not native.has_products():
        return False
    return rows >= FEW or (rows > 0 and numbers <= LARGE)
