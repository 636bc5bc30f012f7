"""Data for the pictures of transcripts in a report."""

from __future__ import annotations

from typing import Any

from elman.inputs.audio import Audio
from elman.model import SequenceModel
from elman.read.examples import Examples
from elman.targets.transcripts import Transcripts

PICTURES = 3  # clips of which a report has a picture


def draw_speech(
    network: SequenceModel, audio: Audio, transcripts: Transcripts, part: Examples
) -> list[dict[str, Any]]:
    """Return the pictures of the first clips, for `elman.report.speech.speech_chart`.

    Args:
        network: the trained network.
        audio: the input after training.
        transcripts: the target after training.
        part: clips with their transcripts.
    """
    items = part.items[:PICTURES]
    best = transcripts.hypotheses(network, audio, items)
    pictures = []
    for item, (found,), true in zip(items, best, part.targets, strict=False):
        picture = audio.picture(item)
        end, words = picture["seconds"], transcripts.transcript(found).words
        times = [round(time * transcripts.step_seconds, 3) for time in found.times]
        tokens = zip(found.tokens, times, strict=True)
        pictures.append(
            {
                "title": audio.show(item),
                "caption": f"Reference: {true}.",
                **picture,
                "tokens": [(transcripts.pieces[n], time) for n, time in tokens if time < end],
                "words": [(w.text, w.start, min(w.end, end)) for w in words if w.start < end],
            }
        )
    return pictures
