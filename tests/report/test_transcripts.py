"""Scores of transcripts: the fewest errors, by the definitions of WER, CER and SER."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ArgumentError
from elman.report import transcripts
from elman.report.transcripts import (
    align,
    confusion_tables,
    confusions,
    missing_scores,
    score_each,
    score_transcripts,
)

texts = st.lists(st.sampled_from(["a", "b", "cd", "ce"]), max_size=6).map(" ".join)
pairs = st.lists(st.tuples(texts, texts), max_size=5)


@pytest.fixture(autouse=True)
def _library() -> None:
    pytest.importorskip("jiwer")


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the fewest substitutions, insertions and deletions."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (one != other))
    return row[-1]


@given(pairs)
def test_scores_are_the_fewest_errors_divided_by_true_words_and_characters(
    some: list[tuple[str, str]],
) -> None:
    found, wanted = [a for a, _ in some], [b for _, b in some]
    scores = score_transcripts(found, wanted)
    words = sum(len(b.split()) for b in wanted)
    wrong = sum(distance(a.split(), b.split()) for a, b in some)
    letters = sum(distance(a, b) for a, b in some)
    assert scores["WER"] == wrong / max(1, words)
    assert scores["CER"] == letters / max(1, sum(map(len, wanted)))
    assert scores["SER"] == sum(a != b for a, b in some) / max(1, len(some))
    assert (scores["words"], scores["transcripts"]) == (words, len(some))
    kinds = ("substitution", "insertion", "deletion")
    assert sum(scores[f"{kind}s"] for kind in kinds) == wrong
    assert all(scores[f"{kind}_share"] == scores[f"{kind}s"] / max(1, words) for kind in kinds)
    assert score_each(found, wanted) == [
        distance(a.split(), b.split()) / max(1, len(b.split())) for a, b in some
    ]


@given(pairs)
def test_alignments_contain_every_word_once_and_in_order(some: list[tuple[str, str]]) -> None:
    rows = align([a for a, _ in some], [b for _, b in some])
    assert rows is not None
    for (found, wanted), row in zip(some, rows, strict=True):
        assert [place.found for place in row if place.found is not None] == found.split()
        assert [place.true for place in row if place.true is not None] == wanted.split()
        for true, guess, kind in row:
            assert kind == (
                "insertion"
                if true is None
                else "deletion"
                if guess is None
                else "correct"
                if true == guess
                else "substitution"
            )


@given(pairs)
def test_confusions_count_all_errors_in_order(some: list[tuple[str, str]]) -> None:
    rows = align([a for a, _ in some], [b for _, b in some])
    assert rows is not None
    errors = confusions(rows)
    wrong = [place for place in itertools.chain(*rows) if place.kind != "correct"]
    assert sum(count for _, count in errors) == len(wrong)
    assert {place for place, _ in errors} == set(wrong)
    assert [count for _, count in errors] == sorted((n for _, n in errors), reverse=True)


def test_an_empty_reference_counts_each_word_as_an_insertion() -> None:
    scores = score_transcripts(["a bc d", ""], ["", " "])
    assert (scores["WER"], scores["insertions"], scores["insertion_share"]) == (3, 3, 3)
    assert (scores["CER"], scores["SER"], scores["words"]) == (6, 0.5, 0)
    assert score_each(["a b"], [""]) == [2]


def test_an_empty_transcript_counts_each_word_as_a_deletion() -> None:
    scores = score_transcripts(["", "a"], ["a b", "a"])
    assert (scores["deletions"], scores["WER"], scores["CER"]) == (2, 2 / 3, 3 / 4)


def test_no_transcripts_have_no_errors() -> None:
    scores = score_transcripts([], [])
    assert (scores["WER"], scores["CER"], scores["SER"]) == (0, 0, 0)
    assert align([], []) == score_each([], []) == []


def test_white_space_does_not_change_scores() -> None:
    assert score_transcripts(["a\tb \n c"], [" a  b\u3000c"])["WER"] == 0
    assert score_transcripts(["a\tb \n c"], [" a  b\u3000c"])["SER"] == 0


def test_tables_show_the_most_frequent_errors_of_each_kind() -> None:
    rows = align(["b x", "b", "a c"], ["a x", "a", "a c d"])
    assert rows is not None
    confused, deleted = confusion_tables(rows, "test")
    assert confused["title"] == "Most frequently confused words, test data"
    assert confused["rows"] == [["a found as b", 2]]
    assert (deleted["title"], deleted["rows"]) == (
        "Most frequently deleted words, test data",
        [["d", 1]],
    )
    assert confusion_tables([], "test") == []


def test_different_numbers_of_transcripts_are_refused() -> None:
    with pytest.raises(ArgumentError, match="found has 1 transcripts, expected 2"):
        score_transcripts(["a"], ["a", "b"])


def test_without_jiwer_a_note_replaces_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "LIBRARY", "no_such_library")
    assert score_transcripts(["a b"], ["a c"]) == {"SER": 1, "words": 2, "transcripts": 1}
    assert align(["a"], ["a"]) is score_each(["a"], ["a"]) is None
    assert missing_scores() == [
        "not computed without no_such_library: WER and CER (pip install no_such_library)"
    ]
