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
    trend = y + 0.25 * steps  # the season is found in spite of a trend, which is not continued
    found = simple_forecast(trend[None, :26, None], 4, 4)[0, :, 0]
    np.testing.assert_allclose(found, y[26:30] + 0.25 * 25)


def test_missing_numbers_are_skipped() -> None:
    season = np.array([3.0, -1.0, 0.0, -2.0])
    y = np.stack([season[np.arange(16) % 4], np.arange(16.0)], 1)
    y[[2, 9, 14, 15]] = np.nan  # the last number is step 13
    found = simple_forecast(y[None], 3, 4)
    np.testing.assert_allclose(found[0, :, 0], season[[0, 1, 2]], atol=0.7)  # of uneven seasons
    assert simple_forecast(y[None], 3)[0].tolist() == [[-1.0, 13.0]] * 3
    y[:, 1] = np.nan
    assert np.isnan(simple_forecast(y[None], 3, 4)[0, :, 1]).all()
    assert simple_forecast(y[None, :7], 2, 4)[0, 0, 0] == 0.0  # one season is too few


@pytest.mark.parametrize(("best", "low", "high"), [(0.0, 0, 0.2), (0.5, 0.35, 0.7), (1.0, 0.8, 1)])
def test_the_share_is_near_the_best_one(best: float, low: float, high: float) -> None:
    draw = np.random.default_rng(0)
    model, simple = draw.normal(0, 1, (2, 200, 5))
    y = model + best * (simple - model) + draw.normal(0, 0.1, (200, 5))
    errors = np.abs(y[..., None] - model[..., None] - SHARES * (simple - model)[..., None])
    each = np.arange(200)
    assert low <= find_share(errors.mean(1), each, each * 0) <= high
    few = find_share(errors.mean(1)[:5], each[:5], each[:5] * 0)
    assert few <= 0.2  # five windows do not determine much


def test_errors_of_one_period_count_once() -> None:
    draw = np.random.default_rng(0)
    common = np.repeat(draw.normal(0, 1, 4), 50)[:, None]  # all series move alike in a period
    losses = 1 + (0.1 + common) * SHARES
    series, blocks = np.tile(np.arange(50), 4), np.repeat(np.arange(4), 50)
    losses -= losses.mean(0) - 1 - 0.1 * SHARES  # the simple forecast is worse by 0.1
    assert find_share(losses, series, blocks) > 0.8  # four periods do not show it
    assert find_share(losses, np.arange(200), np.arange(200)) < 0.8


def test_windows_without_numbers_have_no_share() -> None:
    each = np.arange(3)
    assert find_share(np.full((3, 11), np.nan), each, each) == 0
