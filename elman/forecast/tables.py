"""Forecasts, evaluations and backtests of the series of a table.

Shape legend: B windows, H steps ahead, K targets, N series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from elman.decode.copula import MOST
from elman.encode.layout import Layout
from elman.encode.windows import Windows
from elman.errors import ArgumentError, DataError
from elman.forecast.forecasts import Backtest, Forecasts
from elman.forecast.history import join_series, observed_steps, seasonal_errors, steps_between
from elman.forecast.predictor import Numbers, Predictor, Rolled, Whole, roll
from elman.forecast.scene import windows_of
from elman.forecast.score import BEST, choose, choose_scored, missing_baselines, score
from elman.read.dialect import equal_names, name_of
from elman.read.series import SeriesTable
from elman.report.forecasts import Scored


def predict(predictor: Predictor, table: SeriesTable, futures: int) -> Forecasts:
    """Forecast the steps after the end of each series, see `Forecaster.predict`."""
    check_futures(predictor, futures)
    table.notes.extend(_notes_of_short(predictor, table))
    table = _prepend_history(predictor, table)
    windows = windows_of(predictor, table)
    _check_inputs(predictor, table, windows)
    which = np.arange(len(table.series))
    rolled = roll(predictor, windows, which, windows.lengths, futures=futures)
    return _forecasts(predictor, table, rolled, futures)


def _forecasts(
    predictor: Predictor, table: SeriesTable, rolled: Rolled, futures: int, **more: Any
) -> Forecasts:
    """Return forecasts with the names and stamps of their series."""
    settings, which, steps = predictor.settings, rolled.which, predictor.layout.horizon
    given: dict[str, Any] = {"notes": tuple(table.notes)} | more
    return Forecasts(
        [table.given_id(table.series[n]) for n in which.tolist()],
        _stamps(table, which, rolled.origins, steps),
        predictor.index.targets,
        rolled.mean,
        rolled.quantiles,
        settings.levels,
        names=(settings.unique_id, settings.ds),
        futures=rolled.futures[:, :futures] if futures else None,
        clock=table.clock,
        counts=settings.kind_of_output == "negative_binomial",
        **given,
    )


def _stamps(table: SeriesTable, which: Whole, first: Whole, steps: int) -> Any:
    """Return timestamps (B, steps) of series, given their indices and first steps."""
    pairs = zip(which.tolist(), first.tolist(), strict=True)
    return np.stack([table.stamps(table.series[n], steps, at) for n, at in pairs])


def _check_inputs(predictor: Predictor, table: SeriesTable, windows: Windows) -> None:
    """Raise a DataError for a series that lacks numbers or covariates that its forecast reads."""
    layout, index = predictor.layout, predictor.index
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


def check_futures(predictor: Predictor, count: int) -> None:
    """Raise an ArgumentError for a number of futures that cannot be sampled."""
    most, settings, layout = predictor.most_futures, predictor.settings, predictor.layout
    if not isinstance(count, Integral) or isinstance(count, bool) or count < 0:
        raise ArgumentError(f"futures must be a whole number, 0 or more, got {count!r}")
    if count and layout.feedback and settings.conformal:
        raise ArgumentError(
            "futures of an autoregressive model are samples, which conformal does not correct; "
            "train without conformal or with decoder=direct"
        )
    if count and not most:
        numbers = layout.horizon * layout.targets
        raise ArgumentError(
            "futures need the dependence between the numbers of a forecast, which is estimated on "
            "the validation data: train with "
            + (
                "validation_fraction above 0"
                if settings.validation_fraction == 0
                else f"at most {MOST:,} numbers in a forecast, got {numbers:,}"
                if numbers > MOST
                else "an output that has quantiles"
            )
        )
    if count > most:
        raise ArgumentError(
            f"futures must be at most {most:,}, got {count:,}"
            + (f"; set samples={count} before the training" if layout.feedback else "")
        )


def _prepend_history(predictor: Predictor, table: SeriesTable) -> SeriesTable:
    """Prepend the training data to each series of a table that has no targets."""
    targets = predictor.layout.targets
    empty = [one for one in table.series if not observed_steps(one, targets)]
    if not empty:
        return table
    past = join_series(predictor.history.table, replace(table, series=empty), targets)[0].series
    joined = {one.unique_id: one for one in past}
    return replace(table, series=[joined.get(one.unique_id, one) for one in table.series])


def number_of(table: SeriesTable, unique_id: object) -> int:
    """Return the place of a series in a table; None is the name of a single series."""
    known = [one.unique_id for one in table.series]
    names = known if unique_id is None else equal_names([name_of(unique_id)], known)
    found = [n for n, one in enumerate(known) if one in names]
    if len(found) != 1:
        some = ", ".join(map(repr, known[:5]))
        raise ArgumentError(f"unique_id must be one of {some}, got {unique_id!r}")
    return found[0]


def _notes_of_short(predictor: Predictor, table: SeriesTable) -> list[str]:
    """Return a note if a series continues the training data, which its forecast does not read."""
    layout, short = predictor.layout, []
    before = {one.unique_id: one.start for one in predictor.history.table.series}
    for one in () if table.counted else table.series:
        steps = observed_steps(one, layout.targets)
        if 0 < steps < layout.context and one.unique_id in before:
            place = steps_between(table.frequency, before[one.unique_id], one.start)
            short += [(one, steps)] if place is not None and place > 0 else []
    if not short:
        return []
    (one, steps), more = short[0], f" and {len(short) - 1:,} more" if len(short) > 1 else ""
    return [
        f"{one.who}{more}: a forecast reads {layout.context} steps, got {steps:,} after those of "
        "the training data, which are not read here; give the earlier steps, too"
    ]


def first_origins(lengths: Whole, layout: Layout) -> Whole:
    """Return the first origin of each series: after a context, or earlier in a short series."""
    return np.asarray(np.minimum(layout.context, (lengths - layout.horizon).clip(min=1)))


@dataclass(frozen=True)
class Evaluation:
    """Windows whose forecasts are scored."""

    windows: Windows  # all windows of the series
    which: Whole  # (B,) series of the forecasts
    origins: Whole  # (B,) numbers of steps before the forecasts
    errors: Numbers  # (N, K) seasonal errors of the series, see `seasonal_error`
    unseen: bool = False  # whether the training data have none of the series

    @classmethod
    def find(
        cls, predictor: Predictor, table: SeriesTable, before: SeriesTable | None = None
    ) -> Evaluation:
        """Find the windows of a table that can be scored.

        Args:
            predictor: the result of the training.
            table: the series to score.
            before: the training data; None for those that the predictor stores.

        Raises:
            DataError: no window can be scored.
        """
        history, layout = predictor.history, predictor.layout
        before = before or history.table
        known_names = {one.unique_id for one in before.series}
        unseen = not any(one.unique_id in known_names for one in table.series)
        if unseen:  # each is scored after its own first steps
            windows = windows_of(predictor, table)
            known = first_origins(windows.lengths, layout)
            errors = seasonal_errors(table, layout.targets, predictor.season, known.tolist())
        else:
            table, known, series = join_series(before, table, layout.targets)
            errors = history.errors[series]
            if layout.neighbours:  # the other series can be neighbours, but are not scored
                scored = {one.unique_id for one in table.series}
                rest = [one for one in before.series if one.unique_id not in scored]
                table = replace(table, series=[*table.series, *rest])
                known = np.append(known, [len(one.values) for one in rest]).astype(np.int64)
                errors = np.concatenate([errors, np.full((len(rest), layout.targets), np.nan)])
            windows = windows_of(predictor, table)
        spans = np.stack([known, windows.lengths - 1], 1)
        return cls(windows, *choose_scored(predictor, windows, table, spans), errors, unseen)

    def forecast(self, predictor: Predictor, futures: int = 0) -> tuple[Rolled, Scored]:
        """Forecast the windows, and score the forecasts; for places, score 20 futures."""
        if predictor.layout.plane:
            futures = max(futures, min(BEST, predictor.most_futures))
        rolled = roll(predictor, self.windows, self.which, self.origins, futures=futures)
        return rolled, score(predictor, self.windows, rolled, self.errors)


def backtest(
    predictor: Predictor, table: SeriesTable, cuts: int, *, stride: int | None, futures: int
) -> Backtest:
    """Forecast and score from several origins, see `Forecaster.backtest`."""
    check_futures(predictor, futures)
    layout, windows = predictor.layout, windows_of(predictor, table)
    step, last = stride or layout.horizon, windows.lengths - layout.horizon
    many = np.minimum(cuts, (last - 1) // step + 1).clip(min=0)
    if not many.any():
        raise DataError(
            f"the longest series has {windows.lengths.max()} numbers, too few for a forecast of "
            f"{layout.horizon} steps; at least {layout.horizon + 1} are needed"
        )
    spans = np.stack([last - (many - 1) * step, np.where(many > 0, last, -1)], 1)
    before = spans[:, 0].clip(min=0).tolist()  # MASE uses the numbers before the first origin
    errors = seasonal_errors(table, layout.targets, predictor.season, before)
    names = [one.unique_id for one in table.series]
    chosen = choose(windows, spans, step, cuts * len(names), names)
    rolled, scored = Evaluation(windows, *chosen, errors).forecast(predictor, futures)
    notes = (*table.notes, *scored.notes, *missing_baselines(predictor.settings))
    cutoff = _stamps(table, rolled.which, rolled.origins - 1, 1)
    found = _forecasts(predictor, table, rolled, futures, y=rolled.y, cutoff=cutoff, notes=notes)
    return Backtest(found, rolled.origins, scored.scores)
