"""`elman transcribe` and `elman listen`: speech as it arrives, from a pipe or a microphone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from cyclopts import Parameter

from elman.cli.app import RunFolder
from elman.cli.flags import Whole
from elman.errors import ArgumentError, DataError
from elman.optional import need
from elman.report.terminal import one_line, show, tell
from elman.tasks import Transcriber
from elman.tasks.audio_predictions import SpeechOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from elman.decode.transcript import Transcript
    from elman.live.transcription import LiveTranscription

CHUNK = 0.1  # seconds of sound that are read at a time
STANDARD_INPUT = Path("-")

Pause = Annotated[float, Parameter(help="Seconds of silence that end an utterance.")]
Silence = Annotated[float, Parameter(help="Seconds without any word that begin a new utterance.")]
Longest = Annotated[float, Parameter(help="Seconds after which an utterance ends in any case.")]
Times = Annotated[
    bool, Parameter(negative="", help="Print the start of each utterance, and its confidence.")
]


def transcribe(
    run: RunFolder,
    sound: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    sample_rate: Whole | None = None,
    pause: Pause = 1.2,
    silence: Silence = 2.4,
    longest: Longest = 20.0,
    times: Times = False,
    **options: Any,
) -> None:
    """Write down speech as it arrives, with a line for each utterance, in constant memory.

    The model must read forward only (--no-bidirectional in training). On a terminal, the words of
    the current utterance are shown while they are spoken.

    Example: elman transcribe runs/live lecture.flac

    Example: arecord -t raw -f S16_LE -r 16000 | elman transcribe runs/live - --sample-rate 16000

    Parameters
    ----------
    sound
        An audio file of any length; or - for raw samples on the standard input: signed 16-bit,
        little-endian, one channel.
    sample_rate
        Samples per second on the standard input; None for the rate of the model.
    """
    model = Transcriber.load(run)
    if sound == STANDARD_INPUT:
        rate = sample_rate or _rate_of(model)
        chunks = _raw_chunks(sys.stdin.buffer, rate)
    else:
        if sample_rate is not None:
            raise ArgumentError("sample_rate is for -; the header of an audio file has its rate")
        rate, chunks = _file_chunks(sound)
    rules = {"pause": pause, "silence": silence, "longest": longest}
    live = _stream(model, rate, rules, SpeechOptions(**options))
    _write(live, chunks, times=times)


def listen(
    run: RunFolder,
    /,
    *,
    device: Annotated[
        str | None, Parameter(help="Name or number of the microphone; None for the usual one.")
    ] = None,
    pause: Pause = 1.2,
    silence: Silence = 2.4,
    longest: Longest = 20.0,
    times: Times = False,
    **options: Any,
) -> None:
    """Write down speech from the microphone until Ctrl-C is pressed.

    It needs sounddevice: pip install sounddevice

    Example: elman listen runs/live
    """
    model = Transcriber.load(run)
    rate = _rate_of(model)
    rules = {"pause": pause, "silence": silence, "longest": longest}
    live = _stream(model, rate, rules, SpeechOptions(**options))
    _write(live, _microphone(device, rate), times=times)


def _stream(
    model: Transcriber, rate: int, rules: dict[str, float], options: SpeechOptions
) -> LiveTranscription:
    from elman.decode.endpoints import Endpoints

    return model.stream(endpoints=Endpoints(**rules), sample_rate=rate, **options.given())


def _rate_of(model: Transcriber) -> int:
    """Return the sample rate of a model; raise an ArgumentError if it reads features."""
    rate = model.input_.facts().get("sample_rate")
    if rate is None:
        raise ArgumentError("this model reads features that were computed elsewhere, not samples")
    return int("".join(filter(str.isdigit, str(rate))))


def _write(live: LiveTranscription, chunks: Iterable[NDArray[Any]], *, times: bool) -> None:
    """Print utterances when they end, and on a terminal the current one while it is spoken."""
    shows, shown = sys.stdout.isatty(), ""
    try:
        for chunk in chunks:
            heard = live.push(chunk)
            if heard is None:
                continue
            for one in heard.final:
                _print(one, shown, times=times)
                shown = ""
            text = one_line(heard.text)
            if shows and text != shown:
                sys.stdout.write("\r" + text + " " * max(0, len(shown) - len(text)))
                sys.stdout.flush()
                shown = text
    finally:
        for one in live.finish().final:
            _print(one, shown, times=times)
            shown = ""


def _print(one: Transcript, shown: str, *, times: bool) -> None:
    """Print an utterance in place of what is shown of it."""
    if shown:
        sys.stdout.write("\r" + " " * len(shown) + "\r")
    if not times:
        show(one.text)
    else:
        sure = min((word.confidence for word in one.words), default=1.0)
        show(f"{one.words[0].start if one.words else 0:9.2f} {sure:7.1%}  {one.text}")
    sys.stdout.flush()


def _raw_chunks(file: BinaryIO, rate: int) -> Iterator[NDArray[np.int16]]:
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


def _microphone(device: str | None, rate: int) -> Iterator[NDArray[Any]]:
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
