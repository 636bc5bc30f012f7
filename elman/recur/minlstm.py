"""The minimal LSTM, whose gates and candidate depend on the input only.

    f_t = sigmoid(W_f x_t + b_f)
    i_t = sigmoid(W_i x_t + b_i)
    n_t = W_n x_t + b_n
    h_t = (f_t * h_{t-1} + i_t * n_t) / (f_t + i_t)

The state is a linear recurrence, which is trained without a loop over the steps.

Source: Feng et al. 2024, "Were RNNs All We Needed?" (arXiv:2410.01201), section 3.2.  Its log-space
form needs positive states; this one computes the equations above as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.recur.build import layers_of
from elman.recur.linear import LinearCell
from elman.recur.stack import Stack


@dataclass(frozen=True)
class MinLSTMCell(LinearCell):
    """The equations at the top of this file."""

    gates = 3
    native = "min_lstm"

    def factors(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return f / (f + i) and i / (f + i) * n, from log f - log i, which cannot overflow."""
        forget, take, candidate = gates.chunk(3, -1)
        ratio = F.softplus(-take) - F.softplus(-forget)
        return torch.sigmoid(ratio), torch.sigmoid(-ratio) * candidate


class MinLSTM(Stack):
    """Layers of the minimal LSTM.

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
        >>> core = elman.MinLSTM(3, 8, batch_first=True)
        >>> y, h = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, h.shape
        (torch.Size([4, 10, 8]), torch.Size([1, 4, 8]))
    """

    __init__ = layers_of(MinLSTMCell)
