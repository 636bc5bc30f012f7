"""Recordings after training: the channels at each step, and statistics for the wide part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.decode.events import events_of
from elman.encode.augment import Augment
from elman.encode.bags import LEVELS, Bag, Levels
from elman.encode.recordings import RecordingIndex, windows_of
from elman.encode.series import SeriesEmbed
from elman.encode.statistics import Running, whole_statistics
from elman.inputs.input import Array, Guesses, Input, Probabilities, Reader
from elman.inputs.live_recording import LiveRecording
from elman.inputs.settings import InputSettings
from elman.manifest import FEATURES, SERIES, write_json
from elman.read.clock import write_moments
from elman.read.examples import Examples
from elman.read.recordings import (
    Recording,
)
from elman.report.window_statistics import (
    FOREST,
    REGRESSION,
    STEPS,
    Windows,
    by_forest,
    by_regression,
    by_values,
    most_frequent,
    steps_by_forest,
)
from elman.train.checkpoint import save_tensors

EVENTS = 20  # maximum number of events of a recording in the report


class Recorded(Input):
    """Recordings after training.

    Args:
        reader: the reader of the recordings.
        index: statistics of the channels in the training data.
    """

    levels = LEVELS
    use, element = ("model.predict([array])  # (T, channels)",), "[...]"
    warning = (
        " If predictions affect people, such as patients or drivers, a person must decide: the "
        "model was tested only on the data above. It is not a medical device and not a safety "
        "device."
    )

    def __init__(self, reader: Reader, index: RecordingIndex) -> None:
        self.reader, self.index = reader, index
        self.channels, self.numbers = len(index.channels), index.features
        if index.timed:
            self.step_seconds = index.step if index.rate is None else 1 / index.rate
        self.statistic_levels: Levels | None = None  # read by the wide part; None without one

    def set_levels(self, levels: Levels | None) -> None:
        """Set the levels of the statistics that the wide part reads."""
        if levels is not None:
            levels.check()
        self.statistic_levels = levels
        self.features = 0 if levels is None else levels.features

    def save(self, folder: Path) -> None:
        """Write the statistics and the levels."""
        write_json(folder / SERIES, asdict(self.index))
        if self.statistic_levels is not None:
            edges = torch.from_numpy(self.statistic_levels.edges)
            save_tensors(folder / FEATURES, {"edges": edges})

    # Encoding.

    def encode(self, items: Sequence[Recording]) -> list[Array]:
        """Return the features (T, F) of the steps of each recording."""
        return [self.index.encode(one) for one in items]

    def layer(self, settings: InputSettings) -> tuple[SeriesEmbed, int]:
        """Return the layer that reads steps, with random weights, and its features."""
        dropout = settings.input_dropout or 0.0
        layer = SeriesEmbed(self.numbers, [], size=settings.embedding_size, input_dropout=dropout)
        return layer, layer.size

    def steps(self, item: Recording) -> NDArray[np.int64]:
        """Return the step after resampling to which each step belongs."""
        return self.index.cells(item)

    def change(self) -> Augment | None:
        """Return the augmentation of training arrays; None without one."""
        settings = self.reader.settings
        return Augment(self.channels, settings.jitter, settings.rescale, settings.warp) or None

    def live(self, static: Mapping[str, object]) -> LiveRecording:
        """Return a recording that arrives step by step."""
        return LiveRecording(
            self.index, static, levels=self.statistic_levels, window=self.reader.settings.window
        )

    def bag(self, items: Sequence[Recording]) -> Bag | None:
        """Return the inputs of the wide part, a row for each recording or window."""
        levels = self.statistic_levels
        return None if levels is None else levels.encode(self.statistics(items))

    def statistics(self, items: Sequence[Recording]) -> NDArray[np.float64]:
        """Return the statistics (N, S) of recordings or their windows.

        A model that reads whole recordings forward has only statistics that a live recording knows
        after each step.  They exclude the number of steps, which would reveal the progress.
        """
        arrays, fixed, _ = self.windows(items)
        if self.reader.settings.window is None and not self.reader.settings.bidirectional:
            start = Running.start(self.channels)
            rows = [start.push(one).values for one in arrays]
        else:
            nothing = np.full((1, self.channels), np.nan)
            rows = [
                np.append(whole_statistics(one if len(one) else nothing), len(one))
                for one in arrays
            ]
        return np.concatenate([np.stack(rows), fixed], 1)

    def windows(self, items: Sequence[Recording]) -> Windows:
        """Return channels of windows, their static columns, and the recording of each window."""
        arrays, fixed, owners = [], [], []
        settings = self.reader.settings
        for n, one in enumerate(items):
            whole = self.index.resampled(one)
            for begin, end in windows_of(len(whole), settings.window, settings.overlap):
                arrays.append(whole.values[begin:end])
                fixed.append(self.index.fixed(one.static))
                owners.append(n)
        return arrays, np.array(fixed), np.array(owners)

    # Reports.

    @property
    def wide(self) -> str:
        """The features of the wide part, for messages."""
        return f"{self.features:,} levels of statistics"

    def facts(self) -> dict[str, object]:
        """Return the sizes of the input, for the report."""
        index = self.index
        facts: dict[str, object] = {"channels": self.channels, "features": index.features}
        if index.rate is not None:
            facts["rate"] = f"{index.rate:g} steps per second"
        return facts

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], arrays: Sequence[Array]
    ) -> list[str]:
        """Return a note about the lengths of the recordings."""
        lengths = sorted(map(len, arrays))
        what = "windows" if self.reader.settings.window else "recordings"
        span = f"{lengths[0]:,} steps"
        if lengths[0] < lengths[-1]:
            median = lengths[len(lengths) // 2]
            span = f"{lengths[0]:,} to {lengths[-1]:,} steps, with a median of {median:,}"
        return [f"{len(lengths):,} {what} of {span}"]

    def show(self, item: Recording) -> str:
        """Return the length and the means of a recording, for the report."""
        means = np.nanmean(np.where(np.isnan(item.values).all(0), 0, item.values), axis=0)
        pairs = zip(self.index.channels, means, strict=True)
        shown = ", ".join(f"{name} {mean:.4g}" for name, mean in pairs)
        return f"{item.unique_id}: {len(item):,} steps; means: {shown}"

    def show_tags(self, item: Recording, true: Sequence[str], found: Sequence[str]) -> str:
        """Return the true and the predicted events of a recording, for the report."""
        stamps = write_moments(item.moments(item.stamps))

        def shown(tags: Sequence[str]) -> str:
            events = events_of(tags)[:EVENTS]
            spans = [f"{one.label} {stamps[one.begin]} to {stamps[one.end - 1]}" for one in events]
            return "; ".join(spans)

        return f"{item.unique_id}\ntrue: {shown(true)}\npredicted: {shown(found)}"

    @property
    def made(self) -> str:
        """A description of the input, for the model card."""
        static = f"; static: {', '.join(self.index.static)}" if self.index.static else ""
        return f"channels: {', '.join(self.index.channels)}{static}"

    # Simpler models, for comparison.

    def sklearn_baselines(self, *, each: bool) -> str:
        """Return the names of the simpler models that need scikit-learn."""
        return STEPS if each else f"{FOREST}, {REGRESSION}"

    def label_baselines(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> list[Probabilities]:
        """Return the probabilities of random forests and of a logistic regression."""
        known = self.windows(train.items)
        windows = {name: self.windows(part.items) for name, part in others.items()}
        models = (by_forest, by_values, by_regression)
        found = [fit(known, targets, windows, classes) for fit in models]
        return [one for one in found if one is not None]

    def tag_baselines(
        self, train: Examples, targets: list[NDArray[np.int64]], others: Mapping[str, Examples]
    ) -> list[Guesses]:
        """Return the tags of a random forest, and the most frequent tag."""
        known = [one.values for one in train.items]
        values = {name: [one.values for one in part.items] for name, part in others.items()}
        found = [fit(known, targets, values) for fit in (steps_by_forest, most_frequent)]
        return [one for one in found if one is not None]
