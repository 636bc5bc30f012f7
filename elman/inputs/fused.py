"""Several inputs of one item, such as a text, a photo and a price, each in a column of a table.

The main input, which is the first sequence, determines the steps.  An empty cell is a missing
input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from elman.errors import ArgumentError, DataError
from elman.inputs.fused_files import (
    FILES,
    MissingFiles,
    check_clocks,
    check_even,
    check_files,
    contents_of,
    files_among,
    is_constant,
    is_missing,
)
from elman.inputs.fused_trained import Fused
from elman.inputs.input import Input, Reader
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.manifest import INPUTS, check_parts
from elman.read.columns import Table
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.frames import is_frame
from elman.read.rows import Rejects, Rows, Source


class Item(tuple[Any, ...]):
    """The inputs of one item, in the order of `FusedReader.columns`; None for a missing one."""

    __slots__ = ()


class FusedReader(Reader):
    """The reader of several inputs, each in a column.

    Args:
        settings: settings of the inputs.
        parts: readers by the names of their columns; the first sequence is the main input.
    """

    kind, noun = "fused", "rows"
    named_by: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: InputSettings, parts: Mapping[str, Reader]) -> None:
        super().__init__(settings)
        self.parts = dict(sorted(parts.items(), key=lambda part: part[1].static))
        self.columns = tuple(self.parts)
        self.first = next(iter(self.parts.values()))
        self.unit, self.each = self.first.unit, False
        self.missing_files = MissingFiles()
        self.least = max(part.least for part in self.parts.values())  # type: ignore[misc]

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> Source:
        """Return a source of the columns and the targets, see `Reader.open`."""
        rows = self._open(given, target, labelled=labelled, lenient=lenient)
        if labelled:
            rows.file_columns = files_among(self.parts.values())
        if labelled or rows.files:
            self.check_files(rows)
        return rows

    def check_files(self, rows: Rows) -> None:
        """Raise a DataError if files may be missing, and a column has no file that exists."""
        if self.settings.missing_files:
            check_files(rows, self.parts.values())

    def _open(self, given: Any, target: TargetColumn, *, labelled: bool, lenient: bool) -> Rows:
        source, targets = pair(given)
        self.each = target.each and labelled
        names = [*self.columns, *([target.name or target.noun] if labelled else [])]
        if is_path(source):
            if targets is not None:
                raise ArgumentError("several inputs must be in one table, with their targets")
            self.refer(Path(source).parent)
            if not Path(source).exists():
                raise DataError(f"{source}: there is no such file; expected {self._expected}")
            return Rows(
                source,
                names,
                encoding=self.settings.encoding,
                lenient=lenient,
                delimiter=self.settings.delimiter,
            )
        self.refer(Path())
        if not is_frame(source):
            got = type(source).__name__
            raise ArgumentError(f"several inputs must be {self._expected}, got {got}")
        if targets is None:
            return Table(source).rows(names)
        first, *others = Table(source).rows(self.columns).lists
        return Rows(first, names, parallel=[*others, target.values(targets)])

    @property
    def _expected(self) -> str:
        return f"a table or a dict with the columns {', '.join(self.columns)}"

    def row(self, values: Sequence[Any], place: str, *, given: bool = False) -> Item:
        """Return the item of each column; None if it is missing."""
        found = self.joined(values, place, given=given)
        if self.each and found[0] is None:
            raise DataError(
                f"{place}: column {self.columns[0]!r} is empty, but each of its {self.unit} has a "
                "target"
            )
        return found

    def refer(self, folder: Path) -> None:
        """Set the folder to which relative paths refer, and forget which files were missing."""
        self.missing_files.clear()
        for part in self.parts.values():
            part.folder = folder

    def joined(self, values: Sequence[Any], place: str, *, given: bool) -> Item:
        """Return the item of each cell, or None for a missing one.

        Args:
            values: the cells, and possibly a target after them.
            place: where they were read.
            given: whether they are for a prediction, see `Reader.item_given`.
        """
        found: list[Any] = []
        for (name, part), cell in zip(self.parts.items(), values, strict=False):
            read = part.item_given if given else part.item
            where = f"{place}: column {name!r}" if part.kind in FILES else place
            found.append(None if self.is_missing(part, cell) else read(cell, where))
        if all(one is None for one in found):
            raise DataError(
                f"{place}: all inputs are missing, expected {' or '.join(self.columns)}"
            )
        if self.settings.fusion == "early":
            check_clocks(self.parts, found, place)
        return Item(found)

    def is_missing(self, part: Reader, cell: Any) -> bool:
        """Return whether a cell is empty, or has the name of a file that may be missing."""
        return is_missing(part, cell, self.missing_files if self.settings.missing_files else None)

    def notes_on_files(self) -> list[str]:
        """Return a note for each column of which files were missing since `open` was called."""
        return self.missing_files.notes()

    def item(self, cell: Any, place: str) -> Any:
        """Raise an error: several inputs are in several columns."""
        raise DataError(f"{place}: expected the columns {', '.join(self.columns)}")

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[Item]:
        """Return the items of a table without targets; items are returned unchanged."""
        if isinstance(data, list) and data and all(isinstance(one, Item) for one in data):
            return data
        source = self.open(data, target, labelled=False)
        assert isinstance(source, Rows)
        found: list[Item] = []
        for place, values in source.read():
            if isinstance(values, DataError):
                raise values
            found.append(self.joined(values, place, given=True))
        return found

    def length(self, item: tuple[Any, ...]) -> int:
        """Return the number of elements of the main input; 0 if it is missing."""
        return 0 if item[0] is None else self.first.length(item[0])

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Fused:
        """Return the inputs, learned from the training data."""
        notes += self.notes_on_files()
        known = [self.known(train, n) for n in range(len(self.parts))]
        parts = [
            part.learn(known[n], notes, classes=classes)
            for n, part in enumerate(self.parts.values())
        ]
        for part, one in zip(parts, known, strict=True):
            if not part.reader.static and is_constant(part, one.items):
                raise DataError(
                    f"column {part.reader.column!r}: is the same in all training rows, so a model "
                    "cannot learn from it; set inputs without it"
                )
        if self.settings.fusion == "early":
            check_even(parts)
        return Fused(self, parts)

    def read(
        self,
        source: Any,
        target: TargetColumn,
        target_of: TargetOf,
        rejects: Rejects,
        like: Input | Examples | None = None,
    ) -> Examples:
        """Return all rows with the content of their files, see `Reader.read`."""
        examples = super().read(source, target, target_of, rejects, like)
        self.missing_files.note(source.name)
        return self.checked(self.filled(examples, like, rejects), source.name, target)

    def filled(
        self, examples: Examples, like: Input | Examples | None, rejects: Rejects
    ) -> Examples:
        """Return examples with the content of their files; those of bad files go to `rejects`."""
        found = Examples(recordings=examples.recordings)
        items = self.contents(examples.items, examples.places, like)
        for item, target, place in zip(items, examples.targets, examples.places, strict=True):
            if isinstance(item, DataError):
                rejects.add(place, item)
            else:
                found.add(item, target, place)
        return found

    def contents(
        self, items: Sequence[Any], places: Sequence[str], like: Input | Examples | None
    ) -> list[Any]:
        """Return items with the content of their files, see `Reader.contents`."""
        for part in self.parts.values():
            part.show = self.show
        likes: Sequence[Input | Examples | None] = [None for _ in self.parts]
        if isinstance(like, Fused):
            likes = like.parts
        elif isinstance(like, Examples):
            likes = [self.known(like, n) for n in range(len(self.parts))]
        return contents_of(self.parts, items, places, likes)

    def known(self, train: Examples, number: int) -> Examples:
        """Return the examples in which one of the inputs is not missing, with only this input."""
        there = train.present(number)
        if not there:
            name = self.columns[number]
            raise DataError(f"column {name!r}: is empty in all training rows; remove this input")
        return train.select(there).column(number)

    def load(self, folder: Path) -> Fused:
        """Return the inputs of a model folder."""
        parts = []
        for n, part in enumerate(self.parts.values()):
            check_parts(folder / INPUTS / str(n))
            parts.append(part.load(folder / INPUTS / str(n)))
        return Fused(self, parts)
