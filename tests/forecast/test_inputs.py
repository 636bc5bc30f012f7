"""Forecasters read columns of texts and of images, which are known only in the past."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError, ElmanError
from elman.forecast.inputs import cells_of
from elman.forecast.scene import windows_of
from elman.forecast.settings import ForecasterSettings
from elman.manifest import CHECKPOINT
from elman.read.series import SeriesSource
from elman.train import resumable

FILL = ["the", "market", "report", "shows", "that", "trading", "of", "shares", "was", "early"]
QUICK: dict[str, Any] = {
    "horizon": 1,
    "context": 8,
    "season": 1,
    "hidden_size": 32,
    "epochs": 8,
    "windows": 1000,
    "learning_rate": 0.01,
    "device": "cpu",
    "samples": 40,
}
TINY = QUICK | {"epochs": 1, "windows": 64, "hidden_size": 8}
NEWS = {"inputs": {"news": "text"}}
Table = dict[str, list[Any]]
SHAPES: dict[str, dict[str, Any]] = {
    "direct": {},
    "layer": {"embedding_size": 6, "past": ["load"], "future": ["price"]},
    "segments": {"segment": 4, "horizon": 8, "context": 16},
    "lags": {"lags": [1, 3], "scaling": "mean"},
    "autoregressive": {"decoder": "autoregressive", "horizon": 3},
}


def with_news(steps: int, seed: int, share: float = 0.5) -> Table:
    """Return a series that goes up or down by 1 after a text with this word."""
    draw = np.random.default_rng(seed)
    y, news = [50.0], []
    for _ in range(steps):
        move = draw.choice([-1, 1]) if draw.random() < share else 0
        words = list(draw.choice(FILL, 4))
        words.insert(draw.integers(5), "up" if move > 0 else "down")
        news.append(" ".join(words) if move else "")
        y.append(y[-1] + move + 0.05 * draw.normal())
    return {"y": y[:-1], "news": news}


def part_of(table: Table, first: int, last: int | None = None) -> Table:
    return {name: column[first:last] for name, column in table.items()}


@pytest.fixture(scope="module")
def model() -> elman.Forecaster:
    return elman.Forecaster(**QUICK, **NEWS).fit(with_news(500, 0))


def test_texts_lower_the_error_and_a_loaded_model_forecasts_the_same(
    model: elman.Forecaster, tmp_path: Path
) -> None:
    after = part_of(with_news(700, 0), 500)
    plain = elman.Forecaster(**QUICK).fit(with_news(500, 0)["y"]).evaluate(after["y"])
    scores = model.evaluate(after)
    assert scores["MAE"] < 0.5 * plain["MAE"]
    assert scores["MAE"] < 0.5 * scores["MAE without news"]
    model.save(tmp_path / "model")
    loaded = elman.Forecaster.load(tmp_path / "model")
    assert np.array_equal(loaded.predict().quantiles, model.predict().quantiles)
    assert loaded.evaluate(after) == scores
    assert "texts of 'news'" in (tmp_path / "model" / "README.md").read_text()


def test_a_forecast_reads_the_texts_up_to_its_origin_and_no_later_one(
    model: elman.Forecaster,
) -> None:
    table = with_news(40, 3)

    def forecast(step: int, text: str) -> float:
        news = [*table["news"], ""]
        news[step] = text
        rows = {"y": [*table["y"], None], "news": news}
        return float(model.predict(rows).median[0, 0, 0])

    table["news"][38:] = ["", ""]
    plain = forecast(39, "")
    assert forecast(40, "the market was down today") == plain
    assert forecast(39, "the market was down today") < plain - 0.5
    assert forecast(39, "the market was up today") > plain + 0.5
    found = model.backtest(table, cuts=3).forecasts.mean
    table["news"][39] = "the market was up today"  # the last origin is before it
    assert np.array_equal(model.backtest(table, cuts=3).forecasts.mean, found)
    table["news"][38] = "the market was up today"
    changed = model.backtest(table, cuts=3).forecasts.mean
    assert np.array_equal(changed[:2], found[:2])
    assert changed[2, 0, 0] > found[2, 0, 0] + 0.5


@pytest.mark.parametrize("shape", ["segments", "autoregressive"])
def test_no_text_within_the_horizon_of_a_backtest_is_read(shape: str) -> None:
    table = with_news(90, 0)
    model = elman.Forecaster(**TINY | SHAPES[shape], **NEWS).fit(table)
    found = model.backtest(table, cuts=1)
    (origin,) = found.origins.tolist()
    assert origin < 90
    for first, same in ((origin, True), (origin - 1, False)):
        news = [*table["news"][:first], *["the market was up"] * (90 - first)]
        again = model.backtest(table | {"news": news}, cuts=1)
        assert np.array_equal(again.forecasts.mean, found.forecasts.mean) == same


def test_a_forecast_does_not_depend_on_the_other_series(model: elman.Forecaster) -> None:
    tables = [with_news(30 + n, n, share) for n, share in ((4, 0.9), (5, 0.0), (6, 0.3))]
    alone = [model.predict(table).quantiles[0] for table in tables]
    joined: Table = {"unique_id": [n for n, one in enumerate(tables) for _ in one["y"]]}
    joined |= {name: [x for one in tables for x in one[name]] for name in ("y", "news")}
    np.testing.assert_allclose(model.predict(joined).quantiles, alone, rtol=1e-5)


def test_numbers_are_texts_and_empty_cells_are_missing() -> None:
    table = with_news(80, 1)
    table["news"] = [("2024" if "up" in one else "5") if one else None for one in table["news"]]
    model = elman.Forecaster(**TINY, inputs=["news:text,min_count=1"]).fit(table)
    vocabulary = model.predictor.inputs["news"].vocabulary
    assert vocabulary is not None
    assert vocabulary.encode("5 2024") == vocabulary.encode("5") + vocabulary.encode("2024")
    assert vocabulary.encode("5") != vocabulary.encode("7")
    y, empty = table["y"][-20:], model.predict({"y": table["y"][-20:], "news": [""] * 20})
    for nothing in (None, "  ", float("nan")):
        found = model.predict({"y": y, "news": [nothing] * 20})
        assert np.array_equal(found.quantiles, empty.quantiles)
    other = model.predict({"y": y, "news": ["5"] + [""] * 18 + ["5"]})
    assert not np.array_equal(other.quantiles, empty.quantiles)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_live_session_forecasts_as_a_batch_and_continues_from_bytes(shape: str) -> None:
    table = with_news(90, 2)
    table["load"] = np.random.default_rng(0).normal(size=90).tolist()
    table["price"] = np.random.default_rng(1).normal(size=100).tolist()
    settings = TINY | NEWS | SHAPES[shape]
    ahead = settings["horizon"] if "future" in settings else 0
    names = [*settings.get("past", ()), "news"]

    def rows(steps: int) -> Table:
        """Return the first steps, and those for which only the price is known."""
        found = {name: table[name][:steps] + [None] * ahead for name in ("y", "news", "load")}
        return found | {"price": table["price"][: steps + ahead]}

    model = elman.Forecaster(**settings).fit(rows(60))
    live, other = (model.stream(series=rows(60)) for _ in range(2))
    for n in range(60, 75):
        more = {name: table[name][n] for name in names}
        more |= {"price": table["price"][n + ahead]} if ahead else {}
        found = live.push(table["y"][n], **more)
        if n % 3 == 0:
            batch = model.predict(rows(n + 1))
            np.testing.assert_allclose(found.quantiles, batch.quantiles[0], rtol=2e-5)
            other.restore(live.state_bytes())
            assert np.array_equal(other.forecast().quantiles, found.quantiles)
            live, other = other, live  # the restored session goes on


def test_a_live_session_goes_on_after_the_training_data_and_skips_missing_steps(
    model: elman.Forecaster,
) -> None:
    rows = with_news(530, 0)
    live = model.stream()
    for n in range(500, 510):
        found = live.push(rows["y"][n], news=rows["news"][n])
    batch = model.predict(part_of(rows, 0, 510))
    np.testing.assert_allclose(found.quantiles, batch.quantiles[0], rtol=2e-5)
    quiet = live.push(rows["y"][510], news="")
    for nothing in (None, "NA", float("nan")):
        live.restart()
        for n in range(500, 510):
            live.push(rows["y"][n], news=rows["news"][n])
        again = live.push(rows["y"][510], news=nothing)
        assert np.array_equal(again.mean, quiet.mean)
    with pytest.raises(ArgumentError, match="covariates must be news, got none"):
        live.push(1.0)
    with pytest.raises(ArgumentError, match="news must be a string"):
        live.push(1.0, news=7)


def test_each_text_of_a_segment_is_read() -> None:
    table = with_news(120, 5)
    settings = TINY | {"horizon": 4, "segment": 4, "context": 16}
    model = elman.Forecaster(**settings, **NEWS).fit(table)
    y, news = table["y"][:16], [""] * 16
    found = [model.predict({"y": y, "news": news}).mean]
    for step in range(16):
        changed = [*news[:step], "the market was up", *news[step + 1 :]]
        found.append(model.predict({"y": y, "news": changed}).mean)
    assert all((one != found[0]).any() for one in found[1:])
    assert (found[16] != found[13]).any()  # the last step of a segment is read by itself, too


def test_an_autoregressive_decoder_reads_texts_in_the_past_only() -> None:
    settings = QUICK | {"decoder": "autoregressive", "horizon": 2, "epochs": 12}
    model = elman.Forecaster(**settings, **NEWS).fit(with_news(500, 0))
    table = with_news(30, 7)
    found = {}
    for word in ("up", "down"):
        table["news"][-1] = f"the market was {word} today"
        rows = {"y": [*table["y"], None, None], "news": [*table["news"], "down", "up"]}
        found[word] = model.predict(table).median[0, :, 0]
        assert np.array_equal(model.predict(rows).median[0, :, 0], found[word])
    assert (found["up"] - found["down"] > 1).all()


def test_a_resumed_run_gives_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = with_news(120, 0)
    rows = [f"{y},{news}" for y, news in zip(table["y"], table["news"], strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["y,news", *rows]))
    save, count = resumable.save_tensors, 0

    def saved(path: Path, *rest: Any) -> None:
        nonlocal count
        save(path, *rest)
        count += path.name == CHECKPOINT
        if path.name == CHECKPOINT and count == 1:
            shutil.copytree(path.parent, tmp_path / "cut")

    monkeypatch.setattr(resumable, "save_tensors", saved)
    model = elman.Forecaster(**TINY | {"epochs": 2}, **NEWS)
    model.fit(tmp_path / "data.csv", out=tmp_path / "whole")
    resumed = elman.Forecaster.resume(tmp_path / "cut")
    assert np.array_equal(resumed.predict().quantiles, model.predict().quantiles)
    files = [tmp_path / name / "weights.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def with_sky(folder: Path, steps: int, seed: int) -> Table:
    """Return a series that goes up after a bright image and down after a dark one."""
    draw = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    y, sky = [10.0], []
    for n in range(steps):
        move = draw.choice([-1, 0, 1])
        if move:
            pixels = draw.integers(0, 60, (6, 8)) + (190 if move > 0 else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{n}.png")
        sky.append(f"{n}.png" if move else "")
        y.append(y[-1] + move + 0.05 * draw.normal())
    return {"y": y[:-1], "sky": sky}


def written(table: Table, path: Path) -> Path:
    lines = [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    path.write_text("\n".join([",".join(table), *lines]) + "\n")
    return path


def test_images_lower_the_error_and_are_stored_with_the_model(tmp_path: Path) -> None:
    table = with_sky(tmp_path / "sky", 400, 0)
    before = written(part_of(table, 0, 300), tmp_path / "sky" / "before.csv")
    after = written(part_of(table, 300), tmp_path / "sky" / "after.csv")
    model = elman.Forecaster(**QUICK | {"epochs": 4}, inputs={"sky": elman.Image()})
    model.fit(before, out=tmp_path / "model")
    scores = model.evaluate(after)
    assert scores["MAE"] < 0.5 * scores["MAE without sky"]
    live = model.stream(series=before)
    found = live.push(table["y"][300], sky=str(tmp_path / "sky" / table["sky"][300] or ""))
    # A file with the name or the place of a training image can be another image.
    other = tmp_path / "other"
    other.mkdir()
    name = next(one for one in reversed(part_of(table, 0, 300)["sky"]) if one)
    means = []
    for folder, value in ((other, 0), (other, 255), (tmp_path / "sky", 0), (tmp_path / "sky", 255)):
        Image.fromarray(np.full((6, 8), value, dtype=np.uint8)).save(folder / name)
        now = {"y": [3, 2, 2, 3, 3], "sky": ["", "", "", "", name]}
        means.append(model.predict(written(now, folder / "now.csv")).mean[0, 0, 0])
    assert means[1] - means[0] > 1
    assert means[2:] == means[:2]
    shutil.rmtree(tmp_path / "sky")
    loaded = elman.Forecaster.load(tmp_path / "model")
    assert np.array_equal(loaded.predict().quantiles, model.predict().quantiles)
    again = loaded.stream()
    assert np.array_equal(again.forecast().mean, model.stream().forecast().mean)
    assert np.isfinite(found.mean).all()
    assert str(tmp_path) not in (tmp_path / "model" / "history.safetensors").read_bytes().decode(
        "latin-1"
    )
    with pytest.raises(ArgumentError, match=r"gone\.png"):
        live.push(1.0, sky=str(other / "gone.png"))


def test_texts_can_start_from_word_vectors(tmp_path: Path) -> None:
    words = {"up": [1.0, 0.0, 0.0], "down": [0.0, 1.0, 0.0]}
    lines = [" ".join(map(str, (word, *vector))) for word, vector in words.items()]
    (tmp_path / "words.txt").write_text("\n".join(lines) + "\n")
    own = {"kind": "text", "vectors": str(tmp_path / "words.txt")}
    with pytest.raises(ArgumentError, match=r"news: .* have 3 numbers; set embedding_size=3"):
        elman.Forecaster(**TINY, inputs={"news": own}).fit(with_news(80, 0))
    slow = TINY | {"learning_rate": 1e-9}
    model = elman.Forecaster(**slow, inputs={"news": own | {"embedding_size": 3}})
    model.fit(with_news(80, 0))
    vocabulary = model.predictor.inputs["news"].vocabulary
    assert vocabulary is not None
    weights = model.model.state_dict()["encode.items.nests.0.inner.weight"]
    for word, vector in words.items():
        (number,) = vocabulary.encode(word)
        assert weights[number].tolist() == pytest.approx(vector, abs=1e-3)


def test_the_vocabulary_is_that_of_the_training_part() -> None:
    table = with_news(100, 0)
    table["news"][-5:] = ["secret words secret words"] * 5
    model = elman.Forecaster(**TINY, **NEWS).fit(table)
    vocabulary = model.predictor.inputs["news"].vocabulary
    assert vocabulary is not None
    assert vocabulary.encode("secret") == vocabulary.encode("unknown")
    assert vocabulary.encode("up") != vocabulary.encode("unknown")


def test_only_the_texts_that_forecasts_read_are_stored(model: elman.Forecaster) -> None:
    news = [one for one in with_news(500, 0)["news"][-8:] if one]
    assert sorted(set(news)) == sorted(model.history.table.categories["news"])


def test_wide_tables_and_places_have_texts_too() -> None:
    table = with_news(60, 0)
    wide = {"north": table["y"], "south": table["y"][::-1], "news": table["news"]}
    model = elman.Forecaster(**TINY, **NEWS, wide=True).fit(wide)
    assert model.predict().unique_id == ["north", "south"]
    windows = windows_of(model.predictor, model.history.table)
    assert windows.cut(np.array([0, 1]), np.array([60, 60])).inputs[..., -1].max() > 0
    draw = np.random.default_rng(0).normal(size=(120, 2)).cumsum(0)
    days = (np.datetime64("2024-01-01") + np.arange(60)).astype(str).tolist()
    places: Table = {"unique_id": ["a"] * 60 + ["b"] * 60, "ds": days * 2}
    places |= {"x": draw[:, 0].tolist(), "z": draw[:, 1].tolist(), "news": table["news"] * 2}
    walks = {"targets": ("x", "z"), "plane": True, "neighbours": 1}
    model = elman.Forecaster(**TINY | walks, **NEWS).fit(places)
    scores = model.evaluate(
        {**places, "ds": (np.datetime64("2024-03-01") + np.arange(60)).astype(str).tolist() * 2}
    )
    assert "ADE without news" in scores


Change = Callable[[Table], object]
BAD: dict[str, tuple[dict[str, Any], Change, str]] = {
    "kind": ({"inputs": ["news:audio"]}, lambda _: None, "got 'news:audio'; for a column"),
    "number": ({"inputs": {"news": "number"}}, lambda _: None, "numbers or words set past"),
    "no column": ({"inputs": ["text"]}, lambda _: None, "must be COLUMN:text or COLUMN:image"),
    "setting": (
        {"inputs": {"news": {"kind": "text", "scan": "rows"}}},
        lambda _: None,
        "text has no setting 'scan'",
    ),
    "value": ({"inputs": ["news:text,min_count=0"]}, lambda _: None, "news: min_count must be"),
    "twice": ({"inputs": ["news:text", "news:text"]}, lambda _: None, "column 'news'; name it on"),
    "target": ({"inputs": ["y:text"]}, lambda _: None, "inputs and targets both name the"),
    "past": (NEWS | {"past": ["news"]}, lambda _: None, "inputs and past both name the column"),
    "id": (NEWS | {"unique_id": "news"}, lambda _: None, "inputs and unique_id both name"),
    "absent": (NEWS, lambda table: table.pop("news"), "no column 'news'; its columns: 'y'"),
    "empty": (
        NEWS,
        lambda table: table.update(news=[""] * 60),
        "column 'news': is empty at all training steps",
    ),
    "list": (
        NEWS,
        lambda table: table.update(news=[["a"]] + ["b"] * 59),
        r"row 0: column 'news' is \['a'\], expected one value",
    ),
    "no file": (
        {"inputs": ["sky:image"]},
        lambda table: table.update(sky=[""] * 7 + ["gone.png"] + [""] * 52),
        r"row 7: column 'sky'.*gone\.png",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_inputs_are_refused_in_one_line(case: str) -> None:
    settings, change, message = BAD[case]
    table = with_news(60, 0)
    change(table)
    with pytest.raises(ElmanError, match=message) as error:
        elman.Forecaster(**TINY | settings).fit(table)
    assert "\n" not in str(error.value)


def test_a_missing_image_is_an_error_of_its_line_that_can_be_skipped(tmp_path: Path) -> None:
    table = with_sky(tmp_path / "sky", 60, 0)
    place = next(n for n, one in enumerate(table["sky"]) if one)
    (tmp_path / "sky" / table["sky"][place]).unlink()
    data = written(table, tmp_path / "sky" / "data.csv")
    model = elman.Forecaster(**TINY, inputs={"sky": "image"})
    with pytest.raises(DataError, match=rf"data\.csv: line {place + 2}: column 'sky'"):
        model.fit(data)
    damaged = next(n for n, one in enumerate(table["sky"]) if one and n > place)
    path = tmp_path / "sky" / table["sky"][damaged]
    path.write_bytes(path.read_bytes()[:60])
    model.fit(data, skip_bad_rows=tmp_path / "bad.csv")
    for row in (place, damaged):
        assert f"line {row + 2},\"column 'sky': " in (tmp_path / "bad.csv").read_text()


def test_the_command_line_trains_evaluates_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written({"ds": list(range(120)), **with_news(120, 0)}, tmp_path / "prices.csv")
    run = str(tmp_path / "run")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    assert main(["look", str(data), "--task", "forecaster", "--input", "news:text"]) == 0
    assert "--input news:text" in capsys.readouterr().out
    train = ["train", "forecaster", str(data), "--input", "news:text", "--out", run, *flags]
    assert main(train) == 0
    assert main(["predict", run]) == 0
    assert main(["backtest", run, str(data), "--cuts", "2"]) == 0
    capsys.readouterr()
    assert main([*train[:4], "wind:number", *train[5:], "--overwrite"]) == 2
    assert "for a column of numbers or words set --past" in capsys.readouterr().err


def test_the_content_of_images_is_a_part_of_the_fingerprint(tmp_path: Path) -> None:
    table, image = tmp_path / "a.csv", tmp_path / "a.png"
    table.write_text("ds,y,sky\n1,2,a.png\n2,3,\n3,4,none.png\n")

    def fingerprint() -> str:
        settings = ForecasterSettings(inputs=("sky:image",))
        return SeriesSource(table, items=cells_of(settings, table)).fingerprint()

    image.write_bytes(b"one")
    before = fingerprint()
    assert fingerprint() == before
    image.write_bytes(b"two")
    assert fingerprint() != before
