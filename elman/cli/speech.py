"""`elman transcribe`: speech as it arrives, from a file, a pipe or a microphone."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elman.cli.app import RunFolder
from elman.cli.predict import options_of
from elman.cli.sounds import SampleRate, Sound, open_sound
from elman.report.terminal import one_line, show
from elman.tasks import Transcriber
from elman.tasks.file_predictions import SpeechOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elman.decode.transcript import Transcript
    from elman.live.transcription import LiveTranscription


@dataclass(kw_only=True)
class LiveSpeech(SpeechOptions):
    """The options of a live transcription."""

    pause: float = 1.2
    """Seconds of silence that end an utterance."""
    silence: float = 2.4
    """Seconds without any word that begin a new utterance."""
    longest: float = 20.0
    """Seconds after which an utterance ends in any case."""
    times: bool = False
    """Print the start of each utterance, and its confidence."""

    def write(self, model: Transcriber, rate: int, chunks: Iterable[NDArray[Any]]) -> None:
        """Print the utterances of a stream of sound."""
        from elman.decode.endpoints import Endpoints

        rules = Endpoints(pause=self.pause, silence=self.silence, longest=self.longest)
        live = model.stream(endpoints=rules, sample_rate=rate, **self.given())
        _write(live, chunks, times=self.times)


SPEAKERS: dict[str, type[LiveSpeech]] = {"transcriber": LiveSpeech}


def transcribe(
    run: RunFolder,
    sound: Sound,
    /,
    *,
    sample_rate: SampleRate = None,
    **options: Any,
) -> None:
    """Write down speech as it arrives, with a line for each utterance, in constant memory.

    The model must read forward only (--no-bidirectional in training). On a terminal, the words of
    the current utterance are shown while they are spoken.

    Example: elman transcribe runs/live lecture.flac

    Example: arecord -t raw -f S16_LE -r 16000 | elman transcribe runs/live - --sample-rate 16000
    """
    wanted, model = options_of(run, SPEAKERS, options), Transcriber.load(run)
    wanted.write(model, *open_sound(sound, sample_rate, model))


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
        start = one.words[0].start if one.words else 0
        show(f"{start:9.2f} {one.confidence:7.1%}  {one.text}")
    sys.stdout.flush()
