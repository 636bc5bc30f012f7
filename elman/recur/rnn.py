"""The simple recurrent network of Elman.

    h_t = f(W_hh h_{t-1} + W_xh x_t + b_h)
    y_t = g(W_hy h_t + b_y)

f is tanh, relu or any pointwise function.  The output layer g(W_hy h_t + b_y) is a head of the
model (`elman.heads`); the output of this layer is h_t.  In the code W_xh is `weight_ih`, W_hh is
`weight_hh`, and b_h is the sum of `bias_ih` and `bias_hh`, as in torch.

With layer normalisation the sum is normalised before the function (Ba et al. 2016, eq. 4):

    h_t = f(LN(W_hh h_{t-1} + W_xh x_t) * gain + b_h)

where the gain is the product of `gain_ih` and `gain_hh`.

Source: Elman 1990, "Finding Structure in Time", Cognitive Science 14(2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.errors import ArgumentError
from elman.kernels.cells import Constants
from elman.recur.cell import Cell, Kernel, Leaves, Shapes, Weights
from elman.recur.stack import Stack
from elman.recur.weights import gate_shapes, normalise

Nonlinearity = Literal["tanh", "relu"] | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RNNCell(Cell):
    """The equations at the top of this file, with their options."""

    nonlinearity: Nonlinearity = "tanh"
    bias: bool = True
    layer_norm: bool = False

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shapes of the weights."""
        return gate_shapes(
            1, features, hidden, outputs=hidden, bias=self.bias, layer_norm=self.layer_norm
        )

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return W_xh x_t plus `bias_ih`, or without it if the sum is normalised first."""
        bias = None if self.layer_norm else weights.get("bias_ih")
        return F.linear(x, weights["weight_ih"], bias)

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute h_t = f(W_hh h_{t-1} + W_xh x_t + b_h)."""
        bias_hh = weights.get("bias_hh")
        if not self.layer_norm:
            return (self._f(x + F.linear(seen, weights["weight_hh"], bias_hh)),)
        total = x + F.linear(seen, weights["weight_hh"])
        a = normalise(total, weights["gain_ih"] * weights["gain_hh"], weights.get("bias_ih"))
        return (self._f(a if bias_hh is None else a + bias_hh),)

    def _f(self, a: Tensor) -> Tensor:
        if callable(self.nonlinearity):
            return self.nonlinearity(a)
        return torch.tanh(a) if self.nonlinearity == "tanh" else torch.relu(a)

    def kernel(self) -> Kernel | None:
        """Return the kernel for tanh or relu, or None if f is any other function."""
        return None if callable(self.nonlinearity) else KERNELS[self.nonlinearity]

    def torch_function(self) -> Callable[..., tuple[Tensor, ...]] | None:
        """Return `torch.rnn_tanh` or `torch.rnn_relu`."""
        if self.layer_norm or callable(self.nonlinearity):
            return None
        return torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu


def _constants(weights: Weights) -> Constants:
    """Return the weights in the form of the kernel, with the product of the two gains."""
    get = weights.get
    gain = weights["gain_ih"] * weights["gain_hh"] if "gain_ih" in weights else None
    return Constants(
        weights["weight_ih"], weights["weight_hh"], get("bias_ih"), get("bias_hh"), gain=gain
    )


KERNELS = {f: Kernel(f"rnn {f}", _constants) for f in ("tanh", "relu")}


class RNN(Stack):
    """Elman network, a drop-in replacement for `torch.nn.RNN` with more options.

    Args:
        input_size: features of x.
        hidden_size: units of a layer, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        nonlinearity: f; "tanh", "relu" or a pointwise function of a tensor.
        bias: whether there are `bias_ih` and `bias_hh`.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        device: device of the weights.
        dtype: data type of the weights.
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        weight_dropout: probability of dropping an entry of W_hh, once per call (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into W_hh, the
            same at all steps (arXiv:1512.05287).
        zoneout: probability that a unit keeps its old value in a step (arXiv:1606.01305).
        layer_norm: normalise the input of f (arXiv:1607.06450).

    Raises:
        ArgumentError: a size or a probability is out of its range.

    Example:
        >>> import torch, elman
        >>> rnn = elman.RNN(3, 4, nonlinearity=torch.sin, batch_first=True)
        >>> y, h = rnn(torch.zeros(2, 5, 3), lengths=torch.tensor([5, 0]))
        >>> y.shape, h.shape
        (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    """

    proj_size = 0

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        nonlinearity: Nonlinearity = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        variational: bool = False,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        if not callable(nonlinearity) and nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(
                f"nonlinearity must be 'tanh', 'relu' or a function, got {nonlinearity!r}"
            )
        super().__init__(
            RNNCell(nonlinearity, bias, layer_norm),
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
        self.nonlinearity, self.bias, self.layer_norm = nonlinearity, bias, layer_norm
