"""Forecasts of places in the plane: velocities, neighbours, futures, and held-out series."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elman
from elman.cli import main
from elman.encode.neighbours import find_neighbours
from elman.errors import ArgumentError, DataError
from elman.forecast.scene import windows_of
from elman.report.forecasts import score_places

SETTINGS: dict[str, Any] = {
    "targets": ("x", "y"),
    "plane": True,
    "scaling": "velocity",
    "horizon": 6,
    "context": 4,
    "segment": 2,
    "hold_out": "series",
    "hidden_size": 24,
    "epochs": 6,
    "windows": 1000,
    "batch_size": 50,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "device": "cpu",
}
Columns = dict[str, list[Any]]


def table(paths: dict[str, np.ndarray], begins: dict[str, int] | None = None) -> Columns:
    """Return a table of named paths (T, 2), each of which begins at a step."""
    found: Columns = {"unique_id": [], "ds": [], "x": [], "y": []}
    for name, path in paths.items():
        begin = (begins or {}).get(name, 0)
        found["unique_id"] += [name] * len(path)
        found["ds"] += range(begin, begin + len(path))
        found["x"] += path[:, 0].tolist()
        found["y"] += path[:, 1].tolist()
    return found


def circles(count: int, steps: int = 14, *, seed: int = 0) -> Columns:
    """Return paths that turn left or right all the time, with a random angle per step."""
    draw = np.random.default_rng(seed)
    paths = {}
    for n in range(count):
        turns = draw.choice([-0.25, 0.25]) + draw.normal(0, 0.05, steps)
        angle = draw.uniform(0, 6.28) + turns.cumsum()
        step = draw.uniform(0.5, 2) * np.stack([np.cos(angle), np.sin(angle)], 1)
        paths[f"{seed}-{n}"] = 1e6 + step.cumsum(0)  # like metres on a map
    return table(paths)


def meetings(count: int, *, seed: int = 0) -> Columns:
    """Return scenes in which one walks straight on, then towards a friend who stands still."""
    draw = np.random.default_rng(seed)
    found: Columns = {"unique_id": [], "ds": [], "x": [], "y": [], "scene": []}
    for n in range(count):
        a, b = draw.uniform(0, 6.28, 2)
        there = draw.uniform(2, 4) * np.array([math.cos(b), math.sin(b)])
        time = np.arange(-4, 7)[:, None]
        way = np.where(time > 0, time * there / 6, time * np.array([math.cos(a), math.sin(a)]) / 3)
        friend = np.repeat(there[None], len(way), axis=0)
        for name, path in (("one", way), ("friend", friend)):
            part = table({f"{name}{n}": path}, {f"{name}{n}": 20 * (n % 3)})
            for column, values in (part | {"scene": [f"s{n}"] * len(path)}).items():
                found[column] += values
    return found


@pytest.fixture(scope="module")
def trained() -> elman.Forecaster:
    settings = {**SETTINGS, "epochs": 20, "validation_fraction": 0.3}
    return elman.Forecaster(**settings).fit(circles(200), test=circles(20, seed=1))


@pytest.mark.learns
def test_the_model_forecasts_turns_better_than_constant_velocity(trained: elman.Forecaster) -> None:
    ours, other = (trained.metrics[who] for who in ("model", "baseline"))
    assert other["name"] == "constant velocity"
    for part in ("validation", "test"):
        assert ours[part]["ADE"] < 0.4 * other[part]["ADE"]
        assert ours[part]["best_of_20_ADE"] < ours[part]["ADE"] < ours[part]["FDE"]
    assert {one["name"] for one in trained.metrics["others"]} == {"naive", "drift"}


def test_scores_are_distances_between_forecasts_and_places(trained: elman.Forecaster) -> None:
    found = trained.backtest(circles(10, seed=2), cuts=1, futures=20)
    forecasts, y = found.forecasts, found.forecasts.y
    assert y is not None
    assert forecasts.futures is not None
    assert forecasts.futures.shape == (10, 20, 6, 2)
    apart = np.linalg.norm(forecasts.median - y, axis=2)
    best = np.linalg.norm(forecasts.futures - y[:, None], axis=3)
    scores = found.scores["this model"]
    assert scores["ADE"] == pytest.approx(apart.mean())
    assert scores["FDE"] == pytest.approx(apart[:, -1].mean())
    assert scores["best_of_20_ADE"] == pytest.approx(best.mean(2).min(1).mean())
    assert scores["best_of_20_FDE"] == pytest.approx(best[..., -1].min(1).mean())
    straight = found.scores["constant velocity"]
    rows = circles(10, seed=2)
    places = np.stack([rows["x"], rows["y"]], 1).reshape(10, 14, 2)[:, :8]
    course = places[:, -1:] + (places[:, -1:] - places[:, -2:-1]) * np.arange(1, 7)[:, None]
    assert straight["ADE"] == pytest.approx(np.linalg.norm(course - y, axis=2).mean())


def test_futures_are_distributed_like_the_quantiles(trained: elman.Forecaster) -> None:
    found = trained.predict(circles(3, 8, seed=3), futures=4000)
    assert found.futures is not None
    for p in (0.2, 0.5, 0.9):
        drawn, expected = np.quantile(found.futures, p, axis=1), found.quantile(p)
        width = found.quantile(0.9) - found.quantile(0.1)
        assert (np.abs(drawn - expected) < 0.08 * width).all()
    again = trained.predict(circles(3, 8, seed=3), futures=3)
    assert again.futures is not None
    assert again.futures.shape[1] == 3
    table = again.columns()
    assert table["x-future-1"] == again.futures[:, 0, :, 0].ravel().tolist()
    assert "y-future-3" in table


def test_errors_of_a_future_are_correlated_between_steps(trained: elman.Forecaster) -> None:
    found = trained.predict(circles(20, 8, seed=4), futures=200)
    assert found.futures is not None
    error = found.futures - found.median[:, None]
    together = [
        np.corrcoef(error[n, :, 3, k], error[n, :, 5, k])[0, 1] for n in range(20) for k in range(2)
    ]
    assert min(together) > 0.5


def test_a_loaded_model_draws_the_same_futures(trained: elman.Forecaster, tmp_path: Path) -> None:
    trained.save(tmp_path / "run")
    series = circles(2, 8, seed=5)
    a, b = (m.predict(series, futures=2) for m in (trained, elman.load(tmp_path / "run")))
    assert np.array_equal(a.futures, b.futures)


@pytest.fixture(scope="module")
def among() -> elman.Forecaster:
    settings = {**SETTINGS, "neighbours": 2, "group": "scene", "epochs": 20}
    return elman.Forecaster(**settings).fit(meetings(200, seed=1))


@pytest.mark.learns
def test_neighbours_improve_the_forecast(among: elman.Forecaster) -> None:
    errors = []
    for model in (elman.Forecaster(**{**SETTINGS, "epochs": 20}).fit(meetings(200, seed=1)), among):
        found = model.backtest(meetings(30, seed=2), cuts=1).forecasts
        assert found.y is not None
        walks = np.array([name.startswith("one") for name in found.unique_id])
        errors.append(np.linalg.norm(found.median - found.y, axis=2)[walks].mean())
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("options", [{}, {"segment": 1, "lags": (1, 3), "per_series": True}])
def test_a_live_forecast_with_neighbours_equals_predict(options: dict[str, Any]) -> None:
    data = meetings(12)
    rows = len(data["x"])
    draw = np.random.default_rng(0)
    for axis in ("x", "y"):  # all meet in one scene, and no two neighbours are equally near
        data[axis] = (np.array(data[axis]) + draw.normal(0, 2, rows)).tolist()
    data["x"][-3] = data["y"][-3] = math.nan
    settings = {**SETTINGS, "neighbours": 2, "epochs": 1, "hold_out": "end", **options}
    model = elman.Forecaster(**settings).fit(data)
    name, begin = "one2", 40

    def until(time: int) -> Columns:
        keep = [n for n in range(rows) if data["ds"][n] < time]
        return {column: [values[n] for n in keep] for column, values in data.items()}

    live = model.stream(name, series=until(begin + 5))
    for time in range(begin + 5, begin + 11):
        here = {
            data["unique_id"][n]: (data["x"][n], data["y"][n])
            for n in range(rows)
            if data["ds"][n] == time and not math.isnan(data["x"][n])
        }
        found = live.push(here.pop(name), here)
        predicted = model.predict(until(time + 1))
        expected = predicted.quantiles[predicted.unique_id.index(name)]
        np.testing.assert_allclose(found.quantiles, expected, rtol=1e-4, atol=1e-4)


def test_later_steps_of_neighbours_have_no_influence() -> None:
    data = meetings(6)
    settings = {**SETTINGS, "neighbours": 2, "group": "scene", "epochs": 1}
    model = elman.Forecaster(**settings).fit(data)
    changed = {name: list(values) for name, values in data.items()}
    for n, name in enumerate(data["unique_id"]):
        if name.startswith("friend") and n % 11 > 4:  # after the origin
            changed["x"][n] += 5
    a, b = (
        windows_of(model.predictor, model._read(one)).cut(np.arange(0, 12, 2), np.full(6, 5))
        for one in (data, changed)
    )
    assert a.inputs.equal(b.inputs)
    earlier = {name: list(values) for name, values in data.items()}
    for n, name in enumerate(data["unique_id"]):
        if name.startswith("friend"):
            earlier["x"][n] += 0.5
    other = windows_of(model.predictor, model._read(earlier)).cut(
        np.arange(0, 12, 2), np.full(6, 5)
    )
    assert not a.inputs.equal(other.inputs)


@pytest.mark.parametrize("options", [{}, {"neighbours": 2, "segment": 1}, {"segment": 1}])
def test_values_before_the_context_have_no_influence(options: dict[str, Any]) -> None:
    model = elman.Forecaster(**{**SETTINGS, "epochs": 1, **options}).fit(circles(10))
    windows = windows_of(model.predictor, model.history.table)
    where = np.array([3]), np.array([8])
    before = windows.cut(*where).inputs
    begin = windows.begins[3]
    windows.y[begin : begin + 8 - model.layout.context] += 5
    assert windows.cut(*where).inputs.equal(before)


@pytest.mark.learns
def test_velocity_is_estimated_across_gaps() -> None:
    sparse = circles(60, 28)
    for axis in ("x", "y"):
        sparse[axis][1::2] = [math.nan] * len(sparse[axis][1::2])
    settings = {**SETTINGS, "context": 8, "epochs": 20, "horizon": 6}
    found = elman.Forecaster(**settings).fit(sparse).metrics
    ours, straight = (found[who]["validation"]["ADE"] for who in ("model", "baseline"))
    assert ours < 0.6 * straight


@pytest.mark.parametrize("scaling", ["standard", "last", "robust"])
def test_the_origin_of_the_axes_has_no_influence(scaling: str) -> None:
    settings = {**SETTINGS, "scaling": scaling, "epochs": 2}
    scores = []
    for offset in (0, 1e6):
        data = circles(20)
        for axis in ("x", "y"):
            data[axis] = [value - 1e6 + offset for value in data[axis]]
        scores.append(elman.Forecaster(**settings).fit(data).metrics["model"]["validation"])
    assert scores[0]["ADE"] == pytest.approx(scores[1]["ADE"], rel=0.01)


def test_neighbours_are_read_from_the_training_data_in_evaluate(among: elman.Forecaster) -> None:
    whole = meetings(40)
    early = [n for n in range(len(whole["x"])) if n % 11 < 5 or whole["unique_id"][n][0] == "f"]
    later = [n for n in range(len(whole["x"])) if n not in set(early)]
    model = copy.copy(among)
    table = model._read({name: [values[n] for n in early] for name, values in whole.items()})
    history = replace(model.history, table=table, errors=np.full((80, 2), np.nan))
    model._predictor = replace(model.predictor, history=history)
    only = {name: [values[n] for n in later] for name, values in whole.items()}
    assert model.evaluate(only)["ADE"] < 0.5  # about 2 without the places of others


def test_neighbours_are_in_the_same_scene_and_present_at_the_previous_step() -> None:
    nan = math.nan
    y = np.array(
        [[0.0, 0], [0, 0], [0, 0], [3, 0], [3, 0], [2, 0], [2, nan], [2, 0], [1, 0], [1, 0]]
    )
    begins = np.array([0, 3, 5, 8])
    found = find_neighbours(y, begins, [0, 1, 0, 0], [0.0, 0, 0, 1], 2)
    assert found[0].tolist() == [-1, -1]  # nobody is present before the first step
    assert found[1].tolist() == [-1, -1]  # the third has a gap, and the fourth is in another scene
    assert found[2].tolist() == [4, -1]  # the third was not present at the previous step
    assert found[4].tolist() == [2, -1]
    many = np.repeat(np.arange(5.0)[:, None, None], 2, 1) * np.ones((5, 2, 2))
    near = find_neighbours(many.reshape(-1, 2), np.arange(0, 10, 2), [0] * 5, [0.0] * 5, 3)
    assert near[5].tolist() == [3, 7, 1]


def test_held_out_series_do_not_change_the_weights() -> None:
    settings = {
        **SETTINGS,
        "epochs": 1,
        "monitor": "last",
        "validation_fraction": 0.2,
        "refit_epochs": 0,
    }
    data = circles(20)
    model = elman.Forecaster(**settings).fit(data)
    held = np.random.default_rng(0).choice(20, 4, replace=False)
    changed = {name: list(values) for name, values in data.items()}
    for n in range(len(data["x"])):
        if n // 14 in held:
            changed["x"][n] *= -3
    other = elman.Forecaster(**settings).fit(changed)
    for a, b in zip(model.model.parameters(), other.model.parameters(), strict=True):
        assert a.equal(b)
    scores = [one.metrics["model"]["validation"]["ADE"] for one in (model, other)]
    assert scores[0] != scores[1]


def test_the_best_of_one_future_equals_the_median_if_it_is_the_median() -> None:
    draw = np.random.default_rng(0)
    y, forecast = draw.normal(size=(2, 9, 5, 2))
    y[2, 3:] = math.nan  # an incomplete forecast is not scored
    found = score_places(y, forecast, forecast[:, None])
    assert found["ADE"] == pytest.approx(found["best_of_1_ADE"])
    assert found["FDE"] == pytest.approx(found["best_of_1_FDE"])
    whole = np.delete(np.arange(9), 2)
    apart = np.linalg.norm(y[whole] - forecast[whole], axis=2)
    assert found["ADE"] == pytest.approx(apart.mean())
    part = score_places(y[2:3], forecast[2:3])
    assert part["ADE"] == pytest.approx(np.linalg.norm(y[2, :3] - forecast[2, :3], axis=1).mean())
    assert math.isnan(part["FDE"])


def test_new_series_are_scored_on_their_own(trained: elman.Forecaster) -> None:
    new = circles(20, seed=1)
    new["unique_id"] = [f"new {name}" for name in new["unique_id"]]
    scores = trained.evaluate(new)
    rolled = trained.backtest(new, cuts=1).scores["this model"]
    far = [n for n in range(280) if n % 14 >= 4]
    assert scores["numbers"] > rolled["numbers"] == 20 * 6 * 2
    assert scores["numbers"] == 2 * len(far)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"decoder": "autoregressive", "segment": None},
            "scaling=velocity continues the last step",
        ),
        ({"targets": ("x",)}, "plane needs two targets, such as x and y, got x"),
        (
            {"plane": False, "neighbours": 3, "scaling": "last"},
            "neighbours need places in the plane",
        ),
        ({"plane": False}, "scaling=velocity is for places in the plane"),
        ({"plane": False, "scaling": "last", "jitter": 0.1}, "jitter is for places"),
        ({"scaling": "mean"}, "plane needs a scaling .* last, standard or robust, got mean"),
        ({"neighbours": 2, "group": "unique_id"}, "group must be a column whose values"),
        ({"neighbours": -1}, "neighbours must be a whole number, 0 or more, got -1"),
        ({"group": "scene"}, "group is the scene that neighbours share"),
        ({"jitter": -0.1}, "jitter must be a number, 0 or more, got -0.1"),
        ({"per_series": True}, "hold_out=series validates on series that training"),
        ({"hold_out": "none"}, "hold_out must be one of end, series, got 'none'"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        elman.Forecaster(**{**SETTINGS, **settings}).fit(circles(10))


def test_invalid_scenes_and_neighbours_are_refused(trained: elman.Forecaster) -> None:
    settings = {**SETTINGS, "neighbours": 2, "epochs": 1}
    data = circles(10)
    with pytest.raises(ArgumentError, match="but has no column 'ds'; set ds"):
        elman.Forecaster(**settings).fit({k: v for k, v in data.items() if k != "ds"})
    scenes = data | {"scene": ["a"] * 139 + ["b"]}
    with pytest.raises(DataError, match="series '0-9' must have a single 'scene', got 2"):
        elman.Forecaster(**settings, group="scene").fit(scenes)
    odd = data | {"ds": [2 * t + (n >= 126) for n, t in enumerate(data["ds"])]}
    with pytest.raises(DataError, match="series '0-9' begins at 1, not a whole number of"):
        elman.Forecaster(**settings).fit(odd)
    with pytest.raises(DataError, match="hold_out=series needs at least two series"):
        elman.Forecaster(**SETTINGS).fit(circles(1))
    live = trained.stream("0-0")
    with pytest.raises(ArgumentError, match="this model has no neighbours"):
        live.push((0.0, 0.0), {"a": (1.0, 2.0)})
    seeing = elman.Forecaster(**settings).fit(data).stream("0-0")
    for others in ([(1.0, 2.0)], {"0-0": (1.0, 2.0)}):
        with pytest.raises(ArgumentError, match="others must be a dict of places by name"):
            seeing.push((0.0, 0.0), others)  # type: ignore[arg-type]
    assert np.isfinite(seeing.push(None).mean).all()
    alone = {name: values[:1] for name, values in data.items()}
    assert np.isfinite(elman.Forecaster(**settings).fit(data).predict(alone).mean).all()
    for place in ((1.0,), "here", (1.0, math.inf)):
        with pytest.raises(ArgumentError, match=r"others\['a'\] must be"):
            seeing.push((0.0, 0.0), {"a": place})


def test_invalid_numbers_of_futures_are_refused(trained: elman.Forecaster) -> None:
    for count in (-1, 2.5, "3"):
        with pytest.raises(ArgumentError, match="futures must be a whole number, 0 or more"):
            trained.predict(futures=count)  # type: ignore[arg-type]
    settings = {**SETTINGS, "output": "point", "epochs": 1}
    with pytest.raises(ArgumentError, match="futures need the dependence between the numbers"):
        elman.Forecaster(**settings).fit(circles(10)).predict(futures=1)
    drawn = {**settings, "output": None, "decoder": "autoregressive", "segment": None}
    model = elman.Forecaster(**{**drawn, "scaling": "standard", "samples": 30}).fit(circles(10))
    found = model.predict(futures=30)
    assert found.futures is not None
    np.testing.assert_allclose(found.futures.mean(1), found.mean, rtol=1e-7)
    with pytest.raises(ArgumentError, match="futures must be at most 30, got 31; set samples=31"):
        model.predict(futures=31)


def test_the_command_line_draws_futures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = tmp_path / "a.csv", str(tmp_path / "run")
    rows = meetings(20)
    lines = [",".join(rows), *(",".join(map(str, row)) for row in zip(*rows.values(), strict=True))]
    path.write_text("\n".join(lines))
    flags = [
        "--targets",
        "x",
        "y",
        "--plane",
        "--scaling",
        "velocity",
        "--horizon",
        "4",
        "--context",
        "4",
        "--hold-out",
        "series",
        "--neighbours",
        "2",
        "--group",
        "scene",
        "--jitter",
        "0.1",
        "--epochs",
        "1",
        "--hidden-size",
        "8",
    ]
    assert main(["train", "forecaster", str(path), "--out", run, *flags]) == 0
    assert "validation ADE" in capsys.readouterr().out
    assert main(["predict", run, "--futures", "2", "--out", str(tmp_path / "next.csv")]) == 0
    head = (tmp_path / "next.csv").read_text().splitlines()[0].split(",")
    assert head[-2:] == ["y-future-1", "y-future-2"]
    capsys.readouterr()
    out = tmp_path / "backtest.csv"
    flags = ["--cuts", "1", "--futures", "3", "--out", str(out)]
    assert main(["backtest", run, str(path), *flags]) == 0
    assert out.read_text().splitlines()[0].endswith("y-future-3")
    found = capsys.readouterr().out.splitlines()
    assert found[0].split()[:2] == ["ADE", "FDE"]
    assert "best of 20 FDE" in found[0]
    assert found[2].startswith("constant velocity") or found[2].startswith("drift")
    assert main(["evaluate", run, str(path), "--json"]) == 2
    page = (tmp_path / "run" / "report.html").read_text()
    assert "mean distance" in page
    assert ">futures<" in page
    assert "constant velocity" in (tmp_path / "run" / "README.md").read_text()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["neighbours"] == 2


def test_a_live_forecast_with_neighbours_after_a_gap_equals_predict() -> None:
    data = meetings(6)
    rows = len(data["x"])
    draw = np.random.default_rng(0)
    for axis in ("x", "y"):
        data[axis] = (np.array(data[axis]) + draw.normal(0, 2, rows)).tolist()
    settings = {**SETTINGS, "neighbours": 2, "epochs": 1, "hold_out": "end"}
    model = elman.Forecaster(**settings).fit(data)
    name, begin = "one2", 40

    def until(time: int) -> Columns:
        gap = range(begin + 5, begin + 7)
        keep = [
            n
            for n in range(rows)
            if data["ds"][n] < time and not (data["unique_id"][n] == name and data["ds"][n] in gap)
        ]
        return {column: [values[n] for n in keep] for column, values in data.items()}

    live = model.stream(name, series=until(begin + 5))
    for time in (begin + 7, begin + 8):
        here = {
            data["unique_id"][n]: (data["x"][n], data["y"][n])
            for n in range(rows)
            if data["ds"][n] == time
        }
        found = live.push(here.pop(name), here, at=time)
        predicted = model.predict(until(time + 1))
        expected = predicted.quantiles[predicted.unique_id.index(name)]
        np.testing.assert_allclose(found.quantiles, expected, rtol=1e-4, atol=1e-4)
