"""Recordings: how they are read, and what is learned from the training data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elman.cores import is_timed
from elman.encode.bags import Levels
from elman.encode.recordings import RecordingIndex, read_like
from elman.encode.scale import NEVER
from elman.errors import ArgumentError, DataError, FolderError
from elman.inputs.input import Input, Reader
from elman.inputs.recording_trained import Recorded
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.manifest import FEATURES, SERIES, content_of, read_index
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.recording_file import read_recording
from elman.read.recording_source import RecordingSource
from elman.read.recordings import (
    Layout,
    Recording,
    Recordings,
    checked_array,
    is_arrays,
    recordings_of,
)
from elman.read.rows import Rejects, Rows, Source
from elman.settings import dialect_of
from elman.train.checkpoint import load_tensors

CLASSES = 100  # above this number, a linear model takes more time than the recurrence
LOG = logging.getLogger("elman")  # the command line shows it
LARGEST = 1 << 26  # maximum statistics of all training recordings; more would need gigabytes


class Form(NamedTuple):
    """The form of the first recording in a cell, which later ones must have.

    Attributes:
        names: names of the channels; () if they have none.
        timed: whether there are stamps.
        unit: seconds per unit of stamps that are numbers.
        step: usual seconds between steps, once a model is trained.
    """

    names: tuple[str, ...]
    timed: bool
    unit: float
    step: float | None = None

    def applied(self, one: Recording, place: str) -> Recording:
        """Return a recording with stamps only if training had them, as `read_like` does.

        Raises:
            DataError: it is a training recording with stamps beside others without, or vice versa.
        """
        if one.timed == self.timed:
            return one
        if self.step is None:
            has, wants = ("stamps", "none") if one.timed else ("no stamps", "some")
            raise DataError(f"{place}: has {has}, but the first recording has {wants}")
        times = np.arange(len(one), dtype=np.float64)
        times *= self.step if self.timed else 1.0
        return replace(one, begin=0.0, timed=False, times=times)


class RecordingReader(Reader):
    """The reader of recordings, which are channels over time."""

    kind, noun, unit, least, windows = "recordings", "recordings", "steps", 2000, 256
    row_is, named_by = "a step", ("unique_id", "ds", "channels", "static", "variable")
    form: Form | None = None  # of the first recording in a cell

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
            cells = super().open(given, target, labelled=labelled, lenient=lenient)
            if labelled and isinstance(cells, Rows):
                cells.file_columns = [0]
            return cells
        source, labels = pair(given)
        if isinstance(source, list | tuple) and not is_arrays(source):
            source = [np.asarray(one) for one in source]  # lists of numbers
        if labels is None and labelled and is_arrays(source):
            raise ArgumentError("arrays need their labels: fit(arrays, labels)")
        if is_arrays(source):
            labels = target.values(labels)
        layout = replace(
            self.layout(more),
            label=target.name or "label",
            background=target.background,
            several=target.several,
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
        """Return a recording, that of an array (T, C), or that of a file, see `read_recording`."""
        if isinstance(cell, Recording):
            return cell
        try:
            if is_path(cell):
                name = f"{place}: {str(cell)!r}"
                found = read_recording(self.folder / cell, name, self.layout())
            else:
                values = checked_array(cell, place)
                found = Recording(place, 0.0, np.arange(len(values), dtype=np.float64), values)
        except ArgumentError as error:
            raise DataError(str(error)) from None
        if not found.names:  # an array has no static columns
            found = replace(found, static=(None,) * len(self.settings.static))
        if self.form is None:
            self.form = Form(found.names, found.timed, found.unit)
        return self.form.applied(found, place)

    def layout(self, more: Sequence[str] = ()) -> Layout:
        """Return the columns of a table; `more` are read after the static columns."""
        s, form = self.settings, self.form
        return Layout(
            s.channels or (form.names if form else ()),
            (*s.static, *more),
            variable=s.variable,
            value=s.value,
            unique_id=s.unique_id,
            ds=s.ds,
            ds_format=s.ds_format,
            encoding=s.encoding,
            rate=s.rate,
            unit=form.unit if form and form.timed else None,
            dialect=dialect_of(s),
        )

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
        recorded = self._recorded(self._index(found, notes))
        if 0 < classes <= CLASSES:
            rows = recorded.statistics(train.items)
            recorded.set_levels(Levels.build(rows) if rows.size <= LARGEST else None)
        return recorded

    def _index(self, found: Recordings, notes: list[str]) -> RecordingIndex:
        """Return the statistics of the channels, with notes on what was found in them."""
        s = self.settings
        notes.extend(found.notes)
        if not self.in_rows and found.timed and found.unit != 1:
            notes.append(
                f"{s.ds!r} of the files is read in units of {found.unit:g} s; set ds_format for "
                "another unit"
            )
        decays, strict = is_timed(s.cell), bool(s.channels or not s.variable)
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
        recorded = self._recorded(index)
        if (folder / FEATURES).exists():
            tensors, _ = load_tensors(folder / FEATURES)
            with content_of(folder / FEATURES):
                recorded.set_levels(Levels(tensors["edges"].numpy()))
        return recorded

    def _recorded(self, index: RecordingIndex) -> Recorded:
        """Return the trained recordings; later files must have the same channels."""
        known = index.channels != list(map(str, range(len(index.channels))))
        names = tuple(index.channels) if known else ()
        self.form = Form(names, index.timed, index.unit, index.step)
        return Recorded(self, index)
