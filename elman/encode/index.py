"""Encode series as arrays, with statistics of the training data.

    numbers      (x - mean) / deviation of the training data, 0 if constant there, and a mask
    words        a covariate that changes: one-hot columns, all 0 where it is missing or new;
                 a covariate that does not change: the number of its word, for an embedding
    calendar     the cycles that the training data contain at least twice

Missing numbers are 0, and a mask tells the network that they are missing; in past covariates they
are NaN here, and windows add the mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.encode.layout import Record
from elman.encode.scale import NEVER, ROUNDING, Scaling, find_scales, find_steps, find_unit
from elman.encode.series import calendar
from elman.errors import ArgumentError, DataError
from elman.read.clock import Clock
from elman.read.dialect import is_same, number_or_nan
from elman.read.frequency import DAY, Frequency
from elman.read.series import Series, SeriesTable

MANY = 100  # maximum number of words of a covariate that changes
CYCLES = {"hour": DAY // 24, "day": DAY, "week": 7 * DAY, "month": 31 * DAY, "year": 366 * DAY}

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SeriesIndex:
    """Statistics of the series in the training data.

    Attributes:
        targets, past, future, static: names of columns.
        names: names of the series, if each has an embedding.
        words: words of the covariates that are words.
        units: mean and deviation of the covariates that are numbers.
        cycles: cycles of the calendar.
        frequency: name of the frequency.
        usual: mean absolute difference between successive numbers of each target.
        scales: usual scale of the windows of each target, by the name of the series; 0 if the
            series is constant.
        unit: median of the scales over all series; empty in models of version 0.1.0.
        spread: deviation of the logarithm of all scales around `unit`.
        zone: time zone of the calendar, if stamps are in UTC; "" to use stamps unchanged.
        context: steps of the context of a window; 0 in models of version 0.1.0.
        items: names of the columns of texts and images.

    Example:
        >>> from elman.encode.index import SeriesIndex
        >>> from elman.read.rows import Rejects
        >>> from elman.read.series import SeriesSource
        >>> data = {"y": [1, 2], "heat": [10, 30], "sky": ["blue", "grey"]}
        >>> table = SeriesSource(data, covariates=["heat", "sky"]).read(Rejects(None))
        >>> index = SeriesIndex.build(table, ["y"], past=["heat"], future=["sky"])
        >>> record = index.encode(table, table.series[0])
        >>> record.past[:, 0].tolist(), record.known.tolist()
        ([-1.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])
    """

    targets: list[str]
    past: list[str]
    future: list[str]
    static: list[str]
    names: list[str]
    words: dict[str, list[str]]
    units: dict[str, list[float]]
    cycles: list[str]
    frequency: str
    usual: list[float] = field(default_factory=list)
    scales: dict[str, list[float]] = field(default_factory=dict)
    unit: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    zone: str = ""
    context: int = 0
    items: list[str] = field(default_factory=list)

    @classmethod
    def build(
        cls,
        table: SeriesTable,
        targets: Sequence[str],
        *,
        past: Sequence[str] = (),
        future: Sequence[str] = (),
        static: Sequence[str] = (),
        items: Sequence[str] = (),
        per_series: bool = False,
        with_calendar: bool = False,
        scaling: Scaling | None = "last",
        context: int = 1,
        plane: bool = False,
    ) -> SeriesIndex:
        """Compute the statistics of the training data.

        Args:
            table: the series.
            targets, past, future, static, items: names of columns.
            per_series: whether each series has an embedding.
            with_calendar: whether to add the calendar.
            scaling: scaling of the targets.
            context: steps of a window.
            plane: whether the targets are a position in the plane.

        Raises:
            DataError: a covariate has too many words.
        """
        units, words = {}, {}
        for name in (*past, *future, *static):
            values = np.concatenate([column_of(table, one, name) for one in table.series])
            there = values[~np.isnan(values)]
            if name in table.categories:
                known = np.unique(there).astype(np.int64).tolist()
                words[name] = [table.categories[name][code] for code in known]
                if name not in static and len(known) > MANY:
                    raise DataError(
                        f"column {name!r}: {len(known)} different words, at most {MANY} can be "
                        "read; omit it, or convert it to numbers"
                    )
            else:
                units[name] = find_unit(there)
        cycles = []
        if with_calendar and table.frequency.unit != "step":
            longest = max(len(one.values) for one in table.series) * table.frequency.mean
            shown = calendar(np.array(["2024-01-01"], dtype="datetime64[us]"), table.frequency)[1]
            cycles = [cycle for cycle in shown if 2 * CYCLES[cycle] <= longest]
        names = [one.unique_id for one in table.series] if per_series else []
        return cls(
            list(targets),
            list(past),
            list(future),
            list(static),
            names,
            words,
            units,
            cycles,
            str(table.frequency),
            _usual_steps(table, len(targets)),
            *_usual_scales(table, len(targets), scaling, context, plane=plane),
            "" if table.clock.local else table.clock.zone,
            context,
            list(items),
        )

    def check(self) -> None:
        """Raise a ValueError, with the name of the field, for a value that is not possible."""
        columns = (*self.past, *self.future, *self.static)
        check_units(self.units, [name for name in columns if name not in self.words])
        if bool(self.unit) != bool(self.spread):
            raise ValueError("unit and spread must be given together")
        of_targets = {"usual": self.usual, "unit": self.unit, "spread": self.spread}
        given = {name: numbers for name, numbers in of_targets.items() if numbers}
        given |= {f"scales of {name!r}": scales for name, scales in self.scales.items()}
        for name, numbers in given.items():
            if len(numbers) != len(self.targets):
                raise ValueError(f"{name} must have a number for each target, got {numbers}")
            positive = name in ("usual", "unit")
            if any(one < 0 or (positive and one == 0) for one in numbers):
                least = "above 0" if positive else "0 or more"
                raise ValueError(f"{name} must be {least}, got {numbers}")
        if self.context < 0:
            raise ValueError(f"context must be 0 or more, got {self.context}")
        frequency, day = Frequency.named(self.frequency), np.array(["2024-01-01"], "datetime64[us]")
        known = [] if frequency.unit == "step" else calendar(day, frequency)[1]
        if not set(self.cycles) <= set(known):
            raise ValueError(f"cycles must be among {known}, got {self.cycles}")
        check_zone(self.zone)

    @property
    def sizes(self) -> dict[str, int]:
        """The number of columns of each kind in a record."""
        return {
            "targets": len(self.targets),
            "past": sum(len(self.words.get(name, "1")) for name in self.past),
            "known": sum(len(self.words.get(name, "12")) for name in self.future)
            + 2 * len(self.cycles),
            "static": 2 * sum(name not in self.words for name in self.static),
            "items": len(self.items),
        }

    @property
    def categories(self) -> list[int]:
        """The number of words of each static covariate, and of series if they have embeddings."""
        static = [len(self.words[name]) for name in self.static if name in self.words]
        return static + ([len(self.names)] if self.names else [])

    def encode(self, table: SeriesTable, series: Series, *, more: int = 0) -> Record:
        """Encode a series; known covariates are continued for `more` steps.

        Raises:
            DataError: the series has no embedding, or a static covariate changes.
        """
        y = series.values[:, : len(self.targets)]
        seen = np.flatnonzero(~np.isnan(y).all(1))
        steps = int(seen[-1]) + 1 if len(seen) else 0
        known = []
        for name in self.future:
            part = self._columns(table, series, name)
            known.append(part if name in self.words else np.hstack([part, ~np.isnan(part)]))
        length = max(steps + more, len(y))
        if self.cycles:
            known.append(self.waves(series.start, length))
        whole = np.zeros((length, self.sizes["known"]), dtype=np.float32)
        at = 0
        for part in known:
            whole[: len(part), at : at + part.shape[1]] = np.nan_to_num(part)
            at += part.shape[1]
        past = [self._columns(table, series, name)[:steps] for name in self.past]
        numbers, codes = [], []
        for name in self.static:
            value = _constant(table, series, name)
            if name in self.words:
                codes.append(-1 if np.isnan(value) else self._codes(table, name)[int(value)])
            else:
                mean, deviation = self.units[name]
                none = bool(np.isnan(value))
                numbers += [0.0 if none else (value - mean) / deviation, 1.0 - none]
        if self.names:
            if series.unique_id not in self._numbers:
                raise DataError(
                    f"series {series.unique_id!r}: is not in the training data, but "
                    "per_series=True learns a vector for each series; train with per_series=False"
                )
            codes.append(self._numbers[series.unique_id])
        return Record(
            y[:steps],
            np.concatenate(past, 1) if past else np.zeros((steps, 0), dtype=np.float32),
            whole,
            np.array(numbers, dtype=np.float32),
            np.array(codes, dtype=np.int64),
            self._usual_scale(series.unique_id),
            series.values[:steps, [table.columns.index(name) for name in self.items]],
        )

    def _usual_scale(self, name: str) -> NDArray[np.float64] | None:
        """Return the usual scale (K,) of a series, or of all series if it is new or constant."""
        if not self.unit:
            return None
        own = np.array(self.scales.get(name, [0.0] * len(self.unit)))
        return np.where(own > 0, own, self.unit)

    def waves(self, start: Any, steps: int, first: int = 0) -> Floats:
        """Return the calendar (steps, 2 C) of C cycles, starting `first` steps after a stamp."""
        frequency = Frequency.named(self.frequency)
        stamps = Clock(zone=self.zone).wall(frequency.after(np.array([start]), steps, first))
        waves, shown = calendar(stamps, frequency)
        return waves[:, [2 * shown.index(c) + side for c in self.cycles for side in (0, 1)]]

    def encode_value(self, name: str, value: Any) -> Floats:
        """Encode a covariate at one step, with its mask if it is a known covariate.

        Raises:
            ArgumentError: the value is a word instead of a number, or not finite.
        """
        if name in self.words:
            found = np.zeros(len(self.words[name]), dtype=np.float32)
            found[[is_same(value, word) for word in self.words[name]]] = 1
            return found
        none = value is None or value == "" or value != value
        number = number_or_nan(value)
        if not (none or np.isfinite(number)):
            raise ArgumentError(f"{name} must be a finite number or NaN, got {value!r}")
        mean, deviation = self.units[name]
        scaled = (number - mean) / deviation
        if name in self.past:
            return np.array([scaled], dtype=np.float32)
        return np.array([np.nan_to_num(scaled), not np.isnan(number)], dtype=np.float32)

    def _columns(self, table: SeriesTable, series: Series, name: str) -> Floats:
        """Return a covariate that changes as (T, 1) in its units, or as one-hot columns."""
        values = column_of(table, series, name)
        if name not in self.words:
            mean, deviation = self.units[name]
            return ((values - mean) / deviation).astype(np.float32)[:, None]
        found = np.zeros((len(values), len(self.words[name])), dtype=np.float32)
        there = np.flatnonzero(~np.isnan(values))
        codes = np.array(self._codes(table, name), dtype=np.int64)[values[there].astype(np.int64)]
        found[there[codes >= 0], codes[codes >= 0]] = 1
        return found

    def unseen_words(self, table: SeriesTable) -> list[str]:
        """Return a note for each covariate with words that are not in the training data."""
        notes = []
        for name in self.words:
            words, codes = table.categories.get(name, []), self._codes(table, name)
            values = np.concatenate([column_of(table, one, name) for one in table.series])
            there = np.unique(values[~np.isnan(values)]).astype(np.int64).tolist()
            new = [repr(words[number]) for number in there if codes[number] < 0]
            more = f" and {len(new) - 3:,} more" if len(new) > 3 else ""
            if new:
                notes.append(
                    f"{name}: words that are not in the training data are read as missing: "
                    f"{', '.join(new[:3])}{more}"
                )
        return notes

    def _codes(self, table: SeriesTable, name: str) -> list[int]:
        """Return the number of each word of a table, -1 for words not in the training data."""
        numbers = {word: number for number, word in enumerate(self.words[name])}
        return [numbers.get(word, -1) for word in table.categories.get(name, ())]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The number of each series, by name."""
        return {name: number for number, name in enumerate(self.names)}


