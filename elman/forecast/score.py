"""Scores of forecasts compared with baselines, and the windows that are scored.

A baseline reads a series from its beginning.  If the baselines would take longer than the model,
because there are many windows or steps, they read only the last steps; a note reports how many.

Shape legend: B windows, H steps ahead, K targets, N series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from elman.encode.windows import Windows
from elman.errors import DataError
from elman.forecast.predictor import Numbers, Predictor, Rolled, Whole, roll
from elman.forecast.settings import ForecasterSettings
from elman.optional import absent
from elman.read.series import SeriesTable
from elman.report.forecasts import (
    STATISTICS,
    Guess,
    Scored,
    baselines,
    find_distances,
    score_forecasts,
    score_places,
    statistical,
)
from elman.report.verdict import name_of
from elman.train.windows import WindowBatches

SCORED, SLOW = 10_000, 500  # maximum scored windows, without and with statistical models
WITHOUT = "this model without "  # begins the name of the model without an input
MAIN = ("ADE", "FDE", "MASE", "MAE", "ND", "wQL")  # its scores that are shown
BEST = 20  # number of futures of which the best is scored
# Maximum counts of numbers that baselines read, and that statistical models fit, in all windows
# together, but at least 50 seasons of each window.  The time of a fit grows with the square of its
# steps, so a fit never reads more than LONGEST steps.
READ, FITTED, SEASONS, LONGEST = 30_000_000, 1_000_000, 50, 3_000


def choose_scored(
    predictor: Predictor, windows: Windows, table: SeriesTable, spans: Whole
) -> tuple[Whole, Whole]:
    """Choose windows of a table to score, one horizon apart, see `choose`."""
    most = SLOW if predictor.settings.statistics else SCORED
    names = [one.unique_id for one in table.series]
    return choose(windows, spans, windows.layout.horizon, most, names)


def choose(
    windows: Windows, spans: Whole, stride: int, most: int, names: Sequence[str] = ()
) -> tuple[Whole, Whole]:
    """Choose at most `most` windows, evenly spaced: indices of series and origins (B,).

    Origins whose context has no number are skipped.

    Args:
        windows: windows of N series.
        spans: (N, 2) first and last origin of each series.
        stride: steps from one origin to the next.
        most: maximum number of windows.
        names: names of the series, for messages.

    Raises:
        DataError: there are no windows, or no numbers after their origins.
    """
    batches = WindowBatches(windows, spans, 1, seed=None, stride=stride)
    many = min(batches.total, most)
    numbers = np.linspace(0, max(0, batches.total - 1), many).round().astype(np.int64)
    which, origins = batches.find(numbers)
    seen = windows.seen(which, origins)
    if np.isnan(windows.truth(which[seen], origins[seen])).all():
        blind = which[~seen], origins[~seen]
        there = (~np.isnan(windows.truth(*blind))).any((1, 2))
        if there.any():
            number, origin = (int(one[there][0]) for one in blind)
            raise DataError(_describe_gap(windows, number, origin, names))
        raise DataError("nothing to score: no number comes after the numbers that the model reads")
    return which[seen], origins[seen]


def _describe_gap(windows: Windows, number: int, origin: int, names: Sequence[str]) -> str:
    """Return the message for a gap before an origin that is longer than the context."""
    begin, context = windows.begins[number], windows.layout.context
    there = np.flatnonzero(~np.isnan(windows.y[begin : begin + windows.lengths[number]]).all(1))
    at = int(np.searchsorted(there, origin))
    last = int(there[at - 1]) if at else -1
    who = f"series {names[number]!r}" if len(names) and names[number] else "the series"
    return (
        f"nothing to score: {who} has a gap of {there[at] - last - 1:,} steps before the numbers "
        f"to score, and the model reads the last {context:,}; set a larger context, score earlier "
        "origins, or drop the numbers before the gap"
    )


def score(predictor: Predictor, windows: Windows, rolled: Rolled, errors: Numbers) -> Scored:
    """Score forecasts and baselines; the baselines are sorted, the best first.

    The scores of the model include those without the texts or images of each column.

    Args:
        predictor: the result of the training.
        windows: windows of the series.
        rolled: the forecasts.
        errors: seasonal errors (N, K) of the series, see `seasonal_error`.
    """
    layout, which, levels = windows.layout, rolled.which, predictor.settings.levels
    shape = rolled.y.shape

    def guess(rolled: Rolled) -> Guess:
        median = rolled.quantiles[..., predictor.middle].ravel()
        return Guess(median, rolled.mean.ravel(), rolled.quantiles.reshape(-1, len(levels)))

    guesses = {"this model": guess(rolled)}
    found, notes = _forecast_baselines(predictor, windows, which, rolled.origins)
    for name, values in found.items():
        point = values.reshape(shape[0], layout.targets, -1).transpose(0, 2, 1).ravel()
        guesses[name] = Guess(point, point)
    for column, name in enumerate(predictor.inputs):
        blind = windows.without_items(column)
        guesses[f"{WITHOUT}{name}"] = guess(roll(predictor, blind, which, rolled.origins))
    target = np.broadcast_to(np.arange(layout.targets), shape)
    scored = score_forecasts(
        (which[:, None, None] * layout.targets + target).ravel(),
        rolled.y.ravel(),
        guesses,
        levels=levels,
        errors=errors.ravel(),
        targets=target.ravel(),
    )
    if layout.plane:
        scored = _score_distances(rolled, guesses, scored)

    def rank(name: str) -> float:
        found = scored.scores[name]
        return next((float(found[key]) for key in ("ADE", "MASE", "ND") if key in found), np.inf)

    _join_without(scored.scores)
    first, *others = scored.scores
    order = [first, *sorted(others, key=rank)]
    return Scored({name: scored.scores[name] for name in order}, scored.of_series, notes)


def _join_without(scores: dict[str, dict[str, Any]]) -> None:
    """Turn the models without an input into scores of the model, such as `MASE without news`."""
    for name in [name for name in scores if name.startswith(WITHOUT)]:
        found, column = scores.pop(name), name.removeprefix(WITHOUT)
        scores["this model"] |= {
            f"{key} without {column}": found[key] for key in MAIN if key in found
        }


def _score_distances(rolled: Rolled, guesses: dict[str, Guess], scored: Scored) -> Scored:
    """Score places by distances, and keep only scores that do not depend on the axes."""
    scores, of_series = {}, {}
    drawn = rolled.futures[:, :BEST] if rolled.futures.shape[1] else None
    for name, guess in guesses.items():
        places = guess.median.reshape(rolled.y.shape)
        futures = drawn if name == "this model" else None
        found: dict[str, Any] = score_places(rolled.y, places, futures)
        rest = scored.scores[name].items()
        scores[name] = found | {k: v for k, v in rest if k.startswith(("coverage", "numbers"))}
        apart, series = find_distances(rolled.y, places), np.repeat(rolled.which, rolled.y.shape[1])
        there = ~np.isnan(apart).ravel()
        both = [
            np.bincount(series[there], weights, len(scored.of_series[name]) // 2)
            for weights in (apart.ravel()[there], None)
        ]
        mean = np.where(both[1] > 0, both[0] / np.maximum(both[1], 1), np.nan)
        of_series[name] = np.repeat(mean, 2)
    return Scored(scores, of_series)


def _forecast_baselines(
    predictor: Predictor, windows: Windows, which: Whole, origins: Whole
) -> tuple[dict[str, Numbers], tuple[str, ...]]:
    """Return forecasts (B K, H) of each baseline from B origins, and notes on skipped numbers."""
    layout, season, notes = windows.layout, predictor.season, list[str]()
    count = len(which) * layout.targets

    def seen(most: int, who: str) -> list[Numbers]:
        if origins.max() > most:
            notes.append(f"To save time, {who} read only the last {most:,} steps of a series.")
        return [
            windows.y[begin + max(0, origin - most) : begin + origin, k]
            for begin, origin in zip(windows.begins[which], origins, strict=True)
            for k in range(layout.targets)
        ]

    most = max(READ // count, SEASONS * season)
    whole = seen(most, "the baselines")
    found = baselines(whole, layout.horizon, season, moving=layout.plane)
    if predictor.settings.statistics:
        fitted = min(most, LONGEST, max(FITTED // count, SEASONS * season))
        found |= statistical(seen(fitted, "AutoETS and AutoTheta"), layout.horizon, season)
    return found, tuple(notes)


def columns_of_card(metrics: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the key and format of each score in the table of the model card, by its heading."""
    scores: Mapping[str, Any] = next(iter(metrics.get("model", {}).values()), {})
    if "ADE" in scores:
        best = (name for name in scores if name.startswith("best_of"))
        return {name_of(score): (score, "{:.4g}") for score in ("ADE", "FDE", *best)}
    return {"MASE": ("MASE", "{:.3f}"), "ND": ("ND", "{:.4f}"), "wQL": ("wQL", "{:.4f}")}


def missing_baselines(settings: ForecasterSettings) -> list[str]:
    """Return notes on the baselines whose library is not installed."""
    return absent(STATISTICS, "AutoETS and AutoTheta") if settings.statistics else []
