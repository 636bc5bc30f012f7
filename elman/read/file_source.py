"""Sources of items in files, such as audio clips and pictures: folders, manifests, and lists.

a folder of folders   an item for each file, whose label is the name of its folder
a manifest            a table with an item in each row: its path, relative to the manifest
a folder, a file      items without labels
lists                 paths, arrays, and other items in memory
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from elman.arguments import list_of_argument
from elman.errors import ArgumentError, DataError
from elman.read.characters import Advance, file_blocks, ignore
from elman.read.columns import Table
from elman.read.dialect import Dialect
from elman.read.files import LONG, data_path, files_below, is_path, kind_of, size_of
from elman.read.frames import is_frame
from elman.read.rows import Row, Rows
from elman.read.tables import TABLES


@dataclass(frozen=True, kw_only=True)
class FileLayout:
    """How items are read.

    Attributes:
        column: column with the path.
        target: column of the targets; None for items without targets.
        encoding, dialect: format of a manifest.
    """

    column: str = "path"
    target: str | None = None
    encoding: str = "utf-8"
    dialect: Dialect = field(default_factory=Dialect)


class FileSource(ABC):
    """A source of items, most of them files, and of their targets.

    Args:
        source: a folder, a manifest, a file, a data frame, or a list.
        targets: a list of targets, or a file with a target on each line; None if they are in the
            source.
        layout: how items are read.
        lenient: whether bytes that are not text are an error of their row instead of the file.

    Raises:
        ArgumentError: a column does not exist, or there are no targets.
        DataError: a file is missing, or a folder has no file of this kind.
    """

    noun: ClassVar[str]  # for messages: audio
    file_noun: ClassVar[str]  # audio file
    items_noun: ClassVar[str]  # clips
    formats: ClassVar[str]  # WAV, FLAC, OGG or MP3
    more: ClassVar[tuple[str, ...]] = ()  # further columns of a manifest, which can be missing

    def __init__(
        self, source: Any, targets: Any, layout: FileLayout, *, lenient: bool = False
    ) -> None:
        self.layout = layout
        self.notes: list[str] = []
        self._base, self._lenient = Path(), lenient
        self._rows: Rows | None = None
        self._more: list[str] = []
        self._found: tuple[Path, ...] = ()
        path = data_path(source) if is_path(source) else None
        if path is not None and not path.exists():
            raise DataError(f"{path}: there is no such file or folder; expected {self.noun}")
        inside = targets is None and layout.target is not None
        if path is not None and (path.is_dir() or self.is_file(path)):
            self._found, self.name = self._find(path, labelled=inside), path.resolve().name
            return
        self._base = Path() if path is None else path.parent
        if is_frame(source) or (path is not None and kind_of(path) in TABLES):
            self._rows = self._rows_of_table(self._table(source), targets, inside=inside)
        elif inside and not is_path(source):
            items = self.items_noun
            raise ArgumentError(f"{items} in a list need their targets: fit({items}, targets)")
        else:
            given = source if is_path(source) else list_of_argument(source, layout.column, "items")
            names = [layout.column, *([] if targets is None else [layout.target or "targets"])]
            others = [] if targets is None else [targets]
            self._rows = Rows(given, names, parallel=others, encoding=layout.encoding)
        self.name = self._rows.name

    @staticmethod
    @abstractmethod
    def is_file(path: Path) -> bool:
        """Return whether the name of a file is that of an item."""

    @abstractmethod
    def item(self, cell: object, place: str, more: Mapping[str, object]) -> Any:
        """Return the item of a cell, given the cells of further columns; raise a DataError."""

    @abstractmethod
    def key(self, item: Any) -> tuple[str, tuple[Path, ...]]:
        """Return what distinguishes an item from others of its files, and the files."""

    def _table(self, source: Any) -> Table:
        layout = self.layout
        return Table(
            source, encoding=layout.encoding, lenient=self._lenient, dialect=layout.dialect
        )

    def _rows_of_table(self, table: Table, targets: Any, *, inside: bool) -> Rows:
        layout = self.layout
        self._more = [name for name in self.more if name in table.names]
        self.notes += table.notes
        target = [layout.target] if inside and layout.target else []
        if targets is None:
            return table.rows([layout.column, *target, *self._more])
        columns = table.rows([layout.column, *self._more])
        first, *others = zip(*(row.values for row in columns.read()), strict=True)
        names = [layout.column, layout.target or "targets", *self._more]
        return Rows(first, names, parallel=[targets, *others])

    def _find(self, path: Path, *, labelled: bool) -> tuple[Path, ...]:
        """Return the files below a folder, or the file itself."""
        files = files_below(path, f"{self.formats} files")
        found = tuple(file for file in files if self.is_file(file))
        if not found:
            raise DataError(
                f"{path}: has no {self.file_noun}, only files such as {files[0].name}; expected "
                f"{self.formats}, or a manifest (CSV or JSONL) with their paths"
            )
        if skipped := len(files) - len(found):
            self.notes.append(f"{path}: {skipped:,} files that are not {self.noun} are skipped")
        if not labelled:
            return found
        flat = next((f for f in found if len(f.relative_to(path).parts) < 2), None)
        if flat is not None:
            raise DataError(
                f"{flat}: expected files in {path}/NAME/, one folder for each "
                f"{self.layout.target}; or give a manifest with the columns "
                f"{self.layout.column} and {self.layout.target}"
            )
        return found

    @property
    def has_spans(self) -> bool:
        """Whether the items are spans of files, with columns for their start and end."""
        return bool(self._more)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the source: a manifest, or the files of a folder."""
        return self._found or (self._rows.files if self._rows else ())

    @property
    def total_bytes(self) -> int:
        """The size of the files on disk."""
        return sum(map(size_of, self.files))

    def fingerprint(self) -> str:
        """Return a hash of the content, of the files of the items too, and of the settings."""
        digest = hashlib.blake2b(repr(self.layout).encode(), digest_size=16)
        if self._rows is not None:
            digest.update(self._rows.fingerprint().encode())
        for _, values in self.read():
            if isinstance(values, DataError):
                continue
            name, files = self.key(values[0])
            if files:
                digest.update(name.encode(errors="replace"))
            for file in files:
                digest.update(content_key(file).encode())
        return digest.hexdigest()

    def read(self, advance: Advance | None = None) -> Iterator[Row]:
        """Yield an item and its target in each row; an item that cannot be read is a DataError."""
        for place, values in self._raw(advance or ignore):
            if isinstance(values, DataError):
                yield Row(place, values)
                continue
            cell, *rest = values
            target = rest.pop(0) if len(rest) > len(self._more) else None
            more = dict(zip(self._more, rest, strict=True))
            try:
                item = self.item(cell, place, more)
            except DataError as error:
                yield Row(place, error)
            else:
                yield Row(place, (item, target))

    def _raw(self, advance: Advance) -> Iterator[Row]:
        if self._rows is not None:
            yield from self._rows.read(advance)
            return
        for file in self._found:
            advance(size_of(file))
            label = () if self.layout.target is None else (file.parent.name,)
            yield Row(str(file), (file, *label))


