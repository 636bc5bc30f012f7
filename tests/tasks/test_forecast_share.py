"""Forecasts combine the network with a simple forecast, which has a share that is estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elman

QUICK: dict[str, Any] = {
    "horizon": 4,
    "context": 12,
    "hidden_size": 8,
    "epochs": 2,
    "windows": 200,
    "device": "cpu",
    "samples": 20,
}


@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
@pytest.mark.parametrize("season", [1, 4])
def test_the_share_moves_means_quantiles_and_futures_to_the_simple_forecast(
    decoder: str, season: int
) -> None:
    steps = np.arange(80)
    y = np.array([3.0, -1.0, 0.0, -2.0])[steps % 4] + 7
    y[70:73] = np.nan
    model = elman.Forecaster(**QUICK, season=4, decoder=decoder).fit(y.tolist())
    simple = y[80 - 4 : 80] if season == 4 else np.repeat(y[79], 4)
    model._predictor = model.predictor.with_estimates(widening=None, share=None)
    plain = model.predict(futures=10)
    share = np.array([season, 0.75])
    model._predictor = model.predictor.with_estimates(share=share)
    moved = model.predict(futures=10)
    move = 0.75 * (simple[:, None] - plain.median[0])
    np.testing.assert_allclose(moved.mean[0], plain.mean[0] + move, atol=1e-4)
    np.testing.assert_allclose(moved.quantiles[0], plain.quantiles[0] + move[..., None], atol=1e-4)
    assert moved.futures is not None
    assert plain.futures is not None
    if decoder == "autoregressive":
        np.testing.assert_allclose(moved.futures[0], plain.futures[0] + move, atol=1e-4)
    else:  # futures are drawn from the quantiles
        np.testing.assert_allclose(moved.futures[0], plain.futures[0] + move, atol=1e-3)
    live = model.stream(series=y[:-1].tolist()).push(y[-1])
    if decoder == "direct":
        np.testing.assert_allclose(live.quantiles, moved.quantiles[0], rtol=1e-5, atol=1e-5)


def test_the_last_number_has_a_large_share_for_random_walks(tmp_path: Path) -> None:
    walks = np.random.default_rng(2).normal(0, 1, (30, 240)).cumsum(1)
    table = {"unique_id": np.repeat(np.arange(30), 240).tolist(), "y": walks.ravel().tolist()}
    model = elman.Forecaster(**QUICK | {"windows": 2000, "epochs": 4}).fit(
        table, out=tmp_path / "run"
    )
    assert model.history.share is not None
    season, share = model.history.share
    assert season == 1
    assert share > 0.3
    loaded = elman.Forecaster.load(tmp_path / "run")
    assert loaded.history.share.tolist() == [season, share]
    np.testing.assert_array_equal(loaded.predict().quantiles, model.predict().quantiles)
    assert f"share of {share:.0%} of the last number;" in (tmp_path / "run/README.md").read_text()
    assert elman.Forecaster(**QUICK, combine=False).fit(table).history.share is None


def test_the_simple_forecast_has_a_small_share_if_the_model_learns_a_pattern() -> None:
    y = np.tile([3.0, 1.0, 4.0, 1.0, 5.0], 60) * np.repeat([1.0, 1.5], 150)
    settings = {**QUICK, "learning_rate": 0.02, "epochs": 6, "season": 1, "segment": 1}
    model = elman.Forecaster(**settings).fit(y.tolist())
    assert model.history.share is None or model.history.share[1] < 0.2


def test_places_and_counts_have_no_share() -> None:
    y = np.random.default_rng(0).poisson(3, 80).astype(float).tolist()
    counts = elman.Forecaster(**QUICK, output="negative_binomial", scaling="mean").fit(y)
    assert counts.history.share is None
    plane = {**QUICK, "targets": ("y", "x"), "plane": True, "scaling": "velocity"}
    assert elman.Forecaster(**plane).fit({"y": y, "x": y}).history.share is None
