"""The real-gated linear recurrent unit with its convolution: the recurrent block of Griffin.

    u_t = W_u x_t
    c_t = b_c + sum_k w_k * u_{t-k},   k = 0 .. 3            for each unit independently
    r_t = sigmoid(W_r c_t + b_r)                             W_r and W_i are block-diagonal
    i_t = sigmoid(W_i c_t + b_i)
    a_t = exp(-8 softplus(L) * r_t)
    h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * c_t)
    y_t = W_y (h_t * gelu(W_g x_t + b_g))

The matrices of the gates have gcd(H, 8) blocks.  The state is (y, h, tail), where the tail holds
the last three u.

Source: De et al. 2024, "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient
Language Models" (arXiv:2402.19427), sections 2.3 and 2.4.  Two details follow the authors' code,
RecurrentGemma: b_g, without which y_t would be 0 wherever x_t is 0, and exp(-softplus(L)), instead
of its eighth power, is drawn between 0.9 and 0.999, so that the memory is 3 to 250 steps at first.
Matrices and the convolution are drawn from N(0, 1 / inputs), as by LeCun.

Shape legend: T steps, B rows, F features, H hidden units, G blocks of W = H / G units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.kernels.autograd import runs_natively
from elman.kernels.gated_scan import Scan, run_gated_scan
from elman.kernels.products import block_linear, linear
from elman.recur.cell import Cell, Leaves, Masks, Shapes, Weights
from elman.recur.convolve import convolve
from elman.recur.linear import last_outputs
from elman.recur.scan import linear_recurrence
from elman.recur.stack import Stack

BLOCKS, KERNEL = 8, 4  # blocks of the gates at most, and elements that the convolution reads
SHARPNESS = 8  # c in the paper
NEVER = -1e-30  # largest log a_t: the square root of 1 - a_t^2 has no derivative at a_t = 1


@dataclass(frozen=True)
class RGLRUCell(Cell):
    """The equations at the top of this file; the state is (y, h, tail)."""

    undecayed = ("decay",)

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of y, h and the last three u."""
        return {"y": (hidden,), "h": (hidden,), "tail": (KERNEL - 1, hidden)}

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights; the gates r and i lie side by side."""
        blocks = math.gcd(hidden, BLOCKS)
        return {
            "decay": (hidden,),
            "weight_in": (hidden, features),
            "weight_gelu": (hidden, features),
            "bias_gelu": (hidden,),
            "weight_conv": (hidden, KERNEL),
            "bias_conv": (hidden,),
            "weight_gates": (2, blocks, hidden // blocks, hidden // blocks),
            "bias_gates": (2, hidden),
            "weight_out": (hidden, hidden),
        }

    @torch.no_grad()
    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw exp(-softplus(L)) uniformly from a ring, and matrices from N(0, 1 / inputs)."""
        for name, weight in weights.items():
            if name.startswith("bias_"):
                nn.init.zeros_(weight)
            elif name != "decay":
                nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
        decay = weights["decay"]
        square = torch.empty_like(decay, dtype=torch.promote_types(decay.dtype, torch.float32))
        square.uniform_(0.9**2, 0.999**2)
        decay.copy_(torch.expm1(-0.5 * square.log()).log())

    def begin(self, state: Leaves) -> Leaves:
        """Return a state whose h is y, because no step reads y."""
        return state[0], state[0].to(state[1].dtype), state[2]

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        _, h, tail = state
        u = F.linear(x, weights["weight_in"])
        (c,), end = convolve(u[None], weights["weight_conv"], weights["bias_conv"], tail)
        a, b = _factors(c, weights)
        h = a * h + b
        y = _write(h, x, weights)
        return y.to(state[0].dtype), h.to(state[1].dtype), end.to(tail.dtype)

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
        """Run all steps by a convolution and a linear recurrence."""
        if masks.zoneout:
            return super().sequence(
                x, state, weights, masks=masks, lengths=lengths, reverse=reverse
            )
        before, h, tail = state
        u = linear(x, weights["weight_in"])
        conv, bias = weights["weight_conv"], weights["bias_conv"]
        c, tail = convolve(u, conv, bias, tail, lengths, reverse=reverse)
        if runs_natively(c):
            gates = block_linear(c, weights["weight_gates"]).float()
            scan, bias = Scan("rg_lru", lengths, reverse), weights["bias_gates"].float().flatten()
            h, end = run_gated_scan(scan, gates, bias, h.float(), c.float(), _rate(weights))
        else:
            a, b = _factors(c, weights)
            h, end = linear_recurrence(
                a.transpose(0, 1), b.transpose(0, 1), h.to(b.dtype), lengths, reverse=reverse
            )
            h = h.transpose(0, 1)
        y = _write(h, x, weights).to(before.dtype)
        last = last_outputs(y, before, lengths, reverse=reverse)
        return y, (last, end.to(state[1].dtype), tail.to(state[2].dtype))


def _factors(c: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """Return a and sqrt(1 - a^2) * (i * c) for c (..., H), as float32 at least."""
    kind = torch.promote_types(c.dtype, torch.float32)
    bias = weights["bias_gates"]
    r, i = block_linear(c, weights["weight_gates"]).to(kind).chunk(2, -1)
    log_a = (_rate(weights) * torch.sigmoid(r + bias[0])).clamp(max=NEVER)
    # 1 - a^2 as it is would lose its digits where a is near 1.
    scale = torch.sqrt(-torch.expm1(2 * log_a))
    return torch.exp(log_a), scale * (torch.sigmoid(i + bias[1]) * c)


def _rate(weights: Weights) -> Tensor:
    """Return the smallest logarithm of a, (H,), as float32 at least."""
    decay = weights["decay"]
    return -SHARPNESS * F.softplus(decay.to(torch.promote_types(decay.dtype, torch.float32)))


def _write(h: Tensor, x: Tensor, weights: Weights) -> Tensor:
    """Return y (..., H) for h (..., H) and x (..., F)."""
    gate = F.gelu(linear(x, weights["weight_gelu"], weights["bias_gelu"]))
    return linear(h.to(gate.dtype) * gate, weights["weight_out"])


class RGLRU(Stack):
    """Layers of the recurrent block of Griffin: a convolution, a gated recurrence, and a gate.

    The state is (y, h, tail), where y is the last output, h the recurrent state, and the tail
    (..., 3, H) holds the elements that the convolution still needs.

    Args:
        input_size: features of x.
        hidden_size: units of a layer, or one number for each layer.  Multiples of 8 have the
            cheapest gates.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
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
        >>> core = elman.RGLRU(3, 8, num_layers=2, batch_first=True)
        >>> y, (last, h, tail) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, h.shape, tail.shape
        (torch.Size([4, 10, 8]), torch.Size([2, 4, 8]), torch.Size([2, 4, 3, 8]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        variational: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            RGLRUCell(),
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            variational=variational,
            device=device,
            dtype=dtype,
        )
