"""Audio clips: parts of audio files, of samples in memory, or of features computed elsewhere.

    .wav .flac .ogg .opus .mp3 .aiff .au ...   samples, read by soundfile
    .npy                                       features (T, F)
    .mfc .mfcc .feat                           features: a count of 4 bytes, then float32 numbers

Only the header of a file is read until its samples are needed, and the samples are read in blocks,
so that a file of any length needs little memory.

Shape legend: N samples, C channels, T frames, F features of a frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataError
from elman.optional import need
from elman.read.arrays import map_array
from elman.read.files import AGAIN, check_file, reading

Floats = NDArray[np.float32]
SUFFIXES = "wav wave flac ogg oga opus mp3 aif aiff aifc au snd caf w64 rf64 sph"
AUDIO = {f".{suffix}" for suffix in SUFFIXES.split()}
COUNTED = {".mfc", ".mfcc", ".feat"}
FEATURES = COUNTED | {".npy"}
BLOCK = 1 << 20  # samples that are read at a time
MOST_CHANNELS = 64  # more columns than this are rather samples
LOUDEST = 32.0  # absolute value that no sample in [-1, 1] reaches, even if it is amplified
SLOWEST = 1000  # lowest sample rate
PROMISED = re.compile(r"^data\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
UNKNOWN = 0x7FFFF000  # bytes from which the length in a WAV header is that of an endless stream


@dataclass(frozen=True)
class Clip:
    """A part of a file or of an array, of which only the header has been read.

    Attributes:
        name: name for reports, with the seconds of a part.
        source: a file, samples (N,) or (N, C), or features (T, F).
        rate: samples per second; 0 for features.
        first, last: the part, in samples or frames.
        channel: channel that is read; None for the mean of all channels.
        width: F of features, 0 for samples.
    """

    name: str
    source: Path | NDArray[Any]
    rate: int
    first: int
    last: int
    channel: int | None = None
    width: int = 0

    @property
    def seconds(self) -> float:
        """The duration in seconds; 0 for features."""
        return (self.last - self.first) / self.rate if self.rate else 0.0

    @property
    def span(self) -> tuple[float, float]:
        """The start and the end of the part in its file, in seconds; zeros for features."""
        rate = self.rate or math.inf
        return round(self.first / rate, 3), round(self.last / rate, 3)

    @property
    def label(self) -> str:
        """The path of the file with the part, or the name of the array."""
        return str(self.source.parent / self.name) if isinstance(self.source, Path) else self.name

    def __len__(self) -> int:
        return self.last - self.first

    def __str__(self) -> str:
        return self.name

    def part(self, first: int, last: int) -> Clip:
        """Return a part of the clip, in samples or frames from its beginning."""
        return replace(self, first=self.first + first, last=self.first + last)


def is_audio(path: Path) -> bool:
    """Return whether the name of a file is that of an audio file or of a feature file."""
    return path.suffix.lower() in AUDIO | FEATURES


def open_file(path: Path, place: str, *, channel: int | None = None, size: int = 13) -> Clip:
    """Return the clip of a whole file, of which only the header is read.

    Args:
        path: the file.
        place: where the path was read, for messages.
        channel: channel that is read, from 0; None for the mean of all channels.
        size: features of a frame in a file that has only their count.

    Raises:
        DataError: the file is missing, empty, damaged or of another kind.
    """
    where = named(path, place)
    check_file(path, place, "audio")
    if path.is_dir():
        raise DataError(f"{where} is a folder; give the path of an audio file in it")
    if path.suffix.lower() in FEATURES:
        shape = _features(path, place, size).shape
        return Clip(path.name, path, 0, 0, shape[0], width=shape[1])
    soundfile = need("soundfile", str(path))
    try:
        header = soundfile.info(str(path), verbose=True)
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"{where} is not an audio file that can be read ({_reason(error)}); convert it "
            "to WAV or FLAC"
        ) from None
    if promised := PROMISED.search(header.extra_info):
        stated, there = map(int, promised.groups())
        if stated < UNKNOWN:
            raise DataError(
                f"{where} is damaged: its header states {stated:,} bytes of audio, but it "
                f"has {there:,}; copy it again, or convert it to repair the header"
            )
    _check_rate(header.samplerate, where)
    if header.frames < 1:
        raise DataError(f"{where} has no audio, only a header; {AGAIN}")
    _check_channel(channel, header.channels, where)
    return Clip(path.name, path, header.samplerate, 0, header.frames, channel)


def open_array(
    given: NDArray[Any], rate: int | None, place: str, *, channel: int | None = None
) -> Clip:
    """Return the clip of an array: samples (N,) or (N, C) with their rate, or features (T, F).

    Integers of 8, 16 or 32 bits are samples of their full range; floats are samples in [-1, 1].  A
    matrix without a rate has features.

    Raises:
        DataError: the array has another shape or type, no rate, or no number.
    """
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.ndim not in (1, 2):
        raise DataError(
            f"{place}: expected samples (N,) or (N, channels) as numbers, or features (T, F), got "
            f"an array {array.shape} of {array.dtype}"
        )
    if not array.size:
        raise DataError(f"{place}: has no samples; give at least one, or remove the clip")
    if rate is None and array.ndim == 2:
        return Clip(place, array, 0, 0, len(array), width=array.shape[1])
    if rate is None:
        raise DataError(
            f"{place}: the sample rate is missing; give a pair (samples, rate), or set sample_rate"
        )
    _check_rate(rate, place)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4:
        raise DataError(
            f"{place}: has integers of 64 bits, whose range is not known; give an array of int16, "
            "or floats in [-1, 1]"
        )
    if array.ndim == 2 and array.shape[1] > max(len(array), MOST_CHANNELS):
        raise DataError(
            f"{place}: expected samples (N, channels), got {array.shape}; turn the array around"
        )
    _check_channel(channel, 1 if array.ndim == 1 else array.shape[1], place)
    return Clip(place, array, int(rate), 0, len(array), channel)


def _check_channel(channel: int | None, count: int, place: str) -> None:
    """Raise a DataError if there is no such channel."""
    if channel is not None and channel >= count:
        raise DataError(
            f"{place} has no channel {channel}: its number of channels is {count}, counted from "
            f"0; set channel={count - 1} for the last one, or leave it out for the mean of all"
        )


def _check_rate(rate: object, place: str) -> None:
    """Raise a DataError if a sample rate is not a number or is too low."""
    known = isinstance(rate, int | float | np.integer | np.floating)
    if not (known and SLOWEST <= float(rate) < math.inf):  # type: ignore[arg-type]
        raise DataError(
            f"{place} has a sample rate of {rate!r} Hz, at least {SLOWEST:,} are needed; correct "
            "the rate, or record again with a higher one"
        )


def named(item: Path | Clip, place: str) -> str:
    """Return where a file or a clip was read, and its name if that is not the same."""
    whole = item.label if isinstance(item, Clip) else str(item)
    return place if whole == place else f"{place}: {item}"


def cut_clip(clip: Clip, start: object, end: object, place: str) -> Clip:
    """Return the part of a clip from `start` to `end`, in seconds; None for its ends.

    Raises:
        DataError: the times are not numbers, not in this order, or not in the clip.
    """
    whole = clip.seconds
    times = [seconds_of(start, 0.0, place, "start"), seconds_of(end, whole, place, "end")]
    if times == [0.0, whole]:
        return clip
    if not clip.rate:
        raise DataError(f"{place}: start and end need audio, {clip.name} has features")
    if times[1] != whole:
        check_order(times[0], times[1], place)
    if not 0 <= times[0] < times[1] <= whole + 1e-3:
        raise DataError(
            f"{place}: start and end must be in 0..{whole:.3f} s, the duration of {clip.name}, got "
            f"{times[0]:g} and {times[1]:g}; correct them, or leave the end empty to read up to it"
        )
    first, last = (round(time * clip.rate) for time in times)
    part = clip.part(first, min(max(last, first + 1), len(clip)))
    return replace(part, name=f"{clip.name} [{times[0]:.2f}-{times[1]:.2f} s]")


def check_order(start: float, end: float, place: str) -> None:
    """Raise a DataError if an end, in seconds, is not after its start."""
    if not start < end:
        how = "before" if end < start else "at"
        raise DataError(
            f"{place}: the end ({end:g} s) is {how} the start ({start:g} s); exchange or correct "
            "them"
        )


def read_blocks(clip: Clip, place: str) -> Iterator[Floats]:
    """Yield the samples of a clip in blocks (n,), float32, of one channel or the mean of all.

    Raises:
        DataError: the file is damaged, or a sample is not a finite number.
    """
    read = 0
    for block in _blocks(clip, place):
        mono = block[:, clip.channel or 0] if clip.channel is not None else block.mean(1)
        if not np.abs(mono).max(initial=0) < LOUDEST:  # also true for NaN
            bad = int(np.argmin(np.abs(mono) < LOUDEST))
            remedy = "replace it by 0, or remove the clip"
            if math.isfinite(mono[bad]):
                remedy = "divide the samples by their full scale, such as 32768, or write integers"
            raise DataError(
                f"{named(clip, place)} has a sample that is not a number in [-1, 1] "
                f"({mono[bad]:g} at {(clip.first + read + bad) / clip.rate:.3f} s); {remedy}"
            )
        read += len(mono)
        yield np.ascontiguousarray(mono, dtype=np.float32)
    if read < len(clip):
        raise DataError(
            f"{named(clip, place)} is damaged: its header states {len(clip) / clip.rate:.2f} s, "
            f"but only {read / clip.rate:.2f} s can be read; {AGAIN}"
        )


def read_features(clip: Clip, place: str) -> Floats:
    """Return the features (T, F) of a clip that was computed elsewhere, float32.

    Raises:
        DataError: the file is damaged, or a number is not finite.
    """
    array = clip.source
    if isinstance(array, Path):
        array = _features(array, place, clip.width)
    found = np.asarray(array[clip.first : clip.last], dtype=np.float32)
    if not np.isfinite(found).all():
        frame = int(np.argmin(np.isfinite(found).all(1)))
        raise DataError(
            f"{named(clip, place)} has a number that is not finite in frame {frame}; replace it, "
            "or remove the clip"
        )
    return found


def _blocks(clip: Clip, place: str) -> Iterator[Floats]:
    """Yield the samples of a clip in blocks (n, C), scaled to [-1, 1]."""
    if isinstance(clip.source, np.ndarray):
        for at in range(clip.first, clip.last, BLOCK):
            yield _scaled(clip.source[at : min(at + BLOCK, clip.last)])
        return
    soundfile = need("soundfile", str(clip.source))
    try:
        with soundfile.SoundFile(str(clip.source)) as file:
            if clip.first:
                file.seek(clip.first)
            left = len(clip)
            while left:
                block = file.read(min(BLOCK, left), dtype="float32", always_2d=True)
                if not len(block):
                    return
                left -= len(block)
                yield block
    except soundfile.LibsndfileError as error:
        raise DataError(f"{named(clip, place)} is damaged ({_reason(error)}); {AGAIN}") from None


def _scaled(samples: NDArray[Any]) -> Floats:
    """Return samples (n,) or (n, C) as float32 (n, C) in [-1, 1]."""
    found = samples.reshape(len(samples), -1)
    if found.dtype.kind == "f":
        return found.astype(np.float32)
    limits = np.iinfo(found.dtype)
    middle = (int(limits.max) + int(limits.min) + 1) // 2
    return ((found.astype(np.float64) - middle) / (limits.max - middle + 1)).astype(np.float32)


def _features(path: Path, place: str, size: int) -> NDArray[Any]:
    """Return the features (T, F) of a file, mapped into memory."""
    wanted = f"{named(path, place)} is not a file of features"
    with reading(path):
        if path.suffix.lower() == ".npy":
            found = map_array(path, wanted)
            if found.ndim != 2 or found.dtype.kind not in "fiu" or not found.size:
                raise DataError(
                    f"{wanted}: expected numbers (T, F), got {found.shape} of {found.dtype}"
                )
            return found
        whole = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4)
        for order in "><":
            count = int.from_bytes(head, "big" if order == ">" else "little", signed=True)
            if 0 < count == (whole - 4) // 4 and not count % size and not whole % 4:
                numbers = np.memmap(path, np.dtype(f"{order}f4"), "r", 4)
                return numbers.reshape(-1, size)
    raise DataError(
        f"{wanted}: expected a count, and then as many float32 numbers in frames of {size}, got "
        f"{whole:,} bytes; feature_size sets the numbers of a frame"
    )


def seconds_of(value: object, default: float, place: str, column: str) -> float:
    """Return the number of seconds of a cell; the default if it is empty."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return default
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{place}: {column} must be a number of seconds, got {value!r}")
    return found


def _reason(error: Exception) -> str:
    """Return the reason of an error of libsndfile, without the name of the file."""
    return str(error).rpartition("': ")[2].removeprefix("Error : ").rstrip(".")
