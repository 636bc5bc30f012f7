"""Clips of more than a minute, which are transcribed in pieces."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

import elman
from elman.decode.hypotheses import SpeechSearch
from elman.encode import sound_frames
from elman.report.transcripts import score_transcripts
from tests.sounds import RATE, sentences
from tests.tasks.test_transcriber import SOUNDS, TEXTS, transcriber


@pytest.fixture(scope="module")
def both() -> elman.Transcriber:
    return transcriber(bidirectional=True, examples=320).fit(SOUNDS, TEXTS)


def test_a_long_clip_is_transcribed_in_pieces_with_times_of_the_whole(both, tmp_path):
    draw = np.random.default_rng(8)
    sounds, texts = sentences(75, seed=8)
    quiet = [0.01 * draw.standard_normal(int(RATE * 0.7)) for _ in sounds]
    parts = [part for (x, _), rest in zip(sounds, quiet, strict=True) for part in (rest, x)]
    x = np.concatenate(parts).astype(np.float32)
    ends = np.cumsum([len(part) for part in parts])[1::2] / RATE
    assert len(x) / RATE > 90  # at least three pieces
    (best,) = both.transcribe([(x, RATE)])
    scores = score_transcripts([best[0].text], [" ".join(texts)])
    alone = score_transcripts(both.predict(sounds), texts)
    assert scores["WER"] < 0.1 + alone["WER"]
    assert " ".join(word.text for word in best[0].words) == best[0].text
    starts = [word.start for word in best[0].words]
    assert starts == sorted(starts)
    assert best[0].words[-1].end <= len(x) / RATE
    if best[0].text == " ".join(texts):  # then each word is in its sentence
        counts = np.cumsum([0, *(len(text.split()) for text in texts)])
        for n, end in enumerate(ends):
            for word in best[0].words[counts[n] : counts[n + 1]]:
                assert end - len(sounds[n][0]) / RATE - 0.1 < word.start < word.end < end + 0.1
    soundfile.write(tmp_path / "long.wav", x, RATE, "FLOAT")
    first, second = both.predict(SOUNDS[:2])
    mixed = [SOUNDS[0], tmp_path / "long.wav", SOUNDS[1]]
    assert both.predict(mixed) == [first, best[0].text, second]
    allowed = {"ba", "du", "ki"}
    (closed,) = both.transcribe([(x, RATE)], words=sorted(allowed))
    assert {word.text for word in closed[0].words} <= allowed
    several = both.transcribe([(x, RATE)], search=SpeechSearch(n_best=3))[0]
    assert [one.score for one in several] == sorted((one.score for one in several), reverse=True)
    assert len(several) == 3


def test_a_long_clip_is_read_while_its_pieces_are_transcribed(both, monkeypatch):
    read = []

    def blocks(clip, place):
        for n in range(10):
            read.append(n)
            yield clip.source[n * 10 * RATE : (n + 1) * 10 * RATE]

    monkeypatch.setattr(sound_frames, "read_blocks", blocks)
    x = 0.01 * np.random.default_rng(0).standard_normal(100 * RATE).astype(np.float32)
    parts = both.input_.parts([(x, RATE)], both.transcripts.column(both))
    assert read == []
    item, start, first = next(parts)
    assert (item, start) == (0, 0.0)
    assert read == [0, 1, 2, 3]  # 31 s are needed for a piece of 20 to 30 s
    _, start, second = next(parts)
    assert start == pytest.approx(0.01 * len(first))
    assert len(read) <= 7
    rest = [len(sound) for _, _, sound in parts]
    assert len(first) + len(second) + sum(rest) == 100 * 100 - 2  # 25 ms every 10 ms
