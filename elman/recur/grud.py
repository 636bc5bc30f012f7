"""GRU-D: a gated recurrent unit whose inputs and state decay with the time that passes.

The inputs at step t are the values x_t of C channels, 0 where nothing was measured; the mask m_t, 1
where something was measured; the time s_t since the previous step; and E features u_t that are
always present.  Values are standardised by the training data, so the mean to which a channel
decays is 0.

    d_t = s_t + (1 - m_{t-1}) * d_{t-1}                     time since a channel was last seen
    l_t = m_{t-1} * x_{t-1} + (1 - m_{t-1}) * l_{t-1}       the value seen then
    a_t = exp(-max(0, w_a * d_t + b_a))                     decay of the inputs, per channel
    g_t = exp(-max(0, W_g d_t + b_g))                       decay of the state
    v_t = m_t * x_t + (1 - m_t) * a_t * l_t
    k_t = g_t * h_{t-1}
    r_t = sigmoid(W_r [v_t, m_t, u_t] + U_r k_t + b_r)
    z_t = sigmoid(W_z [v_t, m_t, u_t] + U_z k_t + b_z)
    n_t = tanh(W_n [v_t, m_t, u_t] + b_n + U_n (r_t * k_t))
    h_t = (1 - z_t) * n_t + z_t * k_t

Source: Che et al. 2018 (arXiv:1606.01865), where z and 1 - z are exchanged; u_t is added here.
Everything except the recurrence itself is computed for all steps at once (decay.py).
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


class GRUDCell(DecayCell):
    """The equations at the top of this file; the state is h, the last values and the times since.

    Args:
        channels: C.
    """

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of h, and of l and d after the step."""
        return {"h": (hidden,), "last": (self.channels,), "since": (self.channels,)}

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights for 2 C + 1 + E features."""
        return {
            "decay_input": (self.channels,),
            "decay_input_bias": (self.channels,),
            "decay_state": (hidden, self.channels),
            "decay_state_bias": (hidden,),
            "weight_ih": (3 * hidden, features - 1),
            "weight_hh": (3 * hidden, hidden),
            "bias": (3 * hidden,),
        }

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw the matrices from U(-1/sqrt(H), 1/sqrt(H)); decays start small and positive."""
        bound = 1 / math.sqrt(hidden)
        for name in ("weight_ih", "weight_hh", "bias"):
            nn.init.uniform_(weights[name], -bound, bound)
        for name in ("decay_input", "decay_input_bias", "decay_state_bias"):
            nn.init.uniform_(weights[name], 0, 0.1)
        nn.init.uniform_(weights["decay_state"], 0, 0.1 / self.channels)

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        h, last, since = state
        values, there, elapsed, _ = self.split(x)
        waited = elapsed + since
        read, decay = self._decayed(x, last, waited, weights)
        gates = F.linear(read, weights["weight_ih"], weights["bias"])
        h = update(gates, decay * h, decay * seen, weights["weight_hh"])
        return h, there * values + (1 - there) * last, (1 - there) * waited

    def _decayed(
        self, x: Tensor, last: Tensor, waited: Tensor, weights: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the inputs of the gates and the decay of the state, given l_t and d_t."""
        values, there, _, extra = self.split(x)
        decay = torch.exp(
            -torch.relu(weights["decay_input"] * waited + weights["decay_input_bias"])
        )
        inputs = there * values + (1 - there) * decay * last
        rates = F.linear(waited, weights["decay_state"], weights["decay_state_bias"])
        return torch.cat([inputs, there, extra], -1), torch.exp(-torch.relu(rates))

    def read(
        self, x: Tensor, rest: Leaves, weights: Weights, running: Tensor | None
    ) -> tuple[Tensor, Tensor, Leaves]:
        """Return the inputs of the gates, the decays of the state, and the last l and d."""
        values, there, elapsed, _ = self.split(x)
        last, since = rest
        seen, waited, last, since = _since_seen(values, there, elapsed, last, since, running)
        v, decay = self._decayed(x, seen, waited, weights)
        return v, decay, (last, since)


class GRUD(TimedStack):
    """GRU-D with one layer, which runs forward on inputs with the batch first.

    x (B, T, 2 C + 1 + E) concatenates x_t, m_t, s_t and u_t.  The state is h (1, B, H), the last
    seen value of each channel and the time since then, both (1, B, C).

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
        >>> core = elman.GRUD(channels=2, hidden_size=8)
        >>> values, there = torch.randn(3, 10, 2), torch.ones(3, 10, 2)
        >>> elapsed = torch.rand(3, 10, 1)
        >>> y, (h, last, since) = core(torch.cat([values * there, there, elapsed], dim=2))
        >>> y.shape, h.shape, since.shape
        (torch.Size([3, 10, 8]), torch.Size([1, 3, 8]), torch.Size([1, 3, 2]))
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
            GRUDCell(channels),
            hidden_size,
            extra,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
        )

    def way(self, x: Tensor, *, ragged: bool = False) -> Way:
        """Return which functions run the recurrence on x: our kernel or the plain definition."""
        return "kernel" if takes_kernel(x) else "plain"


def _since_seen(
    values: Tensor,
    there: Tensor,
    elapsed: Tensor,
    last: Tensor,
    since: Tensor,
    running: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return l_t and d_t (B, T, C) of all steps at once, and their values after the last step.

    With the moments c_t = s_1 + .. + s_t, d_t is c_t minus the moment when the channel was last
    seen before t, or c_t plus the time carried in by the state.
    """
    steps = values.shape[1]
    moment = elapsed.double().cumsum(1)  # differences of sums: float32 would lose small ones
    number = torch.arange(1, steps + 1, device=values.device)[None, :, None]
    latest = torch.where(there > 0.5, number, 0).cummax(1).values
    whole = torch.cat([last[:, None], values], 1)
    times = torch.cat([-since[:, None].double(), moment.expand(values.shape)], 1)
    before = torch.cat([torch.zeros_like(latest[:, :1]), latest[:, :-1]], 1)
    seen = whole.gather(1, before)
    waited = (moment - times.gather(1, before)).to(values.dtype)
    end = latest[:, -1:]  # there are no values after the end of a row
    last = whole.gather(1, end)[:, 0]
    final = moment[:, -1]
    if running is not None:
        final = torch.where(running[:, :, None], elapsed, 0).double().sum(1)
    return seen, waited, last, (final - times.gather(1, end)[:, 0]).to(values.dtype)
