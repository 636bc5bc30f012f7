"""Recurrent language models as scorers of hypotheses.

A model of characters scores each token, if all tokens are characters too.  Any other model scores
complete words, see `WordScorer`.  The network reads the tokens of all hypotheses of a frame in one
batch, and each hypothesis carries its state.

Shape legend: N hypotheses, K tokens without the blank, W tokens of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from elman.decode.scorers import Floats
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError
from elman.padded import Padded
from elman.state import State, join_rows, select_rows


class Network(Protocol):
    """A network that predicts the next token, such as `elman.model.SequenceModel`."""

    def __call__(self, x: Padded, state: State | None = None, /) -> tuple[Padded, State]:
        """Return scores (N, T, W) for tokens (N, T), and the state."""


class Read(NamedTuple):
    """The state of a network after the words that it has read.

    Attributes:
        state: its state, of one row.
        log_p: (W,) log-probabilities of the next token.
        first: whether it has read no word.
    """

    state: State
    log_p: Tensor
    first: bool = False


class _Reader:
    """A network in evaluation that reads tokens for many hypotheses at once."""

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self.network, self.vocabulary = network, vocabulary

    def begin(self) -> Read:
        """Return the state at the beginning of a text."""
        return self.read([None], [[self.vocabulary.end]])[0]._replace(first=True)

    @torch.inference_mode()
    def read(self, before: Sequence[Read | None], tokens: Sequence[Sequence[int]]) -> list[Read]:
        """Return the states (N) after the tokens of each hypothesis, at least one."""
        log_p, states = self.scores(before, tokens)
        last = [row[len(one) - 1] for row, one in zip(log_p, tokens, strict=True)]
        rows = [select_rows(states, torch.tensor([n])) for n in range(len(tokens))]
        return [Read(state, row) for state, row in zip(rows, last, strict=True)]

    @torch.inference_mode()
    def scores(
        self, before: Sequence[Read | None], tokens: Sequence[Sequence[int]]
    ) -> tuple[Tensor, State]:
        """Return log p (N, T, W) after each token, and the states after all of them."""
        batch = Padded.pad([torch.tensor(row, dtype=torch.int64) for row in tokens])
        earlier = [one.state for one in before if one is not None]
        scores, state = self.network(batch, join_rows(earlier) if earlier else None)
        return scores.data.float().log_softmax(2), state


class CharacterModel:
    """A language model whose tokens are the characters of ours.

    Args:
        network: the language model, in evaluation mode.
        vocabulary: its vocabulary, of characters.
        pieces: text of each token, "" for a special token, which is never written.

    Raises:
        ArgumentError: the vocabulary or a piece is not of characters.
    """

    def __init__(self, network: Network, vocabulary: Vocabulary, pieces: Sequence[str]) -> None:
        if not same_characters(vocabulary, pieces):
            raise ArgumentError(
                "tokens and the language model must both be characters, got tokens such as "
                f"{list(pieces[:5])} and a language model of {vocabulary.tokens}s"
            )
        self._reader = _Reader(network, vocabulary)
        self._numbers = [vocabulary.encode(piece)[0] if piece else 0 for piece in pieces]
        self._special = [number for number, piece in enumerate(pieces) if not piece]

    def begin(self) -> tuple[Read, Floats]:
        """Return the state at the beginning of a text, and log p (K,) of the first token."""
        state = self._reader.begin()
        return state, self._next([state])[0]

    def advance(self, states: Sequence[Read], tokens: Sequence[int]) -> tuple[list[Read], Floats]:
        """Return the states after one more token each, and log p (N, K) of the next."""
        read = self._reader.read(states, [[self._numbers[token]] for token in tokens])
        return read, self._next(read)

    def finish(self, states: Sequence[Read]) -> Floats:
        """Return log p (N,) of the end of the text."""
        end = self._reader.vocabulary.end
        return np.array([float(state.log_p[end]) for state in states])

    def _next(self, states: Sequence[Read]) -> Floats:
        rows = torch.stack([state.log_p for state in states])
        values: Floats = rows[:, self._numbers].double().cpu().numpy()
        values[:, self._special] = -np.inf
        return values


class WordNetwork:
    """A recurrent language model of any tokens, which scores words for `WordScorer`.

    Args:
        network: the language model, in evaluation mode.
        vocabulary: its vocabulary.
    """

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self._reader = _Reader(network, vocabulary)

    def begin(self) -> Read:
        """Return the state at the beginning of a text."""
        return self._reader.begin()

    def score(self, states: Sequence[Read], words: Sequence[str]) -> list[float]:
        """Return log p of one word after each state (N), the sum over its tokens."""
        tokens = [self._tokens(state, word) for state, word in zip(states, words, strict=True)]
        total = [
            float(state.log_p[row[0]]) if row else 0.0
            for state, row in zip(states, tokens, strict=True)
        ]
        several = [n for n, row in enumerate(tokens) if len(row) > 1]
        if several:
            log_p, _ = self._reader.scores(
                [states[n] for n in several], [tokens[n][:-1] for n in several]
            )
            for n, row in zip(several, log_p, strict=True):
                following = torch.tensor(tokens[n][1:], device=row.device)
                steps = row[: len(following)].gather(1, following.unsqueeze(1))
                total[n] += float(steps.sum())
        return total

    def advance(self, states: Sequence[Read], words: Sequence[str]) -> list[Read]:
        """Return the states (N) after one more word each."""
        tokens = [self._tokens(state, word) for state, word in zip(states, words, strict=True)]
        written = [n for n, row in enumerate(tokens) if row]
        following = list(states)
        if written:
            read = self._reader.read([states[n] for n in written], [tokens[n] for n in written])
            for n, state in zip(written, read, strict=True):
                following[n] = state
        return following

    def finish(self, states: Sequence[Read]) -> list[float]:
        """Return log p of the end of the text after each state (N)."""
        return [float(state.log_p[self._reader.vocabulary.end]) for state in states]

    def _tokens(self, state: Read, word: str) -> list[int]:
        """Return the tokens of a word, with the space before it if they can contain it."""
        vocabulary = self._reader.vocabulary
        spaced = vocabulary.tokens != "word" and not state.first
        return vocabulary.encode(f" {word}" if spaced else word)


def same_characters(vocabulary: Vocabulary, pieces: Sequence[str]) -> bool:
    """Return whether both have characters as tokens; special tokens have no text."""
    return vocabulary.tokens == "character" and max(map(len, pieces)) == 1
