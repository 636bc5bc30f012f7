"""Scorers, which add to the score of a hypothesis token by token.

A scorer has a state for each sequence of tokens.  It returns the scores of all tokens that can
follow at once, so that a search can rank them in one operation.

Shape legend: N hypotheses, K tokens without the blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError

Floats: TypeAlias = NDArray[np.float64]
S = TypeVar("S")


class Scorer(Protocol[S]):
    """Scores of tokens, given those before them, in nats; -inf forbids a token."""

    def begin(self) -> tuple[S, Floats]:
        """Return the state without tokens, and the scores (K,) of the first token."""

    def advance(self, states: Sequence[S], tokens: Sequence[int]) -> tuple[list[S], Floats]:
        """Return the states (N) after one more token each, and the scores (N, K) of the next."""

    def finish(self, states: Sequence[S]) -> Floats:
        """Return the scores (N,) of ending after these states."""


def whole_text(pieces: str) -> str:
    """Return the text of joined pieces, in which bytes of a character are surrogates (PEP 383).

    Bytes that are no character become U+FFFD.

    Example:
        >>> from elman.decode.scorers import whole_text
        >>> whole_text("caf" + "é".encode().decode("ascii", "surrogateescape"))
        'café'
    """
    return pieces.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def starts_of_words(pieces: Sequence[str]) -> NDArray[np.bool_]:
    """Return which tokens (K,) begin a word; every token does if no piece has a space.

    Args:
        pieces: text of each token, with a leading space where a new word begins.

    Raises:
        ArgumentError: a piece has a space after its first character.

    Example:
        >>> from elman.decode.scorers import starts_of_words
        >>> starts_of_words([" th", "e", " "]).tolist(), starts_of_words(["春", "眠"]).tolist()
        ([True, False, True], [True, True])
    """
    inner = next((piece for piece in pieces if " " in piece[1:]), None)
    if inner is not None:
        raise ArgumentError(f"a piece can have a space only at its beginning, got {inner!r}")
    starts = np.array([piece.startswith(" ") for piece in pieces], dtype=np.bool_)
    return starts if starts.any() else ~starts
