"""Beam search for the likeliest sequences, many rows at once.

    score(y) = log p(y) / ((5 + |y|) / 6)^alpha + beta * sum_t log(min(sum_s a_st, 1))

Penalties of length and coverage: Wu et al. 2016 (arXiv:1609.08144).  A row is done when it has as
many ended sequences as wanted and no unfinished one can become better than the worst of them.
Repeated n-grams can be forbidden: Paulus, Xiong and Socher 2017 (arXiv:1705.04304).

Shape legend: B rows, K beams, N = B K, V tokens, T elements of a source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from elman.arguments import check_number, check_whole
from elman.errors import ArgumentError

UNSEEN = 1e-6  # the minimum attention of an element, so that the logarithm is finite
S = TypeVar("S")
Step = Callable[[Tensor, S], tuple[Tensor, S, "Tensor | None"]]


@dataclass(frozen=True, kw_only=True)
class Search:
    """The settings of a beam search.

    Attributes:
        beam: K, the number of sequences kept at a time; 1 is greedy.
        length_penalty: alpha.
        coverage_penalty: beta.
        no_repeat: length of n-grams that must not occur twice; None to allow all.
        n_best: sequences to return for each row, at most K.

    Raises:
        ArgumentError: a value is out of its range.
    """

    beam: int = 5
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    no_repeat: int | None = None
    n_best: int = 1

    def __post_init__(self) -> None:
        check_whole(self.beam, "beam", least=1)
        check_whole(self.n_best, "n_best")
        if not 1 <= self.n_best <= self.beam:
            raise ArgumentError(f"n_best must be in 1..beam={self.beam}, got {self.n_best}")
        if self.no_repeat is not None:
            check_whole(self.no_repeat, "no_repeat", least=1)
        for name in ("length_penalty", "coverage_penalty"):
            check_number(getattr(self, name), name)
            if not 0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def length_norm(self, length: Tensor) -> Tensor:
        """Return the divisor of log p for sequences of these lengths, including the end token."""
        return ((5 + length) / 6) ** self.length_penalty


@dataclass(frozen=True)
class Found:
    """A sequence that the search found, without the end token.

    Attributes:
        tokens: token numbers.
        score: the score by which sequences are ranked.
        log_p: natural logarithm of the probability, including the end token.
        attention: (S, T) weights of each step, including the end token; None without attention.
    """

    tokens: list[int]
    score: float
    log_p: float
    attention: Tensor | None


def beam_search(
    step: Step[S],
    first: Tensor,
    state: S,
    *,
    select: Callable[[S, Tensor], S],
    search: Search,
    longest: Sequence[int],
    end: int,
    banned: Sequence[int] = (),
    sources: Sequence[int] | None = None,
) -> list[list[Found]]:
    """Find the best sequences of each row, best first.

    Args:
        step: maps tokens (N,) and a state to log-probabilities (N, V), which are overwritten, the
            next state, and weights (N, T) of attention or None.
        first: (B,) token before each sequence.
        state: state of B rows.
        select: returns rows of a state by index.
        search: settings.
        longest: (B) maximum number of tokens of a sequence.
        end: the token that ends a sequence.
        banned: tokens that are never predicted.
        sources: (B) lengths of the sources, for the penalty of coverage.

    Example:
        >>> import torch
        >>> from elman.decode.beam import Search, beam_search
        >>> p = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.0, 0.0, 1.0]])
        >>> found = beam_search(
        ...     lambda tokens, state: (p[tokens].log(), state, None), torch.tensor([0]), None,
        ...     select=lambda state, rows: state, search=Search(beam=2, length_penalty=0),
        ...     longest=[3], end=2,
        ... )
        >>> found[0][0].tokens, round(found[0][0].log_p, 3)
        ([1], -1.427)
    """
    rows, beam = len(first), search.beam
    live = _Live(
        torch.arange(rows),
        torch.tensor(list(longest)),
        first.repeat_interleave(beam).unsqueeze(1),
        torch.full((rows, beam), -torch.inf, dtype=torch.float32),
        torch.full((rows, search.n_best), -torch.inf, dtype=torch.float32),
    )
    live.log_p[:, 0] = 0  # all beams start equal, so one of them is enough
    ended: list[list[Found]] = [[] for _ in range(rows)]
    state = select(state, torch.arange(rows).repeat_interleave(beam))
    for length in range(1, max(longest, default=0) + 2):
        if not len(live.row):
            break
        log_p, state, weights = step(live.tokens[:, -1], state)
        live.attend(weights)
        log_p[:, list(banned)] = -torch.inf
        best, origin, token = _candidates(live, log_p, search, length, end)
        is_end = token == end
        _note_ended(live, best, origin, is_end, ended, search, length, sources)
        which = _advance(live, best, origin, token, is_end, search)
        state = select(state, which)
    return [sorted(found, key=lambda one: -one.score)[: search.n_best] for found in ended]


@dataclass
class _Live:
    """The unfinished sequences, of the rows that are not done."""

    row: Tensor  # (n,) index of the caller's row
    longest: Tensor  # (n,)
    tokens: Tensor  # (N, length), including the first
    log_p: Tensor  # (n, K)
    ended: Tensor  # (n, n_best) scores of the best ended sequences
    attention: Tensor | None = None  # (N, steps, T)

    def attend(self, weights: Tensor | None) -> None:
        """Append the attention weights of a step."""
        if weights is not None:
            latest = weights.unsqueeze(1)
            earlier = self.attention
            self.attention = latest if earlier is None else torch.cat([earlier, latest], 1)


def _candidates(
    live: _Live, log_p: Tensor, search: Search, length: int, end: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p, beam and next token (n, C) of the likeliest extensions of each row."""
    if search.no_repeat is not None:
        _forbid_repeats(log_p, live.tokens[:, 1:], search.no_repeat)
    must_end = (live.longest < length).repeat_interleave(search.beam)
    if bool(must_end.any()):
        the_end = log_p[must_end, end]
        log_p[must_end] = -torch.inf
        log_p[must_end, end] = the_end
    # Twice as many as beams: even if half of them end, enough remain.
    some, token = log_p.topk(min(2 * search.beam, log_p.shape[1]), dim=1)
    total = (live.log_p.view(-1, 1) + some).view(len(live.row), -1)
    best, place = total.topk(min(2 * search.beam, total.shape[1]))
    return best, place // some.shape[1], token.view(total.shape).gather(1, place)


