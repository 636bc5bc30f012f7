"""What a classifier or a tagger reads, if it is recordings: rows to arrays, windows, baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.bags import Bag, Levels
from elman.encode.recordings import RecordingIndex, windows_of
from elman.encode.statistics import Running, whole_statistics
from elman.errors import ArgumentError, DataError
from elman.manifest import content_of
from elman.model import SequenceModel
from elman.optional import absent
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Recording, Recordings
from elman.read.rows import Rejects
from elman.report.window_statistics import (
    FOREST,
    REGRESSION,
    Windows,
    by_forest,
    by_regression,
)
from elman.tasks.channel_inputs import ChannelInputs, learn_index, read_like
from elman.tasks.folder import FEATURES
from elman.tasks.labelled_data import Examples, labels_of
from elman.train.checkpoint import load_tensors, save_tensors

MANY = 100  # classes; with more, a linear model takes more time than the recurrence
LARGEST = 1 << 26  # statistics of all training recordings; with more they would need gigabytes

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier
    from elman.tasks.tagger import Tagger


def is_followed(model: Classifier) -> bool:
    """Return whether a model reads whole recordings forward, so that it can follow them live."""
    return model.window is None and not model.bidirectional


class RecordingInputs(ChannelInputs):
    """Recordings with one label each, or several."""

    title = "a classifier of recordings"
    levels: Levels | None = None  # of the statistics that the wide part reads; None without one

    @staticmethod
    def collect(
        model: Classifier, source: RecordingSource, rejects: Rejects,
        like: Recordings | RecordingIndex | None = None,
    ) -> Examples:  # fmt: skip
        """Return all recordings that have a label; the others go to `rejects`."""
        found = read_like(source, rejects, like)
        examples = Examples(whole=found)
        for one, label, place in zip(found.items, found.labels, found.places, strict=True):
            try:
                labels = labels_of(label, place, model, written=bool(source.files))
            except DataError as error:
                rejects.add(place, error)
            else:
                examples.add(one, labels, place)
        if not examples.items:
            raise DataError(f"{source.name}: no recording has a label; at least two are needed")
        return examples

    @classmethod
    def learn(cls, model: Classifier, train: Examples, notes: list[str]) -> RecordingInputs:
        """Return inputs with the channels and units of the training data."""
        inputs = cls(learn_index(model, replace(train.whole, items=train.items), notes))
        if model.wide and len(model.classes) <= MANY:
            rows = inputs.statistics(model, train.items)
            inputs.levels = Levels.build(rows) if rows.size <= LARGEST else None
        return inputs

    @classmethod
    def load(cls, model: Classifier | Tagger, folder: Path, *, fresh: bool = False) -> Any:
        """Load the inputs from a folder."""
        inputs: RecordingInputs = super().load(model, folder, fresh=fresh)
        if (folder / FEATURES).exists():
            tensors, _ = load_tensors(folder / FEATURES)
            with content_of(folder / FEATURES):
                inputs.levels = Levels(tensors["edges"].numpy())
                inputs.levels.check()
        return inputs

    def save(self, folder: Path) -> None:
        """Write the inputs to a folder."""
        super().save(folder)
        if self.levels is not None:
            save_tensors(folder / FEATURES, {"edges": torch.from_numpy(self.levels.edges)})

    @property
    def features(self) -> int:
        """The number of features of the wide part; 0 without one."""
        return 0 if self.levels is None else self.levels.features

    @staticmethod
    def groups(items: Sequence[Recording]) -> list[str] | None:
        """Return the name of the recording of each span if spans overlap; otherwise None.

        Spans of a recording that overlap must be held out together.
        """
        last: dict[str, Any] = {}
        for one in sorted(items, key=lambda one: (one.unique_id, one.begin)):
            if one.unique_id in last and one.begin <= last[one.unique_id]:
                return [one.unique_id for one in items]
            last[one.unique_id] = one.stamps[-1] if len(one) else one.begin
        return None

    # To numbers.

    def prepare(self, model: Classifier | Tagger, notes: list[str]) -> None:
        """Raise an ArgumentError for settings that only texts have."""
        for name in ("vectors", "start_from"):
            if getattr(model, name, None) is not None:
                raise ArgumentError(f"{name} needs texts, the data are recordings")

    def begin(self, network: SequenceModel) -> None:
        """Do nothing: recordings have no earlier model to start from."""

    def encode(
        self, model: Classifier | Tagger, items: Sequence[Recording]
    ) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
        """Return arrays (T, F) of recordings or their windows, and the recording of each array."""
        arrays, owners = [], []
        for n, one in enumerate(items):
            whole = self.index.encode(one)
            for begin, end in windows_of(len(whole), model.window, model.overlap):
                arrays.append(whole[begin:end])
                owners.append(n)
        return arrays, np.array(owners, dtype=np.int64)

    def bag(self, model: Classifier, items: Sequence[Recording]) -> Bag | None:
        """Return the input of the wide part, a row for each array of `encode`; None without one."""
        return None if self.levels is None else self.levels.encode(self.statistics(model, items))

    def statistics(self, model: Classifier, items: Sequence[Recording]) -> NDArray[np.float64]:
        """Return the statistics (N, S) of recordings or their windows.

        Those of a recording that is read forward only are known after each step, and the number of
        steps is not one of them, as it would tell how far a live recording has come.
        """
        arrays, fixed, _ = self.windows(model, items)
        if is_followed(model):
            start = Running.start(len(self.index.channels))
            rows = [start.push(one).values for one in arrays]
        else:
            nothing = np.full((1, len(self.index.channels)), np.nan)
            rows = [
                np.append(whole_statistics(one if len(one) else nothing), len(one))
                for one in arrays
            ]
        return np.concatenate([np.stack(rows), fixed], 1)

    @staticmethod
    def epochs(_recordings: int) -> int:
        """Return the number of epochs if it is not set."""
        return 10

    # To people.

    def notes_on(
        self, model: Classifier | Tagger, train: Examples, others: dict[str, Examples],
        encoded: Iterable[NDArray[Any]],
    ) -> list[str]:  # fmt: skip
        """Return notes about the recordings for the user."""
        lengths = sorted(map(len, encoded))
        what = "windows" if model.window else "recordings"
        trees = model.head.wide.forest is not None if self.levels is not None else False
        wide = (
            f"training starts from a linear model of {self.features:,} levels of statistics"
            f"{' and a random forest' * trees}; wide=False for the recurrence alone"
        )
        span = f"{lengths[0]:,} steps"
        if lengths[0] < lengths[-1]:
            median = lengths[len(lengths) // 2]
            span = f"{lengths[0]:,} to {lengths[-1]:,} steps, with a median of {median:,}"
        return [wide] * (self.levels is not None) + [
            f"{len(lengths):,} {what} of {span}",
            *absent("sklearn", f"{FOREST}, {REGRESSION}"),
        ]

    def baselines(
        self, model: Classifier, parts: dict[str, Examples], targets: Tensor, names: Sequence[str]
    ) -> list[tuple[str, dict[str, Tensor]]]:
        """Return the probabilities that baselines predict, by name and part of the data."""
        train = self.windows(model, parts["train"].items)
        others = {name: self.windows(model, parts[name].items) for name in names}
        found = []
        for fit in (by_forest, by_regression):
            one = fit(train, targets, others, len(model.classes))
            if one is not None:
                found.append(one)
        return found

    def windows(self, model: Classifier, items: Sequence[Recording]) -> Windows:
        """Return channels of windows, their static columns, and the recording of each window."""
        arrays, fixed, owners = [], [], []
        for n, one in enumerate(items):
            whole = self.index.resampled(one)
            for begin, end in windows_of(len(whole), model.window, model.overlap):
                arrays.append(whole.values[begin:end])
                fixed.append(self.index.fixed(one.static))
                owners.append(n)
        return arrays, np.array(fixed), np.array(owners)

    def sample(self, one: Recording) -> str:
        """Return a line about a recording for the report."""
        means = np.nanmean(np.where(np.isnan(one.values).all(0), 0, one.values), axis=0)
        shown = ", ".join(
            f"{name} {mean:.4g}" for name, mean in zip(self.index.channels, means, strict=True)
        )
        return f"{one.unique_id}: {len(one):,} steps; means: {shown}"
