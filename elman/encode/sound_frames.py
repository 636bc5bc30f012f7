"""The frames of many clips, computed once and stored in the cache folder.

    frames   F float32 numbers of each frame, clip after clip
    clips    for each clip: its frames, its largest sample, the share of clipped samples, its error

The cache is mapped into memory, so that the frames of all clips can be larger than memory.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.encode.cache import cached
from elman.encode.sound import SoundIndex
from elman.errors import DataError
from elman.read.audio import Clip, named, read_blocks, read_features
from elman.read.file_source import content_key

Floats = NDArray[np.float32]
FULL = 0.999  # absolute value from which a sample is clipped, if it is not alone
CLIPPED = 0.001  # share of clipped samples from which a clip is reported
SILENT = 1e-4  # largest absolute value of a silent clip (-80 dB)


class Mapped(np.memmap):
    """Frames in a file of the cache; another process receives only their place in the file."""

    def __reduce__(self) -> Any:
        """Return the function and the arguments that open the same part of the file."""
        file = vars(self)["_mmap"]
        if file is None or not self.flags.c_contiguous:  # a result, or not one part of the file
            return np.asarray(self).__reduce__()
        first = (self.ctypes.data - np.frombuffer(file, np.uint8).ctypes.data) // self.itemsize
        return _sent_part, (Path(str(self.filename)), first, self.shape)


def _sent_part(path: Path, first: int, shape: tuple[int, ...]) -> Floats:
    """Return the numbers of a file from `first` on, in a shape, for another process."""
    try:
        whole = _whole(path, path.stat().st_ino)
    except OSError as error:
        raise DataError(
            f"{path}: the frames of the audio are not here ({error.strerror}); the processes of a "
            "run must share a cache folder: set ELMAN_CACHE"
        ) from error
    return whole[first : first + math.prod(shape)].reshape(shape)


@cache
def _whole(path: Path, number: int) -> Mapped:  # noqa: ARG001 - a new file has another number
    return Mapped(path, np.float32, "r")


class Sound(NamedTuple):
    """The frames of a clip, and what was found in its samples.

    Attributes:
        clip: the clip.
        frames: (T, F).
        peak: largest absolute value of its samples; 0 for features.
        clipped: share of samples that are clipped.
    """

    clip: Clip
    frames: Floats
    peak: float = 0.0
    clipped: float = 0.0

    @property
    def path(self) -> str:
        """The path of the file."""
        return str(self.clip.source)

    @property
    def span(self) -> tuple[float, float]:
        """The start and the end of the clip in its file, in seconds."""
        return self.clip.span

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def is_silent(self) -> bool:
        """Whether the clip has samples, all of which are almost zero."""
        return self.clip.rate > 0 and self.peak < SILENT

    @property
    def is_clipped(self) -> bool:
        """Whether the clip has many samples at the limit of their range."""
        return self.clipped > CLIPPED


def compute(clip: Clip, index: SoundIndex, place: str) -> Sound:
    """Return the frames of a clip.

    Raises:
        DataError: the clip is damaged, of another kind than the index, or too short for a step.
    """
    peak, full = 0.0, 0

    def measure(block: Floats) -> Floats:
        nonlocal peak, full
        size = np.abs(block)
        peak = max(peak, float(size.max(initial=0)))
        full += int((size > FULL).sum())
        return block

    blocks = [*frame_blocks(clip, index, place, measure)]
    frames = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if not index.count(len(frames)):
        lasts = f"{clip.seconds:.3f} s" if clip.rate else f"{len(clip)} frames"
        least = f"{index.least:.3f} s" if clip.rate else f"{index.stack} frames"
        raise DataError(f"{named(clip, place)} is too short: {lasts}, at least {least} are needed")
    return Sound(clip, frames, peak, full / max(1, len(clip)))


def frame_blocks(
    clip: Clip, index: SoundIndex, place: str, measure: Callable[[Floats], Floats] = np.asarray
) -> Iterator[Floats]:
    """Yield the frames (n, F) of a clip in blocks, of which few are in memory.

    Args:
        clip: the clip.
        index: the features.
        place: where the clip was read, for messages.
        measure: called with each block of samples; returns it.

    Raises:
        DataError: the clip is damaged, or of another kind than the index.
    """
    given = index.kind == "given"
    if given != (clip.rate == 0):
        found, wanted = ("audio", "features") if given else ("features", "audio")
        raise DataError(f"{named(clip, place)} has {found}, but the others have {wanted}")
    if not given:
        yield from index.frame_blocks(map(measure, read_blocks(clip, place)), clip.rate)
        return
    frames = read_features(clip, place)
    if frames.shape[1] != index.size:
        raise DataError(
            f"{named(clip, place)} has {frames.shape[1]} features in a frame, expected {index.size}"
        )
    yield frames


def compute_all(
    clips: Sequence[Clip],
    places: Sequence[str],
    index: SoundIndex,
    advance: Callable[[float], None],
) -> list[Sound | DataError]:
    """Return the frames of clips, or the error of a clip, from the cache if they are in it.

    Args:
        clips: the clips; those in memory are not stored.
        places: where each was read, for messages.
        index: the features.
        advance: called with the seconds of each clip that has been computed.
    """
    if not clips or not all(isinstance(clip.source, Path) for clip in clips):
        return [_attempt(clip, index, place) for clip, place in zip(clips, places, strict=True)]

    def write(folder: Path) -> None:
        with (folder / "frames").open("wb") as frames, (folder / "clips").open("w") as facts:
            for clip, place in zip(clips, places, strict=True):
                found = _attempt(clip, index, place)
                if isinstance(found, DataError):
                    facts.write(json.dumps([0, 0.0, 0.0, str(found)]) + "\n")
                else:
                    frames.write(found.frames.tobytes())
                    row = [len(found.frames), found.peak, found.clipped, None]
                    facts.write(json.dumps(row) + "\n")
                advance(clip.seconds)
            for file in (frames, facts):
                file.flush()
                os.fsync(file.fileno())

    files = {
        clip.source: content_key(clip.source) for clip in clips if isinstance(clip.source, Path)
    }
    parts = [
        (files[clip.source], clip.first, clip.last, clip.channel, place)
        for clip, place in zip(clips, places, strict=True)
        if isinstance(clip.source, Path)
    ]
    of_frames = (index.kind, index.size, index.rate, index.stack)
    folder = cached(repr(("frames", of_frames, parts)), ("frames", "clips"), write)
    rows = [json.loads(line) for line in (folder / "clips").read_text().splitlines()]
    found: list[Sound | DataError] = []
    total, at = sum(row[0] for row in rows), 0
    numbers = Mapped(folder / "frames", np.float32, "r") if total else np.zeros(0, np.float32)
    whole = numbers.reshape(-1, index.size)
    for clip, (count, peak, clipped, error) in zip(clips, rows, strict=True):
        if error is not None:
            found.append(DataError(error))
        else:
            found.append(Sound(clip, whole[at : at + count], peak, clipped))
        at += count
    return found


def _attempt(clip: Clip, index: SoundIndex, place: str) -> Sound | DataError:
    """Return the frames of a clip, or its error."""
    try:
        return compute(clip, index, place)
    except DataError as error:
        return error
