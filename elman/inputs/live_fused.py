"""An item of several inputs that arrive element by element, each at its own rate.

The steps of the main input wait until the other inputs have arrived up to the same moment.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.bags import Bag
from elman.encode.fuse import at_moments
from elman.errors import ArgumentError, DataError, ElmanError
from elman.inputs.live import Array, LiveInput, Step
from elman.padded import Composite, Delayed, Joint, row_of
from elman.state import MOST, State, hash_of

WAITING = 1 << 20  # steps that an input can be ahead of another one


class Clock(NamedTuple):
    """The place of the steps of an input among those of the main input.

    Attributes:
        ratio: its steps in a step of the main input; 0 if it is read as a whole.
        seconds: the time between its steps.
    """

    ratio: float
    seconds: float

    def offset(self, main: float | None, own: float | None) -> float:
        """Return its steps before the main input begins; below 0 if it begins later.

        Args:
            main, own: the first stamps in seconds; None without stamps, and both then begin at the
                same moment.
        """
        return 0.0 if main is None or own is None else (main - own) / self.seconds


class At(Delayed):
    """The steps of an array at some places.

    Args:
        array: (S, ...).
        places: the step for each step of the main input, below 0 before the beginning.
    """

    def __init__(self, array: Any, places: NDArray[np.int64]) -> None:
        self.array, self.places = array, places

    @property
    def missing(self) -> int:  # type: ignore[override]
        """The number of steps of the main input before the first one of the array."""
        return int((self.places < 0).sum())

    def __len__(self) -> int:
        return len(self.places)

    def read(self) -> NDArray[Any]:
        """Return the array (T, ...)."""
        return np.asarray(row_of(self.array).numpy()[self.places.clip(min=0)])


class Moments(At):
    """An array at all moments of the main input.

    Args:
        array: (S, ...).
        steps: T, steps of the main input.
        ratio: steps of the array in a step of the main input.
        offset: steps of the array before the main input begins; below 0 if it begins later.
    """

    def __init__(self, array: Any, steps: int, ratio: float, offset: float = 0.0) -> None:
        self.array, self.steps, self.ratio, self.offset = array, steps, ratio, offset

    @property
    def places(self) -> NDArray[np.int64]:  # type: ignore[override]
        """The step of the array for each step of the main input."""
        return at_moments(len(self.array), 0, self.steps, self.ratio, self.offset)

    def changed(self, array: Any, steps: int) -> Moments:
        """Return another array for a main input with other steps, with the same ends."""
        longer = len(array) / max(1, len(self.array))
        faster = longer * (self.steps / max(1, steps))
        return Moments(array, steps, self.ratio * faster, self.offset * longer)


class Arriving:
    """An input other than the main one that arrives element by element.

    Args:
        live: the elements that arrive.
        main: the main input.
        clock: the place of its steps among those of the main input.
        first: number of its first feature in the wide part.

    Attributes:
        count: steps that have arrived.
        ended: whether no further step can follow.
        bag: features of the wide part after the last step; None without any.
    """

    def __init__(self, live: LiveInput, main: LiveInput, clock: Clock, first: int) -> None:
        self.live, self._main, self._clock, self._first = live, main, clock, first
        self.count, self.ended = 0, False
        self.bag: Bag | None = None
        self._kept: NDArray[Any] | None = None  # the last steps, from the next one that is read

    def add(self, step: Step | None) -> None:
        """Keep new steps."""
        if step is None or not len(step.array):
            return
        if step.bag is not None:
            self.bag = step.bag._replace(numbers=step.bag.numbers + self._first)
        self._kept = _extended(self._kept, step)
        self.count += len(step.array)

    def places(self, begin: int, end: int, steps: int) -> NDArray[np.int64]:
        """Return its step, if that is below `steps`, for each of these steps of the main input."""
        offset = self._clock.offset(self._main.starts, self.live.starts)
        return at_moments(steps, begin, end, self._clock.ratio, offset)

    def has(self, moment: int) -> bool:
        """Return whether the step at the moment of a step of the main input is known."""
        return self.ended or bool(len(self.places(moment, moment + 1, self.count)))

    def at(self, begin: int, end: int) -> At | None:
        """Return the steps for those of the main input; None for no step."""
        places = self.places(begin, end, self.count)
        if self._kept is None or not len(places):
            return None
        first = self.count - len(self._kept)
        return At(self._kept, np.where(places < 0, places, places - first))

    def drop(self, moment: int) -> None:
        """Forget the steps before the moment of a step of the main input."""
        if self._kept is not None:
            (place,) = self.places(moment, moment + 1, MOST).tolist()
            self._kept = self._kept[max(0, place - (self.count - len(self._kept))) :]

    def ahead(self, moment: int) -> int:
        """Return how many steps have arrived after the moment of a step of the main input."""
        (place,) = self.places(moment, moment + 1, MOST).tolist()
        return self.count - max(0, int(place))

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        counts = torch.tensor([self.count, self.ended])
        return self.live.state, counts, _packed(self._kept), _packed_bag(self.bag)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        live, counts, packed, bag = state
        assert isinstance(counts, Tensor)
        count, ended = counts.tolist()
        kept, features = _unpacked(packed), _unpacked_bag(bag)
        long = 0 if kept is None else len(kept)
        if not (0 <= count < MOST and ended in (0, 1) and long <= count):
            raise DataError("the state of the inputs is damaged: it has impossible values")
        self.live.restore(live)
        self.count, self.ended, self.bag, self._kept = count, bool(ended), features, kept


class LiveFused(LiveInput):
    """An item of several inputs.

    Args:
        first: the main input.
        others: for each other input its array, None for a missing one, or `Arriving`.
        clocks: the places of their steps among those of the main input.
        starts: their first stamps in seconds; None without stamps, or if they arrive.
        bag: inputs of the wide part from the complete inputs; None without one.
        names: the name of each input.
        features: number of features of the wide part.
    """

    def __init__(
        self,
        first: LiveInput,
        others: Sequence[Array | Arriving | None],
        clocks: Sequence[Clock],
        starts: Sequence[float | None],
        bag: Bag | None,
        names: Sequence[str],
        features: int,
    ) -> None:
        self._features = features
        self._first, self._others, self._bag = first, others, bag
        self._clocks, self._starts = clocks, starts
        self._arriving = {
            name: one
            for name, one in zip(names[1:], others, strict=True)
            if isinstance(one, Arriving)
        }
        self._main, self._steps = names[0], 0
        self._waiting: NDArray[Any] | None = None  # steps of the main input that wait for others
        self._main_bag: Bag | None = None  # of the main input, if others arrive

    @property
    def key(self) -> str:  # type: ignore[override]
        """A hash of the complete inputs, and the names of those that arrive."""
        shown = (
            "" if isinstance(one, Arriving) else None if one is None else row_of(one).tolist()
            for one in self._others
        )
        arriving = (f"{name} {one.live.key}" for name, one in self._arriving.items())
        return hash_of(self._first.key, *shown, repr(self._starts), *arriving)

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        return (
            self._first.state,
            torch.tensor(self._steps),
            tuple(one.state for one in self._arriving.values()),
            _packed(self._waiting),
            _packed_bag(self._main_bag),
        )

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        first, steps, others, waiting, bag = state
        assert isinstance(steps, Tensor)
        if not 0 <= int(steps) < MOST:
            raise DataError(f"the state of the inputs is damaged: it has {int(steps)} steps")
        array, main_bag = _unpacked(waiting), _unpacked_bag(bag)
        self._first.restore(first)
        for one, stored in zip(self._arriving.values(), others, strict=True):
            one.restore(stored)
        for found in (main_bag, *(one.bag for one in self._arriving.values())):
            if found is not None and not all(
                0 <= n < self._features for n in found.numbers.tolist()
            ):
                raise DataError("the state of the inputs is damaged: it has unknown features")
        self._steps, self._waiting, self._main_bag = int(steps), array, main_bag

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Read the next element of the main input, or of the inputs that a dict names."""
        if not self._arriving:
            complete, draft = self._first.push(element, at)
            return self._joined(complete), self._joined(draft, final=False)
        if not isinstance(element, Mapping) or not set(element) <= {self._main, *self._arriving}:
            wanted = ", ".join((self._main, *self._arriving))
            got = ", ".join(map(str, element)) if isinstance(element, Mapping) else repr(element)
            raise ArgumentError(f"push needs a dict of some of the inputs {wanted}, got {got:.80}")
        before = self.state if len(element) > 1 else None
        try:
            for name, value in element.items():
                if name == self._main:
                    self._wait(self._first.push(value, at)[0])
                else:
                    other = self._arriving[name]
                    other.add(other.live.push(value, at)[0])
        except ElmanError:
            if before is not None:  # the elements before the bad one were not read, either
                self.restore(before)
            raise
        self._check_waiting()
        complete, draft = self._ready()
        return self._joined(complete), self._joined(draft, final=False)

    def finish(self) -> Step | None:
        """Return the steps that are complete because no element follows."""
        if not self._arriving:
            return self._joined(self._first.finish())
        for other in self._arriving.values():
            other.add(other.live.finish())
            other.ended = True
        self._wait(self._first.finish())
        return self._joined(self._ready()[0])

    def _wait(self, step: Step | None) -> None:
        if step is not None and len(step.array):
            self._waiting = _extended(self._waiting, step)
            self._main_bag = step.bag

    def _check_waiting(self) -> None:
        """Raise an ArgumentError if an input is too far ahead, or has another kind of times."""
        lives = (self._first, *(one.live for one in self._arriving.values()))
        if {True, False} <= {one.dates for one in lives}:
            raise ArgumentError("the times of all inputs must be dates, or all must be numbers")
        there = [0 if self._waiting is None else len(self._waiting)]
        there += [one.ahead(self._steps) for one in self._arriving.values()]
        for name, ahead in zip((self._main, *self._arriving), there, strict=True):
            if ahead > WAITING:
                raise ArgumentError(
                    f"{name} is {ahead:,} steps ahead of the other inputs; push them, too"
                )

    def _ready(self) -> tuple[Step | None, Step | None]:
        """Return the steps of the main input for which the other inputs have arrived.

        If later features of an arriving input change the scores, the last step is a draft, which
        waits.
        """
        whole, others = self._waiting, self._arriving.values()
        if whole is None:
            return None, None
        count = bisect_left(  # the first step that must wait
            range(len(whole)),
            True,
            key=lambda n: not all(one.has(self._steps + n) for one in others),
        )
        changes = any(one.bag is not None and not one.ended for one in others)
        last = count - (count > 0 and changes)
        self._waiting = whole[last:]
        bag = _sum([self._main_bag, *(one.bag for one in others)])
        complete, draft = (
            Step(some, bag) if len(some) else None for some in (whole[:last], whole[last:count])
        )
        return complete, draft

    def _joined(self, step: Step | None, *, final: bool = True) -> Step | None:
        """Return steps of the main input with the other inputs; `final` if they cannot change."""
        if step is None:
            return None
        assert not isinstance(step.array, Composite)
        begin, end = self._steps, self._steps + len(step.array)
        others = tuple(
            one.at(begin, end)
            if isinstance(one, Arriving)
            else one
            if one is None or not clock.ratio
            else At(one, at_moments(len(one), begin, end, clock.ratio, self._offset(clock, own)))
            for one, clock, own in zip(self._others, self._clocks, self._starts, strict=True)
        )
        if final:
            self._steps = end
            for one in self._arriving.values():
                one.drop(end)
        return step._replace(array=Joint(step.array, others), bag=_sum([step.bag, self._bag]))

    def _offset(self, clock: Clock, own: float | None) -> float:
        return clock.offset(self._first.starts, own)


