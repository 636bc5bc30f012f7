"""The journal of a run: `run.jsonl`, with one JSON object per line for each event, in order.

The training loop passes the same records to the journal and to the progress display. Each line is
flushed when it is written, so a killed process loses at most one line; an incomplete last line is
dropped when the file is read or opened again. JSON has no NaN and no infinity (RFC 8259,
section 6), so they are written as null.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from elman.atomic import open_own
from elman.errors import ArgumentError, DataError, FolderError


class Journal:
    """Append-only file of records that can be cut back to its length at a checkpoint.

    An existing file is continued. Raises FolderError if the file cannot be opened for writing, or
    is a link to another file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.jsonl"
    >>> with Journal(path) as journal:
    ...     journal.write({"event": "step", "step": 1, "loss": math.inf})
    ...     checkpoint = journal.position
    ...     journal.write({"event": "step", "step": 2, "loss": 2.5})
    ...     journal.truncate(checkpoint)
    >>> path.read_text()
    '{"event":"step","step":1,"loss":null}\\n'
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.fdopen(open_own(Path(path), os.O_APPEND), "ab+")
        except OSError as error:
            raise FolderError(
                f"{path}: cannot be opened for writing ({error.strerror}), "
                "expected an existing run folder; choose one that you may write to"
            ) from None
        self._drop_torn_line()

    @property
    def position(self) -> int:
        """The number of bytes written so far; a checkpoint stores it."""
        return self._file.seek(0, os.SEEK_END)

    def write(self, record: Mapping[str, object]) -> None:
        """Append one record of JSON values; NaN and infinities become null."""
        line = json.dumps(_finite(record), separators=(",", ":"), allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def truncate(self, position: int) -> None:
        """Cut the file to `position` bytes; a position beyond the end changes nothing."""
        if position < 0:
            raise ArgumentError(
                f"position must be 0 or more bytes, got {position}; use a value of Journal.position"
            )
        if position < self.position:
            self._file.truncate(position)
            self._drop_torn_line()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _drop_torn_line(self) -> None:
        # The next record must start on a new line, or it is lost with the incomplete one.
        self._file.seek(0)
        content = self._file.read()
        tail = content[content.rfind(b"\n") + 1 :]
        if tail and _parse(tail) is None:
            self._file.truncate(len(content) - len(tail))
        elif tail:
            self._file.write(b"\n")
        self._file.flush()


def read_journal(path: Path, *, length: int | None = None) -> list[dict[str, object]]:
    """Return the records of a journal, without an incomplete last line.

    If `length` is given, only the lines that begin in the first `length` bytes are read.

    Raises FolderError if there is no such file, DataError if a line is not a JSON object.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.jsonl"
    >>> _ = path.write_text('{"event":"note","text":"hello"}\\n{"event":"st')
    >>> read_journal(path)
    [{'event': 'note', 'text': 'hello'}]
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FolderError(
            f"{path}: cannot be read ({error.strerror}), expected the journal of a training run; "
            "name the folder that the run was written to"
        ) from None
    *lines, tail = content.split(b"\n")
    records: list[dict[str, object]] = []
    begin = 0
    for number_of_line, line in enumerate(lines, start=1):
        if length is not None and begin >= length:
            return records
        begin += len(line) + 1
        record = _parse(line)
        if record is None:
            shown = line[:40].decode(errors="replace")
            raise DataError(
                f"{path}, line {number_of_line}: got {shown!r}, expected one JSON object; "
                "delete the line or restore the file from a copy"
            )
        records.append(record)
    last = _parse(tail)
    return records if last is None else [*records, last]


def number(record: Mapping[str, object], key: str) -> float:
    """Return the number at `key`; NaN if it is missing, null or not a number.

    >>> number({"loss": 2}, "loss"), number({"loss": None}, "loss")
    (2.0, nan)
    """
    value = record.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return math.nan


def curve(
    records: Sequence[Mapping[str, object]], event: str, key: str
) -> tuple[list[float], list[float]]:
    """Return steps and values of `key` in all records of an event that have it; NaN for null.

    >>> curve([{"event": "step", "step": 5, "loss": 1.5}, {"event": "note"}], "step", "loss")
    ([5.0], [1.5])
    """
    rows = [record for record in records if record.get("event") == event and key in record]
    return [number(row, "step") for row in rows], [number(row, key) for row in rows]


def thin(values: Sequence[float], size: int) -> list[float]:
    """Return means of consecutive groups of `size` values, ignoring those that are not finite.

    >>> thin([1.0, 3.0, 5.0, math.inf, math.nan], 2)
    [2.0, 5.0, nan]
    """
    groups = [values[first : first + size] for first in range(0, len(values), size)]
    finite = [[value for value in group if math.isfinite(value)] for group in groups]
    return [sum(group) / len(group) if group else math.nan for group in finite]


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        record = json.loads(line.decode())
    except (RecursionError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
