"""Clocks: codes, units, zones and closed times, from reading stamps to writing forecasts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import ArgumentError, DataError, ElmanError
from elman.read.clock import Clock, to_utc, to_wall, write_moments
from elman.read.frequency import Frequency
from elman.read.rows import Rejects
from elman.read.series import SeriesSource, SeriesTable
from elman.read.stamps import check_form, parse

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "UTC",
    "-03:30",
]
HOUR = timedelta(hours=1)


def read(ds: list[Any], **options: Any) -> SeriesTable:
    y = [float(n % 7) for n in range(len(ds))]
    return SeriesSource({"ds": ds, "y": y}, **options).read(Rejects(None))


def following(table: SeriesTable, steps: int = 2) -> list[Any]:
    """Return the stamps that follow the only series, as they are written."""
    one = table.series[0]
    return table.clock.write(table.stamps(one, steps, len(one.values)))


def error_of(ds: list[Any], **options: Any) -> str:
    with pytest.raises(ElmanError) as error:
        read(ds, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def every(distance: timedelta, count: int, begin: str = "2024-01-01") -> list[datetime]:
    return [datetime.fromisoformat(begin) + n * distance for n in range(count)]


@pytest.mark.parametrize(
    ("ds", "code", "frequency", "after"),
    [
        ([2024010122, 2024010123, 2024010200], "YYYYMMDDHH", "h", "2024-01-02 01:00:00"),
        ([2024010123, 2024010124, 2024010201], "YYYYMMDDHH", "h", "2024-01-02 02:00:00"),
        (
            [202401012330, 202401012345, 202401020000],
            "YYYYMMDDHHMM",
            "15min",
            "2024-01-02 00:15:00",
        ),
        ([20240101235959, 20240102000000], "YYYYMMDDHHMMSS", "s", "2024-01-02 00:00:01"),
        ([20240228, 20240229, 20240301], "YYYYMMDD", "D", "2024-03-02"),
        ([192410, 192411, 192412], "YYYYMM", "MS", "1925-01-01"),
        ([202247, 202248, 202249], "YYYYWW", "W", "2022-12-12"),
        ([202051, 202052, 202053, 202101], "YYYYWW", "W", "2021-01-11"),
        ([20233, 20234, 20241], "YYYYQ", "QS", "2024-04-01"),
        ([2023364, 2023365, 2024001], "YYYYDDD", "D", "2024-01-02"),
        ([1709251200, 1709254800], "s", "h", "2024-03-01 02:00:00"),
        ([1709251200000, 1709251200040], "ms", "40ms", "2024-03-01 00:00:00.080"),
        ([1709251200000000, 1709251200000001], "us", "us", "2024-03-01 00:00:00.000002"),
        ([1709251200 * 10**9, 1709337600 * 10**9], "ns", "D", "2024-03-03"),
        ([n * 86400 for n in range(15000)], "s", "D", "2011-01-26"),
    ],
)
def test_whole_numbers_that_are_dates_continue_as_dates(
    ds: list[int], code: str, frequency: str, after: str
) -> None:
    for values in (ds, [str(one) for one in ds]):
        table = read(values)
        assert (table.clock.code, str(table.frequency)) == (code, frequency)
        assert following(table)[0] == after
        assert f"'ds' is read as {code}" in table.notes[0]


@pytest.mark.parametrize(
    "ds",
    [
        [0, 1, 2],
        [1001, 1002, 1003],
        [1999, 2000, 2001],
        [20231, 20232, 20233, 20234],
        [200001, 200050, 200099],
        [2024001, 2024002, 2024003],
        [-3, -2, -1],
    ],
)
def test_plain_step_numbers_stay_steps(ds: list[int]) -> None:
    table = read(ds)
    assert (table.clock.code, table.frequency.unit) == ("", "step")
    assert following(table)[0] == ds[-1] + ds[1] - ds[0]


def test_successive_numbers_distinguish_weeks_from_months() -> None:
    months = [100 * year + month for year in (2022, 2023, 2024) for month in range(1, 13)]
    assert read(months).clock.code == "YYYYMM"
    assert "row 36: column 'ds' is 202513, expected a date of the form YYYYMM" in error_of(
        [*months, 202513]
    )
    weeks = [202250, 202251, 202252, *range(202301, 202353)]
    assert read(weeks).clock.code == "YYYYWW"


def test_a_form_determines_how_numbers_are_read() -> None:
    assert following(read([202401, 202402], ds_format="step"), 1) == [202403]
    assert following(read([0, 86400], ds_format="s"), 1) == ["1970-01-03"]
    assert following(read(["202405", "202406"], ds_format="%G%V"), 1) == ["2024-02-12"]
    for form in ("%d%d", "%q", "%", "%s", "x" * 9000 + "%d%d"):
        with pytest.raises(ArgumentError, match=r"ds_format='.{1,42}: expected a form such as"):
            check_form(form)
    check_form("%d/%m/%Y %H:%M%z")


@pytest.mark.parametrize(
    ("ds", "options", "words"),
    [
        (["9" * 5000 + ":00", "1:00"], {}, "expected a date such as"),
        (["2024-01-01", "x" * 1_000_000], {}, "is empty, expected a date|is 'xxx"),
        (["0001-01-01T00:00+02:00", "2024-01-01T00:00Z"], {}, "'0001-01-01T00:00\\+02:00', exp"),
        (["2024-01-01T00:00Z", "9999-12-31T23:00-02:00"], {}, "'9999-12-31T23:00-02:00', exp"),
        (["2024-01-01", "2024-01-02"], {"freq": "99999999999999999999D"}, "freq='9999999999999"),
        (["2024-01-01", "2024-01-02"], {"freq": "1" * 5000 + "D"}, "freq='1111"),
        (["2024-01-01", "2024-01-02"], {"freq": "999999999D"}, "freq='999999999D'"),
        (["2024-01-01", "2024-01-02"], {"zone": "Europe/Nowhere"}, "zone='Europe/Nowhere': "),
        (["2024-01-01", "2024-01-02"], {"zone": "/etc/passwd"}, "is not a known time zone"),
        (["2024-01-01", "2024-01-02"], {"zone": "+99:00"}, "is not a known time zone"),
    ],
)
def test_stamps_and_settings_without_a_meaning_raise_a_short_error(
    ds: list[Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ElmanError, match=words) as error:
        read(ds, **options)
    assert len(str(error.value)) < 300


def test_one_long_stamp_among_many_rows_takes_little_memory() -> None:
    found = parse([*["2024-01-01"] * 5000, "1" * 1_000_000])
    assert found.bad == [5000]
    assert found.values.nbytes < 100_000


def test_writing_stamps_beyond_the_calendar_raises_an_error() -> None:
    with pytest.raises(DataError, match="beyond the year 9999"):
        following(read(["9997-01-01", "9998-01-01"]), 9)


# Zones.


@settings(deadline=None)
@given(
    st.sampled_from(ZONES),
    st.lists(st.datetimes(datetime(1950, 1, 1), datetime(2060, 1, 1)), min_size=1, max_size=9),
)
def test_wall_clocks_equal_those_of_the_standard_library(
    zone: str, moments: list[datetime]
) -> None:
    utc = np.array(moments, dtype="datetime64[us]")
    named = {"UTC": timezone.utc, "-03:30": timezone(timedelta(hours=-3.5))}.get(zone)
    wanted = [
        one.replace(tzinfo=timezone.utc).astimezone(named or ZoneInfo(zone)).replace(tzinfo=None)
        for one in moments
    ]
    wall = to_wall(utc, zone)
    assert wall.tolist() == wanted
    assert to_wall(to_utc(wall, zone), zone).tolist() == wanted


@pytest.mark.parametrize("begin", ["2024-03-30", "2024-10-26"])
def test_hours_of_a_zone_are_neither_lost_nor_repeated(begin: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = datetime.fromisoformat(begin).replace(tzinfo=timezone.utc)
    moments = [(first + n * HOUR).astimezone(zone) for n in range(60)]
    table = read(moments[:20])
    assert (str(table.frequency), table.clock.zone) == ("h", "Europe/Berlin")
    assert following(table, 40) == moments[20:]
    for written in ([str(one) for one in moments[:30]], [str(one) for one in moments]):
        assert len(read(written).series[0].values) == len(written)
    text = read([str(one) for one in moments[:20]], zone="Europe/Berlin")
    assert following(text, 40) == [str(one) for one in moments[20:]]


def test_hours_that_a_clock_shows_twice_are_distinct_if_the_zone_is_known() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2024, 10, 26, tzinfo=timezone.utc)
    moments = [(first + n * HOUR).astimezone(zone) for n in range(60)]
    wall = [str(one.replace(tzinfo=None)) for one in moments]
    table = read(wall, zone="Europe/Berlin")
    assert table.series[0].values[:, 0].tolist() == [float(n % 7) for n in range(60)]
    assert table.notes[-1] == "the frequency of 'ds' is h"
    assert "a second time; drop one" in error_of(wall)


@pytest.mark.parametrize("written", ["utc", "offset", "naive"])
def test_midnights_of_a_zone_are_days_in_every_notation(written: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    days = [one.replace(tzinfo=zone) for one in every(timedelta(days=1), 40, "2024-03-10")]
    utc = [one.astimezone(timezone.utc) for one in days]
    ds = {
        "utc": [one.isoformat() for one in utc],
        "offset": [one.isoformat() for one in days],
        "naive": [str(one.replace(tzinfo=None)) for one in utc],
    }[written]
    table = read(ds, zone="Europe/Berlin")
    assert (str(table.frequency), len(table.series[0].values)) == ("D", 40)
    assert following(table, 1) == ["2024-04-19 00:00:00+02:00"]
    if written != "offset":
        for options in ({}, {"freq": "D"}):
            assert "set it, such as zone=Europe/Berlin" in error_of(ds, **options)
    else:
        assert following(read(ds), 1) == ["2024-04-19 00:00:00+02:00"]


@pytest.mark.parametrize(("offset", "shown"), [("Z", "+00:00"), ("+05:30", "+05:30")])
def test_an_offset_is_kept(offset: str, shown: str) -> None:
    table = read([f"2024-01-01T0{n}:00{offset}" for n in range(4)])
    assert following(table, 1) == [f"2024-01-01 04:00:00{shown}"]
    days = read([f"2024-01-0{n}T00:00{offset}" for n in range(1, 4)])
    assert following(days, 1) == [f"2024-01-04 00:00:00{shown}"]


def test_several_offsets_without_a_zone_are_noted() -> None:
    table = read(["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00", "2024-03-31T04:00+02:00"])
    assert table.notes[0].startswith(
        "'ds' has several offsets from UTC and is written with the last"
    )
    assert following(table, 1) == ["2024-03-31 05:00:00+02:00"]


def test_a_later_table_is_read_with_the_clock_of_training() -> None:
    def as_training(first: list[Any], then: list[Any], **options: Any) -> list[Any]:
        like = read(first, **options)
        table = SeriesSource({"ds": then, "y": [1.0] * len(then)}, **options).read(
            Rejects(None), like
        )
        return table.clock.write(table.stamps(table.series[0], 1))

    assert as_training([202247, 202248, 202249], [202301]) == ["2023-01-02"]
    assert as_training([1709251200, 1709254800], [3600]) == ["1970-01-01 01:00:00"]
    hours = [f"2024-01-01T0{n}:00+01:00" for n in range(4)]
    with pytest.raises(DataError, match="expected an offset from UTC as other rows have"):
        as_training(hours, ["2024-01-02 00:00"])
    with pytest.raises(DataError, match="has an offset from UTC"):
        as_training([one[:-6] for one in hours], hours)
    wall = as_training(hours, ["2024-01-02 00:00"], zone="Europe/Berlin")
    assert wall == ["2024-01-02 00:00:00+01:00"]


def test_a_column_is_written_in_one_form() -> None:
    hours = [datetime(2024, 1, 9, 23), datetime(2024, 1, 10)]
    assert write_moments(hours) == ["2024-01-09 23:00:00", "2024-01-10 00:00:00"]
    assert write_moments(hours[1:]) == ["2024-01-10"]
    assert write_moments(hours[1:], "s") == ["2024-01-10 00:00:00"]
    fine = [hours[1], hours[0].replace(microsecond=500_000)]
    assert write_moments(fine) == ["2024-01-10 00:00:00.000", "2024-01-09 23:00:00.500"]
    assert write_moments([hours[1].replace(tzinfo=timezone.utc)]) == ["2024-01-10 00:00:00+00:00"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_stamps_of_frames_stay_stamps(library: str) -> None:
    frames = pytest.importorskip(library)
    moments = every(HOUR, 5)
    found = SeriesSource(frames.DataFrame({"ds": moments, "y": [1.0] * 5})).read(Rejects(None))
    assert following(found, 1) == [datetime(2024, 1, 1, 5)]
    assert not found.ids
    named = frames.DataFrame({"unique_id": [3, 3, 4], "y": [1.0, 2.0, 3.0]})
    assert SeriesSource(named).read(Rejects(None)).ids == {"3": 3, "4": 4}


# Closed times.


def open_times(days: int, *, first: int, last: int, minutes: int = 30) -> list[datetime]:
    """Return stamps from Monday to Friday, from a minute of the day to another."""
    return [
        day + timedelta(minutes=m)
        for day in every(timedelta(days=1), days)
        if day.weekday() < 5
        for m in range(first, last + 1, minutes)
    ]


def test_a_day_of_the_week_that_never_occurs_is_closed() -> None:
    days = [one for one in every(timedelta(days=1), 60) if one.weekday() != 6]
    holiday = days.pop(20)
    table = read([str(one.date()) for one in days])
    assert (str(table.frequency), table.frequency.closed) == ("D open 0-5", "Sunday")
    assert table.frequency.season == 6
    assert following(table) == ["2024-03-01", "2024-03-02"]
    assert np.isnan(table.series[0].values[20]).all()  # a holiday is a gap
    assert holiday.weekday() != 6
    assert any("never occur and are skipped: Sunday; closed=none" in note for note in table.notes)
    # Saturday is followed by Monday.
    until = read([str(one.date()) for one in days if one < datetime(2024, 2, 25)])
    assert following(until, 1) == ["2024-02-26"]
    plain = read([str(one.date()) for one in days if one < datetime(2024, 2, 25)], closed=False)
    assert following(plain, 1) == ["2024-02-25"]
    assert str(read([str(one.date()) for one in days], freq="D").frequency) == "D open 0-5"


def test_nights_and_weekends_are_closed() -> None:
    stamps = open_times(40, first=540, last=930)
    table = read([str(one) for one in stamps])
    assert table.frequency.closed == "all but Monday to Friday 09:00 to 15:30"
    assert table.frequency.season == 14
    assert following(table) == ["2024-02-12 09:00:00", "2024-02-12 09:30:00"]
    assert Frequency.named(str(table.frequency)) == table.frequency
    assert table.frequency.places(np.array(stamps, dtype="datetime64[us]")).tolist() == list(
        range(len(stamps))
    )


def test_closed_times_follow_the_wall_clock_of_a_zone() -> None:
    zone = ZoneInfo("America/New_York")
    stamps = [one.replace(tzinfo=zone) for one in open_times(120, first=570, last=930)]
    table = read(stamps)
    assert (table.frequency.closed, table.clock.local) == (
        "all but Monday to Friday 09:30 to 15:30",
        True,
    )
    assert following(table, 1) == [datetime(2024, 4, 30, 9, 30, tzinfo=zone)]


def test_mondays_wednesdays_and_fridays_are_a_frequency() -> None:
    days = [one for one in every(timedelta(days=1), 60) if one.weekday() in (0, 2, 4)]
    table = read([str(one) for one in days])
    assert str(table.frequency) == "D open 0,2,4"
    assert not np.isnan(table.series[0].values).any()


def test_randomly_missing_times_are_not_closed() -> None:
    draw = np.random.default_rng(0)
    days = [one for one in every(timedelta(days=1), 56) if draw.random() < 0.7]
    assert str(read([str(one) for one in days]).frequency) == "D"
    two_weeks = [one for one in every(timedelta(days=1), 14) if one.weekday() != 6]
    assert str(read([str(one) for one in two_weeks]).frequency) == "D"
    # An outage of some days does not recur every week.
    hours = [one for one in every(HOUR, 24 * 40) if not 10 <= one.day <= 12]
    assert str(read([str(one) for one in hours]).frequency) == "h"


def test_an_error_names_a_stamp_in_closed_times() -> None:
    days = [str(one.date()) for one in every(timedelta(days=1), 60) if one.weekday() != 6]
    like = read(days)
    source = SeriesSource({"ds": ["2024-03-02", "2024-03-03"], "y": [1.0, 2.0]})
    wanted = r"closed times \(Sunday\); train with freq=D and closed=none, or drop the row"
    with pytest.raises(DataError, match=wanted):
        source.read(Rejects(None), like)


@pytest.mark.parametrize("name", ["D open 6-3", "D open 0-9", "D open", "open 0", "30min open x"])
def test_invalid_places_in_a_week_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="expected"):
        Frequency.named(name)


# Months on any day.


@pytest.mark.parametrize(
    ("ds", "name", "after"),
    [
        (["2024-01-28", "2024-02-28", "2024-03-30", "2024-04-30"], "M", "2024-05-01"),
        (["2023-12-29", "2024-01-31", "2024-02-29", "2024-03-28"], "M", "2024-04-01"),
        (["2023-03-31", "2023-06-30", "2023-09-30", "2023-12-29"], "Q", "2024-01-01"),
    ],
)
def test_months_on_any_day_are_counted_as_months(ds: list[str], name: str, after: str) -> None:
    remedy = "set freq=M, which takes stamps on any day of their month"
    assert remedy in error_of(ds, freq="MS")
    for options in ({}, {"freq": name}):
        table = read(ds, **options)
        assert (str(table.frequency), following(table, 1)) == (name, [after])
    assert "is in the same M as the previous row" in error_of(
        [*ds, ds[-1][:-2] + "27"][-2:], freq="M"
    )


def test_four_weeks_are_not_a_month() -> None:
    assert str(read([str(one) for one in every(timedelta(days=28), 9)]).frequency) == "4W"


def test_a_clock_is_rebuilt_from_its_fields() -> None:
    clock = Clock.find(parse(["2024-03-31T01:00+01:00"])).settled(
        np.array(["2024-03-31"], dtype="datetime64[us]")
    )
    assert Clock(**vars(clock)) == clock


@pytest.mark.parametrize(
    ("form", "stamp"), [("%d%m%Y", 1012024), ("%m%d%Y", 1012024), ("%y%m%d", 240101)]
)
def test_whole_numbers_in_another_date_form_need_ds_format(form: str, stamp: int) -> None:
    ds = [int(day.strftime(form)) for day in every(timedelta(days=1), 70)]
    assert ds[0] == stamp
    assert f"set ds_format={form} to" in error_of(ds)
    assert following(read(ds, ds_format=form)) == ["2024-03-11", "2024-03-12"]
    assert read(ds, ds_format="step").series[0].start == min(ds)


def test_months_of_four_digits_need_ds_format() -> None:
    ds = [100 * (18 + n // 12) + 1 + n % 12 for n in range(30)]
    assert "set ds_format=%y%m to" in error_of(ds)
    assert following(read(ds, ds_format="%y%m"), 1) == ["2020-07-01"]
    years = list(range(1901, 1913))
    assert following(read(years), 1) == [1913]


@pytest.mark.parametrize(
    ("form", "known"),
    [
        ("%d.%m.%Y", "%d.%m.%Y"),
        ("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M %p"),
        ("%Y/%m/%d", "%Y/%m/%d"),
        ("%b %d, %Y", "%b %d, %Y"),
        ("%d/%m/2024", "%d/%m/%Y"),
    ],
)
def test_an_error_about_dates_names_the_form_that_reads_them(form: str, known: str) -> None:
    ds = [day.strftime(form) for day in every(timedelta(days=1), 40)]
    assert error_of(ds).endswith(f"; set ds_format={known}")
    assert following(read(ds, ds_format=known)) == ["2024-02-10", "2024-02-11"]


def test_an_error_about_ambiguous_dates_names_both_forms() -> None:
    assert error_of(["1/2/2024", "1/3/2024"]).endswith("set ds_format=%d/%m/%Y or %m/%d/%Y")
    assert error_of(["2024-01-01", "1/2/2024"]).endswith(
        "or a whole number; set ds_format for other forms"
    )


def test_an_error_names_an_hour_that_clocks_skip() -> None:
    ds = every(HOUR, 100, "2024-03-29")
    message = error_of(ds, zone="Europe/Berlin")
    assert "is 2024-03-31 02:00:00, which clocks of Europe/Berlin skip" in message
    del ds[50]
    assert len(read(ds, zone="Europe/Berlin").series[0].values) == 99


@pytest.mark.parametrize("zone", ["Asia/Beirut", "Africa/Cairo", "America/Santiago"])
def test_a_day_without_a_midnight_is_a_day(zone: str) -> None:
    """2023-03-26, 2023-04-28 and 2023-09-03 begin at 1:00 in these zones."""
    days = every(timedelta(days=1), 200, "2023-03-20")
    given = [str(day.date()) for day in days]
    there = np.array(days, dtype="datetime64[us]")
    utc = to_utc(there, zone)
    first = np.where(to_wall(utc, zone) == there, utc, utc + np.timedelta64(1, "h"))
    aware = [moment.replace(tzinfo=timezone.utc) for moment in first.tolist()]
    assert [moment.astimezone(ZoneInfo(zone)).hour for moment in aware].count(1) == 1
    for ds in (given, [moment.astimezone(ZoneInfo(zone)) for moment in aware]):
        table = read(ds, zone=zone)
        assert (len(table.series[0].values), str(table.frequency)) == (200, "D")
        assert [str(one)[:19] for one in following(table)] == [
            "2023-10-06 00:00:00",
            "2023-10-07 00:00:00",
        ]
    in_utc = [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in first.tolist()]
    assert str(read(in_utc, zone=zone).frequency) == "D"


@pytest.mark.parametrize(
    ("ds", "frequency", "after"),
    [
        ([1700000000.5 + n for n in range(4)], "s", "2023-11-14 22:13:24.500"),
        (["1700000000.5", "1700000001", "1.7000000015e9"], "500ms", "2023-11-14 22:13:22.000"),
        (["1700000000000.25", "1700000000000.5"], "250us", "2023-11-14 22:13:20.000750"),
    ],
)
def test_units_since_1970_may_have_a_fraction(ds: list[Any], frequency: str, after: str) -> None:
    table = read(ds)
    assert (str(table.frequency), following(table)[0]) == (frequency, after)


def test_numbers_with_a_fraction_are_not_steps() -> None:
    wanted = "is 0.5, expected a date such as 2024-03-01 05:00 or a whole number"
    assert wanted in error_of([0.5, 1.0, 1.5])
    assert wanted in error_of([0.5, 1.0, 1.5], ds_format="step")
    source = SeriesSource({"ds": [1700000000.5], "y": [1.0]})
    with pytest.raises(DataError, match=r"is 1700000000\.5, expected a whole number as in other"):
        source.read(Rejects(None), like=read([1, 2, 3]))


def test_a_zone_needs_stamps() -> None:
    assert "the stamps are plain steps, which have no zone" in error_of([1, 2, 3], zone="UTC")
    with pytest.raises(ArgumentError, match="zone=UTC: rows are steps"):
        SeriesSource([1.0, 2.0], zone="UTC")
