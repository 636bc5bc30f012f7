"""Recordings: the channels at each step, and statistics of them for the wide part."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.decode.events import events_of
from elman.encode.augment import Augment
from elman.encode.bags import LEVELS, Bag, Levels
from elman.encode.recordings import RecordingIndex, read_like, windows_of
from elman.encode.scale import NEVER
from elman.encode.series import SeriesEmbed
from elman.encode.statistics import Running, whole_statistics
from elman.errors import ArgumentError, DataError, FolderError
from elman.inputs.input import Array, Guesses, Input, Probabilities, Reader
from elman.inputs.live_recording import LiveRecording
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.manifest import FEATURES, SERIES, content_of, read_index, write_json
from elman.read.arrays import map_array
from elman.read.clock import write_moments
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.recording_source import RecordingSource
from elman.read.recordings import (
    Layout,
    Recording,
    Recordings,
    checked_array,
    is_arrays,
    recordings_of,
)
from elman.read.rows import Rejects, Source
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
from elman.settings import dialect_of
from elman.train.checkpoint import load_tensors, save_tensors

CLASSES = 100  # above this number, a linear model takes more time than the recurrence
LOG = logging.getLogger("elman")  # the command line shows it
LARGEST = 1 << 26  # maximum statistics of all training recordings; more would need gigabytes
EVENTS = 20  # maximum number of events of a recording in the report


class RecordingReader(Reader):
    """The reader of recordings, which are channels over time."""

    kind, noun, unit, least, windows = "recordings", "recordings", "steps", 2000, 256
    row_is, named_by = "a step", ("unique_id", "ds", "channels", "static", "variable")

    @property
    def in_rows(self) -> bool:
        """Whether a recording is several rows of a table, and not one cell."""
        return bool(self.settings.channels or self.settings.variable)

    def open(
        self,
        given: Any,
        target: TargetColumn,
        *,
        labelled: bool = True,
        lenient: bool = False,
        more: Sequence[str] = (),
    ) -> Source:
        """Return a source of recordings and their labels, see `Reader.open`.

        `more` are columns whose values are read after the static columns, for other inputs.
        """
        if self.column != self.kind and not self.in_rows:  # a column of cells
            return super().open(given, target, labelled=labelled, lenient=lenient)
        source, labels = pair(given)
        if isinstance(source, list | tuple) and not is_arrays(source):
            source = [np.asarray(one) for one in source]  # lists of numbers
        if labels is None and labelled and is_arrays(source):
            raise ArgumentError("arrays need their labels: fit(arrays, labels)")
        if is_arrays(source):
            labels = target.values(labels)
        s = self.settings
        layout = Layout(
            s.channels,
            (*s.static, *more),
            target.name or "label",
            s.variable,
            s.value,
            s.unique_id,
            s.ds,
            s.ds_format,
            target.background,
            s.encoding,
            target.several,
            s.rate,
            dialect=dialect_of(s),
        )
        return RecordingSource(
            source, labels, layout, each=target.each, labelled=labelled, lenient=lenient
        )

    def read(
        self,
        source: Source,
        target: TargetColumn,
        target_of: TargetOf,
        rejects: Rejects,
        like: Input | Examples | None = None,
    ) -> Examples:
        """Return all recordings that have a target, see `Reader.read`."""
        if not isinstance(source, RecordingSource):
            return super().read(source, target, target_of, rejects, like)
        form: Recordings | RecordingIndex | None = None
        if isinstance(like, Recorded):
            form = like.index
        elif isinstance(like, Examples):
            form = like.recordings
        found = read_like(source, rejects, form)
        examples = Examples(recordings=found)
        for one, label, place in zip(found.items, found.labels, found.places, strict=True):
            try:
                answer = target_of(label, place)
            except DataError as error:
                rejects.add(place, error)
            else:
                examples.add(one, answer, place)
        return self.checked(examples, source.name, target)

    def item(self, cell: Any, place: str) -> Recording:
        """Return a recording, that of an array (T, C), or that of the .npy file with an array."""
        if isinstance(cell, Recording):
            return cell
        name = place
        if is_path(cell):
            path = self.folder / cell
            name = f"{place}: {str(cell)!r}"
            if path.suffix.lower() != ".npy":
                raise DataError(
                    f"{name} is not a recording; expected an array (T, C), or a .npy file with it; "
                    "if recordings are several rows of a table, name their columns with channels"
                )
            cell = map_array(path, f"{name} is not an array")
        try:
            values = checked_array(cell, name)
        except ArgumentError as error:
            raise DataError(str(error)) from None
        steps = np.arange(len(values), dtype=np.float64)
        return Recording(name, 0.0, steps, values, (None,) * len(self.settings.static))

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[Recording]:
        """Return the recordings of arrays, a table, or a table and its spans."""
        if isinstance(data, list) and all(isinstance(one, Recording) for one in data):
            return data
        assert isinstance(like, Recorded)
        source = self.open(data, target, labelled=False)
        if not isinstance(source, RecordingSource):
            return super().given(data, like, target)
        found = read_like(source, Rejects(None), like.index)
        for note in found.notes:
            LOG.info(note)
        return found.items

    def groups(self, items: Sequence[Recording]) -> list[str] | None:
        """Return the name of the recording of each span if spans overlap; otherwise None."""
        last: dict[str, Any] = {}
        for one in sorted(items, key=lambda one: (one.unique_id, one.begin)):
            if one.unique_id in last and one.begin <= last[one.unique_id]:
                return [one.unique_id for one in items]
            last[one.unique_id] = one.stamps[-1] if len(one) else one.begin
        return None

    def cut(self, item: Recording, first: int, last: int) -> Recording:
        """Return the steps of a recording from `first` up to `last`."""
        return item.part(first, last)

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Recorded:
        """Return the statistics of the training recordings."""
        if train.recordings is None:
            found = recordings_of(train.items, self.settings.channels)
        else:
            found = replace(train.recordings, items=train.items)
        recorded = Recorded(self, self._index(found, notes))
        if 0 < classes <= CLASSES:
            rows = recorded.statistics(train.items)
            recorded.set_levels(Levels.build(rows) if rows.size <= LARGEST else None)
        return recorded

    def _index(self, found: Recordings, notes: list[str]) -> RecordingIndex:
        """Return the statistics of the channels, with notes on what was found in them."""
        s = self.settings
        notes.extend(found.notes)
        decays, strict = s.cell == "grud", bool(s.channels or not s.variable)
        elapsed = s.elapsed or decays or None
        index = RecordingIndex.build(
            found, static=s.static, rate=s.rate, decays=decays, elapsed=elapsed, strict=strict
        )
        never = ", ".join(name for name in index.channels if index.units[name][1] == NEVER)
        if never:
            notes.append(f"channels that never change in the training data are not read: {never}")
        if index.gappy:
            shown = ", ".join(index.gappy[:5])
            shown += f" and {len(index.gappy) - 5} more" if len(index.gappy) > 5 else ""
            notes.append(f"{shown}: values are missing; a mask is read along with the channels")
        if index.tails:
            tails = ", ".join(index.tails)
            notes.append(f"channels with a long tail are read as logarithms: {tails}")
        if index.elapsed and s.elapsed is None:
            notes.append(
                f"steps are uneven, mostly {index.step:g} s apart, so the time between them is read"
            )
        return index

    def load(self, folder: Path) -> Recorded:
        """Return the recordings of a model folder."""
        index = read_index(folder / SERIES, RecordingIndex)
        if tuple(index.static) != self.settings.static:
            raise FolderError(
                f"{folder / SERIES}: its static columns are {index.static}, but config.json has "
                f"{list(self.settings.static)}; put the right file back"
            )
        recorded = Recorded(self, index)
        if (folder / FEATURES).exists():
            tensors, _ = load_tensors(folder / FEATURES)
            with content_of(folder / FEATURES):
                recorded.set_levels(Levels(tensors["edges"].numpy()))
        return recorded


class Recorded(Input):
    """Recordings after training.

    Args:
        reader: the reader of the recordings.
        index: statistics of the channels in the training data.
    """

    reader: RecordingReader
    levels = LEVELS
    use, element = ("model.predict([array])  # (T, channels)",), "[...]"
    warning = (
        " If predictions affect people, such as patients or drivers, a person must decide: the "
        "model was tested only on the data above. It is not a medical device and not a safety "
        "device."
    )

    def __init__(self, reader: RecordingReader, index: RecordingIndex) -> None:
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
