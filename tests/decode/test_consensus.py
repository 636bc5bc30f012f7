"""The sample that agrees most with the others."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.decode.consensus import Consensus, most_agreed
from elman.errors import ArgumentError

sequences = st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=8)


def likeness(a: list[int], b: list[int]) -> float:
    """Return the F1 of the words that two sequences share, plus that of the pairs of words."""

    def f1(x: list[object], y: list[object]) -> float:
        left, shared = list(y), 0
        for one in x:
            if one in left:
                left.remove(one)
                shared += 1
        return 2 * shared / max(1, len(x) + len(y))

    pairs = [list(pairwise(one)) for one in (a, b)]
    return f1(list(a), list(b)) + f1(list(pairs[0]), list(pairs[1]))


@given(sequences)
def test_the_chosen_sample_is_the_most_similar_to_all(some: list[list[int]]) -> None:
    means = [sum(likeness(a, b) for b in some) for a in some]
    assert means[most_agreed(some)] == pytest.approx(max(means))


def test_the_sample_that_most_others_agree_with_is_chosen() -> None:
    assert most_agreed([[9], [1, 2, 3], [1, 2, 4], [1, 2, 3]]) == 1
    assert most_agreed([[1], [2], [3], [4, 5, 6], [4, 5, 7]]) == 3  # single words share no pair


@pytest.mark.parametrize(
    ("options", "words"),
    [({"samples": 0}, "samples must be at least 1"), ({"temperature": 0}, "must be above 0")],
)
def test_values_out_of_range_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Consensus(**options)
