"""Several inputs of one item: the content of their files, missing files, clocks, and notes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elman.errors import DataError
from elman.inputs.input import Input, Reader
from elman.inputs.live_fused import Moments
from elman.inputs.recording_trained import Recorded
from elman.padded import row_of
from elman.read.dialect import is_none, is_nothing
from elman.read.examples import Examples
from elman.read.files import RELATIVE, is_path
from elman.read.recordings import Recording
from elman.read.rows import Rows

FILES = ("audio", "image", "recordings")  # kinds whose cells can be names of files


class MissingFiles:
    """Counts the files that rows name, and those of them that do not exist, by column."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.named, self.absent = Counter[str](), Counter[str]()
        self.first: dict[str, Path] = {}  # the first file of each column that does not exist

    def add(self, part: Reader, cell: str | Path) -> bool:
        """Return whether the file of a cell does not exist, and count it."""
        self.named[part.column] += 1
        absent = not _exists(part, cell)
        self.absent[part.column] += absent
        if absent:
            self.first.setdefault(part.column, part.folder / cell)
        return absent

    def clear(self) -> None:
        """Forget all files."""
        self.named.clear()
        self.absent.clear()
        self.first.clear()

    def check(self, name: str) -> None:
        """Raise a DataError if no file of a column exists; `name` is that of the data."""
        for column, count in self.absent.items():
            if count == self.named[column]:
                raise _no_file(name, column, self.first[column])

    def note(self, name: str) -> None:
        """Keep the notes on the files of some data, and forget the files."""
        self.noted += [f"{name}: {one}" for one in self._notes()]
        self.clear()

    def notes(self) -> list[str]:
        """Return a note for each column of which files do not exist, and forget them."""
        found = self.noted + self._notes()
        self.noted = []
        self.clear()
        return found

    def _notes(self) -> list[str]:
        return [
            f"column {name!r}: {count:,} of {self.named[name]:,} files do not exist, so they are "
            "missing inputs"
            for name, count in self.absent.items()
            if count
        ]


def is_missing(part: Reader, cell: Any, files: MissingFiles | None) -> bool:
    """Return whether a cell is empty, or has the name of a file that does not exist.

    Args:
        part: the reader of the cell.
        cell: the cell.
        files: counts the files if they may be missing; None if they must exist.
    """
    if part.static or (part.kind in FILES and isinstance(cell, str)):
        nothing = is_nothing(cell)
    else:
        nothing = is_none(cell) or (isinstance(cell, str | list | np.ndarray) and not len(cell))
    if nothing or (isinstance(cell, str) and not cell.strip()):
        return True
    return files is not None and part.kind in FILES and is_path(cell) and files.add(part, cell)


def files_among(parts: Iterable[Reader]) -> list[int]:
    """Return the indices of the inputs whose cells can be names of files."""
    return [n for n, part in enumerate(parts) if part.kind in FILES]


def check_files(rows: Rows, parts: Iterable[Reader]) -> None:
    """Raise a DataError if a column of rows has names of files, none of which exists.

    A column is read up to the first file that exists.
    """
    for n, part in enumerate(parts):
        absent: Path | None = None
        for _, values in rows.read() if part.kind in FILES else ():
            cell = None if isinstance(values, DataError) else values[n]
            if not is_path(cell) or is_nothing(cell):
                continue
            if _exists(part, cell):
                break
            absent = absent or part.folder / cell
        else:
            if absent is not None:
                raise _no_file(rows.name, part.column, absent)


def _no_file(name: str, column: str, first: Path) -> DataError:
    return DataError(
        f"{name}: column {column!r}: none of its files exists, such as {first}; {RELATIVE}"
    )


def _exists(part: Reader, cell: str | Path) -> bool:
    return os.path.exists(part.folder / cell)  # noqa: PTH110 - false for any text, without errors


