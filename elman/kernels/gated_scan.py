"""Linear recurrences whose factors come from gates, over a whole sequence in one native call.

    minGRU, minLSTM    h_t = (1 - s_t) * h_{t-1} + s_t * n_t
    RG-LRU             h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (sigmoid(i_t) * c_t)

The forward pass reads the arguments of the gates and writes h; the backward pass reads both and
writes the gradients of the gates (csrc/gated_scan.h).  Nothing else is stored.

Shape legend: T steps, B rows, H units, G gates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman import kernels
from elman.kernels.autograd import keeps_graph, refuse_second_derivatives, resolved
from elman.padded import check_lengths

GATES = {"min_gru": 2, "min_lstm": 3, "rg_lru": 2}  # in the order of GatedCell in kernels.h


class Scan(NamedTuple):
    """Settings of one call.

    Args:
        cell: a name in `GATES`.
        lengths: integers (B,) in 0..T; None if all rows have T steps.
        reverse: run rows from their last step to their first.
        kept: the share of the old value that zoneout keeps, (T, B, H) or one number.
    """

    cell: str
    lengths: Tensor | None = None
    reverse: bool = False
    kept: Tensor | float = 0.0


def run_gated_scan(
    scan: Scan,
    gates: Tensor,
    bias: Tensor,
    state: Tensor,
    given: Tensor | None = None,
    rate: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence on float32 tensors on a CPU.

    Args:
        scan: how to run it.
        gates: (T, B, G H), the arguments of the gates without their bias.  The backward pass
            overwrites them by their gradient, so nothing else can use them.
        bias: (G H).
        state: h before the first step, (B, H).
        given: c, (T, B, H), for an RG-LRU.
        rate: (H,), for an RG-LRU: a_t = exp(rate * sigmoid(r_t)).

    Returns:
        h (T, B, H), zero after the end of a row, and the last h (B, H).

    Raises:
        ArgumentError: the lengths are not integers (B,) in 0..T.
    """
    tensors = (gates, bias, state, given, rate)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        h, end = _GatedScan.apply(scan, *tensors)  # type: ignore[no-untyped-call]
        return h, end
    return _forward(scan, *tensors)


def _forward(
    scan: Scan,
    gates: Tensor,
    bias: Tensor,
    state: Tensor,
    given: Tensor | None,
    rate: Tensor | None,
) -> tuple[Tensor, Tensor]:
    h = gates.new_empty(*gates.shape[:2], state.shape[1])
    end = state.new_empty(state.shape)
    call, alive = _call(scan, gates, bias, state, given, rate, h)
    call.set_h_end(end)
    call.forward()
    del alive
    return h, end


def _call(
    scan: Scan,
    gates: Tensor,
    bias: Tensor,
    state: Tensor,
    given: Tensor | None,
    rate: Tensor | None,
    h: Tensor,
) -> tuple[Any, list[Tensor | None]]:
    """Return a native call with everything that both passes read, and the tensors to keep alive."""
    assert kernels.native is not None
    steps, rows, units = h.shape
    masked = isinstance(scan.kept, Tensor)
    call = kernels.native.GatedScan(
        list(GATES).index(scan.cell),
        rows,
        steps,
        units,
        torch.get_num_threads(),
        scan.reverse,
        0.0 if masked else scan.kept,
    )
    gates, bias, state = _by_rows(gates), _dense(bias), _dense(state)
    call.set_gates(gates)
    call.set_bias(bias)
    call.set_h0(state)
    call.set_h(h.transpose(0, 1))
    alive: list[Tensor | None] = [gates, bias, state]
    if given is not None and rate is not None:
        given, rate = _by_rows(given), _dense(rate)
        call.set_input(given)
        call.set_rate(rate)
        alive += [given, rate]
    if isinstance(scan.kept, Tensor):
        kept = _by_rows(scan.kept.to(torch.float32))
        call.set_keep(kept)
        alive.append(kept)
    if scan.lengths is not None:
        check_lengths(scan.lengths, rows, steps)
        lengths = scan.lengths.to("cpu", torch.int64).contiguous()
        call.set_lengths(lengths)
        alive.append(lengths)
    return call, alive


def _by_rows(x: Tensor) -> Tensor:
    """Return x (T, B, D) as (B, T, D), with the numbers of a step side by side in memory."""
    x = resolved(x)
    return (x if x.stride(2) == 1 else x.contiguous()).transpose(0, 1)


def _dense(x: Tensor) -> Tensor:
    return resolved(x).contiguous()


class _GatedScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scan: Scan, *tensors: Any) -> tuple[Tensor, Tensor]:
        h, end = _forward(scan, *tensors)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, *tensors)
        ctx.scan = scan
        return h, end

    @staticmethod
    def backward(ctx: Any, d_h: Tensor | None, d_end: Tensor | None) -> Any:
        refuse_second_derivatives()
        h, gates, bias, state, given, rate = ctx.saved_tensors
        call, alive = _call(ctx.scan, gates, bias, state, given, rate, h)
        d_gates = (
            gates if not keeps_graph() and gates.is_contiguous() else gates.new_empty(gates.shape)
        )
        d_state = state.new_empty(state.shape)
        sums = bias.numel() + (0 if rate is None else rate.numel())
        d_sums = h.new_empty(h.shape[1], sums)
        incoming = None if d_h is None else _by_rows(d_h)
        end = None if d_end is None else _dense(d_end)
        call.set_d_h(incoming)
        call.set_d_end(end)
        call.set_d_gates(d_gates.transpose(0, 1))
        call.set_d_sums(d_sums)
        call.set_d_h0(d_state)
        d_given = None
        if given is not None:
            d_given = torch.empty_like(h)
            call.set_d_input(d_given.transpose(0, 1))
        call.backward()
        del alive
        d_bias = d_sums.sum(0)
        d_rate = None if rate is None else d_bias[bias.numel() :]
        return None, d_gates, d_bias[: bias.numel()], d_state, d_given, d_rate
