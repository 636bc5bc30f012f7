"""Linear recurrence, the common part of minGRU, minLSTM, the LRU and similar layers.

    h_t = a_t * h_{t-1} + b_t        for each unit independently, real or complex

The gradients, where g_t is the gradient of h_t (torch's convention for complex numbers):

    g_t = dy_t + conj(a_{t+1}) * g_{t+1}
    db_t = g_t,  da_t = g_t * conj(h_{t-1}),  dh_0 = conj(a_1) * g_1

Sources: Feng et al. 2024, "Were RNNs All We Needed?" (arXiv:2410.01201); Orvieto et al. 2023,
"Resurrecting Recurrent Neural Networks for Long Sequences" (arXiv:2303.06349).  They compute it by
a parallel scan, the first in log-space; here it is one pass through time, which reads and writes
every number once and needs no logarithms, so a and b can have any sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman import kernels
from elman.errors import ArgumentError, TensorError
from elman.kernels.autograd import seen_by_torch
from elman.kernels.scan import KINDS, run_scan
from elman.padded import as_lengths, check_lengths, time_mask


def linear_recurrence(
    a: Tensor,
    b: Tensor,
    state: Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run h_t = a_t * h_{t-1} + b_t over sequences.

    Args:
        a: (B, T, D), or a shape that broadcasts to it, such as (D,) for factors that are the same
            for all rows and steps; their gradient is then summed.
        b: (B, T, D) with any strides.
        state: h before the first step, (B, D); None for zeros.
        lengths: integers (B,) in 0..T; h after the end of a row is 0, and the values of a and b
            there are ignored.
        reverse: run each row from its last step to its first.

    Returns:
        h (B, T, D), and the state after the last step, (B, D).  Types shorter than float32 are
        computed as float32, and the state is then float32; h has the type of a and b.

    Raises:
        ArgumentError: a shape or a length does not fit.

    Example:
        >>> import torch
        >>> from elman.recur import linear_recurrence
        >>> h, state = linear_recurrence(torch.tensor(0.5), torch.ones(1, 4, 1))
        >>> h.flatten().tolist(), state.tolist()
        ([1.0, 1.5, 1.75, 1.875], [[1.875]])
    """
    if b.dim() != 3:
        raise ArgumentError(f"b must have shape (B, T, D), got {tuple(b.shape)}")
    rows, _, units = b.shape
    lengths = None if lengths is None else as_lengths(lengths)
    if a.dim() < 3:
        a = a.reshape((1,) * (3 - a.dim()) + tuple(a.shape))
    if a.shape != b.shape:
        if a.dim() > 3 or any(n not in (1, m) for n, m in zip(a.shape, b.shape, strict=True)):
            raise ArgumentError(
                f"a must broadcast to the shape of b, {tuple(b.shape)}, got {tuple(a.shape)}"
            )
        a = a.expand(-1, -1, units)
    if state is not None and state.shape != (rows, units):
        raise ArgumentError(f"state must have shape {(rows, units)}, got {tuple(state.shape)}")

    short = None
    if b.dtype != a.dtype or a.dtype not in KINDS or (state is not None and state.dtype != a.dtype):
        a, b, state, short = _promote(a, b, state)
    on_cpu = a.device.type == b.device.type == "cpu"
    if state is not None and state.device != b.device:
        raise TensorError(f"state must be on {b.device}, as b is, got {state.device}")
    native = kernels.native is not None and on_cpu and not seen_by_torch()
    if native and b.dtype in KINDS and b.numel():
        h, end = run_scan(a, b, state, lengths, reverse)
    else:
        h, end = plain_scan(a, b, state, lengths, reverse)
    return h if short is None else h.to(short), end


def _promote(
    a: Tensor, b: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, torch.dtype | None]:
    """Convert to a common dtype of at least float32; also return the dtype of h if shorter."""
    given = torch.promote_types(a.dtype, b.dtype)
    short = given if given in (torch.bfloat16, torch.float16) else None
    kind = torch.promote_types(given, torch.float32)
    if state is not None:
        kind = torch.promote_types(kind, state.dtype)
        state = state.to(kind)
    return a.to(kind), b.to(kind), state, short


def plain_scan(
    a: Tensor, b: Tensor, state: Tensor | None, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Run the definition step by step on any device; a has 3 dimensions."""
    rows, steps, units = b.shape
    h = b.new_zeros(rows, units) if state is None else state
    running = None
    if lengths is not None:
        if not torch.compiler.is_compiling():  # looking at values would break the graph
            check_lengths(lengths, rows, steps)
        running = time_mask(lengths.to(b.device), steps).unsqueeze(2)
        # Padding can be NaN, and NaN times a gradient of 0 is NaN.
        a, b = torch.where(running, a, 0), torch.where(running, b, 0)
    if steps == 0:
        return b, h
    factors, terms = a.expand(b.shape).unbind(1), b.unbind(1)
    outputs: list[Tensor] = [h] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        new = factors[t] * h + terms[t]
        if running is None:
            outputs[t] = h = new
        else:
            outputs[t] = torch.where(running[:, t], new, 0)
            h = torch.where(running[:, t], new, h)
    return torch.stack(outputs, 1), h
