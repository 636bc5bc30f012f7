"""Read texts or images beside the numbers of a series: a vector for each step.

    v_n = Nest(item n)                    the vector of an item, see `elman.encode.nest`
    e_t = v_n for the item n of step t, or a learned vector if the step has none
    e_t = [mean of v_n over the items n of a segment ; vector of the last step]

A step of the network can be a segment of w > 1 steps of the series, each with an item or none.  The
last step of a segment has a vector of its own, because the steps that follow depend most on it: the
numbers of the segment already show the effect of the other items.  Each different item of a batch
is read once.

Shape legend: B windows, T steps of the network, w steps of the series in each, I columns of items,
N different items of a column in the batch, S steps of an item, U features of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.dropout import check_probability, dropout
from elman.encode.encoder import unread
from elman.encode.nest import Nest
from elman.padded import Padded


class ReadItems(nn.Module):
    """A layer that reads the items of the steps of a series.

    Args:
        nests: for each column, the encoder of an item.
        segment: w.
        dropped: probability of dropping a feature of the vector of an item.

    Attributes:
        sizes: U of each column.
        size: sum of U over all columns, twice with segments of several steps.

    Example:
        >>> import torch
        >>> from elman.encode.beside import ReadItems
        >>> from elman.encode.embed import Embed
        >>> from elman.encode.nest import Nest
        >>> from elman.padded import Padded
        >>> read = ReadItems([Nest(Embed(9, 3), 3, 2)])
        >>> texts = Padded.full(torch.tensor([[1, 2, 3], [4, 5, 6]]))
        >>> found = read(torch.tensor([[[0], [-1], [1], [0]]]), (texts,))
        >>> found.shape, bool((found[0, 0] == found[0, 3]).all())
        (torch.Size([1, 4, 8]), True)
    """

    def __init__(self, nests: Sequence[Nest], segment: int = 1, *, dropped: float = 0.0) -> None:
        super().__init__()
        self.nests = nn.ModuleList(nests)
        self.missing = nn.ParameterList(nn.Parameter(0.1 * torch.randn(one.size)) for one in nests)
        self.sizes = [one.size for one in nests]
        self.segment, self.size = segment, sum(self.sizes) * min(segment, 2)
        self.dropped = check_probability("dropped", dropped)

    def forward(
        self,
        numbers: Tensor,
        items: Sequence[Padded],
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return vectors (B, T, size).

        Args:
            numbers: (B, T, w I) numbers of items, -1 for none.
            items: the items (N, S, ...) of each column, or their vectors, see `vectors`; empty if
                no step has an item.
            generator: random generator of the dropout.
        """
        each = numbers.unflatten(2, (self.segment, len(self.nests)))
        found = []
        for k, missing in enumerate(self.missing):
            codes = each[..., k]  # (B, T, w)
            if k >= len(items) or not len(items[k].lengths):
                vectors = missing.expand(*codes.shape[:2], -1)
                if self.training:
                    vectors = vectors + unread(self.nests[k])
                found += [vectors] * min(self.segment, 2)
                continue
            read = self.vectors(k, items[k], generator=generator)
            there = (codes >= 0).unsqueeze(3)
            vectors = F.embedding(codes.clamp(min=0), read)  # (B, T, w, U)
            found.append(torch.where(there[:, :, -1], vectors[:, :, -1], missing))
            if self.segment > 1:
                total, count = torch.where(there, vectors, 0).sum(2), there.sum(2)
                found.append(torch.where(count > 0, total / count.clamp(min=1), missing))
        return torch.cat(found, 2)

    def vectors(
        self, column: int, items: Padded, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the vectors (N, U) of the items of a column.

        Items that are such vectors already, (N, U) floats, are returned unchanged.
        """
        if items.data.dim() == 2 and items.data.is_floating_point():
            return items.data
        nest = self.nests[column]
        assert isinstance(nest, Nest)
        found = nest.vectors(items, generator=generator)
        return dropout(found, self.dropped, generator=generator) if self.training else found
