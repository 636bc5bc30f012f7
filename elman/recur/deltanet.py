"""DeltaNet and Gated DeltaNet: a matrix memory that first removes what it holds for a key.

    u_t = silu(conv_4([W_q; W_k; W_v] x_t))                 causal, each feature by itself
    q_t, k_t, v_t = u_t for each head; q_t and k_t divided by their length
    beta_t = 2 sigmoid(W_b x_t)
    a_t = exp(-exp(A) softplus(W_a x_t + b_a))              gated; otherwise a_t = 1
    S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T
    o_t = S_t^T q_t / sqrt(K)
    y_t = W_y (rms(o_t) * g * silu(W_g x_t))                without silu(W_g x_t) unless gated

a and beta are one number for each head of K = V = H / heads features.  rms divides the o of each
head by its root mean square, and g is a gain.  The eigenvalue 1 - beta of a key's direction is
negative for beta above 1, without which no layer of this kind can compute parity.

Sources: Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence
Length" (arXiv:2406.06484) and "Gated Delta Networks" (arXiv:2412.06464); Grazzi et al. 2024,
"Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues" (arXiv:2411.12537), for the
factor 2.  Difference: keys are as long as values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.recur.build import layers_with_heads
from elman.recur.cell import Shapes, Weights
from elman.recur.memory import TAPS, ConvolvedCell, Read, reset_convolved, reset_decay
from elman.recur.stack import Stack
from elman.recur.weights import count_heads


@dataclass(frozen=True)
class DeltaNetCell(ConvolvedCell):
    """The equations at the top of this file.

    Args:
        heads: number of heads; None for heads of 64 units if 64 divides H, otherwise for one.
        gated: whether there are a_t and the gate of the output.
    """

    gated: bool = False
    delta = True
    undecayed = ("log_decay", "bias_decay")

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights; `weight` has W_q, W_k, W_v, W_b, and W_a and W_g."""
        heads = count_heads(hidden, self.heads)
        shapes: Shapes = {
            "weight": (3 * hidden + heads, features),
            "weight_conv": (3 * hidden, TAPS),
            "gain": (hidden // heads,),
            "weight_out": (hidden, hidden),
        }
        if self.gated:
            shapes["weight"] = (4 * hidden + 2 * heads, features)
            shapes |= {"log_decay": (heads,), "bias_decay": (heads,)}
        return shapes

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw the weights as the sources do: heads differ in how long they remember."""
        reset_convolved(weights)
        nn.init.ones_(weights["gain"])
        if self.gated:
            reset_decay(weights["log_decay"], weights["bias_decay"])

    def read(self, parts: Sequence[Tensor], weights: Weights, hidden: int) -> Read:
        """Return the inputs of the memory for one or all steps, given conv(u) and the rest."""
        heads = count_heads(hidden, self.heads)
        mixed, x = parts
        beta, rest = x.split([heads, x.shape[-1] - heads], -1)
        q, k, v = (self.by_head(part, hidden) for part in F.silu(mixed).chunk(3, -1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        decay = gate = None
        if self.gated:
            rate, gate = rest.split([heads, hidden], -1)
            wide = torch.promote_types(x.dtype, torch.float32)
            rate = F.softplus((rate + weights["bias_decay"]).to(wide))
            decay, gate = torch.exp(-weights["log_decay"].exp() * rate), F.silu(gate)
        return Read(q / q.shape[-1] ** 0.5, k, v, decay, 2 * torch.sigmoid(beta), gate)


class DeltaNet(Stack):
    """Layers of DeltaNet, without decay.

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
        >>> core = elman.DeltaNet(3, 8, heads=2, batch_first=True)
        >>> y, (last, memory, tail) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, memory.shape, tail.shape
        (torch.Size([4, 10, 8]), torch.Size([1, 4, 2, 4, 4]), torch.Size([1, 4, 3, 24]))
    """

    __init__ = layers_with_heads(DeltaNetCell)


class GatedDeltaNet(Stack):
    """Layers of Gated DeltaNet.

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
        >>> core = elman.GatedDeltaNet(3, 128, batch_first=True)
        >>> y, (last, memory, tail) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, memory.shape, tail.shape
        (torch.Size([4, 10, 128]), torch.Size([1, 4, 2, 64, 64]), torch.Size([1, 4, 3, 384]))
    """

    __init__ = layers_with_heads(partial(DeltaNetCell, gated=True))
