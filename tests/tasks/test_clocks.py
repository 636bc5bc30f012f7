"""Time in a forecaster: the form of timestamps, gaps, closed times, and future rows."""

from __future__ import annotations

import csv
import json
import math
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError

SETTINGS: dict[str, Any] = {
    "horizon": 4,
    "context": 12,
    "hidden_size": 8,
    "epochs": 1,
    "windows": 64,
    "batch_size": 32,
    "device": "cpu",
    "season": 4,
}
HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")
Columns = dict[str, list[Any]]


def numbers(count: int) -> list[float]:
    return [float(n % 4) + 0.1 * math.sin(n) for n in range(count)]


def hours(count: int, begin: str = "2024-03-25", zone: ZoneInfo | None = BERLIN) -> list[datetime]:
    first = datetime.fromisoformat(begin).replace(tzinfo=timezone.utc)
    moments = [first + n * HOUR for n in range(count)]
    return [one.astimezone(zone) if zone else one.replace(tzinfo=None) for one in moments]


def pick(columns: Columns, rows: list[int]) -> Columns:
    return {name: [values[n] for n in rows] for name, values in columns.items()}


def write(path: Path, columns: Columns) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


@pytest.fixture(scope="module")
def hourly() -> elman.Forecaster:
    """Return a model of two hourly series whose timestamps are texts without a zone."""
    ds = [str(one) for one in hours(120, zone=None)]
    columns = {"unique_id": ["a"] * 120 + ["b"] * 120, "ds": ds * 2, "y": numbers(240)}
    return elman.Forecaster(**SETTINGS).fit(columns)


@pytest.fixture(scope="module")
def zoned() -> elman.Forecaster:
    """Return a model of an hourly series of datetimes that ends before clocks are set forward."""
    columns = {"unique_id": [7] * 140, "ds": hours(140), "y": numbers(140)}
    return elman.Forecaster(**{**SETTINGS, "horizon": 6}).fit(columns)


