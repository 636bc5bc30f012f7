from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from elman.decode.sample import Sampling, sample
from elman.errors import ArgumentError
from elman.state import State

# Softmax, sort and sums of up to 30 float32 numbers against the same in float64.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
VALUES = {
    "temperature": (0.0, 0.5, 1.0, 3.0),
    "top_k": (None, 1, 3, 100),
    "top_p": (None, 0.01, 0.6, 1.0),
    "min_p": (None, 0.2, 1.0),
    "repetition_penalty": (1.0, 1.5, 0.7),
}


@pytest.fixture
def scores() -> Tensor:
    return 2 * torch.randn(5, 30, generator=torch.Generator().manual_seed(1))


def naive(row: list[float], seen: list[bool], sampling: Sampling) -> list[float]:
    """Return the probabilities of one row by definition, with sorted lists and plain sums."""
    penalty = sampling.repetition_penalty
    row = [
        (s / penalty if s > 0 else s * penalty) if was else s
        for s, was in zip(row, seen, strict=True)
    ]
    if sampling.temperature == 0:
        return [float(i == row.index(max(row))) for i in range(len(row))]
    weights = [math.exp((s - max(row)) / sampling.temperature) for s in row]
    p = [w / sum(weights) for w in weights]
    ranks = sorted(range(len(p)), key=lambda i: -p[i])
    kept, before = [], 0.0
    for rank, i in enumerate(ranks):
        if (
            (sampling.top_k is None or rank < sampling.top_k)
            and (sampling.top_p is None or before < sampling.top_p)
            and (sampling.min_p is None or p[i] >= sampling.min_p * p[ranks[0]])
        ):
            kept.append(i)
        before += p[i]
    total = sum(p[i] for i in kept)
    return [p[i] / total if i in kept else 0.0 for i in range(len(p))]


def check_against_naive(scores: Tensor, sampling: Sampling) -> None:
    seen = torch.arange(scores.numel()).view_as(scores) % 3 == 0
    expected = [
        naive(row, was, sampling) for row, was in zip(scores.tolist(), seen.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        sampling.probabilities(scores, seen), torch.tensor(expected), **CLOSE
    )


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
def test_each_option_equals_its_definition(scores: Tensor, name: str, value: float | None) -> None:
    check_against_naive(scores, Sampling(**{name: value}))


@pytest.mark.parametrize("temperature", VALUES["temperature"])
def test_options_combine_as_in_the_definition(scores: Tensor, temperature: float) -> None:
    others = [VALUES[name] for name in ("top_k", "top_p", "min_p", "repetition_penalty")]
    for top_k, top_p, min_p, penalty in itertools.product(*others):
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=penalty,
        )
        check_against_naive(scores, sampling)


def test_probabilities_sum_to_one_and_do_not_change_the_scores(scores: Tensor) -> None:
    before = scores.clone()
    p = Sampling(temperature=0.7, top_k=9, top_p=0.9, min_p=0.05).probabilities(scores)
    torch.testing.assert_close(p.sum(1), torch.ones(5), rtol=0, atol=1e-6)
    assert torch.equal(scores, before)


def test_the_first_of_equally_likely_tokens_are_kept() -> None:
    even = torch.zeros(1, 4)
    assert Sampling(temperature=0).probabilities(even).tolist() == [[1, 0, 0, 0]]
    assert Sampling(top_k=2).probabilities(even).tolist() == [[0.5, 0.5, 0, 0]]
    assert Sampling(top_p=0.5).probabilities(even).tolist() == [[0.5, 0.5, 0, 0]]
    assert Sampling(min_p=1).probabilities(even).tolist() == [[0.25] * 4]


def test_the_penalty_makes_seen_tokens_less_likely_for_either_sign() -> None:
    scores = torch.tensor([[2.0, -2.0, 0.0, 1.0]])
    seen = torch.tensor([[True, True, True, False]])
    p = Sampling(repetition_penalty=2).probabilities(scores, seen)
    torch.testing.assert_close(p, torch.tensor([[1.0, -4.0, 0.0, 1.0]]).softmax(1), **CLOSE)
    rewarded = Sampling(repetition_penalty=0.5).probabilities(scores, seen)
    torch.testing.assert_close(rewarded, torch.tensor([[4.0, -1.0, 0.0, 1.0]]).softmax(1), **CLOSE)


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300])
def test_a_tiny_temperature_takes_the_likeliest_token(scores: Tensor, temperature: float) -> None:
    p = Sampling(temperature=temperature).probabilities(1000 * scores)
    assert torch.equal(p, Sampling(temperature=0).probabilities(scores))


