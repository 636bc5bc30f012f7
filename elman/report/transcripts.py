"""Scores of transcripts of speech, from alignments with the true transcripts by jiwer.

    WER   (S + D + I) / words    S substitutions, D deletions and I insertions, in an alignment with
                                 the fewest of them in total
    CER   the same ratio for characters, including the blanks between words
    SER   transcripts with any error / transcripts

All scores are shares.  WER and CER can be above 1, because a transcript can have more insertions
than true words; without true words or characters, the divisor is 1.  Any run of white space
separates two words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from elman.errors import ArgumentError
from elman.optional import absent, find

Kind = Literal["correct", "substitution", "insertion", "deletion"]
KINDS: dict[str, Kind] = {  # the names in jiwer, and here
    "equal": "correct",
    "substitute": "substitution",
    "insert": "insertion",
    "delete": "deletion",
}
ERRORS: tuple[Kind, ...] = ("substitution", "insertion", "deletion")
LIBRARY = "jiwer"
MOST = 15  # errors in the report


class Aligned(NamedTuple):
    """One place in an alignment of two transcripts.

    Attributes:
        true: word of the true transcript; None for an insertion.
        found: word of the transcript; None for a deletion.
        kind: "correct", "substitution", "insertion" or "deletion".
    """

    true: str | None
    found: str | None
    kind: Kind


def missing_scores() -> list[str]:
    """Return notes on the scores whose library is not installed."""
    return absent(LIBRARY, "WER and CER")


def align(found: Sequence[str], wanted: Sequence[str]) -> list[list[Aligned]] | None:
    """Align the words of transcripts with those of the true transcripts.

    Args:
        found: transcripts.
        wanted: true transcripts.

    Returns:
        The alignment of each pair, in the order of the words; None if jiwer is not installed.

    Raises:
        ArgumentError: the numbers of transcripts differ.

    Example:
        >>> from elman.report.transcripts import align
        >>> for place in align(["the cats sat"], ["the cat sat down"])[0]:
        ...     print(*place)
        the the correct
        cat cats substitution
        sat sat correct
        down None deletion
    """
    pairs, library = _pairs(found, wanted), find(LIBRARY)
    return None if library is None else [_align(library, *pair) for pair in pairs]


def score_transcripts(found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Score transcripts against the true ones.

    Args:
        found: transcripts.
        wanted: true transcripts.

    Returns:
        WER, CER and SER; the number of substitutions, insertions and deletions, and the share of
        each in the true words; the number of true words and of transcripts.  Scores that need
        jiwer are missing if it is not installed.

    Raises:
        ArgumentError: the numbers of transcripts differ.

    Example:
        >>> from elman.report.transcripts import score_transcripts
        >>> scores = score_transcripts(["go left", "stop now"], ["go left", "stop"])
        >>> round(scores["WER"], 3), scores["insertions"], scores["SER"]
        (0.333, 1, 0.5)
    """
    pairs, library = _pairs(found, wanted), find(LIBRARY)
    words = sum(len(true.split()) for _, true in pairs)
    scores: dict[str, float] = {}
    if library is not None:
        rows = (_align(library, *pair) for pair in pairs)
        count = Counter(place.kind for row in rows for place in row)
        letters = sum(len(true) for _, true in pairs)
        wrong = sum(_wrong_letters(library, *pair) for pair in pairs)
        scores["WER"] = sum(count[kind] for kind in ERRORS) / max(1, words)
        scores["CER"] = wrong / max(1, letters)
        for kind in ERRORS:
            scores[f"{kind}s"] = count[kind]
            scores[f"{kind}_share"] = count[kind] / max(1, words)
    scores["SER"] = sum(guess != true for guess, true in pairs) / max(1, len(pairs))
    return scores | {"words": words, "transcripts": len(pairs)}


def score_each(found: Sequence[str], wanted: Sequence[str]) -> list[float] | None:
    """Return the WER of each transcript; None if jiwer is not installed.

    Raises:
        ArgumentError: the numbers of transcripts differ.

    Example:
        >>> from elman.report.transcripts import score_each
        >>> score_each(["go left", "stop", "no"], ["go right", "stop", ""])
        [0.5, 0.0, 1.0]
    """
    rows = align(found, wanted)
    if rows is None:
        return None
    return [
        sum(place.kind != "correct" for place in row)
        / max(1, sum(place.true is not None for place in row))
        for row in rows
    ]


def confusions(rows: Iterable[Sequence[Aligned]]) -> list[tuple[Aligned, int]]:
    """Return the different errors in alignments and their counts, the most frequent ones first.

    Errors with equal counts are in alphabetical order.

    Example:
        >>> from elman.report.transcripts import align, confusions
        >>> confusions(align(["a b", "x b"], ["a c", "x c"]))
        [(Aligned(true='c', found='b', kind='substitution'), 2)]
    """
    count = Counter(place for row in rows for place in row if place.kind != "correct")
    return sorted(count.items(), key=lambda one: (-one[1], one[0].true or "", one[0].found or ""))


def confusion_tables(rows: Iterable[Sequence[Aligned]], part: str) -> list[dict[str, Any]]:
    """Return tables of the most confused, inserted and deleted words; none without such errors.

    Args:
        rows: alignments of the transcripts.
        part: name of the part of the data, such as "test".
    """
    errors, tables = confusions(rows), []
    for kind, title in zip(ERRORS, ("confused", "inserted", "deleted"), strict=True):
        some = [(place, count) for place, count in errors if place.kind == kind][:MOST]
        lines = [
            [" found as ".join(word for word in place[:2] if word is not None), count]
            for place, count in some
        ]
        if lines:
            title = f"Most frequently {title} words, {part} data"
            tables.append({"title": title, "columns": ["times"], "rows": lines})
    return tables


def _pairs(found: Sequence[str], wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of transcripts with one blank between words."""
    if len(found) != len(wanted):
        raise ArgumentError(
            f"found has {len(found)} transcripts, expected {len(wanted)}, one for each true one"
        )
    return [
        (" ".join(guess.split()), " ".join(true.split()))
        for guess, true in zip(found, wanted, strict=True)
    ]


def _align(library: Any, found: str, wanted: str) -> list[Aligned]:
    if not wanted:  # some versions of jiwer refuse it
        return [Aligned(None, word, "insertion") for word in found.split()]
    output = library.process_words(wanted, found)
    (true,), (guess,), (chunks,) = output.references, output.hypotheses, output.alignments
    return [
        Aligned(*pair, KINDS[chunk.type])
        for chunk in chunks
        for pair in zip_longest(
            true[chunk.ref_start_idx : chunk.ref_end_idx],
            guess[chunk.hyp_start_idx : chunk.hyp_end_idx],
        )
    ]


def _wrong_letters(library: Any, found: str, wanted: str) -> int:
    if not wanted:
        return len(found)
    output = library.process_characters(wanted, found)
    return int(output.substitutions + output.insertions + output.deletions)