def test_timestamps_have_the_same_form_in_every_table(
    hourly: elman.Forecaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = [f"2024-03-30 0{n}:00:00" for n in range(4)]
    assert hourly.predict().columns()["ds"] == expected * 2
    hourly.predict().write(tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["ds"] for row in rows] == expected * 2
    columns = {"ds": [str(one) for one in hours(24, zone=None)], "y": numbers(24)}
    found = hourly.backtest(columns, cuts=1).forecasts
    found.write(tmp_path / "b.csv")
    with (tmp_path / "b.csv").open() as file:
        assert [row["ds"] for row in csv.DictReader(file)] == found.columns()["ds"]
    # A timestamp at midnight has the same form as the others.
    until = {name: values[:-4] for name, values in columns.items()}
    assert hourly.backtest(until | {"y": numbers(20)}, cuts=1).forecasts.columns()["cutoff"][0] == (
        "2024-03-25 15:00:00"
    )
    hourly.save(tmp_path / "run")
    assert main(["predict", str(tmp_path / "run")]) == 0
    assert "2024-03-30 00:00:00" in capsys.readouterr().out


def test_days_are_written_as_dates() -> None:
    days = [f"2024-01-{n:02d}" for n in range(1, 31)]
    found = elman.Forecaster(**SETTINGS).fit({"ds": days, "y": numbers(30)}).predict()
    assert found.columns()["ds"][:2] == ["2024-01-31", "2024-02-01"]


def test_the_zone_is_kept_when_clocks_are_set_forward(
    zoned: elman.Forecaster, tmp_path: Path
) -> None:
    expected = hours(146)[140:]
    found = zoned.predict()
    assert found.columns()["ds"] == expected
    assert found.columns()["unique_id"] == [7] * 6
    found.write(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["ds"] for row in rows] == [str(one) for one in expected]
    zoned.save(tmp_path / "run")
    again = elman.load(tmp_path / "run")
    assert isinstance(again, elman.Forecaster)
    assert again.predict().columns() == found.columns()
    text = again.predict({"ds": [str(one) for one in hours(140)], "y": numbers(140)})
    assert text.columns()["ds"] == [str(one) for one in expected]
    polars = pytest.importorskip("polars")
    found.write(tmp_path / "a.parquet")
    frame = polars.read_parquet(tmp_path / "a.parquet")
    assert frame["ds"].to_list() == expected
    assert frame["unique_id"].to_list() == [7] * 6


def test_the_calendar_follows_the_local_time_of_the_zone(zoned: elman.Forecaster) -> None:
    start = zoned.history.table.series[0].start
    waves = zoned.index.waves(start, 1)
    assert zoned.index.cycles[0] == "day"
    # In winter, midnight in UTC is 1:00 in Berlin.
    np.testing.assert_allclose(
        waves[0, :2], [math.sin(math.tau / 24), math.cos(math.tau / 24)], atol=1e-6
    )


# Live.


def gap_table(model: elman.Forecaster, name: str, upto: int, missing: range) -> Columns:
    """Return the training data of a series and the rows after it, without some rows."""
    ds = [str(one) for one in hours(upto, zone=None)]
    y = numbers(240)[:120] if name == "a" else numbers(240)[120:]
    whole = {"unique_id": [name] * upto, "ds": ds, "y": [*y, *numbers(upto)[120:]]}
    return pick(whole, [n for n in range(upto) if n not in missing])


@pytest.mark.parametrize("missed", [0, 1, 5, 11])
def test_a_live_forecast_after_a_gap_equals_predict(hourly: elman.Forecaster, missed: int) -> None:
    live = hourly.stream("a")
    stamps, y = hours(160, zone=None), numbers(160)
    live.push(y[120], at=str(stamps[120]))
    at = 121 + missed
    found = live.push(y[at], at=stamps[at] if missed else np.datetime64(stamps[at]))
    expected = hourly.predict(gap_table(hourly, "a", at + 1, range(121, at)))
    np.testing.assert_allclose(found.quantiles, expected.quantiles[0], rtol=1e-4, atol=1e-4)
    assert np.array_equal(live.ds, expected.ds[0])
    assert live.stamps == expected.columns()["ds"]
    more = live.push(y[at + 1])
    expected = hourly.predict(gap_table(hourly, "a", at + 2, range(121, at)))
    np.testing.assert_allclose(more.quantiles, expected.quantiles[0], rtol=1e-4, atol=1e-4)


def test_a_gap_longer_than_any_window_is_skipped(
    hourly: elman.Forecaster,
) -> None:
    live = hourly.stream("a")
    far = hours(1, "2034-03-30", zone=None)[0]
    found = live.push(2.0, at=far)
    assert live.stamps[0] == str(far + HOUR)
    assert np.isfinite(found.quantiles).all()
    assert np.isnan(live.push(None, at=far + 40 * HOUR).quantiles).all()


def test_covariates_of_skipped_steps_are_missing() -> None:
    columns: Columns = {
        "ds": [str(one) for one in hours(130, zone=None)],
        "y": numbers(130),
        "load": [float(n % 5) for n in range(130)],
        "kind": ["odd", "even"] * 65,
    }
    model = elman.Forecaster(**SETTINGS, past=("load", "kind")).fit(pick(columns, [*range(120)]))
    live = model.stream()
    found = live.push(columns["y"][125], at=columns["ds"][125], load=0.0, kind="even")
    expected = model.predict(pick(columns, [*range(120), 125]))
    np.testing.assert_allclose(found.quantiles, expected.quantiles[0], rtol=1e-4, atol=1e-4)


def test_an_invalid_timestamp_is_refused_and_changes_nothing(hourly: elman.Forecaster) -> None:
    live = hourly.stream("a")
    before = live.forecast().quantiles
    for at, message in (
        ("2024-03-29 23:00", "at must be after the previous timestamp, 2024-03-29 23:00:00, got"),
        ("2020-01-01", "at must be after the previous timestamp"),
        ("2024-03-30 00:30", "at must be a whole number of h after 2024-03-29 23:00:00"),
        ("soon", "at must be a timestamp such as 2024-03-30 00:00:00, got 'soon'"),
        (5, "at must be a timestamp such as"),
        ("2024-03-30 00:00+01:00", "at must be a timestamp such as"),
        ("x" * 100_000, "at must be a timestamp such as"),
        (math.nan, "at must be a timestamp such as"),
    ):
        with pytest.raises(ArgumentError, match=message) as error:
            live.push(1.0, at=at)
        assert len(str(error.value)) < 200
    assert np.array_equal(live.forecast().quantiles, before)
    assert np.array_equal(
        live.push(1.0, at="2024-03-30").quantiles, hourly.stream("a").push(1.0).quantiles
    )


def test_a_live_session_accepts_timestamps_with_a_zone(zoned: elman.Forecaster) -> None:
    live = zoned.stream()
    stamps = hours(150)
    live.push(0.0, at=stamps[140].astimezone(timezone.utc))
    assert live.stamps == stamps[141:147]
    live.push(0.0, at=str(stamps[146]))
    assert live.stamps[:2] == stamps[147:149]
    with pytest.raises(ArgumentError, match="at must be a timestamp such as"):
        live.push(0.0, at="2024-03-31 12:00")


def test_a_live_session_accepts_step_numbers_only_if_training_had_them() -> None:
    model = elman.Forecaster(**SETTINGS).fit({"ds": [*range(0, 200, 2)], "y": numbers(100)})
    live = model.stream()
    live.push(1.0, at=204)
    assert live.stamps == [206, 208, 210, 212]
    with pytest.raises(ArgumentError, match="whole number of 2 steps after 204, got 207"):
        live.push(1.0, at=207)
    rows = elman.Forecaster(**SETTINGS).fit(numbers(100)).stream()
    with pytest.raises(ArgumentError, match="at must be None: the training data had no timestamps"):
        rows.push(1.0, at=100)


def test_a_live_session_of_monthly_data_accepts_any_day() -> None:
    days = [f"{2020 + n // 12}-{n % 12 + 1:02d}-{28 - n % 3}" for n in range(40)]
    live = elman.Forecaster(**SETTINGS).fit({"ds": days, "y": numbers(40)}).stream()
    assert live.stamps[0] == "2023-05-01"
    with pytest.raises(ArgumentError, match="at must be after the previous timestamp, 2023-04-01"):
        live.push(1.0, at="2023-04-30")
    live.push(1.0, at="2023-06-09")
    assert live.stamps[0] == "2023-07-01"


# Closed times.


@pytest.fixture(scope="module")
def shop() -> tuple[elman.Forecaster, Columns]:
    """Return a model of a shop that is closed on Sundays, and data that continue after training."""
    days = [datetime(2024, 1, 1) + timedelta(days=n) for n in range(120)]
    ds = [str(one.date()) for one in days if one.weekday() < 6 and one.day != 17]
    columns = {"ds": ds, "y": [10.0 + datetime.fromisoformat(one).weekday() for one in ds]}
    settings = {**SETTINGS, "season": None, "horizon": None, "context": None}
    return elman.Forecaster(**settings).fit(pick(columns, [*range(80)])), columns


def test_closed_days_are_skipped_in_every_forecast(
    shop: tuple[elman.Forecaster, Columns], tmp_path: Path
) -> None:
    model, columns = shop
    assert (model.predictor.season, model.layout.horizon, model.layout.context) == (6, 6, 42)
    stamps = model.predict().columns()["ds"]
    assert stamps[0] > columns["ds"][79]
    assert {datetime.fromisoformat(one).weekday() for one in stamps} == set(range(6))
    live = model.stream()
    first = live.stamps[0]
    live.push(10.0, at=columns["ds"][80])
    assert columns["ds"][80] == first
    friday = next(
        n for n in range(81, 99) if datetime.fromisoformat(columns["ds"][n]).weekday() == 5
    )
    live.push(10.0, at=columns["ds"][friday])
    assert datetime.fromisoformat(live.stamps[0]).weekday() == 0
    sunday = str((datetime.fromisoformat(columns["ds"][friday]) + timedelta(days=1)).date())
    with pytest.raises(ArgumentError, match=r"outside closed times \(Sunday\)"):
        live.push(10.0, at=sunday)
    back = model.backtest(columns, cuts=3).forecasts.columns()
    assert {datetime.fromisoformat(one).weekday() for one in back["ds"]} == set(range(6))
    assert model.evaluate(pick(columns, [*range(80, 98)]))["numbers"] == 18
    model.save(tmp_path / "run")
    again = elman.load(tmp_path / "run")
    assert isinstance(again, elman.Forecaster)
    assert again.predict().columns()["ds"] == stamps
    assert again.predictor.season == 6


def test_closed_days_are_forecast_on_request(shop: tuple[elman.Forecaster, Columns]) -> None:
    _, columns = shop
    model = elman.Forecaster(**{**SETTINGS, "horizon": 8}, closed="none").fit(columns)
    stamps = model.predict().columns()["ds"]
    assert {datetime.fromisoformat(one).weekday() for one in stamps} == set(range(7))


# Future rows, and gaps before the scored part.


def test_rows_without_targets_continue_the_training_data() -> None:
    columns: Columns = {
        "unique_id": ["a"] * 124,
        "ds": [str(one) for one in hours(124, zone=None)],
        "y": [*numbers(120), *[None] * 4],
        "open": ["yes", "no"] * 62,
    }
    model = elman.Forecaster(**SETTINGS, future=("open",)).fit(pick(columns, [*range(120)]))
    expected = model.predict(columns)
    ahead = pick(columns, [*range(120, 124)])
    for table in (ahead, {name: values for name, values in ahead.items() if name != "y"}):
        found = model.predict(table)
        np.testing.assert_allclose(found.quantiles, expected.quantiles, rtol=1e-6)
        assert found.columns()["ds"] == columns["ds"][120:]
    with pytest.raises(DataError, match="'b': is not in the training data, so its earlier"):
        model.predict({**ahead, "unique_id": ["b"] * 4})
    with pytest.raises(DataError, match="has no number in column 'y'; drop it"):
        model.backtest(ahead)
    misnamed = {"sales" if name == "y" else name: values for name, values in ahead.items()}
    with pytest.raises(ArgumentError, match="no column 'y'; its columns: 'unique_id'"):
        model.predict(misnamed)


def test_a_gap_before_the_scored_part_is_named() -> None:
    y: list[float | None] = [*numbers(80), *[None] * 40, *numbers(12)]
    columns = {"unique_id": ["a"] * 132, "y": y}
    message = (
        "nothing to score: series 'a' has a gap of 40 steps .* reads the last 12; set a larger"
    )
    with pytest.raises(DataError, match=message):
        elman.Forecaster(**SETTINGS).fit(pick(columns, [*range(124)]))
    model = elman.Forecaster(**SETTINGS).fit({"unique_id": ["a"] * 80, "y": y[:80]})
    with pytest.raises(DataError, match="series 'a' has a gap of 40 steps"):
        model.evaluate({"unique_id": ["a"] * 44, "y": y[80:124]})
    with pytest.raises(DataError, match="series 'a' has a gap of 40 steps"):
        model.backtest({"unique_id": ["a"] * 124, "y": y[:124]}, cuts=1)


def test_the_table_of_one_unnamed_series_has_no_unique_id(hourly: elman.Forecaster) -> None:
    columns = {"ds": [str(one) for one in hours(40, zone=None)], "y": numbers(40)}
    tables = [hourly.backtest(columns, cuts=cuts).forecasts.columns() for cuts in (1, 2)]
    assert [list(table)[:3] for table in tables] == [["ds", "cutoff", "y"]] * 2


def test_the_zone_and_closed_times_are_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [datetime(2024, 1, 1, tzinfo=BERLIN) + timedelta(days=n) for n in range(100)]
    ds = [one.astimezone(timezone.utc).isoformat() for one in days if one.weekday() < 6]
    path = write(tmp_path / "a.csv", {"ds": ds, "y": numbers(len(ds))})
    run, out = str(tmp_path / "run"), str(tmp_path / "next.csv")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    command = ["train", "forecaster", str(path), "--out", run, *flags]
    assert main(command) == 2
    assert "set it, such as --zone Europe/Berlin" in capsys.readouterr().err
    assert main([*command, "--zone", "Europe/Berlin"]) == 0
    assert "closed times, which never occur and are skipped: Sunday" in capsys.readouterr().err
    assert main(["predict", run, "--out", out]) == 0
    with Path(out).open() as file:
        stamps = [row["ds"] for row in csv.DictReader(file)]
    assert stamps == [f"2024-04-{n} 00:00:00+02:00" for n in (10, 11, 12, 13)]


# Recordings.


@pytest.fixture(scope="module")
def steps() -> tuple[elman.Tagger, Columns]:
    """Return a tagger of recordings with a step every 40 ms, and its training data."""
    rows: Columns = {"unique_id": [], "ds": [], "x": [], "label": []}
    for n in range(8):
        tags = ["none"] * 10 + ["high"] * 10 + ["none"] * 20
        rows["unique_id"] += [n] * 40
        rows["ds"] += [1000 * n + 40 * k for k in range(40)]
        rows["x"] += [float(tag == "high") * 3 + 0.1 * math.sin(k) for k, tag in enumerate(tags)]
        rows["label"] += tags
    model = elman.Tagger(
        channels=("x",),
        rate=25,
        bidirectional=False,
        hidden_size=8,
        epochs=6,
        batch_size=4,
        learning_rate=0.05,
        examples=100,
        device="cpu",
    )
    return model.fit(rows), rows


def test_recordings_in_milliseconds_have_one_step_per_row(
    steps: tuple[elman.Tagger, Columns], tmp_path: Path
) -> None:
    model, rows = steps
    path = write(
        tmp_path / "rows.csv", pick({k: v for k, v in rows.items() if k != "label"}, [*range(40)])
    )
    assert [len(tags) for tags in model.predict(path)] == [40]
    model.save(tmp_path / "run")
    again = elman.load(tmp_path / "run")
    assert isinstance(again, elman.Tagger)
    events = again.events(path)
    assert events == model.events(path)
    assert [(event.start % 40, event.end % 40) for event in events] == [(0, 0)] * len(events)
    assert (
        main(
            [
                "predict",
                str(tmp_path / "run"),
                "--file",
                str(path),
                "--out",
                str(tmp_path / "tags.csv"),
            ]
        )
        == 0
    )
    with (tmp_path / "tags.csv").open() as file:
        assert [row["ds"] for row in csv.DictReader(file)] == [str(n) for n in range(0, 1600, 40)]


def test_a_live_session_uses_the_time_unit_of_the_training_data(
    steps: tuple[elman.Tagger, Columns],
) -> None:
    model, rows = steps
    live, other = model.stream(), model.stream()
    for n in range(40):
        found = live.push([rows["x"][n]], at=rows["ds"][n])
        assert found == pytest.approx(other.push([rows["x"][n]]))
    with pytest.raises(ArgumentError, match="must not be before the previous step"):
        live.push([0.0], at=0)


def test_tags_are_written_with_timestamps_in_the_given_zone(
    steps: tuple[elman.Tagger, Columns], tmp_path: Path
) -> None:
    _, rows = steps
    first = datetime(2024, 3, 31, 0, 59, 59, tzinfo=timezone.utc)
    moments = [first + timedelta(milliseconds=40 * n) for n in range(40)]
    stamps = [one.astimezone(BERLIN) for one in moments]
    columns = {"ds": [one.isoformat() for one in stamps], "x": rows["x"][:40]}
    dated = elman.Tagger(
        channels=("x",),
        rate=25,
        bidirectional=False,
        hidden_size=8,
        epochs=1,
        examples=8,
        device="cpu",
        tags="label",
    )
    dated.fit(
        {
            "unique_id": ["a"] * 40 + ["b"] * 40,
            "ds": columns["ds"] * 2,
            "x": rows["x"][:80],
            "label": rows["label"][:80],
        }
    )
    dated.save(tmp_path / "run")
    path, out = write(tmp_path / "a.csv", columns), tmp_path / "tags.csv"
    assert main(["predict", str(tmp_path / "run"), "--file", str(path), "--out", str(out)]) == 0
    with out.open() as file:
        written = [row["ds"] for row in csv.DictReader(file)]
    assert [datetime.fromisoformat(one) for one in written] == stamps
    assert len({len(one) for one in written}) == 1


def test_dates_without_a_time_stay_dates(tmp_path: Path) -> None:
    day = date(2024, 1, 1)
    ds = [day + timedelta(days=n) for n in range(40)]
    y = [float(n % 7) for n in range(40)]
    model = elman.Forecaster(
        horizon=2, context=7, hidden_size=4, epochs=1, windows=16, device="cpu"
    ).fit({"ds": ds, "y": y})
    following = [date(2024, 2, 10), date(2024, 2, 11)]
    assert model.predict().columns()["ds"] == following
    assert model.stream().stamps == following
    model.save(tmp_path / "model")
    found = elman.load(tmp_path / "model").backtest({"ds": ds, "y": y}, cuts=1).forecasts
    assert found.columns()["cutoff"] == [date(2024, 2, 7)] * 2
    found.write(tmp_path / "found.jsonl")
    assert '"ds": "2024-02-08"' in (tmp_path / "found.jsonl").read_text()
