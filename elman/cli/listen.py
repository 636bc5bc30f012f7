"""`elman listen`: speech or key words from the microphone."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from elman.cli.app import RunFolder
from elman.cli.predict import options_of
from elman.cli.sounds import microphone, rate_of
from elman.cli.speech import SPEAKERS
from elman.cli.spot import SPOTTERS
from elman.tasks import Classifier, Transcriber, load


def listen(
    run: RunFolder,
    /,
    *,
    device: Annotated[
        str | None, Parameter(help="Name or number of the microphone; None for the usual one.")
    ] = None,
    **options: Any,
) -> None:
    """Write down speech, or find key words, from the microphone until Ctrl-C is pressed.

    The model is a transcriber, or a classifier of audio clips that was trained with --keywords. It
    needs sounddevice: pip install sounddevice

    Example: elman listen runs/live
    """
    listeners: dict[str, type[Any]] = {**SPEAKERS, **SPOTTERS}
    wanted, model = options_of(run, listeners, options), load(run)
    assert isinstance(model, Classifier | Transcriber)
    rate = rate_of(model)
    wanted.write(model, rate, microphone(device, rate))
