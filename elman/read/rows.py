r"""Read rows of several columns, for tasks that learn one column from another.

    a table               columns by their names: .csv .tsv .jsonl .ndjson .parquet, or these + .gz
    parallel files        line i of each file is row i; as many files as columns; a line ends at
                          a line feed, with or without a carriage return before it
    a folder of folders   one row per file: its text, and the name of its folder
    lists                 rows in memory, one list per column

Rows are read in order and in constant memory.  A bad row (wrong fields, bytes that are not text,
no content) is a `DataError` in place of the row, with file and line; `Rejects` raises or writes it.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO

from elman.arguments import list_of_argument
from elman.errors import ArgumentError, DataError
from elman.read.characters import Advance, file_blocks, ignore
from elman.read.files import data_path, files_below, is_path, kind_of, path_of, size_of
from elman.read.tables import TABLES, USUAL
from elman.read.text import (
    TextSource,
    checked_text,
    table_head,
    table_values,
    text_lines,
)

HEADER = "place,reason\n"  # header of a file of rejected rows
NOWHERE = Path(os.devnull)  # for rejected rows that an earlier session has already written
Column = str | Path | Sequence[object]


class Source(Protocol):
    """A source of the rows of one part of the data."""

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of the source; none for data in memory."""

    def fingerprint(self) -> str:
        """Return a hash of the content and of the settings of reading."""


class Row(NamedTuple):
    """The place of a row, for messages, and its values or the error."""

    place: str
    values: tuple[object, ...] | DataError


