"""Forced alignment against an enumeration of paths, and words with times."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.decode.align import Word, align, words_of
from elman.decode.hypotheses import SpeechSearch
from elman.errors import ArgumentError, DataError
from tests.decode.speech import decoded, scores, spoken


def best_path(log_p: torch.Tensor, tokens: list[int]) -> tuple[float, list[tuple[int, int]]]:
    """Return log p and spans of the likeliest path of tokens, by enumeration."""
    blank, values = log_p.shape[1] - 1, log_p.double()
    best, spans = -math.inf, []
    for path in itertools.product(range(blank + 1), repeat=len(log_p)):
        runs = [
            (k, [t for t, _ in group])
            for k, group in itertools.groupby(enumerate(path), lambda x: x[1])
        ]
        found = [(k, times) for k, times in runs if k != blank]
        if [k for k, _ in found] == tokens:
            total = sum(float(values[t, k]) for t, k in enumerate(path))
            if total > best:
                best, spans = total, [(times[0], times[-1] + 1) for _, times in found]
    return best, spans


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.lists(st.integers(0, 1), max_size=4),
    steps=st.integers(1, 7),
    seed=st.integers(0, 10_000),
)
def test_the_alignment_is_the_likeliest_path(tokens: list[int], steps: int, seed: int) -> None:
    log_p = scores(steps, 3, seed)
    wanted, spans = best_path(log_p, tokens)
    if wanted == -math.inf:
        with pytest.raises(DataError, match=f"need .* frames, got {steps}"):
            align(log_p, tokens)
        return
    found = align(log_p, tokens)
    assert found.log_p == pytest.approx(wanted, abs=1e-9)  # float64 sums of 7 numbers
    assert found.spans == spans
    for (begin, end), token, p in zip(found.spans, tokens, found.probabilities, strict=True):
        assert p == pytest.approx(float(log_p[begin:end, token].max().exp()), rel=1e-6)


def test_no_frames_and_no_tokens_are_an_empty_alignment() -> None:
    assert align(torch.zeros(0, 3), []).spans == []
    with pytest.raises(DataError, match="1 tokens need 1 frames, got 0"):
        align(torch.zeros(0, 3), [1])
    with pytest.raises(ArgumentError, match=r"tokens must be in 0..1, got 2"):
        align(scores(4, 3, 0), [2])
    with pytest.raises(ArgumentError, match="log_p must have shape"):
        align(torch.zeros(3), [1])


def test_a_long_recording_is_aligned() -> None:
    tokens = [t % 28 for t in range(400)]
    log_p = spoken(tokens, 30).repeat_interleave(5, 0)
    found = align(log_p, tokens)
    assert found.spans == [(10 * n, 10 * n + 5) for n in range(400)]


def test_words_have_times_and_the_mean_and_least_probability_of_their_tokens() -> None:
    pieces = [" he", "llo", " ", "you", "!"]
    tokens, p = [0, 1, 2, 3, 4], [0.9, 0.4, 0.1, 0.5, 0.8]
    spans = [(1, 2), (3, 6), (7, 8), (9, 12), (13, 14)]
    assert words_of(tokens, spans, p, pieces=pieces) == [
        Word("hello", 1, 6, 0.6, 0.4),
        Word("you!", 9, 14, pytest.approx(math.sqrt(0.4), abs=1e-6), 0.5),
    ]
    assert words_of([], [], [], pieces=pieces) == []
    assert words_of([2, 2], spans[:2], p[:2], pieces=pieces) == []
    assert words_of([0], [(0, 1)], [0.0], pieces=pieces)[0].least < 1e-299
    characters = words_of([0, 1], spans[:2], p[:2], pieces=["春", "眠"])
    assert [word.text for word in characters] == ["春", "眠"]


def test_words_of_a_hypothesis_have_the_frames_of_its_tokens() -> None:
    pieces = ["a", "b", " "]
    found = decoded(spoken([0, 1, 2, 1], 4), SpeechSearch())[0]
    words = words_of(found.tokens, found.spans, found.probabilities, pieces=pieces)
    assert [(word.text, word.begin, word.end) for word in words] == [("ab", 0, 3), ("b", 6, 7)]
