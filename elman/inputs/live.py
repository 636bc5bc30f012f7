"""One item that arrives element by element: the numbers of its steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from elman.errors import ArgumentError

if TYPE_CHECKING:
    from elman.encode.bags import Bag
    from elman.padded import Composite
    from elman.state import State

Array = NDArray[Any]


class Step(NamedTuple):
    """The new steps of a live input.

    Attributes:
        array: (n, ...) numbers of n steps.
        bag: input of the wide part after these steps; None without one.
        fresh: whether the state of the recurrence begins at zero before these steps.
    """

    array: Array | Composite
    bag: Bag | None = None
    fresh: bool = False


class Stored(ABC):
    """A part of a live session whose state can be stored and restored.

    Attributes:
        state: everything kept from the previous elements, for `elman.state.to_bytes`.  A leaf whose
            first dimension is 0 at the beginning can become longer; other shapes are constant.
        key: text of the settings that the state depends on, besides those of the model.
    """

    key = ""

    @property
    @abstractmethod
    def state(self) -> State:
        """Return a copy of the state."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""


class LiveInput(Stored):
    """One item that arrives element by element.

    Attributes:
        ended: whether no further element can follow.
        starts: the first time in seconds; None if elements have no times.
        dates: whether times are dates; None if it is not known.
    """

    ended = False
    starts: float | None = None
    dates: bool | None = None

    def begin(self) -> Step | None:
        """Return the steps before the first element."""
        return None

    @abstractmethod
    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Read the next element.

        Args:
            element: the element.
            at: its time; None if elements have no times.

        Returns:
            Steps that are complete, and a step that the next element can still change.

        Raises:
            ArgumentError: the element is not of this kind, or the item has ended.
        """

    def finish(self) -> Step | None:
        """Return the steps that are complete because no element follows."""
        return None


def check_no_time(at: object, noun: str) -> None:
    """Raise an ArgumentError if a time is given for an element of an input without times."""
    if at is not None:
        raise ArgumentError(f"at must be None: {noun} have no times")
