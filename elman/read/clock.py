"""Read and write the stamps of a column: numbers that are dates, time units, and time zones.

    0, 1, 2 ..                 steps
    20240301, 2024030105 ..    YYYYMMDD, YYYYMMDDHH and similar, see `elman.read.codes`
    1709251200 ..              seconds, ms, us or ns since 1970, which can have a fraction
    2024-03-01T05:00+02:00     moments: stored in UTC, and written in their zone

A clock is detected in the training data and used for all data that are read later.  If a step is a
day or more, or if opening hours follow the local clock, the wall clock is stored instead of UTC, so
that a skipped or repeated hour does not move a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from elman.errors import ArgumentError, DataError
from elman.read.codes import READERS, find_code, find_form, other_periods
from elman.read.frequency import DAY, WEEK, Stamps, Whole
from elman.read.stamps import EDGES, NAIVE, STEP, UNITS, Parsed, likely_forms, parse

Resolution = Literal["D", "s", "ms", "us"]
RESOLUTIONS: dict[Resolution, int] = {"D": DAY, "s": 1_000_000, "ms": 1000, "us": 1}
SECOND = 1_000_000  # microseconds


@dataclass(frozen=True)
class Clock:
    """The rules by which stamps are read and written.

    Attributes:
        code: form of whole numbers, such as YYYYMM or ms; "" for plain numbers.
        zone: time zone, such as Europe/Berlin or +02:00; "" for stamps without one.
        local: whether stamps of a zone are stored as wall-clock time instead of UTC.
        naive: how stamps without an offset are read if the column has a zone; "" for an error.
        moving: whether stamps have several offsets and `zone` is the last of them.
        resolution: resolution of written text.
        text: whether stamps were read as text and are written as text.
        days: whether stamps were given as dates, objects without a clock.

    Example:
        >>> from elman.read.clock import Clock
        >>> from elman.read.stamps import parse
        >>> parsed = parse(["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00"])
        >>> clock = Clock.find(parsed, zone="Europe/Berlin")
        >>> stamps, offsets, bad = clock.read(parsed)
        >>> stamps.astype("datetime64[h]").astype(str).tolist(), clock.write(stamps)
        (['2024-03-31T00', '2024-03-31T01'], \
['2024-03-31 01:00:00+01:00', '2024-03-31 03:00:00+02:00'])
        >>> Clock.find(parse([202401, 202402, 202352])).code
        'YYYYWW'
    """

    code: str = ""
    zone: str = ""
    local: bool = False
    naive: Literal["", "wall", "utc"] = ""
    moving: bool = False
    resolution: Resolution = "D"
    text: bool = True
    days: bool = False

    @classmethod
    def find(
        cls,
        parsed: Parsed,
        form: str | None = None,
        zone: str | None = None,
        *,
        seconds: bool = False,
    ) -> Clock:
        """Detect the clock of a column.

        Args:
            parsed: the stamps of the column.
            form: form of the stamps; for numbers, their unit or "step"; None to detect it.
            zone: zone of the stamps; None to detect it.
            seconds: whether numbers of a unit stay numbers instead of becoming dates.

        Raises:
            ArgumentError: the zone is unknown, steps have a zone, or whole numbers look like dates.
        """
        values, offsets = parsed.values, parsed.offsets
        if zone is not None:
            _check_zone(zone)
        if values.dtype.kind != "M":
            code = find_code(values) if form is None else form.removesuffix(STEP)
            code = "" if seconds and code in UNITS else code
            if form is None and not (code or seconds) and (dates := find_form(values)):
                raise ArgumentError(
                    f"whole numbers such as {values[0]} look like dates; set ds_format={dates} to "
                    "read them as dates, or ds_format=step for plain steps"
                )
            if form is None and not seconds and (periods := other_periods(values, code)):
                other = "ds_format=%Y%m for months" if code else "ds_format=step for plain steps"
                raise ArgumentError(
                    f"whole numbers such as {values[0]} look like {periods}; write them as dates "
                    f"such as 2024-01-01, or set {other}"
                )
            found = cls(code, text=parsed.text)
            values = READERS[code](values)[0] if code else values
        elif offsets is None:
            found = cls(text=parsed.text)
        else:
            aware = np.flatnonzero(offsets != NAIVE)
            last = aware[values[aware].argmax()]
            moving = not (parsed.zone or zone) and len(np.unique(offsets[aware])) > 1
            name = parsed.zone or _offset_name(int(offsets[last]))
            found = cls(zone=name, moving=moving, text=parsed.text)
        if zone is None:
            return found
        if values.dtype.kind != "M":
            raise ArgumentError(
                f"zone={zone}: the stamps are plain steps, which have no zone; drop it, or set "
                "ds_format if they are dates"
            )
        # Midnights of the zone can be given in UTC without an offset.
        wall = values + _offsets_of_days(values, zone).astype("timedelta64[us]")
        midnights = _are_days(wall) and not _are_days(values)
        in_utc = found.code in UNITS or (offsets is None and midnights)
        return replace(found, zone=zone, naive="utc" if in_utc else "wall")

    def read(
        self, parsed: Parsed, *, whole: bool = False
    ) -> tuple[Stamps, Whole | None, list[int]]:
        """Return stamps (T,), in UTC if they have a zone, their offsets, and the bad indices.

        With `whole`, numbers that are not units since 1970 must be whole.
        """
        values, offsets, bad = parsed.values, parsed.offsets, set(parsed.bad)
        if values.dtype.kind != "M":
            if values.dtype.kind == "f" and self.code not in UNITS and (whole or self.code):
                return values, None, list(range(len(values)))
            if not self.code:
                return values, None, sorted(bad)
            values, good = READERS[self.code](values)
            bad.update(np.flatnonzero(~good).tolist())
        if not self.zone:
            if offsets is not None:  # the training data had none
                bad.update(range(len(values)))
            return values, None, sorted(bad)
        if offsets is not None:  # a stamp without an offset is ambiguous
            bad.update(np.flatnonzero(offsets == NAIVE).tolist())
            offsets = np.where(offsets == NAIVE, 0, offsets)
        elif not self.naive:
            bad.update(range(len(values)))
        elif self.naive == "wall":
            wall, values = values, to_utc(values, self.zone)
            skipped = to_wall(values, self.zone) != wall
            if skipped.any():  # a skipped midnight is the beginning of its day
                bad.update(np.flatnonzero(skipped & np.isin(values, values[~skipped])).tolist())
            return values, (wall - values).astype(np.int64), sorted(bad)
        if offsets is None or not self.moving:
            offsets = _offsets_of_days(values, self.zone)
        return values, offsets, sorted(bad)

    def why(self, parsed: Parsed, number: int) -> str:
        """Explain why a stamp that can be parsed is bad."""
        stamp = shown(parsed.values[number])
        if parsed.values.dtype.kind != "M":
            wanted = f"a date of the form {self.code}" if self.code else "a whole number"
            return f"is {stamp}, expected {wanted} as in other rows"
        if parsed.offsets is None and self.naive == "wall":
            return f"is {stamp}, which clocks of {self.zone} skip; drop the row, or set its zone"
        if parsed.offsets is None or parsed.offsets[number] == NAIVE:
            return f"is {stamp}, expected an offset from UTC as other rows have, such as +02:00"
        return f"has an offset from UTC, at {stamp}, but others have none; drop it, or set zone"

    def settled(self, stamps: Stamps, *, local: bool = False) -> Clock:
        """Return the clock with the resolution of these stamps, and with `local` as given."""
        if stamps.dtype.kind != "M":
            return self
        wall = stamps if local or not self.zone else to_wall(stamps, self.zone)
        return replace(self, local=local and bool(self.zone), resolution=resolution_of(wall))

    def again(self, utc: Stamps) -> Stamps:
        """Return the later moment of repeated wall-clock times, and other stamps unchanged."""
        after = _offsets(utc + np.timedelta64(DAY, "us"), self.zone)
        late = utc + (_offsets(utc, self.zone) - after).astype("timedelta64[us]")
        return np.where(to_wall(late, self.zone) == to_wall(utc, self.zone), late, utc)

    def wall(self, stamps: Stamps) -> Stamps:
        """Convert stamps to wall-clock time."""
        return stamps if self.local or not self.zone else to_wall(stamps, self.zone)

    def moments(self, stamps: Stamps) -> list[Any]:
        """Return stamps (T,) as datetimes, with their zone if they have one, or as numbers.

        Raises:
            DataError: a stamp is after the year 9999.
        """
        if stamps.dtype.kind != "M":
            return list(stamps.tolist())
        if (stamps > EDGES[1]).any():
            raise DataError("a stamp lies beyond the year 9999; set a smaller horizon")
        found = stamps.astype("datetime64[us]").tolist()
        if not self.zone:
            return list(found)
        zone = _zone_of(self.zone)
        if self.local:
            return [one.replace(tzinfo=zone) for one in found]
        return [one.replace(tzinfo=timezone.utc).astimezone(zone) for one in found]

    def write(self, stamps: Stamps) -> list[Any]:
        """Return stamps (T,) in the type of the input: text of one form, datetimes, or numbers."""
        moments = self.moments(stamps)
        return write_moments(moments, self.resolution) if self.text else self.as_objects(moments)

    def as_objects(self, moments: list[Any]) -> list[Any]:
        """Return moments as dates if the input had dates and all are midnights; else unchanged."""
        if self.days and all(one.time() == time() for one in moments):
            return [one.date() for one in moments]
        return moments


def read_stamps(
    values: Sequence[object], form: str | None = None, clock: Clock | None = None
) -> tuple[Stamps, list[int]]:
    """Return stamps (T,) and the indices of bad ones, read by a given clock or the detected one.

    Example:
        >>> from elman.read.clock import read_stamps
        >>> read_stamps(["2024-03-01", "2024-03-01 05:00", "yesterday"])[1]
        [2]
        >>> read_stamps(["1", "2"])[0].tolist()
        [1, 2]
    """
    parsed = parse(values, form)
    clock = clock or Clock.find(parsed, form)
    stamps, offsets, bad = clock.read(parsed, whole=True)
    if clock.local and offsets is not None:
        stamps = stamps + offsets.astype("timedelta64[us]")
    return stamps, bad


def resolution_of(stamps: Stamps) -> Resolution:
    """Return the coarsest resolution that represents the stamps exactly."""
    whole = stamps.astype("datetime64[us]").astype(np.int64)
    return next(name for name, size in RESOLUTIONS.items() if not (whole % size).any())


def write_moments(moments: Sequence[Any], least: Resolution = "D") -> list[Any]:
    """Format datetimes as text of one form, as dates if all are midnights; keep other values.

    Args:
        moments: values of a column, or of several columns that belong together.
        least: the coarsest resolution to use.

    Example:
        >>> from datetime import datetime
        >>> from elman.read.clock import write_moments
        >>> write_moments([datetime(2024, 3, 1), datetime(2024, 3, 1, 5)])
        ['2024-03-01 00:00:00', '2024-03-01 05:00:00']
        >>> write_moments([datetime(2024, 3, 1)]), write_moments([7])
        (['2024-03-01'], [7])
    """
    some = [one for one in moments if isinstance(one, datetime)]
    if not some:
        return list(moments)
    wall = np.array([one.replace(tzinfo=None) for one in some], dtype="datetime64[us]")
    names = list(RESOLUTIONS)
    finest = max(least, resolution_of(wall), key=names.index)
    if finest == "D" and some[0].tzinfo is None:
        return [str(one.date()) if isinstance(one, datetime) else one for one in moments]
    spec = {"ms": "milliseconds", "us": "microseconds"}.get(finest, "seconds")
    return [one.isoformat(" ", spec) if isinstance(one, datetime) else one for one in moments]


def wanted_stamp(form: str | None, values: Sequence[object], *, seconds: bool = False) -> str:
    """Describe the stamps that are expected in a column with these values."""
    if form in UNITS:
        return f"a number of {form}"
    if form is not None and form != STEP:
        return f"a date of the form {form}"
    number = "seconds" if seconds else "a whole number"
    if likely := likely_forms(values):
        return f"a date such as 2024-03-01 05:00; set ds_format={' or '.join(likely)}"
    return f"a date such as 2024-03-01 05:00 or {number}; set ds_format for other forms"


def shown(stamp: Any) -> str:
    """Format a stamp for a message.

    >>> from elman.read.clock import shown
    >>> shown(np.datetime64("2024-03-01T05:00:00.000000")), shown(np.int64(3))
    ('2024-03-01 05:00:00', '3')
    """
    return str(stamp).replace("T", " ").removesuffix(".000000").removesuffix(" 00:00:00")


# Zones.


def to_wall(utc: Stamps, zone: str) -> Stamps:
    """Return the wall-clock time of a zone at moments in UTC."""
    return np.asarray(utc + _offsets(utc, zone).astype("timedelta64[us]"))


def to_utc(wall: Stamps, zone: str) -> Stamps:
    """Return the moments in UTC of wall-clock times of a zone; the first of repeated ones."""
    day = np.timedelta64(DAY, "us")
    before, after = (
        wall - _offsets(near, zone).astype("timedelta64[us]") for near in (wall - day, wall + day)
    )
    return np.asarray(np.where(to_wall(before, zone) == wall, before, after))


def _offsets(utc: Stamps, zone: str) -> Whole:
    """Return the microseconds by which a zone is ahead of UTC."""
    fixed = _zone_of(zone)
    if not isinstance(fixed, ZoneInfo) or not len(utc):
        offset = timedelta() if isinstance(fixed, ZoneInfo) else fixed.utcoffset(None)
        return np.full(len(utc), (offset or timedelta()) // timedelta(microseconds=1))
    years = utc.astype("datetime64[Y]").astype(np.int64) + 1970
    changes = [_changes(zone, year) for year in range(int(years.min()), int(years.max()) + 1)]
    begins = np.array([begin for part in changes for begin, _ in part])
    offsets = np.array([offset for part in changes for _, offset in part])
    at = np.searchsorted(begins, utc.astype(np.int64), side="right") - 1
    return np.asarray(offsets[at])


def _offsets_of_days(utc: Stamps, zone: str) -> Whole:
    """Return offsets from UTC; a day begins at 0:00 even if the clock skips from 0:00 to 1:00."""
    now, before = _offsets(utc, zone), _offsets(utc - np.timedelta64(1, "us"), zone)
    skipped = (now > before) & ((utc.astype(np.int64) + before) % DAY == 0)
    return np.where(skipped, before, now)


@lru_cache(maxsize=4096)
def _changes(zone: str, year: int) -> list[tuple[int, int]]:
    """Return the changes of the offset in a year: the moments and new offsets, in microseconds."""
    named = _zone_of(zone)

    def offset(second: int) -> int:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=second)
        try:
            found = moment.astimezone(named).utcoffset()
        except OverflowError:  # at the edges of the calendar
            found = None
        return (found or timedelta()) // timedelta(microseconds=1)

    begin = (datetime(year, 1, 1) - datetime(1970, 1, 1)) // timedelta(seconds=1)
    found = [(begin * SECOND, offset(begin))]
    end = begin + (365 + _is_leap(year)) * 86400 - 1
    for week in range(begin, end, WEEK // SECOND):
        low, high = week, min(week + WEEK // SECOND, end)
        if offset(high) == found[-1][1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == found[-1][1] else (low, middle)
        found.append((high * SECOND, offset(high)))
    return found


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@lru_cache(maxsize=256)
def _zone_of(name: str) -> tzinfo:
    if name in ("UTC", "Z"):
        return timezone.utc
    if name[:1] in "+-":
        sign = -1 if name[0] == "-" else 1
        hours, minutes, *seconds = map(int, name[1:].split(":"))
        return timezone(sign * timedelta(hours=hours, minutes=minutes, seconds=sum(seconds)))
    return ZoneInfo(name)


def _check_zone(name: str) -> None:
    """Raise an ArgumentError for a zone that does not exist."""
    try:
        _zone_of(name)
    except (KeyError, ValueError, OSError):
        raise ArgumentError(
            f"zone={name[:40]!r}: is not a known time zone; expected a name such as "
            "Europe/Berlin, UTC or +02:00"
        ) from None


def _offset_name(offset: int) -> str:
    return str(timezone(timedelta(microseconds=offset))).removeprefix("UTC") or "UTC"


def _are_days(stamps: Stamps) -> bool:
    """Return whether there are several stamps, all at the same time of day."""
    return len(stamps) > 1 and len(np.unique(stamps.astype(np.int64) % DAY)) == 1
