"""Predict labels, tags or translations for a file of any size, row by row and in order.

Predictions are written to OUT.part every few seconds, while OUT.part.json records the model, the
data, the options and the complete rows.  After a stop, the same command continues after the last
complete row, and any other command is refused.  At the end, OUT.part is renamed to OUT.
"""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.atomic import refusal
from elman.errors import ArgumentError, DataError, FolderError, Stopped
from elman.read.file_source import FileSource
from elman.read.rows import Rejects, Row, check_new
from elman.read.sentences import split_words
from elman.report.progress import reading_bar
from elman.report.write_table import check_suffix
from elman.tasks.examples import ExampleTask
from elman.tasks.lock import held
from elman.tasks.parts import tell
from elman.tasks.prediction import Prediction
from elman.tasks.predictions import PREDICTIONS
from elman.tasks.record import Record, facts_of
from elman.tasks.task import Task

if TYPE_CHECKING:
    from elman.inputs.input import Reader
    from elman.read.rows import Rows
    from elman.read.sentences import Sentences

WINDOW, LONG = 1024, 1 << 20  # maximum rows in memory; approximate characters or words of them
FIRST, SECONDS = 1 << 10, 2.0  # characters or words of the first window; duration of the others
Item = tuple[str, Any]  # place of a row, and what is read from it; None for a blank line of text


def predict_file(
    model: Task,
    source: Path,
    out: Path,
    *,
    overwrite: bool,
    rejects: Path | None,
    options: Prediction[Any] | None = None,
    show: bool = True,
) -> tuple[int, int]:
    """Write the prediction for every row of a file.

    Args:
        model: the trained model.
        source: the file to read.
        out: the file to write.
        overwrite: whether to replace an existing file.
        rejects: file for rows that cannot be read; None to stop at such a row.
        options: options of the predictions; None for the defaults.
        show: whether to show progress on a terminal.

    Returns:
        The number of rows written, and the number of rows skipped.

    Raises:
        FolderError: `out` exists already, is being written, or cannot be written.
        ArgumentError: the task cannot predict for a file; or `rejects` is given, but a file like
            `out` has no line numbers.
        DataError: a row cannot be read, and `rejects` is None.
        Stopped: Ctrl-C was pressed; the same call continues.
    """
    options, kind = options or PREDICTIONS[model.task](), out.suffix.lower()
    if not (options.kinds and isinstance(model, ExampleTask)):
        raise ArgumentError(f"a {model.task} predicts from a TEXT, not from --file")
    check_suffix(out, options.kinds)
    if source.is_dir() and options.reads != "files":
        raise DataError(f"{source}: is a folder; expected a file with a row for each prediction")
    rows = model.rows(source, lenient=rejects is not None)
    part, info = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.json")
    _check_paths((out, part, info), source, options.kinds, rejects, rows.files)
    # Paths of files are written, so the same files in another folder are other data.
    data = f"{rows.fingerprint()} {source if options.reads == 'files' else ''}"
    facts = facts_of(model, data, options)
    try:
        with _writing(out, part), held(info):  # two processes would both append to the same part
            if out.exists() and not overwrite:
                raise FolderError(f"{out}: exists already; name another file, or give --overwrite")
            record = Record(info, facts)
            if record.changed and part.exists() and _has_rows(part, kind):
                raise record.refusal(part)
            if rejects is not None and not (part.exists() and not record.changed):
                check_new(rejects, overwrite=overwrite)
            tell(rows.notes)
            with Rejects(rejects, sources=rows.files) as bad:
                count = _predict(model, options, rows, part, record, bad, show=show)
            tell(model.input_.reader.notes_on_files())
            part.replace(out)
            info.unlink()
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; the rows so far are in {part}, and the same command continues", signal.SIGINT
        ) from None
    return count, bad.count


def _predict(
    model: ExampleTask,
    options: Prediction[Any],
    rows: Rows | Sentences | FileSource,
    part: Path,
    record: Record,
    bad: Rejects,
    *,
    show: bool,
) -> int:
    """Write the predictions after the last complete row; return the number of all rows."""
    kind = Path(part.stem).suffix.lower()
    spans = isinstance(rows, FileSource) and rows.has_spans
    names = options.header(kind, spans=spans)
    count, size = _complete(record, part)
    read = list[int]()
    with (
        part.open("r+b" if count else "wb") as file,
        reading_bar(f"reading {rows.name}", rows.total_bytes, show=show, least=0) as advance,
    ):
        if not count:
            record.begin()
            header = _lines([names], (), kind) if kind in (".csv", ".tsv") else ""
            size = file.write(header.encode())
        file.truncate(size)
        file.seek(size)
        items = _items(model.input_.reader, rows.read(read.append), kind, bad)
        for window in _windows(islice(items, count, None)):
            given = [item for _, item in window if item is not None]
            answers = options.rows(model, given, kind, spans=spans) if given else ()
            size += file.write(_lines(_placed(window, answers), names, kind).encode())
            file.flush()
            count += len(window)
            record.add(count, size)
            if advance is not None:  # the bar shows rows predicted, not rows read
                advance(sum(read))
            read.clear()
    return count


