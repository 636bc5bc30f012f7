"""Detect and read whole numbers that are dates.

20240301, 2024030105 ..            YYYYMMDD, with hours, minutes and seconds
202403, 202409, 20241, 2024366     YYYYMM, YYYYWW of ISO weeks, YYYYQ of quarters, YYYYDDD
1709251200 ..                      seconds, ms, us or ns since 1970
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.read.frequency import Stamps, Whole
from elman.read.stamps import UNITS, likely_unit

EARLY, LATE = 1900, 2100  # years of whole numbers that can be dates
RIVALS = {"YYYYMM": "YYYYWW", "YYYYQ": "", "YYYYDDD": ""}  # other readings; "" for steps
MOSTLY = 0.9  # minimum share of numbers that are dates of a form; the others are then bad
SECOND = 1_000_000  # microseconds
PERIODS = {2: "half-years", 3: "thirds of a year", 4: "quarters"}
YEARS = 3  # minimum number of years in which only the first months occur


def find_code(numbers: NDArray[Any]) -> str:
    """Return the form in which numbers are read as dates; "" for steps.

    Weeks and months look alike, so the form with the most even distances is chosen.
    Numbers with a fraction can only be units since 1970.
    """
    if numbers.dtype.kind == "f":
        return likely_unit(numbers)
    if not len(numbers) or numbers.dtype.kind not in "iu":
        return ""
    for code, size in DIGITS.items():
        if (numbers // size >= EARLY).mean() > 0.5 and (numbers // size <= LATE).mean() > 0.5:
            good = READERS[code](numbers)[1]
            if good.mean() >= (MOSTLY if RIVALS.get(code, code) else 1):
                return _more_even(numbers, code, RIVALS[code]) if code in RIVALS else code
            if code == "YYYYMM" and READERS["YYYYWW"](numbers)[1].mean() >= MOSTLY:
                return "YYYYWW"
    return likely_unit(numbers)


def _more_even(numbers: Whole, code: str, rival: str) -> str:
    """Return the form of the two in which more stamps have the usual distance."""
    first, then = _evenness(numbers, code), _evenness(numbers, rival)
    if not rival:  # equally even numbers can be steps
        return code if first > then else rival
    return rival if then > first else code


def _evenness(numbers: Whole, code: str) -> int:
    """Count the stamps at the usual distance; -1 if they are not dates.  The code "" is steps."""
    stamps, good = READERS[code](numbers) if code else (numbers, np.ones(len(numbers), bool))
    apart = np.diff(np.unique(stamps[good]))
    if code in ("YYYYMM", "YYYYQ"):
        apart = np.diff(np.unique(stamps[good].astype("datetime64[M]").astype(np.int64)))
    counts = np.unique(apart.astype(np.int64), return_counts=True)[1]
    return int(counts.max(initial=0)) if good.mean() >= MOSTLY else -1


def find_form(numbers: NDArray[Any]) -> str:
    """Return a form in which whole numbers are more even as dates than as steps; else "".

    Two digits can be a year or a day, so the user must confirm the form.

    Example:
        >>> import numpy as np
        >>> from elman.read.codes import find_form
        >>> find_form(np.array([30012024, 31012024, 1022024, 2022024]))
        '%d%m%Y'
        >>> find_form(np.array([240130, 240131, 240201])), find_form(np.arange(240101, 240120))
        ('%y%m%d', '')
    """
    if not len(numbers) or numbers.dtype.kind not in "iu" or (numbers < 0).any():
        return ""
    first, then, year = numbers // 10**6, numbers // 10**4 % 100, numbers % 10**4
    readings = {
        "%d%m%Y": (year * 10**4 + then * 100 + first, "YYYYMMDD"),
        "%m%d%Y": (year * 10**4 + first * 100 + then, "YYYYMMDD"),
        "%y%m%d": (np.where(numbers < 10**6, numbers + 20 * 10**6, 0), "YYYYMMDD"),
        "%y%m": (np.where(numbers < 10**4, numbers + 20 * 10**4, 0), "YYYYMM"),
    }
    even = {
        form: _evenness(dates, code)
        for form, (dates, code) in readings.items()
        if READERS[code](dates)[1].all()
    }
    best = max(even, key=lambda form: even[form], default="")
    return best if best and even[best] > _evenness(numbers, "") else ""


def other_periods(numbers: NDArray[Any], code: str) -> str:
    """Return the periods of a year that numbers may count, if `code` reads them otherwise; else "".

    In such numbers the months, or the last digits of steps, are only 1 to 2, 3 or 4.

    Example:
        >>> import numpy as np
        >>> from elman.read.codes import other_periods
        >>> years = np.arange(2000, 2010)[:, None]
        >>> other_periods((years * 100 + [1, 2, 3, 4]).ravel(), "YYYYMM")
        'quarters'
        >>> other_periods((years * 10 + [1, 2]).ravel(), "")
        'half-years'
        >>> other_periods((years * 10 + [1, 2, 3, 4]).ravel(), "YYYYQ")
        ''
    """
    size = {"YYYYMM": 100, "": 10}.get(code)
    if size is None or numbers.dtype.kind not in "iu" or not len(numbers):
        return ""
    years, parts = np.divmod(numbers, size)
    within = bool((years >= EARLY).all() and (years <= LATE).all())
    each = np.unique(parts).tolist()
    if not within or len(np.unique(years)) < YEARS or each != list(range(1, len(each) + 1)):
        return ""
    return PERIODS.get(len(each), "")


Numbers = NDArray[Any]  # whole, or with a fraction
Read = tuple[Stamps, NDArray[np.bool_]]


def _calendar(size: int) -> Callable[[Whole], Read]:
    """Return a reader of YYYYMMDDhhmmss or a prefix of it, with log10(size) digits after YYYY."""

    def read(numbers: Whole) -> Read:
        good = (numbers // size >= EARLY) & (numbers // size <= LATE)
        whole = np.where(good, numbers, 200001 * (size // 100)) * (10**10 // size)
        day, clock = np.divmod(whole, 1_000_000)
        year, month, day = day // 10000, day // 100 % 100, day % 100
        if size == 100:
            day = np.ones_like(day)
        hour, minute, second = clock // 10000, clock // 100 % 100, clock % 100
        good &= (month >= 1) & (month <= 12) & (minute < 60) & (second < 60)
        good &= (hour < 24) | ((hour == 24) & (minute + second == 0))  # the end of the day
        months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
        days = months.astype("datetime64[D]") + (day - 1)
        good &= days.astype("datetime64[M]") == months
        seconds = (hour * 60 + minute) * 60 + second
        return days.astype("datetime64[us]") + seconds * np.timedelta64(SECOND, "us"), good

    return read


def _weeks(numbers: Whole) -> Read:
    year, week = np.divmod(numbers, 100)
    good = (year >= EARLY) & (year <= LATE) & (week >= 1) & (week <= 53)
    year, week = np.where(good, year, 2000), np.where(good, week, 1)
    fourth = (year - 1970).astype("datetime64[Y]").astype("datetime64[D]") + 3  # always in week 1
    monday = fourth.astype(np.int64) - (fourth.astype(np.int64) + 3) % 7 + (week - 1) * 7
    days = monday.astype("datetime64[D]")
    good &= (days + 3).astype("datetime64[Y]").astype(np.int64) == year - 1970
    return days.astype("datetime64[us]"), good


def _quarters(numbers: Whole) -> Read:
    year, quarter = np.divmod(numbers, 10)
    good = (year >= EARLY) & (year <= LATE) & (quarter >= 1) & (quarter <= 4)
    months = np.where(good, (year - 1970) * 12 + (quarter - 1) * 3, 0)
    return months.astype("datetime64[M]").astype("datetime64[us]"), good


def _days_of_year(numbers: Whole) -> Read:
    year, day = np.divmod(numbers, 1000)
    good = (year >= EARLY) & (year <= LATE) & (day >= 1)
    year, day = np.where(good, year, 2000) - 1970, np.where(good, day, 1)
    days = year.astype("datetime64[Y]").astype("datetime64[D]") + (day - 1)
    good &= days.astype("datetime64[Y]").astype(np.int64) == year
    return days.astype("datetime64[us]"), good


def _since(unit: str) -> Callable[[Numbers], Read]:
    """Return a reader of units since 1970, rounded to microseconds if they have a fraction."""

    def read(numbers: Numbers) -> Read:
        size = UNITS[unit]
        good = np.abs(numbers // size) < 200_000_000_000  # within the calendar
        whole = np.where(good, numbers, 0)
        if whole.dtype.kind == "f":
            found = np.rint(whole * (SECOND / size)).astype(np.int64)
            return found.astype("datetime64[us]"), good
        found = whole * (SECOND // size) if size <= SECOND else whole // (size // SECOND)
        return found.astype("datetime64[us]"), good

    return read


DIGITS = {
    "YYYYMMDDHHMMSS": 10**10,
    "YYYYMMDDHHMM": 10**8,
    "YYYYMMDDHH": 10**6,
    "YYYYMMDD": 10**4,
    "YYYYDDD": 1000,
    "YYYYMM": 100,
    "YYYYQ": 10,
}
READERS: dict[str, Callable[[Whole], Read]] = {
    **{code: _calendar(size) for code, size in DIGITS.items()},
    "YYYYDDD": _days_of_year,
    "YYYYWW": _weeks,
    "YYYYQ": _quarters,
    **{unit: _since(unit) for unit in UNITS},
}
