"""The grid of stamps: months and days that are given in UTC, and remedies in errors."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from elman.errors import DataError
from elman.read.rows import Rejects
from elman.read.series import SeriesSource, SeriesTable

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ZONE_REMEDY = "if these are midnights of a time zone, set it, such as zone=Europe/Berlin"


def read(ds: list[Any], like: SeriesTable | None = None, **options: Any) -> SeriesTable:
    y = [float(n % 7) for n in range(len(ds))]
    return SeriesSource({"ds": ds, "y": y}, **options).read(Rejects(None), like)


def following(table: SeriesTable, steps: int = 2) -> list[Any]:
    one = table.series[0]
    return table.clock.write(table.stamps(one, steps, len(one.values)))


def error_of(ds: list[Any], like: SeriesTable | None = None, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        read(ds, like, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def every(distance: timedelta, count: int) -> list[str]:
    return [str(datetime(2024, 1, 1) + n * distance) for n in range(count)]


def month_starts(zone: str, count: int, months: int = 1) -> list[datetime]:
    """Return the starts of months in a zone, in UTC."""
    begin = ZoneInfo(zone)
    return [
        datetime(2018 + n // 12, n % 12 + 1, 1, tzinfo=begin).astimezone(timezone.utc)
        for n in range(0, count * months, months)
    ]


@pytest.mark.parametrize("naive", [False, True])
@pytest.mark.parametrize(
    ("zone", "months", "after"),
    [
        ("Europe/Berlin", 1, ["2024-09-01 00:00:00+02:00", "2024-10-01 00:00:00+02:00"]),
        ("Pacific/Auckland", 1, ["2024-09-01 00:00:00+12:00", "2024-10-01 00:00:00+13:00"]),
        ("America/New_York", 1, ["2024-09-01 00:00:00-04:00", "2024-10-01 00:00:00-04:00"]),
        ("Europe/London", 1, ["2024-09-01 00:00:00+01:00", "2024-10-01 00:00:00+01:00"]),
        ("Europe/Berlin", 3, ["2038-01-01 00:00:00+01:00", "2038-04-01 00:00:00+02:00"]),
    ],
)
def test_months_of_a_zone_are_not_labelled_a_month_early(
    zone: str, months: int, after: list[str], naive: bool
) -> None:
    ds = [str(one)[:19] if naive else one for one in month_starts(zone, 80, months)]
    for options in ({}, {"freq": "MS" if months == 1 else "QS"}):
        assert ZONE_REMEDY in error_of(ds, **options)
    assert list(map(str, following(read(ds, zone=zone)))) == after


def test_months_on_any_day_can_be_set_and_a_note_names_the_zone() -> None:
    ds = month_starts("Europe/Berlin", 80)
    assert error_of(ds).endswith(f"{ZONE_REMEDY}, else set freq=M to ignore the days")
    table = read(ds, freq="M")
    assert following(table, 1) == [datetime(2024, 8, 1, tzinfo=timezone.utc)]
    assert sum(ZONE_REMEDY in note for note in table.notes) == 1


def test_months_at_varying_times_or_on_varying_days_are_months_on_any_day() -> None:
    ends = np.arange("2018-02", "2022-02", dtype="datetime64[M]").astype("datetime64[m]")
    minutes = np.random.default_rng(0).integers(1, 10, len(ends))
    assert str(read((ends - minutes).astype(str).tolist()).frequency) == "M"
    days = ends.astype("datetime64[D]") + minutes
    assert str(read(days.astype(str).tolist()).frequency) == "M"


@pytest.mark.parametrize(("distance", "freq"), [(HOUR, "h"), (2 * HOUR, "2h"), (12 * HOUR, "12h")])
def test_data_that_are_finer_than_a_day_are_not_midnights_of_a_zone(
    distance: timedelta, freq: str
) -> None:
    ds = every(distance, 60)
    found = error_of(ds, freq="D")
    assert found.endswith(f"; set freq={freq}, or resample to D")
    assert str(read(ds, freq=freq).frequency) == freq
    daily = read(every(DAY, 60))
    assert error_of(ds, daily).endswith(f"; train with freq={freq}, or resample to D")


def test_an_error_about_a_weekend_proposes_a_frequency_that_works() -> None:
    ds = every(DAY, 30)
    assert error_of(ds, freq="B").endswith(
        "it is in closed times (Saturday, Sunday); set freq=D, or drop the row"
    )
    assert str(read(ds, freq="D").frequency) == "D"


@pytest.mark.parametrize(("distance", "freq"), [(7 * DAY, "W"), (7 * DAY, "7D"), (HOUR, "h")])
def test_an_error_does_not_propose_the_frequency_that_is_set(
    distance: timedelta, freq: str
) -> None:
    minutes = np.random.default_rng(0).integers(0, 20, 30).tolist()
    ds = [
        str(datetime(2024, 1, 1) + n * distance + timedelta(minutes=minutes[n])) for n in range(30)
    ]
    assert error_of(ds, freq=freq).endswith("; resample, or set another freq")


def test_an_error_about_rows_in_one_month_names_their_frequency() -> None:
    ds = every(DAY, 60)
    assert "set freq=D, or resample to M; else drop one row" in error_of(ds, freq="M")
    assert str(read(ds, freq="D").frequency) == "D"


def test_a_model_of_months_detects_midnights_of_a_zone() -> None:
    months = read([f"{year}-{n:02d}-01" for year in (2020, 2021) for n in range(1, 13)])
    found = error_of([str(one)[:19] for one in month_starts("Europe/Berlin", 30)], months)
    assert re.search("midnights of a time zone, train with it, such as zone=Europe/Berlin$", found)
