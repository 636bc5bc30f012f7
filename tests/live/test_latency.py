"""Latency of live transcription, on a clock that the test moves."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

import elman
from elman.decode.transcript import SpokenWord, Transcript
from elman.live import latency
from elman.live.latency import Delays, delays, score_streams
from elman.live.transcription import Heard
from elman.read.audio import open_array
from tests.sounds import sentences


class Session:
    """A session with given texts, whose every call takes a number of seconds."""

    def __init__(self, texts: list[str], took: list[float], final: tuple[Transcript, ...]) -> None:
        self._texts, self._final = iter(texts), final
        self.times = iter([t for now in accumulate(took, initial=0.0) for t in (now, now)][1:])

    def push(self, chunk: np.ndarray) -> Heard | None:
        text = next(self._texts)
        return None if text == "-" else Heard(text)

    def finish(self) -> Heard:
        return Heard("", self._final)


WORDS = (Transcript("go left", (SpokenWord("go", 0.05, 0.2, 0.9),)),)
CLIP = open_array(np.zeros(350), 1000, "clip")  # chunks at 0.1, 0.2, 0.3 and 0.35 s


def test_latencies_are_those_of_a_clip_that_arrives_in_real_time():
    live = Session(["-", "g", "go", "go left"], [0.01, 0.02, 0.03, 0.01, 0.02], WORDS)
    found = delays(live, CLIP, lambda: next(live.times))
    assert found.computing == pytest.approx(0.09)
    assert found.duration == pytest.approx(0.35)
    assert found.first == pytest.approx(0.3 + 0.03 - 0.05)  # after the third chunk
    assert found.end == pytest.approx(0.01 + 0.02)


def test_a_slow_model_falls_behind():
    live = Session(["-", "g", "go", "go left"], [0.2, 0.2, 0.2, 0.2, 0.2], WORDS)
    found = delays(live, CLIP, lambda: next(live.times))
    assert found.first == pytest.approx(0.1 + 3 * 0.2 - 0.05)
    assert found.end == pytest.approx(0.1 + 5 * 0.2 - 0.35)


def test_a_word_can_appear_at_the_end_or_never():
    live = Session(["-", "", "", "ga"], [0.0, 0.0, 0.0, 0.0, 0.5], WORDS)
    assert delays(live, CLIP, lambda: next(live.times)).first == pytest.approx(0.35 + 0.5 - 0.05)
    live = Session(["-", "", "", ""], [0.0, 0.0, 0.0, 0.0, 0.5], ())
    assert delays(live, CLIP, lambda: next(live.times)).first is None


def test_the_report_of_a_causal_model_has_latencies():
    sounds, texts = sentences(40, seed=1)
    options = {"hidden_size": 16, "num_layers": 1, "epochs": 2, "examples": 400, "device": "cpu"}
    options |= {"learning_rate": 0.02, "dropout": 0.0, "epochs": 8}
    options |= dict.fromkeys(("masks", "speed", "gain", "shift"), 0)
    scores = elman.Transcriber(**options, bidirectional=False).fit(sounds, texts).metrics
    names = {"stream_real_time_factor", "end_latency", "first_word_latency"}
    found = scores["model"]["validation"]
    assert names <= set(found)
    assert min(found[name] for name in names) > 0
    features = [np.random.default_rng(n).standard_normal((40, 6)) for n in range(20)]
    given = (
        elman.Transcriber(**options, bidirectional=False, inputs=("audio",))
        .fit(features, ["ba"] * 20)
        .metrics
    )
    assert given["model"]["validation"]["stream_real_time_factor"] > 0
    both = elman.Transcriber(**{**options, "epochs": 1}).fit(sounds, texts).metrics
    assert not names & set(both["model"]["validation"])


def test_medians_over_clips_are_reported(monkeypatch):
    found = iter([Delays(1, 2, 0.3, 0.1), Delays(1, 4, None, 0.5), Delays(3, 4, 0.5, 0.2)])
    monkeypatch.setattr(latency, "delays", lambda live, clip: next(found))
    assert score_streams([CLIP] * 3, lambda clip: Session([], [], ())) == {
        "stream_real_time_factor": 0.5,
        "first_word_latency": 0.4,
        "end_latency": 0.2,
    }
