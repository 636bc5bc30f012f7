"""Stamps and their frequency: parsing, detection, names and continuation."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ArgumentError, DataError
from elman.read.clock import Clock
from elman.read.frequency import Frequency
from elman.read.stamps import parse

NAMES = ["15min", "h", "4h", "D", "2D", "W", "B", "MS", "ME", "QS", "QE", "YS", "YE", "250ms"]


def parse_stamps(written: Sequence[object], form: str | None = None) -> tuple[Any, bool, list[int]]:
    """Return stamps, whether they have a zone, and the rows that the parser or clock refuses."""
    parsed = parse(written, form)
    if parsed.bad:
        return parsed.values, parsed.offsets is not None, parsed.bad
    clock = Clock.find(parsed, form)
    found, _, bad = clock.read(parsed)
    return found, bool(clock.zone), bad


def stamps(*written: object) -> np.ndarray:
    found, _, bad = parse_stamps(written)
    assert not bad
    return found


@given(
    st.sampled_from(NAMES),
    st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2040, 1, 1)),
    st.lists(st.integers(1, 40), min_size=3, max_size=12),
)
def test_stamps_made_by_a_frequency_are_on_its_grid(
    name: str, begin: datetime.datetime, gaps: list[int]
) -> None:
    frequency = Frequency.named(name)
    first = np.array([begin.replace(day=min(begin.day, 28), microsecond=0)], dtype="datetime64[us]")
    first = frequency.after(first, 1)  # on the grid, such as a month end
    places = np.cumsum(gaps)
    found = np.concatenate([first, frequency.after(first, int(places[-1]))[places - 1]])
    assert frequency.places(found).tolist() == [0, *places.tolist()]
    assert str(frequency) == name
    assert Frequency.named(str(frequency)) == frequency


@pytest.mark.parametrize("name", NAMES)
def test_the_frequency_is_found_from_stamps_with_a_gap(name: str) -> None:
    frequency = Frequency.named(name)
    made = frequency.after(np.array(["2024-01-01T00:00"], dtype="datetime64[us]"), 40)
    assert Frequency.infer(np.delete(made, 7)) == frequency


def test_months_are_counted_in_the_calendar() -> None:
    leap = stamps("2024-01-31", "2024-02-29", "2024-03-31")
    assert str(Frequency.infer(leap)) == "ME"
    assert (
        Frequency("month end", 1).after(leap[-1:], 1).astype(str)[0] == "2024-04-30T00:00:00.000000"
    )
    assert str(Frequency.infer(stamps("2024-01-15 08:00", "2024-02-15 08:00"))) == "MS"
    middle = stamps("2024-01-15", "2024-02-15", "2024-02-16")
    assert Frequency("month", 1).places(middle).tolist() == [0, 1, -1]


def test_days_without_a_weekend_are_business_days() -> None:
    week = stamps(
        "2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12", "2024-03-13", "2024-03-14"
    )
    found = Frequency.infer(week)
    assert (str(found), found.places(week).tolist()) == ("B", [0, 1, 2, 3, 4, 5])
    assert found.places(stamps("2024-03-08", "2024-03-09", "2024-03-11 01:00")).tolist() == [
        0,
        -1,
        -1,
    ]
    assert found.after(week[1:2], 1).astype("datetime64[D]").astype(str).tolist() == ["2024-03-11"]


def test_a_stamp_off_the_grid_has_no_place() -> None:
    found = Frequency("us", 3_600_000_000).places(stamps("2024-03-01", "2024-03-01 01:30"))
    assert found.tolist() == [0, -1]
    assert Frequency("step", 2).places(stamps(3, 5, 6)).tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    "written",
    [
        ["2024-03-01 05:00", "2024-03-01T06:00:00"],
        ["2024-03-01T05:00Z", "2024-03-01T08:00:00+02:00"],
        [datetime.datetime(2024, 3, 1, 5), datetime.datetime(2024, 3, 1, 6)],
        [np.datetime64("2024-03-01T05"), np.datetime64("2024-03-01T06")],
        [datetime.datetime(2024, 3, 1, 5), "2024-03-01 06:00"],
    ],
)
def test_one_moment_may_be_written_in_several_ways(written: list[object]) -> None:
    found, _, bad = parse_stamps(written)
    assert not bad
    assert found.tolist() == [datetime.datetime(2024, 3, 1, 5), datetime.datetime(2024, 3, 1, 6)]


def test_an_offset_from_utc_is_detected() -> None:
    assert parse_stamps(["2024-03-01T05:00+02:00"])[1]
    assert not parse_stamps(["2024-03-01T05:00"])[1]


@pytest.mark.parametrize(
    ("written", "form", "bad"),
    [
        (["2024-03-01", "", "yesterday", None, 3.5], None, [1, 2, 3, 4]),
        (["1", "2", "x", ""], None, [2, 3]),
        (["01/03/2024", "2024-03-01"], "%d/%m/%Y", [1]),
        (["2024-13-01"], None, [0]),
        ([np.datetime64("NaT")], None, [0]),
        ([1, None, 3], None, [1]),
    ],
)
def test_values_that_are_not_stamps_are_found(
    written: list[object], form: str | None, bad: list[int]
) -> None:
    assert parse_stamps(written, form)[2] == bad


@pytest.mark.parametrize("name", ["", "0h", "x", "MSS", "1.5h", "-1D"])
def test_an_invalid_frequency_is_refused(name: str) -> None:
    if name == "":
        assert Frequency.named(name) == Frequency("step", 1)
        return
    with pytest.raises(ArgumentError, match=f"freq='{name}': expected a number of"):
        Frequency.named(name)


def test_one_stamp_has_no_frequency() -> None:
    with pytest.raises(DataError, match="one stamp per series does not determine"):
        Frequency.infer(stamps("2024-03-01"))
    with pytest.raises(DataError, match="set freq"):  # two series of one stamp each
        Frequency.infer(stamps("2024-03-01", "2024-03-02"), np.array([1]))


def test_whole_numbers_that_are_dates_are_dates() -> None:
    days = [20240130, 20240131, 20240201]
    for values in (days, [str(day) for day in days]):
        assert str(Frequency.infer(parse_stamps(values)[0])) == "D"
    months = [202311, 202312, 202401]
    assert str(Frequency.infer(parse_stamps(months)[0])) == "MS"
    wrong = [20240100 + day for day in range(1, 31)] + [20240230]
    stamps, _, bad = parse_stamps(wrong)
    assert stamps.dtype.kind == "M"
    assert bad == [30]
    for steps in ([1999, 2000, 2001], [5, 6, 7], [20240101, 20240199, 20240255]):
        assert parse_stamps(steps)[0].tolist() == steps


def test_stamps_do_not_follow_the_rules_of_numpy() -> None:
    stamps, moved, bad = parse_stamps(["2024-03-01 05:00", "2024-03-01T06:00+02:00", "today"])
    assert bad == [0, 2]  # beside an offset, a stamp without one is bad
    assert moved
    assert stamps[1] == np.datetime64("2024-03-01T04:00")
    assert parse_stamps(["100000000000000000000", "1", "2"])[2] == [0]


def test_days_with_an_offset_keep_their_dates() -> None:
    written = ["2024-03-30T00:00+01:00", "2024-03-31T00:00+01:00", "2024-04-01T00:00+02:00"]
    parsed = parse(written)
    utc, offsets, bad = Clock.find(parsed).read(parsed)
    assert offsets is not None
    assert not bad
    assert str(Frequency.infer(utc + offsets.astype("timedelta64[us]"))) == "D"
    hours, moved, _ = parse_stamps(["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00"])
    assert moved
    assert str(Frequency.infer(hours)) == "h"


def test_monthly_stamps_on_the_thirtieth_use_the_last_day_of_february() -> None:
    stamps = parse_stamps(["2024-01-30", "2024-02-29", "2024-03-30", "2024-04-30"])[0]
    frequency = Frequency.infer(stamps)
    assert str(frequency) == "MS"
    assert frequency.places(stamps).tolist() == [0, 1, 2, 3]
    assert np.array_equal(frequency.after(stamps[:1], 2, 2), stamps[2:])


def test_monthly_series_may_have_different_days() -> None:
    stamps = parse_stamps(["2024-01-01", "2024-02-01", "2024-01-15", "2024-02-15", "2024-04-15"])[0]
    assert str(Frequency.infer(stamps, np.array([2]))) == "MS"


@pytest.mark.parametrize(("freq", "season"), [("s", 60), ("min", 60), ("5min", 288), ("15min", 96)])
def test_a_season_is_not_too_long(freq: str, season: int) -> None:
    assert Frequency.named(freq).season == season
