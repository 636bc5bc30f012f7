"""`elman spot`: key words in running sound, from a file, a pipe or a microphone."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from elman.cli.app import RunFolder
from elman.cli.predict import options_of
from elman.cli.sounds import SampleRate, Sound, open_sound
from elman.errors import ArgumentError
from elman.report.terminal import show
from elman.tasks import Classifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elman.decode.spotting import Spotted


@dataclass(kw_only=True)
class KeyWords:
    """The options of the detection of key words."""

    threshold: float | None = None
    """Probability from which a key word is detected; None for the threshold chosen in training."""
    refractory: float = 1.0
    """Seconds after a detection in which the key word is not detected again."""

    def write(self, model: Classifier, rate: int, chunks: Iterable[NDArray[Any]]) -> None:
        """Print the key words of a stream of sound, as soon as they are detected."""
        if not model.keywords:
            raise ArgumentError("this model has no key words; train it with --keywords LABEL")
        rules = replace(model.spotting, refractory=self.refractory)
        if self.threshold is not None:
            rules = replace(rules, threshold=self.threshold)
        live = model.spot(spotting=rules, sample_rate=rate)
        try:
            for chunk in chunks:
                _print(live.push(chunk))
        finally:
            _print(live.finish())


SPOTTERS: dict[str, type[KeyWords]] = {"classifier of audio": KeyWords}


def spot(
    run: RunFolder,
    sound: Sound,
    /,
    *,
    sample_rate: SampleRate = None,
    **options: Any,
) -> None:
    """Find key words in running sound, with a line for each: seconds, probability, key word.

    The model is a classifier of audio clips that was trained with --keywords. The sound is read in
    constant memory; a line is printed at the end of the window in which the word was found.

    Example: elman spot runs/stop meeting.flac

    Example: arecord -t raw -f S16_LE -r 16000 | elman spot runs/stop - --sample-rate 16000
    """
    wanted, model = options_of(run, SPOTTERS, options), Classifier.load(run)
    wanted.write(model, *open_sound(sound, sample_rate, model))


def _print(found: Iterable[Spotted]) -> None:
    for one in found:
        show(f"{one.end:9.2f} {one.probability:7.1%}  {one.label}")
        sys.stdout.flush()
