"""Pieces of long recordings: their lengths, and where they end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elman.encode.pauses import LAST, LONGEST, SHORTEST, cut_at_pauses, quietest


def levels(count: int, seed: int) -> np.ndarray:
    """Return the levels of noise with pauses of 0.2 to 0.8 s every 1 to 6 s."""
    draw = np.random.default_rng(seed)
    found = 5 + draw.standard_normal(count)
    at = 0
    while at < count:
        at += int(draw.integers(100, 600))
        length = int(draw.integers(20, 80))
        found[at : at + length] -= 5
        at += length
    return found.astype(np.float32)


@given(st.lists(st.integers(0, 5000), max_size=8), st.integers(0, 99))
def test_pieces_are_the_recording_and_do_not_depend_on_the_blocks(sizes, seed):
    frames = levels(sum(sizes), seed)[:, None]
    blocks = np.split(frames, np.cumsum(sizes)[:-1]) if sizes else []
    pieces = [*cut_at_pauses(blocks, lambda x: x[:, 0])]
    assert np.array_equal(np.concatenate([frames[:0], *pieces]), frames)
    whole = cut_at_pauses([frames], lambda x: x[:, 0])
    assert [len(one) for one in pieces] == [len(one) for one in whole]
    assert all(SHORTEST <= len(one) <= LONGEST for one in pieces[:-1])
    if len(pieces) > 1:
        assert LAST <= len(pieces[-1]) < LONGEST + LAST


def test_pieces_end_in_the_middle_of_the_longest_pause():
    found = np.full(1000, 5.0, dtype=np.float32)
    found[100:110] = 0  # shorter than the window, so its smoothed level is higher
    found[600:700] = 1
    assert abs(quietest(found) - 650) <= 1
    found[:] = 5.0
    found[900:] = 1  # a pause at the end of the range
    assert 900 <= quietest(found) < 1000
    assert 0 <= quietest(np.zeros(1000, dtype=np.float32)) < 1000
