"""Estimates from the validation data of a forecaster.

They are the share of a simple forecast, corrections of the quantiles, the dependence between the
numbers of a forecast, and the factors by which intervals widen.

Shape legend: B windows, H steps ahead, K targets, Q levels, N series.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elman.decode.combine import SHARES, find_share
from elman.decode.conformal import find_corrections, least
from elman.decode.copula import MOST, find_dependence
from elman.decode.widen import GAPS, find_factor, find_widening
from elman.encode.windows import Windows
from elman.errors import DataError
from elman.forecast.predictor import Numbers, Predictor, Whole, roll
from elman.forecast.score import SCORED, choose

JOINT = 2_000  # maximum number of windows, except for corrections
FEW = 100  # minimum number of windows for a reliable calibration
HIDDEN = 4  # copies of the windows in which numbers are hidden


def learn_share(predictor: Predictor, windows: Windows, spans: Whole) -> Numbers | None:
    """Return season and share (2,) of the simple forecast, from the windows within spans (N, 2).

    Returns None without `combine`, and for places and counts, which are not moved.
    """
    settings, middle = predictor.settings, predictor.middle
    if not settings.combine or settings.plane or settings.kind_of_output == "negative_binomial":
        return None
    which, origins = choose(windows, spans, 1, _most_windows(predictor))
    blocks = (spans[which, 1] - origins) // windows.layout.horizon
    plain, found = roll(predictor, windows, which, origins), []
    median = plain.quantiles[..., middle]
    for season in {1, predictor.season}:
        alone = predictor.with_estimates(share=np.array([season, 1.0]))
        simple = roll(alone, windows, which, origins).quantiles[..., middle]
        moved = median[..., None] + SHARES * (simple - median)[..., None]
        errors = np.abs(plain.y[..., None] - moved) / plain.scale[..., None]
        count = (~np.isnan(errors[..., 0])).sum((1, 2))[:, None]
        losses = np.where(count > 0, np.nansum(errors, (1, 2)) / np.maximum(count, 1), np.nan)
        share = find_share(losses, which, blocks)
        found.append((float(np.nanmean(losses, 0).min()), season, share))
    _, season, share = min(found)
    return np.array([float(season), share]) if share else None


def _most_windows(predictor: Predictor) -> int:
    """Return the maximum number of windows, fewer if many futures are sampled in each."""
    return max(50, JOINT // (predictor.settings.samples if predictor.layout.feedback else 1))


def learn_widening(predictor: Predictor, windows: Windows, spans: Whole) -> Numbers | None:
    """Estimate the numbers of `elman.decode.widen` from the windows within spans (N, 2)."""
    settings, levels = predictor.settings, predictor.settings.levels
    if settings.plane or len(levels) < 2:
        return None
    rows = _most_windows(predictor)
    which, origins = choose(windows, spans, 1, rows)
    truth, draw = windows.truth(which, origins), np.random.default_rng(settings.seed)

    def forecast(hidden: Windows, seen: NDArray[np.bool_]) -> tuple[Numbers, Numbers, Numbers]:
        rolled = roll(predictor, hidden, which[seen], origins[seen])
        there = rolled.missing < 1
        y, quantiles = truth[seen], rolled.quantiles
        flat = quantiles.reshape(len(y), -1, len(levels))
        return rolled.missing[there], y.reshape(len(y), -1)[there], flat[there]

    found = [forecast(windows, windows.seen(which, origins))]
    ends = windows.begins[which] + origins - 1
    for _ in range(HIDDEN):
        hidden = windows.with_gaps(draw)  # windows whose last number is missing count below
        seen = ~np.isnan(hidden.y[ends]).any(1)
        found += [forecast(hidden, seen)] if seen.any() else []
    missing, y, quantiles = (np.concatenate(part) for part in zip(*found, strict=True))
    always, scattered = find_widening(missing, y, quantiles, levels)
    if settings.conformal:  # complete windows are already corrected
        always = 1.0
    some, context = np.zeros(len(which), dtype=bool), windows.layout.context
    many = min(len(which), max(50, rows // HIDDEN))
    some[np.linspace(0, len(which) - 1, many).astype(np.int64)] = True
    factors = []
    for side in (0, 1):
        for share in GAPS:
            steps = min(context - 1, max(1, round(share * context)))
            hidden = windows.without(0, steps) if side == 0 else windows.without(steps, 0)
            _, y, quantiles = forecast(hidden, some)
            factors.append(find_factor(y, quantiles, levels, always))
    sides = np.maximum.accumulate(np.reshape(factors, (2, -1)), 1)
    return np.array([always, *scattered, *sides.ravel()])


def learn_dependence(predictor: Predictor, windows: Windows, spans: Whole) -> Numbers | None:
    """Estimate the dependence from the windows within spans (N, 2); None if it cannot be used."""
    layout, settings = windows.layout, predictor.settings
    point = len(settings.levels) < 2 or settings.kind_of_output == "point"
    if layout.feedback or point or layout.horizon * layout.targets > MOST:
        return None
    rolled = roll(predictor, windows, *choose(windows, spans, 1, JOINT))
    return find_dependence(rolled.y, rolled.quantiles, settings.levels)


def check_enough(predictor: Predictor, windows: Windows, spans: Whole) -> None:
    """Raise a DataError if the validation data are too few for the outermost quantiles."""
    wanted = least(predictor.settings.levels)
    there = ~np.isnan(windows.truth(*choose(windows, spans, 1, SCORED)))
    found = int(there.sum((0, 1)).min())
    if found < wanted:
        raise DataError(
            f"conformal: the outermost quantile needs {wanted} validation numbers of each target, "
            f"got {found}; raise validation_fraction, or drop the outer quantiles"
        )


def learn_corrections(predictor: Predictor, windows: Windows, spans: Whole) -> tuple[Numbers, int]:
    """Return corrections (H, K, Q) from the windows within spans (N, 2), and their number."""
    rolled = roll(predictor, windows, *choose(windows, spans, 1, SCORED))
    errors = (rolled.y[..., None] - rolled.quantiles) / rolled.scale[..., None]
    return find_corrections(errors, predictor.settings.levels), len(rolled.which)


def describe_estimates(predictor: Predictor, count: int | None) -> list[str]:
    """Return sentences on the estimates for the model card.

    Args:
        predictor: the result of the training.
        count: number of windows that corrections were learned from; None without corrections.
    """
    notes = (
        []
        if count is None
        else [
            f"The quantiles were corrected on {count:,} windows of the validation data"
            + (", which are few." if count < FEW else ".")
        ]
    )
    if (share := predictor.history.share) is not None:
        season = " and the mean change within a season" if share[0] > 1 else ""
        notes.append(
            f"Each forecast has a share of {share[1]:.0%} of the last number{season}; on the "
            "validation windows the network alone was not clearly better."
        )
    return notes
