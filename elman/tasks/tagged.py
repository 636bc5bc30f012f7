"""Sequences with a tag for each element: words of sentences, or steps of recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.heads.tags import IGNORED

Guesses = list[list[str]]


@dataclass(frozen=True)
class Tagged:
    """Sequences and their tags; of recordings all that were read."""

    items: list[Any]
    tags: list[Sequence[str]]
    whole: Any = None

    def select(self, numbers: Sequence[int]) -> Tagged:
        """Some of them."""
        return Tagged([self.items[n] for n in numbers], [self.tags[n] for n in numbers], self.whole)

    @property
    def elements(self) -> int:
        """How many there are."""
        return sum(map(len, self.tags))

    def numbers(self, names: Sequence[str]) -> list[NDArray[np.int64]]:
        """The tags by their place among `names`."""
        number = {tag: n for n, tag in enumerate(names)}
        return [
            np.array([number.get(tag, IGNORED) for tag in some], dtype=np.int64)
            for some in self.tags
        ]

    def accuracy(self, found: Sequence[Sequence[str]]) -> float:
        """Share of elements whose tag is right."""
        pairs = zip(self.tags, found, strict=True)
        right = sum(a == b for true, guess in pairs for a, b in zip(true, guess, strict=True))
        return right / max(1, self.elements)

    def confused(self, found: Sequence[Sequence[str]]) -> Counter[tuple[str, str]]:
        """What was taken for what, and how often."""
        pairs: Counter[tuple[str, str]] = Counter()
        for true, guess in zip(self.tags, found, strict=True):
            pairs.update((a, b) for a, b in zip(true, guess, strict=True) if a != b)
        return pairs