def _note_ended(
    live: _Live,
    best: Tensor,
    origin: Tensor,
    is_end: Tensor,
    ended: list[list[Found]],
    search: Search,
    length: int,
    sources: Sequence[int] | None,
) -> None:
    """Store the candidates (n, C) that end and are among the K best."""
    now = is_end & (best > -torch.inf)
    now[:, search.beam :] = False
    pairs = now.nonzero()
    if not len(pairs):
        return
    sequences = pairs[:, 0] * search.beam + origin[now]
    scores = best[now] / search.length_norm(torch.tensor(length))
    looked = None if live.attention is None else live.attention[sequences]
    if search.coverage_penalty and looked is not None and sources is not None:
        inside = torch.tensor(list(sources))[live.row[pairs[:, 0]]].unsqueeze(1)
        seen = looked.sum(1).clamp(UNSEEN, 1).log()
        seen[torch.arange(seen.shape[1]) >= inside] = 0
        scores = scores + search.coverage_penalty * seen.sum(1)
    table = torch.full_like(best, -torch.inf)
    table[now] = scores
    live.ended = torch.cat([live.ended, table], 1).topk(search.n_best).values
    listed = zip(
        live.row[pairs[:, 0]].tolist(),
        live.tokens[sequences, 1:].tolist(),
        scores.tolist(),
        best[now].tolist(),
        strict=True,
    )
    for number, (row, tokens, score, log_p) in enumerate(listed):
        attention = None if looked is None else looked[number]
        ended[row].append(Found(tokens, score, log_p, attention))


def _advance(
    live: _Live, best: Tensor, origin: Tensor, token: Tensor, is_end: Tensor, search: Search
) -> Tensor:
    """Keep the best unfinished candidates of rows that are not done; return their indices in N."""
    order = is_end.long().argsort(dim=1, stable=True)[:, : search.beam]
    log_p = best.masked_fill(is_end, -torch.inf).gather(1, order)
    if order.shape[1] < search.beam:  # fewer tokens than beams: pad with candidates that cannot win
        missing = search.beam - order.shape[1]
        order = torch.cat([order, order[:, :1].expand(-1, missing)], 1)
        log_p = torch.cat([log_p, log_p.new_full((len(log_p), missing), -torch.inf)], 1)
    # An unfinished sequence only becomes less likely, and its divisor is at most the longest's.
    hope = log_p[:, 0] / search.length_norm(live.longest + 1)
    worst = live.ended[:, -1]
    done = (worst > -torch.inf) & ((hope <= worst) | (search.beam == 1))
    kept = (~done & (log_p[:, 0] > -torch.inf)).nonzero().squeeze(1)
    order = order[kept]
    which = (kept.unsqueeze(1) * search.beam + origin[kept].gather(1, order)).flatten()
    following = token[kept].gather(1, order).view(-1, 1)
    live.row, live.longest, live.ended = live.row[kept], live.longest[kept], live.ended[kept]
    live.log_p = log_p[kept]
    live.tokens = torch.cat([live.tokens[which], following], 1)
    if live.attention is not None:
        live.attention = live.attention[which]
    return which


def _forbid_repeats(log_p: Tensor, tokens: Tensor, n: int) -> None:
    """Forbid tokens that would repeat an n-gram of a sequence (N, length)."""
    if tokens.shape[1] < n:
        return
    grams = tokens.unfold(1, n, 1)  # (N, length - n + 1, n)
    last = tokens[:, tokens.shape[1] - n + 1 :].unsqueeze(1)
    again = (grams[:, :, : n - 1] == last).all(2)
    rows = torch.arange(len(tokens)).unsqueeze(1).expand_as(again)[again]
    log_p[rows, grams[:, :, -1][again]] = -torch.inf
