"""Targets of one item that arrives step by step.

Shape legend: n new steps, T steps of a window, D features of a state, K classes or tags.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor

from elman.decode.events import Event, Spotter
from elman.encode.bags import Bag
from elman.errors import ArgumentError, DataError
from elman.heads.labels import LabelHead, Pooled
from elman.heads.tags import TagHead
from elman.inputs.live import Stored
from elman.padded import Padded
from elman.state import MOST, State

if TYPE_CHECKING:
    from elman.targets.labels import Labels

Output = TypeVar("Output")


class LiveTarget(Stored, Generic[Output]):
    """The prediction for one item so far."""

    @abstractmethod
    def push(self, states: Tensor, bag: Bag | None) -> Output:
        """Return the prediction after the next states (1, n, D), with n at least 1."""

    def window(self, states: Padded, bag: Bag | None) -> Output:
        """Return the prediction for the states (1, T, D) of the last window.

        Raises:
            ArgumentError: this kind of target is not predicted by windows.
        """
        raise ArgumentError("a window needs targets of whole items")

    def copy(self) -> LiveTarget[Output]:
        """Return an independent copy."""
        return copy.copy(self)


class LiveLabels(LiveTarget[dict[Any, float]]):
    """The probability of each label so far.

    Args:
        labels: the labels after training.
        head: the head of the network.
    """

    def __init__(self, labels: Labels, head: LabelHead) -> None:
        self._labels, self._head = labels, head
        self._pooled: Pooled | None = None
        self.key = repr(labels.classes)

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        size = self._head.linear.in_features // (3 if self._head.pooling == "concat" else 1)
        nothing = torch.zeros(1, size)
        pooled = self._pooled or self._head.follow(nothing, None)[1]
        steps = torch.tensor([0 if self._pooled is None else pooled.steps])
        return (steps, *(leaf.clone() for leaf in pooled[1:]))

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        steps, *leaves = (leaf for leaf in state if isinstance(leaf, Tensor))
        finite = all(bool(leaf.isfinite().all()) for leaf in leaves)
        weighed = self._head.pooling != "attention" or int(steps) == 0
        if (
            not 0 <= int(steps) < MOST
            or not finite
            or not (weighed or bool((leaves[2] >= 1).all()))
        ):
            raise DataError("the state of the labels is damaged: it has impossible values")
        self._pooled = Pooled(int(steps), *leaves) if int(steps) else None

    def push(self, states: Tensor, bag: Bag | None) -> dict[Any, float]:
        """Return the probabilities after the next states."""
        for h in states.unbind(1):
            scores, self._pooled = self._head.follow(h, self._pooled)
        return self._probabilities(scores, bag)

    def window(self, states: Padded, bag: Bag | None) -> dict[Any, float]:
        """Return the probabilities for the last window."""
        return self._probabilities(self._head(states), bag)

    def _probabilities(self, scores: Tensor, bag: Bag | None) -> dict[Any, float]:
        if bag is not None and self._head.wide is not None:
            scores = scores + self._head.wide(bag)
        p = self._labels.probabilities(scores)[0].tolist()
        return dict(zip(self._labels.classes, p, strict=True))


class LiveTags(LiveTarget[tuple[str, float]]):
    """The tag of each step and its probability, and the events that the tags form.

    With a chain, the tag is the likeliest one given the steps so far, by the forward algorithm.  It
    can differ from the tag in the complete item, which also depends on later steps.

    Args:
        names: the tags after training.
        head: the head of the network.
        spotter: finds the events; None with a chain.
    """

    def __init__(self, names: Sequence[str], head: TagHead, spotter: Spotter | None) -> None:
        self._names, self._head = list(names), head
        self._before: Tensor | None = None  # (1, K) logarithms of the last probabilities
        self.spotter = None if spotter is None else copy.copy(spotter)
        self.found: list[Event] = []  # events that have ended
        rules = None if spotter is None else (spotter.on, spotter.off, spotter.shortest)
        self.key = repr((self._names, rules))

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        nothing, spotter = torch.zeros(1, len(self._names)), self.spotter
        before = nothing if self._before is None else self._before
        whole, total = [int(self._before is not None), 0, -1, 0], 0.0
        if spotter is not None:
            active = -1 if spotter.active is None else spotter.active
            whole[1:], total = [spotter.step, active, spotter.begin], spotter.total
        events = [
            (self._names.index(one.label), one.begin, one.end, one.probability)
            for one in self.found
        ]
        return (
            torch.tensor(whole),
            torch.tensor([total], dtype=torch.float64),
            before.clone(),
            torch.tensor(events, dtype=torch.float64).reshape(-1, 4),
        )

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        whole, total, before, events = (leaf for leaf in state if isinstance(leaf, Tensor))
        started, step, active, begin = whole.tolist()
        count = len(self._names)
        known = bool(((events[:, 0] >= 0) & (events[:, 0] < count)).all())
        if active >= 0:
            known = known and self.spotter is not None and active in self.spotter.classes
        finite = all(bool(one.isfinite().all()) for one in (total, events))
        if not (
            started in (0, 1)
            and 0 <= begin <= step < MOST
            and -1 <= active < count
            and known
            and finite
        ) or not bool(before.isfinite().all()):
            raise DataError("the state of the tags is damaged: it has impossible values")
        self._before = before if started else None
        if self.spotter is not None:
            self.spotter.step, self.spotter.begin = step, begin
            self.spotter.active = None if active < 0 else active
            self.spotter.total = float(total)
        self.found = [
            Event(self._names[int(label)], int(first), int(end), p)
            for label, first, end, p in events.tolist()
        ]

    def copy(self) -> LiveTags:
        """Return an independent copy."""
        other = copy.copy(self)
        other.spotter, other.found = copy.copy(self.spotter), list(self.found)
        return other

    def push(self, states: Tensor, bag: Bag | None) -> tuple[str, float]:
        """Return the tag of the last of the next states; the bag has a row for each of them."""
        extra = None if bag is None or self._head.wide is None else self._head.wide(bag)
        for n, h in enumerate(states.unbind(1)):
            scores = self._head(h)
            if extra is not None:
                scores = scores + extra[n]
            if self._head.chain:
                if self._before is None:
                    scores = scores + self._head.begin
                else:
                    moved = self._before.unsqueeze(2) + self._head.transitions
                    scores = scores + moved.logsumexp(1)
            self._before = scores.log_softmax(1)
            p = scores.softmax(1)[0].tolist()
            if self.spotter is not None:
                self.found += self.spotter.push(p)
        best = max(range(len(p)), key=p.__getitem__)
        return self._names[best], p[best]

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each tag at the last step; zeros before the first step."""
        p = [0.0] * len(self._names) if self._before is None else self._before[0].exp().tolist()
        return dict(zip(self._names, p, strict=True))
