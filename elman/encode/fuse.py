"""Fuse several inputs into one sequence: an encoder that is made of encoders.

    z_t = [x_t ; e_2 ; e_3 ...],   e_k = the last state of a GRU that reads input k

The first input determines the steps.  Each other input, of any length, is read by its own GRU.  The
last state of this GRU is appended to every step.

Shape legend: B rows, T steps of the first input, D_k features of input k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from elman.padded import Padded
from elman.recur import GRU

if TYPE_CHECKING:
    from elman.encode.encoder import Encoder


class Fuse(nn.Module):
    """An encoder that appends the last states of other inputs to every step of the first input.

    Args:
        encoders: an encoder for each input.
        sizes: D_k of each encoder.
        units: units of each GRU.

    Example:
        >>> import torch
        >>> from elman.encode.embed import Embed
        >>> from elman.encode.fuse import Fuse
        >>> from elman.padded import Padded
        >>> fuse = Fuse([Embed(5, 3), Embed(7, 2)], [3, 2], units=4)
        >>> other = Padded.full(torch.zeros(1, 9, dtype=torch.int64))
        >>> batch = Padded.full(torch.zeros(1, 6, dtype=torch.int64))._replace(others=(other,))
        >>> fuse(batch).data.shape
        torch.Size([1, 6, 7])
    """

    def __init__(self, encoders: Sequence[Encoder], sizes: Sequence[int], *, units: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)  # type: ignore[arg-type]
        self.readers = nn.ModuleList(GRU(size, units, batch_first=True) for size in sizes[1:])
        self.size = sizes[0] + units * len(self.readers)

    def forward(self, x: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T, D) for the inputs of a batch."""
        inputs = (x, *x.others)
        first, *others = (
            encode(one, generator=generator)
            for encode, one in zip(self.encoders, inputs, strict=True)
        )
        parts = [first.data]
        for read, one in zip(self.readers, others, strict=True):
            _, h = read(one.data, None, one.lengths)
            parts.append(h[-1].unsqueeze(1).expand(-1, first.data.shape[1], -1))
        return Padded(torch.cat(parts, 2), first.lengths, first.extra)
