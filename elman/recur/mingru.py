"""The minimal GRU, whose gate and candidate depend on the input only.

    z_t = sigmoid(W_z x_t + b_z)
    n_t = W_n x_t + b_n
    h_t = (1 - z_t) * h_{t-1} + z_t * n_t

The state is a linear recurrence, which is trained without a loop over the steps.  One layer of it
cannot track a state (parity, for example), so it is used in blocks, see `elman.recur.blocks`.

Source: Feng et al. 2024, "Were RNNs All We Needed?" (arXiv:2410.01201), section 3.1.  Its log-space
form needs positive states; this one computes the equations above as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elman.recur.build import layers_of
from elman.recur.linear import LinearCell
from elman.recur.stack import Stack


@dataclass(frozen=True)
class MinGRUCell(LinearCell):
    """The equations at the top of this file."""

    gates = 2
    native = "min_gru"

    def factors(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 - z and z * n."""
        update, candidate = gates.chunk(2, -1)
        return torch.sigmoid(-update), torch.sigmoid(update) * candidate


class MinGRU(Stack):
    """Layers of the minimal GRU.

    Args:
        input_size: features of x.
        hidden_size: units of a layer, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        zoneout: probability that a unit keeps its old value in a step (arXiv:1606.01305).
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        ArgumentError: a size or a probability is out of its range.

    Example:
        >>> import torch, elman
        >>> core = elman.MinGRU(3, 8, num_layers=2, batch_first=True)
        >>> y, h = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, h.shape
        (torch.Size([4, 10, 8]), torch.Size([2, 4, 8]))
    """

    __init__ = layers_of(MinGRUCell)
