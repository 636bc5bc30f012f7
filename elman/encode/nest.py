"""Read a sequence of sequences: a vector for each inner sequence, such as each sentence of a text.

    h_1 .. h_S = BiGRU(x_1 .. x_S)       the vectors x of an inner sequence
    v = [max_s h_s ; last states]        its vector, a step of the outer sequence

The recurrence of the model then reads the vectors v of an item in order.

Source: hierarchical networks of sentences and documents, Yang et al. 2016, "Hierarchical Attention
Networks for Document Classification", NAACL, with a maximum in place of the attention over words.

Shape legend: B items, T inner sequences of an item, N inner sequences of a batch, S steps of an
inner sequence, D features of a step, U features of v.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from elman.encode.fuse import ReadSequence
from elman.padded import Padded

if TYPE_CHECKING:
    from elman.encode.encoder import Encoder


class Nest(nn.Module):
    """An encoder of inner sequences, whose vectors are the steps of the outer sequence.

    Args:
        inner: the encoder of the elements of an inner sequence.
        features: D.
        units: hidden units of each direction; U is four times as many.

    Attributes:
        size: U.

    Example:
        >>> import numpy as np
        >>> from elman.encode.embed import Embed
        >>> from elman.encode.nest import Nest
        >>> from elman.padded import Nested, pad_arrays
        >>> nest = Nest(Embed(9, 3), 3, 2)
        >>> items = [Nested([np.array([1, 2]), np.array([3])]), Nested([np.array([4, 5, 6])])]
        >>> found = nest(pad_arrays(items))
        >>> found.data.shape, found.lengths.tolist()
        (torch.Size([2, 2, 8]), [2, 1])
    """

    inner: nn.Module

    def __init__(self, inner: Encoder, features: int, units: int) -> None:
        super().__init__()
        assert isinstance(inner, nn.Module)
        self.inner = inner
        self.read = ReadSequence(features, units)
        self.size = self.read.size

    def forward(self, x: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T, U) for the inner sequences of a batch (`Nested`)."""
        (rows,) = x.others
        vectors = self.vectors(rows, generator=generator)
        return Padded(vectors[x.data], x.lengths, x.extra)

    def vectors(self, rows: Padded, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the vectors (N, U) of inner sequences (N, S, ...)."""
        encoded = self.inner(rows, generator=generator)
        vectors: Tensor = self.read(encoded.data, encoded)[:, 0]
        return vectors
