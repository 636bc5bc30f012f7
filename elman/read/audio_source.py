"""Sources of audio clips: folders, manifests, and lists of files or arrays, see `file_source`.

A manifest can have the columns start and end, in seconds.  Lists have paths, arrays (N,) or (T, F),
or pairs (samples, rate).  A table of spans (path, start, end, label) gives each frame of the clips
a label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from elman.arguments import article
from elman.errors import ArgumentError, DataError
from elman.read.audio import (
    FEATURES,
    Clip,
    check_order,
    cut_clip,
    is_audio,
    open_array,
    open_file,
    seconds_of,
)
from elman.read.characters import Advance
from elman.read.columns import Table
from elman.read.file_source import FileLayout, FileSource, file_of_cell, names_files
from elman.read.files import is_path
from elman.read.rows import Row

CLIP = "a path, an array or a pair (samples, rate)"
TIMES = ("start", "end")  # columns of a manifest, in seconds
Span = tuple[float, float, str]


@dataclass(frozen=True, kw_only=True)
class AudioLayout(FileLayout):
    """How clips are read.

    Attributes:
        channel: channel that is read; None for the mean of all.
        rate: sample rate of arrays without one; None if there is none.
        size: features of a frame in a file that has only their count.
    """

    channel: int | None = None
    rate: int | None = None
    size: int = 13


class AudioSource(FileSource):
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

    noun, file_noun, items_noun = "audio", "audio file", "clips"
    formats, more = "WAV, FLAC, OGG or MP3", TIMES
    layout: AudioLayout

    def __init__(
        self,
        source: Any,
        targets: Any,
        layout: AudioLayout,
        *,
        spans: bool = False,
        lenient: bool = False,
    ) -> None:
        self._lenient, self.layout = lenient, layout
        self._spans = self._table(targets) if spans and targets is not None else None
        target = layout.target
        if self._spans is not None:  # the clips have no other targets
            targets, layout = None, replace(layout, target=None)
        super().__init__(source, targets, layout, lenient=lenient)
        self.layout = replace(layout, target=target)

    is_file = staticmethod(is_audio)

    def item(self, cell: object, place: str, more: Mapping[str, object]) -> Clip:
        """Return the clip of a cell, cut to its start and end."""
        clip = clip_of(cell, place, self.layout, self._base)
        return cut_clip(clip, more.get("start"), more.get("end"), place)

    def key(self, item: Clip) -> tuple[str, tuple[Path, ...]]:
        """Return the name of a clip with its part, and its file."""
        files = (item.source,) if isinstance(item.source, Path) else ()
        return f"{item.name} {item.first} {item.last}", files

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the source: manifests, or the audio files of a folder."""
        tables = (self._spans.file,) if self._spans is not None and self._spans.file else ()
        return (*super().files, *tables)

    def fingerprint(self) -> str:
        """Return a hash of the content, of the audio files too, and of the settings."""
        found = super().fingerprint()
        if self._spans is None:
            return found
        spans = self._spans.rows(self._spans.names).fingerprint()
        return hashlib.blake2b(f"{found} {spans}".encode(), digest_size=16).hexdigest()

    def read(self, advance: Advance | None = None) -> Iterator[Row]:
        """Yield a clip and its target in each row; a clip that cannot be read is a DataError."""
        spans = None if self._spans is None else _spans_of(self._spans, self.layout)
        for place, values in super().read(advance):
            if spans is not None and not isinstance(values, DataError):
                values = (values[0], spans(values[0]))  # type: ignore[arg-type]
            yield Row(place, values)


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
    file = file_of_cell(cell, place, layout.column, folder)
    if file is not None:
        return open_file(file, place, channel=layout.channel, size=layout.size)
    rate: Any = layout.rate
    if is_pair(cell):
        cell, rate = cell
    kind = type(cell).__name__
    if not isinstance(cell, np.ndarray | list | tuple) and not hasattr(cell, "__array__"):
        raise DataError(f"{place}: expected {CLIP}, got {kind}")
    try:
        array = np.asarray(cell)
    except ValueError as error:  # rows of different lengths
        count = len(cell) if isinstance(cell, list | tuple) else "several"
        raise DataError(
            f"{place}: expected {CLIP}, got {article(kind)} of {count} values that are no array"
        ) from error
    return open_array(array, rate, place, channel=layout.channel)


def check_several(given: object) -> None:
    """Raise an ArgumentError for a single clip in place of a list of clips, also with targets."""
    first = given[0] if isinstance(given, tuple) and len(given) == 2 else given
    if is_single(given) or is_single(first):
        raise ArgumentError(
            "expected a list of clips, got one pair (samples, rate); write [(samples, rate)]"
        )
    if isinstance(first, np.ndarray) and first.ndim == 1 and first.dtype.kind in "fiu":
        raise ArgumentError(
            f"expected a list of clips, got one array {first.shape}; write [(samples, rate)]"
        )


def is_single(given: object) -> bool:
    """Return whether data are one pair of samples and their rate, not a list of clips."""
    return is_pair(given) and isinstance(given[1], Real)


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
    if is_single(given):
        return True
    if isinstance(given, list | tuple) and given and not is_path(given[0]):
        return isinstance(given[0], Clip) or is_pair(given[0])
    if is_path(given) and Path(given).suffix.lower() in FEATURES:
        return False  # arrays of any kind
    return names_files(given, column, is_audio)


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
        first, last = seconds_of(start, -1, place, "start"), seconds_of(end, -1, place, "end")
        if min(first, last) < 0:
            raise DataError(
                f"{place}: start and end must be seconds from 0 on, got {start!r} and {end!r}; "
                "correct the row, or remove it"
            )
        check_order(first, last, place)
        spans.setdefault((base / str(path)).resolve(), []).append((first, last, str(label)))

    def inside(clip: Clip) -> list[Span]:
        if not isinstance(clip.source, Path):
            return []
        begin = clip.first / clip.rate if clip.rate else 0.0
        found = spans.get(clip.source.resolve(), [])
        return [(max(0.0, a - begin), z - begin, label) for a, z, label in found if z > begin]

    return inside
