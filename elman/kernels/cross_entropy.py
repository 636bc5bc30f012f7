"""Scores of a vocabulary and their cross-entropy in one pass, without storing all scores.

    s_n = W h_n + b,     loss = sum over n of  log sum_v exp(s_nv) - s_n,target

The plain definition is `elman.heads.tokens.plain_loss`.  Rows are processed in blocks whose scores
fit into a buffer of bounded size, and the gradients of each block are computed immediately, while
its scores are available: d_s = softmax(s) - onehot(target), d_h = d_s W, d_W = d_s^T h, d_b = sum
of d_s.  The backward pass only multiplies them by the gradient of the loss (the idea is from Liger,
Hsu et al. 2024, arXiv:2410.10989).

On processors with AMX, float32 is one native call (csrc/cross_entropy.h).  On others, few rows are
one native call too (csrc/few_rows.h); more rows use the products of `products`, which can keep a
packed copy of W, and a native softmax (csrc/softmax.h).

If the states are bfloat16 or autocast is on, a training run rounds its products anyway, so our own
products for gradients are rounded to bfloat16 too, with sums in float32.  Everything else, and
scores without gradients, are computed in float32.

Shape legend: N elements, D features, V tokens.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman import kernels
from elman.errors import ArgumentError, TensorError
from elman.kernels.autograd import (
    computes_in_bfloat16,
    keeps_graph,
    refuse_second_derivatives,
    resolved,
    seen_by_torch,
)
from elman.kernels.pool import Lease
from elman.kernels.products import FEW, Steps, add_products, multiply

FEWEST = (32, 256)  # N and V; for fewer, the plain function is as fast and stores little
STORED = 2**24  # scores that are stored at a time (64 MiB), if that is at least 32 rows
ROWS = 768  # rows of a block, at most: more do not make it faster
_DTYPES = (torch.float32, torch.bfloat16)
_Needs = tuple[bool, bool, bool]  # whether the gradients of h, W, b are wanted
_Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class _Result(NamedTuple):
    loss: Tensor  # (), float32
    right: Tensor | None  # (N), bool
    gradients: _Gradients


def covers(h: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether the kernel takes the tensors: on the CPU, float32 or bfloat16, not too few."""
    few = len(h) < FEWEST[0] or len(weight) < FEWEST[1]
    if kernels.native is None or few or seen_by_torch():
        return False
    tensors = (h, weight) if bias is None else (h, weight, bias)
    return all(t.device.type == "cpu" and t.dtype in _DTYPES for t in tensors)