class Rows:
    """Rows from files or lists.

    Args:
        source: a table, a folder of folders, a file of lines, or a list of values.
        columns: names of the columns in a table.
        parallel: parallel files or lists of the other columns.
        folders: whether the source can be a folder of folders; their names are the last column.
        encoding: encoding of the files.
        lenient: whether bytes that are not text are an error of their row instead of the file.
        delimiter: delimiter of the fields of a table; None to detect it.

    Attributes:
        file_columns: indices of the columns of a table that name files, whose content is a part of
            the fingerprint.

    Raises:
        ArgumentError: the columns cannot be found in a source of this kind.
        DataError: a file is missing, or a folder contains no folders.

    Example:
        >>> from elman.read.rows import Rows
        >>> rows = Rows(["so good", "so bad"], ["text", "label"], parallel=[[1, 0]])
        >>> [row.values for row in rows.read()]
        [('so good', 1), ('so bad', 0)]
    """

    def __init__(
        self,
        source: Column,
        columns: Sequence[str],
        *,
        parallel: Sequence[Column] = (),
        folders: bool = False,
        encoding: str = "utf-8",
        lenient: bool = False,
        delimiter: str | None = None,
    ) -> None:
        self.columns, self.encoding, self.lenient = list(columns), encoding, lenient
        self.delimiter = delimiter
        self.file_columns: list[int] = []
        self.folders = folders
        self.lists: list[list[object]] = []
        given = [source, *parallel]
        paths = [data_path(one) for one in given if is_path(one)]
        if len(paths) == len(given):
            self.kind, self.files = self._find(paths)
            self.name = paths[0].name or paths[0].resolve().name
        elif paths:
            raise ArgumentError("columns must all be files or all be lists, got some of each")
        else:
            self.kind, self.files = "lists", ()
            self.lists = [
                list_of_argument(one, name, "values")
                for name, one in zip(self.columns, given, strict=False)
                if not is_path(one)
            ]
            counts = [len(one) for one in self.lists]
            if len(set(counts)) > 1:
                found = ", ".join(f"{n} in {c}" for c, n in zip(self.columns, counts, strict=False))
                raise ArgumentError(f"columns must have equal lengths, got {found}")
            self.name = f"{counts[0]:,} row{'s' * (counts[0] != 1)}"
        self.total_bytes = sum(map(size_of, self.files))
        twice = next((one for one, n in Counter(self.columns).items() if n > 1), None)
        if self.kind == "table" and twice is not None:
            raise ArgumentError(
                f"column {twice!r} is named for two different purposes; name two columns"
            )

    def _find(self, paths: list[Path]) -> tuple[str, tuple[Path, ...]]:
        """Return the kind of the source, and its files."""
        first = paths[0]
        folder = next((path for path in paths[1:] if path.is_dir()), first)
        if folder.is_dir() and len(paths) > 1:
            raise DataError(
                f"{folder}: is a folder, expected a text file with as many lines as the other file"
            )
        if first.is_dir() and len(self.columns) == 1:
            return "folders", files_below(first)
        if len(paths) > 1 and (table := next((p for p in paths if kind_of(p) in TABLES), None)):
            raise ArgumentError(
                f"{table}: a table cannot be combined with another file; give one table with the "
                f"columns {' and '.join(self.columns)}, or text files with equal numbers of lines"
            )
        if len(paths) > 1 or (len(self.columns) == 1 and kind_of(first) not in TABLES):
            return "parallel", tuple(file for path in paths for file in files_below(path))
        if kind_of(first) in TABLES and not first.is_dir():
            return "table", files_below(first)
        if not first.is_dir():
            names = " and ".join(self.columns)
            files_below(first)  # a missing file is the clearer error
            hint = f"a folder with a folder for each {self.columns[-1]}, " if self.folders else ""
            raise ArgumentError(
                f"{first}: a text file has no columns {names}; give a table, {hint}or a second "
                "file with as many lines"
            )
        if not self.folders:
            raise DataError(
                f"{first}: is a folder, expected a table, or two text files with equal numbers of "
                "lines"
            )
        where = f"in a folder for each {self.columns[-1]}"
        files = files_below(first, f"files of text, audio or images, {where}")
        flat = next((f for f in files if len(f.relative_to(first).parts) != 2), None)
        if flat is not None:
            raise DataError(
                f"{flat}: expected files in {first}/NAME/, one folder for each {self.columns[-1]}"
            )
        return "folders", files

    @property
    def notes(self) -> list[str]:
        """The messages about the detected format of a table."""
        if self.kind != "table" or kind_of(self.files[0]) not in USUAL:
            return []
        head = table_head(self.files[0], self.encoding, self.delimiter, lenient=self.lenient)
        return [] if head.note is None else [head.note]

    def read(self, advance: Advance | None = None) -> Iterator[Row]:
        """Yield all rows; `advance(n)` is called with the bytes read since the last call."""
        advance = advance or ignore
        if self.kind == "lists":
            for number, values in enumerate(zip(*self.lists, strict=True)):
                yield Row(f"row {number}", values)
        elif self.kind == "table":
            file = self.files[0]
            word = "row" if kind_of(file) == ".parquet" else "line"
            found = table_values(
                file,
                self.columns,
                self.encoding,
                advance,
                lenient=self.lenient,
                delimiter=self.delimiter,
            )
            for number, values_or_error in found:
                yield Row(f"{file}: {word} {number}", values_or_error)
        elif self.kind == "parallel":
            yield from self._parallel(advance)
        else:
            for file in self.files:
                source = TextSource(file, encoding=self.encoding)
                try:
                    text = "".join(piece for piece, _ in source.pieces(advance))
                except DataError as error:
                    yield Row(str(file), error)
                else:
                    yield Row(str(file), (text, file.parent.name)[: len(self.columns)])

    def _parallel(self, advance: Advance) -> Iterator[Row]:
        streams = [
            text_lines(file, self.encoding, advance, lenient=self.lenient) for file in self.files
        ]
        for number, values in enumerate(zip_longest(*streams), 1):
            if None in values:
                short = self.files[values.index(None)]
                other = self.files[next(i for i, v in enumerate(values) if v is not None)]
                raise DataError(
                    f"{short}: has fewer lines ({number - 1:,}) than {other}; the numbers of lines "
                    "must be equal"
                )
            yield Row(f"{self.files[0]}: line {number}", values)

    def _named_files(self) -> Iterator[Path]:
        """Yield the files in the columns `file_columns` of a table, each once."""
        done: set[str] = set()
        for _, values in self.read() if self.file_columns and self.kind == "table" else ():
            cells = () if isinstance(values, DataError) else values
            for cell in (cells[n] for n in self.file_columns if n < len(cells)):
                if isinstance(cell, str) and cell.strip() and cell not in done:
                    done.add(cell)
                    path = self.files[0].parent / cell
                    if os.path.isfile(path):  # noqa: PTH113 - false for any text, without errors
                        yield path

    def fingerprint(self) -> str:
        """Return a hash of the content and of the settings (BLAKE2b, 32 hex digits)."""
        digest = hashlib.blake2b(digest_size=16)
        kinds = [kind_of(file) for file in self.files] if self.kind == "table" else []
        how = (self.kind, self.columns, self.encoding, kinds, self.delimiter)
        digest.update(repr(how).encode())
        for column in self.lists:
            digest.update(repr(column).encode("utf-8", "surrogatepass"))
        for file in self.files:
            digest.update(_hash_of(file))
            if self.kind == "folders":
                digest.update(file.parent.name.encode("utf-8", "surrogatepass"))
        for file in self._named_files():
            digest.update(_hash_of(file))
        return digest.hexdigest()


