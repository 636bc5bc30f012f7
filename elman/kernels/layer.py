"""Run one layer of RNN, LSTM or GRU in one direction, with gradients if they are wanted."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from elman.kernels.autograd import keeps_graph, refuse_second_derivatives
from elman.kernels.cells import Constants, Leaves, Run
from elman.kernels.recurrence import Recurrence


def run_layer(
    run: Run, x: Tensor, state: Leaves, weights: Constants, decay: Tensor | None = None
) -> tuple[Tensor, Leaves]:
    """Run one layer in one direction.

    Args:
        run: how to run it.
        x: (T, B, D), or packed (N, D); float32 or bfloat16.
        state: leaves (B, R) and, for an LSTM, (B, H), or with a leading dimension of one.
        weights: weights of the layer.
        decay: factors of h before each step, (T, B, R) or packed like x; None for ones.

    Returns:
        h at every step, (T, B, R) or packed (N, R), in bfloat16 if `run.bf16`; and the last state,
        with the shape and type of the first.
    """
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (weights.hh, x, decay, *state, *weights)
    ):
        y, *end = _Layer.apply(run, len(state), decay, x, *state, *weights)  # type: ignore[no-untyped-call]
        return y, tuple(end)
    y, end, _ = Recurrence(run, x, state, weights, decay).forward(keep=False)
    return _as_given(run, y, end, state)


def _as_given(run: Run, y: Tensor, end: Leaves, state: Leaves) -> tuple[Tensor, Leaves]:
    """Convert the output and the last state to the types of the caller."""
    if not run.bf16:
        return y, end
    return y.bfloat16(), tuple(leaf.to(state[0].dtype) for leaf in end)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Run, leaves: int, decay: Tensor | None, x: Tensor, *rest: Tensor
    ) -> Any:
        call = Recurrence(run, x, rest[:leaves], Constants(*rest[leaves:]), decay, keep=True)
        y, end, saved = call.forward(keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y, decay, x, *rest)  # x and rest only so that changes are noticed
        ctx.call, ctx.saved, ctx.leaves, ctx.lock = call, saved, leaves, threading.Lock()
        y, end = _as_given(run, y, end, rest)
        return y, *end

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, *d_end: Tensor | None) -> Any:
        refuse_second_derivatives()
        y, again, leaves = ctx.saved_tensors[0], keeps_graph(), ctx.leaves
        wanted = (ctx.needs_input_grad[3], ctx.needs_input_grad[4 + leaves])
        with ctx.lock:  # several threads can run backward passes of one graph
            call, saved = ctx.call, ctx.saved
            if again:  # keep the originals for the next backward pass
                saved = saved.copy()
            d_x, d_state, gradients = call.backward(saved, y, d_y, d_end, wanted)
            d_decay = call.d_decay
            if not again:
                call.lease.release()
                ctx.call = ctx.saved = None
        weights = map(gradients.get, Constants._fields)
        return None, None, d_decay, d_x, *d_state, *weights