def contents_of(
    parts: Mapping[str, Reader],
    items: Sequence[tuple[Any, ...]],
    places: Sequence[str],
    likes: Sequence[Input | Examples | None],
) -> list[Any]:
    """Return items of several inputs with the content of their files, or a DataError for one.

    Args:
        parts: the readers of the inputs by column.
        items: the items.
        places: where they were read.
        likes: for each input, data whose form the items must have, see `Reader.read`.
    """
    bad: dict[int, DataError] = {}
    rows = [list(item) for item in items]
    for n, (name, part) in enumerate(parts.items()):
        there = [row for row, item in enumerate(items) if item[n] is not None]
        if not there:
            continue
        some = [rows[row][n] for row in there]
        named = [f"{places[row]}: column {name!r}" for row in there]
        for row, one in zip(there, part.contents(some, named, likes[n]), strict=True):
            if isinstance(one, DataError):
                bad.setdefault(row, one)
            rows[row][n] = one
    return [
        bad[n] if n in bad else type(item)(row)
        for n, (item, row) in enumerate(zip(items, rows, strict=True))
    ]


def is_constant(part: Input, items: Sequence[Any]) -> bool:
    """Return whether several items of an input are equal once they are encoded."""
    rows = (row_of(part.encode([one])[0]) for one in items)
    first = next(rows)
    return len(items) > 1 and all(torch.equal(first, one) for one in rows)


def notes_of(
    parts: Mapping[str, Input],
    train: Examples,
    others: Mapping[str, Examples],
    arrays: Sequence[Any],
) -> list[str]:
    """Return the notes of each input, with the name of its column, see `Input.notes_on`."""
    notes: list[str] = []
    for n, (name, part) in enumerate(parts.items()):
        there = train.present(n)
        held = {key: one.select(one.present(n)).column(n) for key, one in others.items()}
        joints = [(arrays[row].first, *arrays[row].others) for row in there]
        inner = [one[n].array if isinstance(one[n], Moments) else one[n] for one in joints]
        found = part.notes_on(train.select(there).column(n), held, inner)
        notes += [f"{name}: {note}" for note in found]
    return notes


def check_clocks(parts: Mapping[str, Reader], items: Sequence[Any], place: str) -> None:
    """Raise a DataError if the stamps of a recording do not overlap with those of the main input.

    Args:
        parts: the readers of the inputs by column, the main input first.
        items: the item of each input.
        place: where they were read.
    """
    main, *others = items
    first, *names = parts
    if not isinstance(main, Recording) or main.starts is None or not len(main):
        return
    for name, one in zip(names, others, strict=True):
        if not isinstance(one, Recording) or one.starts is None or not len(one):
            continue
        begins = [each.starts or 0.0 for each in (main, one)]
        ends = [begin + each.times[-1] for begin, each in zip(begins, (main, one), strict=True)]
        dates = {isinstance(each.begin, np.datetime64) for each in (main, one)}
        if len(dates) > 1 or max(begins) > min(ends):
            shown = (
                f"{column!r} has stamps from {each.shown(0)} to {each.shown(len(each) - 1)}"
                for column, each in ((first, main), (name, one))
            )
            raise DataError(
                f"{place}: {', '.join(shown)}, which do not overlap; fix the stamps, or set "
                "fusion=late"
            )


def check_even(parts: Sequence[Input]) -> None:
    """Raise a DataError for a recording with uneven steps, beside another sequence."""
    sequences = [part for part in parts if not part.reader.static]
    for part in sequences if len(sequences) > 1 else ():
        if (
            isinstance(part, Recorded)
            and part.index.elapsed
            and not part.index.decays
            and part.reader.settings.elapsed is None  # so the time is read because it is uneven
        ):
            name = part.reader.column
            raise DataError(
                f"column {name!r}: its steps are uneven, mostly {part.index.step:g} s apart, but "
                "early fusion needs the moment of each; set its rate (steps per second), such as "
                f"--input {name}:recordings,rate={1 / part.index.step:.3g}, or set fusion=late"
            )
