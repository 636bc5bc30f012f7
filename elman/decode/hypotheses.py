"""Results and settings of the searches of a speech recogniser.

    score(y) = log p(y | x) + lm_weight log p_LM(y) + word_bonus |words of y| + boosts of phrases

Source of the weighted sum: Graves and Jaitly 2014, "Towards End-To-End Speech Recognition with
Recurrent Neural Networks", ICML; Hannun et al. 2014 (arXiv:1408.2873).

Shape legend: U tokens, V scores of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from elman.arguments import check_number, check_whole
from elman.errors import ArgumentError

HIGHEST = 1000  # weights and boosts above it would hide every other score


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of tokens that a search found.

    Attributes:
        tokens: (U,) token numbers.
        times: (U,) frame of each token; the frames increase.
        probabilities: (U,) probability of each token at its frame.
        score: the score by which hypotheses are ranked, in nats.
        log_p: natural logarithm of the probability of the tokens, without any scorer.

    Example:
        >>> from elman.decode.hypotheses import Hypothesis
        >>> Hypothesis((7, 4), (3, 9), (0.9, 0.8), -0.4, -0.4).spans
        [(3, 4), (9, 10)]
    """

    tokens: tuple[int, ...]
    times: tuple[int, ...]
    probabilities: tuple[float, ...]
    score: float
    log_p: float

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Return the first frame of each token and the frame after it, for `align.words_of`."""
        return [(time, time + 1) for time in self.times]


@dataclass(frozen=True, kw_only=True)
class SpeechSearch:
    """The settings of a search of a speech recogniser.

    Attributes:
        beam: number of hypotheses kept at a time; 1 is nearly greedy.
        n_best: hypotheses to return, at most `beam`.
        token_beam: only this many of the likeliest tokens of a frame extend hypotheses, None for
            all (CTC only).
        blank_skip: a frame is skipped if its tokens other than the blank have together less than
            this probability (CTC only).  Every probability of a hypothesis changes by at most this
            share in such a frame; 0 skips none.
        lm_weight: weight of the language model's log-probabilities, in 0..1,000.
        word_bonus: added for each word, against too short results; with a language model, 1 is a
            usual value.
        boost: added for each word of a phrase without a boost of its own, in 0..1,000 nats.
        unknown: natural log-probability of a word that a language model without `<unk>` lacks, for
            `read_arpa`.

    Raises:
        ArgumentError: a value is out of its range.
    """

    beam: int = 8
    n_best: int = 1
    token_beam: int | None = 40
    blank_skip: float = 1e-5
    lm_weight: float = 0.5
    word_bonus: float = 0.0
    boost: float = 3.0
    unknown: float = -14.0

    def __post_init__(self) -> None:
        check_whole(self.beam, "beam", least=1)
        check_whole(self.n_best, "n_best")
        if not 1 <= self.n_best <= self.beam:
            raise ArgumentError(f"n_best must be in 1..beam={self.beam}, got {self.n_best}")
        if self.token_beam is not None:
            check_whole(self.token_beam, "token_beam", least=1)
        for name in ("blank_skip", "lm_weight", "word_bonus", "boost", "unknown"):
            check_number(getattr(self, name), name)
        if not 0 <= self.blank_skip < 1:
            raise ArgumentError(f"blank_skip must be 0 or more and below 1, got {self.blank_skip}")
        for name, least in (("lm_weight", 0), ("word_bonus", -HIGHEST), ("boost", 0)):
            if not least <= (value := getattr(self, name)) <= HIGHEST:
                raise ArgumentError(f"{name} must be in {least:,}..{HIGHEST:,}, got {value}")
        if not -float("inf") < self.unknown <= 0:
            raise ArgumentError(f"unknown must be a finite number of 0 or less, got {self.unknown}")


def is_boost(value: object) -> bool:
    """Return whether a value is a number that can be the boost of a phrase."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= HIGHEST