def _extended(before: NDArray[Any] | None, step: Step) -> NDArray[Any]:
    """Return an array with the numbers of further steps after it."""
    new = np.asarray(row_of(step.array))  # type: ignore[arg-type]
    return new if before is None else np.concatenate([before, new])


def _sum(bags: Sequence[Bag | None]) -> Bag | None:
    """Return bags of one row as one bag; None if there are none."""
    found = [one for one in bags if one is not None]
    if not found:
        return None
    numbers, values = (torch.cat([one[n] for one in found]) for n in (0, 1))
    return Bag(numbers, values, found[0].starts)


def _packed_bag(bag: Bag | None) -> State:
    """Return a bag of one row as tensors that are empty if there is none."""
    numbers, values = (None, None) if bag is None else (bag.numbers.numpy(), bag.values.numpy())
    return _packed(numbers), _packed(values)


def _unpacked_bag(packed: State) -> Bag | None:
    """Return the bag that `_packed_bag` stored; raise a DataError if its sizes do not fit."""
    numbers, values = (_unpacked(part) for part in packed)
    if numbers is None or values is None or len(numbers) != len(values):
        if numbers is None and values is None:
            return None
        raise DataError("the state of the inputs is damaged: its features do not fit")
    start = torch.zeros(1, dtype=torch.int64)
    return Bag(torch.from_numpy(numbers).long(), torch.from_numpy(values).float(), start)


def _packed(array: NDArray[Any] | None) -> tuple[Tensor, ...]:
    """Return an array (n, ...) as its sizes and its numbers, as float32 or int64; empty for None.

    Leaves of a state whose first size is 0 can become longer, so the numbers are flat.
    """
    row = torch.zeros(0) if array is None else row_of(array)
    sizes = torch.tensor([] if array is None else row.shape, dtype=torch.int64)
    both = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    floats, integers = (row.flatten() if row.dtype == one.dtype else one for one in both)
    return sizes, floats, integers


def _unpacked(packed: State) -> NDArray[Any] | None:
    """Return the array that `_packed` stored; raise a DataError if its sizes do not fit."""
    sizes, floats, integers = (one for one in packed if isinstance(one, Tensor))
    if not len(sizes):
        return None
    flat, shape = floats if len(floats) else integers, sizes.tolist()
    if min(shape) < 0 or math.prod(shape) != len(flat) or (len(floats) and len(integers)):
        raise DataError("the state of the inputs is damaged: its sizes do not fit")
    if not floats.isfinite().all():
        raise DataError("the state of the inputs is damaged: it has numbers that are not finite")
    found: NDArray[Any] = flat.reshape(shape).numpy().copy()
    return found
