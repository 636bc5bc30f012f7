r"""Read the values in some columns of the records of a table.

    .jsonl .ndjson      lines -> objects, one per line -> the values at some keys
    .csv .tsv           lines -> records (RFC 4180 quoting) -> the fields of some columns
    .parquet            rows, read in slices -> the values in some columns

Values come with the number of their line or row, for messages.  A bad record gives a `DataError` in
place of its values, which the caller can raise or skip.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from elman.errors import ArgumentError, DataError, ElmanError
from elman.optional import need
from elman.read.dialect import HEADER, SAMPLED, find_delimiter
from elman.read.files import size_of

TABLES = {".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"}
USUAL = {".csv": ",", ".tsv": "\t"}  # delimiters
HEAD = 1 << 20  # approximate number of characters from which a delimiter is detected
LISTED, CUT = 20, 40  # columns in a message, and characters of one

Error = TypeVar("Error", bound=ElmanError)
Values = Iterator[tuple[int, "tuple[object, ...] | DataError"]]


def line_values(
    chunks: Iterable[str],
    columns: Sequence[str] | None,
    file: Path,
    *,
    kind: str,
    record: int,
    delimiter: str | None = None,
) -> Values:
    r"""Yield values of `columns` in the text of a table of `kind` .csv, .tsv, .jsonl or .ndjson.

    `delimiter` is the user's setting, see `find_delimiter`.

    Raises `DataError` for text in which no more records can be found and for a column that does not
    exist, `ArgumentError` if no columns are named.

    Example:
        >>> from pathlib import Path
        >>> from elman.read.tables import line_values
        >>> chunks = ["id,text\n1,It r", "ained.\n"]
        >>> list(line_values(chunks, ["text", "id"], Path("a.csv"), kind=".csv", record=100))
        [(2, ('It rained.', '1'))]
    """
    rows = _rows(chunks, file, record)
    if kind in USUAL:
        csv.field_size_limit(max(csv.field_size_limit(), record))
        rows, found, line = _begin(rows, USUAL[kind], delimiter)
        return _csv(rows, columns, file, delimiter=found, line=line)
    return _jsonl(rows, columns, file)


def line_columns(
    chunks: Iterable[str], file: Path, *, kind: str, record: int, delimiter: str | None = None
) -> tuple[list[str], str | None]:
    r"""Return the names of the columns in the text of a table, and the delimiter of .csv and .tsv.

    The columns of .jsonl are the keys of its first object that can be read.

    Example:
        >>> from pathlib import Path
        >>> from elman.read.tables import line_columns
        >>> line_columns(["ds; y\n1;2,5\n"], Path("a.csv"), kind=".csv", record=100)
        (['ds', 'y'], ';')
    """
    rows = ((n, row) for n, row in enumerate(_rows(chunks, file, record), 1) if row.strip())
    if kind in USUAL:
        csv.field_size_limit(max(csv.field_size_limit(), record))
        lines, found, _ = _begin((row for _, row in rows), USUAL[kind], delimiter)
        header = next(csv.reader((row + "\n" for row in lines), delimiter=found), [])
        return [name.strip() for name in header], found
    bad: DataError | None = None
    for line, row in rows:
        try:
            return list(_object(row, f"{file}: line {line}")), None
        except DataError as error:  # a bad row like others, unless there are no good ones
            bad = bad or error
    if bad is not None:
        raise bad
    return [], None


def parquet_columns(
    file: Path, *, unpacked: Iterable[bytes] | None
) -> tuple[list[str], dict[str, str]]:
    """Return the names of the columns of a Parquet file, and their types by name.

    `unpacked` is the content of a packed file.
    """
    polars = need("polars", f"{file}: Parquet")
    with _seekable(file, unpacked) as copy, _understood(file, polars):
        schema = polars.read_parquet_schema(copy)
        return list(schema), {name: str(kind) for name, kind in schema.items()}


def parquet_values(
    file: Path,
    columns: Sequence[str] | None,
    advance: Callable[[int], None],
    *,
    unpacked: Iterable[bytes] | None,
    most_bytes: int,
    most_rows: int,
) -> Values:
    """Yield values of `columns` in a Parquet file, reading limited bytes and rows at a time.

    `unpacked` is the content of a packed file; `advance` is then not called here.
    """
    polars = need("polars", f"{file}: Parquet")
    with _seekable(file, unpacked) as copy, _understood(file, polars):
        size = size_of(copy)
        table = polars.scan_parquet(copy, glob=False, hive_partitioning=False)
        names = _choose(columns, table.collect_schema().names(), file)
        rows: int = table.select(polars.len()).collect().item()
        step = max(1, min(rows * most_bytes // size, most_rows))
        for start in range(0, rows, step):
            end = min(start + step, rows)
            values = table.select(names).slice(start, step).collect().iter_rows()
            if copy is file:
                advance(size * end // rows - size * start // rows)
            yield from enumerate(values, start + 1)


@contextmanager
def _understood(file: Path, polars: ModuleType) -> Iterator[None]:
    try:
        yield
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{file}: cannot be read as Parquet ({reason})") from error


@contextmanager
def _seekable(file: Path, unpacked: Iterable[bytes] | None) -> Iterator[Path]:
    """Yield the file, or a temporary copy of a packed one: Parquet is read from its end."""
    if unpacked is None:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "table.parquet")
        with copy.open("wb") as sink:
            sink.writelines(unpacked)
        yield copy


def _rows(chunks: Iterable[str], file: Path, most: int) -> Iterator[str]:
    """Yield whole lines without their ends."""
    rest, line = "", 1
    for chunk in chunks:
        *rows, rest = (rest + chunk).split("\n")
        yield from rows
        line += len(rows)
        if len(rest) > most:
            raise DataError(f"{file}: line {line} has over {most} characters; expected a record")
    if rest:
        yield rest


def _begin(rows: Iterator[str], usual: str, wanted: str | None) -> tuple[Iterator[str], str, int]:
    """Return the lines from the header on, the delimiter, and the number of the header's line."""
    head: list[str] = []
    size = 0
    for row in rows:
        head.append(row)
        size += len(row)
        if len(head) == SAMPLED or size > HEAD:
            break
    declared = HEADER.fullmatch(head[0].strip()) if head else None
    if declared:
        return chain(head[1:], rows), declared[1], 2
    return chain(head, rows), find_delimiter(head, usual, wanted), 1


