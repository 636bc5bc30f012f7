"""GRU-D: a gated recurrent unit whose inputs and state decay with the time that passes.

The inputs at step t are the values x_t of C channels, 0 where nothing was measured; the mask m_t, 1
where something was measured; the time s_t since the previous step; and E features u_t that are
always present.  Values are standardised by the training data, so the mean to which a channel
decays is 0.

    d_t = s_t + (1 - m_{t-1}) * d_{t-1}                     time since a channel was last seen
    l_t = m_{t-1} * x_{t-1} + (1 - m_{t-1}) * l_{t-1}       the value seen then
    a_t = exp(-max(0, w_a * d_t + b_a))                     decay of the inputs, per channel
    g_t = exp(-max(0, W_g d_t + b_g))                       decay of the state
    v_t = m_t * x_t + (1 - m_t) * a_t * l_t
    k_t = g_t * h_{t-1}
    r_t = sigmoid(W_r [v_t, m_t, u_t] + U_r k_t + b_r)
    z_t = sigmoid(W_z [v_t, m_t, u_t] + U_z k_t + b_z)
    n_t = tanh(W_n [v_t, m_t, u_t] + b_n + U_n (r_t * k_t))
    h_t = (1 - z_t) * n_t + z_t * k_t

Source: Che et al. 2018 (arXiv:1606.01865), where z and 1 - z are exchanged; u_t is added here.
Everything except the recurrence itself is computed for all steps at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman import kernels
from elman.dropout import check_probability, keep_mask
from elman.errors import ArgumentError
from elman.kernels.autograd import seen_by_torch
from elman.kernels.cells import Constants, Run
from elman.kernels.layer import run_layer
from elman.kernels.ragged import Ragged, pack
from elman.padded import as_lengths, check_lengths, time_mask
from elman.recur.refuse import no_qconfig, refuse_script
from elman.recur.weights import check_kind, no_steps
from elman.state import State


class GRUD(nn.Module):
    """GRU-D, batch first, one layer, forward.

    Args:
        channels: C.
        hidden_size: H.
        extra: E, features that are always present.
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into the gates, the
            same at all steps (arXiv:1512.05287).

    Raises:
        ArgumentError: a size is below its minimum, or the shape of x does not fit.

    Example:
        >>> import torch, elman
        >>> core = elman.GRUD(channels=2, hidden_size=8)
        >>> values, there = torch.randn(3, 10, 2), torch.ones(3, 10, 2)
        >>> elapsed = torch.rand(3, 10, 1)
        >>> y, (h, last, since) = core(torch.cat([values * there, there, elapsed], dim=2))
        >>> y.shape, h.shape, since.shape
        (torch.Size([3, 10, 8]), torch.Size([1, 3, 8]), torch.Size([1, 3, 2]))
    """

    causal = True
    batch_first = True
    num_layers = 1

    def __init__(
        self, channels: int, hidden_size: int, extra: int = 0, *, recurrent_dropout: float = 0.0
    ) -> None:
        super().__init__()
        if channels < 1 or hidden_size < 1 or extra < 0:
            raise ArgumentError(
                "channels and hidden_size must be at least 1, extra at least 0, got "
                f"{channels}, {hidden_size}, {extra}"
            )
        self.channels, self.hidden_size, self.extra = channels, hidden_size, extra
        self.input_size = 2 * channels + 1 + extra
        self.output_size = hidden_size
        self.recurrent_dropout = check_probability("recurrent_dropout", recurrent_dropout)
        self.decay_input = nn.Parameter(torch.empty(channels))
        self.decay_input_bias = nn.Parameter(torch.empty(channels))
        self.decay_state = nn.Parameter(torch.empty(hidden_size, channels))
        self.decay_state_bias = nn.Parameter(torch.empty(hidden_size))
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, 2 * channels + extra))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the matrices from U(-1/sqrt(H), 1/sqrt(H)); decays start small and positive."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in (self.weight_ih, self.weight_hh, self.bias):
            nn.init.uniform_(weight, -bound, bound)
        for weight in (self.decay_input, self.decay_input_bias, self.decay_state_bias):
            nn.init.uniform_(weight, 0, 0.1)
        nn.init.uniform_(self.decay_state, 0, 0.1 / self.channels)

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """The hidden size of the only layer."""
        return (self.hidden_size,)

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, State]:
        """Run sequences.

        Args:
            x: (B, T, 2 C + 1 + E): x_t, m_t, s_t, u_t side by side.
            state: the state that an earlier call returned; None for zeros.
            lengths: integers (B,) in 0..T; outputs after the end of a row are 0.
            generator: random generator of the dropout.

        Returns:
            h_t (B, T, H), and the state: h (1, B, H), the last seen value of each channel and the
            time since then, both (1, B, C).
        """
        if x.dim() != 3 or x.shape[2] != self.input_size:
            raise ArgumentError(
                f"x must be (B, T, 2 channels + 1 + extra = {self.input_size}), got "
                f"{tuple(x.shape)}"
            )
        rows, steps = x.shape[:2]
        running = None
        lengths = None if lengths is None else as_lengths(lengths)
        if lengths is not None and check_lengths(lengths, rows, steps)[0] == steps:
            lengths = None  # nothing is ragged
        if lengths is not None:
            running = time_mask(lengths.to(x.device), steps)
            x = torch.where(running[:, :, None], x, 0)
        h, last, since = self._split_state(state, x)
        if not steps:
            return no_steps(self, x, (rows, 0, self.hidden_size)), (
                h[None],
                last[None],
                since[None],
            )
        values, there, elapsed, extra = x.split([self.channels, self.channels, 1, self.extra], 2)
        seen, waited, last, since = _since_seen(values, there, elapsed, last, since, running)
        decay = torch.exp(-torch.relu(self.decay_input * waited + self.decay_input_bias))
        inputs = there * values + (1 - there) * decay * seen
        decays = torch.exp(-torch.relu(F.linear(waited, self.decay_state, self.decay_state_bias)))
        read, mask = torch.cat([inputs, there, extra], 2), None
        if self.training and self.recurrent_dropout:
            mask = keep_mask(h, h.shape, self.recurrent_dropout, generator=generator)
        if self.way(x) == "kernel":
            y, h = self._run_kernel(read, decays, h, lengths, mask)
        else:
            y, h = self._run_plain(read, decays, h, running, mask)
        return y, (h[None], last[None], since[None])

    def _split_state(self, state: State | None, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Check the state and return its leaves without the first dimension."""
        rows = len(x)
        if state is None:
            seen = x.new_zeros(rows, self.channels)
            return x.new_zeros(rows, self.hidden_size), seen, seen
        if not isinstance(state, tuple) or len(state) != 3:
            raise ArgumentError("state of GRUD must be a tuple of 3: h, last seen, time since")
        h, last, since = (leaf[0] for leaf in state if isinstance(leaf, Tensor))
        wanted = [(rows, self.hidden_size), *[(rows, self.channels)] * 2]
        if [tuple(leaf.shape) for leaf in (h, last, since)] != wanted:
            raise ArgumentError(
                f"state of GRUD must have leaves (1, B, ...) with {wanted} after the first "
                f"dimension, got {[tuple(leaf.shape) for leaf in (h, last, since)]}"
            )
        check_kind(state, x)
        return h, last, since

    def way(self, x: Tensor) -> Literal["kernel", "plain"]:
        """Return which functions run the recurrence on x: our kernel or the plain definition."""
        native = kernels.native and x.device.type == "cpu" and x.dtype == torch.float32
        native = native and len(x) > 0
        outside = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
        outside = outside or seen_by_torch()
        return "kernel" if native and not outside else "plain"

    def _run_kernel(
        self, read: Tensor, decays: Tensor, h: Tensor, lengths: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run the kernel of the GRU that resets before the product, with decays."""
        H, steps, ragged = self.hidden_size, read.shape[1], None
        x, decay = read.transpose(0, 1), decays.transpose(0, 1)
        if lengths is not None:
            ragged = Ragged.sort(lengths, steps)
            x, decay = pack(x, ragged), pack(decay, ragged)
        both, candidate = self.weight_hh.split([2 * H, H])
        run = Run("gru reset before", False, steps, ragged, padded=True, mask=mask)
        weights = Constants(self.weight_ih, both, bias=self.bias, hr=candidate)
        y, (h,) = run_layer(run, x, (h,), weights, decay)
        return y.transpose(0, 1), h

    def _run_plain(
        self, read: Tensor, decays: Tensor, h: Tensor, running: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run the definition, step by step."""
        H = self.hidden_size
        gates = F.linear(read, self.weight_ih, self.bias)
        both, candidate = self.weight_hh.split([2 * H, H])
        outputs = []
        for t, (a, g) in enumerate(zip(gates.unbind(1), decays.unbind(1), strict=True)):
            k = g * h
            seen = k if mask is None else k * mask
            r, z = torch.sigmoid(a[:, : 2 * H] + F.linear(seen, both)).chunk(2, dim=1)
            n = torch.tanh(a[:, 2 * H :] + F.linear(r * seen, candidate))
            new = n + z * (k - n)
            h = new if running is None else torch.where(running[:, t, None], new, h)
            outputs.append(new)
        y = torch.stack(outputs, 1)
        return (y if running is None else torch.where(running[:, :, None], y, 0)), h

    __prepare_scriptable__ = refuse_script
    qconfig = no_qconfig

    def extra_repr(self) -> str:
        """Return the sizes for `repr`."""
        return f"channels={self.channels}, hidden_size={self.hidden_size}, extra={self.extra}"


def _since_seen(
    values: Tensor, there: Tensor, elapsed: Tensor, last: Tensor, since: Tensor,
    running: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return l_t and d_t (B, T, C) of all steps at once, and their values after the last step.

    With the moments c_t = s_1 + .. + s_t, d_t is c_t minus the moment when the channel was last
    seen before t, or c_t plus the time carried in by the state.
    """
    steps = values.shape[1]
    moment = elapsed.double().cumsum(1)  # differences of sums: float32 would lose small ones
    number = torch.arange(1, steps + 1, device=values.device)[None, :, None]
    latest = torch.where(there > 0.5, number, 0).cummax(1).values
    whole = torch.cat([last[:, None], values], 1)
    times = torch.cat([-since[:, None].double(), moment.expand(values.shape)], 1)
    before = torch.cat([torch.zeros_like(latest[:, :1]), latest[:, :-1]], 1)
    seen = whole.gather(1, before)
    waited = (moment - times.gather(1, before)).to(values.dtype)
    end = latest[:, -1:]  # there are no values after the end of a row
    last = whole.gather(1, end)[:, 0]
    final = moment[:, -1]
    if running is not None:
        final = torch.where(running[:, :, None], elapsed, 0).double().sum(1)
    return seen, waited, last, (final - times.gather(1, end)[:, 0]).to(values.dtype)
