"""An item of several inputs whose main input arrives element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.bags import Bag
from elman.encode.fuse import at_moments
from elman.errors import DataError
from elman.inputs.live import Array, LiveInput, Step
from elman.padded import Delayed, Joint, Nested, row_of
from elman.state import MOST, State, hash_of


class Moments(Delayed):
    """An array at the moments of the main input.

    Args:
        array: (S, ...).
        steps: T, steps of the main input.
        ratio: steps of the array in a step of the main input.
    """

    def __init__(self, array: Any, steps: int, ratio: float) -> None:
        self.array, self.steps, self.ratio = array, steps, ratio

    @property
    def places(self) -> NDArray[np.int64]:
        """The step of the array for each step of the main input."""
        return at_moments(len(self.array), 0, self.steps, self.ratio)

    def __len__(self) -> int:
        return len(self.places)

    def read(self) -> NDArray[Any]:
        """Return the array (T, ...)."""
        return np.asarray(row_of(self.array))[self.places]

    def changed(self, array: Any, steps: int) -> Moments:
        """Return another array for a main input with other steps, with the same ends."""
        faster = (len(array) / max(1, len(self.array))) * (self.steps / max(1, steps))
        return Moments(array, steps, self.ratio * faster)


class LiveFused(LiveInput):
    """An item of several inputs; the main one arrives element by element, the others are complete.

    Args:
        first: the main input.
        others: arrays of the other inputs; None for a missing one.
        ratios: their steps in a step of the main input; 0 for an input that is read as a whole.
        bag: inputs of the wide part from the other inputs; None without one.
    """

    def __init__(
        self,
        first: LiveInput,
        others: tuple[Array | None, ...],
        ratios: Sequence[float],
        bag: Bag | None,
    ) -> None:
        self._first, self._others, self._ratios, self._bag = first, others, ratios, bag
        self._steps = 0

    @property
    def key(self) -> str:  # type: ignore[override]
        """A hash of the other inputs."""
        others = (None if one is None else row_of(one).tolist() for one in self._others)
        return hash_of(self._first.key, *others)

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        return self._first.state, torch.tensor(self._steps)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        first, steps = state
        assert isinstance(steps, Tensor)
        if not 0 <= int(steps) < MOST:
            raise DataError(f"the state of the inputs is damaged: it has {int(steps)} steps")
        self._first.restore(first)
        self._steps = int(steps)

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Read the next element of the first input."""
        complete, draft = self._first.push(element, at)
        whole = self._joined(complete)
        self._steps += 0 if complete is None else len(complete.array)
        return whole, self._joined(draft)

    def finish(self) -> Step | None:
        """Return the steps that are complete because no element follows."""
        return self._joined(self._first.finish())

    def _joined(self, step: Step | None) -> Step | None:
        if step is None:
            return None
        assert not isinstance(step.array, Joint | Nested)
        begin, end = self._steps, self._steps + len(step.array)
        others = tuple(
            one
            if one is None or not ratio
            else np.asarray(row_of(one))[at_moments(len(one), begin, end, ratio)]
            for one, ratio in zip(self._others, self._ratios, strict=True)
        )
        bag = step.bag or self._bag
        if step.bag is not None and self._bag is not None:  # a row of both
            numbers, values = (torch.cat([step.bag[n], self._bag[n]]) for n in (0, 1))
            bag = Bag(numbers, values, step.bag.starts)
        return step._replace(array=Joint(step.array, others), bag=bag)
