"""The column of the targets in the data, and the targets that a user gives beside the items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from elman.read.labels import columns_set

TargetOf = Callable[[object, str], object]  # the target of a cell, given the cell and its place


class TargetColumn(NamedTuple):
    """The column of the targets in the data.

    Attributes:
        name: name of the column; None for the usual one of the kind of input.
        noun: the targets, for messages, such as labels.
        each: whether every step of an item has a target.
        several: whether an item can have any number of targets.
        background: target of the steps outside all spans of a table of spans.
    """

    name: str | None
    noun: str
    each: bool = False
    several: bool = False
    background: str = "none"

    def values(self, given: Any) -> Any:
        """Return targets that are given as a list; a matrix of zeros and ones becomes lists."""
        return given if self.each else columns_set(given, several=self.several)


def pair(given: Any) -> tuple[Any, Any]:
    """Return items and targets; the targets are None unless a pair is given."""
    return given if isinstance(given, tuple) and len(given) == 2 else (given, None)
