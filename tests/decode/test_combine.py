"""Forecasts that are combined with a simple one."""

from __future__ import annotations

import numpy as np
import pytest

from elman.decode.combine import SHARES, find_share, simple_forecast


def test_a_season_with_a_trend_continues_exactly_from_the_last_number() -> None:
    steps = np.arange(30)
    season = np.array([3.0, -1.0, 0.0, -2.0])
    y = 0.5 * (steps // 4) * 0 + season[steps % 4] + 7
    found = simple_forecast(y[None, :26, None], 4, 4)[0, :, 0]
    np.testing.assert_allclose(found, y[26:30])
    trend = y + 0.25 * steps  # the season is found despite a trend, which is not continued
    found = simple_forecast(trend[None, :26, None], 4, 4)[0, :, 0]
    np.testing.assert_allclose(found, y[26:30] + 0.25 * 25)


def test_missing_numbers_are_skipped() -> None:
    season = np.array([3.0, -1.0, 0.0, -2.0])
    y = np.stack([season[np.arange(16) % 4], np.arange(16.0)], 1)
    y[[2, 9, 14, 15]] = np.nan  # the last number is step 13
    found = simple_forecast(y[None], 3, 4)
    # The missing numbers make the seasons uneven.
    np.testing.assert_allclose(found[0, :, 0], season[[0, 1, 2]], atol=0.7)
    assert simple_forecast(y[None], 3)[0].tolist() == [[-1.0, 13.0]] * 3
    y[:, 1] = np.nan
    assert np.isnan(simple_forecast(y[None], 3, 4)[0, :, 1]).all()
    assert simple_forecast(y[None, :7], 2, 4)[0, 0, 0] == 0.0  # one season is too few


@pytest.mark.parametrize(
    ("mean", "best", "low", "high"),
    [(-0.5, 1.0, 0.9, 1), (0.05, 1.0, 0.9, 1), (0.5, 0.0, 0, 0), (0.05, 0.5, 0.4, 0.5)],
)
def test_the_mixture_is_used_if_it_is_clearly_better(
    mean: float, best: float, low: float, high: float
) -> None:
    above, each = mean + np.random.default_rng(0).normal(0, 1, 200), np.arange(200)
    mixed = SHARES * above[:, None]
    if 0 < best < 1:
        mixed += 4 * (SHARES**2 - SHARES)
    assert low <= find_share(mixed, each, each * 0) <= high
    few = find_share(mixed[:5], each[:5], each[:5] * 0)
    assert few <= 0.2  # five windows do not determine much


def test_errors_of_one_period_count_once() -> None:
    common = np.repeat([1.0, -0.6, 0.9, -0.9], 50)  # all series move alike in a period
    above = 0.1 + common + np.random.default_rng(0).normal(0, 0.1, 200)
    series, blocks = np.tile(np.arange(50), 4), np.repeat(np.arange(4), 50)
    losses = SHARES * above[:, None]
    assert find_share(losses, series, blocks) > 0.8  # four periods do not show a difference of 0.2
    each = np.arange(200)
    assert find_share(losses, each, each) == 0


def test_windows_without_numbers_have_no_share() -> None:
    each = np.arange(3)
    assert find_share(np.full((3, len(SHARES)), np.nan), each, each) == 0
