"""The loss of a transducer and its gradients in one native call (csrc/transducer.h).

    z(t, u) = W tanh(e_t + p_u) + b,   loss = -log sum over alignments of prod softmax(z)

The definition is `elman.heads.transducer.plain_loss`, which stores the scores of all nodes of the
lattice: B T (U + 1) V floats, and as many for their gradients.  Here a node keeps two numbers and
its 1 / sum of exponentials, and the gradients are computed together with the loss, row by row.

Memory besides arguments and gradients, in floats, for n threads: 4 T (U + 1) for the lattice of one
row, T (U + 1) V for its scores if these are at most 2^23, 2 V J for packed weights, and for each
thread V J + (U + 1) J for sums and 96 (2 J + 2 V) for a group of nodes (48 without AVX-512).

Shape legend: B rows, T frames, U target tokens, J joint units, V scores, the last one of the blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elman import kernels
from elman.kernels.autograd import keeps_graph, refuse_second_derivatives, resolved, seen_by_torch
from elman.padded import time_mask

_DTYPES = (torch.float32, torch.bfloat16)  # the kernel itself computes in float32
_Gradients = tuple[Tensor | None, ...]  # of e, p, W and b


def covers(e: Tensor, p: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether the kernel takes the tensors: on the CPU, float32 or bfloat16."""
    if kernels.native is None or seen_by_torch():
        return False
    tensors = (e, p, weight) if bias is None else (e, p, weight, bias)
    return all(t.device.type == "cpu" and t.dtype in _DTYPES for t in tensors)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def transducer_loss(
    e: Tensor,
    p: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    frames: Tensor,
    tokens: Tensor,
) -> Tensor:
    """Return the sum of the negative log-likelihoods of the targets.

    Source: Graves 2012 (arXiv:1211.3711).

    Args:
        e: (B, T, J), for which `covers` is true.
        p: (B, U + 1, J).
        weight: (V, J).
        bias: (V), or None for zeros.
        targets: (B, U), int64 in 0..V-2; values after the end of a row are ignored.
        frames: (B,), int64, the number of frames of each row.
        tokens: (B,), int64, the number of tokens of each row.

    Returns:
        The loss (), float32, in nats; differentiable once.

    Raises:
        ArgumentError: a target or a length is out of range, a row has tokens but no frames, or a
            second derivative is wanted.
        TensorError: a tensor has another shape or dtype.

    Example:
        >>> import torch
        >>> from elman import kernels
        >>> from elman.kernels.transducer import transducer_loss
        >>> e, p, weight = torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.zeros(4, 3)
        >>> rest = torch.tensor([[0]]), torch.tensor([2]), torch.tensor([1])
        >>> if kernels.native is not None:  # two alignments of three steps with p = 1 / 4: ln 32
        ...     assert abs(transducer_loss(e, p, weight, None, *rest) - 3.4657) < 1e-4
    """
    given = (e.float(), p.float(), weight.float(), None if bias is None else bias.float())
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given):
        loss: Tensor = _Loss.apply(*given, targets, frames, tokens)  # type: ignore[no-untyped-call]
        return loss
    return _run(given, targets, frames, tokens, (False,) * 4)[0]


def _run(
    given: Sequence[Tensor | None],
    targets: Tensor,
    frames: Tensor,
    tokens: Tensor,
    needs: Sequence[bool],
) -> tuple[Tensor, _Gradients]:
    """Return the loss, and the gradients of e, p, W and b that are wanted."""
    assert kernels.native is not None
    dense = [None if x is None else resolved(x.detach()).contiguous() for x in given]
    wanted = zip(dense, needs, strict=True)
    gradients = tuple(torch.zeros_like(x) if need and x is not None else None for x, need in wanted)
    frames, tokens = (x.to("cpu", torch.int64).contiguous() for x in (frames, tokens))
    flat = targets[time_mask(tokens, targets.shape[1])].contiguous()
    loss = torch.empty(len(frames), dtype=torch.float64)
    threads = torch.get_num_threads()
    kernels.native.transducer(*dense, flat, frames, tokens, loss, *gradients, threads)
    return loss.sum().float(), gradients


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        *tensors, targets, frames, tokens = given
        loss, gradients = _run(tensors, targets, frames, tokens, ctx.needs_input_grad[:4])
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        gradients = ctx.saved_tensors
        if keeps_graph():  # keep the originals for the next backward pass
            gradients = [None if x is None else x * d_loss for x in gradients]
        elif float(d_loss) != 1:
            gradients = [None if x is None else x.mul_(d_loss) for x in gradients]
        return *gradients, None, None, None