@contextmanager
def _writing(out: Path, part: Path) -> Iterator[None]:
    """Turn errors while writing predictions into a `FolderError` with a remedy."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(out)):
            raise  # another file cannot be read
        kept = f"the rows so far are in {part}, and the same command continues"
        raise refusal(out, error, kept if part.exists() else "") from error


def _check_paths(
    paths: tuple[Path, Path, Path],
    source: Path,
    kinds: Sequence[str],
    rejects: Path | None,
    files: Sequence[Path],
) -> None:
    """Raise an error if the predictions cannot be written, or would replace other data."""
    out, part, info = paths
    kind, ours = out.suffix.lower(), [path.resolve() for path in paths]
    if rejects is not None and kind == ".conll":
        others = ", ".join(other for other in kinds if other != kind)
        raise ArgumentError(
            f"{out}: with skip_bad_rows its sentences would not match those of {source}; choose a "
            f"name that ends with {others}, which has line numbers"
        )
    if any(file.resolve() in ours for file in files):
        raise FolderError(f"{out}: would replace the data that are read; name another file")
    if rejects is not None and rejects.resolve() in ours:
        raise ArgumentError(f"{rejects}: is the file for the predictions; name another file")
    if part.exists() and not info.exists():
        raise FolderError(
            f"{part}: exists already and was not written by Elman; name another file for out"
        )


def _items(reader: Reader, rows: Iterator[Row], kind: str, bad: Rejects) -> Iterator[Item]:
    """Yield the items of rows; for a .txt file, blank and bad rows yield None."""
    for place, values in rows:
        item = None
        try:
            if isinstance(values, DataError):
                raise values
            # In a .txt file a blank line stays an empty line, so that line numbers match.
            if kind != ".txt" or any(not isinstance(one, str) or one.strip() for one in values):
                item = reader.row(values, place)
        except DataError as error:
            bad.add(place, error)
            if kind != ".txt":
                continue
        yield place, item


def _windows(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Yield items in lists that fit in memory, and of which each takes about SECONDS.

    A list is twice as long as the previous one at most, until the caller, who predicts for each
    list before it takes the next one, needs SECONDS for it.
    """
    window: list[Item] = []
    size, most, begin = 0, float(FIRST), time.perf_counter()
    for place, item in items:
        window.append((place, item))
        size += 1 if item is None else 1 + len(item)
        if len(window) == WINDOW or size > most:
            yield window
            seconds = max(time.perf_counter() - begin, 1e-9)
            most = min(LONG, size * min(2.0, SECONDS / seconds))
            window, size, begin = [], 0, time.perf_counter()
    if window:
        yield window


def _placed(
    window: list[Item], answers: Iterable[list[tuple[Any, ...]]]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of items, after their line numbers; a blank line has an empty one."""
    found = iter(answers)
    for place, item in window:
        for row in [("",)] if item is None else next(found):
            yield _line_of(place), *row


def _lines(rows: Iterable[Sequence[Any]], names: Sequence[str], kind: str) -> str:
    """Format rows as lines of a file of a kind."""
    if kind == ".txt":
        return "".join(f"{_one_line(text)}\n" for _, text in rows)
    if kind == ".jsonl":
        records = (dict(zip(names, row, strict=True)) for row in rows)
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    target = io.StringIO(newline="")
    if kind == ".conll":
        for _, words, tags in rows:
            for pair in zip(words, tags, strict=True):
                target.write("\t".join(" ".join(split_words(str(one))) for one in pair) + "\n")
            target.write("\n")
    else:
        writer = csv.writer(target, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
        writer.writerows([_one_line(str(one)) for one in row] for row in rows)
    return target.getvalue()


def _complete(record: Record, part: Path) -> tuple[int, int]:
    """Return the number of complete rows of a partial file, and their size in bytes."""
    there = part.stat().st_size if part.exists() and not record.changed else 0
    complete = [one for one in record.done if len(one) == 2 and one[1] <= there]
    return tuple(complete[-1]) if complete else (0, 0)


def _has_rows(part: Path, kind: str) -> bool:
    """Return whether a partial file has more than the names of the columns."""
    with part.open("rb") as file:
        return sum(1 for _ in islice(file, 2)) > (kind in (".csv", ".tsv"))


def _one_line(text: str) -> str:
    """Join the lines of a text, so that each row is one line."""
    return " ".join(text.splitlines())


def _line_of(place: str) -> int | str:
    """Return the line number of a row, or the name of the file if a row is a file."""
    found = re.search(r": (?:line|row) (\d+)$", place)
    return int(found[1]) if found else place
