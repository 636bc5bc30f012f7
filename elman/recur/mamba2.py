"""Mamba-2: a matrix memory with one decay for each head, written in steps of learned length.

    u_t = silu(conv_4([W_q; W_k; W_v] x_t) + b_u)           causal, each feature by itself
    q_t, k_t, v_t = u_t for each head
    d_t = softplus(W_d x_t + b_d)                           the length of the step
    S_t = exp(-exp(A) d_t) S_{t-1} + d_t k_t v_t^T
    o_t = S_t^T q_t + D v_t
    y_t = W_y (rms(o_t * silu(W_g x_t)) * g)

d, A and D are one number for each head of K = V = H / heads features.  rms divides all o together
by their root mean square, and g is a gain.  The source calls q, k and v C, B and x.

Source: Dao and Gu 2024, "Transformers are SSMs" (arXiv:2405.21060).  Differences: every head has
its own q and k, which are as long as v, and H is not twice the size of the input.
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
from elman.recur.memory import TAPS, ConvolvedCell, Read, reset_convolved, reset_decay, unit
from elman.recur.stack import Stack
from elman.recur.weights import count_heads


@dataclass(frozen=True)
class Mamba2Cell(ConvolvedCell):
    """The equations at the top of this file.

    Args:
        heads: number of heads; None for heads of 64 units if 64 divides H, otherwise for one.
    """

    undecayed = ("log_decay", "bias_step")

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights; `weight` has W_q, W_k, W_v, W_d and W_g."""
        heads = count_heads(hidden, self.heads)
        return {
            "weight": (4 * hidden + heads, features),
            "weight_conv": (3 * hidden, TAPS),
            "bias_conv": (3 * hidden,),
            "bias_step": (heads,),
            "log_decay": (heads,),
            "skip": (heads,),
            "gain": (hidden,),
            "weight_out": (hidden, hidden),
        }

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw the weights as the source does: heads differ in how long they remember."""
        reset_convolved(weights)
        nn.init.zeros_(weights["bias_conv"])
        nn.init.ones_(weights["skip"])
        nn.init.ones_(weights["gain"])
        reset_decay(weights["log_decay"], weights["bias_step"])

    def read(self, parts: Sequence[Tensor], weights: Weights, hidden: int) -> Read:
        """Return the inputs of the memory for one or all steps, given conv(u) and the rest."""
        mixed, x = parts
        step, gate = x.split([count_heads(hidden, self.heads), hidden], -1)
        q, k, v = (self.by_head(part, hidden) for part in F.silu(mixed).chunk(3, -1))
        wide = torch.promote_types(x.dtype, torch.float32)
        step = F.softplus((step + weights["bias_step"]).to(wide))
        decay = torch.exp(-weights["log_decay"].exp() * step)
        return Read(q, k, v, decay, step, F.silu(gate))

    def output(self, out: Tensor, read: Read, weights: Weights) -> Tensor:
        """Return y (..., H) for what was read from the memory, (..., N, V)."""
        assert read.gate is not None
        o = (out + weights["skip"].unsqueeze(-1) * read.v).flatten(-2)
        return linear(unit(o * read.gate) * weights["gain"], weights["weight_out"])


class Mamba2(Stack):
    """Layers of Mamba-2.

    The state is the output (layers * directions, B, H) of the last step, which nothing reads, the
    matrices (layers * directions, B, heads, K, V), and the last inputs of the convolution
    (layers * directions, B, 3, 3 H).

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
        >>> core = elman.Mamba2(3, 8, heads=2, batch_first=True)
        >>> y, (last, memory, tail) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, memory.shape, tail.shape
        (torch.Size([4, 10, 8]), torch.Size([1, 4, 2, 4, 4]), torch.Size([1, 4, 3, 24]))
    """

    __init__ = layers_with_heads(Mamba2Cell)
