"""Find events in a stream of probabilities, with hysteresis.

An event of a class begins where its probability is `on` or more, and ends before the step where it
falls below `off`, so a probability that varies between the two gives one event and not many.
Events of fewer than `shortest` steps are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from elman.errors import ArgumentError


class Event(NamedTuple):
    """An event at the steps `range(begin, end)`.

    Attributes:
        label: class of the event.
        begin, end: first step, and the step after the last.
        probability: mean probability of the class.
    """

    label: str
    begin: int
    end: int
    probability: float


class Spotter:
    """Find events while probabilities arrive, in constant memory.

    Args:
        labels: names of the K classes.
        background: the class that is not an event; None if all classes are events.
        on, off: probabilities at which an event begins and ends.
        shortest: minimum number of steps of an event.

    Raises:
        ArgumentError: not 0 < off <= on <= 1.

    Example:
        >>> from elman.decode.events import Spotter
        >>> spotter = Spotter(["none", "turn"], "none", on=0.6, off=0.4)
        >>> p = [[0.9, 0.1], [0.3, 0.7], [0.5, 0.5], [0.8, 0.2]]
        >>> [event for row in p for event in spotter.push(row)]
        [Event(label='turn', begin=1, end=3, probability=0.6)]
    """

    def __init__(
        self,
        labels: Sequence[str],
        background: str | None = None,
        *,
        on: float = 0.6,
        off: float = 0.4,
        shortest: int = 1,
    ) -> None:
        if not 0 < off <= on <= 1:
            raise ArgumentError(f"on and off must be 0 < off <= on <= 1, got on={on}, off={off}")
        if shortest < 1:
            raise ArgumentError(f"shortest must be at least 1, got {shortest}")
        self.labels = list(labels)
        self.classes = [n for n, label in enumerate(labels) if label != background]
        self.on, self.off, self.shortest = on, off, shortest
        self.step = 0
        self.active: int | None = None
        self.begin, self.total = 0, 0.0

    def push(self, p: Sequence[float]) -> list[Event]:
        """Take the probabilities (K) of a step; return the event that has ended, if any."""
        found: list[Event] = []
        if self.active is not None and p[self.active] < self.off:
            found = self.finish()
        if self.active is None:
            best = max(self.classes, key=lambda n: p[n])
            if p[best] >= self.on:
                self.active, self.begin, self.total = best, self.step, 0.0
        if self.active is not None:
            self.total += float(p[self.active])
        self.step += 1
        return found

    def finish(self) -> list[Event]:
        """End the stream; return the current event if it is long enough."""
        if self.active is None:
            return []
        steps, label = self.step - self.begin, self.labels[self.active]
        self.active = None
        if steps < self.shortest:
            return []
        return [Event(label, self.begin, self.step, round(self.total / steps, 6))]


def spot(
    p: Iterable[Sequence[float]],
    labels: Sequence[str],
    background: str | None = None,
    *,
    on: float = 0.6,
    off: float = 0.4,
    shortest: int = 1,
) -> list[Event]:
    """Return all events of a recording, given probabilities (T, K)."""
    spotter = Spotter(labels, background, on=on, off=off, shortest=shortest)
    found = [event for row in p for event in spotter.push(row)]
    return found + spotter.finish()


def events_of(tags: Sequence[str], background: str | None = None) -> list[Event]:
    """Return the runs of equal tags as events, without the background.

    Example:
        >>> from elman.decode.events import events_of
        >>> events_of(["none", "turn", "turn", "none"], "none")
        [Event(label='turn', begin=1, end=3, probability=1.0)]
    """
    found, begin = [], 0
    for step in range(1, len(tags) + 1):
        if step == len(tags) or tags[step] != tags[begin]:
            if tags[begin] != background:
                found.append(Event(tags[begin], begin, step, 1.0))
            begin = step
    return found
