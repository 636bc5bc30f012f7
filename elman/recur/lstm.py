"""Long short-term memory.

    i_t = sigmoid(W_xi x_t + W_hi h_{t-1} + p_i * c_{t-1} + b_i)
    f_t = sigmoid(W_xf x_t + W_hf h_{t-1} + p_f * c_{t-1} + b_f)
    g_t = tanh   (W_xg x_t + W_hg h_{t-1}                 + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = sigmoid(W_xo x_t + W_ho h_{t-1} + p_o * c_t     + b_o)
    h_t = W_hr (o_t * tanh(c_t))

The peepholes p and the projection W_hr are options; their terms vanish when they are off.  The
order of the gates is i, f, g, o, as in torch.  With layer normalisation (Ba et al. 2016, appendix)
W_x x_t and W_h h_{t-1} are each normalised over all four gates, and c_t inside the last tanh;
`bias_ih`, `bias_hh` and `bias_c` are then the shifts of the three normalisations.

Sources: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory"; Gers, Schmidhuber and Cummins
2000 (forget gate); Gers and Schmidhuber 2000 (peepholes); Sak, Senior and Beaufays 2014
(arXiv:1402.1128, projection); Ba, Kiros and Hinton 2016 (arXiv:1607.06450).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.kernels.cells import Constants
from elman.recur.stack import Stack
from elman.recur.weights import Leaves, Weights, normalise


class LSTM(Stack):
    """Long short-term memory: a drop-in for `torch.nn.LSTM`, and more.

    The state is (h, c).

    Args:
        input_size: features of x.
        hidden_size: units of a layer, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        bias: whether there are `bias_ih` and `bias_hh`.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        proj_size: features of h after the projection W_hr; 0 for none.
        device: device of the weights.
        dtype: data type of the weights.
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        weight_dropout: probability of dropping an entry of W_hh, once a call (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into W_hh, the
            same at all steps (arXiv:1512.05287).
        zoneout: probability that a unit of c and of h keeps its old value in a step, or a pair
            for c and h (arXiv:1606.01305).
        layer_norm: normalise the inputs of the gates, and c (arXiv:1607.06450).
        peephole: the gates also depend on c.

    Raises:
        ArgumentError: a size or a probability is out of its range.

    Example:
        >>> import torch, elman
        >>> theirs = torch.nn.LSTM(8, 16, num_layers=2, batch_first=True)
        >>> lstm = elman.LSTM(8, 16, num_layers=2, batch_first=True)
        >>> _ = lstm.load_state_dict(theirs.state_dict())
        >>> x = torch.randn(4, 10, 8)
        >>> y, (h, c) = lstm(x)
        >>> torch.allclose(y, theirs(x)[0], atol=1e-6)
        True
        >>> front, state = lstm(x[:, :3])
        >>> back, _ = lstm(x[:, 3:], state)
        >>> torch.allclose(torch.cat([front, back], 1), y, atol=1e-6)
        True
    """

    gates = 4
    leaves = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        variational: bool = False,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        layer_norm: bool = False,
        peephole: bool = False,
    ) -> None:
        zone_c, zone_h = zoneout if isinstance(zoneout, tuple | list) else (zoneout, zoneout)
        super().__init__(
            input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first,
            dropout=dropout, bidirectional=bidirectional, proj_size=proj_size,
            variational=variational, weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout, zoneout=(zone_h, zone_c), layer_norm=layer_norm,
            peephole=peephole, device=device, dtype=dtype,
        )  # fmt: skip

    def step(self, gates_BG: Tensor, seen_BR: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        c = state[1]
        if weights.gain_hh is None:
            gates = gates_BG + F.linear(seen_BR, weights.hh, weights.bias_hh)
        else:
            product = F.linear(seen_BR, weights.hh)
            gates = gates_BG + normalise(product, weights.gain_hh, weights.bias_hh)
        i, f, g, o = gates.chunk(4, dim=1)
        if weights.peephole is not None:
            p_i, p_f, p_o = weights.peephole.chunk(3)
            i, f = i + p_i * c, f + p_f * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if weights.peephole is not None:
            o = o + p_o * c
        inner = c if weights.gain_c is None else normalise(c, weights.gain_c, weights.bias_c)
        h = torch.sigmoid(o) * torch.tanh(inner)
        return (h if weights.hr is None else F.linear(h, weights.hr)), c

    def for_kernel(self, weights: Weights) -> Constants:
        """Return the weights unchanged."""
        return Constants(
            weights.ih, weights.hh, weights.bias_ih, weights.bias_hh, weights.hr, weights.peephole,
            weights.gain_hh, weights.gain_c, weights.bias_c, weights.gain_ih,
        )  # fmt: skip

    def kernel(self) -> str:
        """Return the name of the kernel."""
        return "lstm"

    def torch_layers(
        self, x: Tensor, batch_sizes: Tensor | None, state: Leaves, weights: list[Tensor],
        layers: int, between: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Run `torch.lstm`."""
        if not _onednn_can(x):  # autocast would choose oneDNN, which raises
            state, weights = tuple(map(_shortened, state)), [*map(_shortened, weights)]
            with torch.autocast("cpu", enabled=False):
                return self.torch_layers(
                    _shortened(x), batch_sizes, state, weights, layers, between
                )
        both, training, leaves = self.bidirectional, self.training, list(state)
        if batch_sizes is None:
            return torch.lstm(x, leaves, weights, self.bias, layers, between, training, both, False)
        return torch.lstm(
            x, batch_sizes, leaves, weights, self.bias, layers, between, training, both
        )


def _onednn_can(x: Tensor) -> bool:
    """Return whether oneDNN has the LSTM that autocast would choose on a CPU."""
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return True
    short = torch.get_autocast_dtype("cpu") == torch.bfloat16
    return not short or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _shortened(x: Tensor) -> Tensor:
    """Return a float32 tensor as bfloat16, as autocast does."""
    return x.bfloat16() if x.dtype == torch.float32 else x
