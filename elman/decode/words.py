"""Scores of words for hypotheses of tokens: a language model of words, and a bonus for each word.

    score(y) = sum over the words w of y of (weight log p(w | words before w) + bonus)
               + weight log p(end | all words)

A word is complete when the next token begins with a space, or at the end.

Shape legend: N hypotheses, K tokens without the blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from elman.decode.scorers import Floats, starts_of_words, whole_text

S = TypeVar("S")


class WordModel(Protocol[S]):
    """A language model of words, in nats."""

    def begin(self) -> S:
        """Return the state at the beginning of a text."""

    def score(self, states: Sequence[S], words: Sequence[str]) -> list[float]:
        """Return log p of one word after each state (N)."""

    def advance(self, states: Sequence[S], words: Sequence[str]) -> list[S]:
        """Return the states (N) after one more word each."""

    def finish(self, states: Sequence[S]) -> list[float]:
        """Return log p of the end of the text after each state (N)."""


class NoModel:
    """A language model for which all words are equal, when only the bonus is wanted."""

    def begin(self) -> None:
        """Return None."""

    def score(self, states: Sequence[None], words: Sequence[str]) -> list[float]:
        """Return 0 for each word."""
        return [0.0] * len(words)

    def advance(self, states: Sequence[None], words: Sequence[str]) -> list[None]:
        """Return None for each state."""
        return [None] * len(words)

    def finish(self, states: Sequence[None]) -> list[float]:
        """Return 0 for each state."""
        return [0.0] * len(states)


@dataclass(frozen=True)
class InWord(Generic[S]):
    """A hypothesis in the middle of a word.

    Attributes:
        before: state of the language model before the word.
        text: the characters of the word so far; empty between words.
    """

    before: S
    text: str


class WordScorer(Generic[S]):
    """Score complete words.

    Args:
        model: the language model.
        pieces: text of each token, with a leading space where a new word begins; if no piece has a
            space, each is a word.
        weight: weight of the language model.
        bonus: added for each word.

    Example:
        >>> from elman.decode.words import NoModel, WordScorer
        >>> scorer = WordScorer(NoModel(), ["a", "b", " "], bonus=1.5)
        >>> state, scores = scorer.begin()
        >>> (state,), scores = scorer.advance([state], [1])
        >>> scores.tolist(), scorer.finish([state]).tolist()
        ([[0.0, 0.0, 1.5]], [1.5])
    """

    def __init__(
        self,
        model: WordModel[S],
        pieces: Sequence[str],
        *,
        weight: float = 1.0,
        bonus: float = 0.0,
    ) -> None:
        self.model, self.weight, self.bonus = model, weight, bonus
        begins = starts_of_words(pieces)
        self._begins: list[bool] = begins.tolist()
        self._texts = [piece.removeprefix(" ") for piece in pieces]
        self._mask = begins.astype(np.float64)

    def begin(self) -> tuple[InWord[S], Floats]:
        """Return the state before the first word, and scores (K,) of 0."""
        return InWord(self.model.begin(), ""), np.zeros_like(self._mask)

    def advance(
        self, states: Sequence[InWord[S]], tokens: Sequence[int]
    ) -> tuple[list[InWord[S]], Floats]:
        """Return the states after one more token each, and the scores (N, K) of the next."""
        ended = [n for n, token in enumerate(tokens) if self._begins[token] and states[n].text]
        after = dict(zip(ended, self._after([states[n] for n in ended]), strict=True))
        following = []
        for n, (state, token) in enumerate(zip(states, tokens, strict=True)):
            text = self._texts[token]
            if self._begins[token]:
                following.append(InWord(after.get(n, state.before), text))
            else:
                following.append(InWord(state.before, state.text + text))
        return following, np.outer(self._complete(following), self._mask)

    def finish(self, states: Sequence[InWord[S]]) -> Floats:
        """Return the scores (N,) of the last word and of the end of the text."""
        words = self._complete(states)
        inside = [n for n, state in enumerate(states) if state.text]
        last = [state.before for state in states]
        for n, after in zip(inside, self._after([states[n] for n in inside]), strict=True):
            last[n] = after
        return words + self.weight * np.array(self.model.finish(last)) if self.weight else words

    def _after(self, states: Sequence[InWord[S]]) -> list[S]:
        """Return the states of the language model after the words of hypotheses."""
        if not states or not self.weight:
            return [state.before for state in states]
        texts = [whole_text(state.text) for state in states]
        return self.model.advance([state.before for state in states], texts)

    def _complete(self, states: Sequence[InWord[S]]) -> Floats:
        """Return the scores (N,) of words, as if they ended here."""
        scores = np.zeros(len(states))
        inside = [n for n, state in enumerate(states) if state.text]
        if inside:
            scores[inside] = self.bonus
        if inside and self.weight:
            befores = [states[n].before for n in inside]
            texts = [whole_text(states[n].text) for n in inside]
            scores[inside] += self.weight * np.array(self.model.score(befores, texts))
        return scores
