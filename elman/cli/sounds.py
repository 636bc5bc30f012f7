"""Where the commands that listen get their sound from: a file, a pipe or a microphone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from cyclopts import Parameter

from elman.cli.app import FileName
from elman.cli.flags import Whole
from elman.errors import ArgumentError, DataError
from elman.optional import need
from elman.report.terminal import tell
from elman.tasks.examples import ExampleTask

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 0.1  # seconds of sound that are read at a time
STANDARD_INPUT = Path("-")

Sound = Annotated[
    FileName,
    Parameter(
        allow_leading_hyphen=True,
        help="An audio file of any length; or - for raw samples on the standard input: signed "
        "16-bit, little-endian, one channel.",
    ),
]
SampleRate = Annotated[
    Whole | None,
    Parameter(help="Samples per second on the standard input; None for the rate of the model."),
]


def open_sound(
    sound: Path, sample_rate: int | None, model: ExampleTask
) -> tuple[int, Iterable[NDArray[Any]]]:
    """Return the sample rate of a file or of the standard input, and its samples in chunks."""
    if sound == STANDARD_INPUT:
        rate = rate_of(model) if sample_rate is None else sample_rate
        return rate, _raw_chunks(sys.stdin.buffer, rate)
    rate_of(model)
    if sample_rate is not None:
        raise ArgumentError(
            f"sample_rate is for - (samples on the standard input); {sound} has its rate in its "
            "header, so remove the option"
        )
    return _file_chunks(sound)


def rate_of(model: ExampleTask) -> int:
    """Return the sample rate of a model; raise an ArgumentError if it does not read samples."""
    from elman.inputs.audio import Audio

    learned = model.input_
    if not isinstance(learned, Audio):
        raise ArgumentError(f"this model reads {learned.reader.noun}, expected a model of audio")
    if not learned.index.rate:
        raise ArgumentError("this model reads features that were computed elsewhere, not samples")
    return learned.index.rate


def _raw_chunks(file: BinaryIO, rate: int) -> Iterator[NDArray[Any]]:
    """Yield samples from raw 16-bit sound, as soon as some have arrived."""
    import numpy as np

    rest = b""
    size = 2 * max(1, int(rate * CHUNK))
    read = getattr(file, "read1", file.read)
    while block := read(size):
        block = rest + block
        whole = len(block) // 2 * 2
        rest = block[whole:]
        if whole:
            yield np.frombuffer(block[:whole], dtype="<i2")
    if rest:
        tell("the standard input ended in the middle of a sample of 16 bits")


def _file_chunks(path: Path) -> tuple[int, Iterator[NDArray[Any]]]:
    """Return the sample rate of an audio file, and its samples in chunks."""
    from elman.read.audio import open_file, read_blocks

    clip = open_file(path, str(path))
    if not clip.rate:
        raise DataError(f"{path}: has features, expected audio")
    size = int(clip.rate * CHUNK)

    def chunks() -> Iterator[NDArray[Any]]:
        for block in read_blocks(clip, str(path)):
            for at in range(0, len(block), size):
                yield block[at : at + size]

    return clip.rate, chunks()


def microphone(device: str | None, rate: int) -> Iterator[NDArray[Any]]:
    """Yield samples of the microphone; raise a DataError if there is none."""
    try:
        sounddevice = need("sounddevice", "listen")
    except OSError as error:  # the library of the system is missing
        raise DataError(f"listen needs the PortAudio library ({error})") from error
    size = int(rate * CHUNK)
    name = int(device) if device is not None and device.isdecimal() else device
    try:
        with sounddevice.InputStream(
            samplerate=rate, channels=1, dtype="int16", blocksize=size, device=name
        ) as stream:
            tell(f"listening at {rate:,} Hz; Ctrl-C ends it")
            while True:
                samples, late = stream.read(size)
                if late:
                    tell("some sound was lost, because the model is slower than the microphone")
                yield samples[:, 0]
    except (sounddevice.PortAudioError, ValueError) as error:
        raise DataError(f"there is no microphone that can be read ({error})") from error
