"""Beam search against an enumeration of all sequences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from elman.decode.beam import Found, Search, beam_search
from elman.errors import ArgumentError

V, END, LONGEST = 4, 3, 4


def chain(seed: int) -> torch.Tensor:
    """Return log-probabilities (V, V, V) of a token after two others."""
    return (
        torch.randn(V, V, V, generator=torch.Generator().manual_seed(seed)).mul(1.5).log_softmax(2)
    )


def search(p: torch.Tensor, rows: int, **options: object) -> list[list[Found]]:
    """Search with a different first token for each row; the state is the token before the last."""

    def step(tokens: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        return p[state, tokens], tokens, None

    first = torch.arange(rows) % (V - 1)
    return beam_search(
        step,
        first,
        first,
        select=lambda state, which: state[which],
        search=Search(**options),
        longest=[LONGEST] * rows,
        end=END,  # type: ignore[arg-type]
    )


def every(p: torch.Tensor, first: int, alpha: float) -> list[tuple[float, list[int]]]:
    """Return all sequences and their scores, best first."""
    found = []
    for length in range(LONGEST + 1):
        for tokens in itertools.product(range(V - 1), repeat=length):
            path = [first, first, *tokens, END]
            log_p = sum(
                float(p[a, b, c]) for a, b, c in zip(path, path[1:], path[2:], strict=False)
            )
            found.append((log_p / ((5 + length + 1) / 6) ** alpha, list(tokens)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_that_contains_all_sequences_finds_the_best(seed: int, alpha: float) -> None:
    p = chain(seed)
    wide = (V - 1) ** LONGEST
    found = search(p, 3, beam=wide, n_best=3, length_penalty=alpha)
    for row, best in enumerate(found):
        expected = every(p, row, alpha)[:3]
        assert [one.tokens for one in best] == [tokens for _, tokens in expected]
        assert [one.score for one in best] == pytest.approx(
            [score for score, _ in expected], abs=1e-4
        )


def test_greedy_search_takes_the_likeliest_token_and_stops_at_the_end() -> None:
    p = chain(1)
    for row, (one,) in enumerate(search(p, 3, beam=1)):
        path = [row, row]
        while len(path) < LONGEST + 2 and path[-1] != END:
            path.append(int(p[path[-2], path[-1]].argmax()))
        assert one.tokens == [token for token in path[2:] if token != END]


def test_rows_do_not_depend_on_their_batch() -> None:
    p = chain(2)
    together = search(p, 7, beam=3, n_best=2)
    assert [[one.tokens for one in row] for row in together[3:6]] == [
        [one.tokens for one in row] for row in together[:3]
    ]


def test_no_repeat_prevents_repeated_n_grams() -> None:
    p = torch.full((V, V, V), -5.0)
    p[:, :, 0] = -0.1  # without a limit, 0 is repeated for ever
    (free,), (short,) = search(p, 1, beam=2)[0], search(p, 1, beam=2, no_repeat=2)[0]
    assert free.tokens == [0, 0, 0, 0]
    pairs = list(itertools.pairwise(short.tokens))
    assert len(pairs) == len(set(pairs))


def test_coverage_prefers_attention_to_the_whole_source() -> None:
    looks = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, 0.5]])
    p = torch.tensor([[0.5, 0.1, 0.0, 0.4], [0.1, 0.1, 0.0, 0.8], [0, 0, 0, 1.0], [0, 0, 0, 1.0]])

    def step(
        tokens: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return p[tokens].log(), state, looks[tokens]

    def best(beta: float) -> Found:
        options = Search(beam=4, coverage_penalty=beta, length_penalty=0)
        zero = torch.zeros(1, dtype=torch.int64)
        return beam_search(
            step,
            zero,
            zero,
            select=lambda s, w: s[w],
            search=options,
            longest=[2],
            end=END,
            sources=[2],
        )[0][0]

    assert best(0.0).tokens == []
    covered = best(10.0)
    assert 1 in covered.tokens
    assert covered.attention is not None
    assert covered.attention.shape == (len(covered.tokens) + 1, 2)
    assert covered.log_p == pytest.approx(math.log(0.1 * 0.8), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"beam": 0},
        {"beam": 2, "n_best": 3},
        {"no_repeat": 0},
        {"length_penalty": -1.0},
        {"coverage_penalty": math.inf},
    ],
)
def test_invalid_searches_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ArgumentError):
        Search(**options)  # type: ignore[arg-type]
