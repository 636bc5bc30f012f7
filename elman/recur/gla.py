"""Gated linear attention: a matrix state, each of whose rows decays at its own rate.

For each head, with keys and queries of K and values of V features, K = V = H / heads:

    q_t = W_q x_t / sqrt(K)     k_t = W_k x_t     v_t = W_v x_t
    a_t = sigmoid(W_2 W_1 x_t + b)^(1/16)                   (K), W_1 has 16 rows
    S_t = diag(a_t) S_{t-1} + k_t v_t^T
    o_t = S_t^T q_t
    y_t = W_y (rms(o_t) * g * silu(W_r x_t + b_r))

rms divides the o of each head by its root mean square, and g is a gain.

Source: Yang et al. 2023, "Gated Linear Attention Transformers with Hardware-Efficient Training"
(arXiv:2312.06635), section 4.  Differences: keys are as long as values, and heads are normalised
without subtracting their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.kernels.products import linear
from elman.recur.build import layers_with_heads
from elman.recur.cell import Shapes, Weights
from elman.recur.memory import MatrixCell, Read
from elman.recur.stack import Stack

RANK = 16  # rows of W_1
SOFTEN = 16  # the root of the decay, which keeps it close to 1


@dataclass(frozen=True)
class GLACell(MatrixCell):
    """The equations at the top of this file.

    Args:
        heads: number of heads; None for heads of 64 units if 64 divides H, otherwise for one.
    """

    undecayed = ("bias_decay",)

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights; `weight` has W_q, W_k, W_v, W_r and W_1."""
        return {
            "weight": (4 * hidden + RANK, features),
            "bias_gate": (hidden,),
            "weight_decay": (hidden, RANK),
            "bias_decay": (hidden,),
            "gain": (self.size(hidden),),
            "weight_out": (hidden, hidden),
        }

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw the matrices as Glorot and Bengio do; biases are 0, and gains 1."""
        for name, weight in weights.items():
            if name.startswith("weight"):
                nn.init.xavier_uniform_(weight)
            else:
                nn.init.constant_(weight, float(name == "gain"))

    def read(self, parts: Sequence[Tensor], weights: Weights, hidden: int) -> Read:
        """Return the inputs of the memory for one or all steps of W x_t."""
        (x,) = parts
        q, k, v, gate, low = x.split([hidden] * 4 + [RANK], -1)
        decay = linear(low, weights["weight_decay"], weights["bias_decay"])
        size = self.size(hidden)
        return Read(
            self.by_head(q, hidden) / size**0.5,
            self.by_head(k, hidden),
            self.by_head(v, hidden),
            torch.exp(F.logsigmoid(self.by_head(decay, hidden)) / SOFTEN),
            gate=F.silu(gate + weights["bias_gate"]),
        )


class GLA(Stack):
    """Layers of gated linear attention.

    The state is the output (layers * directions, B, H) of the last step, which nothing reads, and
    the matrices (layers * directions, B, heads, K, V).

    Args:
        input_size: features of x.
        hidden_size: H, features of the output of a layer, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        heads: number of heads, which must divide H; None for heads of 64 features if 64 divides H,
            and otherwise for one head.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        ArgumentError: a size or a probability is out of its range.

    Example:
        >>> import torch, elman
        >>> core = elman.GLA(3, 8, heads=2, batch_first=True)
        >>> y, (last, memory) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, memory.shape
        (torch.Size([4, 10, 8]), torch.Size([1, 4, 2, 4, 4]))
    """

    __init__ = layers_with_heads(GLACell)
