"""The frequency of stamps: how it is detected, named, counted and continued.

A frequency is a number of units; a gap is a whole multiple of it.  Months follow the calendar.  If
some places of the week never occur, such as Sundays, or the hours of the night, only the other
places are counted: the day after Saturday is Monday.  Business days are the best known case.
A place of the week is one of its steps, counted from Monday at midnight.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError

Stamps = NDArray[Any]  # int64, or datetime64[us]
Whole = NDArray[np.int64]
Unit = Literal["step", "us", "month", "month end", "whole month", "open"]
Ranges = tuple[tuple[int, int], ...]

DAY = 86_400_000_000  # microseconds
WEEK = 7 * DAY
MONDAY = 3 * DAY  # from a Monday to the first of January 1970
# Names as in pandas; a distance is named by the first unit that divides it.
NAMED = {
    "W": WEEK, "D": DAY, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000,
    "us": 1,
}  # fmt: skip
MONTHS = {12: "Y", 3: "Q", 1: "M"}
ENDS = {"month": "S", "month end": "E", "whole month": ""}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WORKDAYS: Ranges = ((0, 4),)
MOST = 288  # maximum number of steps in a season
LONGEST = 1 << 53  # maximum number of units of a frequency
PLACES = 700_000  # maximum number of places of a week, if some are closed
WEEKS = 3  # minimum number of weeks without a place before it counts as closed
CHANCE = 1.01e-6  # maximum probability that a closed place is missing by chance
DENSE = 0.99  # maximum share of weeks in which an open place is assumed to occur
WANTED = "expected a number of s, min, h, D, W, B, M, MS, ME, Q, QS, QE, Y, YS or YE, such as 15min"


@dataclass(frozen=True)
class Frequency:
    """The distance between stamps: `count` times a `unit`.

    Attributes:
        unit: "step" or "us"; "month" for the same day of each month, "month end", "whole month"
            for any day of a month; or "open" for the open places of a week.
        count: number of units.
        base: microseconds of a place of the week; 0 if none is closed.
        open: first and last places of the open ranges, counted from Monday at midnight.

    Example:
        >>> from elman.read.frequency import Frequency
        >>> from elman.read.clock import read_stamps
        >>> stamps, _ = read_stamps(["2024-01-31", "2024-02-29", "2024-04-30"])
        >>> frequency = Frequency.infer(stamps)
        >>> str(frequency), frequency.places(stamps).tolist()
        ('ME', [0, 1, 3])
        >>> frequency.after(stamps[-1:], 2).astype("datetime64[D]").astype(str).tolist()
        ['2024-05-31', '2024-06-30']
        >>> Frequency.named("D open 0-5").closed
        'Sunday'
    """

    unit: Unit
    count: int
    base: int = 0
    open: Ranges = ()

    def __str__(self) -> str:
        if self.unit == "step":
            return "step" if self.count == 1 else f"{self.count} steps"
        if self.unit == "us":
            return _name_of(self.count)
        if self.unit == "open":
            count = str(self.count) if self.count > 1 else ""
            if (self.base, self.open) == (DAY, WORKDAYS):
                return f"{count}B"
            ranges = ",".join(f"{a}-{b}" if a < b else str(a) for a, b in self.open)
            return f"{_name_of(self.base)} open {ranges}"
        size = next(size for size in MONTHS if self.count % size == 0)
        count = "" if self.count == size else str(self.count // size)
        return f"{count}{MONTHS[size]}{ENDS[self.unit]}"

    @property
    def name(self) -> str:
        """The name of the frequency, without closed times."""
        return str(self).partition(" open ")[0]

    @property
    def size(self) -> int:
        """The size in microseconds, where a month is a twelfth of a year; 0 for steps."""
        if self.unit in ENDS:
            return self.count * 365 * DAY // 12
        return 0 if self.unit == "step" else self.count * (self.base or 1)

    @property
    def mean(self) -> int:
        """The mean microseconds of a step, including closed times."""
        if self.unit != "open" or self.open == WORKDAYS:
            return self.size
        return self.count * WEEK // len(_slots(self.open))

    @property
    def season(self) -> int:
        """The number of steps in the usual season: a day, a week or a year; else 1.

        For steps below five minutes, it is an hour or a minute.  Closed times are not counted.
        """
        if self.unit == "open":
            return self._open_season() if self.count == 1 else 1
        if self.unit in ENDS:
            return 12 // self.count if 12 % self.count == 0 else 1
        for period in (DAY, WEEK, 364 * DAY, DAY // 24, DAY // 1440):
            steps, rest = divmod(period, self.count)
            if self.unit == "us" and not rest and 1 < steps <= MOST:
                return steps
        return 1

    def _open_season(self) -> int:
        """Return the steps of a day if all open days have equally many; else of a week, or 1."""
        slots = _slots(self.open)
        if DAY % self.base == 0:
            each = np.bincount(slots * self.base // DAY)
            steps = np.unique(each[each > 0])
            if len(steps) == 1 and 1 < steps[0] <= MOST:
                return int(steps[0])
        return len(slots) if 1 < len(slots) <= MOST else 1

    @property
    def closed(self) -> str:
        """A description of the closed times of the week; "" for none."""
        if self.unit != "open":
            return ""
        places = WEEK // self.base
        there = np.isin(np.arange(places), _slots(self.open))
        if self.base == DAY:
            return ", ".join(day for day, is_open in zip(DAYS, there, strict=True) if not is_open)
        if DAY % self.base:
            return f"{places - there.sum():,} of {places:,} places of the week"
        hours = [_hours(day, self.base) for day in there.reshape(7, -1)]
        begins = [n for n in range(7) if not n or hours[n] != hours[n - 1]]
        parts = []
        for first, then in pairwise([*begins, 7]):
            days = DAYS[first] + (f" to {DAYS[then - 1]}" if then - first > 1 else "")
            if hours[first]:
                parts.append(f"{days} {hours[first]}")
        return f"all but {'; '.join(parts)}"

    @classmethod
    def named(cls, name: str) -> Frequency:
        """Return the frequency with a name: 15min, h, D, W, B, MS, ME, M, QS, YE, or a number.

        A name can be followed by the places of the week that are open, such as `D open 0-5`.

        Raises:
            ArgumentError: there is no frequency of this name.
        """
        form = r"(\d{0,18}) ?([A-Za-z]*)(?: open ((?:\d{1,6}(?:-\d{1,6})?,?)+))?"
        found = re.fullmatch(form, name.strip())
        count, word = (int(found[1] or 1), found[2]) if found else (0, "")
        size = NAMED.get(word, 1)
        if found and found[3] and word in NAMED:
            return cls._with_places(name, count * size, found[3])
        if 1 <= count <= LONGEST // size:
            if word in NAMED:
                return cls("us", count * size)
            if word == "B":
                return cls("open", count, DAY, WORKDAYS)
            if word in ("", "step", "steps"):
                return cls("step", count)
            months = {"M": 1, "Q": 3, "Y": 12}.get(word[0])
            unit = next((unit for unit, end in ENDS.items() if word[1:] == end), None)
            if months is not None and unit is not None and count <= MOST:
                return cls(unit, count * months)  # type: ignore[arg-type]
        raise ArgumentError(f"freq={name[:40]!r}: {WANTED}")

    @classmethod
    def _with_places(cls, name: str, base: int, written: str) -> Frequency:
        """Return the frequency with a base and open places, such as 0-5,7."""
        pairs = [tuple(map(int, part.split("-"))) for part in written.strip(",").split(",")]
        ranges = tuple((pair[0], pair[-1]) for pair in pairs)
        whole = [place for pair in ranges for place in pair]
        rising = all(a <= b for a, b in ranges) and all(a[1] < b[0] for a, b in pairwise(ranges))
        if not base or WEEK % base or not rising or max(whole) >= WEEK // base:
            raise ArgumentError(
                f"freq={name[:40]!r}: expected rising places of a week after `open`, such as "
                "D open 0-5"
            )
        return cls("open", 1, base, ranges)

    @classmethod
    def infer(
        cls, stamps: Stamps, breaks: Whole | None = None, *, closed: bool = True
    ) -> Frequency:
        """Detect the frequency of ascending stamps.

        Args:
            stamps: (T,), of one series or of several series, concatenated.
            breaks: where the second and later series begin.
            closed: whether places of the week that never occur are closed.

        Raises:
            DataError: no series has more than one stamp.
        """
        inside = np.ones(max(0, len(stamps) - 1), dtype=bool)
        if breaks is not None:
            inside[breaks - 1] = False
        distances = np.diff(stamps).astype(np.int64)[inside]
        if not len(distances):
            raise DataError("one stamp per series does not determine the frequency; set freq")
        usual = _usual(distances)
        if stamps.dtype.kind != "M":
            return cls("step", usual)
        if usual >= 28 * DAY and (found := cls._infer_months(stamps, breaks, inside, usual)):
            return found
        even = cls("us", usual)
        if closed and usual == DAY and len(stamps) > 5 and not (_weekday(stamps) > 4).any():
            return cls("open", 1, DAY, WORKDAYS)
        if closed and usual <= DAY:
            return even.opened(stamps, breaks)
        if closed and usual < WEEK and (distances % usual).any():
            # Mondays, Wednesdays and Fridays are mostly two days apart.
            base = int(np.gcd.reduce(distances))
            if DAY % base == 0 and base * 24 >= DAY:
                some = cls("us", base).opened(stamps, breaks)
                return some if some.unit == "open" else even
        return even

    @classmethod
    def _infer_months(
        cls, stamps: Stamps, breaks: Whole | None, inside: NDArray[np.bool_], usual: int
    ) -> Frequency | None:
        """Detect a frequency in months; None if the stamps are not counted in months."""
        units: tuple[Unit, ...] = ("month end", "month")
        for unit in units:
            months, fits = _months(stamps, unit, breaks)
            if bool(fits.all()):
                return cls(unit, math.gcd(*np.diff(months)[inside].tolist()))
        months = stamps.astype("datetime64[M]").astype(np.int64)
        apart = np.diff(months)[inside]
        distances = np.diff(stamps).astype(np.int64)[inside]
        uneven = (distances % usual).any() or usual % WEEK
        if uneven and bool((apart > 0).all()):  # on any day, such as the last working day
            return cls("whole month", math.gcd(*apart.tolist()))
        return None

    def opened(self, stamps: Stamps, breaks: Whole | None = None) -> Frequency:
        """Return the frequency without the places of the week that never occur in stamps.

        A place is closed if it is missing in at least `WEEKS` weeks, and this is very unlikely to
        be chance, given how often other places are missing.  A holiday is only a gap.  `stamps`
        and `breaks` are as in `infer`.
        """
        base = self.count
        if self.unit != "us" or base > DAY or WEEK % base or WEEK // base > PLACES:
            return self
        begins = np.array([0, *([] if breaks is None else breaks)])
        ends = np.append(begins[1:], len(stamps)) - 1
        places = WEEK // base
        numbers = (stamps.astype(np.int64) + MONDAY) // base
        seen = np.bincount(numbers % places, minlength=places)
        often = _chances(numbers[begins], numbers[ends], places)
        weeks = _chances(numbers[begins].min(), numbers[ends].max(), places)
        rate = min(DENSE, seen.sum() / max(1, often[seen > 0].sum()))
        never = (seen == 0) & (weeks >= WEEKS) & ((1 - rate) ** often <= CHANCE)
        if not never.any():
            return self
        there = np.flatnonzero(~never)
        cuts = np.flatnonzero(np.diff(there) > 1)
        first, last = there[np.append(0, cuts + 1)], there[np.append(cuts, len(there) - 1)]
        return Frequency("open", 1, base, tuple(zip(first.tolist(), last.tolist(), strict=True)))

    def places(self, stamps: Stamps) -> Whole:
        """Return how many steps each stamp is after the first; -1 for stamps between two steps."""
        if self.unit == "open":
            return self._open_places(stamps)
        if self.unit in ENDS:
            months, even = _months(self.floor(stamps), self.unit)
            steps = months - months[0]
        else:
            steps, even = (stamps - stamps[0]).astype(np.int64), np.ones(len(stamps), dtype=bool)
        return np.where(even & (steps % self.count == 0), steps // self.count, -1)

    def _open_places(self, stamps: Stamps) -> Whole:
        slots, places = _slots(self.open), WEEK // self.base
        since = stamps.astype(np.int64) + MONDAY
        phase = since[0] % self.base
        week, place = np.divmod((since - phase) // self.base, places)
        rank = np.searchsorted(slots, place)
        there = slots[rank.clip(max=len(slots) - 1)] == place
        steps = week * len(slots) + rank
        steps -= steps[0]
        even = there & there[0] & (since % self.base == phase) & (steps % self.count == 0)
        return np.where(even, steps // self.count, -1)

    def after(self, last: Stamps, steps: int, first: int = 1) -> Stamps:
        """Return the stamps (..., steps) after `last` (..., 1), starting with the `first`-th."""
        ahead = np.arange(first, first + steps) * self.count
        if self.unit == "step":
            return np.asarray(last + ahead)
        if self.unit == "us":
            return np.asarray(last + ahead.astype("timedelta64[us]"))
        if self.unit == "open":
            slots, places = _slots(self.open), WEEK // self.base
            since = last.astype("datetime64[us]").astype(np.int64) + MONDAY
            week, place = np.divmod(since // self.base, places)
            rank = np.searchsorted(slots, place, side="right") - 1  # back from a closed place
            week, rank = np.divmod(week * len(slots) + rank + ahead, len(slots))
            there = (week * places + slots[rank]) * self.base + since % self.base - MONDAY
            return np.asarray(there.astype("datetime64[us]"))
        months = last.astype("datetime64[M]")
        there = months + ahead.astype("timedelta64[M]")
        if self.unit == "whole month":
            return np.asarray(there.astype("datetime64[us]"))
        days = last.astype("datetime64[D]")
        begin = there.astype("datetime64[D]")
        day = longest = (there + 1).astype("datetime64[D]") - begin - np.timedelta64(1, "D")
        if self.unit == "month":
            day = np.minimum(days - months.astype("datetime64[D]"), longest)
        return np.asarray(begin + day + (last - days))

    def floor(self, stamps: Stamps) -> Stamps:
        """Return stamps, with whole months, quarters or years moved to their first day."""
        if self.unit != "whole month":
            return stamps
        months = stamps.astype("datetime64[M]").astype(np.int64)
        months -= months % self.count if self.count in MONTHS else 0
        return months.astype("datetime64[M]").astype("datetime64[us]")


@lru_cache(maxsize=64)
def _slots(ranges: Ranges) -> Whole:
    """Return the open places of a week."""
    return np.concatenate([np.arange(a, b + 1) for a, b in ranges])


def _chances(first: Any, last: Any, places: int) -> Whole:
    """Return how often each place of the week is within the spans from `first` to `last`."""
    first, last = np.atleast_1d(first), np.atleast_1d(last)
    whole, rest = np.divmod(last - first + 1, places)
    change = np.zeros(2 * places + 1, dtype=np.int64)
    np.add.at(change, first % places, 1)
    np.add.at(change, first % places + rest, -1)
    more = change.cumsum()[:-1].reshape(2, places).sum(0)
    return np.asarray(whole.sum() + more)


def _name_of(size: int) -> str:
    name, one = next((name, one) for name, one in NAMED.items() if size % one == 0)
    return name if size == one else f"{size // one}{name}"


def _hours(places: NDArray[np.bool_], base: int) -> str:
    """Describe the open times of a day."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], places.astype(np.int8), [0]])))

    def clock(place: int) -> str:
        minutes = place * base // 60_000_000
        return f"{minutes // 60:02d}:{minutes % 60:02d}"

    return ", ".join(f"{clock(a)} to {clock(b - 1)}" for a, b in edges.reshape(-1, 2).tolist())


