"""Sort the rows of series, and find their places on an even grid of stamps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.read.clock import Clock
from elman.read.columns import Columns
from elman.read.convert import Column
from elman.read.frequency import DAY, ENDS, Frequency, Stamps
from elman.read.rows import Rejects

SPARSE, FEW = 1000, 1 << 16  # a grid has at most SPARSE steps per row, plus FEW
SHIFT = DAY // 8  # maximum microseconds by which clocks are set forward or back
QUARTER = DAY // 96  # offsets from UTC are whole quarters of an hour


class Grid:
    """The rows of all series, sorted by series and stamp.

    Args:
        columns: columns of the rows.
        ids: the column of names; None for one series.
        ds: the column of stamps; None to count the rows of each series from 0.
        rejects: receives rows with repeated stamps.
        frequency: frequency of the stamps; None to detect it.
        closed: whether places of the week that never occur are closed.
        like: whether the frequency comes from the training data and is fixed.

    Attributes:
        names: names of the series, by number.
        code: (N,) the number of the series of each row.
        order: (N,) sorted rows.
        borders: where series begin in `order`, and the end.
        stamps: (N,) stamps of the rows, as the clock stores them.
        clock: clock by which stamps are read and written.
        frequency: frequency of the stamps.
        notes: messages about what was detected and done.

    Raises:
        ArgumentError: the frequency counts steps and the stamps are dates, or the reverse.
        DataError: no frequency fits.
    """

    def __init__(
        self,
        columns: Columns,
        ids: str | None,
        ds: str | None,
        rejects: Rejects,
        *,
        frequency: Frequency | None = None,
        closed: bool = True,
        like: bool = False,
    ) -> None:
        self.columns, self.like, self.notes = columns, like, list[str]()
        self._given = frequency is not None
        rows = len(columns.ordinals)
        only = Column(np.zeros(rows, dtype=np.int64), [""])
        named = columns.columns[ids] if ids else only
        self.names, self.code = named.words or [""], named.values
        self.order = np.argsort(self.code, kind="stable")
        self._find_borders()
        self.clock, self.stamps = Clock(), np.empty(rows, dtype=np.int64)
        if ds is None:  # each series counts from 0
            begins = np.repeat(self.borders[:-1], np.diff(self.borders))
            self.stamps[self.order] = np.arange(rows) - begins
            self.frequency = self._checked(frequency or Frequency("step", 1), "")
            return
        column = columns.columns[ds]
        self.clock, self.stamps = column.clock or Clock(), column.values
        self._sort(rejects)
        if column.offsets is None:
            self.frequency = self._settle(frequency, ds, closed=closed)
        else:
            wall = self.stamps + column.offsets.astype("timedelta64[us]")
            local = self.clock.local if like else self._follows_wall(wall, frequency, closed=closed)
            self.stamps = wall if local else self.stamps
            self.frequency = self._settle(frequency, ds, closed=closed and local)
            if not like:
                self.clock = self.clock.settled(self.stamps, local=local)
        self._unfloored, self.stamps = self.stamps, self.frequency.floor(self.stamps)
        if not like:
            self.clock = self.clock.settled(self.stamps, local=self.clock.local)

    def _find_borders(self) -> None:
        ends = np.flatnonzero(np.diff(self.code[self.order])) + 1
        self.borders = np.array([0, *ends, len(self.order)])

    def place(self, n: int) -> str:
        """Return the place of the n-th sorted row, and its series."""
        return self._places_of([n])[0]

    def _places_of(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Return the places of rows, given their sorted numbers."""
        rows = [int(self.order[n]) for n in numbers]
        names = [self.names[self.code[row]] for row in rows]
        return [
            place + (f": series {name!r}" if name else "")
            for place, name in zip(self.columns.places(rows), names, strict=True)
        ]

    def _shown(self, stamp: object) -> str:
        return str(self.clock.write(np.array([stamp]))[0])

    def _apart(self, stamps: Stamps) -> NDArray[np.int64]:
        """Return the distance of each row from the previous one; 1 at the beginning of a series."""
        within = np.diff(self.code[self.order]) == 0
        return np.where(within, np.diff(stamps[self.order]).astype(np.int64), 1)

    def _sort(self, rejects: Rejects) -> None:
        """Sort rows by series and stamp; a repeated stamp is a bad row."""
        back = self._apart(self.stamps) < 0
        again = self._move_repeated_hours()
        if back.any():
            place = self.place(int(back.argmax()) + 1)
            self.order = np.lexsort((self.stamps, self.code))
            if not again:
                self.notes.append(
                    f"rows out of order: {int(back.sum()):,}, the first at {place}; they are sorted"
                )
        twice = np.flatnonzero(self._apart(self.stamps) == 0) + 1
        for n, place in zip(twice.tolist(), self._places_of(twice), strict=True):
            reason = (
                f"{place}: has {self._shown(self.stamps[self.order[n]])} a second time; drop one "
                "row, or set unique_id to the column that names the series; if a clock was set "
                "back, set zone, or give stamps with their offset from UTC"
            )
            rejects.add(place, DataError(reason))
        self.order = np.delete(self.order, twice)
        self._find_borders()

    def _move_repeated_hours(self) -> bool:
        """Move the second of two equal stamps to the later moment if a clock was set back then."""
        if self.clock.naive != "wall":
            return False
        order = np.lexsort((self.stamps, self.code))
        same = (np.diff(self.code[order]) == 0) & (np.diff(self.stamps[order]).astype(int) == 0)
        rows = order[1:][same]
        later = self.clock.again(self.stamps[rows])
        moved = bool((later != self.stamps[rows]).any())
        if moved:
            self.stamps = self.stamps.copy()
            self.stamps[rows] = later
        return moved

    def _follows_wall(self, wall: Stamps, frequency: Frequency | None, *, closed: bool) -> bool:
        """Return whether stamps follow the wall clock of their zone, as days and open hours do."""
        if frequency is not None and (frequency.unit in ENDS or frequency.size % DAY == 0):
            return True
        if len(self.order) <= len(self.borders) - 1 or (self._apart(wall) <= 0).any():
            return False
        found = Frequency.infer(wall[self.order], self.borders[1:-1], closed=closed)
        if found.unit == "open":
            pairs = pairwise(self.borders.tolist())
            return all((found.places(wall[self.order[a:b]]) >= 0).all() for a, b in pairs)
        return found.unit in ENDS or found.size % DAY == 0

    def _settle(self, given: Frequency | None, ds: str, *, closed: bool) -> Frequency:
        """Return the frequency, and add notes about it."""
        stamps, breaks = self.stamps[self.order], self.borders[1:-1]
        if given is not None:
            found = self._checked(given, ds)
            if self.like:
                self._check_each(found)
                return found
            found = found.opened(stamps, breaks) if closed else found
        else:
            try:
                found = Frequency.infer(stamps, breaks, closed=closed)
            except DataError as error:
                raise DataError(f"{self.columns.rows.name}: {error}") from None
            if len(self.borders) > 2:
                self._check_each(found)
            self.notes.append(f"the frequency of {ds!r} is {found.name}")
        self._check_months(found, given=given is not None)
        if found.closed and found.name != "B":
            self.notes.append(
                f"closed times, which never occur and are skipped: {found.closed}; closed=none "
                "forecasts them, too"
            )
        return found

    def _check_months(self, found: Frequency, *, given: bool) -> None:
        """Raise an error, or add a note, if months that begin in a time zone are given in UTC.

        The stamp 2024-03-31 22:00 can be the first of April, but is counted as March.
        """
        stamps = self.stamps[self.order]
        if found.unit != "whole month" or not _are_midnights(stamps, self.borders[1:-1]):
            return
        n = int((_time(stamps) != 0).argmax())
        reason = (
            f"{self.place(n)}: {self._shown(stamps[n])} is at another time of day than "
            f"{self._shown(stamps[0])}; {self._zone_remedy()}"
        )
        if not given:
            raise DataError(f"{reason}, else set freq={found.name} to ignore the days")
        self.notes.append(reason)

    def _checked(self, given: Frequency, ds: str) -> Frequency:
        kind = "dates" if self.stamps.dtype.kind == "M" else "whole numbers"
        if (given.unit == "step") != (kind == "whole numbers"):
            found = f"are {kind}" if ds else "are missing: rows are steps"
            raise ArgumentError(f"expected a stamp every {given.name}, but the stamps {found}")
        return given

    def _check_each(self, frequency: Frequency) -> None:
        """Raise an error if a series has a lower frequency than the others."""
        stamps = self.stamps[self.order]
        for low, high in pairwise(self.borders.tolist()):
            if high - low > 3:
                own = Frequency.infer(stamps[low:high], closed=False)
                apart = np.diff(frequency.places(stamps[low:high]))
                if own != frequency and bool((apart > 1).all()):
                    most = "the training data" if self.like else "most others"
                    raise DataError(
                        f"{self.place(low)}: has a stamp every {own}, but {most} every "
                        f"{frequency.name}; train them separately, or set freq"
                    )

    def places(self, low: int, high: int) -> NDArray[np.int64]:
        """Return the places of a series on its grid; its sorted rows are low..high.

        Raises:
            DataError: a stamp is between two steps of the grid, or far from all others.
        """
        stamps, frequency = self.stamps[self.order[low:high]], self.frequency
        places = frequency.places(stamps)
        if (places < 0).any():
            n = int((places < 0).argmax())
            raise DataError(
                f"{self.place(low + n)}: {self._shown(stamps[n])} is not a whole number of "
                f"{frequency.name} after {self._shown(stamps[0])}; {self._remedy(stamps, n)}"
            )
        if (np.diff(places) == 0).any():
            n = int((np.diff(places) == 0).argmax()) + 1
            remedy = self._remedy(self._unfloored[self.order[low:high]], n)
            raise DataError(
                f"{self.place(low + n)}: is in the same {frequency.name} as the previous row; "
                f"{remedy}; else drop one row"
            )
        if places[-1] >= SPARSE * len(places) + FEW:
            n = int(np.diff(places).argmax()) + 1
            raise DataError(
                f"{self.place(low + n)}: {self._shown(stamps[n])} is "
                f"{places[n] - places[n - 1]:,} steps of {frequency.name} after "
                f"{self._shown(stamps[n - 1])}; correct it, or set freq"
            )
        return np.asarray(places)

    def _remedy(self, stamps: Stamps, n: int) -> str:
        """Return the remedy for the n-th stamp of a series, which is not on the grid."""
        frequency = self.frequency
        if (frequency.unit in ENDS or frequency.size % DAY == 0) and _are_midnights(stamps):
            return self._zone_remedy()
        if frequency.unit == "open" and Frequency("us", frequency.base).places(stamps)[n] >= 0:
            closed = "" if frequency.base < DAY else f" ({frequency.closed})"
            every = f"freq={Frequency('us', frequency.base).name}"
            instead = f"train with {every} and closed=none" if self.like else f"set {every}"
            return f"it is in closed times{closed}; {instead}, or drop the row"
        return self._other_frequency(stamps)

    def _other_frequency(self, stamps: Stamps) -> str:
        """Return the remedy for a series that has another frequency."""
        frequency, how = self.frequency, "train with" if self.like else "set"
        own = Frequency.infer(stamps, closed=False)
        if own.mean < frequency.mean and (own.places(stamps) >= 0).all():
            return f"{how} freq={own.name}, or resample to {frequency.name}"
        if frequency.unit in ("month", "month end"):
            whole = f"freq={frequency.name[:-1]}"
            return f"{how} {whole}, which takes stamps on any day of their month"
        if self.like:
            return f"resample to {frequency.name}, the frequency of the training data"
        return "resample, or set another freq" if self._given else "set freq, or resample"

    def _zone_remedy(self) -> str:
        how = "train with it" if self.like else "set it"
        return f"if these are midnights of a time zone, {how}, such as zone=Europe/Berlin"

    def note_gaps(self, gaps: Sequence[tuple[int, int]]) -> None:
        """Add a note about the number of missing stamps, if any."""
        if gaps:
            n = gaps[0][1]
            many = f" in {len(gaps):,} series" if len(gaps) > 1 else ""
            self.notes.append(
                f"missing stamps: {sum(count for count, _ in gaps):,}{many}, the first "
                f"after {self.place(n)}, {self._shown(self.stamps[self.order[n]])}; they are masked"
            )


def _time(stamps: Stamps) -> NDArray[np.int64]:
    """Return the signed microseconds from the first stamp's time of day to that of each stamp."""
    since = (stamps - stamps[0]).astype(np.int64)
    return np.asarray((since + DAY // 2) % DAY - DAY // 2)


def _are_midnights(stamps: Stamps, breaks: NDArray[np.int64] | None = None) -> bool:
    """Return whether stamps can be midnights of a time zone that are given in UTC.

    They have two or three times of day, because clocks are set forward and back, and their dates
    have a frequency other than "whole month".  `breaks` is as in `Frequency.infer`.
    """
    if stamps.dtype.kind != "M":
        return False
    time = _time(stamps)
    if len(np.unique(time)) not in (2, 3) or (time % QUARTER).any() or (np.abs(time) > SHIFT).any():
        return False
    days = stamps - time.astype("timedelta64[us]")
    if not np.diff(days).astype(np.int64).all():  # stamps of hours, several on a day
        return False
    found = Frequency.infer(days, breaks, closed=False)
    return found.unit != "whole month"
