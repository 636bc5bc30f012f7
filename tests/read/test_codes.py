"""Whole numbers that are dates: periods of a year, weeks in a form, seconds since 1970."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from elman.errors import ArgumentError
from elman.read.rows import Rejects
from elman.read.series import SeriesSource, SeriesTable
from elman.read.stamps import parse

YEARS = range(2000, 2020)


def read(ds: list[int], **options: Any) -> SeriesTable:
    y = [float(n % 7) for n in range(len(ds))]
    return SeriesSource({"ds": ds, "y": y}, **options).read(Rejects(None))


def following(table: SeriesTable, steps: int = 2) -> list[Any]:
    one = table.series[0]
    return table.clock.write(table.stamps(one, steps, len(one.values)))


@pytest.mark.parametrize(
    ("size", "count", "wanted", "other", "after"),
    [
        (100, 4, "200001 look like quarters;", "ds_format=%Y%m for months", "2019-05-01"),
        (100, 2, "200001 look like half-years;", "ds_format=%Y%m for months", "2019-03-01"),
        (10, 2, "20001 look like half-years;", "ds_format=step for plain steps", 20193),
        (10, 3, "20001 look like thirds of a year;", "ds_format=step for plain steps", 20194),
    ],
)
def test_periods_of_a_year_are_neither_months_nor_steps(
    size: int, count: int, wanted: str, other: str, after: object
) -> None:
    ds = [size * year + n for year in YEARS for n in range(1, count + 1)]
    with pytest.raises(ArgumentError) as error:
        read(ds)
    assert wanted in str(error.value)
    assert str(error.value).endswith(other)
    found = read(ds, ds_format=other.split()[0].partition("=")[2])
    assert following(found, 1) == [after]


def test_months_and_quarters_of_whole_years_are_dates() -> None:
    months = [100 * year + n for year in YEARS for n in range(1, 13)]
    assert following(read(months)) == ["2020-01-01", "2020-02-01"]
    quarters = [10 * year + n for year in YEARS for n in range(1, 5)]
    assert following(read(quarters)) == ["2020-01-01", "2020-04-01"]
    assert following(read([20002, 20012, 20022, 20032])) == [20042, 20052]


@pytest.mark.parametrize(
    ("form", "after"),
    [
        ("%Y%U", ["2023-02-12", "2023-02-19"]),
        ("%Y%W", ["2023-02-13", "2023-02-20"]),
        ("%G%V", ["2023-02-13", "2023-02-20"]),
    ],
)
def test_weeks_in_a_form_are_read_as_their_first_day(form: str, after: list[str]) -> None:
    mondays = [datetime(2021, 1, 4) + n * timedelta(days=7) for n in range(110)]
    table = read([int(one.strftime(form)) for one in mondays], ds_format=form)
    assert (str(table.frequency), len(table.series[0].values)) == ("W", 110)
    assert following(table) == after


def test_a_day_in_a_form_overrides_its_week() -> None:
    found = parse(["2022-03-05 09", "2022-03-06 10"], "%Y-%m-%d %U")
    assert found.values.astype("datetime64[D]").astype(str).tolist() == ["2022-03-05", "2022-03-06"]
    # A year of two digits without its leading zero.
    assert parse([905], "%y%W").values.astype("datetime64[D]").astype(str).tolist() == [
        "2009-02-02"
    ]


def test_seconds_before_1990_are_dates_if_they_are_whole_minutes() -> None:
    hours = [473_385_600 + 3600 * n for n in range(48)]
    assert following(read(hours), 1) == ["1985-01-03 00:00:00"]
    milliseconds = [1000 * one for one in hours]
    assert following(read(milliseconds), 1) == ["1985-01-03 00:00:00"]
    assert following(read([400_000_000 + 7 * n for n in range(48)]), 1) == [400_000_336]
