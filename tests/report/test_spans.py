"""Spans of tags by the rules of conlleval."""

from __future__ import annotations

import pytest

from elman.report.spans import has_spans, score_spans, spans


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O O", []),
        ("B-A I-A O", [("A", 0, 2)]),
        ("I-A I-A B-A", [("A", 0, 2), ("A", 2, 3)]),  # I begins a span after O
        ("B-A I-B I-B", [("A", 0, 1), ("B", 1, 3)]),  # and if the type changes
        ("B-A B-A", [("A", 0, 1), ("A", 1, 2)]),
        ("S-A B-A E-A O E-B", [("A", 0, 1), ("A", 1, 3), ("B", 4, 5)]),
        ("U-A B-B L-B L-B", [("A", 0, 1), ("B", 1, 3), ("B", 3, 4)]),
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
        ("", []),
    ],
)
def test_spans_are_found(tags: str, wanted: list[tuple[str, int, int]]) -> None:
    assert spans(tags.split()) == wanted


def test_a_span_is_right_only_as_a_whole() -> None:
    true = [["B-A", "I-A", "O", "B-B"], ["O"]]
    found = [["B-A", "O", "O", "B-B"], ["B-A"]]
    scores = score_spans(true, found)
    assert (scores["precision"], scores["recall"]) == (1 / 3, 1 / 2)
    assert scores["F1"] == pytest.approx(2 / (3 + 2))
    assert score_spans([["O"]], [["O"]])["F1"] == 0


def test_tags_of_spans_are_recognised() -> None:
    assert has_spans(["O", "B-A", "I-A"])
    assert not has_spans(["NOUN", "VERB"])
    assert not has_spans(["O", "NOUN"])
    assert not has_spans(["O"])
