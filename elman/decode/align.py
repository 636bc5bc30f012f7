"""Forced alignment of tokens with frames, and words with their times and confidence.

The states of an alignment are the tokens with a blank before, between and after them: blank, y_1,
blank, y_2, ..., y_U, blank.  A path begins in one of the first two and ends in one of the last two.
In each frame it stays, moves to the next state, or skips a blank between two different tokens.  The
best path is found with dynamic programming (Viterbi):

    d_t(s) = log p_t(token of s) + max(d_{t-1}(s), d_{t-1}(s - 1), d_{t-1}(s - 2) if allowed)

Source of the states: Graves et al. 2006, "Connectionist temporal classification", ICML.

Shape legend: T frames, V scores of a frame with the blank last, U tokens, S = 2 U + 1 states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from math import exp, log

import numpy as np
from torch import Tensor

from elman.decode.ctc import frames_of
from elman.decode.prefixes import Integers
from elman.decode.scorers import Floats, starts_of_words, whole_text
from elman.errors import ArgumentError, DataError


@dataclass(frozen=True)
class Alignment:
    """The likeliest path of known tokens.

    Attributes:
        spans: (U,) first frame of each token and the frame after its last.
        probabilities: (U,) highest probability of each token within its frames.
        log_p: natural logarithm of the probability of the path.
    """

    spans: list[tuple[int, int]]
    probabilities: list[float]
    log_p: float


@dataclass(frozen=True)
class Word:
    """A word of a hypothesis or an alignment.

    Attributes:
        text: its characters.
        begin, end: its first frame, and the frame after its last token.
        mean: geometric mean of the probabilities of its tokens.
        least: the lowest of them.
    """

    text: str
    begin: int
    end: int
    mean: float
    least: float


def align(log_p: Tensor, tokens: Sequence[int]) -> Alignment:
    """Find the likeliest frames of known tokens.

    Args:
        log_p: (T, V) log-probabilities of CTC.
        tokens: (U,) token numbers in 0..V-2.

    Raises:
        ArgumentError: log_p is not of log-probabilities, or a token is out of range.
        DataError: there are fewer frames than the tokens need.

    Example:
        >>> import torch
        >>> from elman.decode.align import align
        >>> p = torch.tensor([[0.2, 0.1, 0.7], [0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.7, 0.2]])
        >>> align(p.log(), [0, 1]).spans
        [(1, 3), (3, 4)]
    """
    if log_p.dim() != 2 or log_p.shape[1] < 2:
        raise ArgumentError(f"log_p must have shape (T, V), V 2 or more, got {tuple(log_p.shape)}")
    frames = frames_of(log_p, log_p.shape[1])
    wanted = list(tokens)
    blank = frames.shape[1] - 1
    wrong = next((token for token in wanted if not 0 <= token < blank), None)
    if wrong is not None:
        raise ArgumentError(f"tokens must be in 0..{blank - 1}, got {wrong}")
    needed = needed_frames(wanted)
    if len(frames) < needed:
        raise DataError(
            f"{len(wanted)} tokens need {needed} frames, got {len(frames)}: the text is too long "
            "for its recording"
        )
    labels = np.full(2 * len(wanted) + 1, blank)
    labels[1::2] = wanted
    path, total = _viterbi(frames, labels)
    spans = _spans(path, len(wanted))
    best = [float(frames[a:z, token].max()) for (a, z), token in zip(spans, wanted, strict=True)]
    return Alignment(spans, [exp(p) for p in best], total)


def needed_frames(tokens: Sequence[int] | Integers) -> int:
    """Return the fewest frames of tokens (U): one each, and a blank between equal ones.

    Example:
        >>> from elman.decode.align import needed_frames
        >>> needed_frames([4, 7, 7])
        4
    """
    return len(tokens) + sum(int(a == b) for a, b in pairwise(tokens))


def _viterbi(frames: Floats, labels: Integers) -> tuple[Integers, float]:
    """Return the state (T,) of each frame on the best path of states (S,), and its log p."""
    count, states = len(frames), len(labels)
    if not count:
        return np.zeros(0, dtype=np.int64), 0.0
    closed = np.zeros(states)  # states that cannot be reached by skipping a blank
    closed[2:][labels[2:] == labels[:-2]] = -np.inf
    closed[2::2] = -np.inf
    best = np.full(states + 2, -np.inf)  # with two states before the first
    best[2:4] = frames[0, labels[:2]]
    came = np.zeros((count, states), dtype=np.int8)  # states moved at each frame
    move, skip, skipped = np.empty(states), np.empty(states), np.empty(states, dtype=bool)
    emitted = np.empty(states)
    for t in range(1, count):
        stay = best[2:]
        np.greater(best[1:-1], stay, out=came[t], casting="unsafe")
        np.maximum(stay, best[1:-1], out=move)
        np.add(best[:-2], closed, out=skip)
        np.greater(skip, move, out=skipped)
        came[t][skipped] = 2
        np.maximum(move, skip, out=move)
        frames[t].take(labels, out=emitted)
        np.add(move, emitted, out=best[2:])
    state = states - 1
    if states > 1 and best[-2] >= best[-1]:
        state -= 1
    total = float(best[state + 2])
    path = np.zeros(count, dtype=np.int64)
    for t in range(count - 1, -1, -1):
        path[t] = state
        state -= int(came[t, state])
    return path, total


def _spans(path: Integers, count: int) -> list[tuple[int, int]]:
    """Return the frames of each token; the states of tokens are odd."""
    odd = np.arange(count) * 2 + 1
    return list(
        zip(path.searchsorted(odd).tolist(), path.searchsorted(odd, "right").tolist(), strict=True)
    )


def words_of(
    tokens: Sequence[int],
    spans: Sequence[tuple[int, int]],
    probabilities: Sequence[float],
    *,
    pieces: Sequence[str],
) -> list[Word]:
    """Return the words of a hypothesis or an alignment.

    Tokens without characters other than a space have no influence on the confidence.

    Args:
        tokens: (U,) token numbers.
        spans: (U,) frames of each token.
        probabilities: (U,) probability of each token.
        pieces: text of each token, with a leading space where a new word begins; if no piece has a
            space, each token is a word.

    Example:
        >>> from elman.decode.align import words_of
        >>> spans = [(2, 3), (4, 6), (8, 9)]
        >>> found = words_of([0, 2, 1], spans, [0.9, 0.4, 0.5], pieces=["a", "b", " "])
        >>> [(word.text, word.begin, word.end, word.mean) for word in found]
        [('a', 2, 3, 0.9), ('b', 8, 9, 0.5)]
    """
    begins = starts_of_words(pieces)
    numbers = accumulate(int(begins[token]) for token in tokens)
    rows = zip(numbers, tokens, spans, probabilities, strict=True)
    found = []
    for _, group in groupby(rows, key=lambda row: row[0]):
        parts = [row for row in group if pieces[row[1]].strip(" ")]
        if parts:
            text = whole_text("".join(pieces[token] for _, token, _, _ in parts)).strip(" ")
            p = [max(row[3], 1e-300) for row in parts]
            mean = exp(sum(map(log, p)) / len(p))
            found.append(Word(text, parts[0][2][0], parts[-1][2][1], round(mean, 6), min(p)))
    return found
