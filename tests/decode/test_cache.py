"""A neural cache equals its definition, is a distribution, and needs constant memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elman.decode.cache import CacheMemory, NeuralCache
from elman.errors import ArgumentError, DataError
from elman.state import named_leaves

FEATURES, TOKENS = 3, 7


def text(steps: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, log-probabilities and following tokens of some steps."""
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(steps, FEATURES, generator=draw)
    scores = torch.randn(steps, TOKENS, generator=draw)
    following = torch.randint(TOKENS, (steps,), generator=draw)
    return states, scores.log_softmax(1), following


def by_definition(settings: NeuralCache, states: Tensor, log_p: Tensor, next_: Tensor) -> Tensor:
    """Return the probabilities (T, V), one step and one stored state at a time."""
    p, weight = log_p.exp().double(), settings.weight
    for t in range(1, len(states)):
        shares = torch.zeros(TOKENS, dtype=torch.float64)
        for i in range(max(0, t - settings.size), t):
            alike = float(F.cosine_similarity(states[t], states[i], dim=0))
            shares[next_[i]] += math.exp(settings.theta * alike)
        shares /= shares.sum()
        p[t] = (1 - weight) * p[t] + weight * shares
        right = next_[t]
        weight += settings.rate * (weight * float(shares[right] / p[t, right]) - weight)
    return p


@pytest.mark.parametrize("rate", [0, 0.1])
@pytest.mark.parametrize("size", [1, 4, 5, 100])
@pytest.mark.parametrize("parts", [[30], [1] * 30, [7, 1, 13, 9]])
def test_parts_of_any_length_equal_the_definition(size: int, parts: list[int], rate: float) -> None:
    settings = NeuralCache(size=size, theta=3.0, weight=0.3, rate=rate)
    memory, steps = CacheMemory(settings, FEATURES), text(30)
    split = zip(*(one.split(parts) for one in steps), strict=True)
    p = torch.cat([memory.read(*some) for some in split]).exp().double()
    # float32 sums of a few numbers
    torch.testing.assert_close(p, by_definition(settings, *steps), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(p.sum(1), torch.ones(30, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_prediction_equals_that_of_reading_and_stores_nothing() -> None:
    states, log_p, following = text(9)
    memory = CacheMemory(NeuralCache(size=4, theta=2.0, weight=0.5), FEATURES)
    memory.read(states[:8], log_p[:8], following[:8])
    for _ in range(2):
        one = memory.predict(states[8:], log_p[8:])
    torch.testing.assert_close(one, memory.read(states[8:], log_p[8:], following[8:]))


def test_an_empty_cache_and_a_weight_of_zero_leave_the_model() -> None:
    states, log_p, following = text(5)
    empty = CacheMemory(NeuralCache(weight=0.9), FEATURES)
    assert torch.equal(empty.predict(states[:1], log_p[:1]), log_p[:1])
    unused = CacheMemory(NeuralCache(weight=0, rate=0.5), FEATURES)
    torch.testing.assert_close(unused.read(states, log_p, following), log_p)


def test_the_weight_falls_if_the_cache_does_not_help_and_rises_if_it_does() -> None:
    settings = NeuralCache(size=50, theta=1.0, weight=0.3, rate=0.05)
    draw = torch.Generator().manual_seed(0)
    random = torch.randint(1000, (200,), generator=draw)
    for tokens, low, high in ((random, 0.0, 0.02), (torch.full((200,), 3), 0.9, 1.0)):
        memory = CacheMemory(settings, FEATURES)
        states = torch.randn(200, FEATURES, generator=draw)
        memory.read(states, torch.full((200, 1000), 1e-3).log(), tokens)
        assert low <= float(memory.state[3]) <= high  # type: ignore[arg-type]


def test_a_restored_cache_continues_equally_and_impossible_numbers_are_refused() -> None:
    settings = NeuralCache(size=4)
    states, log_p, following = text(12)
    memory, other = (CacheMemory(settings, FEATURES) for _ in range(2))
    memory.read(states[:6], log_p[:6], following[:6])
    kept = [leaf.clone() for _, leaf in named_leaves(memory.state)]
    other.restore(tuple(leaf.clone() for leaf in kept), TOKENS)
    rest = states[6:], log_p[6:], following[6:]
    assert torch.equal(memory.read(*rest), other.read(*rest))
    for n, bad in enumerate((kept[0] * math.nan, kept[1] + TOKENS, kept[2] + 4, kept[3] + 1)):
        with pytest.raises(DataError, match="the cache of the text is damaged"):
            other.restore((*kept[:n], bad, *kept[n + 1 :]), TOKENS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"size": 2.5}, "size must be a whole number, got 2.5"),
        ({"theta": -1}, "theta must be 0 or more, got -1"),
        ({"theta": math.nan}, "theta must be 0 or more, got nan"),
        ({"weight": 1}, r"weight must be in \[0, 1\), got 1"),
        ({"rate": -0.1}, r"rate must be in \[0, 1\), got -0.1"),
        ({"weight": "all"}, "weight must be a number, got 'all'"),
    ],
)
def test_bad_settings_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        NeuralCache(**given)  # type: ignore[arg-type]
