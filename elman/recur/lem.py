"""Long expressive memory (LEM): two states that change at speeds which the network learns.

    a_t = dt * sigmoid(W_a x_t + U_a y_{t-1} + b_a)            time step of z
    d_t = dt * sigmoid(W_d x_t + U_d y_{t-1} + b_d)            time step of y
    z_t = (1 - a_t) * z_{t-1} + a_t * tanh(W_z x_t + U_z y_{t-1} + b_z)
    y_t = (1 - d_t) * y_{t-1} + d_t * tanh(W_y x_t + U_y z_t + b_y)

The output is y_t.  The equations are steps of a differential equation, whose gradients neither
explode nor vanish fast if dt is small.

Source: Rusch et al. 2021, "Long Expressive Memory for Sequence Modeling" (arXiv:2110.04744),
equation 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.errors import ArgumentError
from elman.kernels.products import linear
from elman.recur.cell import Cell, Leaves, Shapes, Weights
from elman.recur.stack import Stack


@dataclass(frozen=True)
class LEMCell(Cell):
    """The equations at the top of this file.

    Args:
        dt: the largest time step of a state.
    """

    dt: float = 1.0

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of y and z."""
        return {"y": (hidden,), "z": (hidden,)}

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights, whose rows are those of a, d, z and y."""
        rows = 4 * hidden
        return {"weight_ih": (rows, features), "weight_hh": (rows, hidden), "bias": (rows,)}

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return W x_t + b for a, d, z and y."""
        return linear(x, weights["weight_ih"], weights["bias"])

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        y, z = state
        hidden = y.shape[1]
        by_y, by_z = weights["weight_hh"].split([3 * hidden, hidden])
        gates, x_y = x.split([3 * hidden, hidden], dim=1)
        a, d, x_z = (gates + F.linear(seen, by_y)).chunk(3, dim=1)
        z = z + self.dt * torch.sigmoid(a) * (torch.tanh(x_z) - z)
        y = y + self.dt * torch.sigmoid(d) * (torch.tanh(x_y + F.linear(z, by_z)) - y)
        return y, z


class LEM(Stack):
    """Layers of long expressive memory, for long sequences.

    Args:
        input_size: features of x.
        hidden_size: units of a layer, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        dt: the largest time step of a state; a smaller one lengthens the memory.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        weight_dropout: probability of dropping an entry of U, once per call (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of y_{t-1} on its way into U, the same at
            all steps (arXiv:1512.05287).
        zoneout: probability that a unit keeps its old value in a step (arXiv:1606.01305).
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        ArgumentError: a size or a probability is out of its range, or `dt` is not positive.

    Example:
        >>> import torch, elman
        >>> core = elman.LEM(3, 8, num_layers=2, dt=0.5, batch_first=True)
        >>> out, (y, z) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> out.shape, y.shape, z.shape
        (torch.Size([4, 10, 8]), torch.Size([2, 4, 8]), torch.Size([2, 4, 8]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        dt: float = 1.0,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        variational: bool = False,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not 0 < dt < math.inf:
            raise ArgumentError(f"dt must be a positive number, got {dt}")
        super().__init__(
            LEMCell(dt),
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            variational=variational,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            device=device,
            dtype=dtype,
        )
        self.dt = dt

    def extra_repr(self) -> str:
        """Return the sizes and the options that are on, for `repr`."""
        return f"{super().extra_repr()}, dt={self.dt}"
