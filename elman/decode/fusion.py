"""The weighted sum of the scorers of a search.

Shape legend: N hypotheses, K tokens without the blank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from elman.decode.closed import ClosedVocabulary
from elman.decode.hypotheses import SpeechSearch
from elman.decode.language_model import CharacterModel
from elman.decode.phrases import Phrases
from elman.decode.scorers import Floats, Scorer
from elman.decode.words import NoModel, WordModel, WordScorer


class Fusion:
    """The weighted sum of scorers; a scorer with the weight 0 is not computed.

    Args:
        parts: scorers and their weights.
        size: K, which all scorers have.

    Example:
        >>> from elman.decode.phrases import Phrases
        >>> from elman.decode.fusion import Fusion
        >>> phrase = Phrases({"ab": 2.0}, ["a", "b", " "])
        >>> fused = Fusion([(phrase, 3.0)], 3)
        >>> fused.begin()[1].tolist()
        [3.0, 0.0, 0.0]
    """

    def __init__(self, parts: Sequence[tuple[Scorer[Any], float]], size: int) -> None:
        self.parts = [(scorer, weight) for scorer, weight in parts if weight]
        self.size = size

    def begin(self) -> tuple[tuple[object, ...], Floats]:
        """Return the states of all scorers, and the sum (K,) of their scores."""
        states, total = [], np.zeros(self.size)
        for scorer, weight in self.parts:
            state, scores = scorer.begin()
            states.append(state)
            total += weight * scores
        return tuple(states), total

    def advance(
        self, states: Sequence[tuple[object, ...]], tokens: Sequence[int]
    ) -> tuple[list[tuple[object, ...]], Floats]:
        """Return the states after one more token each, and the sums (N, K) of the scores."""
        total = np.zeros((len(tokens), self.size))
        columns = []
        for n, (scorer, weight) in enumerate(self.parts):
            column, scores = scorer.advance([state[n] for state in states], tokens)
            columns.append(column)
            total += weight * scores
        return list(zip(*columns, strict=True)) if columns else list(states), total

    def finish(self, states: Sequence[tuple[object, ...]]) -> Floats:
        """Return the sums (N,) of the scores of ending."""
        total = np.zeros(len(states))
        for n, (scorer, weight) in enumerate(self.parts):
            total += weight * scorer.finish([state[n] for state in states])
        return total


def fuse(
    search: SpeechSearch,
    pieces: Sequence[str],
    *,
    model: WordModel[Any] | None = None,
    characters: CharacterModel | None = None,
    phrases: Mapping[str, float] | None = None,
    words: Iterable[str] | None = None,
) -> Scorer[Any] | None:
    """Return the scorer of a search with its weights; None if there is nothing to score.

    Args:
        search: settings, which have the weights.
        pieces: text of each token, with a leading space where a new word begins.
        model: a language model of words.
        characters: a language model of characters.
        phrases: phrases and their boosts, see `Phrases`.
        words: the only words that can be recognised; None for all.

    Raises:
        ArgumentError: tokens cannot write a phrase or a word.

    Example:
        >>> from elman.decode.fusion import fuse
        >>> from elman.decode.hypotheses import SpeechSearch
        >>> fuse(SpeechSearch(), ["a", " "]) is None
        True
        >>> fuse(SpeechSearch(word_bonus=1.0), ["a", " "]) is None
        False
    """
    parts: list[tuple[Scorer[Any], float]] = []
    weight = 0.0 if model is None else search.lm_weight
    if weight or search.word_bonus:
        counted: WordModel[Any] = NoModel() if model is None else model
        scorer = WordScorer(counted, pieces, weight=weight, bonus=search.word_bonus)
        parts.append((scorer, 1.0))
    if characters is not None and search.lm_weight:
        parts.append((characters, search.lm_weight))
    if phrases and any(phrases.values()):
        parts.append((Phrases(phrases, pieces), 1.0))
    if words is not None:
        parts.append((ClosedVocabulary(words, pieces), 1.0))
    if len(parts) == 1 and parts[0][1] == 1:
        return parts[0][0]
    return Fusion(parts, len(pieces)) if parts else None
