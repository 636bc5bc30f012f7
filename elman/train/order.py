"""The order of examples in batches of similar length."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MOST = 1 << 18  # maximum of elements in a batch, with padding, if the seed is None


class Order:
    """Batches of examples of similar length, in an order that depends on seed and epoch.

    Args:
        lengths: (N,) lengths of the examples.
        batch_size: examples in a batch, over all processes.
        seed: seed of the order; None for batches from the shortest to the longest.
        share: (rank, processes), which determine the examples of this process.
        times: how often an epoch uses each example.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        batch_size: int,
        seed: int | None,
        share: tuple[int, int],
        times: int = 1,
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.share = lengths, batch_size, seed, share
        self.times = times
        self._cuts: list[int] = []  # where batches from the shortest to the longest begin
        if seed is None:
            rows = 0
            for place, length in enumerate(np.sort(lengths).tolist()):
                rows += 1
                if not place or rows > batch_size or rows * length > MOST:
                    self._cuts.append(place)
                    rows = 1

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        if self.seed is None:
            return len(self._cuts)
        whole, rest = divmod(self.times * len(self.lengths), self.batch_size)
        return whole + (rest >= self.share[1])

    def epoch(self, number: int, start: int) -> Iterator[NDArray[np.int64]]:
        """Yield the indices of the examples of each batch."""
        rank, processes = self.share
        if self.seed is None:
            order = np.argsort(self.lengths, kind="stable")
            for low, high in itertools.pairwise([*self._cuts[start:], len(order)]):
                yield order[low:high][rank::processes]
            return
        batches = np.arange(len(self))
        draw = np.random.default_rng((self.seed, number))
        order = np.concatenate([draw.permutation(len(self.lengths)) for _ in range(self.times)])
        pool = 64 * self.batch_size  # sorted within pools: little padding, still random
        for at in range(0, len(order), pool):
            part = order[at : at + pool]
            order[at : at + pool] = part[np.argsort(self.lengths[part], kind="stable")]
        if len(self) * self.batch_size <= len(order):
            draw.shuffle(batches)
        else:  # the incomplete batch stays at the end
            draw.shuffle(batches[:-1])
        for batch in batches[start:]:
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size][rank::processes]
