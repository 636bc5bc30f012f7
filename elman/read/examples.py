"""Examples: the items that a model reads, the target of each, and where each was read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from elman.read.recordings import Recordings


@dataclass
class Examples:
    """Items with their targets.

    Attributes:
        items: texts, sentences, recordings, or items of another kind.
        targets: labels or tags of each item.
        places: where each item was read, for messages.
        recordings: all recordings that were read, with their channels; None for other items.

    Example:
        >>> from elman.read.examples import Examples
        >>> examples = Examples(["so good", "so bad"], [(1,), (0,)], ["row 0", "row 1"])
        >>> examples.select([1]).items
        ['so bad']
    """

    items: list[Any] = field(default_factory=list)
    targets: list[Any] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    recordings: Recordings | None = None

    def __len__(self) -> int:
        return len(self.items)

    def add(self, item: Any, target: Any, place: str) -> None:
        """Add an example."""
        self.items.append(item)
        self.targets.append(target)
        self.places.append(place)

    def select(self, numbers: Iterable[int]) -> Examples:
        """Return the examples with these numbers, in this order."""
        chosen = list(numbers)
        items, targets, places = (
            [column[n] for n in chosen] for column in (self.items, self.targets, self.places)
        )
        return Examples(items, targets, places, self.recordings)

    def column(self, number: int) -> Examples:
        """Return examples of several inputs with only one of them."""
        return replace(self, items=[item[number] for item in self.items])

    def columns(self, numbers: Iterable[int]) -> Examples:
        """Return examples of several inputs with only some of them."""
        kept = list(numbers)
        return replace(self, items=[tuple(item[n] for n in kept) for item in self.items])

    def present(self, number: int) -> list[int]:
        """Return the numbers of the examples in which one of several inputs is not missing."""
        return [n for n, item in enumerate(self.items) if item[number] is not None]