def _hash_of(file: Path) -> bytes:
    """Return a hash of the content of a file."""
    digest = hashlib.blake2b()
    for block in file_blocks(file, ignore, unpack=False):
        digest.update(block)
    return digest.digest()


def text_of(value: object, place: str, column: str) -> str:
    """Return a value as text; raise a DataError if it is blank or not text."""
    where = f"{place}: column {column!r}"
    text = checked_text(value, where)
    if not text or text.isspace():
        raise DataError(f"{where} is empty, expected text; fill or drop it")
    return text


def check_new(path: Path, *, overwrite: bool) -> None:
    """Raise an ArgumentError if the file has the rows of another run, or is a pipe."""
    if path_of(path, "skip_bad_rows").exists() and not path.is_file():
        raise ArgumentError(f"{path}: is not a file; name another one for skip_bad_rows")
    if not overwrite and path.exists() and not HEADER.startswith(_beginning(path, len(HEADER) + 1)):
        raise ArgumentError(
            f"{path}: exists already; name another file for skip_bad_rows, or set overwrite"
        )


def _beginning(path: Path, characters: int = len(HEADER)) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(characters)


class Rejects:
    """A collector of bad rows, which are written to a file; without a file the first is raised.

    Args:
        path: a CSV file with the columns place and reason; None to raise.
        sources: files that are read; `path` must not be one of them.

    Raises:
        ArgumentError: the file cannot be written, or has other content.

    Example:
        >>> from elman.errors import DataError
        >>> from elman.read.rows import Rejects
        >>> with Rejects(None) as rejects:
        ...     rejects.add("a.csv: line 3", DataError("a.csv: line 3: no text"))
        Traceback (most recent call last):
        elman.errors.DataError: a.csv: line 3: no text
    """

    def __init__(self, path: Path | None, *, sources: Sequence[Path] = ()) -> None:
        self.path, self.count = path, 0
        self._file: TextIO | None = None
        if path is None:
            return
        try:
            # A run that was killed can have left a part of the header.
            ours = not path.exists() or HEADER.startswith(_beginning(path))
            if not ours or path.resolve() in [source.resolve() for source in sources]:
                raise ArgumentError(
                    f"{path}: exists and has other content; name another file for skip_bad_rows"
                )
            self._file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            self._file.write(HEADER)
            self._file.flush()
        except OSError as error:
            raise self._refusal(error) from error

    def add(self, place: str, error: DataError) -> None:
        """Raise or write the error of a bad row."""
        if self._file is None:
            raise error
        row = [place, str(error).removeprefix(f"{place}: ")]
        try:
            csv.writer(self._file, lineterminator="\n").writerow(row)
            self._file.flush()
        except OSError as full:
            raise self._refusal(full) from full
        self.count += 1

    def _refusal(self, error: OSError) -> ArgumentError:
        return ArgumentError(
            f"{self.path}: cannot be written ({error.strerror}); name another file for "
            "skip_bad_rows"
        )

    def __enter__(self) -> Rejects:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # `add` has reported it
                self._file.close()
            if not self.count and self.path is not None and self.path.is_file():
                self.path.unlink()
