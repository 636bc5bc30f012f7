"""GRUwE: a GRU with exponential basis functions, whose state decays with the time that passes.

The inputs at step t are the values x_t of C channels, 0 where nothing was measured; the mask m_t, 1
where something was measured; the time s_t since the previous step; and E features u_t that are
always present.

    g_t = exp(-max(0, w * s_t + b))                         decay of the state, per unit
    k_t = g_t * h_{t-1}
    r_t = sigmoid(W_r [m_t * x_t, m_t, u_t] + U_r k_t + b_r)
    z_t = sigmoid(W_z [m_t * x_t, m_t, u_t] + U_z k_t + b_z)
    n_t = tanh(W_n [m_t * x_t, m_t, u_t] + b_n + U_n (r_t * k_t))
    h_t = (1 - z_t) * n_t + z_t * k_t

GRU-D also decays the inputs, and by the time since each channel was last seen; here a missing value
is 0, and a unit has one rate for the time since the previous step.

Source: Joshi and Hauskrecht 2025, "Still Competitive: Revisiting Recurrent Models for Irregular
Time Series Prediction" (arXiv:2510.16161), as its author contributed it to PyOmniTS
(models/GRUwE.py), where z and 1 - z are exchanged.  There, values and mask pass through a linear
layer each, which W contains here; u_t is added.  A step at which no channel was measured is a step
here, as in the forecasts of that code; its encoder skips it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.recur.cell import Leaves, Shapes, Weights
from elman.recur.decay import DecayCell, takes_kernel, update
from elman.recur.stack import Way
from elman.recur.timed import TimedStack


class GRUwECell(DecayCell):
    """The equations at the top of this file; the state is h.

    Args:
        channels: C.
    """

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights for 2 C + 1 + E features."""
        return {
            "decay_state": (hidden,),
            "decay_state_bias": (hidden,),
            "weight_ih": (3 * hidden, features - 1),
            "weight_hh": (3 * hidden, hidden),
            "bias": (3 * hidden,),
        }

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw matrices and w by Xavier's rule (Glorot and Bengio 2010); biases start at 0."""
        read = weights["weight_ih"].shape[1]
        for name in ("weight_ih", "weight_hh"):  # a gate has one matrix for inputs and state
            bound = math.sqrt(6 / (read + 2 * hidden))
            nn.init.uniform_(weights[name], -bound, bound)
        bound = math.sqrt(6 / (1 + hidden))
        nn.init.uniform_(weights["decay_state"], -bound, bound)
        for name in ("decay_state_bias", "bias"):
            nn.init.zeros_(weights[name])

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        v, decay, _ = self.read(x, (), weights, None)
        gates = F.linear(v, weights["weight_ih"], weights["bias"])
        return (update(gates, decay * state[0], decay * seen, weights["weight_hh"]),)

    def read(
        self, x: Tensor, rest: Leaves, weights: Weights, running: Tensor | None
    ) -> tuple[Tensor, Tensor, Leaves]:
        """Return the inputs of the gates and the decays; there are no leaves except h."""
        values, there, elapsed, extra = self.split(x)
        rates = torch.relu(weights["decay_state"] * elapsed + weights["decay_state_bias"])
        return torch.cat([there * values, there, extra], -1), torch.exp(-rates), ()


class GRUwE(TimedStack):
    """GRUwE with one layer, which runs forward on inputs with the batch first.

    x (B, T, 2 C + 1 + E) concatenates x_t, m_t, s_t and u_t.  The state is h (1, B, H).

    Args:
        channels: C.
        hidden_size: H.
        extra: E, features that are always present.
        weight_dropout: probability of dropping an entry of U, once per call (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into the gates, the
            same at all steps (arXiv:1512.05287).
        zoneout: probability that a unit of h keeps its old value in a step (arXiv:1606.01305);
            without the native kernel.

    Raises:
        ArgumentError: a size is below its minimum, or the shape of x does not fit.

    Example:
        >>> import torch, elman
        >>> core = elman.GRUwE(channels=2, hidden_size=8)
        >>> values, there = torch.randn(3, 10, 2), torch.ones(3, 10, 2)
        >>> elapsed = torch.rand(3, 10, 1)
        >>> y, h = core(torch.cat([values * there, there, elapsed], dim=2))
        >>> y.shape, h.shape
        (torch.Size([3, 10, 8]), torch.Size([1, 3, 8]))
    """

    def __init__(
        self,
        channels: int,
        hidden_size: int,
        extra: int = 0,
        *,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
    ) -> None:
        super().__init__(
            GRUwECell(channels),
            hidden_size,
            extra,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
        )

    def way(self, x: Tensor, *, ragged: bool = False) -> Way:
        """Return which functions run the recurrence on x: our kernel or the plain definition."""
        return "kernel" if takes_kernel(x) else "plain"
