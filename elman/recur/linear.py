"""Cells whose state is a linear recurrence: h_t = a_t * h_{t-1} + b_t, with a_t and b_t from x_t.

A cell of this kind defines the factors a and b, for one step or for all steps at once.  A whole
sequence is then one call of `linear_recurrence`, which passes over memory once.  Zoneout with the
share k_t of the old value only changes the factors: h_t = (a_t + k_t (1 - a_t)) h_{t-1}
+ (1 - k_t) b_t.

Shape legend: T steps, B rows, F features, H hidden units.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from elman.kernels.autograd import runs_natively
from elman.kernels.gated_scan import Scan, run_gated_scan
from elman.kernels.products import linear
from elman.recur.cell import Cell, Leaves, Masks, Shapes, Weights
from elman.recur.scan import linear_recurrence


def last_outputs(y: Tensor, before: Tensor, lengths: Tensor | None, *, reverse: bool) -> Tensor:
    """Return the output of each row at the step that was run last.

    Args:
        y: (T, B, R), the outputs of all steps.
        before: (B, R), the outputs before the first step, which rows without steps keep.
        lengths: integers (B,) in 0..T; None if all rows have T steps.
        reverse: rows were run from their last element to their first.
    """
    if lengths is None:
        return y[0 if reverse else -1].clone()
    lengths = lengths.to(y.device)
    place = torch.zeros_like(lengths) if reverse else (lengths - 1).clamp(min=0)
    found = y[place, torch.arange(y.shape[1], device=y.device)]
    return torch.where((lengths > 0)[:, None], found, before)


class LinearCell(Cell):
    """A cell that computes h_t = a_t * h_{t-1} + b_t from the gates W x_t + b.

    A subclass defines `gates`, the number of gates, `native`, the name of its native call
    (`elman.kernels.gated_scan.GATES`), and `factors`, which define what that call computes.
    """

    gates: int
    native: str

    @abstractmethod
    def factors(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b (..., H) for gates (..., gates H)."""

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of W and b, with the gates side by side."""
        return {"weight": (self.gates * hidden, features), "bias": (self.gates * hidden,)}

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw the weights from U(-1/sqrt(F), 1/sqrt(F)), as `torch.nn.Linear` does."""
        bound = 1 / math.sqrt(weights["weight"].shape[1])
        for weight in weights.values():
            nn.init.uniform_(weight, -bound, bound)

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the gates W x_t + b of all steps, in float32 at least: 1 - a_t can be small."""
        gates = linear(x, weights["weight"], weights["bias"])
        return gates.to(torch.promote_types(gates.dtype, torch.float32))

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute h_t = a_t * h_{t-1} + b_t."""
        a, b = self.factors(x)
        return ((a * state[0] + b).to(state[0].dtype),)

    def sequence(
        self,
        x: Tensor,
        state: Leaves,
        weights: Weights,
        *,
        masks: Masks,
        lengths: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, Leaves]:
        """Run all steps in one native call, or by `linear_recurrence`."""
        (h,), (kept,) = state, masks.kept
        if runs_natively(x):
            scan = Scan(self.native, lengths, reverse, kept)
            gates, bias = linear(x, weights["weight"]).float(), weights["bias"].float()
            y, end = run_gated_scan(scan, gates, bias, h.float())
            return y.to(h.dtype), (end.to(h.dtype),)
        a, b = self.factors(self.inputs(x, weights))
        if masks.zoneout:
            a, b = a + kept * (1 - a), b * (1 - kept)
        y, end = linear_recurrence(
            a.transpose(0, 1), b.transpose(0, 1), h.to(b.dtype), lengths, reverse=reverse
        )
        return y.transpose(0, 1).to(h.dtype), (end.to(h.dtype),)
