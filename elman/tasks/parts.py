"""Read the training, validation and test data of a task, and read them again to resume a run.

`described` contains what a resumed run needs: for each part a key that identifies its content, and
its files unless it was given in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from elman.errors import ArgumentError, DataError
from elman.read.columns import check_rows
from elman.read.file_source import FileSource
from elman.read.files import is_path, path_of
from elman.read.rows import NOWHERE, Rejects, Rows, Source, check_new
from elman.read.sentences import Sentences
from elman.tasks.folder import find_data

NAMES = ("train", "validation", "test")
IN_MEMORY = "in memory"  # key of data that were not given as files
LOG = logging.getLogger("elman")  # the command line shows it


S = TypeVar("S", bound=Source)
P = TypeVar("P")


# Settings that name columns.
COLUMNS = {
    *("column", "text", "words", "audio", "image", "source", "target", "conversation", "label"),
    *("tags", "targets", "unique_id", "ds", "channels", "variable", "value", "static", "past"),
    *("future", "group"),
}


@contextmanager
def naming_columns(settings: Any) -> Iterator[None]:
    """Add the setting that names a missing column to the error, inside the context."""
    try:
        yield
    except (ArgumentError, DataError) as error:
        values = {one.name: getattr(settings, one.name) for one in fields(settings)}
        names = [
            f"{name}=NAME"
            for name, value in values.items()
            if name in COLUMNS and error.column in _texts(value or name)
        ]
        if not error.column or not names:
            raise
        raise type(error)(f"{error}; set {' or '.join(names)} to read another column") from error


def _texts(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value


def check_parts(parts: Iterable[object], settings: Any) -> None:
    """Raise a DataError if a part of the data is a table that has only a header."""
    for given in parts:
        first = given[0] if isinstance(given, tuple) and given else given
        check_rows(first, encoding=settings.encoding, delimiter=settings.delimiter)


@dataclass
class Parts(Generic[P]):
    """The data of a task.

    Attributes:
        data: the parts that were given, by name.
        described: the facts that a resumed run needs.
        notes: messages for the user.
    """

    data: dict[str, P]
    described: dict[str, Any]
    notes: list[str]


def in_lists(given: Any) -> Any:
    """Return items, or items and targets, in which iterators are lists and can be read again."""
    if isinstance(given, tuple) and len(given) == 2:
        return tuple(map(in_lists, given))
    if isinstance(given, Mapping):
        return {name: in_lists(one) for name, one in given.items()}
    return list(given) if isinstance(given, Iterator) else given


def read_parts(
    given: Mapping[str, object],
    rejects: Path | None,
    look: Callable[[object], S],
    collect: Callable[[S, Rejects, P | None], P],
    unit: str,
) -> Parts[P]:
    """Read the data that a user gave; bad rows are written to the file `rejects`.

    Args:
        given: the parts by name: a path, a list, or a pair of these; None for none.
        rejects: file for bad rows; None to stop at a bad row.
        look: opens a part as a source.
        collect: reads a source, given the training part if it was read before.
        unit: plural name of a row, for messages.
    """
    sources = {name: look(one) for name, one in given.items() if one is not None}
    described: dict[str, Any] = {"name": sources["train"].name}
    files = [file for source in sources.values() for file in source.files]
    with Rejects(rejects, sources=files) as bad:
        data: dict[str, P] = {}
        for name in sorted(sources, key=NAMES.index):
            data[name] = collect(sources[name], bad, data.get("train"))
    for name, source in sources.items():
        one = given[name]
        pair = one if isinstance(one, tuple) else (one, None)
        on_disk = all(part is None or is_path(part) for part in pair)
        described[f"{name}_key"] = source.fingerprint() if on_disk else IN_MEMORY
        if on_disk:
            described[name] = [None if path is None else str(Path(path).resolve()) for path in pair]
    read = [one for one in sources.values() if isinstance(one, Rows | Sentences | FileSource)]
    notes = list(dict.fromkeys(note for one in read for note in one.notes))
    if rejects is not None:
        described["rejects"] = True
        where = "" if rejects == NOWHERE else f", see {rejects.name}"
        notes += [f"bad {unit} skipped: {bad.count:,}{where}"] if bad.count else []
    return Parts(data, described, notes)


def read_one(source: S, rejects: str | Path | None, collect: Callable[[S, Rejects], P]) -> P:
    """Read a source; bad rows are written to the file `rejects`; None to stop at a bad row.

    Notes about the data are logged, because there is no run that stores them.
    """
    path = None if rejects is None else path_of(rejects, "skip_bad_rows")
    if path is not None:
        check_new(path, overwrite=False)
    with Rejects(path, sources=source.files) as bad:
        found = collect(source, bad)
    read = (source, getattr(found, "whole", found))
    tell(dict.fromkeys(note for one in read for note in getattr(one, "notes", ())))
    if bad.count and path is not None:
        LOG.info("bad rows skipped: %d, see %s", bad.count, path.name)
    return found


def tell(notes: Iterable[str]) -> None:
    """Log notes about data that are read without training."""
    for note in notes:
        LOG.info(note)


def given_before(described: Mapping[str, Any]) -> tuple[dict[str, object], Path | None]:
    """Return the data that a run was given, and the file for its bad rows, to resume the run.

    The first session has written the bad rows to a file.  Now they are discarded, because a resumed
    run must not write to a path that a config names.

    Raises:
        DataError: a part was given in memory, or its file is missing.
    """
    for name in NAMES:
        if described.get(f"{name}_key") == IN_MEMORY or (name == "train" and name not in described):
            raise DataError(
                f"the {name} data were given in memory and are gone; a run can only be resumed if "
                "its data are files"
            )
    given: dict[str, object] = {}
    for name in NAMES:
        if name in described:
            paths = described[name]
            pair = (paths, None) if isinstance(paths, str) else tuple(paths)
            given[name] = tuple(None if path is None else find_data(path, name) for path in pair)
    return given, NOWHERE if described.get("rejects") else None


def check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a DataError if the data have changed since an earlier session."""
    for name in NAMES:
        if before.get(f"{name}_key") != now.get(f"{name}_key"):
            path = find_data((before.get(name) or before["train"])[0], name)
            raise DataError(
                f"{path}: has changed since the run began; put the old data back, or train again "
                "with another out"
            )
