"""Draw tokens one after another.

    p = softmax(s / temperature), cut down by top-k, top-p and min-p, renormalised

top-k: Fan et al. 2018 (arXiv:1805.04833); top-p (nucleus): Holtzman et al. 2019
(arXiv:1904.09751); min-p: Nguyen et al. 2024 (arXiv:2407.01082); repetition penalty: Keskar et al.
2019 (arXiv:1909.05858).  The penalty divides the score of a token that occurred before if the score
is positive, and multiplies it if negative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from elman.arguments import check_number, check_whole
from elman.errors import ArgumentError

TINY = torch.finfo(torch.float32).tiny
S = TypeVar("S")
Step = Callable[[Tensor, S], tuple[Tensor, S]]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings for drawing a token from scores.

    Attributes:
        temperature: divides the scores; 0 takes the likeliest token.
        top_k: keep only the k likeliest tokens.
        top_p: keep only the likeliest tokens that together reach this probability.
        min_p: keep only tokens at least this fraction as likely as the likeliest.
        repetition_penalty: above 1 makes tokens that occurred before less likely.

    Raises:
        ArgumentError: a value is out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.temperature, "temperature")
        check_number(self.repetition_penalty, "repetition_penalty")
        if self.top_k is not None:
            check_whole(self.top_k, "top_k")
        if not 0 <= self.temperature < float("inf"):
            raise ArgumentError(f"temperature must be 0 or more, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ArgumentError(f"top_k must be at least 1, got {self.top_k}")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is None:
                continue
            check_number(value, name)
            if not 0 < value <= 1:
                raise ArgumentError(f"{name} must be in (0, 1], got {value}")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ArgumentError(
                f"repetition_penalty must be positive, got {self.repetition_penalty}"
            )

    def probabilities(self, scores_BV: Tensor, seen_BV: Tensor | None = None) -> Tensor:
        """Return the distribution (B, V) from which the next token is drawn.

        Example:
            >>> import torch
            >>> from elman.decode.sample import Sampling
            >>> scores = torch.tensor([[0.5, 0.3, 0.2]]).log()
            >>> Sampling(top_p=0.7).probabilities(scores).tolist()
            [[0.625, 0.375, 0.0]]
        """
        scores = scores_BV.float()
        if seen_BV is not None and self.repetition_penalty != 1:
            penalty = self.repetition_penalty
            changed = torch.where(scores > 0, scores / penalty, scores * penalty)
            scores = torch.where(seen_BV, changed, scores)
        if self.temperature == 0:
            best = scores.argmax(1, keepdim=True)
            return torch.zeros_like(scores).scatter_(1, best, 1.0)
        # The best score becomes 0, so that a small temperature does not make it infinite.
        best = scores.amax(1, keepdim=True)
        p = torch.softmax((scores - best) / max(self.temperature, TINY), dim=1)
        if self.top_k is None and self.top_p is None and self.min_p is None:
            return p
        ordered, order = p.sort(dim=1, descending=True, stable=True)
        keep = torch.ones_like(ordered, dtype=torch.bool)
        if self.top_k is not None:
            keep[:, self.top_k :] = False
        if self.top_p is not None:
            keep &= ordered.cumsum(1) - ordered < self.top_p
        if self.min_p is not None:
            keep &= ordered >= self.min_p * ordered[:, :1]
        kept = torch.zeros_like(p).scatter_(1, order, ordered * keep)
        return kept / kept.sum(1, keepdim=True)


def sample(
    step: Step[S],
    scores: Tensor,
    state: S,
    *,
    sampling: Sampling,
    max_new_tokens: int,
    generator: torch.Generator | None = None,
    seen: Tensor | None = None,
    banned: Sequence[int] = (),
    end: int | None = None,
    select: Callable[[S, Tensor], S] | None = None,
) -> Iterator[Tensor]:
    """Draw tokens, each from the scores that the model predicts after the previous one.

    Args:
        step: maps tokens (B,) and a state to scores (B, V) and the next state.
        scores: (B, V) for the first token to draw.
        state: the state that belongs to the scores.
        sampling: settings.
        max_new_tokens: maximum number of tokens.
        generator: random generator.
        seen: boolean (B, V), tokens that occurred before, for the repetition penalty.
        banned: tokens that are never drawn.
        end: the token that ends a row; ignore the tokens of the row after it.
        select: returns rows of a state by index; if given, rows that have ended cost nothing.

    Yields:
        Tokens (B,), `max_new_tokens` times or until every row has ended.
    """
    if max_new_tokens < 1:
        raise ArgumentError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    live = torch.arange(len(scores), device=scores.device)  # rows that have not ended
    whole = live.new_full((len(scores),), -1 if end is None else end)
    ended = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    if sampling.repetition_penalty == 1:
        seen = None
    else:
        seen = torch.zeros_like(scores, dtype=torch.bool) if seen is None else seen.clone()
    for drawn in range(max_new_tokens):
        scores = scores.clone()
        scores[:, list(banned)] = -torch.inf
        p = sampling.probabilities(scores, seen)
        tokens = torch.multinomial(p, 1, generator=generator).squeeze(1)
        if seen is not None:
            seen[torch.arange(len(tokens)), tokens] = True
        whole[live] = tokens
        yield whole.clone()
        if end is not None:
            whole[live], ended = end, ended | (tokens == end)
        if bool(ended.all()):
            return
        if select is not None and 2 * int(ended.sum()) >= len(ended):
            kept = (~ended).nonzero().squeeze(1)
            live, tokens, ended, state = live[kept], tokens[kept], ended[kept], select(state, kept)
            seen = None if seen is None else seen[kept]
        if drawn + 1 < max_new_tokens:
            scores, state = step(tokens, state)
