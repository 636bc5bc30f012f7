"""The loss of a transducer and its gradients in one native call (csrc/transducer.h).

    z(t, u) = W tanh(e_t + p_u) + b,   loss = -log sum over alignments of prod softmax(z)

The definition is `elman.heads.transducer.plain_loss`, which stores the scores of all nodes of the
lattice, B T (U + 1) V floats, several times.  Here a node keeps two numbers and 1 / its sum of
exponentials, and the gradients are computed together with the loss, row by row.

Memory in floats besides arguments and gradients, for n threads: about 4 (T + U) (U + 1) for the
lattice of one row, T (U + 1) V for its scores if these are at most 2^23, 2 V J for packed weights,
and n (V J + (U + 1) J) for sums.  The peak of a process grew by 9 MB for B 16, T 133, U 40, J 256,
V 31, by 21 MB for V 501, and by 16 MB for B 4, T 1000, U 200, V 4001, where the scores of all nodes
are 10, 167 and 12,271 MB.

Shape legend: B rows, T frames, U target tokens, J joint units, V scores, the last one of the blank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman import kernels
from elman.kernels.autograd import refuse_second_derivatives, resolved, seen_by_torch
from elman.padded import time_mask

_DTYPES = (torch.float32, torch.bfloat16)  # the kernel itself computes in float32


def covers(e: Tensor, p: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether the kernel takes the tensors: on the CPU, float32 or bfloat16."""
    if kernels.native is None or seen_by_torch():
        return False
    tensors = (e, p, weight) if bias is None else (e, p, weight, bias)
    return all(t.device.type == "cpu" and t.dtype in _DTYPES for t in tensors)


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
    enabled = torch.is_grad_enabled()
    needs = [enabled and x is not None and x.requires_grad for x in given]
    loss: Tensor = _operator(*given, targets, frames, tokens, needs)[0]
    return loss


# One opaque operator, which torch.compile and torch.export can use, too.


@torch.library.custom_op("elman::transducer_loss", mutates_args=())
def _operator(
    e: Tensor,
    p: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    frames: Tensor,
    tokens: Tensor,
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the loss, and the gradients of e, p, W and b, empty where they are not wanted."""
    assert kernels.native is not None
    given = [None if x is None else resolved(x).contiguous() for x in (e, p, weight, bias)]
    wanted = zip(given, needs, strict=True)
    gradients = [torch.zeros_like(x) if need and x is not None else None for x, need in wanted]
    frames, tokens = (x.to("cpu", torch.int64).contiguous() for x in (frames, tokens))
    flat = targets[time_mask(tokens, targets.shape[1])].contiguous()
    loss = torch.empty(len(e), dtype=torch.float64)
    threads = torch.get_num_threads()
    kernels.native.transducer(*given, flat, frames, tokens, loss, *gradients, threads)
    d_e, d_p, d_weight, d_bias = (e.new_empty(0) if x is None else x for x in gradients)
    return loss.sum().float(), d_e, d_p, d_weight, d_bias


@_operator.register_fake
def _(*given: Any) -> tuple[Tensor, ...]:
    e, needs = given[0], given[-1]
    wanted = zip(given[:4], needs, strict=True)
    return e.new_empty(()), *(e.new_empty(x.shape if need else 0) for x, need in wanted)


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.needs = inputs[-1]


def _scale_gradients(ctx: Any, d_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    refuse_second_derivatives()
    wanted = zip(ctx.saved_tensors, ctx.needs, strict=True)
    return *(x * d_loss if need else None for x, need in wanted), None, None, None, None


_operator.register_autograd(_scale_gradients, setup_context=_keep_gradients)
