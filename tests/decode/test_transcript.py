"""Transcripts: words, their separation at pauses, and joined parts."""

from __future__ import annotations

import pytest

from elman.decode.hypotheses import Hypothesis
from elman.decode.transcript import pieces_of, separate_words, words_in
from elman.encode.text import Vocabulary

PIECES = ["", "a", "b", " ", " c"]


def hypothesis(tokens: tuple[int, ...], times: tuple[int, ...]) -> Hypothesis:
    return Hypothesis(tokens, times, (0.5,) * len(tokens), -3.0, -2.0)


@pytest.mark.parametrize(
    ("tokens", "times", "words"),
    [
        ((), (), []),
        ((1,), (90,), ["a"]),
        ((1, 2), (3, 13), ["ab"]),  # a pause of 10 frames is not longer than 10
        ((1, 2), (3, 14), ["a", "b"]),
        ((1, 2, 1, 2), (0, 20, 21, 60), ["a", "ba", "b"]),
        ((1, 3, 2), (0, 20, 40), ["a", "b"]),  # there are spaces already
        ((1, 4), (0, 20), ["a", "c"]),
    ],
)
def test_no_word_contains_a_pause(tokens, times, words):
    found = hypothesis(tokens, times)
    separated = separate_words(found, PIECES, 10)
    assert [word.text for word in words_in(separated, PIECES)] == words
    assert list(separated.times) == sorted(separated.times)
    assert (separated.score, separated.log_p) == (found.score, found.log_p)
    assert [p for p in separated.probabilities if p != 1] == list(found.probabilities)


def test_words_of_bytes_have_all_their_characters():
    for tokens in ("byte", "bpe"):
        vocabulary = Vocabulary.build(lambda: ["no"], tokens=tokens)
        numbers = tuple(vocabulary.encode("un café à"))
        found = hypothesis(numbers, tuple(range(len(numbers))))
        words = words_in(found, pieces_of(vocabulary))
        assert [word.text for word in words] == ["un", "café", "à"]


def test_words_without_spaces_are_not_separated():
    found = hypothesis((1, 2), (0, 90))
    assert separate_words(found, ["", "a", "b", " c"], 10) is found
