"""Holding out a part of a text for validation.

Of many documents a random share is held out, whole documents each; of few, or of one, the end of
the text, cut at a line end.  What is held out never reaches the training part or its vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from elman.errors import ArgumentError, DataError
from elman.read.text import TextSource

Pieces = Iterator[tuple[str, bool]]  # text, and whether a document ends with it

MANY = 10  # documents that must be held out on average for a random choice among them


def hold_out(
    source: TextSource, fraction: float, *, seed: int
) -> tuple[Callable[[], Pieces], Callable[[], Pieces]]:
    """Split a source in two: functions that read the training part and the part held out.

    Args:
        source: the documents.
        fraction: share to hold out, of documents or of characters, in (0, 1).
        seed: of the random choice.

    Raises:
        ArgumentError: the fraction is not in (0, 1).
        DataError: the text is too short to be split.

    Example:
        >>> from elman.read.text import TextSource
        >>> source = TextSource([f"text {i}" for i in range(100)])
        >>> train, held = hold_out(source, 0.2, seed=0)
        >>> len(list(train())) + len(list(held())), 10 < len(list(held())) < 30
        (100, True)
    """
    if not 0 < fraction < 1:
        raise ArgumentError(f"validation_fraction must be in (0, 1), got {fraction}")
    documents = characters = 0
    for text, ends in source.pieces():
        characters += len(text)
        documents += ends
    if documents * fraction >= MANY:
        return (
            partial(_chosen, source, fraction, seed, False),
            partial(_chosen, source, fraction, seed, True),
        )
    border = int(characters * (1 - fraction))
    train, held = partial(_before, source, border), partial(_after, source, border)
    if not any(text.strip() for text, _ in train()) or not any(t.strip() for t, _ in held()):
        raise DataError(
            f"{source.name}: {characters} characters are too few to hold out "
            f"validation_fraction={fraction}; give more text, or a validation file"
        )
    return train, held


def _chosen(source: TextSource, fraction: float, seed: int, held: bool) -> Pieces:
    draw = random.Random(seed)
    chosen = draw.random() < fraction
    for text, ends in source.pieces():
        if chosen == held:
            yield text, ends
        if ends:
            chosen = draw.random() < fraction


def _cut(source: TextSource, border: int) -> Iterator[tuple[str, bool, str]]:
    """Pieces with what of them lies behind the border, which moves back to a line end or space."""
    position = 0
    for text, ends in source.pieces():
        if position <= border < position + len(text):
            at = border - position
            for mark in ("\n", " "):
                found = text.rfind(mark, 0, at) + 1
                if found > 0:
                    at = found
                    break
            yield text[:at], ends, text[at:]
        else:
            yield (text, ends, "") if position < border else ("", ends, text)
        position += len(text)


def _before(source: TextSource, border: int) -> Pieces:
    for text, ends, behind in _cut(source, border):
        if text:
            yield text, ends or bool(behind)


def _after(source: TextSource, border: int) -> Pieces:
    for _, ends, behind in _cut(source, border):
        if behind:
            yield behind, ends
