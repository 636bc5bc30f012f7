"""A closed vocabulary given at run time: only its words can be recognised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from elman.decode.characters import CharacterScorer, Spelling, spelled
from elman.decode.prefixes import Integers
from elman.decode.scorers import Floats
from elman.errors import ArgumentError

BOUNDARY, BEGINNING = 0, 1  # after a space, and before the first token


class ClosedVocabulary(CharacterScorer):
    """Forbid all words that are not in a list, and all spaces except a single one between words.

    If no piece begins with a space, a text is one of the words.

    Args:
        words: the allowed words.
        pieces: text of each token, with a leading space where a new word begins.

    Raises:
        ArgumentError: a word has a space or cannot be written.

    Example:
        >>> from elman.decode.closed import ClosedVocabulary
        >>> yes_or_no = ClosedVocabulary(["yes", "no"], [" y", " n", "e", "o", "s"])
        >>> yes_or_no.begin()[1].tolist()
        [0.0, 0.0, -inf, -inf, -inf]
    """

    def __init__(self, words: Iterable[str], pieces: Sequence[str]) -> None:
        spelling = Spelling(pieces)
        texts = spelled(words, spelling, "word")
        several = next((text for text in texts if " " in text), None)
        if several is not None:
            raise ArgumentError(f"a word of a closed vocabulary has no space, got {several!r}")
        first: dict[str, int] = {}  # characters with which a word begins
        self._children = [first, first]
        self._complete = [False, True]
        for text in texts:
            node = BOUNDARY
            for character in text:
                children = self._children[node]
                if character not in children:
                    children[character] = len(self._children)
                    self._children.append({})
                    self._complete.append(False)
                node = children[character]
            self._complete[node] = True
        super().__init__(spelling, BEGINNING)

    def _read(self, state: int, character: str) -> tuple[float, int]:
        if character == " ":
            return (0.0 if self._complete[state] else -np.inf), BOUNDARY
        child = self._children[state].get(character)
        return (-np.inf, BOUNDARY) if child is None else (0.0, child)

    def _end(self, state: int) -> float:
        return 0.0 if state == BOUNDARY or self._complete[state] else -np.inf

    def _usual(self, state: int) -> tuple[Floats, Integers]:
        count = len(self.spelling.pieces)
        return np.full(count, -np.inf), np.zeros(count, dtype=np.int64)

    def _expected(self, state: int) -> set[str]:
        return {" ", *self._children[state]}