def file_of_cell(cell: object, place: str, column: str, folder: Path) -> Path | None:
    """Return the path in a cell, relative to a folder; None if the cell is not a path."""
    if not is_path(cell):
        return None
    text = str(cell)
    if not text.strip():
        raise DataError(f"{place}: column {column!r} is empty, expected a path")
    if "://" in text:
        raise DataError(
            f"{place}: column {column!r} has the address {text[:LONG]}, expected the name of a "
            "file; download it first"
        )
    return folder / cell


def names_files(given: object, column: str, is_file: Callable[[Path], bool]) -> bool:
    """Return whether data are files of a kind: in a folder, a table of their paths, or a list.

    Only the first files of a folder and the first row of a table are looked at.
    """
    if isinstance(given, list | tuple) and given:
        return is_path(given[0]) and is_file(Path(given[0]))
    if is_path(given):
        path = Path(given)
        if path.is_dir():
            return any(map(is_file, _first_files(path)))
        if is_file(path):
            return True
        if not path.is_file() or kind_of(path) not in TABLES:
            return False
    elif not is_frame(given):
        return False
    try:
        table = Table(given)
        if column not in table.names:
            return False
        first_row = next(iter(table.rows([column]).read()), None)
    except (ArgumentError, DataError):
        return False
    if first_row is None or isinstance(first_row.values, DataError):
        return False
    cell = first_row.values[0]
    return is_path(cell) and is_file(Path(cell))


def _first_files(folder: Path, most: int = 50) -> list[Path]:
    found: list[Path] = []
    for file in folder.rglob("*"):
        found += [file] if file.is_file() else []
        if len(found) == most:
            break
    return found


@cache
def _digest(path: Path, size: int, changed: int) -> str:  # noqa: ARG001 - the key of the cache
    digest = hashlib.blake2b(digest_size=16)
    for block in file_blocks(path, ignore, unpack=False):
        digest.update(block)
    return digest.hexdigest()


def content_key(path: Path) -> str:
    """Return a hash of the content of a file, which is read once while it does not change."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)
