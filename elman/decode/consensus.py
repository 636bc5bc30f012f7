"""Choose the sample that agrees most with all others: minimum Bayes risk decoding.

    y* = argmax_a mean_b likeness(a, b),   a, b ~ p(y | x)

    likeness = mean of the F1 of the words and of the pairs of words that two sequences share

The likeliest sequence can be unusual and short; one that agrees with many samples is neither.
Sources: Kumar and Byrne 2004, "Minimum Bayes-Risk Decoding for Statistical Machine Translation",
NAACL; Eikema and Aziz 2020 (arXiv:2005.10283).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from elman.arguments import check_number, check_seed, check_whole
from elman.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """The settings of minimum Bayes risk decoding.

    Attributes:
        samples: number of samples.
        temperature: temperature of the samples; below 1 they are more alike.
        seed: seed of the samples.

    Raises:
        ArgumentError: a value is out of its range.
    """

    samples: int = 32
    temperature: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(self.samples, "samples", least=1)
        check_seed(self.seed)
        check_number(self.temperature, "temperature")
        if not 0 < self.temperature < float("inf"):
            raise ArgumentError(f"temperature must be above 0, got {self.temperature}")


def most_agreed(sequences: Sequence[Sequence[object]]) -> int:
    """Return the index of the sequence that is most similar to all of them.

    Example:
        >>> from elman.decode.consensus import most_agreed
        >>> most_agreed([[1, 2, 3], [1, 2], [7, 8, 9], [1, 2, 5]])
        1
    """
    likeness = _f1([list(one) for one in sequences])
    return int((likeness + _f1([list(pairwise(one)) for one in sequences])).mean(1).argmax())


def _f1(bags: Sequence[Sequence[object]]) -> NDArray[np.float64]:
    """Return the F1 (S, S) of the overlap of each pair of bags; 0 if they share nothing."""
    known: dict[object, int] = {}
    for bag in bags:
        for one in bag:
            known.setdefault(one, len(known))
    counts = np.zeros((len(bags), len(known)))
    for row, bag in zip(counts, bags, strict=True):
        for one in bag:
            row[known[one]] += 1
    sizes = counts.sum(1)
    shared = np.minimum(counts[:, None], counts[None]).sum(2)
    both = sizes[:, None] + sizes[None]
    return np.asarray(2 * shared / np.maximum(both, 1))
