"""Parse time stamps: whole numbers, seconds, and moments.

whole numbers              left unchanged; `elman.read.clock` detects their meaning
1709251200.5               seconds, ms, us or ns since 1970 can have a fraction
2024-03-01 05:00 (ISO)     moments in microseconds; 2024-W05 and 2024Q1 are their first days
2024-03-01 05:00+02:00     moments in UTC, and their offsets
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError
from elman.read.frequency import Stamps, Whole

UNITS = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}  # per second
SINCE = 631_152_000  # 1990, in seconds since 1970; earlier numbers are not read as seconds
EARLY = 94_694_400  # 1973; the same limit for whole minutes
UNTIL = 4_102_444_800  # 2100
STEP = "step"  # form of whole numbers that are not dates
# Texts that numpy would read differently: words such as today, and offsets from UTC.
STRANGE = re.compile(r"^\s*[^\s\d]|(Z|[+-]\d\d:?\d\d)\s*$", re.MULTILINE)
CLOCK = re.compile(r"(\d{1,9}):([0-5]\d)(?::([0-5]\d(?:\.\d{1,9})?))?")
PERIOD = re.compile(r"(\d{4})-?([WQ])(\d{1,2})")
FIXED = re.compile("(%[dmyYHMSjGVUWuw])+")  # forms of digits only; as numbers they lose zeros
DIGITS = {"Y": 4, "G": 4, "j": 3, "u": 1, "w": 1}  # digits of these parts; the others have two
FIRST = {"%G": " 1", "%W": " 1", "%U": " 0"}  # first weekday of the weeks of a form, for %w
# Common forms other than ISO 8601.
DAY_FORMS = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%Y.%m.%d",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d.%m.%y",
    "%d-%b-%y",
    "%m/%Y",
    "%m.%Y",
    "%Y/%m",
    "%YM%m",
    "%b %Y",
    "%b-%Y",
    "%b-%y",
    "%B %Y",
)
CLOCK_FORMS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
NAIVE = -(1 << 62)  # marks a moment without an offset
LONGEST = 256  # characters of a stamp
EDGES = np.array(["0001-01-03", "9999-12-30"], dtype="datetime64[us]")  # valid in any zone


@dataclass(frozen=True)
class Parsed:
    """Parsed stamps (T,).

    Attributes:
        values: int64, float64 (seconds, or units since 1970 with a fraction), or datetime64[us],
            in UTC for stamps with an offset.
        offsets: microseconds ahead of UTC; `NAIVE` for a stamp without one; None if no offset.
        zone: name of the zone of objects; "" if they have none.
        bad: indices of invalid stamps; their values are arbitrary.
        text: whether all stamps are text or numbers, not objects.
        days: whether all stamps are `date` objects, without a time of day.
    """

    values: Stamps
    offsets: Whole | None
    zone: str
    bad: list[int]
    text: bool
    days: bool = False

    def pick(self, kept: NDArray[np.bool_]) -> Parsed:
        """Return the stamps where `kept` is true; these must be good."""
        offsets = None if self.offsets is None else self.offsets[kept]
        return replace(self, values=self.values[kept], offsets=offsets, bad=[])

    @staticmethod
    def join(parts: Sequence[Parsed]) -> Parsed:
        """Join parts with good stamps of one kind."""
        offsets = None
        if any(part.offsets is not None for part in parts):
            offsets = np.concatenate(
                [
                    np.full(len(part.values), NAIVE) if part.offsets is None else part.offsets
                    for part in parts
                ]
            )
        zone = next((part.zone for part in parts if part.zone), "")
        values = np.concatenate([part.values for part in parts])
        text, days = all(part.text for part in parts), all(part.days for part in parts)
        return Parsed(values, offsets, zone, [], text, days)


def check_form(form: str | None) -> None:
    """Raise an ArgumentError for a form that no stamp can have."""
    if form is None or form in UNITS or form == STEP:
        return
    sample = datetime(2024, 11, 25, 13, 14, 15, tzinfo=timezone.utc)
    try:
        _by_form(sample.strftime(form), form)
    except (ValueError, re.error, LookupError, OverflowError):
        raise ArgumentError(
            f"ds_format={form[:40]!r}: expected a form such as %d/%m/%Y, each part once; or s, ms, "
            "us or ns for numbers of these; or step"
        ) from None


def parse(values: Sequence[object], form: str | None = None) -> Parsed:
    """Parse stamps.

    Args:
        values: whole numbers, text, or objects of `datetime`, numpy and pandas.
        form: form of text that is not ISO 8601, as for `datetime.strptime`; a unit such as ms for
            numbers since 1970, or "step" for whole numbers.

    Example:
        >>> from elman.read.stamps import parse
        >>> parse(["2024-03-01", "2024-03-01 05:00"]).values.tolist()[1].hour
        5
        >>> parsed = parse(["2024-03-01T05:00+02:00"])
        >>> parsed.values.tolist()[0].hour, parsed.offsets.tolist()
        (3, [7200000000])
        >>> parse(["1", "2", "x"]).bad, parse(["2024-03-01", "yesterday"]).bad
        ([2], [1])
        >>> parse(["1709251200", "1709251200.5"]).values.tolist()
        [1709251200.0, 1709251200.5]
    """
    values = [None if isinstance(v, str) and len(v) > LONGEST else v for v in values]
    whole_numbers = form in UNITS or form == STEP
    if (form is None or whole_numbers) and (quick := _parse_all(values)) is not None:
        return quick
    if (form is None or form in UNITS) and (
        fractions := _parse_fractions(values, form)
    ) is not None:
        return fractions
    steps = [_step(value) for value in values]
    whole = sum(step is not None for step in steps)
    if whole_numbers or (form is None and whole and 2 * whole >= len(steps)):
        instead = next((step for step in steps if step is not None), 0)
        numbers = np.array([instead if step is None else step for step in steps], dtype=np.int64)
        return Parsed(numbers, None, "", [n for n, step in enumerate(steps) if step is None], True)
    return _parse_each(values, form)


def _parse_fractions(values: Sequence[object], form: str | None) -> Parsed | None:
    """Parse numbers since 1970 if some have a fraction; else return None."""
    numbers = np.array([_seconds(v) if isinstance(v, str | float) else math.nan for v in values])
    fractions = np.isfinite(numbers) & (numbers != np.rint(numbers))
    if not fractions.any():
        return None
    numbers = np.array([_seconds(value) for value in values])
    good = np.isfinite(numbers)
    if form is None and not likely_unit(np.where(good, numbers, 0)):
        return None
    bad = np.flatnonzero(~good).tolist()
    return Parsed(np.where(good, numbers, numbers[fractions][0]), None, "", bad, True)


def likely_unit(numbers: NDArray[Any]) -> str:
    """Return the unit in which most numbers are moments from 1990 to 2100; "" if there is none.

    Whole minutes can also be from 1973 to 1990; other such numbers are more likely to be steps.
    """
    for unit, size in UNITS.items():
        since = SINCE if (numbers % (60 * size)).any() else EARLY
        within = (numbers >= since * size) & (numbers < UNTIL * size)
        if 2 * within.sum() > len(numbers) and (numbers >= 0).all():
            return unit
    return ""


def _parse_each(values: Sequence[object], form: str | None) -> Parsed:
    """Parse moments one by one."""
    bad, found = [], np.full(len(values), EDGES[0])
    offsets = np.full(len(values), NAIVE, dtype=np.int64)
    zone, text = "", True
    for n, value in enumerate(values):
        try:
            moment = _moment(value, form)
            offset = moment.utcoffset()
        except (ValueError, OverflowError, TypeError):
            bad.append(n)
            continue
        found[n] = np.datetime64(moment.replace(tzinfo=None), "us")
        text = text and isinstance(value, str | int)
        if offset is not None:
            offsets[n] = offset // timedelta(microseconds=1)
            found[n] -= np.timedelta64(offsets[n], "us")
            zone = zone or getattr(moment.tzinfo, "key", "") or getattr(moment.tzinfo, "zone", "")
    bad = sorted({*bad, *np.flatnonzero((found < EDGES[0]) | (found > EDGES[1])).tolist()})
    found[bad] = EDGES[0]
    aware = offsets != NAIVE
    if aware.any():  # moments without an offset are bad
        bad = sorted({*bad, *np.flatnonzero(~aware).tolist()})
        return Parsed(found, offsets, zone or "", bad, text)
    return Parsed(found, None, "", bad, text)


def parse_seconds(values: Sequence[object], form: str | None = None) -> Parsed:
    """Parse stamps, or numbers of any kind and hours:minutes(:seconds), which are seconds.

    Example:
        >>> from elman.read.stamps import parse_seconds
        >>> [parse_seconds(written).values.tolist() for written in (["0.02", "1e1"], ["25:30"])]
        [[0.02, 10.0], [91800]]
        >>> parse_seconds(["2024-03-01 05:00:00.5"]).values.tolist()[0].microsecond
        500000
    """
    values = [None if isinstance(v, str) and len(v) > LONGEST else v for v in values]
    first = next((value for value in values if value is not None), None)
    numeric = form is None or form in UNITS or form == STEP
    if numeric and len(values) and not isinstance(first, np.datetime64 | date):
        quick = _parse_all(values) if isinstance(first, int) else None
        if quick is not None:
            return quick
        try:
            numbers = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.array([_seconds(value) for value in values])
        good = np.isfinite(numbers)
        if 2 * good.sum() >= len(numbers):
            whole = (np.abs(numbers[good]) < 1 << 53).all()
            if whole and (numbers[good] == numbers[good].round()).all():
                numbers = np.where(good, numbers, 0).astype(np.int64)
            return Parsed(numbers, None, "", np.flatnonzero(~good).tolist(), True)
    parsed = parse(values, form)
    if parsed.values.dtype.kind == "M":
        return parsed
    return replace(parsed, bad=list(range(len(values))))


def _seconds(value: object) -> float:
    """Return the seconds of a value; NaN if it has none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))
    if found := CLOCK.fullmatch(str(value).strip()):
        hours, minutes, seconds = found.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds or 0)
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _parse_all(values: Sequence[object]) -> Parsed | None:
    """Parse all values at once, if they are of one simple kind."""
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        return None
    text = array.dtype.kind == "U"
    try:
        if text:
            written: list[str] = array.tolist()
            digits = sum(one.lstrip("-").isdigit() for one in written)
            if digits not in (0, len(written)):
                return None  # numpy would read a number among dates as a year
            if not digits and STRANGE.search("\n".join(written)):
                return None
            array = array.astype(np.int64 if digits else "datetime64[us]")
        if array.dtype.kind in "iu":
            if array.dtype.kind == "u" and (array > np.iinfo(np.int64).max).any():
                return None
            whole = array.astype(np.int64)
            return None if (np.abs(whole) >= 1 << 62).any() else Parsed(whole, None, "", [], True)
        if array.dtype.kind == "M" and not np.isnat(array).any():
            found = array.astype("datetime64[us]")
            if (found >= EDGES[0]).all() and (found <= EDGES[1]).all():
                return Parsed(found, None, "", [], text)
    except (ValueError, OverflowError):
        pass
    return None