def no_column(
    kind: type[Error], column: str, wanted: Sequence[str], there: Sequence[str], where: str
) -> Error:
    """Return the error for a column that does not exist; `where` begins its message."""
    text = f"{where}no column {column!r}; its columns: {listed(list(there))}"
    found = re.search(rf"(\W){re.escape(column)}|{re.escape(column)}(\W)", there[0])
    if len(there) == 1 and found:
        mark = found[1] or found[2]
        text += f"; if {mark!r} is between its fields, set delimiter"
    elif not set(wanted) & set(there):
        header = "with their names"
        if len(wanted) == len(there):
            header = f"such as {','.join(wanted)}"
        text += f"; if the file has no header, add a first line {header}"
    error = kind(text)
    error.column = column
    return error


def _choose(columns: Sequence[str] | None, there: Iterable[str], where: str | Path) -> list[str]:
    there = dict.fromkeys(there)
    if columns is None:
        raise ArgumentError(
            f"column must name the text in {where}; its columns: {listed(list(there))}"
        )
    for column in columns:
        if column not in there:
            raise no_column(DataError, column, columns, list(there), f"{where}: ")
    return list(columns)


def listed(names: Sequence[str]) -> str:
    """Format names of columns for a message: only the first of many, each shortened.

    Example:
        >>> from elman.read.tables import listed
        >>> listed(["ds", "y" * 100])
        "'ds', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...'"
    """
    shown = [repr(n if len(n) <= CUT else f"{n[:CUT]}...") for n in names[:LISTED]]
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return (", ".join(shown) or "none") + more


def _jsonl(rows: Iterable[str], columns: Sequence[str] | None, file: Path) -> Values:
    for line, row in enumerate(rows, 1):
        if row and not row.isspace():
            try:
                record = _object(row, f"{file}: line {line}")
                names = _choose(columns, record, f"{file}: line {line}")
            except DataError as error:
                yield line, error
            else:
                yield line, tuple(record[name] for name in names)


def _object(row: str, where: str) -> dict[str, object]:
    try:
        record = json.loads(row)
    except json.JSONDecodeError as error:
        at = f"{where}, column {error.colno}"
        raise DataError(f"{at}: {error.msg}; expected one JSON object per line") from error
    except RecursionError as error:
        raise DataError(f"{where}: brackets nest too deeply; expected a plain object") from error
    except ValueError as error:
        raise DataError(f"{where}: a number has thousands of digits; fix or drop it") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: a JSON {type(record).__name__}, expected an object")
    return record


class _Lines:
    """A stream of lines that can go back to the second line of a record.

    Attributes:
        alone: number of the next lines that are parsed alone.  An earlier record had an open
            quote at the beginning of each of them and failed later, so that a quote that opens
            in one of them is never closed.
    """

    def __init__(self, rows: Iterable[str], line: int) -> None:
        self._rows, self._ahead = iter(rows), deque[str]()
        self._taken: list[str] = []
        self._line = line  # the next line
        self.alone = 0

    def begin(self) -> int:
        """Begin a record; return the number of its line."""
        self._taken.clear()
        return self._line

    def go_back(self) -> None:
        """Go back to the second line of the record."""
        self._ahead.extendleft(reversed(self._taken[1:]))
        self.alone = max(self.alone, len(self._taken) - 2)
        self._line -= len(self._taken) - 1
        self._taken.clear()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        row = self._ahead.popleft() if self._ahead else next(self._rows)
        self._taken.append(row)
        self._line += 1
        self.alone = max(0, self.alone - 1)
        return row + "\n"


def _csv(
    rows: Iterable[str], columns: Sequence[str] | None, file: Path, *, delimiter: str, line: int
) -> Values:
    lines = _Lines(rows, line)
    # strict: a stray quote would otherwise swallow the rest of the file or vanish.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    places: list[int] = []
    while True:
        line = lines.begin()
        try:
            source = reader
            if lines.alone:
                source = csv.reader([next(lines)], delimiter=delimiter, strict=True)
            record = next(source, None)
        except csv.Error as error:
            where = f"{file}: line {line}"
            yield line, DataError(f"{where}: {error}; write a quote inside a field twice")
            lines.go_back()  # only the first line of the record is bad: a quote can be unclosed
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            continue
        if record is None:
            return
        if record and not header:
            header = [name.strip() for name in record]
            place_of = {name: place for place, name in enumerate(header)}
            places = [place_of[name] for name in _choose(columns, header, file)]
            if len(place_of) < len(header):
                twice = listed(sorted(name for name, count in Counter(header).items() if count > 1))
                raise DataError(f"{file}: line {line}: columns {twice} occur twice")
        elif record and len(record) != len(header):
            counts = f"expected {len(header)} fields as in the header, got {len(record)}"
            where = f"{file}: line {line}"
            yield line, DataError(f"{where}: {counts}; quote fields that contain the delimiter")
        elif record:
            yield line, tuple(record[place] for place in places)
