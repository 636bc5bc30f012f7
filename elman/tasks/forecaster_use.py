"""What a trained forecaster says of a table: forecasts, scores of what came, and a backtest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.encode.index import column_of
from elman.encode.neighbours import find_neighbours
from elman.encode.windows import Layout, Windows
from elman.errors import ArgumentError, DataError
from elman.read.series import Series, SeriesSource, SeriesTable
from elman.report.forecasts import Scored
from elman.tasks.forecaster_baselines import missing_baselines
from elman.tasks.forecaster_scores import (
    Numbers,
    Whole,
    check_futures,
    choose,
    roll,
    score,
    scored_futures,
    scored_windows,
)
from elman.tasks.forecasts import Backtest, Forecasts
from elman.tasks.history import joined, observed, seasonal_errors, steps_between
from elman.tasks.settings import dialect_of

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster


def look(
    model: Forecaster, given: tuple[Any, Any], *, lenient: bool = False, ahead: bool = False
) -> SeriesSource:
    """Series in the form that the settings describe; `ahead` if rows may have no targets."""
    named = (*model.past, *model.future, *model.static, model.group)
    return SeriesSource(
        given[0], model.targets,
        tuple(dict.fromkeys(name for name in named if name is not None)),
        unique_id=model.unique_id, ds=model.ds, wide=model.wide, freq=model.freq,
        ds_format=model.ds_format, zone=model.zone, closed=model.closed == "found", ahead=ahead,
        encoding=model.encoding, lenient=lenient, dialect=dialect_of(model),
    )  # fmt: skip


def forecast(model: Forecaster, table: SeriesTable, futures: int) -> Forecasts:
    """What comes after series, see `Forecaster.predict`."""
    check_futures(model, futures)
    table = _with_past(model, table)
    layout, index = model.layout, model.index
    windows = windows_of(model, table)
    for one, begin, length in zip(table.series, windows.begins, windows.lengths, strict=True):
        seen = windows.y[max(begin, begin + length - layout.context) : begin + length]
        for target, none in zip(index.targets, np.isnan(seen).all(0), strict=True):
            if none:
                raise DataError(
                    f"{one.who} has no number in column {target!r} in its last {layout.context} "
                    "steps, from which a forecast is made; drop it, or train with a larger context"
                )
        for name in index.future:
            ahead = one.values[length : length + layout.horizon, table.columns.index(name)]
            missing = 0 if name in index.words else int(np.isnan(ahead).sum())
            if len(ahead) - missing < layout.horizon:
                raise DataError(
                    f"{one.who} must have {name!r} in the {layout.horizon} steps after its last "
                    f"number, got {len(ahead) - missing}; add rows without a target"
                )
    rolled = roll(model, windows, np.arange(len(table.series)), windows.lengths, futures=futures)
    stamps = _stamps(table, rolled.which, rolled.origins, layout.horizon)
    return Forecasts(
        [table.given_id(one) for one in table.series], stamps, index.targets, rolled.mean,
        rolled.quantiles, model.levels, names=(model.unique_id, model.ds), notes=tuple(table.notes),
        futures=rolled.futures if futures else None, clock=table.clock,
        counts=model.kind_of_output == "negative_binomial",
    )  # fmt: skip


def _with_past(model: Forecaster, table: SeriesTable) -> SeriesTable:
    """Series, and before those that are only of the time to come what training has seen of them."""
    targets = model.layout.targets
    empty = [one for one in table.series if not observed(one, targets)]
    if not empty:
        return table
    past = joined(model.history.table, replace(table, series=empty), targets)[0].series
    whole = {one.unique_id: one for one in past}
    return replace(table, series=[whole.get(one.unique_id, one) for one in table.series])


def windows_of(model: Forecaster, table: SeriesTable) -> Windows:
    """All windows of a table."""
    layout = model.layout
    records = [model.index.encode(table, one, more=layout.behind) for one in table.series]
    if not layout.neighbours:
        return Windows(records, layout)
    return Windows(records, layout, _others(model, table, [len(one.y) for one in records]))


def _others(model: Forecaster, table: SeriesTable, lengths: list[int]) -> Whole:
    """Of each row the rows of its neighbours."""
    groups, starts = _scenes(model, table)
    places = [one.values[:n, :2] for one, n in zip(table.series, lengths, strict=True)]
    begins = np.append(0, np.cumsum(lengths)[:-1]).astype(np.int64)
    return find_neighbours(np.concatenate(places), begins, starts, groups, model.neighbours)


def begin_scene(
    model: Forecaster, table: SeriesTable, number: int
) -> tuple[str, Numbers, dict[str, Numbers]] | None:
    """What a live session of a series knows of others; None if the model sees no neighbours."""
    context = model.layout.context
    if not model.neighbours:
        return None
    windows = windows_of(model, table)
    last = windows.lengths[number] - 1
    time, begin = last - np.arange(context)[::-1], windows.begins[number]
    rows = begin + time.clip(0)
    own = np.where(time[:, None] > 0, windows.y[rows] - windows.y[(rows - 1).clip(0)], np.nan)
    around = windows.around(np.array([number]), time[None], own[None])[0]
    groups, starts = _scenes(model, table)
    others = {}
    for n, one in enumerate(table.series):
        at = starts[number] + last - starts[n]
        if n != number and groups[n] == groups[number] and 0 <= at < windows.lengths[n]:
            place = windows.y[windows.begins[n] + at]
            if not np.isnan(place).any():
                others[one.unique_id] = place
    return table.series[number].unique_id, around, others


def _scenes(model: Forecaster, table: SeriesTable) -> tuple[list[float], list[int]]:
    """Of each series its scene, and when it begins, in steps.

    Raises:
        ArgumentError: there are no stamps.
        DataError: a series has no scene or several, or its stamps lie between those of others.
    """
    if table.counted:
        raise ArgumentError(
            "neighbours are there at the same time, which takes stamps: no column is named "
            f"{model.ds!r}; set ds"
        )
    begin = min(one.start for one in table.series)
    starts = []
    for one in table.series:
        start = steps_between(table.frequency, begin, one.start)
        if start is None:
            raise DataError(
                f"{one.who} begins at {table.shown(one.start)}, no whole number of "
                f"{table.frequency.name} after {table.shown(begin)}, so it is never at the time of "
                "others; shift its stamps"
            )
        starts.append(start)
    return [_group_of(table, one, model.group) for one in table.series], starts


def _group_of(table: SeriesTable, one: Series, group: str | None) -> float:
    """The number of its scene."""
    if group is None:
        return 0.0
    values = column_of(table, one, group)
    found = np.unique(values[~np.isnan(values)])
    if len(found) != 1:
        raise DataError(
            f"{one.who} must be of one {group!r}, got {len(found)}; name each part of it apart "
            "(unique_id)"
        )
    return float(found[0])


def first_origins(lengths: Whole, layout: Layout) -> Whole:
    """Of series the first origins with a whole context before it and a horizon behind, if any."""
    return np.asarray(np.minimum(layout.context, (lengths - layout.horizon).clip(min=1)))


def _stamps(table: SeriesTable, which: Whole, first: Whole, steps: int) -> Any:
    """Stamps (B, steps) of series by number, from a step of each on."""
    return np.stack([
        table.stamps(table.series[n], steps, at)
        for n, at in zip(which.tolist(), first.tolist(), strict=True)
    ])  # fmt: skip


@dataclass(frozen=True)
class Behind:
    """What came behind the training data, with them before it.

    Attributes:
        windows: of the series.
        which, origins: of the forecasts that are scored.
        errors: (N, K) of the series, see `seasonal_error`.
        fresh: whether training has seen none of them.
    """

    windows: Windows
    which: Whole
    origins: Whole
    errors: Any
    fresh: bool


def behind_training(
    model: Forecaster, table: SeriesTable, before: SeriesTable, errors: Any
) -> Behind:
    """What can be scored of a table.

    Raises:
        DataError: nothing can.
    """
    layout, known_names = model.layout, {one.unique_id for one in before.series}
    fresh = not any(one.unique_id in known_names for one in table.series)
    if not fresh:
        both, known, series = joined(before, table, layout.targets)
        errors = errors[series]
        if layout.neighbours:  # the others are there, though nothing of them is scored
            scored = {one.unique_id for one in both.series}
            rest = [one for one in before.series if one.unique_id not in scored]
            both = replace(both, series=[*both.series, *rest])
            known = np.append(known, [len(one.values) for one in rest]).astype(np.int64)
            errors = np.concatenate([errors, np.full((len(rest), layout.targets), np.nan)])
        windows = windows_of(model, both)
    else:  # each is forecast from its own beginning
        windows = windows_of(model, table)
        known = first_origins(windows.lengths, layout)
        errors = seasonal_errors(table, layout.targets, model.seasonal, known.tolist())
    spans = np.stack([known, windows.lengths - 1], 1)
    names = [one.unique_id for one in (table if fresh else both).series]
    which, origins = choose(windows, spans, layout.horizon, scored_windows(model), names)
    return Behind(windows, which, origins, errors, fresh)


def score_behind(model: Forecaster, behind: Behind) -> Scored:
    """Scores of what came behind the training data, see `Forecaster.evaluate`."""
    rolled = roll(
        model, behind.windows, behind.which, behind.origins, futures=scored_futures(model)
    )
    return score(model, behind.windows, rolled, behind.errors)


def roll_back(
    model: Forecaster, table: SeriesTable, cuts: int, stride: int | None, futures: int
) -> Backtest:
    """Forecasts from several origins, see `Forecaster.backtest`."""
    check_futures(model, futures)
    layout = model.layout
    step = stride or layout.horizon
    windows = windows_of(model, table)
    last = windows.lengths - layout.horizon
    many = np.minimum(cuts, (last - 1) // step + 1).clip(min=0)
    if not many.any():
        raise DataError(
            f"the longest series has {windows.lengths.max()} numbers, too few for a forecast of "
            f"{layout.horizon} steps and something before it"
        )
    spans = np.stack([last - (many - 1) * step, np.where(many > 0, last, -1)], 1)
    names = [one.unique_id for one in table.series]
    which, origins = choose(windows, spans, step, cuts * len(table.series), names)
    drawn = max(futures, scored_futures(model))
    rolled = roll(model, windows, which, origins, futures=drawn)
    before = spans[:, 0].clip(min=0).tolist()  # MASE by what the first of them sees
    errors = seasonal_errors(table, layout.targets, model.seasonal, before)
    scored = score(model, windows, rolled, errors)
    found = Forecasts(
        [table.given_id(table.series[n]) for n in which.tolist()],
        _stamps(table, which, origins, layout.horizon), model.index.targets, rolled.mean,
        rolled.quantiles, model.levels, y=rolled.y, cutoff=_stamps(table, which, origins - 1, 1),
        names=(model.unique_id, model.ds),
        notes=(*table.notes, *scored.notes, *missing_baselines(model)),
        futures=rolled.futures[:, :futures] if futures else None, clock=table.clock,
        counts=model.kind_of_output == "negative_binomial",
    )  # fmt: skip
    return Backtest(found, origins, scored.scores)
