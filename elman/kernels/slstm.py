"""The recurrence of an sLSTM over a whole sequence in one native call (csrc/slstm.h).

Shape legend: T steps, B rows, N heads of S units, H = N S units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman import kernels
from elman.kernels.autograd import keeps_graph, refuse_second_derivatives, resolved
from elman.kernels.products import block_gradient
from elman.padded import check_lengths

Leaves = tuple[Tensor, ...]


class Recurrence(NamedTuple):
    """Settings of one call.

    Args:
        lengths: integers (B,) in 0..T; None if all rows have T steps.
        reverse: run rows from their last step to their first.
        mask: recurrent dropout of h, (B, H); None if it is off.
        kept: the share of the old h that zoneout keeps, (T, B, H) or one number.
    """

    lengths: Tensor | None = None
    reverse: bool = False
    mask: Tensor | None = None
    kept: Tensor | float = 0.0


def run_slstm(
    how: Recurrence, gates: Tensor, matrix: Tensor, state: Leaves
) -> tuple[Tensor, Leaves]:
    """Run the recurrence on float32 tensors on a CPU.

    Args:
        how: how to run it.
        gates: (T, B, 4 H), products with x and biases of i, f, z and o.  The call overwrites them,
            so nothing else can use them.
        matrix: R, (N, 4 S, S).
        state: h, c, n and m before the first step, (B, H) each.

    Returns:
        h (T, B, H), zero after the end of a row, and the last state.

    Raises:
        ArgumentError: the lengths are not integers (B,) in 0..T.
    """
    gates = _dense(gates)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (gates, matrix, *state)):
        y, *end = _Slstm.apply(how, gates, matrix, *state)  # type: ignore[no-untyped-call]
        return y, tuple(end)
    y, end, _ = _forward(how, gates, matrix, state, keep=False)
    return y, end


def _forward(
    how: Recurrence, gates: Tensor, matrix: Tensor, state: Leaves, *, keep: bool
) -> tuple[Tensor, Leaves, Tensor | None]:
    """Return y, the last state and, with `keep`, c, n and m after each step."""
    steps, rows, width = gates.shape
    y, end = gates.new_empty(steps, rows, width // 4), tuple(s.new_empty(s.shape) for s in state)
    cells = gates.new_empty(steps, rows, width // 4 * 3) if keep else None
    call, alive = _call(how, gates, matrix, state, y, cells)
    call.set_end(*end)
    call.forward()
    del alive
    return y, end, cells


def _call(
    how: Recurrence, gates: Tensor, matrix: Tensor, state: Leaves, y: Tensor, cells: Tensor | None
) -> tuple[Any, list[Tensor]]:
    """Return a native call with what both passes read, and the tensors to keep alive."""
    assert kernels.native is not None
    steps, rows, _ = y.shape
    heads, _, size = matrix.shape
    rate = 0.0 if isinstance(how.kept, Tensor) else how.kept
    threads = torch.get_num_threads()
    call = kernels.native.Slstm(rows, steps, heads, size, threads, how.reverse, rate)
    alive = [_dense(matrix), *map(_dense, state)]
    call.set_gates(gates.transpose(0, 1))
    call.set_r(alive[0])
    call.set_s0(*alive[1:])
    call.set_y(y.transpose(0, 1))
    if cells is not None:
        call.set_cells(cells.transpose(0, 1))
    if isinstance(how.kept, Tensor):
        alive.append(how.kept.to(torch.float32).contiguous())
        call.set_keep(alive[-1].transpose(0, 1))
    if how.mask is not None:
        alive.append(how.mask.to(torch.float32).contiguous())
        call.set_mask(alive[-1])
    if how.lengths is not None:
        check_lengths(how.lengths, rows, steps)
        alive.append(how.lengths.to("cpu", torch.int64).contiguous())
        call.set_lengths(alive[-1])
    return call, alive


def _dense(x: Tensor) -> Tensor:
    return resolved(x).contiguous()


class _Slstm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, how: Recurrence, gates: Tensor, matrix: Tensor, *state: Tensor) -> Any:
        y, end, cells = _forward(how, gates, matrix, state, keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y, gates, cells, matrix, *state)
        ctx.how = how
        return y, *end

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, *d_end: Tensor | None) -> Any:
        refuse_second_derivatives()
        y, gates, cells, matrix, *state = ctx.saved_tensors
        d_gates = gates.clone() if keeps_graph() else gates
        call, alive = _call(ctx.how, d_gates, matrix, tuple(state), y, cells)
        seen, d_state = torch.empty_like(y), [s.new_empty(s.shape) for s in state]
        incoming = None if d_y is None else _dense(d_y)
        ends = [None if d is None else _dense(d) for d in d_end]
        call.set_d_y(None if incoming is None else incoming.transpose(0, 1))
        call.set_d_end(*ends)
        call.set_seen(seen.transpose(0, 1))
        call.set_d_s0(*d_state)
        call.backward()
        del alive
        heads, wide, size = matrix.shape
        d_blocks = block_gradient(d_gates, seen, (4, heads, size, size))
        return None, d_gates, d_blocks.transpose(0, 1).reshape(heads, wide, size), *d_state
