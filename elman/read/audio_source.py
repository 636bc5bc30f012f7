"""Sources of audio clips: folders, manifests, and lists of files or arrays.

    a folder of folders   a clip for each file, whose label is the name of its folder
    a manifest            a table with a clip in each row: its path, and possibly start and end in
                          seconds; relative paths are relative to the manifest
    a folder, a file      clips without labels
    lists                 paths, arrays (N,) or (T, F), or pairs (samples, rate)

A table of spans (path, start, end, label) gives each frame of the clips a label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from elman.arguments import list_of_argument
from elman.errors import ArgumentError, DataError
from elman.read.audio import FEATURES, Clip, cut_clip, is_audio, open_array, open_file
from elman.read.characters import Advance, file_blocks, ignore
from elman.read.columns import Table
from elman.read.dialect import Dialect
from elman.read.files import files_below, is_path, kind_of, size_of
from elman.read.frames import is_frame
from elman.read.rows import Row, Rows
from elman.read.tables import TABLES

TIMES = ("start", "end")  # columns of a manifest, in seconds
Span = tuple[float, float, str]


class AudioLayout(NamedTuple):
    """How clips are read.

    Attributes:
        column: column with the path.
        target: column of the targets; None for clips without targets.
        channel: channel that is read; None for the mean of all.
        rate: sample rate of arrays without one; None if there is none.
        size: features of a frame in a file that has only their count.
        encoding, dialect: format of a manifest.
    """

    column: str = "path"
    target: str | None = None
    channel: int | None = None
    rate: int | None = None
    size: int = 13
    encoding: str = "utf-8"
    dialect: Dialect = Dialect()


class AudioSource:
    """A source of audio clips and their targets.

    Args:
        source: a folder, a manifest, a file, a data frame, or a list.
        targets: a list of targets, a file with a target on each line, or a table of spans; None if
            they are in the source.
        layout: how clips are read.
        spans: whether `targets` is a table of spans.
        lenient: whether bytes that are not text are an error of their row instead of the file.

    Raises:
        ArgumentError: a column does not exist, or there are no targets.
        DataError: a file is missing, or a folder has no audio.

    Example:
        >>> import numpy as np
        >>> from elman.read.audio_source import AudioLayout, AudioSource
        >>> source = AudioSource([np.zeros(800)], ["hum"], AudioLayout(target="label", rate=8000))
        >>> [(row.values[0].seconds, row.values[1]) for row in source.read()]
        [(0.1, 'hum')]
    """

    def __init__(
        self,
        source: Any,
        targets: Any,
        layout: AudioLayout,
        *,
        spans: bool = False,
        lenient: bool = False,
    ) -> None:
        self.layout = layout
        self.notes: list[str] = []
        self._base, self._spans = Path(), None
        self._rows: Rows | None = None
        self._times: list[str] = []
        self._audio: tuple[Path, ...] = ()
        path = Path(source) if is_path(source) else None
        if path is not None and not path.exists():
            raise DataError(f"{path}: there is no such file or folder; expected audio")
        self._lenient = lenient
        if spans and targets is not None:
            self._spans, targets = self._table(targets), None
        inside = targets is None and self._spans is None and layout.target is not None
        names = [layout.column, *([layout.target] if inside and layout.target else [])]
        if path is not None and (path.is_dir() or is_audio(path)):
            self._audio, self.name = self._find(path, labelled=inside), path.resolve().name
        elif is_frame(source) or (path is not None and kind_of(path) in TABLES):
            table = self._table(source)
            self._times = [name for name in TIMES if name in table.names]
            self._base = Path() if path is None else path.parent
            self.notes += table.notes
            if targets is None:
                self._rows = table.rows([*names, *self._times])
            else:  # a list of targets along with a table
                columns = table.rows([layout.column, *self._times])
                lists = list(zip(*(row.values for row in columns.read()), strict=True))
                names = [layout.column, layout.target or "targets", *self._times]
                self._rows = Rows(lists[0], names, parallel=[targets, *lists[1:]])
            self.name = self._rows.name
        elif inside and not is_path(source):
            raise ArgumentError("audio clips in a list need their targets: fit(clips, targets)")
        else:
            given = source if is_path(source) else list_of_argument(source, layout.column, "clips")
            names, others = [layout.column], [] if targets is None else [targets]
            names += [layout.target or "targets" for _ in others]
            self._base = Path() if path is None else path.parent
            self._rows = Rows(given, names, parallel=others, encoding=layout.encoding)
            self.name = self._rows.name

    def _table(self, source: Any) -> Table:
        layout = self.layout
        return Table(
            source, encoding=layout.encoding, lenient=self._lenient, dialect=layout.dialect
        )

    def _find(self, path: Path, *, labelled: bool) -> tuple[Path, ...]:
        """Return the audio files below a folder, or the file itself."""
        files = files_below(path)
        found = tuple(file for file in files if is_audio(file))
        if not found:
            raise DataError(
                f"{path}: has no audio file, only files such as {files[0].name}; expected WAV, "
                "FLAC, OGG or MP3, or a manifest (CSV or JSONL) with their paths"
            )
        if skipped := len(files) - len(found):
            self.notes.append(f"{path}: {skipped:,} files that are not audio are skipped")
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
    def files(self) -> tuple[Path, ...]:
        """The files of the source: manifests, or the audio files of a folder."""
        tables = (self._spans.file,) if self._spans is not None and self._spans.file else ()
        return (*(self._audio or (self._rows.files if self._rows else ())), *tables)

    @property
    def total_bytes(self) -> int:
        """The size of the files on disk."""
        return sum(map(size_of, self.files))

    def fingerprint(self) -> str:
        """Return a hash of the content, of the audio files too, and of the settings."""
        digest = hashlib.blake2b(repr(self.layout).encode(), digest_size=16)
        if self._rows is not None:
            digest.update(self._rows.fingerprint().encode())
        if self._spans is not None:
            digest.update(self._spans.rows(self._spans.names).fingerprint().encode())
        for _, values in self.read():
            clip = values if isinstance(values, DataError) else values[0]
            if isinstance(clip, Clip) and isinstance(clip.source, Path):
                digest.update(f"{clip.name} {clip.first} {clip.last}".encode(errors="replace"))
                digest.update(content_key(clip.source).encode())
        return digest.hexdigest()

    def read(self, advance: Advance | None = None) -> Iterator[Row]:
        """Yield a clip and its target in each row; a clip that cannot be read is a DataError."""
        spans = None if self._spans is None else _spans_of(self._spans, self.layout)
        for place, values in self._raw(advance or ignore):
            if isinstance(values, DataError):
                yield Row(place, values)
                continue
            cell, *rest = values
            target = rest.pop(0) if len(rest) > len(self._times) else None
            times = dict(zip(self._times, rest, strict=True))
            try:
                clip = clip_of(cell, place, self.layout, self._base)
                clip = cut_clip(clip, times.get("start"), times.get("end"), place)
            except DataError as error:
                yield Row(place, error)
                continue
            yield Row(place, (clip, target if spans is None else spans(clip)))

    def _raw(self, advance: Advance) -> Iterator[Row]:
        if self._rows is not None:
            yield from self._rows.read(advance)
            return
        for file in self._audio:
            advance(size_of(file))
            label = () if self.layout.target is None else (file.parent.name,)
            yield Row(str(file), (file, *label))


def clip_of(cell: object, place: str, layout: AudioLayout, folder: Path) -> Clip:
    """Return the clip of a cell: a path, an array, or a pair of samples and their rate.

    Args:
        cell: the cell.
        place: where it was read, for messages.
        layout: how clips are read.
        folder: folder to which a relative path refers.

    Raises:
        DataError: the clip cannot be read.
    """
    if isinstance(cell, Clip):
        return cell
    if is_path(cell):
        if not str(cell):
            raise DataError(f"{place}: column {layout.column!r} is empty, expected a path")
        return open_file(folder / cell, place, channel=layout.channel, size=layout.size)
    rate: Any = layout.rate
    if is_pair(cell):
        cell, rate = cell
    if not isinstance(cell, np.ndarray | list | tuple) and not hasattr(cell, "__array__"):
        raise DataError(f"{place}: expected a path or an array, got {type(cell).__name__}")
    return open_array(np.asarray(cell), rate, place, channel=layout.channel)


def is_pair(cell: object) -> TypeGuard[tuple[Any, Any] | list[Any]]:
    """Return whether a cell has samples (N,) or (N, channels) and their rate."""
    if not isinstance(cell, list | tuple) or len(cell) != 2:
        return False
    several = [isinstance(one, list | tuple) or getattr(one, "ndim", 0) > 0 for one in cell]
    return several == [True, False]


def is_clips(given: object, column: str) -> bool:
    """Return whether data look like audio: a folder or a table of audio files, or clips in a list.

    Only the first file of a folder or row of a table is looked at.
    """
    if isinstance(given, list | tuple) and given:
        first = given[0]
        known = isinstance(first, Clip) or is_pair(first)
        return known or (is_path(first) and is_audio(Path(first)))
    if is_path(given):
        path = Path(given)
        if path.is_dir():
            return any(is_audio(file) for file in _first_files(path))
        if is_audio(path) and path.suffix.lower() not in FEATURES:
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
    return is_path(cell) and is_audio(Path(cell))


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


def _first_files(folder: Path, most: int = 50) -> list[Path]:
    found: list[Path] = []
    for file in folder.rglob("*"):
        found += [file] if file.is_file() else []
        if len(found) == most:
            break
    return found


def _spans_of(table: Table, layout: AudioLayout) -> Callable[[Clip], list[Span]]:
    """Return a function that returns the spans in a clip, in seconds from its beginning.

    Paths of the table are relative to its folder.
    """
    names = [layout.column, *TIMES, layout.target or "label"]
    base = Path() if table.file is None else table.file.parent
    spans: dict[Path, list[Span]] = {}
    for place, values in table.rows(names).read():
        if isinstance(values, DataError):
            raise values
        path, start, end, label = values
        try:
            first, last = float(str(start)), float(str(end))
        except ValueError:
            first, last = 0.0, -1.0
        if not 0 <= first < last:
            raise DataError(
                f"{place}: start and end must be seconds with 0 <= start < end, got {start!r} and "
                f"{end!r}"
            )
        spans.setdefault((base / str(path)).resolve(), []).append((first, last, str(label)))

    def inside(clip: Clip) -> list[Span]:
        if not isinstance(clip.source, Path):
            return []
        begin = clip.first / clip.rate if clip.rate else 0.0
        found = spans.get(clip.source.resolve(), [])
        return [(max(0.0, a - begin), z - begin, label) for a, z, label in found if z > begin]

    return inside
