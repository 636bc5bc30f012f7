"""The scene of a series: its neighbours and their current places.

Shape legend: K targets, M neighbours, T steps of a series.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.encode.index import column_of
from elman.encode.layout import Layout
from elman.encode.neighbours import find_neighbours, look_around
from elman.encode.windows import Windows
from elman.errors import ArgumentError, DataError
from elman.forecast.history import steps_between
from elman.forecast.predictor import Numbers, Predictor
from elman.forecast.settings import ForecasterSettings
from elman.read.series import Series, SeriesTable


def windows_of(predictor: Predictor, table: SeriesTable) -> Windows:
    """Return all windows of an encoded table, with neighbours if the model reads them."""
    layout, settings, others = predictor.layout, predictor.settings, None
    records = [predictor.index.encode(table, one, more=layout.steps_ahead) for one in table.series]
    if layout.neighbours:
        groups, starts = _groups_and_starts(settings, table)
        lengths = [len(one.y) for one in records]
        pairs = zip(table.series, lengths, strict=True)
        places = np.concatenate([one.values[:n, :2] for one, n in pairs])
        begins = np.append(0, np.cumsum(lengths)[:-1]).astype(np.int64)
        others = find_neighbours(places, begins, starts, groups, layout.neighbours)
    items = [(table.items[name], learned.change()) for name, learned in predictor.inputs.items()]
    return Windows(records, layout, others, items)


@dataclass
class Scene:
    """The other series in a live session of one series."""

    name: str  # of the series
    layout: Layout
    around: Numbers  # features of neighbours in the steps of the context, if the model reads them
    others: dict[str, Numbers]  # places (K,) of all other series at the last step

    @classmethod
    def of(cls, predictor: Predictor, table: SeriesTable, number: int) -> Scene:
        """Return the scene of a series of a table after its last step."""
        layout, me, others = predictor.layout, table.series[number], {}
        if not layout.neighbours:
            return cls(me.unique_id, layout, np.zeros((layout.context, 0)), {})
        windows = windows_of(predictor, table)
        last = windows.lengths[number] - 1
        time, begin = last - np.arange(layout.context)[::-1], windows.begins[number]
        rows = begin + time.clip(0)
        own = np.where(time[:, None] > 0, windows.y[rows] - windows.y[(rows - 1).clip(0)], np.nan)
        around = windows.around(np.array([number]), time[None], own[None])[0]
        groups, starts = _groups_and_starts(predictor.settings, table)
        for n, one in enumerate(table.series):
            at = starts[number] + last - starts[n]
            if n != number and groups[n] == groups[number] and 0 <= at < windows.lengths[n]:
                place = windows.y[windows.begins[n] + at]
                if not np.isnan(place).any():
                    others[one.unique_id] = place
        return cls(me.unique_id, layout, around, others)

    def places_of(self, others: Mapping[str, Any]) -> dict[str, Numbers]:
        """Check the places of others and return them as arrays, by name."""
        if others and not self.layout.neighbours:
            raise ArgumentError("others must not be given: this model has no neighbours")
        if not isinstance(others, Mapping) or self.name in others:
            raise ArgumentError(f"others must be a dict of places by name, got {others!r}")
        places = {}
        for name, place in others.items():
            try:
                places[name] = np.array(place, dtype=np.float64).reshape(-1)
            except (OverflowError, TypeError, ValueError):
                places[name] = np.zeros(0)
            if places[name].size != self.layout.targets or not np.isfinite(places[name]).all():
                raise ArgumentError(
                    f"others[{name!r}] must be a place of two numbers, got {place!r}"
                )
        return places

    def take(self, own: Numbers, places: dict[str, Numbers]) -> None:
        """Advance by one step, given the last two own places (2, K) and those of others."""
        both = [(self.others[name], here) for name, here in places.items() if name in self.others]
        y = np.array([own, *both])
        apart = np.linalg.norm(y[1:, 1] - y[0, 1], axis=1)
        nearest = apart.argsort(kind="stable")[: self.layout.neighbours]
        others = np.full((2 * len(y), self.layout.neighbours), -1, dtype=np.int64)
        others[1, : len(nearest)] = 2 * nearest + 3
        here = np.array([[not np.isnan(y[0]).any()]])
        moved = (y[0, 1] - y[0, 0])[None, None]
        found = look_around(y.reshape(-1, 2), others, np.array([[1]]), here, moved, None)
        append(self.around, found[0, 0])
        self.others = places


def append(rows: NDArray[Any], row: NDArray[Any]) -> None:
    """Shift rows by one, and store a row in the last place."""
    rows[:-1] = rows[1:]
    rows[-1] = row


def _groups_and_starts(
    settings: ForecasterSettings, table: SeriesTable
) -> tuple[list[float], list[int]]:
    """Return the code of each series' scene, and its first step counted from the earliest series.

    Raises:
        ArgumentError: the table has no timestamps.
        DataError: a series has no scene or several, or its timestamps are between those of others.
    """
    if table.counted:
        raise ArgumentError(
            "neighbours are series at the same time, so the table needs timestamps, but has no "
            f"column {settings.ds!r}; set ds"
        )
    begin = min(one.start for one in table.series)
    starts = []
    for one in table.series:
        start = steps_between(table.frequency, begin, one.start)
        if start is None:
            raise DataError(
                f"{one.who} begins at {table.shown(one.start)}, not a whole number of "
                f"{table.frequency.name} after {table.shown(begin)}, so no other series has the "
                "same timestamps; shift its timestamps"
            )
        starts.append(start)
    return [_group_of(table, one, settings.group) for one in table.series], starts


def _group_of(table: SeriesTable, one: Series, group: str | None) -> float:
    """Return the code of a series' scene; 0 if there is only one scene."""
    if group is None:
        return 0.0
    values = column_of(table, one, group)
    found = np.unique(values[~np.isnan(values)])
    if len(found) != 1:
        raise DataError(
            f"{one.who} must have a single {group!r}, got {len(found)}; give each of its parts its "
            "own name (unique_id)"
        )
    return float(found[0])
