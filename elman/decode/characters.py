"""Scorers that read the characters of tokens with a finite automaton.

Because they read characters, the same text has the same score however it is cut into tokens.  The
scores of all tokens after a state are computed once for each state.

Shape legend: N hypotheses, K tokens without the blank.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from elman.decode.prefixes import Integers
from elman.decode.scorers import Floats, starts_of_words
from elman.errors import ArgumentError


class Spelling:
    """The characters of tokens, in lower case unless the tokens distinguish cases.

    Args:
        pieces: text of each token, with a leading space where a new word begins.
        lowercase: whether the texts of the model are in lower case, whatever its tokens can write.

    Attributes:
        pieces: the letters of each token.
        spaced: whether words are separated by spaces.

    Example:
        >>> from elman.decode.characters import Spelling
        >>> spelling = Spelling([" HE", "LL", "O"])
        >>> spelling.fold("Hello"), spelling.writes("hello"), spelling.writes("help")
        ('hello', True, False)
    """

    def __init__(self, pieces: Sequence[str], *, lowercase: bool = False) -> None:
        starts_of_words(pieces)
        self.cased = not lowercase and len({one.lower() for one in pieces}) < len(set(pieces))
        self._in_bytes = any("\ud800" <= one <= "\udfff" for piece in pieces for one in piece)
        self.pieces = [self.letters(piece) for piece in pieces]
        self.spaced = any(piece.startswith(" ") for piece in pieces)
        self._known = {piece for piece in self.pieces if piece}
        self._longest = max(map(len, self._known), default=0)

    def fold(self, text: str) -> str:
        """Return a text in lower case, unless the tokens distinguish cases."""
        return text if self.cased else text.lower()

    def letters(self, text: str) -> str:
        """Return a folded text as it is spelled: in bytes, if a token is a part of a character."""
        text = self.fold(text)
        if not self._in_bytes:
            return text
        return text.encode("utf-8", "surrogateescape").decode("latin-1")

    def writes(self, text: str) -> bool:
        """Return whether tokens can write a text, at the beginning or after another word."""
        text = self.letters(text)
        return self._cuts(text) or (self.spaced and self._cuts(f" {text}"))

    def gaps(self, text: str) -> list[str]:
        """Return what tokens cannot write of a text: characters, or words if tokens are longer.

        Example:
            >>> from elman.decode.characters import Spelling
            >>> Spelling(["a", "d", " "]).gaps("Ada May"), Spelling([" ada"]).gaps("Ada May")
            (['m', 'y'], ['may'])
        """
        text = self.fold(text)
        if self.writes(text):
            return []
        if self._longest == 1 and not self._in_bytes:
            return [one for one in dict.fromkeys(text) if one not in self._known]
        return [word for word in text.split() if not self.writes(word)] or [text]

    def _cuts(self, text: str) -> bool:
        reached = [True] + [False] * len(text)
        for end in range(1, len(text) + 1):
            begins = range(max(0, end - self._longest), end)
            reached[end] = any(reached[at] and text[at:end] in self._known for at in begins)
        return reached[-1]


def spelled(texts: Iterable[str], spelling: Spelling, noun: str) -> list[str]:
    """Return the letters of texts with single spaces.

    Raises:
        ArgumentError: there is no text, one is empty, or tokens cannot write some of them.
    """
    folded = [spelling.fold(" ".join(text.split())) for text in texts]
    if not folded or "" in folded:
        raise ArgumentError(f"expected at least one {noun}, and none that is empty")
    wrong = [text for text in folded if not spelling.writes(text)]
    if wrong:
        shown = ", ".join(map(repr, wrong[:10])) + (", ..." if len(wrong) > 10 else "")
        raise ArgumentError(
            f"the tokens of the model cannot write {len(wrong)} of {len(folded)} {noun}s ({shown}):"
            " write them with the characters of its training texts"
        )
    return [spelling.letters(text) for text in folded]


class CharacterScorer(ABC):
    """A scorer whose states are those of an automaton over characters.

    Args:
        spelling: the characters of the tokens.
        start: state at the beginning.
    """

    def __init__(self, spelling: Spelling, start: int) -> None:
        self.spelling, self._start = spelling, start
        self._rows: dict[int, tuple[Floats, Integers]] = {}
        self._beginning: defaultdict[str, list[int]] = defaultdict(list)
        for token, piece in enumerate(spelling.pieces):
            self._beginning[piece[:1]].append(token)

    @abstractmethod
    def _read(self, state: int, character: str) -> tuple[float, int]:
        """Return the score of a character after a state, and the next state."""

    @abstractmethod
    def _end(self, state: int) -> float:
        """Return the score of ending after a state."""

    @abstractmethod
    def _usual(self, state: int) -> tuple[Floats, Integers]:
        """Return new arrays (K,) of scores and next states, right for most tokens."""

    @abstractmethod
    def _expected(self, state: int) -> set[str]:
        """Return the first characters of the tokens for which `_usual` is wrong."""

    def _row(self, state: int) -> tuple[Floats, Integers]:
        """Return the scores (K,) of all tokens after a state, and the next states."""
        row = self._rows.get(state)
        if row is None:
            scores, states = row = self._usual(state)
            for character in self._expected(state):
                for token in self._beginning.get(character, ()):
                    scores[token], states[token] = self._walk(state, self.spelling.pieces[token])
            if "" in self._beginning:
                silent = self._beginning[""]
                scores[silent], states[silent] = 0, state
            self._rows[state] = row
        return row

    def _walk(self, state: int, piece: str) -> tuple[float, int]:
        total = 0.0
        for character in piece:
            score, state = self._read(state, character)
            total += score
            if total == -np.inf:
                break
        return total, state

    def begin(self) -> tuple[int, Floats]:
        """Return the first state, and the scores (K,) of the first token."""
        return self._start, self._row(self._start)[0]

    def advance(self, states: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], Floats]:
        """Return the states after one more token each, and the scores (N, K) of the next."""
        pairs = zip(states, tokens, strict=True)
        following = [int(self._row(state)[1][token]) for state, token in pairs]
        return following, np.stack([self._row(state)[0] for state in following])

    def finish(self, states: Sequence[int]) -> Floats:
        """Return the scores (N,) of ending after these states."""
        return np.array([self._end(state) for state in states])
