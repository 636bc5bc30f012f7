"""A group of rows that arrive one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.encode.bags import Bag
from elman.errors import DataError
from elman.inputs.input import Input
from elman.inputs.live import LiveInput, Step, check_no_time
from elman.state import MOST, State


class LiveRows(LiveInput):
    """A group whose next step is the row that arrives.

    Args:
        groups: the groups after training.
        row: the input of a row after training.
        features: number of features of the wide part; 0 without one.
        each: whether each row has a target, so that the wide part reads the row alone.  Otherwise
            it reads the mean of all rows so far.
    """

    def __init__(self, groups: Input, row: Input, features: int, *, each: bool) -> None:
        self._groups, self._row, self._each = groups, row, each
        self._features = features
        self._count, self._total = 0, torch.zeros(0 if each else features, dtype=torch.float64)

    @property
    def state(self) -> State:
        """Return the number of rows so far, and the sum of their features."""
        return (torch.tensor([self._count]), self._total.clone())

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        count, total = (leaf for leaf in state if isinstance(leaf, Tensor))
        if not 0 <= int(count) < MOST or not bool(total.isfinite().all()):
            raise DataError("the state of the rows is damaged: it has impossible values")
        self._count, self._total = int(count), total

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Return the step of a row."""
        check_no_time(at, self._groups.reader.noun)
        item = self._groups.reader.item_given([element], "element")
        (array,) = self._groups.encode([item])
        bag = self._row.bag(item) if self._features else None
        if bag is not None and not self._each:
            bag = self._mean(bag)
        return Step(array, bag), None

    def _mean(self, bag: Bag) -> Bag:
        """Return the mean features of all rows, given those of the next one."""
        self._count += 1
        self._total.index_add_(0, bag.numbers, bag.values.double())
        numbers = self._total.nonzero()[:, 0]
        return Bag(numbers, (self._total[numbers] / self._count).float(), bag.starts[:1])
