"""Frames and steps of sounds: chunks of any size give exactly those of the whole clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.encode.sound import FrameStream, SoundIndex, statistics_of
from elman.errors import ArgumentError, DataError

RATES = st.sampled_from([8000, 11025, 16000, 44100, 48000])


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


def chunked(x: np.ndarray, seed: int, largest: int) -> list[np.ndarray]:
    draw, at, chunks = np.random.default_rng(seed), 0, []
    while at < len(x):
        size = int(draw.integers(0, largest + 1))
        chunks.append(x[at : at + size])
        at += size
    return chunks


@settings(max_examples=30, deadline=None)
@given(RATES, st.sampled_from(["log-mel", "mfcc"]), st.integers(60, 5000), st.integers(0, 99))
def test_chunks_of_any_size_give_the_frames_of_the_whole(rate, kind, largest, seed):
    index = SoundIndex(kind, 13, 16000)
    x = noise(rate // 2 + seed * 7, seed)
    stream = FrameStream(index, rate)
    parts = [stream.push(chunk) for chunk in chunked(x, seed, largest)]
    parts.append(stream.finish())
    whole = index.frames([x], rate)
    assert len(whole) > 30
    assert np.array_equal(np.concatenate(parts), whole)


def test_single_samples_give_the_frames_of_the_whole():
    index, x = SoundIndex("log-mel", 10, 8000), noise(1000)
    stream = FrameStream(index, 8000)
    parts = [stream.push(x[n : n + 1]) for n in range(len(x))]
    assert np.array_equal(np.concatenate(parts), index.frames([x], 8000))


@settings(max_examples=30, deadline=None)
@given(RATES, st.floats(0.0, 1.0), st.integers(0, 99))
def test_a_restored_stream_continues_with_the_same_frames(rate, share, seed):
    index, x = SoundIndex("log-mel", 20, 16000), noise(2 * rate, seed)
    cut = int(share * len(x))
    first, second = FrameStream(index, rate), FrameStream(index, rate)
    parts = [first.push(chunk) for chunk in chunked(x[:cut], seed, 3000)]
    second.restore(first.state)
    again = SoundIndex("log-mel", 20, 16000)
    third = FrameStream(again, rate)
    third.restore(second.state)  # a state right after a restore is a state, too
    parts += [third.push(x[cut:]), third.finish()]
    whole = index.frames([x], rate)
    found = np.concatenate(parts)
    assert found.shape == whole.shape
    # The resampler begins at another sample, so its sums are rounded differently: without
    # resampling the frames are equal.
    if rate == 16000:
        assert np.array_equal(found, whole)
    # Energies are compared, because the logarithm of almost nothing depends on the rounding.
    assert np.allclose(np.exp(found), np.exp(whole), rtol=1e-3, atol=1e-5)


def test_damaged_states_are_refused():
    index = SoundIndex("log-mel", 20, 16000)
    stream = FrameStream(index, 44100)
    stream.push(noise(20000))
    counts, pending, history = stream.state
    for bad in (
        (counts + 1, pending, history),
        (counts, pending * np.nan, history),
        (counts, pending, history[1:]),
        (torch.tensor([0, 5, -1]), pending, history),
    ):
        with pytest.raises(DataError, match="state of the sound is damaged"):
            FrameStream(index, 44100).restore(bad)


def test_steps_stack_frames_side_by_side():
    frames = np.arange(14, dtype=np.float32).reshape(7, 2)
    index = SoundIndex("given", 2, 0, stack=3, stride=2)
    assert index.steps(frames).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [4, 5, 6, 7, 8, 9],
        [8, 9, 10, 11, 12, 13],
    ]
    assert index.steps(frames[:2]).shape == (0, 6)
    assert [index.count(n) for n in range(8)] == [0, 0, 0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("running", ["mean", "variance"])
def test_running_statistics_are_those_of_their_equations_and_can_be_continued(running):
    index = SoundIndex("given", 2, 0, running=running, mean=(1.0, -1.0), deviation=(1.0, 20.0))
    x = noise(400).reshape(200, 2) + 5
    found, last = index.adapted(x, None)
    mean, variance, wanted = np.array([1.0, -1.0]), np.array([1.0, 400.0]), []
    for row in x:
        mean = 0.995 * mean + 0.005 * row
        variance = 0.995 * variance + 0.005 * (row - mean) ** 2
        share = [1.0, 20.0] / np.maximum(np.sqrt(variance), [0.3, 6.0])
        wanted.append((row - mean) * (share if running == "variance" else 1) + [1.0, -1.0])
    assert np.allclose(found, wanted, atol=1e-4)  # float32
    first, between = index.adapted(x[:77], None)
    second, end = index.adapted(x[77:], between)
    assert np.allclose(np.concatenate([first, second]), found, atol=1e-5)
    assert np.allclose(end, last, atol=1e-5)


def test_statistics_of_many_arrays_are_those_of_their_frames():
    x = noise(300).astype(np.float64).reshape(100, 3) * [1, 10, 0] + [0, 1e4, 7]
    mean, deviation = statistics_of([x[:10], x[10:]])
    assert np.allclose(mean, x.mean(0))
    assert np.allclose(deviation, np.maximum(x.std(0), 1e-3))


@pytest.mark.parametrize(
    "bad", [{"size": 0}, {"stack": 0}, {"mean": (1.0,)}, {"deviation": (0.0, 1.0)}, {"kind": "x"}]
)
def test_impossible_features_are_refused(bad):
    with pytest.raises(ArgumentError, match="impossible values"):
        SoundIndex(**{"kind": "log-mel", "size": 2, "rate": 8000, **bad})
