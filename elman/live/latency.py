"""Latency of live transcription: the time from a spoken word to its text.

A clip arrives in chunks, as from a microphone: chunk k is complete c_k seconds after the beginning
of the clip.  Its text appears at

    d_k = max(c_k, d_{k-1}) + seconds of computing for chunk k

so a model that is slower than speech falls behind.  The latency of the first word is d_k - start of
the word, for the first chunk after which the text begins with the whole word; it includes the
duration of the word.  The latency of the end is d_k of the last chunk, with the computing of
`finish`, minus the duration of the clip.  In a session with endpoints, an utterance ends by its
pause, which is added to this latency.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np

from elman.encode.sound import SHIFT, Floats
from elman.live.transcription import Heard, LiveTranscription
from elman.read.audio import Clip, read_blocks, read_features

CHUNK = 0.1  # seconds of a chunk


class Delays(NamedTuple):
    """The delays of one clip, in seconds.

    Attributes:
        computing: time of computing.
        duration: duration of the clip.
        first: latency of the first word; None without words.
        end: latency of the end.
    """

    computing: float
    duration: float
    first: float | None
    end: float


def score_streams(
    clips: Sequence[Clip], begin: Callable[[Clip], LiveTranscription]
) -> dict[str, float]:
    """Return medians over clips: the real-time factor, and the latencies in seconds.

    Args:
        clips: clips of samples or of features, at least one.
        begin: returns a live session for a clip.
    """
    found = [delays(begin(clip), clip) for clip in clips]
    scores = {
        "stream_real_time_factor": median(one.computing / one.duration for one in found),
        "end_latency": median(one.end for one in found),
    }
    if firsts := [one.first for one in found if one.first is not None]:
        scores["first_word_latency"] = median(firsts)
    return {name: round(score, 5) for name, score in scores.items()}


def delays(
    live: LiveTranscription, clip: Clip, clock: Callable[[], float] = time.perf_counter
) -> Delays:
    """Stream a clip in chunks, and return its delays.

    Args:
        live: a session at its beginning, without endpoints.
        clip: the clip.
        clock: returns the time in seconds.
    """
    done = computing = position = 0.0
    beginnings: list[tuple[float, str]] = []  # the first word after each chunk, and its time

    def run(step: Callable[[], Heard | None]) -> Heard | None:
        nonlocal done, computing
        before = clock()
        heard = step()
        took = clock() - before
        done, computing = max(position, done) + took, computing + took
        return heard

    for chunk, seconds in _chunks(clip):
        position += seconds
        heard = run(partial(live.push, chunk))
        if heard is not None:
            beginnings.append((done, _first_word(heard.text)))
    last = run(live.finish)
    assert last is not None
    first = None
    if last.final and (words := last.final[0].words):
        beginnings.append((done, _first_word(last.final[0].text)))
        first = next(at for at, word in beginnings if word == beginnings[-1][1]) - words[0].start
    return Delays(computing, position, first, done - position)


def _chunks(clip: Clip) -> Iterator[tuple[Floats, float]]:
    """Yield chunks of a clip and their durations in seconds."""
    rate = clip.rate or round(1 / SHIFT)
    blocks = read_blocks(clip, clip.name) if clip.rate else [read_features(clip, clip.name)]
    for block in blocks:
        for chunk in np.split(block, range(round(rate * CHUNK), len(block), round(rate * CHUNK))):
            yield chunk, len(chunk) / rate


def _first_word(text: str) -> str:
    return next(iter(text.split()), "")
