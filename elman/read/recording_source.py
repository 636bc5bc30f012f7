"""Read recordings from tables, from a folder of tables, or from arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from elman.arguments import list_of_argument
from elman.errors import ArgumentError, DataError
from elman.read.columns import Table
from elman.read.convert import scalar_of
from elman.read.dialect import name_of
from elman.read.files import files_below, is_path, kind_of
from elman.read.recording_reader import RecordingReader, RecordingTables
from elman.read.recordings import (
    Layout,
    Numbers,
    Recording,
    Recordings,
    check_labels,
    checked_arrays,
    is_arrays,
)
from elman.read.rows import Rejects
from elman.read.stamps import check_form
from elman.read.tables import TABLES


class RecordingSource:
    """A source of recordings.

    Args:
        source: a table, a folder of tables or with a folder of tables for each label, a data
            frame, or a list of arrays (T, C).
        labels: a table of labels, a list, or None for labels in the source, if there are any.
        layout: names of the columns.
        each: whether every step has a label.
        labelled: whether labels are read; a table of labels is also read for its other columns.
        lenient: whether bytes that are not text are an error of their row instead of the file.

    Raises:
        ArgumentError: a column does not exist, or the arrays do not match.
        DataError: a file is missing.

    Example:
        >>> from elman.read.recording_source import RecordingSource
        >>> from elman.read.recordings import Layout
        >>> from elman.read.rows import Rejects
        >>> rows = {"unique_id": ["a", "a", "b"], "ds": [0.0, 0.5, 7.0], "x": [1, None, 3]}
        >>> labels = {"unique_id": ["a", "b"], "label": ["walk", "run"]}
        >>> found = RecordingSource(rows, labels, Layout(channels=("x",))).read(Rejects(None))
        >>> [one.times.tolist() for one in found.items], found.labels
        ([[0.0, 0.5], [0.0]], ['walk', 'run'])
    """

    def __init__(
        self,
        source: Any,
        labels: Any = None,
        layout: Layout | None = None,
        *,
        each: bool = False,
        labelled: bool = True,
        lenient: bool = False,
    ) -> None:
        self.layout, self.lenient = layout or Layout(), lenient
        self.file_names: set[str] = set()  # columns that name files, for the fingerprint
        check_form(self.layout.ds_format)
        self.each, self.labelled = each and labelled, labelled
        self.arrays: list[Numbers] | None = None
        self.labels: list[Any] | None = None
        self.tables: list[Table] = []
        self.label_table: Table | None = None
        self.root: Path | None = None
        if is_arrays(source):
            self.arrays = checked_arrays(source)
            self.name = f"{len(self.arrays)} array{'s' * (len(self.arrays) != 1)}"
            if labels is not None:
                self.labels = list_of_argument(labels, "labels", "values")
                check_labels(self.arrays, self.labels, each=self.each)
            return
        if is_path(source) and Path(source).is_dir():
            self.root = Path(source)
            self.tables = [self._open(file) for file in files_below(source, "tables")]
            self.name = self.root.resolve().name
        else:
            self.tables = [self._open(source)]
            self.name = self.tables[0].rows(self.tables[0].names[:1]).name
        if isinstance(labels, list | tuple | np.ndarray):
            raise ArgumentError(
                "labels of recordings in tables must be a table, too, or one of its columns; got a "
                f"{type(labels).__name__}"
            )
        if labels is not None:
            self.label_table = self._open(labels)

    def _open(self, source: Any) -> Table:
        if is_path(source) and kind_of(Path(source)) not in TABLES:
            files_below(source)  # a missing file is the clearer error
            shown = ", ".join(sorted(TABLES))
            raise DataError(f"{source}: expected a table ({shown}, also .gz)")
        return Table(
            source, encoding=self.layout.encoding, lenient=self.lenient, dialect=self.layout.dialect
        )

    @property
    def _all(self) -> list[Table]:
        return self.tables if self.label_table is None else [*self.tables, self.label_table]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the source; none for data in memory."""
        return tuple(table.file for table in self._all if table.file is not None)

    def fingerprint(self) -> str:
        """Return a hash of the content and of the settings."""
        how = repr((self.layout, self.each, self.labelled))
        digest = hashlib.blake2b(how.encode(), digest_size=16)
        for table in self._all:
            rows = table.rows(table.names)
            rows.file_columns = [n for n, name in enumerate(table.names) if name in self.file_names]
            digest.update(rows.fingerprint().encode())
            if table.file is not None and self.root in table.file.parents:
                place = str(table.file.relative_to(self.root or ""))
                digest.update(place.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def read(self, rejects: Rejects) -> Recordings:
        """Read all recordings that have a number or a static column.

        Recordings without a row in a table of labels are skipped, unless each step has a label.

        Raises:
            DataError: a table cannot be read, or there is no recording.
        """
        if self.arrays is not None:
            return self._of_arrays(self.arrays)
        tables = RecordingTables(
            self.name,
            self.tables,
            self.label_table,
            self.root,
            self.layout,
            self.each,
            self.labelled,
        )
        reader = RecordingReader(tables, rejects)
        for table in self.tables:
            try:
                reader.read(table)
            except DataError as error:
                if self.root is None:
                    raise
                rejects.add(str(table.file), error)
        found = reader.finish()
        found.items = [replace(one, timed=found.timed) for one in found.items]
        return found

    def _of_arrays(self, arrays: list[Numbers]) -> Recordings:
        width = arrays[0].shape[1]
        names = self.layout.channels or tuple(map(str, range(width)))
        if len(names) != width:
            raise ArgumentError(
                f"channels must name {width} columns of the arrays, got {', '.join(names)}"
            )
        found = Recordings([], [], [], names, timed=False)
        for n, values in enumerate(self._without_codes(arrays, names)):
            label = None if self.labels is None else self.labels[n]
            if self.each and label is not None:
                label = [name_of(scalar_of(one)) for one in label]
            steps = np.arange(len(values), dtype=np.float64)
            static = (None,) * len(self.layout.static)
            found.add(Recording(str(n), 0.0, steps, values, static), label, f"array {n}")
        return found

    def _without_codes(self, arrays: list[Numbers], names: Sequence[str]) -> list[Numbers]:
        """Return arrays with NaN for codes of missing values."""
        codes = [
            [code for code in self.layout.dialect.codes(name) if isinstance(code, float)]
            for name in names
        ]
        if not any(codes):
            return arrays
        return [
            np.stack(
                [
                    np.where(np.isin(column, some), np.nan, column)
                    for column, some in zip(values.T, codes, strict=True)
                ],
                axis=1,
            )
            for values in arrays
        ]
