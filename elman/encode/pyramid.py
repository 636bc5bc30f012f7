"""An encoder that halves the number of steps with each of its recurrent layers: a pyramid.

    h^0 = encode(x)
    g^l = layer_l(h^{l-1}),    h^l_t = [g^l_{2t}; g^l_{2t+1}],    l = 1 .. L,   t from 0

The last step of an odd number is dropped, so T steps become T // 2^L.

Source: Chan et al. 2016, "Listen, Attend and Spell" (arXiv:1508.01211).

Shape legend: B rows, T steps, D features, H features that a layer outputs, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from elman.dropout import check_probability, dropout, locked_dropout
from elman.encode.encoder import Encoder
from elman.errors import DataError
from elman.padded import Padded
from elman.recur.blocks import AnyCore
from elman.recur.stream import Stream
from elman.state import State


class Pyramid(nn.Module):
    """An encoder followed by recurrent layers, each of which halves the number of steps.

    Args:
        encode: turns elements into vectors.
        layers: recurrences of one layer, batch first; each reads the joined states of the previous
            one.
        dropout: probability of dropping an output of a layer.
        variational: drop the same features at all steps of a row (locked).

    Example:
        >>> import torch, elman
        >>> from elman.encode.front_end import FrontEnd
        >>> from elman.encode.pyramid import Pyramid
        >>> from elman.encode.sound import SoundIndex
        >>> from elman.padded import Padded
        >>> front = FrontEnd(SoundIndex("mfcc", 13, 8000))
        >>> layers = [elman.GRU(13, 8, batch_first=True), elman.GRU(16, 6, batch_first=True)]
        >>> found = Pyramid(front, layers)(Padded(torch.zeros(2, 9, 13), torch.tensor([9, 7])))
        >>> found.data.shape, found.lengths.tolist()
        (torch.Size([2, 2, 12]), [2, 1])
    """

    def __init__(
        self,
        encode: Encoder,
        layers: Sequence[AnyCore],
        *,
        dropout: float = 0.0,
        variational: bool = True,
    ) -> None:
        super().__init__()
        self.encode = encode
        self.layers: Sequence[AnyCore] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.dropout = check_probability("dropout", dropout)
        self.variational = variational

    def forward(self, x: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T // 2^L, 2 H) for elements (B, T, ...)."""
        x = self.encode(x, generator=generator)
        for layer in self.layers:
            h, _ = layer(x.data, None, x.lengths, generator=generator)
            x = Padded(join_pairs(self._drop(h, generator)), x.lengths // 2, x.extra)
        return x

    def _drop(self, h: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.training:
            return h
        if self.variational:
            return locked_dropout(h, self.dropout, time_dim=1, generator=generator)
        return dropout(h, self.dropout, generator=generator)


def join_pairs(h: Tensor) -> Tensor:
    """Return pairs of steps (B, T, H) side by side (B, T // 2, 2 H).

    Example:
        >>> import torch
        >>> from elman.encode.pyramid import join_pairs
        >>> join_pairs(torch.arange(5.0).view(1, 5, 1)).tolist()
        [[[0.0, 1.0], [2.0, 3.0]]]
    """
    rows, steps, features = h.shape
    return h[:, : steps // 2 * 2].reshape(rows, steps // 2, 2 * features)


class PyramidStream:
    """A live run of the layers of a pyramid and of the core that reads them, for one row.

    Args:
        layers: the layers of the pyramid, which read forward only; none for the core alone.
        core: the recurrence that reads the pyramid.

    Example:
        >>> import torch, elman
        >>> from elman.encode.pyramid import PyramidStream
        >>> layers = [elman.GRU(3, 4, batch_first=True)]
        >>> stream = PyramidStream(layers, elman.GRU(8, 5, batch_first=True))
        >>> [stream.run(torch.zeros(1, n, 3)).shape[1] for n in (1, 1, 3)], stream.unread
        ([0, 1, 1], 1)
    """

    def __init__(self, layers: Sequence[AnyCore], core: AnyCore) -> None:
        self._layers, self._core = [Stream(layer) for layer in layers], Stream(core)
        self._held = self._nothing()

    def _nothing(self) -> list[Tensor]:
        """Return states (0, 1, H) for each layer: none waits for the next one."""
        return [
            next(layer.core.parameters()).new_zeros(0, 1, layer.core.output_size)
            for layer in self._layers
        ]

    @property
    def reduction(self) -> int:
        """The number of steps that become one."""
        return 1 << len(self._layers)

    @property
    def unread(self) -> int:
        """The number of steps since the last output of the core."""
        return sum(len(held) << level for level, held in enumerate(self._held))

    def run(self, x: Tensor) -> Tensor:
        """Return the states (1, n, R) that the next steps x (1, T, D) complete."""
        for n, layer in enumerate(self._layers):
            if not x.shape[1]:
                break
            h = torch.cat([self._held[n].transpose(0, 1), layer.run(x)], 1)
            self._held[n] = h[:, h.shape[1] // 2 * 2 :].transpose(0, 1).clone()
            x = join_pairs(h)
        if not x.shape[1]:
            return x.new_zeros(1, 0, self._core.core.output_size)
        return self._core.run(x)

    def restart(self) -> None:
        """Begin a new sequence."""
        self._held = self._nothing()
        for stream in (*self._layers, self._core):
            stream.restart()

    @property
    def state(self) -> State:
        """A copy of the states of the layers and of the core, and the states without a pair."""
        states = tuple(stream.state for stream in (*self._layers, self._core))
        return (states, tuple(held.clone() for held in self._held))

    @state.setter
    def state(self, state: State) -> None:
        states, held = state
        self._held = [leaf.clone() for leaf in held if isinstance(leaf, Tensor)]
        if any(len(leaf) > 1 for leaf in self._held):
            raise DataError("the state of the pyramid is damaged: several steps wait for a pair")
        for stream, one in zip((*self._layers, self._core), states, strict=True):
            stream.state = one
