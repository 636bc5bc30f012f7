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

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.errors import ArgumentError
from elman.kernels.cells import Constants
from elman.recur.cell import Cell, Kernel, Leaves, Shapes, Weights
from elman.recur.stack import Stack
from elman.recur.weights import gate_shapes, normalise


@dataclass(frozen=True)
class LSTMCell(Cell):
    """The equations at the top of this file, with their options; the state is (h, c)."""

    bias: bool = True
    proj_size: int = 0
    layer_norm: bool = False
    peephole: bool = False

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of h and c."""
        return {"h": (self.proj_size or hidden,), "c": (hidden,)}

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights; raise an ArgumentError for a wrong `proj_size`."""
        if not 0 <= self.proj_size < hidden:
            raise ArgumentError(
                f"proj_size must be in 0..hidden_size-1={hidden - 1}, got {self.proj_size}"
            )
        shapes = gate_shapes(
            4, features, hidden, outputs=self.proj_size or hidden, bias=self.bias, layer_norm=False
        )
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, hidden)
        if self.peephole:
            shapes["weight_peephole"] = (3 * hidden,)
        if self.layer_norm:
            shapes |= {"gain_ih": (4 * hidden,), "gain_hh": (4 * hidden,), "gain_c": (hidden,)}
            shapes |= {"bias_c": (hidden,)} if self.bias else {}
        return shapes

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw initial weights as for any cell; `bias_c` is 0."""
        super().reset({name: w for name, w in weights.items() if name != "bias_c"}, hidden)
        if "bias_c" in weights:
            nn.init.zeros_(weights["bias_c"])

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the products with x for all four gates."""
        return _product(x, weights["weight_ih"], weights.get("bias_ih"), weights.get("gain_ih"))

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        c, get = state[1], weights.get
        gates = x + _product(seen, weights["weight_hh"], get("bias_hh"), get("gain_hh"))
        i, f, g, o = gates.chunk(4, dim=1)
        if self.peephole:
            p_i, p_f, p_o = weights["weight_peephole"].chunk(3)
            i, f = i + p_i * c, f + p_f * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if self.peephole:
            o = o + p_o * c
        inner = normalise(c, weights["gain_c"], get("bias_c")) if self.layer_norm else c
        h = torch.sigmoid(o) * torch.tanh(inner)
        return (F.linear(h, weights["weight_hr"]) if self.proj_size else h), c

    def kernel(self) -> Kernel:
        """Return the kernel of the LSTM."""
        return KERNEL

    def torch_function(self) -> Callable[..., tuple[Tensor, ...]] | None:
        """Return `torch.lstm`, which has neither peepholes nor layer normalisation."""
        return None if self.layer_norm or self.peephole else torch.lstm


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, gain: Tensor | None) -> Tensor:
    """Return the product with a matrix, normalised before the bias if there is a gain."""
    if gain is None:
        return F.linear(x, weight, bias)
    return normalise(F.linear(x, weight), gain, bias)


def _constants(weights: Weights) -> Constants:
    """Return the weights in the form of the kernel."""
    get = weights.get
    return Constants(
        weights["weight_ih"],
        weights["weight_hh"],
        get("bias_ih"),
        get("bias_hh"),
        get("weight_hr"),
        get("weight_peephole"),
        get("gain_hh"),
        get("gain_c"),
        get("bias_c"),
        get("gain_ih"),
    )


KERNEL = Kernel("lstm", _constants)


class LSTM(Stack):
    """Long short-term memory, a drop-in replacement for `torch.nn.LSTM` with more options.

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
        weight_dropout: probability of dropping an entry of W_hh, once per call (arXiv:1708.02182).
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
            LSTMCell(bias, proj_size, layer_norm, peephole),
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            variational=variational,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=(zone_h, zone_c),
            device=device,
            dtype=dtype,
        )
        self.bias, self.proj_size = bias, proj_size
        self.layer_norm, self.peephole = layer_norm, peephole
