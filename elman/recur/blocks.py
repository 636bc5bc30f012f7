"""Layers in blocks, each with a residual and a gated feed-forward network.

    x_0 = W x + b                             only if x does not have H features
    u_l = x_{l-1} + layer_l(norm(x_{l-1}))    both directions together are multiplied by a matrix
    x_l = u_l + W_o (silu(W_g norm(u_l)) * (W_u norm(u_l)))
    y = norm(x_L)

One layer of a linear recurrence alone computes little; its sources use it in such blocks: minGRU
(arXiv:2410.01201), LRU (arXiv:2303.06349), Griffin (arXiv:2402.19427) and xLSTM (arXiv:2405.04517).
The normalisation before each part is that of arXiv:2002.04745, the gated network that of
arXiv:2002.05202.

Shape legend: B rows, T steps, D input features, H features of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.dropout import check_probability, dropout, locked_dropout
from elman.errors import ArgumentError
from elman.kernels.products import linear
from elman.padded import as_lengths, check_lengths, time_mask
from elman.recur.stack import Stack
from elman.state import State

WIDER = 2  # features of the gated network, in H


class Block(nn.Module):
    """One layer with its residual and its gated network.

    Args:
        layer: one layer of any cell, batch first, which reads H features.
    """

    def __init__(self, layer: Stack) -> None:
        super().__init__()
        size = layer.input_size
        self.layer, self.norm, self.norm_gated = layer, nn.LayerNorm(size), nn.LayerNorm(size)
        own = layer.output_size == size
        self.project = None if own else nn.Linear(layer.output_size, size, bias=False)
        self.widen = nn.Linear(size, 2 * WIDER * size, bias=False)
        self.narrow = nn.Linear(WIDER * size, size, bias=False)

    def mix(
        self,
        x: Tensor,
        state: State | None,
        lengths: Tensor | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, State]:
        """Return the layer's part of the residual (B, T, H), and its state."""
        y, end = self.layer(self.norm(x), state, lengths, generator)
        return y if self.project is None else linear(y, self.project.weight), end

    def gated(self, x: Tensor) -> Tensor:
        """Return the network's part of the residual (B, T, H)."""
        gate, up = linear(self.norm_gated(x), self.widen.weight).chunk(2, -1)
        return linear(F.silu(gate) * up, self.narrow.weight)


class Blocks(nn.Module):
    """Blocks of layers of any cell, batch first; the state is a tuple of the layers' states.

    Args:
        input_size: D, features of x.
        layers: the layers, one for each block, batch first, which all read H features.
        dropout: probability of dropping a feature of each part before it is added.
        variational: drop the same features at all steps of a sequence (arXiv:1512.05287).

    Raises:
        ArgumentError: the layers do not read the same number of features, or are not batch first.

    Example:
        >>> import torch, elman
        >>> from elman.recur.blocks import Blocks
        >>> layers = [elman.MinGRU(8, 8, batch_first=True) for _ in range(2)]
        >>> core = Blocks(3, layers)
        >>> y, state = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, [h.shape for h in state]
        (torch.Size([4, 10, 8]), [torch.Size([1, 4, 8]), torch.Size([1, 4, 8])])
    """

    batch_first = True

    def __init__(
        self,
        input_size: int,
        layers: Sequence[Stack],
        *,
        dropout: float = 0.0,
        variational: bool = False,
    ) -> None:
        super().__init__()
        sizes = {layer.input_size for layer in layers}
        if len(sizes) != 1 or not all(layer.batch_first for layer in layers):
            raise ArgumentError(
                f"layers of blocks must be batch first and read the same number of features, "
                f"got {sorted(sizes)}"
            )
        self.input_size, (self.hidden_size,) = input_size, sizes
        self.enter = None
        if input_size != self.hidden_size:
            self.enter = nn.Linear(input_size, self.hidden_size)
        self.blocks: Sequence[Block] = nn.ModuleList(map(Block, layers))  # type: ignore[assignment]
        self.norm = nn.LayerNorm(self.hidden_size)
        self.dropout, self.variational = check_probability("dropout", dropout), variational
        self.num_layers, self.causal = len(layers), all(layer.causal for layer in layers)

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """The number of features that each block outputs, H."""
        return (self.hidden_size,) * self.num_layers

    @property
    def directions(self) -> int:
        """1, or 2 if the layers also read the sequence from its end."""
        return self.blocks[0].layer.directions

    @property
    def output_size(self) -> int:
        """The number of features of the output, H."""
        return self.hidden_size

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """The hidden size of each layer."""
        return (self.hidden_size,) * self.num_layers

    def forward(
        self,
        x: Tensor,
        state: State | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, State]:
        """Run the sequence.

        Args:
            x: (B, T, D).
            state: the state that an earlier call returned, or None for zeros.
            lengths: integers (B,) in 0..T; outputs after the end of a row are 0, and the state
                returned is the state after its last element.
            generator: random generator of all dropout in this call; None for torch's default.

        Returns:
            y (B, T, H), and the state of each layer.

        Raises:
            ArgumentError: a shape or a length does not fit.
        """
        if x.dim() != 3 or x.shape[2] != self.input_size:
            raise ArgumentError(
                f"x must be (B, T, input_size={self.input_size}), got shape {tuple(x.shape)}"
            )
        if state is not None and (isinstance(state, Tensor) or len(state) != self.num_layers):
            raise ArgumentError(f"state must be a tuple of the states of {self.num_layers} layers")
        running = None
        if lengths is not None:
            lengths = as_lengths(lengths)
            check_lengths(lengths, x.shape[0], x.shape[1])
            running = time_mask(lengths.to(x.device), x.shape[1]).unsqueeze(2)
            x = torch.where(running, x, 0)  # padding can be NaN
        h = x if self.enter is None else linear(x, self.enter.weight, self.enter.bias)
        ends: list[State] = []
        for n, block in enumerate(self.blocks):
            part, end = block.mix(h, None if state is None else state[n], lengths, generator)
            h = h + self._dropped(part, generator)
            h = h + self._dropped(block.gated(h), generator)
            ends.append(end)
        y = self.norm(h)
        return y if running is None else torch.where(running, y, 0), tuple(ends)

    def begin(self, first: State) -> State:
        """Return a state in which the layers have these first leaves (L, B, H), and else zeros."""
        assert isinstance(first, Tensor)
        return tuple(
            block.layer.begin(leaf)
            for block, leaf in zip(self.blocks, first.split(self.directions), strict=True)
        )

    def last(self, state: State) -> Tensor:
        """Return the first leaf of the last layer's state, (B, directions * H)."""
        return self.blocks[-1].layer.last(state[-1])

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.training or not self.dropout:
            return x
        if self.variational:
            return locked_dropout(x, self.dropout, time_dim=1, generator=generator)
        return dropout(x, self.dropout, generator=generator)


AnyCore: TypeAlias = Stack | Blocks