def check_units(units: Mapping[str, Sequence[float]], names: Iterable[str]) -> None:
    """Raise a ValueError unless each name has a unit and each deviation is above 0."""
    for name in names:
        if name not in units:
            raise ValueError(f"units has no {name!r}")
    for name, unit in units.items():
        if len(unit) != 2 or not unit[1] > 0:
            raise ValueError(
                f"units of {name!r} must be a mean and a deviation above 0, got {unit}"
            )


def check_zone(name: str) -> None:
    """Raise a ValueError unless the time zone exists; "" means no zone."""
    try:
        Clock(zone=name).wall(np.array(["2024-01-01"], "datetime64[us]"))
    except (KeyError, OSError, ValueError):
        raise ValueError(f"zone must be a time zone, got {name[:40]!r}") from None


def column_of(table: SeriesTable, series: Series, name: str) -> NDArray[np.float64]:
    """Return a column (T,) of a series."""
    return np.asarray(series.values[:, table.columns.index(name)])


def _usual_steps(table: SeriesTable, targets: int) -> list[float]:
    steps = np.concatenate([find_steps(one.values[None, :, :targets])[0] for one in table.series])
    there = ~np.isnan(steps)
    mean = np.abs(np.where(there, steps, 0)).sum(0) / np.maximum(there.sum(0), 1)
    return [float(step) or 1.0 for step in mean]


