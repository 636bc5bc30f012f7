"""Batches of windows of series, in a new random order for every epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from elman.encode.windows import Windows
from elman.train.chunks import Chunk


class WindowBatches:
    """Batches of windows of series, in which all origins are equally likely.

    Args:
        windows: windows of all series.
        origins: (N, 2) first and last origin of each series; last < first for none.
        batch_size: windows in a batch, over all processes.
        seed: seed of the draw; None for all windows in order.
        stride: steps between the origins of a series.
        count: windows of an epoch, repeated if there are fewer; None to use each one once.
        share: (rank, processes), which determine the windows of this process.
        ends: (N,) the number of steps of each series that can be read; None for all.
    """

    rows = 0  # no state is carried

    def __init__(
        self,
        windows: Windows,
        origins: NDArray[np.int64],
        batch_size: int,
        *,
        seed: int | None,
        stride: int = 1,
        count: int | None = None,
        share: tuple[int, int] = (0, 1),
        ends: NDArray[np.int64] | None = None,
    ) -> None:
        self.windows, self.origins, self.stride = windows, origins, stride
        self.batch_size, self.seed, self.share, self.ends = batch_size, seed, share, ends
        counts = (origins[:, 1] - origins[:, 0]).clip(min=-stride) // stride + 1
        self._ends = np.cumsum(counts)
        self.total = int(self._ends[-1])
        self.count = self.total if count is None or not self.total else count

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest >= self.share[1])

    def epoch(self, number: int, start: int = 0) -> Iterator[Chunk]:
        """Yield the batches of an epoch."""
        chosen = np.arange(self.count)
        if self.seed is not None:
            draw = np.random.default_rng((self.seed, number))
            chosen = draw.choice(self.total, min(self.count, self.total), replace=False)
            again = -(-self.count // self.total) - 1
            chosen = np.concatenate([chosen, *(draw.permutation(self.total) for _ in range(again))])
        rank, processes = self.share
        for batch in range(start, len(self)):
            here = chosen[batch * self.batch_size : (batch + 1) * self.batch_size][rank::processes]
            which, origins = self.find(here)
            window = self.windows.cut(
                which,
                origins,
                self.ends,
                learn=self.seed is not None,
                draw=None
                if self.seed is None
                else np.random.default_rng((self.seed, number, batch, rank)),
            )
            yield Chunk(window.batch, window.targets)

    def find(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the series and origins of windows, given their indices."""
        which = np.searchsorted(self._ends, numbers, side="right")
        within = numbers - np.append(0, self._ends)[which]
        return which, self.origins[which, 0] + within * self.stride
