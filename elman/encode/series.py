"""Encode steps of series as vectors, and moments as a calendar.

The calendar of a moment is the sine and cosine of its place in the hour, day, week, month and year,
for the cycles that are longer than the frequency.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.dropout import check_probability, locked_dropout
from elman.encode.beside import ReadItems
from elman.encode.neighbours import NeighbourPool
from elman.padded import Padded
from elman.read.frequency import DAY, Frequency, Stamps


def calendar(stamps: Stamps, frequency: Frequency) -> tuple[NDArray[np.float32], list[str]]:
    """Return features (T, F) of stamps, two for each cycle, and the names of the cycles.

    Example:
        >>> from elman.encode.series import calendar
        >>> from elman.read.clock import read_stamps
        >>> from elman.read.frequency import Frequency
        >>> features, cycles = calendar(read_stamps(["2024-03-01 06:00"])[0], Frequency.named("h"))
        >>> cycles, features[0, :2].round(3).tolist()
        (['day', 'week', 'month', 'year'], [1.0, 0.0])
    """
    if stamps.dtype.kind != "M":
        return np.zeros((len(stamps), 0), dtype=np.float32), []
    days, months = stamps.astype("datetime64[D]"), stamps.astype("datetime64[M]")
    years = stamps.astype("datetime64[Y]")
    clock = (stamps - days).astype(np.int64) / DAY
    weekday = (days.astype(np.int64) + 3) % 7
    length = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(int)
    of_month = (days - months.astype("datetime64[D]")).astype(np.int64)
    of_year = (days - years.astype("datetime64[D]")).astype(np.int64)
    cycles = {
        "hour": (clock * 24, DAY // 24),
        "day": (clock, DAY),
        "week": ((weekday + clock) / 7, 7 * DAY),
        "month": ((of_month + clock) / length, 28 * DAY),
        "year": ((of_year + clock) / 366, 365 * DAY),
    }
    chosen = {name: phase for name, (phase, period) in cycles.items() if frequency.size < period}
    waves = [wave(2 * np.pi * phase) for phase in chosen.values() for wave in (np.sin, np.cos)]
    whole = np.stack(waves, 1) if waves else np.zeros((len(stamps), 0))
    return whole.astype(np.float32), list(chosen)


class SeriesEmbed(nn.Module):
    """A layer that embeds steps: unchanged numbers, embedded categories, an optional layer on both.

    Args:
        numbers: number of numbers in a step.
        categories: number of values of each category; their codes are the last columns of a step,
            -1 for an unknown value, before the numbers of items.
        category_size: features of the embedding of a category.
        size: features of a layer relu(W x + b) on all of these; None for no layer.
        input_dropout: probability of dropping a feature, the same at all steps.
        pool: layer that pools neighbours; their columns follow the numbers; None for no neighbours.
        around: number of columns of the neighbours.
        items: layer that reads texts or images; None for no such columns.

    Example:
        >>> import torch
        >>> from elman.encode.series import SeriesEmbed
        >>> from elman.padded import Padded
        >>> embed = SeriesEmbed(3, [10], 4)
        >>> embed(Padded.full(torch.zeros(2, 5, 4))).data.shape, embed.size
        (torch.Size([2, 5, 7]), 7)
    """

    def __init__(
        self,
        numbers: int,
        categories: list[int],
        category_size: int = 8,
        size: int | None = None,
        *,
        input_dropout: float = 0.0,
        pool: NeighbourPool | None = None,
        around: int = 0,
        items: ReadItems | None = None,
    ) -> None:
        super().__init__()
        self.numbers, self.around, self.pool = numbers, around, pool
        self.vectors = nn.ModuleList(
            nn.Embedding(count + 1, category_size, padding_idx=0) for count in categories
        )  # the first vector, zero, is for unknown values
        inside = numbers + category_size * len(categories) + (0 if pool is None else pool.size)
        self.items = items
        inside += 0 if items is None else items.size
        self.layer = None if size is None else nn.Linear(inside, size)
        self.size = size or inside
        self.input_dropout = check_probability("input_dropout", input_dropout)

    @property
    def is_plain(self) -> bool:
        """Whether vectors are the unchanged numbers, except for dropout."""
        plain = self.pool is None and self.layer is None and self.items is None
        return plain and not len(self.vectors)

    def forward(self, steps: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Embed steps: (B, T, numbers + categories + numbers of items) -> (B, T, D).

        The items are the other inputs of the batch, see `ReadItems`.
        """
        data = steps.data
        x, around, rest = data.tensor_split((self.numbers, self.numbers + self.around), 2)
        parts: list[Tensor] = [] if self.pool is None else [self.pool(around)]
        if len(self.vectors):
            codes = rest.long() + 1
            parts += [vector(codes[..., n]) for n, vector in enumerate(self.vectors)]
        if self.items is not None:
            numbers = rest[..., len(self.vectors) :].long()
            parts.append(self.items(numbers, steps.others, generator=generator))
        if parts:
            x = torch.cat([x, *parts], dim=2)
        if self.layer is not None:
            x = torch.relu(self.layer(x))
        if self.training:
            x = locked_dropout(x, self.input_dropout, time_dim=1, generator=generator)
        return Padded(x, steps.lengths)
