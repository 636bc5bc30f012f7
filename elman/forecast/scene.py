"""The series around a series: who its neighbours are, and where they are now.

Shape legend: K targets, M neighbours, T steps of a series.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elman.encode.index import column_of
from elman.encode.neighbours import find_neighbours
from elman.encode.windows import Windows
from elman.errors import ArgumentError, DataError
from elman.forecast.history import steps_between
from elman.forecast.predictor import Numbers, Predictor
from elman.forecast.settings import ForecasterSettings
from elman.read.series import Series, SeriesTable


class Scene(NamedTuple):
    """What a live session of one series knows of the others.

    Attributes:
        around: features of the neighbours in the steps of the context.
        others: places (K,) of all other series at the last step, by name.
    """

    around: Numbers
    others: dict[str, Numbers]


def windows_of(predictor: Predictor, table: SeriesTable) -> Windows:
    """Return all windows of a table, with neighbours if the model reads them."""
    layout, settings, others = predictor.layout, predictor.settings, None
    records = [predictor.index.encode(table, one, more=layout.behind) for one in table.series]
    if layout.neighbours:
        groups, starts = _groups_and_starts(settings, table)
        lengths = [len(one.y) for one in records]
        pairs = zip(table.series, lengths, strict=True)
        places = np.concatenate([one.values[:n, :2] for one, n in pairs])
        begins = np.append(0, np.cumsum(lengths)[:-1]).astype(np.int64)
        others = find_neighbours(places, begins, starts, groups, layout.neighbours)
    return Windows(records, layout, others)


def scene_of(predictor: Predictor, table: SeriesTable, number: int) -> Scene:
    """Return the scene of a series after its last step; it is empty without neighbours."""
    context = predictor.layout.context
    if not predictor.layout.neighbours:
        return Scene(np.zeros((context, 0)), {})
    windows = windows_of(predictor, table)
    last = windows.lengths[number] - 1
    time, begin = last - np.arange(context)[::-1], windows.begins[number]
    rows = begin + time.clip(0)
    own = np.where(time[:, None] > 0, windows.y[rows] - windows.y[(rows - 1).clip(0)], np.nan)
    around = windows.around(np.array([number]), time[None], own[None])[0]
    groups, starts = _groups_and_starts(predictor.settings, table)
    others = {}
    for n, one in enumerate(table.series):
        at = starts[number] + last - starts[n]
        if n != number and groups[n] == groups[number] and 0 <= at < windows.lengths[n]:
            place = windows.y[windows.begins[n] + at]
            if not np.isnan(place).any():
                others[one.unique_id] = place
    return Scene(around, others)


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
