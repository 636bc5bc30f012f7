"""Names of series keep their type in every table and are compared by value."""

from __future__ import annotations

import json
import logging
import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import elman

SETTINGS: dict[str, Any] = {
    "horizon": 3,
    "context": 12,
    "hidden_size": 8,
    "epochs": 1,
    "windows": 32,
    "batch_size": 32,
    "device": "cpu",
    "refit_epochs": 0,
}
DAYS = [datetime(2024, 1, 1) + n * timedelta(days=1) for n in range(60)]


def numbers(count: int) -> list[float]:
    return [10 + math.sin(n / 3) + n % 3 / 10 for n in range(count)]


def long_frame(ids: list[Any], begin: int = 0, count: int = 30) -> pl.DataFrame:
    """Return `count` daily rows of each series from day number `begin`."""
    return pl.DataFrame(
        {
            "unique_id": [one for one in ids for _ in range(count)],
            "ds": DAYS[begin : begin + count] * len(ids),
            "y": numbers(count) * len(ids),
        },
        strict=False,
    )


@pytest.fixture(scope="module")
def named() -> elman.Forecaster:
    return elman.Forecaster(**SETTINGS).fit(long_frame(["a", "b"]))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ""])
def test_whole_numbers_as_names_stay_numbers_in_every_table(suffix: str, tmp_path: Path) -> None:
    frame, path = long_frame([5, 6]), tmp_path / f"in{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    elif suffix:
        frame.with_columns(pl.col("ds").dt.to_string("%Y-%m-%d")).write_ndjson(path)
    found = elman.Forecaster(**SETTINGS).fit(path if suffix else frame).predict()
    assert found.columns()["unique_id"] == [5, 5, 5, 6, 6, 6]
    found.write(tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["unique_id"].dtype == pl.Int64
    found.write(tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["unique_id"] for line in lines] == [5, 5, 5, 6, 6, 6]


def test_names_of_mixed_types_are_written_to_parquet_as_texts(tmp_path: Path) -> None:
    rows = [
        {"unique_id": one, "ds": str(DAYS[n].date()), "y": y}
        for one in (5, "a")
        for n, y in enumerate(numbers(30))
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = elman.Forecaster(**SETTINGS).fit(path).predict()
    assert found.unique_id == [5, "a"]
    found.write(tmp_path / "out.parquet")
    out = pl.read_parquet(tmp_path / "out.parquet")["unique_id"].to_list()
    assert out == ["5", "5", "5", "a", "a", "a"]


@pytest.mark.parametrize(
    "ids",
    [
        [True, False],
        [datetime(2020, 1, 1), datetime(2021, 1, 1, 5, 0, 0, 7)],
        [date(2020, 1, 1), date(2021, 1, 1)],
        [5.5, 6.5],
    ],
)
def test_names_of_series_keep_their_type_after_loading(ids: list[Any], tmp_path: Path) -> None:
    trained = elman.Forecaster(**SETTINGS).fit(long_frame(ids), out=tmp_path / "run")
    for model in (trained, elman.load(tmp_path / "run")):
        found = model.predict().unique_id
        assert (found, [type(one) for one in found]) == (ids, [type(one) for one in ids])


def test_dates_are_written_as_dates_to_parquet(tmp_path: Path) -> None:
    columns = {"ds": [one.date() for one in DAYS], "y": numbers(60)}
    model = elman.Forecaster(**SETTINGS).fit(columns)
    for found in (model.predict(), model.backtest(columns, cuts=2).forecasts):
        found.write(tmp_path / "out.parquet", overwrite=True)
        out = pl.read_parquet(tmp_path / "out.parquet")
        table = found.columns()
        for name in {"ds", "cutoff"} & set(table):
            assert out[name].dtype == pl.Date
            assert out[name].to_list() == table[name]
        found.write(tmp_path / "out.csv", overwrite=True)
        assert pl.read_csv(tmp_path / "out.csv")["ds"].to_list() == list(map(str, table["ds"]))


def test_column_names_of_a_wide_table_are_compared_by_value() -> None:
    def wide(names: list[Any], count: int) -> dict[Any, Any]:
        return {"ds": DAYS[:count], names[0]: numbers(count), names[1]: numbers(count)[::-1]}

    model = elman.Forecaster(wide=True, **SETTINGS).fit(wide([1, 2], 40))
    scores = model.evaluate(wide([1, 2], 46))
    assert scores["numbers"] == 12
    assert "unseen_series" not in scores
    assert model.evaluate(wide([1.0, 2.0], 46)) == scores
    assert model.predict(wide([1.0, 2.0], 46)).unique_id == ["1", "2"]
    assert model.predict(wide([1.0, "3"], 46)).unique_id == ["1", "3"]


def test_a_table_without_unique_id_is_reported(
    named: elman.Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    rows = long_frame(["a"], 30).drop("unique_id").with_columns(store=pl.lit(1))
    with caplog.at_level(logging.INFO, "elman"):
        assert named.evaluate(rows)["unseen_series"] == "''"
    notes = [one for one in caplog.messages if "unique_id" in one]
    assert notes == [
        "no column 'unique_id': all rows are one series, new and without a name; those of the "
        "training data have names; not read: 'store'"
    ]
    assert [one for one in named.predict(rows).notes if "unique_id" in one] == notes
    assert not any("unique_id" in one for one in named.predict(long_frame(["a"], 30)).notes)


def test_a_forecast_without_the_training_data_is_reported(named: elman.Forecaster) -> None:
    found = named.predict(pl.concat([long_frame(["a", "b"], 30, 2), long_frame(["c"], 30, 2)]))
    notes = [one for one in found.notes if "training data" in one]
    assert notes == [
        "series 'a' and 1 more: a forecast reads 12 steps, got 2 after those of the training data, "
        "which are not read here; give the earlier steps, too"
    ]
    for complete in (long_frame(["a"], 0, 32), long_frame(["a"], 30, 12), None):
        assert not any("training data" in one for one in named.predict(complete).notes)