def _step(value: object) -> int | None:
    whole = isinstance(value, float) and value.is_integer()  # as in a frame with missing values
    try:
        step = int(value) if whole or isinstance(value, str | int) else None  # type: ignore[call-overload]
    except ValueError:
        return None
    return step if step is not None and abs(step) < 1 << 62 else None


def _moment(value: object, form: str | None) -> datetime:
    if value != value:  # NaN or NaT
        raise ValueError
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if hasattr(value, "to_timestamp"):  # a period of pandas
        value = value.to_timestamp()
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if form is not None and isinstance(value, str | int):
        text = str(value).strip()
        parts = FIXED.fullmatch(form) and [DIGITS.get(part, 2) for part in form[1::2]]
        return _by_form(text.zfill(sum(parts)) if parts else text, form)
    if not isinstance(value, str):
        raise ValueError
    text = value.strip()
    if found := PERIOD.fullmatch(text):
        year, number = int(found[1]), int(found[3])
        if found[2] == "W":
            return datetime.fromisocalendar(year, number, 1)
        return datetime(year, 3 * number - 2, 1)
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


def likely_forms(values: Sequence[object]) -> list[str]:
    """Return the common forms, other than ISO 8601, that read all values that are text.

    Example:
        >>> from elman.read.stamps import likely_forms
        >>> likely_forms(["31.1.2024 5:00", "1.2.2024 5:00"]), likely_forms(["1/2/2024"])
        (['%d.%m.%Y %H:%M'], ['%d/%m/%Y', '%m/%d/%Y'])
    """
    texts = [value for value in dict.fromkeys(values) if isinstance(value, str) and value.strip()]
    found = [day + clock for day in DAY_FORMS for clock in CLOCK_FORMS]
    for text in texts[:: -(-len(texts) // LONGEST) or 1]:
        found = [form for form in found if _reads(text, form)]
    return found if texts else []


def _reads(text: str, form: str) -> bool:
    try:
        _moment(text, form)
    except (ValueError, OverflowError):
        return False
    return True


def _by_form(text: str, form: str) -> datetime:
    weeks = next((part for part in FIRST if part in form), None)
    if weeks and not re.search("%[uaAwdjxc]", form):  # without a day, take the first of the week
        text, form = text + FIRST[weeks], form + " %w"
    return datetime.strptime(text, form)
