"""sLSTM: an LSTM with an exponential input gate, a normaliser, and memory mixing within heads.

    i_t = exp(W_i x_t + R_i h_{t-1} + b_i)           input gate
    f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_f)       forget gate
    z_t = tanh(W_z x_t + R_z h_{t-1} + b_z)          cell input
    o_t = sigmoid(W_o x_t + R_o h_{t-1} + b_o)       output gate
    c_t = f_t * c_{t-1} + i_t * z_t
    n_t = f_t * n_{t-1} + i_t                        normaliser
    h_t = o_t * c_t / n_t

Each R is block-diagonal: a head is a group of units that read only each other.  An exponential can
overflow, so c_t and n_t are stored divided by exp(m_t), which cancels in h_t:

    m_t = max(log f_t + m_{t-1}, log i_t)            stabiliser

A unit with n = 0 has no past, and then m_t = log i_t.  After a step n is at least 1, so a row of
zeros is the start of a sequence, in any row of a batch.

Source: Beck et al. 2024, "xLSTM: Extended Long Short-Term Memory" (arXiv:2405.04517), section 2.2.
The paper allows an exponential or a sigmoid forget gate; the sigmoid is the one of its code.  The
convolution, the normalisation and the projections around the cell are parts of the paper's block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.kernels.autograd import runs_natively
from elman.kernels.products import linear
from elman.kernels.slstm import Recurrence, run_slstm
from elman.recur.cell import Cell, Leaves, Masks, Shapes, Weights
from elman.recur.stack import Stack
from elman.recur.weights import count_heads

FORGET = 3.0, 6.0  # initial biases of the forget gate, from the first to the last unit of a head


@dataclass(frozen=True)
class SLSTMCell(Cell):
    """The equations at the top of this file.

    Args:
        heads: number of heads; None for one head for each 64 units, or one head if H is not a
            multiple of 64.
    """

    heads: int | None = None
    undecayed = ("bias",)

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of h, c, n and m."""
        return dict.fromkeys(("h", "c", "n", "m"), (hidden,))

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights for the gates i, f, z and o; R has a block per head."""
        heads = count_heads(hidden, self.heads)
        size = hidden // heads
        return {
            "weight_ih": (4 * hidden, features),
            "weight_hh": (heads, 4 * size, size),
            "bias": (4 * hidden,),
        }

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw W from N(0, 2 / (5 F)); R starts at 0, and the forget gates of a head nearly open.

        The paper's code does the same, and has two rules for the biases of the forget gate: evenly
        spaced from 3 to 6, as here, or a power law from 5 to -7, with which few units remember.
        """
        nn.init.normal_(weights["weight_ih"], std=math.sqrt(0.4 / weights["weight_ih"].shape[1]))
        nn.init.zeros_(weights["weight_hh"])
        nn.init.zeros_(weights["bias"])
        heads, _, size = weights["weight_hh"].shape
        with torch.no_grad():
            weights["bias"][hidden : 2 * hidden] = torch.linspace(*FORGET, size).repeat(heads)

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return W x_t + b for all gates."""
        return linear(x, weights["weight_ih"], weights["bias"])

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
        """Run all steps in one native call where that is possible, or one after another."""
        kept, *others = masks.kept
        exact = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not exact or not runs_natively(x) or any(isinstance(k, Tensor) or k for k in others):
            return super().sequence(
                x, state, weights, masks=masks, lengths=lengths, reverse=reverse
            )
        how = Recurrence(lengths, reverse, masks.seen, kept)
        return run_slstm(how, self.inputs(x, weights), weights["weight_hh"], state)

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        _, c, n, m = state
        heads, _, size = weights["weight_hh"].shape
        mixed = torch.einsum("bhd,hgd->bhg", seen.unflatten(1, (heads, size)), weights["weight_hh"])
        mixed = mixed.unflatten(2, (4, size)).transpose(1, 2).flatten(1)
        gates = x + mixed
        gates = gates.to(torch.promote_types(gates.dtype, torch.float32))  # exponents
        i, f, z, o = gates.chunk(4, 1)
        carried = torch.where(n == 0, -math.inf, m + F.logsigmoid(f))
        largest = torch.maximum(i, carried)
        keep, take = torch.exp(carried - largest), torch.exp(i - largest)
        c, n = keep * c + take * torch.tanh(z), keep * n + take
        new = torch.sigmoid(o) * c / n, c, n, largest
        return tuple(leaf.to(old.dtype) for leaf, old in zip(new, state, strict=True))


class SLSTM(Stack):
    """Layers of the sLSTM, an LSTM with exponential gates and heads.

    Args:
        input_size: features of x.
        hidden_size: units of a layer, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        heads: number of heads, which divides `hidden_size`; None for one head for each 64 units,
            or one head if `hidden_size` is not a multiple of 64.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        weight_dropout: probability of dropping an entry of R, once per call (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into R, the same at
            all steps (arXiv:1512.05287).
        zoneout: probability that a unit of h keeps its old value in a step (arXiv:1606.01305).
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        ArgumentError: a size or a probability is out of its range, or `heads` does not divide a
            hidden size.

    Example:
        >>> import torch, elman
        >>> core = elman.SLSTM(3, 8, num_layers=2, heads=2, batch_first=True)
        >>> y, (h, c, n, m) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, h.shape, n[1, :, 0] > 0
        (torch.Size([4, 10, 8]), torch.Size([2, 4, 8]), tensor([ True,  True, False,  True]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        heads: int | None = None,
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
        super().__init__(
            SLSTMCell(heads),
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            variational=variational,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=(zoneout, 0.0, 0.0, 0.0),
            device=device,
            dtype=dtype,
        )
        self.heads = heads

    def extra_repr(self) -> str:
        """Return the sizes and the options that are on, for `repr`."""
        shown = super().extra_repr()
        return shown if self.heads is None else f"{shown}, heads={self.heads}"