def _usual_scales(
    table: SeriesTable, targets: int, scaling: Scaling | None, context: int, *, plane: bool
) -> tuple[dict[str, list[float]], list[float], list[float]]:
    """Return scales of windows by series, their median, and the deviation of their logarithm."""
    found, by_name = [], {}
    values = [one.values[:, :targets] for one in table.series]
    for one, y in zip(table.series, values, strict=True):
        found.append(find_scales(y, scaling, min(context, max(1, len(y))), plane=plane))
        count = (found[-1] > 0).sum(0)
        by_name[one.unique_id] = (found[-1].sum(0) / np.maximum(count, 1)).tolist()
    unit, spread = [], []
    for k, scales in enumerate(np.concatenate(found).T):
        moving = scales[scales > 0]
        size = max(float(np.nan_to_num(np.abs(y[:, k])).max(initial=0)) for y in values)
        unit.append(float(np.median(moving)) if len(moving) else ROUNDING * size or 1 / NEVER)
        spread.append(float(np.log(moving / unit[-1]).std()) if len(moving) else 0.0)
    return by_name, unit, spread


def _constant(table: SeriesTable, series: Series, name: str) -> float:
    values = column_of(table, series, name)
    values = values[~np.isnan(values)]
    if len(values) and (values != values[0]).any():
        raise DataError(
            f"{series.who}: column {name!r} changes, but is static; name it in past or future"
        )
    return float(values[0]) if len(values) else np.nan
