"""A GRU whose state decays before each step: the part that GRU-D and GRUwE share.

    k_t = g_t * h_{t-1}
    r_t = sigmoid(W_r v_t + U_r k_t + b_r)
    z_t = sigmoid(W_z v_t + U_z k_t + b_z)
    n_t = tanh(W_n v_t + b_n + U_n (r_t * k_t))
    h_t = (1 - z_t) * n_t + z_t * k_t

A cell of this kind defines the inputs v_t of the gates and the decay g_t.  Neither depends on h, so
both are computed for all steps at once; the rest is the kernel of the GRU that resets before the
product, with one factor more.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from elman import kernels
from elman.kernels.autograd import seen_by_torch
from elman.kernels.cells import Constants, Run
from elman.kernels.layer import run_layer
from elman.kernels.ragged import Ragged, pack
from elman.padded import time_mask
from elman.recur.cell import Leaves, Masks, Weights
from elman.recur.timed import TimedCell


class DecayCell(TimedCell):
    """A `TimedCell` that computes the equations at the top of this file.

    The weights of the gates are `weight_ih`, `weight_hh` and `bias`, with the rows of r, z and n.
    """

    steps_alone = False  # the kernel is as fast for one step

    @abstractmethod
    def read(
        self, x: Tensor, rest: Leaves, weights: Weights, running: Tensor | None
    ) -> tuple[Tensor, Tensor, Leaves]:
        """Return v and g of all steps, (B, T, V) and (B, T, H), and the last leaves except h.

        Args:
            x: (B, T, 2 C + 1 + E).
            rest: the leaves of the state before the first step, except h.
            weights: the weights by name.
            running: (B, T), true up to the end of a row; None if all rows have T steps.
        """

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
        """Run all steps; everything except the recurrence is computed for all of them at once."""
        if reverse or any(isinstance(rate, Tensor) or rate for rate in masks.kept):
            return super().sequence(
                x, state, weights, masks=masks, lengths=lengths, reverse=reverse
            )
        x, (h, *rest), steps = x.transpose(0, 1), state, len(x)
        running = None if lengths is None else time_mask(lengths.to(x.device), steps)
        v, decays, last = self.read(x, tuple(rest), weights, running)
        if takes_kernel(x) and (lengths is None or bool(lengths.any())):
            y, h = _run_kernel(v, decays, h, weights, lengths=lengths, mask=masks.seen)
            return y, (h, *last)
        outputs, hh = [], weights["weight_hh"]
        gates = F.linear(v, weights["weight_ih"], weights["bias"])
        for t, (a, decay) in enumerate(zip(gates.unbind(1), decays.unbind(1), strict=True)):
            k = decay * h
            new = update(a, k, k if masks.seen is None else k * masks.seen, hh)
            h = new if running is None else torch.where(running[:, t, None], new, h)
            outputs.append(new)
        y = torch.stack(outputs)
        if running is not None:
            y = torch.where(running.t()[:, :, None], y, 0)
        return y, (h, *last)


def update(gates: Tensor, k: Tensor, seen: Tensor, hh: Tensor) -> Tensor:
    """Return h_t, given the products with the inputs, k_t, and k_t after dropout."""
    hidden = k.shape[1]
    both, candidate = hh.split([2 * hidden, hidden])
    r, z = torch.sigmoid(gates[:, : 2 * hidden] + F.linear(seen, both)).chunk(2, dim=1)
    n = torch.tanh(gates[:, 2 * hidden :] + F.linear(r * seen, candidate))
    return n + z * (k - n)


def takes_kernel(x: Tensor) -> bool:
    """Return whether our kernel runs the recurrence on x (rows first)."""
    native = kernels.native and x.device.type == "cpu" and x.dtype == torch.float32
    outside = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or seen_by_torch()
    return bool(native) and x.numel() > 0 and not outside


def _run_kernel(
    v: Tensor,
    decays: Tensor,
    h: Tensor,
    weights: Weights,
    *,
    lengths: Tensor | None,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run the kernel of the GRU that resets before the product, with decays (B, T, H)."""
    hidden, steps, ragged = h.shape[1], v.shape[1], None
    x, decay = v.transpose(0, 1), decays.transpose(0, 1)
    if lengths is not None:
        ragged = Ragged.sort(lengths, steps)
        x, decay = pack(x, ragged), pack(decay, ragged)
    both, candidate = weights["weight_hh"].split([2 * hidden, hidden])
    run = Run("gru reset before", False, steps, ragged, padded=True, mask=mask)
    constants = Constants(weights["weight_ih"], both, bias=weights["bias"], hr=candidate)
    y, (h,) = run_layer(run, x, (h,), constants, decay)
    return y, h
