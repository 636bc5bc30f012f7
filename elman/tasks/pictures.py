"""Data for the pictures of transcripts in a report."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman.decode.scorers import whole_text
from elman.encode.sound_frames import Sound
from elman.inputs.audio import Audio
from elman.model import SequenceModel
from elman.read.examples import Examples
from elman.targets.transcripts import Transcripts

PICTURES = 3  # clips of which a report has a picture
SECONDS, COLUMNS = 8.0, 240  # longest duration of a picture, and its columns
BANDS = {"log-mel": "mel band", "mfcc": "coefficient", "given": "feature"}  # names of rows


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
        picture = features_of(audio, item)
        end, words = picture["seconds"], transcripts.transcript(found).words
        times = [round(time * transcripts.step_seconds, 3) for time in found.times]
        tokens = zip(found.tokens, times, strict=True)
        pictures.append(
            {
                "title": audio.show(item),
                "caption": f"Reference: {true}.",
                **picture,
                "tokens": [
                    (whole_text(transcripts.pieces[n]), time) for n, time in tokens if time < end
                ],
                "words": [(w.text, w.start, min(w.end, end)) for w in words if w.start < end],
            }
        )
    return pictures


def features_of(audio: Audio, item: Sound) -> dict[str, Any]:
    """Return the features of the first seconds of a clip, as numbers of two digits."""
    index = audio.index
    frame = index.frame_seconds
    x = np.asarray(item.frames[: round(SECONDS / frame)], dtype=np.float64)
    if index.kind != "log-mel":  # coefficients have different sizes
        x = (x - index.mean) / index.deviation
    x = np.array([part.mean(0) for part in np.array_split(x, min(COLUMNS, len(x)))])
    low, high = np.percentile(x, (2, 98))
    shades = (99 * (x - low) / max(high - low, 1e-6)).clip(0, 99).round().astype(int)
    return {
        "features": ["".join(f"{shade:02d}" for shade in row) for row in shades.T],
        "band": BANDS[index.kind],
        "seconds": round(min(len(item) * frame, SECONDS), 3),
    }
