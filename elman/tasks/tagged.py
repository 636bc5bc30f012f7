"""Tagged sequences: sentences with a tag for each word, or recordings with one for each step."""

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
    """Sequences and their tags.

    Attributes:
        items: sentences or recordings.
        tags: a tag for each element of each sequence.
        whole: all recordings that were read, with their channels; None for sentences.
    """

    items: list[Any]
    tags: list[Sequence[str]]
    whole: Any = None

    def select(self, numbers: Sequence[int]) -> Tagged:
        """Return the sequences with these numbers."""
        return Tagged([self.items[n] for n in numbers], [self.tags[n] for n in numbers], self.whole)

    @property
    def elements(self) -> int:
        """The number of words or steps."""
        return sum(map(len, self.tags))

    def numbers(self, names: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the place of each tag among `names`, IGNORED if it is not among them."""
        number = {tag: n for n, tag in enumerate(names)}
        return [
            np.array([number.get(tag, IGNORED) for tag in some], dtype=np.int64)
            for some in self.tags
        ]

    def accuracy(self, found: Sequence[Sequence[str]]) -> float:
        """Return the share of elements whose tag is correct."""
        pairs = zip(self.tags, found, strict=True)
        right = sum(a == b for true, guess in pairs for a, b in zip(true, guess, strict=True))
        return right / max(1, self.elements)

    def confused(self, found: Sequence[Sequence[str]]) -> Counter[tuple[str, str]]:
        """Count the pairs of true and predicted tags that differ."""
        pairs: Counter[tuple[str, str]] = Counter()
        for true, guess in zip(self.tags, found, strict=True):
            pairs.update((a, b) for a, b in zip(true, guess, strict=True) if a != b)
        return pairs
