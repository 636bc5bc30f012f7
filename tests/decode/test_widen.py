"""Intervals that cover too few of the true values."""

from __future__ import annotations

import numpy as np
import pytest

from elman.decode.widen import find_widening


def test_intervals_of_one_side_are_widened_by_its_errors() -> None:
    draw = np.random.default_rng(0)
    y, missing = draw.normal(0, 2, (20_000, 1)), np.zeros(20_000)
    for place, levels in ((slice(None, 2), [0.1, 0.5]), (slice(1, None), [0.5, 0.9])):
        quantiles = np.broadcast_to(np.array([-1.2816, 0.0, 1.2816])[place], (20_000, 1, 2))
        a, _ = find_widening(missing, y, quantiles, levels)
        assert a == pytest.approx(2, abs=0.05)
