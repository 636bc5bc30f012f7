"""CfC: a closed-form continuous-time network, whose gate is a function of the time that passes.

The inputs at step t are the values x_t of C channels, 0 where nothing was measured; the mask m_t, 1
where something was measured; the time s_t since the previous step; and E features u_t that are
always present.

    v_t = m_t * x_t + (1 - m_t) * v_{t-1}                   the last value of a channel
    b_t = 1.7159 tanh(2/3 (W [v_t, m_t, u_t] + U h_{t-1} + b))      backbone
    k_t = sigmoid(-(W_f b_t + b_f) * s_t + W_a b_t + b_a)
    h_t = k_t * tanh(W_g b_t + b_g) + (1 - k_t) * tanh(W_h b_t + b_h)

The state at a step is a mixture of its two candidates, which k_t moves from one to the other as
time passes; it approximates the solution of a differential equation without solving it.

Source: Hasani et al. 2022, "Closed-form continuous-time neural networks" (arXiv:2106.13898),
equation 10.  The term W_a b_t + b_a, the backbone of one layer and the last values are those of its
code; the paper tunes the layers, units and function of the backbone.  u_t is added here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.errors import ArgumentError
from elman.recur.cell import Leaves, Shapes, Weights
from elman.recur.timed import TimedCell, TimedStack


@dataclass(frozen=True)
class CfCCell(TimedCell):
    """The equations at the top of this file; the state is h and the last values v.

    Args:
        channels: C.
        backbone: units of the backbone; None for H.
    """

    backbone: int | None = None

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of h and v."""
        return {"h": (hidden,), "last": (self.channels,)}

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights for 2 C + 1 + E features; rows of f, a, g and h."""
        units = hidden if self.backbone is None else self.backbone
        return {
            "weight_ih": (units, features - 1),
            "weight_hh": (units, hidden),
            "bias": (units,),
            "weight_out": (4 * hidden, units),
            "bias_out": (4 * hidden,),
        }

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw the matrices by Xavier's rule (Glorot and Bengio 2010), and biases as torch does."""
        units, read = weights["weight_ih"].shape
        backbone, out = math.sqrt(6 / (read + hidden + units)), math.sqrt(6 / (units + hidden))
        bounds = {
            "weight_ih": backbone,
            "weight_hh": backbone,
            "bias": 1 / math.sqrt(read + hidden),
            "weight_out": out,
            "bias_out": 1 / math.sqrt(units),
        }
        for name, bound in bounds.items():
            nn.init.uniform_(weights[name], -bound, bound)

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return W [m_t * x_t, m_t, u_t] + b, and x_t, m_t and s_t."""
        values, there, elapsed, extra = self.split(x)
        read = torch.cat([there * values, there, extra], -1)
        product = F.linear(read, weights["weight_ih"], weights["bias"])
        return torch.cat([values, there, elapsed, product], -1)

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        h, last = state
        values, there, elapsed, product = self.split(x)
        kept = (1 - there) * last
        product = product + F.linear(kept, weights["weight_ih"][:, : self.channels])
        product = product + F.linear(seen, weights["weight_hh"])
        backbone = 1.7159 * torch.tanh(2 / 3 * product)
        out = F.linear(backbone, weights["weight_out"], weights["bias_out"])
        f, a, g, other = out.chunk(4, dim=1)
        k = torch.sigmoid(a - f * elapsed)
        new = k * torch.tanh(g) + (1 - k) * torch.tanh(other)
        return new.to(h.dtype), (there * values + kept).to(last.dtype)


class CfC(TimedStack):
    """CfC with one layer, which runs forward on inputs with the batch first.

    x (B, T, 2 C + 1 + E) concatenates x_t, m_t, s_t and u_t.  The state is h (1, B, H) and the last
    value of each channel (1, B, C).

    Args:
        channels: C.
        hidden_size: H.
        extra: E, features that are always present.
        backbone: units of the layer before the gate and the candidates; None for H.
        weight_dropout: probability of dropping an entry of U, once per call (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into U, the same at
            all steps (arXiv:1512.05287).
        zoneout: probability that a unit of h keeps its old value in a step (arXiv:1606.01305).

    Raises:
        ArgumentError: a size is below its minimum, or the shape of x does not fit.

    Example:
        >>> import torch, elman
        >>> core = elman.CfC(channels=2, hidden_size=8)
        >>> values, there = torch.randn(3, 10, 2), torch.ones(3, 10, 2)
        >>> elapsed = torch.rand(3, 10, 1)
        >>> y, (h, last) = core(torch.cat([values * there, there, elapsed], dim=2))
        >>> y.shape, h.shape, last.shape
        (torch.Size([3, 10, 8]), torch.Size([1, 3, 8]), torch.Size([1, 3, 2]))
    """

    def __init__(
        self,
        channels: int,
        hidden_size: int,
        extra: int = 0,
        *,
        backbone: int | None = None,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
    ) -> None:
        if backbone is not None and backbone < 1:
            raise ArgumentError(f"backbone must be at least 1, got {backbone}")
        super().__init__(
            CfCCell(channels, backbone),
            hidden_size,
            extra,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
        )
        self.backbone = backbone

    def extra_repr(self) -> str:
        """Return the sizes for `repr`."""
        shown = super().extra_repr()
        return shown if self.backbone is None else f"{shown}, backbone={self.backbone}"
