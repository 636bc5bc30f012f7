"""What a trained forecaster says of a table: forecasts, scores of what came, and a backtest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.encode.windows import Windows
from elman.errors import DataError
from elman.read.series import SeriesSource, SeriesTable
from elman.report.forecasts import Scored, check_scorer
from elman.tasks.forecaster_scores import Whole, choose, roll, score, scored_windows
from elman.tasks.forecasts import Backtest, Forecasts
from elman.tasks.history import joined, seasonal_errors

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster


def look(model: Forecaster, given: tuple[Any, Any], *, lenient: bool = False) -> SeriesSource:
    """At series in the form that the settings say."""
    return SeriesSource(
        given[0], model.targets, (*model.past, *model.future, *model.static),
        unique_id=model.unique_id, ds=model.ds, wide=model.wide, freq=model.freq,
        ds_format=model.ds_format, encoding=model.encoding, lenient=lenient,
    )  # fmt: skip


def forecast(model: Forecaster, table: SeriesTable) -> Forecasts:
    """What comes behind series, see `Forecaster.predict`."""
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
                    f"{one.who} must say {name!r} of the {layout.horizon} steps behind its last "
                    f"number, got {len(ahead) - missing}; add rows without a target"
                )
    rolled = roll(model, windows, np.arange(len(table.series)), windows.lengths)
    stamps = _stamps(table, rolled.which, rolled.origins, layout.horizon)
    return Forecasts(
        [one.unique_id for one in table.series], stamps, index.targets, rolled.mean,
        rolled.quantiles, model.levels, names=(model.unique_id, model.ds), notes=tuple(table.notes),
    )  # fmt: skip


def windows_of(model: Forecaster, table: SeriesTable) -> Windows:
    """All windows of a table."""
    layout = model.layout
    records = [model.index.encode(table, one, more=layout.behind) for one in table.series]
    return Windows(records, layout)


def _stamps(table: SeriesTable, which: Whole, first: Whole, steps: int) -> Any:
    """Stamps (B, steps) of series by number, from a step of each on."""
    return np.stack([
        table.frequency.after(np.array([table.series[n].start]), steps, at)
        for n, at in zip(which.tolist(), first.tolist(), strict=True)
    ])  # fmt: skip


@dataclass(frozen=True)
class Behind:
    """What came behind the training data, with them before it.

    Attributes:
        windows: of the series.
        which, origins: of the forecasts that are scored.
        errors: (N, K) of the series, see `seasonal_error`.
    """

    windows: Windows
    which: Whole
    origins: Whole
    errors: Any


def behind_training(
    model: Forecaster, table: SeriesTable, before: SeriesTable, errors: Any
) -> Behind:
    """What can be scored of a table.

    Raises:
        DataError: nothing can.
    """
    check_scorer(statistics=model.statistics)
    layout = model.layout
    both, known, series = joined(before, table, layout.targets)
    windows = windows_of(model, both)
    spans = np.stack([known, windows.lengths - 1], 1)
    which, origins = choose(windows, spans, layout.horizon, scored_windows(model))
    return Behind(windows, which, origins, errors[series])


def score_behind(model: Forecaster, behind: Behind) -> Scored:
    """Scores of what came behind the training data, see `Forecaster.evaluate`."""
    rolled = roll(model, behind.windows, behind.which, behind.origins)
    return score(model, behind.windows, rolled, behind.errors)


def roll_back(model: Forecaster, table: SeriesTable, cuts: int, stride: int | None) -> Backtest:
    """Forecasts from several origins, see `Forecaster.backtest`."""
    check_scorer(statistics=model.statistics)
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
    which, origins = choose(windows, spans, step, cuts * len(table.series))
    rolled = roll(model, windows, which, origins)
    before = spans[:, 0].clip(min=0).tolist()  # MASE by what the first of them sees
    errors = seasonal_errors(table, layout.targets, model.seasonal, before)
    scored = score(model, windows, rolled, errors)
    found = Forecasts(
        [table.series[n].unique_id for n in which.tolist()],
        _stamps(table, which, origins, layout.horizon), model.index.targets, rolled.mean,
        rolled.quantiles, model.levels, y=rolled.y, cutoff=_stamps(table, which, origins - 1, 1),
        names=(model.unique_id, model.ds), notes=tuple(table.notes),
    )  # fmt: skip
    return Backtest(found, origins, scored.scores)
