"""Predict labels, tags or translations for a file of any size, row by row and in order.

Predictions are written to OUT.part, while OUT.part.json identifies the model and the data.  After a
stop the same command continues after the last complete row; at the end OUT.part is renamed to OUT.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar

from elman.errors import ArgumentError, DataError, FolderError, Stopped
from elman.read.labels import join_labels, shown_label
from elman.read.rows import Rejects, check_new
from elman.read.sentences import split_words
from elman.report.progress import reading_bar
from elman.tasks.classifier import Classifier
from elman.tasks.examples import ExampleTask
from elman.tasks.parts import LOG
from elman.tasks.tagger import Tagger
from elman.tasks.task import Task
from elman.tasks.translator import Translator

if TYPE_CHECKING:
    from elman.decode.beam import Search

Model = TypeVar("Model", bound=ExampleTask)
WINDOW, LONG = 1024, 1 << 20  # maximum rows in memory; approximate characters or words of them


def predict_file(
    model: Task,
    source: Path,
    out: Path,
    *,
    overwrite: bool,
    rejects: Path | None,
    search: Search | None = None,
    show: bool,
) -> tuple[int, int]:
    """Write the prediction for every row of a file.

    Args:
        model: the trained model.
        source: the file to read.
        out: the file to write.
        overwrite: whether to replace an existing file.
        rejects: file for rows that cannot be read; None to stop at such a row.
        search: settings of the search of a translator; None for the defaults.
        show: whether to show progress.

    Returns:
        The number of rows written, and the number of rows skipped.

    Raises:
        FolderError: `out` exists already, or cannot be written.
        ArgumentError: the task predicts no files, or `rejects` is given, and a file like `out` has
            no line numbers.
        DataError: a row cannot be read, and `rejects` is None.
        Stopped: Ctrl-C was pressed; the same call continues.
    """
    if model.task not in JOBS:
        raise ArgumentError(f"a {model.task} predicts from a TEXT, not from --file")
    lenient, kind = rejects is not None, out.suffix.lower()
    job = JOBS[model.task](model, source, search, lenient=lenient)
    if kind not in job.kinds:
        raise FolderError(f"{out}: expected a name that ends with {', '.join(job.kinds)}")
    if out.exists() and not overwrite:
        raise FolderError(f"{out}: exists already; name another file, or give --overwrite")
    if lenient and kind == ".conll":
        raise ArgumentError(
            f"{out}: with skip_bad_rows its sentences would not match those of {source}; choose a "
            f"name that ends with {', '.join(k for k in job.kinds if k != kind)}, which has line "
            "numbers"
        )
    part, info = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.json")
    ours = {path.resolve() for path in (out, part, info)}
    if ours & {file.resolve() for file in job.rows.files}:
        raise FolderError(f"{out}: would replace the data that are read; name another file")
    if rejects is not None and rejects.resolve() in ours:
        raise ArgumentError(f"{rejects}: is the file for the predictions; name another file")
    if part.exists() and not info.exists():
        raise FolderError(
            f"{part}: exists already and was not written by Elman; name another file for out"
        )
    facts = {"model": _identity(model), "data": job.rows.fingerprint(), "search": repr(search)}
    try:
        continues = part.exists() and _same(info, facts)
        if rejects is not None and not continues:
            check_new(rejects, overwrite=overwrite)
        done = job.complete_rows(part, kind) if continues else 0
        if not done:
            info.write_text(json.dumps(facts))
            part.write_bytes(job.header(kind))
        for message in job.rows.notes:
            LOG.info(message)
        with part.open("ab") as file, Rejects(rejects, sources=job.rows.files) as bad:
            count = _write_rows(job, file, bad, done, kind, show=show)
        part.replace(out)
        info.unlink()
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; the rows so far are in {part}, and the same command continues", signal.SIGINT
        ) from None
    except OSError as error:
        raise FolderError(f"{out}: cannot be written ({error.strerror or error})") from error
    return count, bad.count


def _write_rows(
    job: _Job[Any], file: BinaryIO, bad: Rejects, done: int, kind: str, *, show: bool
) -> int:
    """Append the rows after the first `done` ones; return the number of all rows."""
    count = size = 0
    places: list[str] = []
    items: list[Any] = []
    with reading_bar(
        f"reading {job.rows.name}", job.rows.total_bytes, show=show, least=0
    ) as advance:
        read = 0  # bytes since the last window: the bar shows what is predicted, not what is read

        def note(size: int) -> None:
            nonlocal read
            read += size

        def write() -> None:
            nonlocal read
            file.write(job.lines(places, items, kind).encode())
            file.flush()
            if advance is not None:
                advance(read)
            read = 0
            places.clear()
            items.clear()

        for place, values in job.rows.read(note):
            try:
                if isinstance(values, DataError):
                    raise values
                # In a text file a blank line stays an empty line, so that line numbers are equal.
                blank = kind == ".txt" and job.is_blank(values)
                item = None if blank else job.item(values, place)
            except DataError as error:
                bad.add(place, error)
                if kind != ".txt":
                    continue
                item = None
            count += 1
            if count > done:
                places.append(place)
                items.append(item)
                size += 0 if item is None else len(item)
            if len(items) == WINDOW or size > LONG:
                write()
                size = 0
        if items:
            write()
    return count


class _Job(ABC, Generic[Model]):
    """Converts the rows of one file to lines of another.

    Attributes:
        kinds: allowed suffixes of the file that is written.
        columns: names of its columns.
        rows: the rows that are read.
    """

    kinds: tuple[str, ...]
    columns: tuple[str, ...]

    def __init__(self, model: Model, source: Path, search: Search | None, *, lenient: bool) -> None:
        self.model, self.search = model, search
        self.rows = model.rows(source, lenient=lenient)

    def item(self, values: tuple[object, ...], place: str) -> Any:
        """Return the item of a row."""
        return self.model.inputs.reader.row(values, place)

    @abstractmethod
    def lines(self, places: Sequence[str], items: Sequence[Any], kind: str) -> str: ...

    def is_blank(self, values: tuple[object, ...]) -> bool:
        """Return whether a row is a blank line of text."""
        return all(isinstance(value, str) and not value.strip() for value in values)

    def header(self, kind: str) -> bytes:
        return _table(kind, [self.columns]).encode() if kind in (".csv", ".tsv") else b""

    def ends_row(self, line: bytes, kind: str) -> bool:
        return line.endswith(b"\n")

    def complete_rows(self, part: Path, kind: str) -> int:
        """Return the number of complete rows of a partial file; cut off an incomplete last row."""
        rows = place = end = 0
        with part.open("rb+") as file:
            for line in file:
                place += len(line)
                if self.ends_row(line, kind):
                    rows, end = rows + 1, place
            file.truncate(end)
        return max(0, rows - bool(self.header(kind)))


class _Labels(_Job[Classifier]):
    """Labels of items, one row per item."""

    kinds = (".csv", ".tsv", ".jsonl")
    columns = ("line", "label", "probability")

    def lines(self, places: Sequence[str], items: Sequence[Any], kind: str) -> str:
        rows = []
        for place, (labels, sure) in zip(places, self._guesses(items), strict=True):
            label: Any = [shown_label(one) for one in labels]
            if not self.model.several:
                label = label[0] if kind == ".jsonl" else _one_line(str(label[0]))
            elif kind != ".jsonl":
                label = _one_line(join_labels(label, self.model.separator))
            rows.append((_line_of(place), label, round(sure, 6)))
        return _table(kind, rows, self.columns)

    def _guesses(self, items: Sequence[Any]) -> Iterator[tuple[list[Any], float]]:
        classes = self.model.classes
        for row in self.model.predict_proba(items):
            if self.model.several:
                chosen = [c for c, q in zip(classes, row, strict=True) if q > 0.5]
                yield chosen, float(min(max(q, 1 - q) for q in row))
            else:
                best = int(row.argmax())
                yield [classes[best]], float(row[best])


class _Tags(_Job[Tagger]):
    """Tags of the elements of items."""

    kinds = (".conll", ".jsonl")
    columns = ("line", "words", "tags")

    def lines(self, places: Sequence[str], items: Sequence[Any], kind: str) -> str:
        tags = self.model.predict(items)
        if kind == ".jsonl":
            rows = zip(map(_line_of, places), items, tags, strict=True)
            return _table(kind, rows, self.columns)
        pairs = (zip(words, some, strict=True) for words, some in zip(items, tags, strict=True))
        return "".join(
            "".join(f"{_one_word(str(word))}\t{_one_word(tag)}\n" for word, tag in pair) + "\n"
            for pair in pairs
        )

    def ends_row(self, line: bytes, kind: str) -> bool:
        return line == b"\n" if kind == ".conll" else line.endswith(b"\n")


class _Translations(_Job[Translator]):
    """Translations, one row per source."""

    kinds = (".txt", ".csv", ".tsv", ".jsonl")
    columns = ("line", "text")

    def lines(self, places: Sequence[str], items: Sequence[str | None], kind: str) -> str:
        given = [item for item in items if item is not None]
        found = iter(self.model.predict(given, search=self.search) if given else [])
        texts = ["" if item is None else next(found) for item in items]
        if kind != ".jsonl":
            texts = [_one_line(text) for text in texts]
        if kind == ".txt":
            return "".join(f"{text}\n" for text in texts)
        return _table(kind, zip(map(_line_of, places), texts, strict=True), self.columns)


JOBS: dict[str, type[_Job[Any]]] = {
    "classifier": _Labels, "tagger": _Tags, "translator": _Translations,
}  # fmt: skip


def _table(kind: str, rows: Iterable[Sequence[object]], names: Sequence[str] = ()) -> str:
    """Format rows as lines of a file of this kind."""
    target = io.StringIO(newline="")
    writer = csv.writer(target, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
    for row in rows:
        if kind == ".jsonl":
            line = dict(zip(names, row, strict=True))
            target.write(json.dumps(line, ensure_ascii=False) + "\n")
        else:
            writer.writerow(row)
    return target.getvalue()


def _one_line(text: str) -> str:
    """Join the lines of a text: each row is one line, so that complete rows can be counted."""
    return " ".join(text.splitlines())


def _one_word(text: str) -> str:
    """Replace tabs and line breaks in a word, which separate columns and rows."""
    return " ".join(split_words(text))


def _line_of(place: str) -> int | str:
    """Return the number of a row; the name of the file if a row is a file."""
    found = re.search(r": (?:line|row) (\d+)$", place)
    return int(found[1]) if found else place


def _identity(model: Task) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + weight.contiguous().numpy().tobytes())
    digest.update(json.dumps(model.described, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _same(info: Path, facts: dict[str, str]) -> bool:
    try:
        return bool(json.loads(info.read_text()) == facts)
    except (OSError, RecursionError, ValueError):
        return False
