"""Hold out a part of a text for validation.

If there are many documents, a random share of whole documents is held out; if there are few, the
end of the text, cut at a line end.  The held-out part is never used in training or the vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from elman.errors import ArgumentError, DataError
from elman.read.characters import Advance
from elman.read.text import TextSource

Pieces = Iterator[tuple[str, bool]]  # text, and whether a document ends with it

MANY = 10  # mean number of documents in each part from which the choice is random


def hold_out(
    source: TextSource, fraction: float, *, seed: int
) -> tuple[Callable[..., Pieces], Callable[..., Pieces]]:
    """Split a source in two: return functions that read the training and the held-out part.

    Both take the `advance` of `TextSource.pieces`.

    Args:
        source: the documents.
        fraction: share to hold out, of documents or of characters, in (0, 1).
        seed: seed of the random choice.

    Raises:
        ArgumentError: the fraction is not in (0, 1).
        DataError: the text is too short to be split.

    Example:
        >>> from elman.read.text import TextSource
        >>> source = TextSource([f"text {i}" for i in range(100)])
        >>> train, held = hold_out(source, 0.2, seed=0)
        >>> len(list(train())) + len(list(held())), 5 < len(list(held())) < 35
        (100, True)
    """
    if not 0 < fraction < 1:
        raise ArgumentError(f"validation_fraction must be in (0, 1), got {fraction}")
    documents = characters = 0
    for text, ends in source.pieces():
        characters += len(text)
        documents += ends
    if documents * min(fraction, 1 - fraction) >= MANY:
        train = partial(_chosen, source, fraction, seed, False)
        held = partial(_chosen, source, fraction, seed, True)
    else:
        border = int(characters * (1 - fraction))
        train, held = partial(_before, source, border), partial(_after, source, border)
    if not any(text.strip() for text, _ in train()) or not any(t.strip() for t, _ in held()):
        raise DataError(
            f"{source.name}: too few characters ({characters}) to hold out "
            f"validation_fraction={fraction}; give more text, or a validation file"
        )
    return train, held


def _chosen(
    source: TextSource, fraction: float, seed: int, held: bool, advance: Advance | None = None
) -> Pieces:
    draw = random.Random(seed)
    chosen = draw.random() < fraction
    for text, ends in source.pieces(advance):
        if chosen == held:
            yield text, ends
        if ends:
            chosen = draw.random() < fraction


def _before(source: TextSource, border: int, advance: Advance | None = None) -> Pieces:
    for text, ends in source.pieces(advance):
        if border <= len(text):
            yield text[: _line_end(text, border)], True
            return
        yield text, ends
        border -= len(text)


def _after(source: TextSource, border: int, advance: Advance | None = None) -> Pieces:
    for text, ends in source.pieces(advance):
        rest = text[_line_end(text, border) if border > 0 else 0 :]
        if rest:
            yield rest, ends
        border -= len(text)


def _line_end(text: str, border: int) -> int:
    """Return the place to cut: the border, moved back to a line end or a space if one is near."""
    if border >= len(text):
        return len(text)
    for mark in ("\n", " "):
        found = text.rfind(mark, border // 2, border) + 1
        if found > 0:
            return found
    return border
