"""Recurrence of a matrix state: linear attention, the delta rule, and their gated forms.

A head keeps a matrix S (K, V), a memory from which the query q reads.  With P_t = a_t S_{t-1}:

    w_t = v_t                    or, with the delta rule,  w_t = v_t - P_t^T k_t
    S_t = P_t + k_t (beta_t w_t)^T
    y_t = S_t^T q_t

    linear attention (arXiv:2006.16236)      a = 1, beta = 1
    RetNet, Mamba-2 (arXiv:2405.21060)       a_t one number
    gated linear attention (arXiv:2312.06635) a_t one number for each of the K rows of S
    DeltaNet (arXiv:2406.06484)              delta rule, a = 1
    Gated DeltaNet (arXiv:2412.06464)        delta rule, a_t one number

The delta rule first removes what S holds for the key, so that a key of length 1 with beta = 1
replaces its value.  With beta up to 2, I - beta k k^T has negative eigenvalues, which parity needs
(arXiv:2411.12537).

The sources compute chunks of 64 steps or more by matrix products, which suits GPUs.  Here a native
call keeps S in the first cache and updates it every four steps (csrc/matrix_scan.h).

Shape legend: B rows, T steps, N heads, K features of a key, V features of a value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman import kernels
from elman.errors import ArgumentError
from elman.kernels.autograd import seen_by_torch
from elman.kernels.matrix_scan import run_matrix_scan
from elman.padded import as_lengths, check_lengths, time_mask
from elman.recur.record import active_recorder


def matrix_recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    state: Tensor | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    delta: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence of a matrix state over sequences.

    Args:
        q: queries (B, T, N, K).
        k: keys (B, T, N, K).
        v: values (B, T, N, V).
        decay: a, (B, T, N) or (B, T, N, K); None for 1.
        beta: strength of writing, (B, T, N); None for 1.
        state: S before the first step, (B, N, K, V); None for zeros.
        lengths: integers (B,) in 0..T; y after the end of a row is 0, and the inputs there are
            ignored.
        delta: use the delta rule.
        reverse: run each row from its last step to its first.

    Returns:
        y (B, T, N, V), and S after the last step (B, N, K, V).  Types shorter than float32 are
        computed as float32; y has the type of v, and S is float32 at least.

    Raises:
        ArgumentError: a shape or a length does not fit.

    Example:
        >>> import torch
        >>> from elman.recur import matrix_recurrence
        >>> k = torch.tensor([[1.0, 0], [0, 1], [1, 0]]).view(1, 3, 1, 2)
        >>> v = torch.tensor([5.0, 6, 7]).view(1, 3, 1, 1)
        >>> y, state = matrix_recurrence(k, k, v, delta=True)  # the third step replaces the first
        >>> y.flatten().tolist(), state.flatten().tolist()
        ([5.0, 6.0, 7.0], [7.0, 6.0])
    """
    _check_shapes(q, k, v, decay, beta, state)
    rows, steps, heads, _ = q.shape
    lengths = None if lengths is None else as_lengths(lengths)
    short, present = v.dtype, [t for t in (q, k, v, decay, beta, state) if t is not None]
    kind = torch.float32
    for t in present:
        kind = torch.promote_types(kind, t.dtype)
    q, k, v = q.to(kind), k.to(kind), v.to(kind)
    decay, beta, state = (None if t is None else t.to(kind) for t in (decay, beta, state))
    native = kernels.native is not None and all(t.device.type == "cpu" for t in present)
    if native and not seen_by_torch() and kind == torch.float32 and v.numel():
        inputs = [None if t is None else t.reshape(rows, steps, -1) for t in (q, k, v, decay, beta)]
        y, end = run_matrix_scan(*inputs, state, lengths, heads, delta, reverse)
    else:
        y, end = plain_matrix_scan(
            q, k, v, decay, beta, state, lengths, delta=delta, reverse=reverse
        )
    return y.view(v.shape).to(short), end


def _check_shapes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None,
    beta: Tensor | None,
    state: Tensor | None,
) -> None:
    if q.dim() != 4:
        raise ArgumentError(f"q must have shape (B, T, N, K), got {tuple(q.shape)}")
    rows, steps, heads, size = q.shape
    wide = v.shape[-1]
    wanted: dict[str, tuple[Tensor | None, list[tuple[int, ...]]]] = {
        "k": (k, [(rows, steps, heads, size)]),
        "v": (v, [(rows, steps, heads, wide)]),
        "decay": (decay, [(rows, steps, heads), (rows, steps, heads, size)]),
        "beta": (beta, [(rows, steps, heads)]),
        "state": (state, [(rows, heads, size, wide)]),
    }
    for name, (given, shapes) in wanted.items():
        if given is not None and tuple(given.shape) not in shapes:
            shown = " or ".join(map(str, shapes))
            raise ArgumentError(f"{name} must have shape {shown}, got {tuple(given.shape)}")


def plain_matrix_scan(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None,
    beta: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    *,
    delta: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run the definition step by step on any device."""
    rows, steps, heads, size = q.shape
    S = v.new_zeros(rows, heads, size, v.shape[3]) if state is None else state
    running = None
    if lengths is not None:
        if not torch.compiler.is_compiling():  # looking at values would break the graph
            check_lengths(lengths, rows, steps)
        running = time_mask(lengths.to(v.device), steps)
        # Padding can be NaN, and NaN times a gradient of 0 is NaN.
        q, k, v = (_within(running, t) for t in (q, k, v))
        decay, beta = (None if t is None else _within(running, t) for t in (decay, beta))
    outputs: list[Tensor] = [v[:, 0]] * steps if steps else []
    for t in reversed(range(steps)) if reverse else range(steps):
        y, new = step_of(
            q[:, t],
            k[:, t],
            v[:, t],
            None if decay is None else decay[:, t],
            None if beta is None else beta[:, t],
            S,
            delta=delta,
        )
        if running is not None:
            there = running[:, t, None, None]
            y, new = torch.where(there, y, 0), torch.where(there[..., None], new, S)
        outputs[t], S = y, new
    return (torch.stack(outputs, 1) if outputs else v), S


def _within(running: Tensor, x: Tensor) -> Tensor:
    """Return x (B, T, ...) with zeros where the mask (B, T) is false."""
    return torch.where(running.view(*running.shape, *[1] * (x.dim() - 2)), x, 0)


def step_of(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None,
    beta: Tensor | None,
    state: Tensor,
    *,
    delta: bool,
) -> tuple[Tensor, Tensor]:
    """Return y (B, N, V) and S (B, N, K, V) after one step, for inputs (B, N, ...)."""
    if (recorder := active_recorder()) is not None:
        return recorder.matrix_step(q, k, v, decay, beta, state, delta=delta)
    if decay is not None:
        state = (decay[..., None] if decay.dim() == 3 else decay[..., None, None]) * state
    w = v - (k.unsqueeze(2) @ state).squeeze(2) if delta else v
    if beta is not None:
        w = beta.unsqueeze(2) * w
    state = state + k.unsqueeze(3) * w.unsqueeze(2)
    return (q.unsqueeze(2) @ state).squeeze(2), state
