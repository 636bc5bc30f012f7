"""Stamps of time: what is written, the frequency behind them, and the stamps that follow.

    whole numbers              steps; the frequency is their distance
    20240301                   a date, if all are of that form
    2024-03-01 05:00 (ISO)     moments in microseconds; with an offset from UTC they become UTC

A frequency is so many units; a gap is a whole multiple of it.  Months are counted in the calendar,
and days without a Saturday or a Sunday among them as business days.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
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
EARLIEST, LATEST = 19000101, 21001231  # whole numbers that may be dates, YYYYMMDD


def parse_stamps(
    values: Sequence[object], form: str | None = None
) -> tuple[Stamps, bool, list[int]]:
    """Stamps (T,), whether any was moved to UTC, and the places of what is no stamp.

    Args:
        values: whole numbers, text, or objects of `datetime` and numpy.
        form: of text that is not ISO 8601, as for `datetime.strptime`.

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
    moved, bad = False, []
    steps = [_step(value) for value in values]
    whole = sum(step is not None for step in steps)
    if form is None and whole and 2 * whole >= len(steps):
        bad = [place for place, step in enumerate(steps) if step is None]
        instead = next(step for step in steps if step is not None)
        numbers = [instead if step is None else step for step in steps]
        return _dates_of(np.array(numbers, dtype=np.int64)), False, bad
    moments: list[datetime | None] = []
    for place, value in enumerate(values):
        try:
            moment = _moment(value, form)
        except (ValueError, OverflowError):
            bad.append(place)
            moments.append(None)
            continue
        if moment.tzinfo is not None:
            moment, moved = moment.astimezone(timezone.utc).replace(tzinfo=None), True
        moments.append(moment)
    return np.array(moments, dtype="datetime64[us]"), moved, bad


def _parse_all(values: Sequence[object]) -> Stamps | None:
    """All at once, if they are of one simple kind."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        return _dates_of(array.astype(np.int64))
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
                return _dates_of(array.astype(np.int64))
            found = array.astype("datetime64[us]")
        except (ValueError, OverflowError):
            return None
        return None if np.isnat(found).any() else found
    return None


def _dates_of(numbers: NDArray[np.int64]) -> Stamps:
    """The dates that numbers of the form YYYYMMDD are, if all are; else the numbers."""
    if not len(numbers) or not EARLIEST <= numbers.min() <= numbers.max() <= LATEST:
        return numbers
    months = (numbers // 10000 - 1970) * 12 + numbers // 100 % 100 - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (numbers % 100 - 1)
    written = np.char.replace(days.astype(str), "-", "").astype(np.int64)
    return days.astype("datetime64[us]") if (written == numbers).all() else numbers


def _step(value: object) -> int | None:
    try:
        return int(value) if isinstance(value, str | int) else None
    except ValueError:
        return None


def _moment(value: object, form: str | None) -> datetime:
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

    def after(self, last: Stamps, steps: int) -> Stamps:
        """The stamps (..., steps) that follow those of `last` (..., 1)."""
        ahead = np.arange(1, steps + 1) * self.count
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
        day = days - months.astype("datetime64[D]")
        fits = day == day[first]
    clock = stamps - days
    return months.astype(np.int64), fits & (clock == clock[first])
