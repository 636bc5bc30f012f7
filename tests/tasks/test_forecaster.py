"""Forecasters of series: in memory, from files, live and on the command line."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError, FolderError, Stopped, UntrainedError
from elman.heads.distributions import Quantiles
from elman.train import loop
from elman.train.checkpoint import load_tensors, save_tensors

SETTINGS: dict[str, Any] = {
    "horizon": 4,
    "season": 4,
    "context": 12,
    "hidden_size": 12,
    "epochs": 4,
    "windows": 600,
    "batch_size": 32,
    "learning_rate": 0.02,
    "dropout": 0.0,
    "device": "cpu",
}
SEASON = [1.0, 3.0, 2.0, 7.0]


def series(steps: int = 120, *, seed: int = 0, noise: float = 0.1) -> list[float]:
    """Return a noisy series with a season of four steps."""
    draw = np.random.default_rng(seed)
    return [SEASON[t % 4] + float(e) for t, e in enumerate(draw.normal(0, noise, steps))]


def table(count: int = 2, steps: int = 120) -> dict[str, list[Any]]:
    """Return several hourly series, each on another level."""
    begin = datetime(2024, 1, 1)
    rows = [
        (f"s{n}", f"{begin + timedelta(hours=t)}", y + 10 * n)
        for n in range(count)
        for t, y in enumerate(series(steps, seed=n))
    ]
    return dict(zip(("unique_id", "ds", "y"), map(list, zip(*rows, strict=True)), strict=True))


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


@pytest.fixture(scope="module")
def trained() -> elman.Forecaster:
    return elman.Forecaster(**{**SETTINGS, "epochs": 8}).fit(table())


@pytest.mark.learns
def test_a_forecaster_learns_the_season_of_every_series(trained: elman.Forecaster) -> None:
    found = trained.predict()
    assert found.unique_id == ["s0", "s1"]
    assert str(found.ds[0, 0]) == "2024-01-06T00:00:00.000000"
    for n in range(2):
        np.testing.assert_allclose(found.median[n, :, 0], np.array(SEASON) + 10 * n, atol=0.5)
    low, high = found.quantile(0.1), found.quantile(0.9)
    assert (low < found.median).all()
    assert (found.median < high).all()
    ours, naive = (trained.metrics[who]["validation"] for who in ("model", "baseline"))
    assert ours["wQL"] < ours["ND"] < 0.1
    assert naive["MASE"] > 0
    others = [one["name"] for one in trained.metrics["others"]]
    names = [trained.metrics["baseline"]["name"], *others]
    assert sorted(names[:2]) == ["naive 2", "seasonal naive"]
    assert sorted(names[2:]) == ["drift", "naive"]
    assert 0 < ours["OWA"] < 2


@pytest.mark.learns
@pytest.mark.parametrize(
    "options",
    [
        {"decoder": "autoregressive", "output": "student_t", "scaling": "mean"},
        {
            "decoder": "autoregressive",
            "output": "gaussian",
            "cell": "gru",
            "lags": (0,),
            "scaling": "standard",
            "epochs": 12,
        },
        {"output": "gaussian", "segment": 2, "scaling": "robust"},
        {"output": "mixture", "segment": 1, "embedding_size": 8},
        {"output": "point", "cell": "rnn"},
        {"output": "point", "conformal": True},
        {"conformal": True, "lags": 4},
        {"per_series": True, "num_layers": 2, "hidden_size": (10, 8)},
    ],
)
def test_every_output_and_decoder_learns(options: dict[str, Any]) -> None:
    model = elman.Forecaster(**{**SETTINGS, "samples": 50, **options}).fit(table())
    found = model.predict()
    for n in range(2):
        np.testing.assert_allclose(found.median[n, :, 0], np.array(SEASON) + 10 * n, atol=1.5)
    assert np.array_equal(found.quantiles, model.predict().quantiles)


@pytest.mark.learns
def test_counts_are_forecast_as_counts() -> None:
    counts = [round(value) for value in series(noise=0.4)]
    settings = {**SETTINGS, "output": "negative_binomial", "scaling": "mean"}
    model = elman.Forecaster(**settings).fit(counts)
    np.testing.assert_allclose(model.predict().mean[0, :, 0], SEASON, atol=1.5)


@pytest.mark.parametrize("options", [{}, {"decoder": "autoregressive"}, {"conformal": True}])
def test_quantiles_and_samples_of_counts_are_whole_numbers(
    options: dict[str, Any], tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    counts = [draw.poisson(np.tile(SEASON, 20)), 1000 * draw.poisson(np.tile(SEASON, 20))]
    settings = {
        **SETTINGS,
        **options,
        "output": "negative_binomial",
        "scaling": "mean",
        "epochs": 1,
        "windows": 64,
    }
    model = elman.Forecaster(**settings).fit([one.tolist() for one in counts])
    found = model.predict(futures=3)
    back = model.backtest([one.tolist() for one in counts], cuts=2, futures=3).forecasts
    live = model.stream("1").push(1000)
    for numbers in (
        found.quantiles,
        found.futures,
        found.quantile(0.85),
        back.quantiles,
        back.futures,
        live.quantiles,
    ):
        assert numbers is not None
        assert numbers.tolist() == np.rint(numbers).tolist()
        assert (numbers >= 0).all()
    found.write(str(tmp_path / "next.csv"), 70)
    rows = csv.DictReader((tmp_path / "next.csv").read_text().splitlines())
    assert all(float(row["y-hi-70"]).is_integer() for row in rows)


@pytest.mark.learns
def test_several_targets_are_forecast_together() -> None:
    y = series()
    columns = {"a": y, "b": [-value for value in y]}
    model = elman.Forecaster(**SETTINGS, targets=("a", "b")).fit(columns)
    found = model.predict()
    assert found.targets == ["a", "b"]
    np.testing.assert_allclose(found.median[0, :, 0], SEASON, atol=0.7)
    np.testing.assert_allclose(found.median[0, :, 1], -np.array(SEASON), atol=0.7)
    assert list(found.columns([80]))[:4] == ["ds", "a-mean", "a-median", "a-lo-80"]


@pytest.mark.learns
def test_a_forecast_reads_covariates_of_the_future() -> None:
    draw = np.random.default_rng(0)
    holiday = draw.choice(["yes", "no"], 200).tolist()
    y = [5.0 if day == "yes" else 1.0 for day in holiday[:196]]
    columns: dict[str, list[Any]] = {"y": [*y, None, None, None, None], "holiday": holiday}
    settings = {**SETTINGS, "season": 1, "future": ("holiday",), "epochs": 8}
    model = elman.Forecaster(**settings).fit(columns)
    expected = [5.0 if day == "yes" else 1.0 for day in holiday[196:]]
    np.testing.assert_allclose(model.predict().median[0, :, 0], expected, atol=0.7)
    other = ["no" if day == "yes" else "yes" for day in holiday[196:]]
    found = model.predict({**columns, "holiday": [*holiday[:196], *other]})
    np.testing.assert_allclose(found.median[0, :, 0], 6 - np.array(expected), atol=0.7)
    with pytest.raises(
        DataError, match="must have 'holiday' in the 4 steps after its last number, got 0"
    ):
        model.predict({name: values[:196] for name, values in columns.items()})


@pytest.mark.learns
def test_covariates_of_the_past_improve_the_forecast() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=300).tolist()
    y = [0.0, *x[:-1]]  # y follows x after one step
    settings = {
        **SETTINGS,
        "season": 1,
        "horizon": 1,
        "output": "point",
        "scaling": None,
        "epochs": 8,
    }
    blind = elman.Forecaster(**settings).fit({"y": y})
    seeing = elman.Forecaster(**settings, past=("x",)).fit({"y": y, "x": x})
    mae = [m.metrics["model"]["validation"]["MAE"] for m in (seeing, blind)]
    assert mae[0] < 0.3 * mae[1]


def test_static_columns_are_categories_and_must_not_change() -> None:
    kinds = {"up": 1.0, "down": -1.0}
    rows = [(f"{kind}{n}", kind, sign * n) for kind, sign in kinds.items() for n in range(60)]
    columns = {
        "unique_id": [kind for _, kind, _ in rows],
        "kind": [kind for _, kind, _ in rows],
        "y": [y for *_, y in rows],
    }
    model = elman.Forecaster(**{**SETTINGS, "season": 1}, static=("kind",)).fit(columns)
    assert model.index.categories == [2]
    columns["kind"][3] = "down"
    with pytest.raises(DataError, match="series 'up': column 'kind' changes, but is static"):
        elman.Forecaster(**SETTINGS, static=("kind",)).fit(columns)


@pytest.mark.learns
def test_a_forecaster_learns_despite_gaps_and_missing_numbers() -> None:
    columns = table()
    keep = [n for n in range(240) if n % 7]
    columns = {name: [values[n] for n in keep] for name, values in columns.items()}
    columns["y"] = [None if n % 11 == 0 else y for n, y in enumerate(columns["y"])]
    model = elman.Forecaster(**{**SETTINGS, "epochs": 10}).fit(columns)
    found = model.predict()
    assert np.isfinite(found.quantiles).all()
    for n in range(2):
        hours = found.ds[n].astype("datetime64[h]").astype(int) % 4
        expected = np.array([SEASON[h] for h in hours]) + 10 * n
        np.testing.assert_allclose(found.median[n, :, 0], expected, atol=1.5)


def test_wide_and_long_tables_give_the_same_model() -> None:
    long = table()
    wide = {"ds": long["ds"][:120], "s0": long["y"][:120], "s1": long["y"][120:]}
    a = elman.Forecaster(**{**SETTINGS, "epochs": 1}).fit(long)
    b = elman.Forecaster(**{**SETTINGS, "epochs": 1}, wide=True).fit(wide)
    assert np.array_equal(a.predict().quantiles, b.predict().quantiles)
    assert a.metrics == b.metrics


def test_held_out_data_do_not_change_the_weights_without_a_refit() -> None:
    whole = table()
    other = {**whole, "y": list(whole["y"])}
    for n in range(2):
        for t in range(108, 120):
            other["y"][120 * n + t] = 1e4
    settings = {**SETTINGS, "monitor": "last", "epochs": 1}
    for refit in (0, 1):
        models = [
            elman.Forecaster(**settings, refit_epochs=refit).fit(columns)
            for columns in (whole, other)
        ]
        pairs = zip(*(model.model.state_dict().values() for model in models), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == (refit == 0)


def test_scores_of_test_data_equal_those_of_evaluate(tmp_path: Path) -> None:
    whole = table(steps=140)
    first = [n for n in range(280) if n % 140 < 120]
    parts = [
        {name: [values[n] for n in rows] for name, values in whole.items()}
        for rows in (first, sorted(set(range(280)) - set(first)))
    ]
    model = elman.Forecaster(**SETTINGS).fit(parts[0], test=parts[1])
    scores = model.metrics["model"]["test"]
    assert scores["numbers"] == 40
    again = model.evaluate(parts[1])
    assert again == pytest.approx(scores)
    # Rows of the training data are not scored.
    assert model.evaluate(whole) == pytest.approx(scores)
    model.save(tmp_path / "run")
    assert elman.load(tmp_path / "run").evaluate(parts[1]) == pytest.approx(scores)  # type: ignore[call-arg, arg-type]
    with pytest.raises(DataError, match="series 's9': is not in the training data"):
        model.evaluate({**parts[0], "unique_id": ["s9"] * 120 + ["s1"] * 120})
    with pytest.raises(
        DataError,
        match=r"'s0': begins at 2024-01-01 .* expected steps of h after 2024-01-05 23:00:00",
    ):
        model.evaluate({name: values[:20] for name, values in parts[0].items()})


def test_a_model_is_equal_after_loading(trained: elman.Forecaster, tmp_path: Path) -> None:
    trained.save(tmp_path / "run")
    again = elman.load(tmp_path / "run")
    assert isinstance(again, elman.Forecaster)
    assert np.array_equal(again.predict().quantiles, trained.predict().quantiles)
    assert "a forecaster" in (tmp_path / "run" / "README.md").read_text()
    new = {name: values[:60] for name, values in table().items()}
    assert np.array_equal(again.predict(new).median, trained.predict(new).median)
    (tmp_path / "run" / "manifest.json").unlink()
    index = json.loads((tmp_path / "run" / "series.json").read_text())
    for damage in ({}, {**index, "units": {"heat": [1.0, 0.0]}}, {**index, "usual": [math.nan]}):
        (tmp_path / "run" / "series.json").write_text(json.dumps(damage))
        with pytest.raises(FolderError, match=r"series.json: is damaged"):
            elman.load(tmp_path / "run")


def test_a_history_of_another_dtype_is_refused(trained: elman.Forecaster, tmp_path: Path) -> None:
    trained.save(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    path = tmp_path / "run" / "history.safetensors"
    tensors, facts = load_tensors(path)
    save_tensors(path, {**tensors, "values": tensors["values"].view(torch.int64)}, facts)
    with pytest.raises(FolderError, match=r"history.safetensors: .*values is torch.int64"):
        elman.load(tmp_path / "run")


def test_a_prediction_does_not_import_the_libraries_for_training(
    trained: elman.Forecaster, tmp_path: Path
) -> None:
    trained.save(tmp_path / "run")
    code = (
        f"import sys, elman; elman.load({str(tmp_path / 'run')!r}).predict(); "
        "print([name for name in ('lightning_fabric', 'torchmetrics') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_stopped_run_resumes_to_the_same_result(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table())
    whole = elman.Forecaster(**SETTINGS).fit(path, out=tmp_path / "whole")
    calls = itertools.count()

    def step(self: Any) -> None:
        if next(calls) == 40:
            os.kill(os.getpid(), signal.SIGINT)
        whole_step(self)

    whole_step = loop._Loop._step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Loop, "_step", step)
        with pytest.raises(Stopped, match="continue with: elman resume"):
            elman.Forecaster(**SETTINGS).fit(path, out=tmp_path / "run")
    again = elman.Forecaster.resume(tmp_path / "run")
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert again.metrics == whole.metrics
    path.write_text(path.read_text() + "s1,2024-01-06 00:00:00,11\n")
    with pytest.raises(DataError, match="has changed since the run began"):
        elman.Forecaster.resume(tmp_path / "run", epochs=9)


def test_lists_continue_the_training_data() -> None:
    y = series(160)
    model = elman.Forecaster(**SETTINGS).fit(y[:140], test=y[140:])
    scores = model.evaluate(y[140:])
    assert scores == model.metrics["model"]["test"]
    assert scores["numbers"] == 20
    two = elman.Forecaster(**SETTINGS).fit([y[:140], y[:120]])
    assert two.evaluate([y[140:], y[120:140]])["numbers"] == 40


def test_test_data_use_the_frequency_and_the_categories_of_training() -> None:
    whole = table(1, 160)
    whole["kind"] = ["odd" if n % 2 else "even" for n in range(160)]
    whole["load"] = [float(n % 3) for n in range(160)]
    settings = {**SETTINGS, "future": ("kind",), "past": ("load",)}
    first, rest = ({k: v[a:b] for k, v in whole.items()} for a, b in ((0, 140), (140, 160)))
    model = elman.Forecaster(**settings).fit(first)
    scores = model.evaluate(rest)
    # Most of these steps are two hours apart, and "odd" is the first category here.
    some = {name: [*values[1:12:2], values[12]] for name, values in rest.items()}
    assert model.evaluate(some)["numbers"] == 7
    with pytest.raises(DataError, match="has a stamp every 2h, but the training data every h"):
        model.evaluate({name: values[1::2] for name, values in rest.items()})
    other = {**rest, "kind": ["odd" if word == "even" else "even" for word in rest["kind"]]}
    assert model.evaluate(other)["MAE"] != scores["MAE"]
    rest["load"][3] = "much"
    with pytest.raises(DataError, match="column 'load' is 'much', expected a finite number"):
        model.evaluate(rest)


@pytest.mark.learns
def test_conformal_quantiles_have_their_coverage_for_a_point_forecast() -> None:
    draw = np.random.default_rng(1)
    y = [SEASON[t % 4] + float(e) for t, e in enumerate(draw.normal(0, 1.0, 900))]
    settings = {**SETTINGS, "output": "point", "conformal": True, "validation_fraction": 0.3}
    model = elman.Forecaster(**settings).fit(y[:600], test=y[600:])
    test = model.metrics["model"]["test"]
    # For a share of 0.8, 300 numbers have a standard deviation of 0.023. The calibration on 177
    # windows adds to it.
    assert test["coverage_80"] == pytest.approx(0.8, abs=0.09)
    assert test["coverage_95"] == pytest.approx(0.95, abs=0.05)
    assert model.metrics["model"]["validation"]["coverage_80"] == 0.0
    assert "corrected on 177 windows" in model.card("run")
    plain = elman.Forecaster(**{**settings, "conformal": False}).fit(y[:600])
    assert list(plain.predict().columns()) == ["ds", "y-mean", "y-median"]
    with pytest.raises(ArgumentError, match="the model predicts only the median"):
        plain.predict().columns([80])


def test_a_backtest_moves_its_origin_through_the_series(
    trained: elman.Forecaster, tmp_path: Path
) -> None:
    whole = table(steps=140)
    found = trained.backtest(whole, cuts=3, stride=2)
    assert found.origins.tolist() == [132, 134, 136] * 2
    columns = found.forecasts.columns([80])
    numbers = ["y-mean", "y-median", "y-lo-80", "y-hi-80"]
    assert list(columns) == ["unique_id", "ds", "cutoff", "y", *numbers]
    assert columns["y"][:4] == whole["y"][132:136]
    assert columns["ds"][:4] == whole["ds"][132:136]
    assert columns["cutoff"][:4] == [whole["ds"][131]] * 4
    until = {name: values[:132] for name, values in whole.items()}
    again = trained.predict(until).columns([80])
    assert list(again) == ["unique_id", "ds", *numbers]
    for name in numbers:
        # float32 rounds differently in batches of another size.
        assert columns[name][:4] == pytest.approx(again[name][:4], rel=1e-5, abs=1e-5)
    rmse = np.sqrt(np.square(np.subtract(columns["y"], columns["y-mean"])).mean())
    assert found.scores["this model"]["RMSE"] == pytest.approx(rmse, rel=1e-6)
    assert found.scores["this model"]["numbers"] == 24
    assert list(found.scores)[1] in ("seasonal naive", "naive 2")
    short = trained.backtest({name: values[:11] for name, values in whole.items()}, cuts=9)
    assert short.origins.tolist() == [3, 7]
    with pytest.raises(DataError, match="the longest series has 4 numbers, too few"):
        trained.backtest({name: values[:4] for name, values in whole.items()})
    with pytest.raises(ArgumentError, match="cuts must be at least 1, got 0"):
        trained.backtest(whole, cuts=0)
    with pytest.raises(ArgumentError, match="stride must be at least 1, got 0"):
        trained.backtest(whole, stride=0)


LIVE: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "targets": ("y", "z"),
        "past": ("load", "kind"),
        "future": ("price", "holiday"),
        "static": ("size", "place"),
        "horizon": 6,
        "scaling": "robust",
        "lags": (4, 7),
        "embedding_size": 8,
        "output": "student_t",
    },
    "steps": {"segment": 1, "cell": "gru", "scaling": "mean", "per_series": True},
    "conformal": {
        "conformal": True,
        "output": "point",
        "num_layers": 2,
        "lags": 0,
        "horizon": 6,
        "validation_fraction": 0.4,
    },
    "autoregressive": {"decoder": "autoregressive", "samples": 20, "past": ("load",)},
}


@pytest.mark.parametrize("options", LIVE.values(), ids=LIVE)
def test_a_live_forecast_equals_predict_on_the_series_so_far(options: dict[str, Any]) -> None:
    draw = np.random.default_rng(0)
    whole = table(2, 150)
    rows = len(whole["y"])
    whole["z"] = [-2 * y for y in whole["y"]]
    for name in ("load", "price"):
        whole[name] = draw.normal(5, 2, rows).tolist()
    whole["kind"] = draw.choice(["a", "b", "c"], rows).tolist()
    whole["holiday"] = draw.choice(["yes", ""], rows).tolist()
    whole["size"] = [float(n) for n in (1, 2) for _ in range(150)]
    whole["place"] = [place for place in ("hill", "sea") for _ in range(150)]
    for n in (107, 122, 133, 290):
        whole["y"][n] = whole["load"][n] = math.nan
    settings = {**SETTINGS, "epochs": 1, **options}
    horizon = settings["horizon"]

    def until(n: int) -> dict[str, list[Any]]:
        """Return the second series up to its n-th observation, with its future covariates."""
        keep = range(150, 150 + n + (horizon if "future" in options else 0))
        found = {name: [values[row] for row in keep] for name, values in whole.items()}
        for target in ("y", "z"):
            found[target][n:] = [None] * (len(keep) - n)
        return found

    model = elman.Forecaster(**settings).fit(
        until(100) | {"unique_id": ["s1"] * len(until(100)["y"])}
    )
    live = model.stream("s1")
    np.testing.assert_allclose(
        live.forecast().quantiles, model.predict().quantiles[0], rtol=1e-4, atol=1e-4
    )
    for n in range(100, 140):
        row, last = 150 + n, 150 + n + horizon
        y = [whole[name][row] for name in settings.get("targets", ("y",))]
        found = live.push(
            y[0] if len(y) == 1 else y,
            **{name: whole[name][row] for name in settings.get("past", ())},
            **{name: whole[name][last] for name in settings.get("future", ())},
        )
        if n % 8 == 0 and not math.isnan(y[0]):
            expected = model.predict(until(n + 1))
            np.testing.assert_allclose(found.quantiles, expected.quantiles[0], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found.mean, expected.mean[0], rtol=1e-4, atol=1e-4)
            assert np.array_equal(live.ds, expected.ds[0])


def test_the_memory_of_a_live_session_is_bounded(trained: elman.Forecaster) -> None:
    live = trained.stream("s1")
    sizes = set()
    for n in range(1200):  # the calendar is computed in pieces
        live.push(SEASON[n % 4])
        sizes.add(sum(x.nbytes for x in vars(live).values() if isinstance(x, np.ndarray)))
    assert max(sizes) <= 2 * min(sizes)
    assert str(live.ds[0]) == "2024-02-25T00:00:00.000000"


def test_a_live_session_refuses_wrong_arguments_and_accepts_missing_numbers(
    trained: elman.Forecaster,
) -> None:
    with pytest.raises(ArgumentError, match="unique_id must be one of 's0', 's1', got 's9'"):
        trained.stream("s9")
    with pytest.raises(ArgumentError, match="unique_id must be one of 's0', 's1', got None"):
        trained.stream()
    live = trained.stream("s0")
    for wrong in ([1.0, 2.0], math.inf):
        with pytest.raises(ArgumentError, match="y must be 1 finite number or NaN, got"):
            live.push(wrong)
    with pytest.raises(ArgumentError, match="y must be 1 finite number or NaN, got 'a'"):
        live.push("a")
    with pytest.raises(ArgumentError, match="covariates must be none, got load"):
        live.push(1.0, load=2.0)
    first = live.forecast()
    assert np.array_equal(live.forecast().quantiles, first.quantiles)
    assert not np.array_equal(live.push(None).quantiles, first.quantiles)
    for _ in range(12):
        nothing = live.push(None)
    assert np.isnan(nothing.quantiles).all()
    assert np.isfinite(live.push(3.0).quantiles).all()


@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
def test_validation_counts_only_held_out_numbers(decoder: str) -> None:
    scaling = "mean" if decoder == "autoregressive" else "last"
    settings = {**SETTINGS, "epochs": 1, "decoder": decoder, "scaling": scaling, "samples": 20}
    y = series(121)
    a = elman.Forecaster(**settings).fit(y)
    assert a.metrics["model"]["validation"]["numbers"] == 12  # the last 3 horizons of 12
    y[112:] = [None] * 9  # type: ignore[list-item]
    b = elman.Forecaster(**settings).fit([*y[:100], *[100.0] * 12, *y[112:]])
    assert b.metrics["model"]["validation"]["numbers"] == 8
    for one, other in zip(a.model.parameters(), b.model.parameters(), strict=True):
        assert one.shape == other.shape


def test_validation_scores_only_windows_with_numbers() -> None:
    y: list[float | None] = [*series(126), *[None] * 10, 1.0]
    # The first and the last of the three validation horizons have one number each.
    assert elman.Forecaster(**SETTINGS).fit(y).metrics["model"]["validation"]["numbers"] == 2
    two = {"a": [*series(100), *[None] * 20], "b": [*[None] * 100, *series(20)]}
    settings = {**SETTINGS, "targets": ("a", "b"), "horizon": 10, "context": 10}
    model = elman.Forecaster(**settings).fit(two)
    # A window whose context has no number of some target is not scored.
    assert model.metrics["model"]["validation"]["numbers"] == 10


def test_covariates_beyond_the_horizon_do_not_change_the_forecast() -> None:
    draw = np.random.default_rng(0)
    settings = {**SETTINGS, "horizon": 6, "season": 4, "future": ("x",), "epochs": 1}
    columns = {"y": series(200), "x": draw.normal(size=200).tolist()}
    model = elman.Forecaster(**settings).fit(columns)
    assert model.layout.steps_ahead == 8
    back = model.backtest(columns, cuts=1)
    until = {"y": [*columns["y"][:194], *[None] * 6], "x": columns["x"]}
    more = {"y": [*until["y"], None, None], "x": [*columns["x"], 9.0, 9.0]}
    for found in (until, more):
        np.testing.assert_allclose(
            model.predict(found).quantiles, back.forecasts.quantiles, rtol=1e-6
        )


def test_too_few_numbers_for_conformal_quantiles_are_refused() -> None:
    settings = {**SETTINGS, "conformal": True, "horizon": 12}
    with pytest.raises(
        DataError, match=r"conformal: the outermost .* needs 39 validation numbers .* got 12"
    ):
        elman.Forecaster(**settings).fit(series(120))
    inner = {**settings, "quantiles": (0.1, 0.5, 0.9), "output": "point"}
    model = elman.Forecaster(**inner).fit(series(120))
    assert model.history.corrections is not None
    # 12 numbers are too few for a correction per step, so all steps share one.
    assert np.ptp(model.history.corrections, axis=0).max() == 0
    assert (model.history.corrections[:, 0, 2] > 0).all()


def test_test_data_that_cannot_be_scored_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop._Loop, "_step", lambda self: pytest.fail("it trains"))
    whole = table()
    for test, message in (
        (whole, "expected steps of h after"),
        ({**table(2), "unique_id": ["x"] * 120 + ["s1"] * 120}, "is not in the training data"),
    ):
        with pytest.raises(DataError, match=message):
            elman.Forecaster(**SETTINGS).fit(whole, test=test, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_category_that_occurs_only_in_held_out_data_is_unknown() -> None:
    columns = {"y": series(200), "w": ["no"] * 190 + ["xmas"] * 10}
    model = elman.Forecaster(**{**SETTINGS, "epochs": 1}, future=("w",)).fit(columns)
    assert model.index.words == {"w": ["no"]}
    until = {"y": [*columns["y"][:180], *[None] * 4], "w": ["no"] * 180 + ["xmas"] * 4}
    other = {**until, "w": ["no"] * 180 + ["else"] * 4}
    assert np.array_equal(model.predict(until).quantiles, model.predict(other).quantiles)


def test_model_and_baselines_are_scored_on_the_same_numbers_for_late_series() -> None:
    wide = {"ds": list(range(104)), "a": series(104), "b": [*[None] * 100, *series(4)]}
    model = elman.Forecaster(**{**SETTINGS, "epochs": 1}, wide=True).fit(wide)
    metrics = model.metrics
    counts = {one["validation"]["numbers"] for one in (metrics["baseline"], *metrics["others"])}
    assert counts == {metrics["model"]["validation"]["numbers"]}
    keys = [set(one["validation"]) for one in (metrics["baseline"], *metrics["others"])]
    assert all("MAE" in one and "ND" in one for one in keys)


def test_constant_series_are_trained_and_scored_without_a_warning() -> None:
    model = elman.Forecaster(**{**SETTINGS, "epochs": 1}).fit([5.0] * 100)
    assert "MASE" not in model.metrics["model"]["validation"]
    assert model.predict().median == pytest.approx(5.0, abs=0.1)


def test_columns_of_forecasts_have_the_names_of_the_data(tmp_path: Path) -> None:
    columns = table()
    columns["shop"], columns["when"] = columns.pop("unique_id"), columns.pop("ds")
    model = elman.Forecaster(**{**SETTINGS, "epochs": 1}, unique_id="shop", ds="when").fit(columns)
    assert list(model.predict().columns([]))[:3] == ["shop", "when", "y-mean"]
    rolled = model.backtest({**columns, "y": [*columns["y"][:-1], None]}, cuts=1, stride=1)
    rolled.forecasts.write(tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows[0]["when"] == columns["when"][116]
    assert all(row["y"] is None or row["y"] == row["y"] for row in rows)


def test_tables_and_scores_support_any_quantiles() -> None:
    levels = tuple(np.linspace(0.1, 0.9, 9))
    model = elman.Forecaster(**{**SETTINGS, "epochs": 1}, quantiles=levels).fit(series())
    assert {"CRPS", "wQL", "coverage_40"} < set(model.metrics["model"]["validation"])
    skewed = elman.Forecaster(**{**SETTINGS, "epochs": 1}, quantiles=(0.001, 0.5, 0.85))
    assert list(skewed.fit(series()).predict().columns()) == ["ds", "y-mean", "y-median"]


def test_forecasts_do_not_depend_on_the_other_series() -> None:
    settings = {**SETTINGS, "decoder": "autoregressive", "samples": 30, "epochs": 1}
    model = elman.Forecaster(**settings).fit(table())
    both = model.predict().quantiles
    alone = model.predict({k: v[120:] for k, v in table().items()}).quantiles
    np.testing.assert_allclose(alone[0], both[1], rtol=1e-5)


def test_a_series_without_recent_numbers_is_refused_by_name(trained: elman.Forecaster) -> None:
    empty = {**table(1), "y": [1.0, *[None] * 118, None]}
    assert np.isfinite(trained.predict(empty).quantiles).all()  # it continues its only number
    two = elman.Forecaster(**{**SETTINGS, "epochs": 1}, targets=("a", "b"))
    two.fit({"a": series(), "b": series(seed=1)})
    with pytest.raises(
        DataError, match="the series has no number in column 'b' in its last 12 steps"
    ):
        two.predict({"a": series(), "b": [1.0, *[None] * 119]})


def test_scores_of_several_targets_do_not_add_numbers_of_different_units() -> None:
    y = series()
    settings = {**SETTINGS, "targets": ("a", "b")}
    scores = [
        elman.Forecaster(**settings).fit({"a": y, "b": [x * factor for x in y]}).metrics
        for factor in (1.0, 1024.0)
    ]
    one, other = (found["model"]["validation"] for found in scores)
    assert "MAE" not in one
    assert other["ND"] == pytest.approx(one["ND"], rel=0.3)
    assert other["wQL"] == pytest.approx(one["wQL"], rel=0.3)


def test_statistical_models_are_scored_as_baselines(tmp_path: Path) -> None:
    pytest.importorskip("statsforecast")
    model = elman.Forecaster(**SETTINGS, statistics=True).fit(table(1))
    others = [model.metrics["baseline"]] + model.metrics["others"]
    names = {one["name"] for one in others}
    assert {"AutoETS", "AutoTheta"} < names
    assert all(one["validation"]["MASE"] > 0 for one in others)


def test_training_can_use_all_of_the_data() -> None:
    settings = {**SETTINGS, "validation_fraction": 0.0, "monitor": "last"}
    model = elman.Forecaster(**settings).fit(table())
    assert model.metrics["model"] == {}
    assert np.isfinite(model.predict().median).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"horizon": 4.5}, "horizon must be a whole number, got 4.5"),
        ({"horizon": "4"}, "horizon must be a whole number, got '4'"),
        ({"lags": (1.5,)}, "lags must be a list of whole numbers"),
        ({"output": "normal"}, "output must be one of quantile, gaussian"),
        ({"scaling": "max"}, "scaling must be one of mean, standard, robust, last"),
        ({"quantiles": (0.9, 0.5)}, "quantiles must be between 0 and 1, in rising order"),
        ({"quantiles": (0.1, 0.9)}, "quantiles must include 0.5, the median, got 0.1, 0.9"),
        ({"decoder": "autoregressive", "segment": 4}, "segment needs decoder=direct"),
        ({"decoder": "autoregressive", "output": "quantile"}, "autoregressive draws samples"),
        (
            {"decoder": "autoregressive", "output": "point"},
            "set output to one of gaussian, student_t",
        ),
        ({"validation_fraction": 0.0, "monitor": "last", "conformal": True}, "conformal needs"),
        ({"output": "negative_binomial", "scaling": "mean"}, "but series 's0' has 1.01257"),
        ({"output": "negative_binomial"}, "output=negative_binomial needs scaling=mean"),
        ({"validation_fraction": 0.0}, "validation_fraction=0 leaves no score to monitor"),
        ({"lags": (-1,)}, "lags must be whole numbers from 0 to 1,000,000"),
        ({"lags": (10**12,)}, "lags must be whole numbers from 0 to 1,000,000"),
        ({"context": 10**12}, "context must be at most 1,000,000, got 1000000000000"),
        ({"quantiles": ("a", 0.5)}, "quantiles must be a list of numbers, got"),
        ({"targets": ()}, "targets must name at least one column"),
        ({"bptt": 5}, "bptt must be None"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        elman.Forecaster(**{**SETTINGS, **settings}).fit(table())


def test_unusable_data_are_refused_with_a_reason() -> None:
    with pytest.raises(DataError, match="the longest series has 5 numbers, too few to hold out"):
        elman.Forecaster(**SETTINGS).fit([1.0, 2, 3, 4, 5])
    with pytest.raises(UntrainedError, match="not trained yet: call fit first"):
        elman.Forecaster().predict()
    model = elman.Forecaster(**{**SETTINGS, "epochs": 1}, per_series=True).fit(table())
    with pytest.raises(DataError, match="series 'new': is not in the training data, but per_"):
        model.predict({**table(1), "unique_id": ["new"] * 120})
    with pytest.raises(ArgumentError, match="expected a stamp every h, but the stamps are missing"):
        model.predict([1.0, 2.0])


def test_a_quantile_outside_the_predicted_range_is_refused(trained: elman.Forecaster) -> None:
    with pytest.raises(ArgumentError, match=r"quantile 0.01 is outside of 0.025 to 0.975"):
        trained.predict().columns([98])
    assert isinstance(trained.predictor.head.distribution, Quantiles)


def test_the_command_line_trains_evaluates_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, run = write(tmp_path / "a.csv", table()), str(tmp_path / "run")
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in {**SETTINGS, "epochs": 1}.items()]
    assert main(["train", "forecaster", str(path), "--out", run, *flags]) == 0
    assert "validation MASE" in capsys.readouterr().out
    assert main(["predict", run]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["unique_id", "ds", "y-mean", "y-median", "y-lo-80", "y-hi-80"]
    assert len(lines) == 9
    for name in ("next.csv", "next.jsonl", "next.parquet"):
        assert main(["predict", run, "--out", str(tmp_path / name), "--level", "50"]) == 0
        assert main(["predict", run, "--out", str(tmp_path / name)]) == 2
    rows = list(csv.reader((tmp_path / "next.csv").read_text().splitlines()))
    assert rows[0] == ["unique_id", "ds", "y-mean", "y-median", "y-lo-50", "y-hi-50"]
    assert [row[:2] for row in rows[1:3]] == [
        ["s0", "2024-01-06 00:00:00"],
        ["s0", "2024-01-06 01:00:00"],
    ]
    first = json.loads((tmp_path / "next.jsonl").read_text().splitlines()[0])
    assert math.isclose(first["y-mean"], float(rows[1][2]))
    assert main(["predict", run, "--file", str(path)]) == 0
    assert main(["predict", run, "some text"]) == 2
    assert main(["predict", run, "--level", "0"]) == 2
    assert main(["predict", run, "--out", str(tmp_path / "next.txt")]) == 2
    later = write(
        tmp_path / "b.csv",
        {
            "unique_id": ["s0"] * 4,
            "ds": [f"2024-01-06 0{hour}:00" for hour in range(4)],
            "y": SEASON,
        },
    )
    capsys.readouterr()
    assert main(["evaluate", run, str(later), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["numbers"] == 4
    assert main(["info", run]) == 0
    assert "a forecaster by Elman" in capsys.readouterr().out


@pytest.fixture(scope="module")
def weekly() -> tuple[elman.Forecaster, list[float]]:
    """Return a model, and 600 numbers with a change of trend, of which it was trained on 500."""
    noise = np.random.default_rng(0).normal(size=600)
    y = (50 + np.abs(np.arange(600) - 200) / 10 + noise).tolist()
    settings = {**SETTINGS, "season": 1, "epochs": 1, "windows": 50, "validation_fraction": 0}
    return elman.Forecaster(**settings, monitor="last", statistics=True).fit(y[:500]), y


def test_baselines_read_the_whole_history(weekly: tuple[elman.Forecaster, list[float]]) -> None:
    models = pytest.importorskip("statsforecast.models")
    model, y = weekly
    scores = model.backtest(y, cuts=1).scores
    seen, came = np.array(y[:-4]), np.array(y[-4:])
    drift = seen[-1] + (seen[-1] - seen[0]) / (len(seen) - 1) * np.arange(1, 5)
    theta = models.AutoTheta(season_length=1).forecast(y=seen, h=4)["mean"]
    for name, expected in (("drift", drift), ("AutoTheta", theta)):
        assert scores[name]["MAE"] == pytest.approx(np.abs(came - expected).mean(), rel=1e-9)


def test_a_note_reports_the_steps_that_baselines_skip_to_save_time(
    weekly: tuple[elman.Forecaster, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, y = weekly
    monkeypatch.setattr("elman.forecast.score.LONGEST", 100)
    found = model.backtest(y, cuts=1)
    assert list(found.forecasts.notes) == [
        "To save time, AutoETS and AutoTheta read only the last 100 steps of a series."
    ]
    monkeypatch.setattr("elman.forecast.score.READ", 80)
    found = model.backtest(y, cuts=1)
    assert "To save time, the baselines read only the last 80 steps" in found.forecasts.notes[0]
    seen = np.array(y[-84:-4])
    drift = seen[-1] + (seen[-1] - seen[0]) / 79 * np.arange(1, 5)
    error = np.abs(np.array(y[-4:]) - drift).mean()
    assert found.scores["drift"]["MAE"] == pytest.approx(error, rel=1e-9)


def test_forecasts_in_the_report_have_the_timestamps_of_the_data(trained: elman.Forecaster) -> None:
    fan = trained.metrics["forecasts"]["fans"][0]
    stamps = fan["stamps"]
    assert len(stamps) == len(fan["seen"]) + len(fan["median"])
    assert stamps[-1] == "2024-01-05T23:00:00.000000"  # the end of the series and its last window
    counted = elman.Forecaster(**{**SETTINGS, "epochs": 1}).fit(series())
    assert counted.metrics["forecasts"]["fans"][0]["stamps"] is None
