"""Boosted phrases and closed vocabularies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.decode.characters import Spelling
from elman.decode.closed import ClosedVocabulary
from elman.decode.fusion import fuse
from elman.decode.given import phrases_given, words_given
from elman.decode.hypotheses import SpeechSearch
from elman.decode.phrases import Phrases
from elman.decode.scorers import Scorer
from elman.decode.transcript import pieces_of
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError, DataError
from tests.decode.speech import decoded, scores, spoken

LETTERS = ["a", "b", "n", "e", " "]
PIECES = [" a", " b", "a", "b", "n", " an", "ab", "e", " "]
# A boost is a sum of at most 30 differences of float64 numbers below 100.
TOLERANCE = 1e-9


def total(scorer: Scorer[Any], tokens: list[int], *, final: bool = True) -> float:
    """Return the sum of the scores of tokens."""
    state, scores = scorer.begin()
    result = 0.0
    for token in tokens:
        result += float(scores[token])
        (state,), (scores,) = scorer.advance([state], [token])
    return result + float(scorer.finish([state])[0]) if final else result


def cuts(text: str, pieces: list[str]) -> list[list[int]]:
    """Return all ways to write a text with pieces."""
    if not text:
        return [[]]
    return [
        [token, *rest]
        for token, piece in enumerate(pieces)
        if text.startswith(piece)
        for rest in cuts(text[len(piece) :], pieces)
    ]


@settings(max_examples=150, deadline=None)
@given(
    phrases=st.dictionaries(
        st.text("abn", min_size=1, max_size=4), st.floats(-5, 5, width=16), min_size=1, max_size=5
    ),
    words=st.lists(st.text("abn", min_size=1, max_size=4), max_size=5),
)
def test_a_text_has_the_boosts_of_its_words_however_it_is_cut(
    phrases: dict[str, float], words: list[str]
) -> None:
    wanted = sum(phrases.get(word, 0.0) for word in words)
    for pieces in (LETTERS, PIECES):
        scorer = Phrases(phrases, pieces)
        for tokens in [
            *cuts(" ".join(words), pieces)[:3],
            *cuts(" " + " ".join(words), pieces)[:3],
        ]:
            assert total(scorer, tokens) == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("an be", 4.0),  # 2 for each word
        ("an be n", 4.0),
        ("an bee", 1.0),  # only "an" of "an b..." is not a phrase; "bee" is
        ("an an be", 4.0),
        ("ban be", 0.0),  # a phrase begins with a word
        ("an be an", 15.0),  # the longest phrase, once
        ("an be ann", 4.0),  # a shorter phrase is kept
        ("a bee n", 1.0),
        ("be nan bee", 1.0 + 6.0),  # a word within a phrase that does not continue
        ("be nan bee n", 9.0),
    ],
)
def test_the_longest_phrase_counts_and_shorter_ones_are_kept_if_it_fails(
    text: str, wanted: float
) -> None:
    phrases = {"an be": 2.0, "bee": 1.0, "an be an": 5.0, "nan": 6.0, "be nan bee n": 2.25}
    scorer = Phrases(phrases, LETTERS)
    assert total(scorer, cuts(text, LETTERS)[0]) == pytest.approx(wanted, abs=TOLERANCE)


def test_a_partial_phrase_has_a_part_of_the_boost_and_loses_it() -> None:
    scorer = Phrases({"Anna": 4.0}, ["A", "N", "E", " "])
    assert [total(scorer, [0, 1, 1, 0][:n], final=False) for n in range(5)] == [0, 1, 2, 3, 4]
    assert total(scorer, [0, 1, 1, 2], final=False) == 0
    assert total(scorer, [0, 1, 1]) == 0


def test_tokens_without_spaces_are_matched_anywhere() -> None:
    pieces = ["春", "眠", "不", "觉"]
    scorer = Phrases({"眠不": 3.0, "不": 1.0, "觉春眠": 6.0}, pieces)
    assert total(scorer, [0, 1, 2, 3]) == pytest.approx(3)
    assert total(scorer, [0, 2, 2, 1]) == pytest.approx(2)
    assert total(scorer, [3, 0, 1]) == pytest.approx(6)
    assert total(scorer, [3, 0, 2]) == pytest.approx(1)
    assert total(scorer, [1, 2, 1, 2]) == pytest.approx(6)


def test_case_is_ignored_unless_the_tokens_distinguish_it() -> None:
    assert total(Phrases({"AB": 2.0}, ["a", "b", " "]), [0, 1]) == 2
    cased = Phrases({"Ab": 2.0}, ["a", "A", "b", " "])
    assert (total(cased, [1, 2]), total(cased, [0, 2])) == (2, 0)


def test_phrases_that_cannot_be_written_are_named_together() -> None:
    with pytest.raises(ArgumentError, match=r"cannot write 2 of 3 phrases \('xavier', 'zoé'\)"):
        Phrases({"an": 1.0, "Xavier": 1.0, "Zoé": 1.0}, LETTERS)
    with pytest.raises(ArgumentError, match="cannot write 1 of 1 words"):
        ClosedVocabulary(["x"], LETTERS)
    with pytest.raises(ArgumentError, match="at least one phrase"):
        Phrases({" ": 1.0}, LETTERS)
    with pytest.raises(ArgumentError, match="must be finite, got nan"):
        Phrases({"an": float("nan")}, LETTERS)
    with pytest.raises(ArgumentError, match="a space only at its beginning, got 'a b'"):
        Phrases({"an": 1.0}, [" a", "a b"])


ANY = Spelling([chr(n) for n in range(32, 127)])
BOOSTS = r"expected a phrase, or a phrase, a colon and a boost in 0\.\.1,000 nats, got "


def test_a_file_of_phrases_has_boosts_after_colons(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("Ada  Lovelace:4.5\n\nBabbage\nat 10:30\nnote: this: 2\n", encoding="utf-8")
    assert phrases_given(path, ANY, 3.0) == {
        "Ada Lovelace": 4.5,
        "Babbage": 3.0,
        "at 10": 30.0,
        "note: this": 2.0,
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (":2.5", BOOSTS + "':2.5'"),
        ("a:", BOOSTS + "'a:'; a phrase that has a colon needs a boost after it"),
        ("a:nan", BOOSTS + "'a:nan'"),
        ("a:inf", BOOSTS),
        ("a:1e99", BOOSTS + "'a:1e99'"),
        ("a:-2", BOOSTS + "'a:-2'"),
        ("a:high", BOOSTS + "'a:high'"),
        ("a b:4,5", BOOSTS),
        (
            "zoé:2",
            r"the tokens of the model cannot write 'é' of 'zoé'; write it as in the training",
        ),
    ],
)
def test_a_bad_line_of_a_file_of_phrases_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "names.txt"
    path.write_text(f"fine\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"names\.txt, line 3: " + message):
        phrases_given(path, ANY, 3.0)


def test_a_bad_line_of_a_file_of_words_is_named(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffban an\n\nnab Zoé\nbox\n", encoding="utf-8")
    message = (
        r"words\.txt, line 3: the tokens of the model cannot write 'z', 'o', 'é' of 'Zoé' "
        r"\(likewise .*words\.txt, line 4\); write it as in the training transcripts"
    )
    with pytest.raises(DataError, match=message):
        words_given(path, Spelling(LETTERS))
    with pytest.raises(DataError, match=r"line 4: the tokens of the model cannot write 'box';"):
        words_given(path, Spelling([" ban", " an", " nab", " zoé"]))
    path.write_text("ban an\nnab\n", encoding="utf-8")
    assert words_given(path, Spelling(LETTERS)) == ["an", "ban", "nab"]
    path.write_text(" \n\n", encoding="utf-8")
    for read in (words_given, partial(phrases_given, usual=3.0)):
        with pytest.raises(DataError, match=r"words\.txt: only white space; expected text"):
            read(path, spelling=ANY)


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        ({"an": -1.0}, r"phrases\['an'\] must be a boost in 0..1,000 nats, or None, got -1.0"),
        ({"an": 1e99}, r"phrases\['an'\] must be a boost .* got 1e\+99"),
        ({"an": float("nan")}, r"phrases\['an'\] must be a boost .* got nan"),
        ({"an": "4"}, r"phrases\['an'\] must be a boost .* got '4'"),
        ({"an": True}, r"phrases\['an'\] must be a boost .* got True"),
        ({"an": 2, "ax": 3}, r"phrases\['ax'\]: the tokens of the model cannot write 'x' of 'ax'"),
        (["an", "x"], r"phrases\[1\]: the tokens of the model cannot write 'x';"),
        (["an", " "], r"phrases\[1\]: is empty, expected a phrase"),
    ],
)
def test_a_bad_phrase_of_an_argument_is_named(phrases: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        phrases_given(phrases, Spelling(LETTERS), 3.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["an", "a b"], r"words\[1\] must be one word without spaces, got 'a b'"),
        ([""], r"words\[0\] must be one word without spaces, got ''"),
        (["an", "axe"], r"words\[1\]: the tokens of the model cannot write 'x' of 'axe'"),
        ([], "words: expected at least one word, got none"),
    ],
)
def test_a_bad_word_of_an_argument_is_named(words: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        words_given(words, Spelling(LETTERS))
    assert phrases_given([], Spelling(LETTERS), 3.0) == {}


def test_texts_in_lower_case_are_not_spelled_with_capitals() -> None:
    pieces = [*LETTERS, "A", "N"]  # as bytes and their pairs always have
    assert words_given(["An"], Spelling(pieces)) == ["An"]
    assert words_given(["An"], Spelling(pieces, lowercase=True)) == ["an"]
    assert phrases_given({"An": 2.0}, Spelling(pieces, lowercase=True), 3.0) == {"an": 2.0}


def test_a_boost_makes_the_second_best_phrase_win_and_a_boost_of_0_changes_nothing() -> None:
    log_p = spoken([0, 2, 3], 6, other=1, p=0.6)  # "ane", or "b" instead of each letter
    search = SpeechSearch(n_best=3)
    plain = decoded(log_p, search)
    assert plain[0].tokens == (0, 2, 3)
    boosted = decoded(log_p, search, fuse(search, LETTERS, phrases={"bne": 2.0}))
    assert boosted[0].tokens == (1, 2, 3)
    assert boosted[0].score == pytest.approx(boosted[0].log_p + 2, abs=TOLERANCE)
    assert decoded(log_p, search, fuse(search, LETTERS, phrases={"bne": 0.0})) == plain
    assert decoded(log_p, search, Phrases({"bne": 0.0}, LETTERS)) == plain
    usual = SpeechSearch(n_best=3, boost=2.0)
    boosts = phrases_given(["bne"], Spelling(LETTERS), usual.boost)
    assert decoded(log_p, usual, fuse(usual, LETTERS, phrases=boosts)) == boosted


@pytest.mark.parametrize("name", ["beam", "n_best", "lm_weight", "word_bonus", "boost", "unknown"])
@pytest.mark.parametrize("value", ["a", None, float("nan"), 1e99])
def test_a_bad_setting_of_a_search_is_named(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"^{name} must be "):
        SpeechSearch(**{name: value})


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.text("abne", min_size=1, max_size=4), min_size=1, max_size=4),
    seed=st.integers(0, 10_000),
    beam=st.integers(1, 6),
    cased=st.booleans(),
)
def test_a_closed_vocabulary_has_only_allowed_words(
    words: list[str], seed: int, beam: int, cased: bool
) -> None:
    pieces = [*PIECES, "E"] if cased else PIECES
    log_p = scores(15, len(pieces) + 1, seed)
    search = SpeechSearch(beam=beam, n_best=beam)
    found = decoded(log_p, search, ClosedVocabulary(words, pieces))
    assert found
    for one in found:
        text = "".join(pieces[token] for token in one.tokens).strip(" ")
        assert set(text.split(" ")) <= {*words, ""}
        assert "  " not in text
        assert np.isfinite(one.score)
    assert len({one.tokens for one in found}) == len(found)


def test_a_closed_vocabulary_gives_the_best_allowed_sequence() -> None:
    log_p = spoken([0, 2, 3], 6, other=1, p=0.9)
    search = SpeechSearch()
    found = decoded(log_p, search, fuse(search, LETTERS, words=["bbe", "ann", "BNE"]))[0]
    assert found.tokens == (1, 2, 3)


def test_a_word_that_is_not_complete_at_the_end_is_cut() -> None:
    log_p = spoken([1, 2, 3, 4, 1, 2], 6)
    search = SpeechSearch(beam=1)
    scorer = fuse(search, LETTERS, words=["bne"])
    assert decoded(log_p, search, scorer, final=False)[0].tokens == (1, 2, 3, 4, 1, 2)
    found = decoded(log_p, search, scorer)[0]
    assert (found.tokens, found.times) == ((1, 2, 3, 4), (0, 2, 4, 6))


def test_a_closed_vocabulary_allows_no_second_space() -> None:
    log_p = spoken([2, 4, 4, 2], 6)  # "n", two spaces with a blank between, and "n"
    search = SpeechSearch()
    assert decoded(log_p, search)[0].tokens == (2, 4, 4, 2)
    assert decoded(log_p, search, ClosedVocabulary(["n"], LETTERS))[0].tokens == (2, 4, 2)


@pytest.mark.parametrize("pieces", [["a", "b", "n", "e"], ["ab", "a", "n", "bn"]])
def test_without_spaces_a_transcript_is_one_of_the_words(pieces: list[str]) -> None:
    words = ["abn", "a", "an"]
    search = SpeechSearch(beam=8, n_best=8)
    for seed in range(20):
        log_p = scores(9, len(pieces) + 1, seed)
        found = decoded(log_p, search, ClosedVocabulary(words, pieces))
        texts = ["".join(pieces[token] for token in one.tokens) for one in found]
        assert set(texts) <= {*words, ""}


def test_bytes_write_the_characters_of_words_and_phrases() -> None:
    vocabulary = Vocabulary.build(lambda: ["à café"], tokens="byte")
    pieces = pieces_of(vocabulary)
    scorer = ClosedVocabulary(words_given(["café", "à", "x"], Spelling(pieces)), pieces)
    for text, allowed in (("à café", True), ("x", True), ("cafè", False), ("caf", False)):
        assert np.isfinite(total(scorer, vocabulary.encode(text))) == allowed
    boosts = phrases_given({"à café": 3.0}, Spelling(pieces), 1.0)
    found = total(Phrases(boosts, pieces), vocabulary.encode("x à café"))
    assert found == pytest.approx(6.0, abs=TOLERANCE)  # 3 for each of two words


def test_a_word_of_a_closed_vocabulary_has_no_space() -> None:
    with pytest.raises(ArgumentError, match="has no space, got 'a b'"):
        ClosedVocabulary(["a b"], LETTERS)