def test_bfloat16_scores_give_float32_probabilities(scores: Tensor) -> None:
    half = scores.bfloat16()
    p = Sampling().probabilities(half)
    torch.testing.assert_close(p, half.float().softmax(1), **CLOSE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", 0),
        ("top_k", -1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("min_p", 0),
        ("min_p", 2),
        ("min_p", -0.1),
        ("repetition_penalty", 0),
        ("repetition_penalty", -1),
        ("repetition_penalty", math.inf),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=rf"^{name} must be .*got {value}"):
        Sampling(**{name: value})


# Drawing.


def chain(tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """Return scores that depend on the previous token and on the number of steps so far."""
    assert isinstance(state, Tensor)
    table = torch.randn(12, 12, generator=torch.Generator().manual_seed(3))
    return table[tokens] + state.squeeze(0), state + 0.1


def draw(
    rows: int = 2,
    tokens: int = 50,
    seed: int = 0,
    *,
    sampling: Sampling | None = None,
    seen: Tensor | None = None,
    banned: tuple[int, ...] = (),
) -> Tensor:
    drawn = sample(
        chain,
        torch.zeros(rows, 12),
        torch.zeros(1, rows, 12),
        sampling=sampling or Sampling(),
        max_new_tokens=tokens,
        seen=seen,
        banned=banned,
        generator=torch.Generator().manual_seed(seed),
    )
    return torch.stack(list(drawn), 1)


def test_the_requested_number_of_tokens_is_drawn() -> None:
    assert [tuple(draw(3, count).shape) for count in (1, 2, 7)] == [(3, 1), (3, 2), (3, 7)]


def test_the_seed_determines_the_drawn_tokens() -> None:
    assert torch.equal(draw(seed=5), draw(seed=5))
    assert not torch.equal(draw(seed=5), draw(seed=6))


def test_the_global_generator_is_neither_used_nor_changed() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = draw()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(draw(), first)


def test_rows_are_drawn_independently_of_each_other() -> None:
    together = draw(2)
    assert not torch.equal(together[0], together[1])
    # Each of several greedy rows with different states equals the same row drawn alone.
    starts = torch.randn(1, 4, 12, generator=torch.Generator().manual_seed(8))

    def greedy(state: Tensor) -> Tensor:
        drawn = sample(chain, state[0], state, sampling=Sampling(temperature=0), max_new_tokens=20)
        return torch.stack(list(drawn), 1)

    alone = torch.cat([greedy(starts[:, row : row + 1]) for row in range(4)])
    assert torch.equal(greedy(starts), alone)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 100.0])
def test_banned_tokens_are_never_drawn(temperature: float) -> None:
    banned = (0, 3, 11)
    drawn = draw(4, 200, sampling=Sampling(temperature=temperature), banned=banned)
    allowed = set(range(12)) - set(banned)
    assert set(drawn.flatten().tolist()) <= allowed
    if temperature == 100:  # nearly even: 800 draws miss one of 9 with probability below 1e-39
        assert set(drawn.flatten().tolist()) == allowed


def test_drawn_tokens_follow_the_distribution() -> None:
    scores = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(20_000, -1)
    tokens = next(
        sample(
            chain,
            scores,
            torch.zeros(1, 1, 12),
            sampling=Sampling(),
            max_new_tokens=1,
            generator=torch.Generator().manual_seed(2),
        )
    )
    shares = tokens.bincount(minlength=3) / 20_000
    # Five standard deviations of a share of 20,000 draws: 5 * sqrt(0.25 / 20,000) = 0.018.
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), rtol=0, atol=0.018)


def test_a_strong_penalty_draws_every_token_once_first() -> None:
    def positive(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        scores, state = chain(tokens, state)
        return scores.abs() + 1, state

    drawn = sample(
        positive,
        torch.ones(1, 12),
        torch.zeros(1, 1, 12),
        max_new_tokens=12,
        sampling=Sampling(temperature=0, repetition_penalty=1e6),
    )
    assert sorted(int(token) for token in drawn) == list(range(12))


def test_the_penalty_applies_to_the_prompt_and_does_not_change_the_mask() -> None:
    seen = torch.zeros(1, 12, dtype=torch.bool)
    seen[0, :11] = True
    before = seen.clone()
    scores = torch.full((1, 12), 5.0)
    drawn = sample(
        chain,
        scores,
        torch.zeros(1, 1, 12),
        max_new_tokens=1,
        seen=seen,
        sampling=Sampling(temperature=0, repetition_penalty=2),
    )
    assert [int(token) for token in drawn] == [11]
    assert torch.equal(seen, before)


def test_the_model_is_called_once_less_than_there_are_tokens() -> None:
    calls: list[int] = []

    def counted(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        calls.append(int(tokens[0]))
        return chain(tokens, state)

    def drawn() -> Iterator[Tensor]:
        return sample(
            counted,
            torch.zeros(1, 12),
            torch.zeros(1, 1, 12),
            sampling=Sampling(),
            max_new_tokens=5,
            generator=torch.Generator().manual_seed(0),
        )

    tokens = [int(token) for token in drawn()]
    assert calls == tokens[:-1]
    calls.clear()
    next(drawn())  # the first token needs no call
    assert calls == []


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_token_is_refused(count: int) -> None:
    with pytest.raises(ArgumentError, match=rf"max_new_tokens must be at least 1, got {count}"):
        draw(tokens=count)


def test_dropping_ended_rows_does_not_change_other_rows() -> None:
    table = torch.rand(9, 9, generator=torch.Generator().manual_seed(5))
    seen: list[int] = []

    def step(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(tokens))
        nearer = torch.zeros(9)
        nearer[3] = 0.2  # the end becomes likelier with every step
        return table[tokens] + state, state + nearer

    def run(**options: object) -> list[list[int]]:
        seen.clear()
        state = torch.rand(32, 9, generator=torch.Generator().manual_seed(6))
        drawn = sample(
            step,
            state,
            state,
            sampling=Sampling(temperature=0),
            max_new_tokens=12,
            end=3,
            **options,  # type: ignore[arg-type]
        )
        rows = torch.stack(list(drawn), 1).tolist()
        return [row[: row.index(3)] if 3 in row else row for row in rows]

    whole = run()
    assert set(seen) == {32}
    assert run(select=lambda state, rows: state[rows]) == whole
    assert min(seen) < 16, "otherwise this test shows nothing"
