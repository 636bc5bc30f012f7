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
cuDNN and torch, one matrix product a step instead of two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.kernels.cells import Constants, check_matrix
from elman.recur.stack import Stack
from elman.recur.weights import Leaves, Weights, normalise


class GRU(Stack):
    """Gated recurrent unit: a drop-in for `torch.nn.GRU`, and more.

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
        weight_dropout: probability of dropping an entry of W_hh, once a call (arXiv:1708.02182).
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

    gates = 3
    leaves = 1

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
            input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first,
            dropout=dropout, bidirectional=bidirectional, proj_size=0, variational=variational,
            weight_dropout=weight_dropout, recurrent_dropout=recurrent_dropout,
            zoneout=(zoneout,), layer_norm=layer_norm, peephole=False, device=device, dtype=dtype,
        )  # fmt: skip
        self.reset_after = reset_after

    def input_gates(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the products with x for r, z and n."""
        if weights.gain_ih is None:
            return F.linear(x, weights.ih, weights.bias_ih)
        return _normalise_gates(F.linear(x, weights.ih), weights.gain_ih, weights.bias_ih)

    def step(self, gates_BG: Tensor, seen_BR: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """Compute one step of the equations at the top of this file."""
        hidden = state[0].shape[1]
        x_rz, x_n = gates_BG.split([2 * hidden, hidden], dim=1)
        if self.reset_after:
            product = self._hidden_gates(seen_BR, weights, slice(None))
            h_rz, h_n = product.split([2 * hidden, hidden], dim=1)
            r, z = torch.sigmoid(x_rz + h_rz).chunk(2, dim=1)
            n = torch.tanh(x_n + r * h_n)
        else:
            h_rz = self._hidden_gates(seen_BR, weights, slice(0, 2 * hidden))
            r, z = torch.sigmoid(x_rz + h_rz).chunk(2, dim=1)
            n = torch.tanh(x_n + self._hidden_gates(r * seen_BR, weights, slice(2 * hidden, None)))
        return (n + z * (state[0] - n),)

    def _hidden_gates(self, h: Tensor, weights: Weights, rows: slice) -> Tensor:
        bias = None if weights.bias_hh is None else weights.bias_hh[rows]
        if weights.gain_hh is None:
            return F.linear(h, weights.hh[rows], bias)
        product, gain = F.linear(h, weights.hh[rows]), weights.gain_hh[rows]
        if rows == slice(None):
            return _normalise_gates(product, gain, bias)
        return normalise(product, gain, bias)

    def for_kernel(self, weights: Weights) -> Constants:
        """Return the weights unchanged; W_hn is separate where it multiplies r * h."""
        hh, hn = weights.hh, None
        if not self.reset_after:
            check_matrix(hh)
            hidden = hh.shape[1]
            hh, hn = hh.split([2 * hidden, hidden])
        return Constants(
            weights.ih, hh, weights.bias_ih, weights.bias_hh, hr=hn, gain=weights.gain_hh,
            gain_ih=weights.gain_ih,
        )  # fmt: skip

    def kernel(self) -> str:
        """Return the name of the kernel, which depends on the place of the reset."""
        return "gru" if self.reset_after else "gru reset before"

    def uses_torch(self) -> bool:
        """Whether torch has a compiled function for exactly these equations and options."""
        return super().uses_torch() and self.reset_after

    def torch_layers(
        self, x: Tensor, batch_sizes: Tensor | None, state: Leaves, weights: list[Tensor],
        layers: int, between: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Run `torch.gru`."""
        both, training = self.bidirectional, self.training
        if batch_sizes is None:
            return torch.gru(
                x, state[0], weights, self.bias, layers, between, training, both, False
            )
        return torch.gru(
            x, batch_sizes, state[0], weights, self.bias, layers, between, training, both
        )


def _normalise_gates(a: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """Normalise the part for r and z together, and the part for n separately."""
    hidden = a.shape[-1] // 3
    sizes = [2 * hidden, hidden]
    biases = [None, None] if bias is None else bias.split(sizes)
    parts = zip(a.split(sizes, dim=-1), gain.split(sizes), biases, strict=True)
    return torch.cat([normalise(*part) for part in parts], dim=-1)
