"""Spans in sequences of BIO tags, and their scores, by the rules of conlleval and seqeval.

    B-LOC I-LOC O B-PER  ->  (LOC, 0, 2), (PER, 3, 4)

A span begins at B, or at I after O or after another type, and ends before the next span or at O.
E and S of IOBES, and L and U of BILOU, end a span.  A predicted span is right if its type and both
ends are right; F1 is the harmonic mean of precision and recall over all spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Span = tuple[str, int, int]  # type, begin, end (exclusive)


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the spans of one sentence.

    Example:
        >>> from elman.report.spans import spans
        >>> spans(["B-LOC", "I-LOC", "O", "I-PER", "B-PER"])
        [('LOC', 0, 2), ('PER', 3, 4), ('PER', 4, 5)]
    """
    found: list[Span] = []
    kind, begin = "", -1
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        inside = mark in ("I", "E", "L") and begin >= 0 and name == kind
        if begin >= 0 and not inside:
            found.append((kind, begin, place))
            begin = -1
        if mark != "O" and begin < 0:
            kind, begin = name, place
        if mark in ("E", "S", "L", "U") and begin >= 0:
            found.append((kind, begin, place + 1))
            begin = -1
    return found


def has_spans(tags: Iterable[str]) -> bool:
    """Return whether tags mark spans: all except O begin with a mark such as B- or I-."""
    names = set(tags)
    marked = [tag for tag in names if tag[:2] in ("B-", "I-", "E-", "S-", "L-", "U-")]
    return "O" in names and len(marked) == len(names) - 1 and bool(marked)


def score_spans(
    wanted: Iterable[Sequence[str]], found: Iterable[Sequence[str]]
) -> dict[str, float]:
    """Return precision, recall and F1 of all spans of many sentences.

    Example:
        >>> from elman.report.spans import score_spans
        >>> score_spans([["B-X", "I-X", "B-Y"]], [["B-X", "I-X", "O"]])["recall"]
        0.5
    """
    right = true = guessed = 0
    for a, b in zip(wanted, found, strict=True):
        ours, theirs = set(spans(b)), set(spans(a))
        right, true, guessed = right + len(ours & theirs), true + len(theirs), guessed + len(ours)
    precision, recall = right / max(1, guessed), right / max(1, true)
    f1 = 2 * right / max(1, true + guessed)
    return {"precision": precision, "recall": recall, "F1": f1, "spans": true}
