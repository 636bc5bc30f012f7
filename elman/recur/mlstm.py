"""mLSTM: an LSTM with a matrix memory and exponential gates.

For each head, with keys, queries and values of H / heads features:

    q_t = W_q x_t + b_q     k_t = (W_k x_t + b_k) / sqrt(H / heads)     v_t = W_v x_t + b_v
    i_t = exp(W_i x_t + b_i)    f_t = sigmoid(W_f x_t + b_f)    o_t = sigmoid(W_o x_t + b_o)
    C_t = f_t C_{t-1} + i_t v_t k_t^T
    n_t = f_t n_{t-1} + i_t k_t
    h_t = o_t * C_t q_t / max(|n_t . q_t|, 1)

i and f are one number for each head.  The memory is stored divided by exp(m_t), with
m_t = max(log f_t + m_{t-1}, log i_t), so that nothing overflows; the output is the same for any m.
n is one more row of C, whose value is always 1.

Source: Beck et al. 2024, "xLSTM: Extended Long Short-Term Memory" (arXiv:2405.04517), section 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.kernels.products import linear
from elman.recur.build import layers_with_heads
from elman.recur.cell import Cell, Leaves, Masks, Shapes, Weights
from elman.recur.linear import last_outputs
from elman.recur.matrix import matrix_recurrence, step_of
from elman.recur.stack import Stack
from elman.recur.weights import count_heads

FORGET = (3.0, 6.0)  # b_f of the first and of the last head


@dataclass(frozen=True)
class MLSTMCell(Cell):
    """The equations at the top of this file.

    Args:
        heads: number of heads; None for heads of 64 units if 64 divides H, otherwise for one.
    """

    heads: int | None = None
    undecayed = ("bias",)

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of h, of C and n as one matrix, and of m."""
        heads = count_heads(hidden, self.heads)
        size = hidden // heads
        return {"h": (hidden,), "memory": (heads, size, size + 1), "m": (heads,)}

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights, in the order q, k, v, o, i, f."""
        rows = 4 * hidden + 2 * count_heads(hidden, self.heads)
        return {"weight": (rows, features), "bias": (rows,)}

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw W_q, W_k, W_v and W_o as Glorot and Bengio do; W_i and W_f begin with 0.

        b_f increases from 3 to 6 over the heads, so that they remember for different times.
        """
        heads = count_heads(hidden, self.heads)
        matrix, bias = weights["weight"], weights["bias"]
        with torch.no_grad():
            for part in matrix[: 4 * hidden].split(hidden):
                nn.init.xavier_uniform_(part)
            matrix[4 * hidden :].zero_()
            bias.zero_()
            bias[-heads:] = torch.linspace(*FORGET, heads).to(bias)

    def begin(self, state: Leaves) -> Leaves:
        """Return the state in which a decoder starts: the first key holds the first leaf."""
        first, memory, m = state
        value = first.unflatten(-1, (memory.shape[-3], -1))
        memory = memory.clone()
        memory[..., 0, :] = F.pad(value, (0, 1), value=1.0)
        return first, memory, m

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return W x_t + b of all steps."""
        return linear(x, weights["weight"], weights["bias"])

    def _read(self, x: Tensor, hidden: int) -> tuple[Tensor, ...]:
        """Return q, k, v and 1 (..., N, .), log i, log f (..., N) and o (..., H) of some steps."""
        heads = count_heads(hidden, self.heads)
        q, k, v, out, take, forget = x.split([hidden] * 4 + [heads] * 2, -1)
        q, k, v = (part.unflatten(-1, (heads, -1)) for part in (q, k, v))
        wide = torch.promote_types(x.dtype, torch.float32)
        log_f = F.logsigmoid(forget.to(wide))
        k = k / k.shape[-1] ** 0.5
        return q, k, F.pad(v, (0, 1), value=1.0), take.to(wide), log_f, torch.sigmoid(out)

    def _output(self, read: Tensor, m: Tensor, out: Tensor) -> Tensor:
        """Return h (..., H) for what was read from the memory (..., N, V + 1)."""
        value, total = read[..., :-1], read[..., -1:]
        least = torch.exp(-m).unsqueeze(-1).to(total.dtype)
        return out * (value / torch.maximum(total.abs(), least)).flatten(-2)

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        h, memory, before = state
        q, k, v, log_i, log_f, out = self._read(x, h.shape[1])
        m = torch.maximum(log_f + before, log_i)
        decay, take = torch.exp(log_f + before - m), torch.exp(log_i - m)
        read, memory = step_of(q, k, v, decay, take, memory.to(decay.dtype), delta=False)
        new = self._output(read, m, out)
        return new.to(h.dtype), memory.to(h.dtype), m.to(h.dtype)

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
        """Run all steps by `matrix_recurrence`."""
        h, memory, start = state
        q, k, v, log_i, log_f, out = self._read(self.inputs(x, weights), h.shape[1])
        m, end = _stabilisers(log_i, log_f, start.to(log_f.dtype), lengths, reverse=reverse)
        before = torch.cat([m[1:], start[None]] if reverse else [start[None], m[:-1]]).to(m.dtype)
        if reverse and lengths is not None:  # a row begins at its own last element
            index = torch.arange(len(m), device=m.device)[:, None]
            first = index >= (lengths.to(m.device) - 1)[None]
            before = torch.where(first[..., None], start.to(m.dtype), before)
        decay, take = torch.exp(log_f + before - m), torch.exp(log_i - m)
        q, k, v, decay, take = (part.transpose(0, 1) for part in (q, k, v, decay, take))
        read, memory = matrix_recurrence(q, k, v, decay, take, memory, lengths, reverse=reverse)
        y = self._output(read.transpose(0, 1), m, out).to(h.dtype)
        last = last_outputs(y, h, lengths, reverse=reverse)
        return y, (last, memory.to(h.dtype), end.to(h.dtype))


def _stabilisers(
    log_i: Tensor, log_f: Tensor, start: Tensor, lengths: Tensor | None, *, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Return m (T, B, N) for all steps, and the last one of each row.

    m_t = F_t + max(m_0, log i_1 - F_1, ..., log i_t - F_t), where F_t is the sum of log f up to t.
    """
    if lengths is not None:  # steps after the end of a row change nothing
        there = torch.arange(len(log_i), device=log_i.device)[:, None] < lengths.to(log_i.device)
        log_i = torch.where(there[..., None], log_i, -torch.inf)
        log_f = torch.where(there[..., None], log_f, 0)
    if reverse:
        log_i, log_f = log_i.flip(0), log_f.flip(0)
    total = log_f.cumsum(0)
    m = total + torch.maximum((log_i - total).cummax(0).values, start)
    return m.flip(0) if reverse else m, m[-1]


class MLSTM(Stack):
    """Layers of the mLSTM, an LSTM with a matrix memory.

    The state is h (layers * directions, B, H), which nothing reads, the memory
    (layers * directions, B, heads, K, K + 1), and m (layers * directions, B, heads).

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
        >>> core = elman.MLSTM(3, 8, heads=2, batch_first=True)
        >>> y, (h, memory, m) = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, memory.shape, m.shape
        (torch.Size([4, 10, 8]), torch.Size([1, 4, 2, 4, 5]), torch.Size([1, 4, 2]))
    """

    __init__ = layers_with_heads(MLSTMCell)
