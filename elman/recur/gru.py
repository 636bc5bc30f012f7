"""Gated recurrent unit, in both published forms.

    r_t = sigmoid(W_xr x_t + W_hr h_{t-1} + b_r)
    z_t = sigmoid(W_xz x_t + W_hz h_{t-1} + b_z)
    n_t = tanh(W_xn x_t + b_xn + r_t * (W_hn h_{t-1} + b_hn))     reset after the product
    n_t = tanh(W_xn x_t + b_xn + W_hn (r_t * h_{t-1}) + b_hn)     reset before the product
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}

The order of the gates is r, z, n, and z keeps the old value, as in torch (in some versions of the
first paper z and 1 - z are exchanged).  With layer normalisation (Ba et al. 2016, appendix) the
products for r and z are normalised together and those for n separately; `bias_ih` and `bias_hh`
are the shifts.

Sources: Cho et al. 2014 (arXiv:1406.1078, reset before); the reset after the product is the form of
cuDNN and torch, with one matrix product per step instead of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.kernels.cells import Constants, check_matrix
from elman.recur.cell import Cell, Kernel, Leaves, Shapes, Weights
from elman.recur.stack import Stack
from elman.recur.weights import gate_shapes, normalise


@dataclass(frozen=True)
class GRUCell(Cell):
    """The equations at the top of this file, with their options."""

    reset_after: bool = True
    bias: bool = True
    layer_norm: bool = False

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights."""
        return gate_shapes(
            3, features, hidden, outputs=hidden, bias=self.bias, layer_norm=self.layer_norm
        )

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the products with x for r, z and n."""
        if not self.layer_norm:
            return F.linear(x, weights["weight_ih"], weights.get("bias_ih"))
        product = F.linear(x, weights["weight_ih"])
        return _normalise_gates(product, weights["gain_ih"], weights.get("bias_ih"))

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        hidden = state[0].shape[1]
        x_rz, x_n = x.split([2 * hidden, hidden], dim=1)
        if self.reset_after:
            product = self._hidden_gates(seen, weights, slice(None))
            h_rz, h_n = product.split([2 * hidden, hidden], dim=1)
            r, z = torch.sigmoid(x_rz + h_rz).chunk(2, dim=1)
            n = torch.tanh(x_n + r * h_n)
        else:
            h_rz = self._hidden_gates(seen, weights, slice(0, 2 * hidden))
            r, z = torch.sigmoid(x_rz + h_rz).chunk(2, dim=1)
            n = torch.tanh(x_n + self._hidden_gates(r * seen, weights, slice(2 * hidden, None)))
        return (n + z * (state[0] - n),)

    def _hidden_gates(self, h: Tensor, weights: Weights, rows: slice) -> Tensor:
        bias = weights["bias_hh"][rows] if self.bias else None
        if not self.layer_norm:
            return F.linear(h, weights["weight_hh"][rows], bias)
        product, gain = F.linear(h, weights["weight_hh"][rows]), weights["gain_hh"][rows]
        if rows == slice(None):
            return _normalise_gates(product, gain, bias)
        return normalise(product, gain, bias)

    def kernel(self) -> Kernel:
        """Return the kernel, which depends on the place of the reset."""
        return AFTER if self.reset_after else BEFORE

    def torch_function(self) -> Callable[..., tuple[Tensor, ...]] | None:
        """Return `torch.gru`, which resets after the product and does not normalise."""
        return torch.gru if self.reset_after and not self.layer_norm else None


def _constants(weights: Weights) -> Constants:
    """Return the weights in the form of the kernel that resets after the product."""
    get = weights.get
    return Constants(
        weights["weight_ih"],
        weights["weight_hh"],
        get("bias_ih"),
        get("bias_hh"),
        gain=get("gain_hh"),
        gain_ih=get("gain_ih"),
    )


def _split_constants(weights: Weights) -> Constants:
    """Return the weights with W_hn, which multiplies r * h, separate from the other rows."""
    check_matrix(weights["weight_hh"])
    hidden = weights["weight_hh"].shape[1]
    hh, hn = weights["weight_hh"].split([2 * hidden, hidden])
    return _constants(weights)._replace(hh=hh, hr=hn)


AFTER, BEFORE = Kernel("gru", _constants), Kernel("gru reset before", _split_constants)


class GRU(Stack):
    """Gated recurrent unit, a drop-in replacement for `torch.nn.GRU` with more options.

    Args:
        input_size: features of x.
        hidden_size: units of a layer, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        bias: whether there are `bias_ih` and `bias_hh`.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        device: device of the weights.
        dtype: data type of the weights.
        reset_after: apply the reset gate after the matrix product (torch, cuDNN) or before it
            (the paper).
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        weight_dropout: probability of dropping an entry of W_hh, once per call (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into W_hh, the
            same at all steps (arXiv:1512.05287).
        zoneout: probability that a unit keeps its old value in a step (arXiv:1606.01305).
        layer_norm: normalise the inputs of the gates (arXiv:1607.06450).

    Raises:
        ArgumentError: a size or a probability is out of its range.

    Example:
        >>> import torch, elman
        >>> gru = elman.GRU(8, hidden_size=[32, 16], reset_after=False, batch_first=True)
        >>> y, state = gru(torch.zeros(4, 10, 8))
        >>> y.shape, [h.shape[-1] for h in state]
        (torch.Size([4, 10, 16]), [32, 16])
    """

    proj_size = 0

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reset_after: bool = True,
        variational: bool = False,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        super().__init__(
            GRUCell(reset_after, bias, layer_norm),
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            variational=variational,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            device=device,
            dtype=dtype,
        )
        self.reset_after, self.bias, self.layer_norm = reset_after, bias, layer_norm


def _normalise_gates(a: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """Normalise the part for r and z together, and the part for n separately."""
    hidden = a.shape[-1] // 3
    sizes = [2 * hidden, hidden]
    biases = [None, None] if bias is None else bias.split(sizes)
    parts = zip(a.split(sizes, dim=-1), gain.split(sizes), biases, strict=True)
    return torch.cat([normalise(*part) for part in parts], dim=-1)
