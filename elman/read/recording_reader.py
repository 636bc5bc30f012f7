"""Turn the rows of tables into recordings, for `elman.read.recording_source`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.read.clock import Clock
from elman.read.columns import Columns, Table
from elman.read.convert import Kind
from elman.read.dialect import is_code, is_nothing, named_like
from elman.read.files import is_packed
from elman.read.recordings import (
    Layout,
    Numbers,
    Recording,
    Recordings,
    in_seconds,
    is_blank,
    static_values,
)
from elman.read.rows import Rejects
from elman.read.series import DS, ID
from elman.read.spans import Span, read_spans


@dataclass(frozen=True)
class RecordingTables:
    """Tables of recordings, and how they are read.

    Attributes:
        name: name of the data in messages.
        tables: tables of the steps.
        labels: table of the labels; None if they are in the tables of the steps, or in folders.
        root: folder of the tables; None for a single table.
        layout: meaning of the columns.
        each: whether each step has a label.
        labelled: whether recordings must have labels.
    """

    name: str
    tables: Sequence[Table]
    labels: Table | None
    root: Path | None
    layout: Layout
    each: bool
    labelled: bool


class RecordingReader:
    """A reader that collects recordings table by table.

    Args:
        source: the tables, and how they are read.
        rejects: receives rows and recordings that cannot be used.
    """

    def __init__(self, source: RecordingTables, rejects: Rejects) -> None:
        self.source, self.rejects, self.layout = source, rejects, source.layout
        self.channels = self.layout.channels
        if not self.channels and self.layout.variable is None:
            raise ArgumentError("channels must name the columns of the numbers")
        self.found = Recordings([], [], [], self.channels, timed=True)
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.spans: dict[str, list[Span]] | None = None
        if (labels := source.labels) is not None:
            self.spans = read_spans(labels, self.layout, rejects, labelled=source.labelled)
            self.found.words |= labels.words_among(self.layout.static)
            for note in labels.notes:
                self._note(note)
        self.unseen = set(self.spans or ())
        self.known = ""  # name of a recording that exists, for a message
        self.stamps: str | None = None  # kind of earlier stamps, "" for none
        self.clock: Clock | None = None
        stems = Counter(_stem(table.file) for table in source.tables)
        self.twice = {stem for stem, count in stems.items() if count > 1}

    def read(self, table: Table) -> None:
        """Read one table."""
        layout, present, root = self.layout, table.names, self.source.root
        ids = layout.unique_id
        if ids not in present and (ids == ID or root is not None):
            ids = ""
        ds = layout.ds if layout.ds in present or layout.ds != DS or layout.variable else ""
        label, folder = "", self._folder_of(table.file)
        if self.spans is None and self.source.labelled and (self.source.each or folder is None):
            label = layout.label
        if label and self.source.each and layout.variable:
            raise ArgumentError(
                "tags of measurements must be in a table of labels (unique_id, label, start, end)"
            )
        others = self.source.labels.names if self.source.labels is not None else []
        static = [name for name in layout.static if name not in others]
        if layout.variable:  # names that are not columns are variables
            static = [name for name in static if name in present]
        pairs: list[tuple[str, Kind]] = [(ids, "name"), (ds, "moment"), (label, "raw")]
        if layout.variable:
            pairs += [(layout.variable, "name"), (layout.value, "number")]
        else:
            pairs += [(name, "number") for name in self.channels]
        pairs += [(name, "raw") for name in static]
        table.rows([name for name, _ in pairs if name])  # raises if a column is missing or repeated
        kinds = {name: kind for name, kind in pairs if name}
        columns = table.read(kinds, self.rejects, ds_format=layout.ds_format, clock=self.clock)
        self.found.words |= table.words_among(static)
        for note in table.notes:
            self._note(note)
        if ds and self.clock is None:  # the first clock is used for all files
            self.clock = columns.columns[ds].clock or Clock()
            if self.clock.code:
                self._note(f"{ds!r} is read as {self.clock.code}")
        found = columns.columns[ds].values.dtype.kind if ds else ""
        found = "f" if found == "i" else found
        if self.stamps not in (None, found):
            raise DataError(
                f"{table.file}: column {layout.ds!r} has {_KINDS[found]}, but "
                f"{_KINDS[self.stamps or '']} in earlier files; use one kind"
            )
        self.stamps = found
        rows = np.arange(len(columns.ordinals))
        code = columns.columns[ids].values if ids else np.zeros_like(rows)
        names = (columns.columns[ids].words or []) if ids else [self._name_of(table.file)]
        order = np.argsort(code, kind="stable")
        borders = [0, *(np.flatnonzero(np.diff(code[order])) + 1).tolist(), len(order)]
        blocks = [order[low:high] for low, high in pairwise(borders)]
        for block in sorted(blocks, key=lambda rows: int(rows[0])):
            name = named_like(names[int(code[block[0]])])
            place = str(table.file) if table.file else f"recording {name!r}"
            if table.file and ids:
                place = f"{place}: recording {name!r}"
            try:
                self._take(columns, block, name, (ids, ds, label, static), place)
            except DataError as error:
                self.rejects.add(place, error)

    def _name_of(self, file: Path | None) -> str:
        """Return the name of a file, with its folders if several files have the name."""
        stem = _stem(file)
        if file is None or stem not in self.twice or self.source.root is None:
            return stem
        return (file.parent.relative_to(self.source.root) / stem).as_posix()

    def _take(
        self,
        columns: Columns,
        rows: NDArray[np.int64],
        name: str,
        named: tuple[str, str, str, list[str]],
        place: str,
    ) -> None:
        """Add the rows of one recording."""
        ids, ds, label, static = named
        if ds:
            stamps = columns.columns[ds].values[rows]
            if (np.diff(stamps).astype(np.float64) < 0).any():
                self._note("recordings with rows out of order, which are sorted", place)
                rows = rows[np.argsort(stamps, kind="stable")]
                stamps = columns.columns[ds].values[rows]
        else:
            stamps = np.arange(len(rows), dtype=np.float64)
        fixed: dict[str, object] = {}
        for column in static:
            values = columns.columns[column].values[rows].tolist()
            some = static_values(values, column, columns.dialect, decimal=columns.decimal)
            fixed[column] = next(iter(some), None)
            if len(set(map(str, some))) > 1:
                self._note(f"recordings in which {column} changes (its first value is used)", place)
        tags = columns.columns[label].values[rows].tolist() if label else None
        if self.layout.variable:
            stamps, values, more = self._pivot(columns, rows, stamps, place)
            fixed |= more
        else:
            values = np.stack([columns.columns[one].values[rows] for one in self.channels], 1)
        if np.isnan(values).all() and not self.layout.static:
            raise DataError(f"{place}: has no number; drop it")
        times = (stamps - stamps[0]).astype(np.float64)
        if stamps.dtype.kind == "M":
            times /= 1e6
        clock = columns.columns[ds].clock if ds else None
        counted = bool(ids) and type(columns.columns[ids].given.get(name)) is int
        one = Recording(name, stamps[0], times, values, clock=clock or Clock(), whole=counted)
        if self.spans is not None:
            self._by_spans(one, fixed, place)
            return
        labels: Any = tags
        if not self.source.each:
            folder = self._folder_of(self._file_of(columns))
            labels = folder if tags is None else self._one_of(tags, place, label)
        elif tags is not None:
            empty = next((n for n, tag in enumerate(tags) if is_blank(tag)), None)
            if empty is not None:
                where = columns.place(int(rows[empty]))
                raise DataError(f"{where}: column {label!r} is empty; every step needs a label")
            labels = list(map(str, tags))
        self.found.add(replace(one, static=self._static(fixed)), labels, place)

    def _pivot(
        self, columns: Columns, rows: NDArray[np.int64], stamps: NDArray[Any], place: str
    ) -> tuple[NDArray[Any], Numbers, dict[str, object]]:
        """Return the stamps and values of measurements as steps, and the constant variables."""
        layout = self.layout
        which = _words(columns, layout.variable or "", rows)
        numbers = columns.columns[layout.value].values[rows]
        if not layout.channels:
            new = {str(word) for word in which} - set(self.channels) - set(layout.static)
            self.channels = (*self.channels, *sorted(new))
        column_of = {name: n for n, name in enumerate(self.channels)}
        codes = {str(word): columns.dialect.codes(str(word), named=True) for word in set(which)}
        moments, step = np.unique(stamps, return_inverse=True)
        values = np.full((len(moments), max(1, len(self.channels))), np.nan)
        fixed: dict[str, object] = {}
        for word, at, number in zip(which, step.tolist(), numbers.tolist(), strict=True):
            if is_code(number, codes[str(word)]):
                continue
            if word in layout.static and is_nothing(fixed.get(str(word))):
                fixed[str(word)] = number
            column = column_of.get(str(word))
            if column is None or math.isnan(number):
                continue
            if not math.isnan(values[at, column]):
                self._note("repeated measurements at one moment (the last one is used)", place)
            values[at, column] = number
        kept = ~np.isnan(values).all(1)
        if layout.static and not kept.any():
            kept[0] = True  # no measurements, but static values
        return moments[kept], values[kept], fixed

    def _by_spans(self, one: Recording, fixed: dict[str, object], place: str) -> None:
        """Add a recording whose labels are in a separate table."""
        spans = self._together((self.spans or {}).get(one.unique_id, []))
        self.unseen.discard(one.unique_id)
        self.known = self.known or one.unique_id
        if not spans and not self.source.each:
            self._note("recordings without a label, which are skipped", place)
        tags = [self.layout.background] * len(one)
        for span in spans:
            fixed = fixed | span.static
            try:
                first, last = span.steps(one)
                if np.isnan(one.values[first:last]).all() and not self.layout.static:
                    raise DataError(f"{span.place}: recording {one.unique_id!r} has no number here")
            except DataError as error:
                self.rejects.add(span.place, error)
                continue
            if self.source.each:
                tags[first:last] = [str(span.label)] * (last - first)
            else:
                part = one if last - first == len(one) else one.part(first, last)
                self.found.add(replace(part, static=self._static(fixed)), span.label, span.place)
        if self.source.each:
            self.found.add(replace(one, static=self._static(fixed)), tags, place)

    def _together(self, spans: list[Span]) -> list[Span]:
        """Merge several rows for a whole recording into one with all labels, or keep the first."""
        unbounded = [span for span in spans if span.bounds is None]
        if len(unbounded) < 2 or self.source.each:
            return spans
        if self.layout.several:
            return [replace(unbounded[0], label=[span.label for span in unbounded])]
        for span in unbounded[1:]:
            reason = f"{span.place}: is a second label of a recording; drop it, or set several=True"
            self.rejects.add(span.place, DataError(reason))
        return unbounded[:1]

    def _file_of(self, columns: Columns) -> Path | None:
        return columns.rows.files[0] if columns.rows.files else None

    def _folder_of(self, file: Path | None) -> str | None:
        """Return the name of the folder directly below the given one."""
        if self.source.root is None or file is None:
            return None
        parts = file.relative_to(self.source.root).parts
        return parts[0] if len(parts) > 1 else None

    def _one_of(self, tags: Sequence[Any], place: str, label: str) -> Any:
        """Return the label that all rows have."""
        other = next((tag for tag in tags if str(tag) != str(tags[0])), tags[0])
        if str(other) != str(tags[0]):
            raise DataError(
                f"{place}: column {label!r} changes from {tags[0]!r} to {other!r}; give the spans "
                "in a table of labels (unique_id, label, start, end), or train a tagger, which has "
                "a label for every step"
            )
        return tags[0]

    def _static(self, fixed: dict[str, object]) -> tuple[object, ...]:
        return tuple(fixed.get(name) for name in self.layout.static)

    def _note(self, what: str, place: str = "") -> None:
        self.counts[what] += 1
        self.first.setdefault(what, place)

    def finish(self) -> Recordings:
        """Return all recordings."""
        found, width = self.found, len(self.channels)
        for name in sorted(self.unseen):
            place = (self.spans or {})[name][0].place
            there = f", which has {self.known!r}, for example" if self.known else ""
            reason = f"{place}: there is no recording {name!r} in {self.source.name}{there}"
            self.rejects.add(place, DataError(reason))
        if not found.items:
            raise DataError(f"{self.source.name}: has no recording that can be used")
        if self.stamps == "f" and (unit := in_seconds(found, self.layout)):
            self._note(unit)
        # A variable that appeared later is missing in earlier recordings.
        found.items = [_widened(one, width) for one in found.items]
        found.channels, found.timed = self.channels, bool(self.stamps)
        for what, count in self.counts.items():
            first = self.first[what]
            found.notes.append(f"{what}: {count:,}, the first in {first}" if first else what)
        return found


_KINDS = {"": "no stamps", "M": "dates", "f": "numbers"}


def _stem(file: Path | None) -> str:
    if file is None:
        return ""
    return (file.with_suffix("") if is_packed(file) else file).stem


def _widened(one: Recording, width: int) -> Recording:
    missing = width - one.values.shape[1]
    if missing <= 0:
        return one
    return replace(one, values=np.pad(one.values, ((0, 0), (0, missing)), constant_values=np.nan))


def _words(columns: Columns, name: str, rows: NDArray[np.int64]) -> Sequence[str | None]:
    """Return a column of names or words, with None for missing values."""
    column = columns.columns[name]
    words = column.words
    if words is None:  # all values are missing
        return [None] * len(rows)
    return [None if n != n else words[int(n)] for n in column.values[rows].tolist()]
