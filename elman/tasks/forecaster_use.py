"""Functions of a trained forecaster for a table: forecasts, scores and a backtest.

Shape legend: B windows, H steps ahead, K targets, N series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.decode.copula import MOST
from elman.encode.index import column_of
from elman.encode.layout import Layout
from elman.encode.neighbours import find_neighbours
from elman.encode.windows import Windows
from elman.errors import ArgumentError, DataError
from elman.read.series import Series, SeriesSource, SeriesTable
from elman.report.forecasts import Scored
from elman.settings import dialect_of
from elman.tasks.forecaster_baselines import missing_baselines
from elman.tasks.forecaster_scores import (
    Numbers,
    Whole,
    choose,
    most_futures,
    roll,
    score,
    scored_futures,
    scored_windows,
)
from elman.tasks.forecasts import Backtest, Forecasts
from elman.tasks.history import join_series, observed_steps, seasonal_errors, steps_between

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster


def source_of(
    model: Forecaster, given: tuple[Any, Any], *, lenient: bool = False, ahead: bool = False
) -> SeriesSource:
    """Return the source of series by the settings; with `ahead`, rows can omit the targets."""
    named = (*model.past, *model.future, *model.static, model.group)
    return SeriesSource(
        given[0], model.targets,
        tuple(dict.fromkeys(name for name in named if name is not None)),
        unique_id=model.unique_id, ds=model.ds, wide=model.wide, freq=model.freq,
        ds_format=model.ds_format, zone=model.zone, closed=model.closed == "found", ahead=ahead,
        encoding=model.encoding, lenient=lenient, dialect=dialect_of(model),
    )  # fmt: skip


def forecast(model: Forecaster, table: SeriesTable, futures: int) -> Forecasts:
    """Forecast the steps after the end of each series, see `Forecaster.predict`."""
    check_futures(model, futures)
    table.notes.extend(_notes_of_short(model, table))
    table = _prepend_history(model, table)
    layout, index = model.layout, model.index
    windows = windows_of(model, table)
    for one, begin, length in zip(table.series, windows.begins, windows.lengths, strict=True):
        seen = windows.y[max(begin, begin + length - layout.context) : begin + length]
        for target, none in zip(index.targets, np.isnan(seen).all(0), strict=True):
            if none:
                raise DataError(
                    f"{one.who} has no number in column {target!r} in its last {layout.context} "
                    "steps, which a forecast reads; drop the series, or train with a larger context"
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


def check_futures(model: Forecaster, count: int) -> None:
    """Raise an ArgumentError for a number of futures that the model cannot sample."""
    most = most_futures(model)
    if not hasattr(count, "__index__") or isinstance(count, bool) or count < 0:
        raise ArgumentError(f"futures must be a whole number, 0 or more, got {count!r}")
    sampled = model.decoder == "autoregressive"
    if count and sampled and model.conformal:
        raise ArgumentError(
            "futures of an autoregressive model are samples, which conformal does not correct; "
            "train without conformal or with decoder=direct"
        )
    if count and not most:
        numbers = model.ahead * len(model.index.targets)
        raise ArgumentError(
            "futures need the dependence between the numbers of a forecast, which is estimated on "
            "the validation data: train with "
            + (
                "validation_fraction above 0"
                if model.validation_fraction == 0
                else f"at most {MOST:,} numbers in a forecast, got {numbers:,}"
                if numbers > MOST
                else "an output that has quantiles"
            )
        )
    if count > most:
        raise ArgumentError(
            f"futures must be at most {most:,}, got {count:,}"
            + (f"; set samples={count} before the training" if sampled else "")
        )


def _prepend_history(model: Forecaster, table: SeriesTable) -> SeriesTable:
    """Prepend the training data to each series of a table that has no targets."""
    targets = model.layout.targets
    empty = [one for one in table.series if not observed_steps(one, targets)]
    if not empty:
        return table
    past = join_series(model.history.table, replace(table, series=empty), targets)[0].series
    joined = {one.unique_id: one for one in past}
    return replace(table, series=[joined.get(one.unique_id, one) for one in table.series])


def _notes_of_short(model: Forecaster, table: SeriesTable) -> list[str]:
    """Return a note if a series continues the training data, which its forecast does not read."""
    layout, before = model.layout, {one.unique_id: one for one in model.history.table.series}
    short = []
    for one in () if table.counted else table.series:
        steps, old = observed_steps(one, layout.targets), before.get(one.unique_id)
        if old is not None and 0 < steps < layout.context:
            place = steps_between(table.frequency, old.start, one.start)
            if place is not None and place > 0:
                short.append((one, steps))
    if not short:
        return []
    (one, steps), more = short[0], f" and {len(short) - 1:,} more" if len(short) > 1 else ""
    return [
        f"{one.who}{more}: a forecast reads {layout.context} steps, got {steps:,} after those of "
        "the training data, which are not read here; give the earlier steps, too"
    ]


def windows_of(model: Forecaster, table: SeriesTable) -> Windows:
    """Return all windows of a table."""
    layout = model.layout
    records = [model.index.encode(table, one, more=layout.behind) for one in table.series]
    if not layout.neighbours:
        return Windows(records, layout)
    return Windows(records, layout, _neighbour_rows(model, table, [len(one.y) for one in records]))


def _neighbour_rows(model: Forecaster, table: SeriesTable, lengths: list[int]) -> Whole:
    """Return the rows of the neighbours of each row, see `find_neighbours`."""
    groups, starts = _groups_and_starts(model, table)
    places = [one.values[:n, :2] for one, n in zip(table.series, lengths, strict=True)]
    begins = np.append(0, np.cumsum(lengths)[:-1]).astype(np.int64)
    return find_neighbours(np.concatenate(places), begins, starts, groups, model.neighbours)


def scene_of(
    model: Forecaster, table: SeriesTable, number: int
) -> tuple[str, Numbers, dict[str, Numbers]] | None:
    """Return the scene of a series for `LiveForecaster`; None if the model has no neighbours."""
    context = model.layout.context
    if not model.neighbours:
        return None
    windows = windows_of(model, table)
    last = windows.lengths[number] - 1
    time, begin = last - np.arange(context)[::-1], windows.begins[number]
    rows = begin + time.clip(0)
    own = np.where(time[:, None] > 0, windows.y[rows] - windows.y[(rows - 1).clip(0)], np.nan)
    around = windows.around(np.array([number]), time[None], own[None])[0]
    groups, starts = _groups_and_starts(model, table)
    others = {}
    for n, one in enumerate(table.series):
        at = starts[number] + last - starts[n]
        if n != number and groups[n] == groups[number] and 0 <= at < windows.lengths[n]:
            place = windows.y[windows.begins[n] + at]
            if not np.isnan(place).any():
                others[one.unique_id] = place
    return table.series[number].unique_id, around, others


def _groups_and_starts(model: Forecaster, table: SeriesTable) -> tuple[list[float], list[int]]:
    """Return the code of each series' scene, and its first step counted from the earliest series.

    Raises:
        ArgumentError: the table has no timestamps.
        DataError: a series has no scene or several, or its timestamps are between those of others.
    """
    if table.counted:
        raise ArgumentError(
            "neighbours are series at the same time, so the table needs timestamps, but has no "
            f"column {model.ds!r}; set ds"
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
    return [_group_of(table, one, model.group) for one in table.series], starts


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


def first_origins(lengths: Whole, layout: Layout) -> Whole:
    """Return the first origin of each series: after a context, or earlier in a short series."""
    return np.asarray(np.minimum(layout.context, (lengths - layout.horizon).clip(min=1)))


def _stamps(table: SeriesTable, which: Whole, first: Whole, steps: int) -> Any:
    """Return timestamps (B, steps) of series, given their indices and first steps."""
    return np.stack([
        table.stamps(table.series[n], steps, at)
        for n, at in zip(which.tolist(), first.tolist(), strict=True)
    ])  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """Windows after the training data whose forecasts are scored.

    Attributes:
        windows: all windows of the series, which include the training data.
        which, origins: series and origins (B,) of the forecasts to score.
        errors: seasonal errors (N, K) of the series, see `seasonal_error`.
        unseen: whether the training data have none of the series.
    """

    windows: Windows
    which: Whole
    origins: Whole
    errors: Any
    unseen: bool


def find_evaluation(
    model: Forecaster, table: SeriesTable, before: SeriesTable, errors: Any
) -> Evaluation:
    """Find the windows of a table that can be scored.

    Args:
        model: the model.
        table: the series to score.
        before: the training data.
        errors: seasonal errors (N, K) of the training data.

    Raises:
        DataError: there are none.
    """
    layout, known_names = model.layout, {one.unique_id for one in before.series}
    unseen = not any(one.unique_id in known_names for one in table.series)
    if not unseen:
        both, known, series = join_series(before, table, layout.targets)
        errors = errors[series]
        if layout.neighbours:  # the other series can be neighbours, but are not scored
            scored = {one.unique_id for one in both.series}
            rest = [one for one in before.series if one.unique_id not in scored]
            both = replace(both, series=[*both.series, *rest])
            known = np.append(known, [len(one.values) for one in rest]).astype(np.int64)
            errors = np.concatenate([errors, np.full((len(rest), layout.targets), np.nan)])
        windows = windows_of(model, both)
    else:  # each is scored after its own first steps
        windows = windows_of(model, table)
        known = first_origins(windows.lengths, layout)
        errors = seasonal_errors(table, layout.targets, model.seasonal, known.tolist())
    spans = np.stack([known, windows.lengths - 1], 1)
    names = [one.unique_id for one in (table if unseen else both).series]
    which, origins = choose(windows, spans, layout.horizon, scored_windows(model), names)
    return Evaluation(windows, which, origins, errors, unseen)


def score_evaluation(model: Forecaster, evaluation: Evaluation) -> Scored:
    """Score forecasts after the training data, see `Forecaster.evaluate`."""
    windows, which, origins = evaluation.windows, evaluation.which, evaluation.origins
    rolled = roll(model, windows, which, origins, futures=scored_futures(model))
    return score(model, windows, rolled, evaluation.errors)


def backtest(
    model: Forecaster, table: SeriesTable, cuts: int, stride: int | None, futures: int
) -> Backtest:
    """Forecast and score from several origins, see `Forecaster.backtest`."""
    check_futures(model, futures)
    layout = model.layout
    step = stride or layout.horizon
    windows = windows_of(model, table)
    last = windows.lengths - layout.horizon
    many = np.minimum(cuts, (last - 1) // step + 1).clip(min=0)
    if not many.any():
        raise DataError(
            f"the longest series has {windows.lengths.max()} numbers, too few for a forecast of "
            f"{layout.horizon} steps; at least {layout.horizon + 1} are needed"
        )
    spans = np.stack([last - (many - 1) * step, np.where(many > 0, last, -1)], 1)
    names = [one.unique_id for one in table.series]
    which, origins = choose(windows, spans, step, cuts * len(table.series), names)
    drawn = max(futures, scored_futures(model))
    rolled = roll(model, windows, which, origins, futures=drawn)
    before = spans[:, 0].clip(min=0).tolist()  # MASE uses the numbers before the first origin
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
