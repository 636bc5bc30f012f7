"""Inputs of a tagger of recordings: steps with a tag each, and the events that tags form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.decode.events import events_of
from elman.encode.recordings import RecordingIndex, windows_of
from elman.errors import DataError
from elman.optional import absent
from elman.read.clock import write_moments
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Recording, Recordings
from elman.read.rows import Rejects
from elman.report.events import score_events
from elman.report.window_statistics import STEPS, most_frequent, steps_by_forest
from elman.tasks.channel_inputs import ChannelInputs, learn_index, often, read_like
from elman.tasks.parts import hold_out
from elman.tasks.tagged import Guesses, Tagged

if TYPE_CHECKING:
    from elman.tasks.tagger import Tagger

WINDOW = 256  # steps, if `window` is not set
MOST = 20  # most events of a recording in the report


class StepInputs(ChannelInputs):
    """Recordings with a tag for each step."""

    unit = "steps"
    title = "a tagger of the steps of recordings"

    @staticmethod
    def collect(
        _model: Tagger, source: RecordingSource, rejects: Rejects,
        like: Recordings | RecordingIndex | None = None,
    ) -> Tagged:  # fmt: skip
        """Return all recordings that have tags; the others go to `rejects`."""
        found = read_like(source, rejects, like)
        items, tags = [], []
        for one, some, place in zip(found.items, found.labels, found.places, strict=True):
            if some is None:
                reason = "has no tags; name the column of tags, or give a table of labels"
                rejects.add(place, DataError(f"{place}: {reason}"))
            else:
                items.append(one)
                tags.append(some)
        if not items:
            raise DataError(f"{source.name}: no recording has tags; at least one is needed")
        return Tagged(items, tags, found)

    @staticmethod
    def hold_out(model: Tagger, whole: Tagged) -> tuple[Tagged, Tagged, str]:
        """Hold out recordings for validation; if there are few, the end of each recording."""
        share, count = model.validation_fraction, len(whole.items)
        if int(count * share):
            train, held = hold_out(count, share, seed=model.seed, unit="recordings")
            note = f"{len(held):,} of {count:,} recordings are held out for validation"
            return whole.select(train), whole.select(held), note
        cuts = [len(one) - int(len(one) * share) for one in whole.items]
        if sum(cuts) == whole.elements:
            raise DataError(
                f"{count} recordings of {whole.elements} steps are too few to hold out "
                f"validation_fraction={share}; give more, or validation data"
            )
        begins = [one.part(0, cut) for one, cut in zip(whole.items, cuts, strict=True)]
        ends = [one.part(cut, len(one)) for one, cut in zip(whole.items, cuts, strict=True)]
        first = [some[:cut] for some, cut in zip(whole.tags, cuts, strict=True)]
        last = [some[cut:] for some, cut in zip(whole.tags, cuts, strict=True)]
        note = f"the last {share:.0%} of each recording are held out for validation"
        return Tagged(begins, first, whole.whole), Tagged(ends, last, whole.whole), note

    @classmethod
    def learn(cls, model: Tagger, train: Tagged, notes: list[str]) -> StepInputs:
        """Return inputs with the channels and units of the training data."""
        return cls(learn_index(model, replace(train.whole, items=train.items), notes))

    def encode(self, items: Sequence[Recording]) -> list[NDArray[Any]]:
        """Return the arrays (T, F) of recordings."""
        return [self.index.encode(one) for one in items]

    def training(
        self, model: Tagger, part: Tagged, notes: list[str]
    ) -> tuple[list[NDArray[Any]], list[Any], dict[str, Any]]:
        """Return windows, numbers of their tags, and arguments for the batches."""
        arrays, targets = [], []
        notes += absent("sklearn", STEPS)
        wholes = zip(
            part.items, self.encode(part.items), part.numbers(model.tag_names), strict=True
        )
        for one, whole, numbers in wholes:
            tags = self.of_cells(one, numbers, len(whole))
            for begin, end in windows_of(len(whole), model.window or WINDOW, model.overlap):
                arrays.append(whole[begin:end])
                targets.append(tags[begin:end])
        more: dict[str, Any] = {"times": often(model, len(arrays)), "change": self.change(model)}
        if more["times"] > 1:
            notes.append(f"each epoch reads the windows {more['times']} times")
        return arrays, targets, more

    def of_cells(self, one: Recording, numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Return the tag of each cell of time: its last tag, or the previous one if empty."""
        cells = self.index.cells(one)
        if not len(cells):
            return numbers
        last = np.searchsorted(cells, np.arange(count), side="right") - 1
        return np.asarray(numbers[last])

    def baselines(
        self, model: Tagger, parts: dict[str, Tagged], names: Sequence[str]
    ) -> list[tuple[str, dict[str, Guesses]]]:
        """Return the tags that baselines predict, by name and part of the data."""
        train = parts["train"]
        tags = train.numbers(model.tag_names)
        known = [one.values for one in train.items]
        others = {name: [one.values for one in parts[name].items] for name in names}
        found = []
        for fit in (steps_by_forest, most_frequent):
            one = fit(known, tags, others)
            if one is not None:
                title, guesses = one
                found.append(
                    (title, {
                        name: [[model.tag_names[n] for n in row.tolist()] for row in rows]
                        for name, rows in guesses.items()
                    })
                )  # fmt: skip
        return found

    def scores(self, model: Tagger, part: Tagged, found: Guesses) -> dict[str, float]:
        """Return scores of steps, their mean over tags, and scores of events."""
        scores: dict[str, float] = {"accuracy": part.accuracy(found)}
        right, true, predicted = Counter[str](), Counter[str](), Counter[str]()
        for a, b in zip(part.tags, found, strict=True):
            true.update(a)
            predicted.update(b)
            right.update(x for x, y in zip(a, b, strict=True) if x == y)
        # As in scikit-learn, every tag that occurs or is predicted counts, including tags that are
        # not in the training data.
        f1 = [2 * right[tag] / (true[tag] + predicted[tag]) for tag in {*true, *predicted}]
        scores["F1_macro"] = math.fsum(f1) / max(1, len(f1))
        if model.background in model.tag_names:
            wanted = [events_of(tags, model.background) for tags in part.tags]
            events = [events_of(tags, model.background) for tags in found]
            scores |= score_events(wanted, events)
        scores["steps"] = part.elements
        return scores

    def sample(self, item: Any, tags: Sequence[str], found: Sequence[str]) -> str:
        """Return the true and the predicted events of a recording for the report."""
        stamps = write_moments(item.moments(item.stamps))
        true, predicted = (
            "; ".join(f"{e.label} {stamps[e.begin]} to {stamps[e.end - 1]}"
                      for e in events_of(some)[:MOST])
            for some in (tags, found)
        )  # fmt: skip
        return f"{item.unique_id}\ntrue: {true}\npredicted: {predicted}"