def linear_cross_entropy(h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Return the sum of the negative log-likelihoods of the targets.

    Args:
        h: (N, D), for which `covers` is true.
        weight: (V, D).
        bias: (V), or None for zeros.
        targets: (N), integers in 0..V-1.

    Returns:
        The loss (), float32, in nats; differentiable once.

    Raises:
        ArgumentError: a target is not an integer in 0..V-1, or a shape does not fit.
        TensorError: an argument is not a tensor, or its dtype is not supported.

    Example:
        >>> import torch
        >>> from elman import kernels
        >>> from elman.kernels.cross_entropy import linear_cross_entropy
        >>> h, weight = torch.zeros(2, 3), torch.ones(4, 3)
        >>> if kernels.native is not None:  # ln 4 for each of the two
        ...     loss = linear_cross_entropy(h, weight, None, torch.tensor([0, 3]))
        ...     assert abs(loss - 2.7726) < 1e-4
    """
    for name, given in (("h", h), ("weight", weight), ("bias", bias), ("targets", targets)):
        if not isinstance(given, Tensor) and (given is not None or name != "bias"):
            raise TensorError(f"{name} must be a tensor, got {type(given).__name__}")
    bf16 = computes_in_bfloat16(h)
    h, weight, bias = _in_float32(h, weight, bias)
    needs = (h.requires_grad, weight.requires_grad, bias is not None and bias.requires_grad)
    wanted = torch.is_grad_enabled() and any(needs)
    loss: Tensor
    if torch.compiler.is_compiling():
        needs = needs if wanted else (False, False, False)
        loss, *_ = _operator(h, weight, bias, targets, bf16, *needs)
    elif wanted:
        loss = _LinearCrossEntropy.apply(h, weight, bias, targets, bf16)  # type: ignore[no-untyped-call]
    else:
        loss = _run(h, weight, bias, targets, (False, False, False)).loss
    return loss


def loss_and_right(
    h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss without gradients, and whether each target (N) has the highest score."""
    with torch.no_grad():
        given = _in_float32(h, weight, bias)
        result = _run(*given, targets, (False, False, False), right=True)
    assert result.right is not None
    return result.loss, result.right


def _in_float32(
    h: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    for name, tensor in (("h", h), ("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype not in _DTYPES:
            raise TensorError(f"{name} must be float32 or bfloat16, got {tensor.dtype}")
    return h.float(), weight.float(), None if bias is None else bias.float()


def _run(
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    needs: _Needs,
    *,
    bf16: bool = False,
    right: bool = False,
) -> _Result:
    assert kernels.native is not None
    h, weight = (resolved(t.detach()).contiguous() for t in (h, weight))
    bias = None if bias is None else resolved(bias.detach()).contiguous()
    targets = _check(h, weight, bias, targets)
    loss = h.new_empty(len(h), dtype=torch.float64)
    guesses = h.new_empty(len(h), dtype=torch.bool) if right else None
    if len(h) == 0:
        given = zip((h, weight, bias), needs, strict=True)
        zeros = (torch.zeros_like(x) if need and x is not None else None for x, need in given)
        gradients: _Gradients = tuple(zeros)  # type: ignore[assignment]
    else:
        rounded = bf16 and any(needs) and len(h) > FEW and kernels.native.has_products()
        at_once = not rounded and len(h) <= kernels.native.cross_entropy_rows()
        run = _at_once if at_once else partial(_in_blocks, bf16=rounded)
        with torch.autocast("cpu", enabled=False):  # the rounding is decided above
            gradients = run(h, weight, bias, targets, needs, loss, guesses)
    return _Result(loss.sum().float(), guesses, gradients)


def _check(h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Return the targets as int64; the kernels check that they are in 0..V-1."""
    shapes = [tuple(t.shape) for t in (h, weight, targets)] + [() if bias is None else bias.shape]
    N, D, V = len(h), h.shape[-1], len(weight)
    if shapes != [(N, D), (V, D), (N,), () if bias is None else (V,)]:
        raise ArgumentError(
            "h, weight, targets and bias must have shapes (N, D), (V, D), (N,) and (V,), got "
            f"{', '.join(str(tuple(shape)) for shape in shapes)}"
        )
    return as_integers(targets).detach().contiguous()


def as_integers(targets: Tensor) -> Tensor:
    """Return targets as int64.

    Raises:
        ArgumentError: their dtype is not an integer type.
    """
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise ArgumentError(f"targets must be integers, got dtype {targets.dtype}")
    return targets.long()


def _rows(count: int, vocabulary: int) -> int:
    """Return the number of rows of a block, a multiple of 32 that makes blocks about equal."""
    most = max(32, min(ROWS, STORED // vocabulary // 32 * 32))
    blocks = -(-count // most)
    return -(-count // (32 * blocks)) * 32


def _at_once(
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    needs: _Needs,
    loss: Tensor,
    right: Tensor | None,
) -> _Gradients:
    assert kernels.native is not None
    given = zip((h, weight, bias), needs, strict=True)
    d_h, d_weight, d_bias = (
        torch.empty_like(x) if need and x is not None else None for x, need in given
    )
    kernels.native.cross_entropy(
        _rows(len(h), len(weight)),
        h,
        weight,
        bias,
        targets,
        loss,
        right,
        d_h,
        d_weight,
        d_bias,
        torch.get_num_threads(),
    )
    return d_h, d_weight, d_bias


def _in_blocks(
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    needs: _Needs,
    loss: Tensor,
    right: Tensor | None,
    *,
    bf16: bool,
) -> _Gradients:
    native, threads = kernels.native, torch.get_num_threads()
    assert native is not None
    V, rows = len(weight), _rows(len(h), len(weight))
    d_h = torch.empty_like(h) if needs[0] else None
    d_bias = h.new_zeros(threads, V) if needs[2] and bias is not None else None
    sums: dict[str, Tensor] = {}
    lease = Lease()
    buffer = lease.take(min(rows, len(h)), V)
    for first in range(0, len(h), rows):
        part = slice(first, first + rows)
        some = Steps(h[part])
        scores = buffer[: len(some.data)]
        rounds = bf16 and len(scores) >= FEW  # torch rounds the result of fewer
        multiply(some, weight, scores, transposed=True, bf16=rounds)
        native.softmax(
            any(needs),
            scores,
            bias,
            targets[part],
            loss[part],
            None if right is None else right[part],
            d_bias,
            threads,
        )
        if d_h is not None:
            multiply(Steps(scores), weight, d_h[part], transposed=False, bf16=rounds)
        if needs[1]:
            add_products(sums, scores, {"weight": some}, bf16=rounds)
    d_weight = sums["weight"].contiguous() if needs[1] else None  # torch may have transposed it
    return d_h, d_weight, None if d_bias is None else d_bias.sum(0)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, bf16: bool
    ) -> Tensor:
        result = _run(h, weight, bias, targets, ctx.needs_input_grad[:3], bf16=bf16)
        ctx.save_for_backward(*result.gradients)
        return result.loss

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        gradients = ctx.saved_tensors
        if keeps_graph():  # keep the originals for the next backward pass
            return *(None if x is None else x * d_loss for x in gradients), None, None
        if float(d_loss) != 1:
            gradients = [None if x is None else x.mul_(d_loss) for x in gradients]
        return *gradients, None, None


# The kernel as one opaque operator, for torch.compile and torch.export.


@torch.library.custom_op("elman::linear_cross_entropy", mutates_args=())
def _operator(
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    bf16: bool,
    need_h: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    result = _run(h, weight, bias, targets, (need_h, need_weight, need_bias), bf16=bf16)
    d_h, d_weight, d_bias = (h.new_empty(0) if x is None else x for x in result.gradients)
    return result.loss, d_h, d_weight, d_bias


@_operator.register_fake
def _(
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,  # noqa: ARG001
    bf16: bool,  # noqa: ARG001
    need_h: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def like(x: Tensor | None, need: bool) -> Tensor:
        return h.new_empty(0) if x is None or not need else h.new_empty(x.shape)

    return h.new_empty(()), like(h, need_h), like(weight, need_weight), like(bias, need_bias)


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.needs = inputs[5:]


def _scale_gradients(ctx: Any, d_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    scaled = [
        x * d_loss if need else None for x, need in zip(ctx.saved_tensors, ctx.needs, strict=True)
    ]
    return *scaled, *5 * (None,)


_operator.register_autograd(_scale_gradients, setup_context=_keep_gradients)
