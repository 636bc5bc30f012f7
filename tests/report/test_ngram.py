import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman.errors import ArgumentError
from elman.report.ngram import KneserNey

# Both sides add and multiply the same few float64 numbers: 1e-9 is far above rounding (1e-15
# here) and far below any wrong count.
TOLERANCE = 1e-9

Gram = tuple[int, ...]


class Dictionaries:
    """Modified Kneser-Ney by its definition, with tuples in dictionaries."""

    def __init__(self, order: int, tokens: Sequence[int], vocabulary_size: int) -> None:
        self.order, self.vocabulary_size = order, vocabulary_size
        self.counts: dict[int, Counter[Gram]] = {}
        for k in range(1, order + 1):
            grams = [(i, tuple(tokens[i : i + k])) for i in range(len(tokens) - k + 1)]
            if k == order:
                self.counts[k] = Counter(gram for _, gram in grams)
                continue
            left: defaultdict[Gram, set[int]] = defaultdict(set)
            for i, gram in grams:
                left[gram].add(tokens[i - 1] if i else -1)
            self.counts[k] = Counter({gram: len(neighbours) for gram, neighbours in left.items()})
        self.discounts = {k: self.estimate(counts) for k, counts in self.counts.items()}

    @staticmethod
    def estimate(counts: Counter[Gram]) -> tuple[float, float, float]:
        n = Counter(counts.values())
        if not (n[1] and n[2] and n[3] and n[4]):
            return 0.5, 1.0, 1.5
        y = n[1] / (n[1] + 2 * n[2])
        d = (y, 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        return d if min(d) > 0 else (0.5, 1.0, 1.5)

    def probability(self, word: int, context: Gram) -> float:
        return self.interpolate(word, context[max(0, len(context) - self.order + 1) :])

    def interpolate(self, word: int, context: Gram) -> float:
        k = len(context) + 1
        lower = self.interpolate(word, context[1:]) if context else 1 / self.vocabulary_size
        counts = self.counts[k]
        followers = {gram: c for gram, c in counts.items() if gram[:-1] == context}
        total = sum(followers.values())
        if not total:
            return lower
        discount = {gram: self.discounts[k][min(c, 3) - 1] for gram, c in followers.items()}
        gram = (*context, word)
        share = (followers[gram] - discount[gram]) / total if gram in followers else 0.0
        return share + sum(discount.values()) / total * lower

    def log_probs(self, tokens: Sequence[int]) -> list[float]:
        return [
            math.log(self.probability(tokens[t], tuple(tokens[:t]))) for t in range(1, len(tokens))
        ]


def mass(model: KneserNey, context: Sequence[int]) -> float:
    rows = (np.array([*context, word]) for word in range(model.vocabulary_size))
    return math.fsum(math.exp(model.log_probs(row)[-1]) for row in rows)


def zipf(seed: int, size: int, vocabulary_size: int) -> NDArray[np.int64]:
    weights = 1 / np.arange(1, vocabulary_size + 1)
    generator = np.random.default_rng(seed)
    return generator.choice(vocabulary_size, size=size, p=weights / weights.sum())


streams = st.integers(1, 6).flatmap(
    lambda v: st.tuples(
        st.just(v),
        st.lists(st.integers(0, v - 1), min_size=1, max_size=40),
        st.lists(st.integers(0, v - 1), min_size=2, max_size=12),
    )
)


@settings(max_examples=150, deadline=None)
@given(order=st.integers(1, 6), drawn=streams)
def test_log_probs_equal_the_dictionary_reference(
    order: int, drawn: tuple[int, list[int], list[int]]
) -> None:
    vocabulary_size, train, test = drawn
    model = KneserNey(order).fit(np.array(train), vocabulary_size)
    expected = Dictionaries(order, train, vocabulary_size).log_probs(test)
    np.testing.assert_allclose(model.log_probs(np.array(test)), expected, rtol=0, atol=TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(order=st.integers(1, 5), drawn=streams)
def test_probabilities_sum_to_one_after_any_context(
    order: int, drawn: tuple[int, list[int], list[int]]
) -> None:
    vocabulary_size, train, context = drawn
    # The vocabulary has two more ids than were drawn, which are not in the training data.
    model = KneserNey(order).fit(np.array(train), vocabulary_size + 2)
    unseen = vocabulary_size
    for tail in (context, train[-4:], train[:4], [unseen, *train[-3:]], [*context, unseen]):
        assert mass(model, tail) == pytest.approx(1, abs=TOLERANCE)


def test_estimated_discounts_equal_the_reference_and_sum_to_one() -> None:
    train, test = zipf(1, size=3000, vocabulary_size=20), zipf(2, size=60, vocabulary_size=20)
    reference = Dictionaries(4, train.tolist(), 20)
    # With the default discounts at every order, the estimates would not be tested.
    assert all(reference.discounts[k] != (0.5, 1.0, 1.5) for k in (2, 3, 4))
    model = KneserNey(4).fit(train, 20)
    expected = reference.log_probs(test.tolist())
    np.testing.assert_allclose(model.log_probs(test), expected, rtol=0, atol=TOLERANCE)
    for i in range(0, 60, 6):
        assert mass(model, test[i : i + 3].tolist()) == pytest.approx(1, abs=TOLERANCE)


def test_a_negative_estimate_of_a_discount_is_replaced() -> None:
    # Unigram counts 1, 2, 3 x 4 and 4 give y = 1/3 and an estimate of 2 - 4 = -2 for D2.
    train = [0, 1, 1] + [2, 3, 4, 5] * 3 + [6] * 4
    assert Dictionaries(1, train, 7).discounts[1] == (0.5, 1.0, 1.5)
    model = KneserNey(1).fit(np.array(train), 7)
    # 19 tokens; 0.5 + 1 + 5 * 1.5 = 9 of them are discounted and spread over the 7 types.
    expected = [(2 - 1) / 19 + 9 / 19 / 7, (4 - 1.5) / 19 + 9 / 19 / 7]
    np.testing.assert_allclose(
        np.exp(model.log_probs(np.array([0, 1, 6]))), expected, rtol=0, atol=TOLERANCE
    )


def test_bigram_probabilities_match_a_calculation_by_hand() -> None:
    model = KneserNey(order=2).fit(np.array([0, 1, 0]), 3)
    # Continuation counts: 0 follows the start and 1, 1 follows 0; discounts 1/2, 1, 3/2.
    # p1(0) = (2 - 1)/3 + 1.5/3/3 = 1/2, p1(1) = 0.5/3 + 1/6 = 1/3, p1(2) = 1/6.
    # After 0: p2(1) = 1/2 + 1/2 * 1/3; after 2 (never a context) p2 = p1.
    for context, expected in ((0, (1 / 4, 2 / 3, 1 / 12)), (2, (1 / 2, 1 / 3, 1 / 6))):
        got = [math.exp(model.log_probs(np.array([context, word]))[0]) for word in range(3)]
        assert got == pytest.approx(expected, abs=TOLERANCE)


def test_a_word_of_one_context_is_rare_after_other_contexts() -> None:
    # 1 occurs 20 times but only after 0 ("San Francisco"); 2 occurs 4 times, after 4 tokens.
    train = [0, 1] * 20 + [3, 2, 4, 2, 5, 2, 6, 2]
    model = KneserNey(order=2).fit(np.array(train), 8)
    after_unseen = [model.log_probs(np.array([7, word]))[0] for word in (1, 2)]
    assert after_unseen[0] < after_unseen[1]
    assert model.log_probs(np.array([0, 1]))[0] > math.log(0.9)


def test_all_contexts_of_a_small_vocabulary_are_normalised() -> None:
    model = KneserNey(order=3).fit(np.array([0, 1, 2, 0, 1, 1, 0, 2, 2, 0, 1, 2]), 4)
    for context in [*product(range(4)), *product(range(4), repeat=2)]:
        assert mass(model, context) == pytest.approx(1, abs=TOLERANCE)


def test_only_the_last_order_minus_one_tokens_matter() -> None:
    train = zipf(3, size=400, vocabulary_size=8)
    model = KneserNey(order=3).fit(train, 8)
    long, short = train[100:120], train[110:120]
    # The same table entries are multiplied in the same order: bit-equal after 2 tokens of context.
    np.testing.assert_array_equal(model.log_probs(long)[-8:], model.log_probs(short)[-8:])
    assert model.log_probs(long)[-9] != model.log_probs(short)[-9]


def test_a_uint16_memory_map_gives_the_results_of_int64(tmp_path: Path) -> None:
    train = zipf(4, size=5000, vocabulary_size=60_000).astype(np.uint16)
    train.tofile(tmp_path / "ids.bin")
    mapped = np.memmap(tmp_path / "ids.bin", dtype=np.uint16, mode="r")
    from_map = KneserNey().fit(mapped, 60_000).log_probs(mapped[:500])
    from_memory = KneserNey().fit(train.astype(np.int64), 60_000).log_probs(train[:500])
    np.testing.assert_array_equal(from_map, from_memory)


def test_ids_near_four_billion_do_not_overflow() -> None:
    small = zipf(5, size=300, vocabulary_size=6)
    vocabulary_size = 2**32
    large = (vocabulary_size - 6 + small).astype(np.uint32)
    got = KneserNey(3).fit(large, vocabulary_size).log_probs(large[:50])
    expected = Dictionaries(3, small.tolist(), vocabulary_size).log_probs(small[:50].tolist())
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


def test_perplexity_is_the_vocabulary_size_if_tokens_are_equally_frequent() -> None:
    # Order 1 counts 100 of each token, and the discounts are spread evenly.
    cycle = np.array([0, 0, 1, 1, 2, 2, 3, 3] * 50)
    model = KneserNey(order=1).fit(cycle, 4)
    assert model.perplexity(cycle) == pytest.approx(4, abs=TOLERANCE)


def test_a_longer_order_predicts_a_periodic_stream_better() -> None:
    period = np.array([0, 0, 1, 0, 2, 0, 0, 3] * 60)
    perplexities = [KneserNey(order).fit(period, 4).perplexity(period) for order in (1, 2, 3, 4)]
    assert perplexities == sorted(perplexities, reverse=True)
    # Three tokens determine the next one; only the discount of 1.5 in 60 keeps perplexity above 1.
    assert 1 < perplexities[-1] < 1.05


def test_one_token_streams_work_at_every_order() -> None:
    for order in (1, 2, 5):
        model = KneserNey(order).fit(np.array([1]), 2)
        # The count 1 minus 1/2, and half of the discount.
        assert math.exp(model.log_probs(np.array([0, 1]))[0]) == pytest.approx(0.75, abs=TOLERANCE)
        assert model.log_probs(np.array([0])).shape == (0,)


def test_fitting_again_discards_the_first_stream() -> None:
    first, second = zipf(6, size=200, vocabulary_size=5), zipf(7, size=200, vocabulary_size=9)
    again = KneserNey(3).fit(first, 5).fit(second, 9)
    fresh = KneserNey(3).fit(second, 9)
    np.testing.assert_array_equal(again.log_probs(second), fresh.log_probs(second))


@pytest.mark.parametrize("order", [0, -1])
def test_an_order_below_one_is_refused(order: int) -> None:
    with pytest.raises(ArgumentError, match=f"order must be 1 or more, got {order}"):
        KneserNey(order)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([], dtype=np.int64), "tokens is empty"),
        (np.array([0, 2, 3, 9]), r"0\.\.vocabulary_size-1=2, got 3 at position 2"),
        (np.array([0, 1, 2, -1]), "got -1 at position 3"),
        (np.array([0, 2**64 - 1], dtype=np.uint64), "got 18446744073709551615 at position 1"),
        (np.zeros((2, 2), dtype=np.int64), "1-D array of integers, got 2-D int64"),
        (np.zeros(3), "1-D array of integers, got 1-D float64"),
    ],
)
def test_bad_tokens_are_refused_in_fitting_and_in_scoring(
    tokens: NDArray[np.int64], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        KneserNey().fit(tokens, 3)
    model = KneserNey().fit(np.array([0, 1, 2]), 3)
    with pytest.raises(ArgumentError, match=message):
        model.log_probs(tokens)


def test_a_vocabulary_below_one_is_refused() -> None:
    with pytest.raises(ArgumentError, match="vocabulary_size must be 1 or more, got 0"):
        KneserNey().fit(np.array([0]), 0)


def test_scoring_before_fitting_is_refused() -> None:
    with pytest.raises(ArgumentError, match="call fit"):
        KneserNey().log_probs(np.array([0, 1]))


def test_the_perplexity_of_a_single_token_is_refused() -> None:
    with pytest.raises(ArgumentError, match="needs at least 2"):
        KneserNey().fit(np.array([0, 1]), 2).perplexity(np.array([0]))