def _usual(distances: Whole) -> int:
    """Return the most frequent distance; the smallest one if several are."""
    values, counts = np.unique(distances, return_counts=True)
    return int(values[counts.argmax()])


def _weekday(stamps: Stamps) -> Whole:
    """Return the day of the week, 0 for Monday."""
    return np.asarray((stamps.astype("datetime64[D]").astype(np.int64) + 3) % 7)


def _months(
    stamps: Stamps, unit: Unit, breaks: Whole | None = None
) -> tuple[Whole, NDArray[np.bool_]]:
    """Return months, and whether each stamp is on the last day, or the day of the first stamp."""
    months, days = stamps.astype("datetime64[M]"), stamps.astype("datetime64[D]")
    begins = np.array([0, *([] if breaks is None else breaks)])
    first = np.repeat(begins, np.diff(np.append(begins, len(stamps))))  # stamp of the same series
    if unit == "month end":
        fits = (days + 1).astype("datetime64[M]") > months
    else:
        begin = months.astype("datetime64[D]")
        longest = (months + 1).astype("datetime64[D]") - begin - np.timedelta64(1, "D")
        day = days - begin
        fits = day == np.minimum(day[first], longest)  # the 30th is the 28th in February
    clock = stamps - days
    return months.astype(np.int64), fits & (clock == clock[first])
