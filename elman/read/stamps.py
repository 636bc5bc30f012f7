"""Stamps of time: what is written, the frequency behind them, and the stamps that follow.

    whole numbers              steps; the frequency is their distance
    20240301, 202403           dates, if nearly all are of that form
    2024-03-01 05:00 (ISO)     moments in microseconds; with an offset from UTC they become UTC, but
                               for days, of which the date counts

A frequency is so many units; a gap is a whole multiple of it.  Months are counted in the calendar,
and days without a Saturday or a Sunday among them as business days.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError

Stamps = NDArray[Any]  # int64, or datetime64[us]
Unit = Literal["step", "us", "month", "month end", "business day"]

DAY = 86_400_000_000  # microseconds
# Names as in pandas, which tools for forecasts use; the first that divides a distance is its name.
NAMED = {
    "W": 7 * DAY, "D": DAY, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000,
    "us": 1,
}  # fmt: skip
MONTHS = {12: "Y", 3: "Q", 1: "M"}
MOST = 288  # steps of a season
# What numpy would read in its own way: words such as today, and offsets from UTC.
STRANGE = re.compile(r"^\s*[^\s\d]|(Z|[+-]\d\d:?\d\d)\s*$", re.MULTILINE)
CLOCK = re.compile(r"(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?")
EARLIEST, LATEST = 19000101, 21001231  # whole numbers that may be dates, YYYYMMDD
MOSTLY = 0.9  # of such numbers must be dates; the others are bad then


def parse_stamps(
    values: Sequence[object], form: str | None = None, *, days: bool = True
) -> tuple[Stamps, bool, list[int]]:
    """Stamps (T,), whether any was moved to UTC, and the places of what is no stamp.

    Args:
        values: whole numbers, text, or objects of `datetime` and numpy.
        form: of text that is not ISO 8601, as for `datetime.strptime`.
        days: whether dates of one and the same clock are days, which no offset moves.

    Example:
        >>> from elman.read.stamps import parse_stamps
        >>> parse_stamps(["2024-03-01", "2024-03-01 05:00"])[0].tolist()[1].hour
        5
        >>> parse_stamps(["2024-03-01T05:00+02:00"])[0].tolist()[0].hour
        3
        >>> parse_stamps(["1", "2"])[0].tolist()
        [1, 2]
        >>> parse_stamps(["2024-03-01", "yesterday"])[2]
        [1]
    """
    if form is None and (quick := _parse_all(values)) is not None:
        return quick, False, []
    steps = [_step(value) for value in values]
    whole = sum(step is not None for step in steps)
    if form is None and whole and 2 * whole >= len(steps):
        instead = next(step for step in steps if step is not None)
        numbers = np.array([instead if step is None else step for step in steps], dtype=np.int64)
        stamps, wrong = _dates_of(numbers)
        none = {place for place, step in enumerate(steps) if step is None}
        return stamps, False, sorted(none | set(wrong))
    moments: list[datetime | None] = []
    for value in values:
        try:
            moments.append(_moment(value, form))
        except (ValueError, OverflowError):
            moments.append(None)
    aware = [moment for moment in moments if moment is not None and moment.tzinfo is not None]
    if aware:  # those without an offset are not told
        moments = [moment if moment is not None and moment.tzinfo else None for moment in moments]
    # Of days the date counts, though its midnight moves when clocks are changed.
    clock = {moment.time() for moment in aware}
    moved = len(clock) > 1 or (len(aware) == 1 and clock != {time()})
    moved = moved if days else bool(aware)
    if moved:
        moments = [moment and moment.astimezone(timezone.utc) for moment in moments]
    bad = [place for place, moment in enumerate(moments) if moment is None]
    plain = [moment and moment.replace(tzinfo=None) for moment in moments]
    return np.array(plain, dtype="datetime64[us]"), moved, bad


def parse_moments(
    values: Sequence[object], form: str | None = None
) -> tuple[Stamps, bool, list[int]]:
    """Seconds (T,), or dates, whether any was moved to UTC, and the places of what is neither.

    Args:
        values: numbers, hours:minutes(:seconds), or what `parse_stamps` takes for dates.
        form: of dates that are not ISO 8601.

    Example:
        >>> from elman.read.stamps import parse_moments
        >>> parse_moments(["0.02", "1e1"])[0].tolist(), parse_moments(["25:30"])[0].tolist()
        ([0.02, 10.0], [91800.0])
        >>> parse_moments(["2024-03-01 05:00:00.5"])[0].tolist()[0].microsecond
        500000
    """
    first = next((value for value in values if value is not None), None)
    if form is None and len(values) and not isinstance(first, np.datetime64 | date):
        try:
            numbers = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.array([_seconds(value) for value in values])
        good = np.isfinite(numbers)
        if 2 * good.sum() >= len(numbers):
            if (numbers[good] == numbers[good].round()).all():  # dates such as 20240331
                found, wrong = _dates_of(np.where(good, numbers, 0).astype(np.int64))
                if found.dtype.kind == "M":
                    return found, False, sorted({*np.flatnonzero(~good).tolist(), *wrong})
            return numbers, False, np.flatnonzero(~good).tolist()
    stamps, moved, bad = parse_stamps(values, form, days=False)
    return stamps, moved, bad if stamps.dtype.kind == "M" else list(range(len(values)))


def _seconds(value: object) -> float:
    """Those that a value says; NaN if it says none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))
    if found := CLOCK.fullmatch(str(value).strip()):
        hours, minutes, seconds = found.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds or 0)
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _parse_all(values: Sequence[object]) -> Stamps | None:
    """All at once, if they are of one simple kind."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        return _all_dates(array.astype(np.int64))
    if array.dtype.kind == "M":
        return None if np.isnat(array).any() else array.astype("datetime64[us]")
    if array.dtype.kind == "U":
        written: list[str] = array.tolist()
        digits = sum(text.lstrip("-").isdigit() for text in written)
        if digits not in (0, len(written)):
            return None  # numpy takes a number among dates for a year
        if not digits and STRANGE.search("\n".join(written)):
            return None
        try:
            if digits:
                return _all_dates(array.astype(np.int64))
            found = array.astype("datetime64[us]")
        except (ValueError, OverflowError):
            return None
        return None if np.isnat(found).any() else found
    return None


def _all_dates(numbers: NDArray[np.int64]) -> Stamps | None:
    stamps, wrong = _dates_of(numbers)
    return None if wrong else stamps


def _dates_of(numbers: NDArray[np.int64]) -> tuple[Stamps, list[int]]:
    """The dates that most numbers are, YYYYMMDD or YYYYMM, and which are none; else the numbers."""
    if not len(numbers):
        return numbers, []
    of_days = (numbers >= EARLIEST) & (numbers <= LATEST)
    of_months = (numbers >= EARLIEST // 100) & (numbers <= LATEST // 100)
    if 2 * (of_days | of_months).sum() <= len(numbers):
        return numbers, []
    days = numbers * 100 + 1 if of_months.sum() > of_days.sum() else numbers
    months = (days // 10000 - 1970) * 12 + days // 100 % 100 - 1
    moments = months.astype("datetime64[M]").astype("datetime64[D]") + (days % 100 - 1)
    year, month = np.divmod(moments.astype("datetime64[M]").astype(np.int64), 12)
    day = (moments - moments.astype("datetime64[M]")).astype(np.int64)
    same = ((year + 1970) * 100 + month + 1) * 100 + day + 1 == days
    if same.mean() < MOSTLY:
        return numbers, []
    return moments.astype("datetime64[us]"), np.flatnonzero(~same).tolist()


def _step(value: object) -> int | None:
    try:
        step = int(value) if isinstance(value, str | int) else None
    except ValueError:
        return None
    return step if step is not None and abs(step) < 1 << 62 else None


def _moment(value: object, form: str | None) -> datetime:
    if value != value:  # neither a number nor a date
        raise ValueError
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if form is not None and isinstance(value, str | int):
        return datetime.strptime(str(value).strip(), form)
    if not isinstance(value, str):
        raise ValueError
    text = value.strip()
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


@dataclass(frozen=True)
class Frequency:
    """Distance of stamps: `count` of a `unit`.

    Example:
        >>> from elman.read.stamps import Frequency, parse_stamps
        >>> stamps, *_ = parse_stamps(["2024-01-31", "2024-02-29", "2024-04-30"])
        >>> frequency = Frequency.infer(stamps)
        >>> str(frequency), frequency.places(stamps).tolist()
        ('ME', [0, 1, 3])
        >>> frequency.after(stamps[-1:], 2).astype("datetime64[D]").astype(str).tolist()
        ['2024-05-31', '2024-06-30']
    """

    unit: Unit
    count: int

    def __str__(self) -> str:
        if self.unit == "step":
            return "step" if self.count == 1 else f"{self.count} steps"
        if self.unit == "business day":
            name, count = "B", self.count
        elif self.unit == "us":
            name, size = next((n, s) for n, s in NAMED.items() if self.count % s == 0)
            count = self.count // size
        else:
            size = next(size for size in MONTHS if self.count % size == 0)
            name = MONTHS[size] + ("E" if self.unit == "month end" else "S")
            count = self.count // size
        return name if count == 1 else f"{count}{name}"

    @property
    def size(self) -> int:
        """Microseconds, of a month the twelfth of a year; 0 of steps."""
        month = 365 * DAY // 12
        one = {"us": 1, "step": 0, "business day": DAY, "month": month, "month end": month}
        return self.count * one[self.unit]

    @property
    def season(self) -> int:
        """Steps of the season that people would think of first: a day, a week, a year; else 1.

        Of what comes more often than every five minutes it is an hour, or a minute.
        """
        if self.unit == "business day":
            return 5 if self.count == 1 else 1
        if self.unit in ("month", "month end"):
            return 12 // self.count if 12 % self.count == 0 else 1
        for period in (DAY, 7 * DAY, 364 * DAY, DAY // 24, DAY // 1440):
            steps, rest = divmod(period, self.count)
            if self.unit == "us" and not rest and 1 < steps <= MOST:
                return steps
        return 1

    @classmethod
    def named(cls, name: str) -> Frequency:
        """The frequency of a name: 15min, h, D, W, B, MS, ME, QS, QE, YS, YE, or a number.

        Raises:
            ArgumentError: there is no such frequency.
        """
        found = re.fullmatch(r"(\d*) ?([A-Za-z]*)", name.strip())
        count, word = (int(found[1] or 1), found[2]) if found else (0, "")
        months = {"M": 1, "Q": 3, "Y": 12}
        if count >= 1:
            if word in NAMED:
                return cls("us", count * NAMED[word])
            if word == "B":
                return cls("business day", count)
            if word in ("", "step", "steps"):
                return cls("step", count)
            if len(word) == 2 and word[0] in months and word[1] in "SE":
                unit: Unit = "month" if word[1] == "S" else "month end"
                return cls(unit, count * months[word[0]])
        raise ArgumentError(
            f"freq={name!r}: expected a number of s, min, h, D, W, B, MS, ME, QS, QE, YS or YE, "
            "such as 15min"
        )

    @classmethod
    def infer(cls, stamps: Stamps, breaks: NDArray[np.int64] | None = None) -> Frequency:
        """The frequency of stamps that rise.

        Args:
            stamps: (T,), of one series or of several one after the other.
            breaks: where the second and later series begin.

        Raises:
            DataError: a series has one stamp only, or no frequency fits all.
        """
        inside = np.ones(max(0, len(stamps) - 1), dtype=bool)
        if breaks is not None:
            inside[breaks - 1] = False
        distances = np.diff(stamps).astype(np.int64)[inside]
        if not len(distances):
            raise DataError("one stamp a series says nothing of the frequency; set freq")
        if stamps.dtype.kind != "M":
            return cls("step", _usual(distances))
        usual = _usual(distances)
        if usual >= 28 * DAY:
            units: tuple[Unit, ...] = ("month end", "month")
            for unit in units:
                months, fits = _months(stamps, unit, breaks)
                if bool(fits.all()):
                    return cls(unit, math.gcd(*np.diff(months)[inside].tolist()))
        if usual == DAY and len(stamps) > 5 and not bool((_weekday(stamps) > 4).any()):
            return cls("business day", 1)
        return cls("us", usual)

    def places(self, stamps: Stamps) -> NDArray[np.int64]:
        """How many frequencies each stamp is behind the first; -1 for one that lies between."""
        if self.unit == "business day":
            days = stamps.astype("datetime64[D]")
            steps = np.busday_count(days[0], days)
            even = (_weekday(stamps) < 5) & (stamps - days == stamps[0] - days[0])
        elif self.unit in ("month", "month end"):
            months, even = _months(stamps, self.unit)
            steps = months - months[0]
        else:
            steps, even = (stamps - stamps[0]).astype(np.int64), np.ones(len(stamps), dtype=bool)
        return np.where(even & (steps % self.count == 0), steps // self.count, -1)

    def after(self, last: Stamps, steps: int, first: int = 1) -> Stamps:
        """The stamps (..., steps) that follow those of `last` (..., 1), from the first-th on."""
        ahead = np.arange(first, first + steps) * self.count
        if self.unit == "step":
            return np.asarray(last + ahead)
        if self.unit == "us":
            return np.asarray(last + ahead.astype("timedelta64[us]"))
        days = last.astype("datetime64[D]")
        clock = last - days
        if self.unit == "business day":
            return np.asarray(np.busday_offset(days, ahead, roll="backward") + clock)
        months = last.astype("datetime64[M]")
        there = months + ahead.astype("timedelta64[M]")
        first = there.astype("datetime64[D]")
        longest = (there + 1).astype("datetime64[D]") - first - np.timedelta64(1, "D")
        day = longest
        if self.unit == "month":
            day = np.minimum(days - months.astype("datetime64[D]"), longest)
        return np.asarray(first + day + clock)


def _usual(distances: NDArray[np.int64]) -> int:
    """The most frequent distance, of several the smallest."""
    values, counts = np.unique(distances, return_counts=True)
    return int(values[counts.argmax()])


def _weekday(stamps: Stamps) -> NDArray[np.int64]:
    """0 for Monday."""
    return np.asarray((stamps.astype("datetime64[D]").astype(np.int64) + 3) % 7)


def _months(
    stamps: Stamps, unit: Unit, breaks: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Months, and whether a stamp stands in its month as it should: at the end, or as the first."""
    months, days = stamps.astype("datetime64[M]"), stamps.astype("datetime64[D]")
    begins = np.array([0, *([] if breaks is None else breaks)])
    first = np.repeat(begins, np.diff(np.append(begins, len(stamps))))  # of the series of each
    if unit == "month end":
        fits = (days + 1).astype("datetime64[M]") > months
    else:
        begin = months.astype("datetime64[D]")
        longest = (months + 1).astype("datetime64[D]") - begin - np.timedelta64(1, "D")
        day = days - begin
        fits = day == np.minimum(day[first], longest)  # the 30th is the 28th in February
    clock = stamps - days
    return months.astype(np.int64), fits & (clock == clock[first])
