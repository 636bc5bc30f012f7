"""Forecasts of series in any unit and on any level, with constant windows and with gaps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elman
from elman.decode.widen import GAPS
from elman.encode.scale import LEAST
from elman.encode.units import size_of
from elman.errors import FolderError
from elman.forecast.history import History
from elman.forecast.scene import windows_of

# Two steps of the optimiser suffice, because the tests must pass with any weights.
QUICK: dict[str, Any] = {
    "horizon": 4,
    "season": 4,
    "context": 12,
    "hidden_size": 8,
    "epochs": 1,
    "windows": 32,
    "batch_size": 16,
    "device": "cpu",
    "samples": 20,
    "gaps": 0.5,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "quantile": {"scaling": "last"},
    "conformal": {"conformal": True, "quantiles": (0.2, 0.5, 0.8), "scaling": "robust"},
    "gaussian": {"output": "gaussian", "scaling": "standard", "segment": 1},
    "student_t": {"output": "student_t", "scaling": "mean"},
    "mixture": {"output": "mixture", "scaling": None},
    "point": {"output": "point", "scaling": "last"},
    "drawn student_t": {"decoder": "autoregressive", "scaling": "last"},
    "drawn gaussian": {"decoder": "autoregressive", "output": "gaussian", "scaling": None},
    "drawn mixture": {"decoder": "autoregressive", "output": "mixture", "scaling": "mean"},
}
Series = dict[str, list[Any]]


def hard_series() -> list[np.ndarray]:
    """Return a seasonal series with a gap and a constant part, a sparse one, and a constant one."""
    draw = np.random.default_rng(0)
    season = np.array([1.0, 3, 2, 7])[np.arange(80) % 4] + draw.normal(0, 0.3, 80)
    season[20:40], season[50:56] = 5.0, np.nan
    rare = np.where(draw.random(80) < 0.06, draw.integers(1, 5, 80), 0.0)
    return [season, rare, np.full(80, 2.0)]


def forecasts_of(options: dict[str, Any], values: list[np.ndarray]) -> np.ndarray:
    """Return quantiles and means of all series, a live forecast of the first, and futures."""
    model = elman.Forecaster(**{**QUICK, **options}).fit([one.tolist() for one in values])
    found = model.predict()
    live = model.stream("0").push(values[0][3])
    parts = [found.quantiles.ravel(), found.mean.ravel(), live.quantiles.ravel()]
    if model.kind_of_output != "point" and not model.conformal:
        futures = model.predict(futures=3).futures
        assert futures is not None
        parts.append(futures.ravel())
    return np.concatenate(parts)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_forecasts_scale_with_the_unit_of_the_series(options: dict[str, Any]) -> None:
    values = hard_series()
    plain = forecasts_of(options, values)
    # A power of two changes no digit.  Other factors round, and two steps hardly enlarge the error.
    for factor, tolerance in ((2.0**-40, 1e-12), (1e12, 1e-4)):
        found = forecasts_of(options, [one * factor for one in values])
        np.testing.assert_allclose(found / factor, plain, atol=tolerance * np.abs(plain).max())


@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
@pytest.mark.parametrize("scaling", ["last", "standard", "robust"])
def test_forecasts_shift_with_the_level_of_the_series(scaling: str, decoder: str) -> None:
    options = {"scaling": scaling, "decoder": decoder}
    values = hard_series()
    plain = forecasts_of(options, values)
    for factor, level, tolerance in ((1e-5, 52.52, 1e-4), (1.0, 1e7, 1e-4)):
        # On such a level, at least 9 digits remain for the changes of the series.
        found = forecasts_of(options, [one * factor + level for one in values])
        error = (found - level) / factor - plain
        assert np.abs(error).max() < tolerance * np.abs(plain).max()


@pytest.mark.parametrize("scaling", ["velocity", "last"])
def test_places_may_have_any_unit_and_origin(scaling: str) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(1, 0.3, 60).cumsum(), draw.normal(0, 0.3, 60).cumsum()
    options = {**QUICK, "targets": ("x", "y"), "plane": True, "scaling": scaling, "season": 1}
    found = []
    for factor, origin in ((1.0, 0.0), (2.0**-40, 0.0), (1e12, 0.0), (1.0, 2.0**20)):
        columns = {"x": (x * factor + origin).tolist(), "y": (y * factor + origin).tolist()}
        quantiles = elman.Forecaster(**options).fit(columns).predict().quantiles
        found.append((quantiles - origin) / factor)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-4)


def test_covariates_may_have_any_unit_and_level() -> None:
    draw = np.random.default_rng(0)
    heat, load = draw.normal(20, 5, 64), draw.normal(3, 1, 64)
    y = np.array([1.0, 3, 2, 7])[np.arange(60) % 4].tolist() + [None] * 4
    options = {**QUICK, "past": ("load", "still"), "future": ("heat",), "static": ("size",)}

    def quantiles(factor: float, level: float) -> np.ndarray:
        columns = {
            "unique_id": ["a"] * 64 + ["b"] * 64,
            "y": 2 * y,
            "heat": 2 * (heat * factor + level).tolist(),
            "load": 2 * (load * factor + level).tolist(),
            "still": [factor + level] * 128,
            "size": [factor + level] * 64 + [2 * factor + level] * 64,
        }
        model = elman.Forecaster(**options).fit(columns)
        # A column that was constant in training has no influence, even if it changes later.
        columns["still"][-8:] = [9 * factor + level] * 8
        assert np.array_equal(model.predict(columns).quantiles, model.predict().quantiles)
        return model.predict().quantiles

    plain = quantiles(1.0, 0.0)
    for factor, level in ((2.0**40, 0.0), (1e-12, 0.0), (1e-5, 52.52), (1.0, 1e7)):
        np.testing.assert_allclose(quantiles(factor, level), plain, atol=1e-4)


def test_a_constant_window_has_a_share_of_the_usual_scale() -> None:
    values = hard_series()
    model = elman.Forecaster(**{**QUICK, "gaps": 0.0}).fit([one.tolist() for one in values])
    index, windows = model.index, windows_of(model.predictor, model.history.table)
    moving, _, never = (index.scales[name] for name in "012")
    assert moving[0] > 1
    assert never == [0.0]  # the usual scale of all series replaces it
    window = windows.cut(np.array([0, 2]), np.array([36, 36]))
    usual = windows.y[:12, 0].std()  # of the first context; the next two are constant or short
    assert window.scale[0] == pytest.approx(LEAST * (usual + windows.y[12:24, 0].std()) / 2)
    assert window.scale[1] == pytest.approx(LEAST * index.unit[0])
    # In training, the usual scale is that of the whole training part.
    drawn = windows.cut(np.array([0]), np.array([36]), draw=np.random.default_rng(3))
    assert drawn.scale[0] == pytest.approx(LEAST * moving[0])


def test_constant_windows_do_not_dominate_the_loss() -> None:
    draw = np.random.default_rng(0)
    moving = np.sin(np.arange(600.0)) + draw.normal(0, 0.3, 600)
    moving[200:400] = 5.0 + 1e-6 * draw.normal(size=200)
    model = elman.Forecaster(**QUICK, scaling="last").fit(moving.tolist())
    windows = windows_of(model.predictor, model.history.table)
    origins = np.arange(12, 560)
    window = windows.cut(np.zeros(548, dtype=np.int64), origins, draw=draw)
    targets = np.abs(window.targets[..., 0].numpy())
    at_rest = (origins >= 212) & (origins <= 400)
    assert np.nanmedian(targets[at_rest]) < 1e-4
    # The jump of about 6 at the end of the constant part is divided by at least LEAST * usual.
    usual = model.index.scales[""][0]
    assert usual > 0.5
    assert np.nanmax(targets[at_rest]) < 8 / (LEAST * usual)


def test_values_after_the_origin_do_not_change_the_scale_of_a_new_series() -> None:
    values = hard_series()
    model = elman.Forecaster(**QUICK).fit({"unique_id": ["a"] * 80, "y": values[0].tolist()})
    other = np.concatenate([values[1][:70], 1e6 + values[1][70:]])
    found = [
        model.backtest({"unique_id": ["b"] * 74, "y": y.tolist()}, cuts=1, stride=1).forecasts
        for y in (values[1][:74], other[:74])
    ]
    assert np.array_equal(found[0].quantiles, found[1].quantiles)


def test_the_network_reads_the_logarithm_of_the_scale_relative_to_the_usual_one() -> None:
    model = elman.Forecaster(**QUICK).fit([one.tolist() for one in hard_series()])
    unit = np.array([model.index.unit[0]])
    layout = model.layout
    assert size_of(unit, layout)[0] == 0
    assert size_of(unit * np.e, layout)[0] == pytest.approx(1 / max(1.0, layout.spread[0]))
    assert size_of(unit * 1e12, layout)[0] == 3


def test_a_folder_of_version_0_1_0_predicts_as_before_but_cannot_be_resumed(tmp_path: Path) -> None:
    y = [one.tolist() for one in hard_series()]
    elman.Forecaster(**QUICK).fit(y, out=tmp_path / "model")
    index = json.loads((tmp_path / "model/series.json").read_text())
    for name in ("scales", "unit", "spread"):
        del index[name]
    (tmp_path / "model/series.json").write_text(json.dumps(index))
    config = json.loads((tmp_path / "model/config.json").read_text())
    del config["settings"]["gaps"]
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    (tmp_path / "model/manifest.json").unlink()  # version 0.1.0 wrote no manifest
    with pytest.raises(FolderError, match=r"was begun by version 0\.1\.0"):
        elman.Forecaster.resume(tmp_path / "model", epochs=2)
    old = elman.load(tmp_path / "model")
    assert isinstance(old, elman.Forecaster)
    windows = windows_of(old.predictor, old.history.table)
    window = windows.cut(np.array([0, 1, 2]), np.array([36, 5, 36]))
    # At least max(1e-3, 1 / n^2) times the mean |y| of n numbers, and 1 for zeros.
    assert window.scale[:, 0, 0].tolist() == pytest.approx([5 / 144, 1.0, 2 / 144])
    at = old.layout.numbers - 2
    assert window.inputs[:, 0, at].tolist() == pytest.approx(np.log([5 / 144, 1.0, 2 / 144]))


@pytest.mark.learns
@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
def test_intervals_widen_where_numbers_are_missing(decoder: str) -> None:
    draw = np.random.default_rng(0)
    y = np.zeros(6000)
    for step, error in enumerate(draw.normal(size=5999), 1):
        y[step] = 0.95 * y[step - 1] + error
    model = elman.Forecaster(
        horizon=1,
        context=16,
        season=1,
        decoder=decoder,
        output="gaussian",
        samples=50,
        gaps=0.5,
        hidden_size=12,
        epochs=3,
        windows=3000,
        learning_rate=0.01,
        dropout=0.0,
        device="cpu",
    ).fit(y[:4800].tolist())
    origins = np.arange(4816, 5999, 5)
    parts = np.stack([y[origin - 16 : origin] for origin in origins])
    hidden = draw.random(parts.shape) < 0.6
    hidden[:, -1] = False  # a forecast begins after the last number
    widths = []
    for seen in (parts, np.where(hidden, np.nan, parts)):
        columns = {"unique_id": np.repeat(origins, 16).tolist(), "y": seen.ravel().tolist()}
        found = model.predict(columns)
        low, high = found.quantile(0.1)[:, 0, 0], found.quantile(0.9)[:, 0, 0]
        widths.append(float((high - low).mean()))
        assert float(((low <= y[origins]) & (y[origins] <= high)).mean()) > 0.7
    assert widths[1] > widths[0]


@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
@pytest.mark.parametrize("where", ["scattered", "end", "beginning"])
def test_the_widening_applies_to_missing_numbers_in_predict_and_live(
    decoder: str, where: str
) -> None:
    y = np.random.default_rng(0).normal(5, 1, 80)
    model = elman.Forecaster(**QUICK, decoder=decoder).fit(y.tolist())
    context, gapped = model.layout.context, y.copy()
    hidden = {"scattered": [-5, -8], "end": [-3, -2, -1], "beginning": [-12, -11, -10]}[where]
    gapped[hidden] = np.nan
    share = len(hidden) / context
    if where == "beginning":  # a series that is shorter than the context
        gapped = gapped[-context + 3 :]
    found = {}
    for slope in (0.0, 2.0, 3.0):
        known = {name: np.ones(len(GAPS)) for name in ("scattered", "end", "beginning")}
        known[where] = 1 + slope * GAPS
        widening = np.array([1.5 if slope == 3 else 1.0, *np.concatenate([*known.values()])])
        model._predictor = model.predictor.with_estimates(widening=widening)
        live = model.stream(series=gapped[:-3].tolist())
        *_, last = (live.push(one) for one in gapped[-3:])
        found[slope] = model.predict(y.tolist()).quantiles, last.quantiles
        if decoder == "direct" and where != "end":  # `predict` forecasts after the last number
            table = model.predict(gapped.tolist()).quantiles[0]
            np.testing.assert_allclose(last.quantiles, table, rtol=1e-5, atol=1e-5)
    assert np.array_equal(found[0.0][0], found[2.0][0])
    spread = [one - one[..., 5, None] for _, one in found.values()]
    expected = 1 + 2 * share, 1.5 * (1 + 3 * share)
    for one, factor in zip(spread[1:], expected, strict=True):
        np.testing.assert_allclose(one, factor * spread[0], rtol=1e-6, atol=1e-9)


def test_hidden_gaps_determine_the_widening_which_is_saved(tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(5, 1, 80).tolist()
    model = elman.Forecaster(**QUICK).fit(y, out=tmp_path / "run")
    assert model.history.widening is not None
    assert (model.history.widening >= 1).all()
    assert (np.diff(model.history.widening[1:].reshape(3, -1)) >= 0).all()
    loaded = elman.Forecaster.load(tmp_path / "run")
    assert loaded.history.widening is not None
    assert loaded.history.widening.tolist() == model.history.widening.tolist()
    for older in ([0.5], [1.0, 0.5]):  # older forms: only a slope, or a factor and a slope
        replace(model.history, widening=np.array(older)).save(tmp_path / "older")
        widening = History.load(tmp_path / "older").widening
        assert widening is not None
        assert widening.tolist() == [1, *(1 + 0.5 * GAPS), *np.ones(2 * len(GAPS))]
    settings = {**QUICK, "targets": ("y", "x"), "plane": True, "scaling": "velocity"}
    assert elman.Forecaster(**settings).fit({"y": y, "x": y}).history.widening is None


@pytest.mark.parametrize("options", [{}, {"output": "point", "conformal": True}])
def test_intervals_widen_where_the_last_numbers_are_missing(options: dict[str, Any]) -> None:
    draw, steps = np.random.default_rng(0), np.arange(232)
    y = 10 + 3 * np.sin(2 * np.pi * steps / 7) + draw.normal(0, 1, (30, 232))
    settings = {"horizon": 7, "season": 7, "context": 28, "hidden_size": 16, "device": "cpu"}
    settings |= {"epochs": 4, "windows": 1500, "learning_rate": 0.01, **options}
    table = {"unique_id": np.repeat(np.arange(30), 225).tolist(), "y": y[:, :225].ravel().tolist()}
    model = elman.Forecaster(**settings).fit(table)  # type: ignore[arg-type]
    widths, names = [], np.repeat(np.arange(30), 232).tolist()
    for missing in (0, 4, 12):
        seen = y.copy()
        seen[:, 225 - missing : 225] = np.nan
        found = model.backtest({"unique_id": names, "y": seen.ravel().tolist()}, cuts=1).forecasts
        low, high = found.quantile(0.1)[..., 0], found.quantile(0.9)[..., 0]
        widths.append(float((high - low).mean()))
        assert ((low <= y[:, 225:]) & (y[:, 225:] <= high)).mean() > 0.65
    assert widths[0] < widths[1]
    assert widths[0] < widths[2]


@pytest.mark.parametrize("gap", [3, 300])
def test_a_live_session_uses_the_usual_scale_after_a_gap(gap: int) -> None:
    y = np.random.default_rng(0).normal(5, 1, 80)
    stamps = np.datetime64("2024-01-01T00", "h") + np.arange(500).astype("timedelta64[h]")
    ds = [str(stamp) for stamp in stamps]
    model = elman.Forecaster(**QUICK).fit({"ds": ds[:80], "y": y.tolist()})
    live = model.stream()
    # 14 constant steps, whose scale is a share of the usual one.
    later = [*range(80, 87), *range(87 + gap, 101 + gap)]
    values = [*y[:7].tolist(), *[9.0] * 14]
    for step, value in zip(later, values, strict=True):
        found = live.push(value, at=ds[step])
    columns = {"ds": ds[:80] + [ds[step] for step in later], "y": [*y.tolist(), *values]}
    expected = model.predict(columns).quantiles[0]
    np.testing.assert_allclose(found.quantiles, expected, atol=1e-5)


@pytest.mark.parametrize("scaling", ["last", "standard", "robust", "mean", None])
def test_forecasts_of_a_constant_zero_target_are_zero(scaling: Any) -> None:
    model = elman.Forecaster(
        horizon=3,
        context=6,
        hidden_size=4,
        epochs=1,
        windows=20,
        scaling=scaling,
        device="cpu",
        targets=("a", "b"),
    )
    found = model.fit({"a": [1.0, 2.0, 4.0] * 20, "b": [0.0] * 60}).predict()
    assert np.abs(found.quantiles[:, :, 1]).max() < 1e-25
    assert np.abs(found.quantiles[:, :, 0]).max() > 1
