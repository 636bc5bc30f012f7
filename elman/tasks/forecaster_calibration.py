"""Estimates from the validation data of a forecaster.

They are the share of a simple forecast, corrections of the quantiles, the dependence between the
numbers of a forecast, and the factors by which intervals widen.

Shape legend: B windows, H steps ahead, K targets, Q levels, N series.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from elman.decode.combine import SHARES, find_share
from elman.decode.conformal import find_corrections, least
from elman.decode.copula import MOST, find_dependence
from elman.decode.widen import GAPS, find_factor, find_widening
from elman.encode.windows import Windows
from elman.errors import DataError
from elman.tasks.forecaster_scores import SCORED, Numbers, Whole, choose, roll

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster

JOINT = 2_000  # maximum number of windows, except for corrections
HIDDEN = 4  # copies of the windows in which numbers are hidden


def learn_share(model: Forecaster, windows: Windows, spans: Whole) -> Numbers | None:
    """Return season and share (2,) of the simple forecast, from the windows within spans (N, 2).

    Returns None without `combine`, and for places and counts, which are not moved.
    """
    if not model.combine or model.plane or model.kind_of_output == "negative_binomial":
        return None
    rows = max(50, JOINT // (model.samples if windows.layout.feedback else 1))
    which, origins = choose(windows, spans, 1, rows)
    blocks = (spans[which, 1] - origins) // windows.layout.horizon
    plain = roll(model, windows, which, origins, corrected=False)
    middle = model.levels.index(0.5)
    median, before, found = plain.quantiles[..., middle], model.history, []
    for season in {1, model.seasonal}:
        model._history = replace(before, share=np.array([season, 1.0]))
        simple = roll(model, windows, which, origins, corrected=False).quantiles[..., middle]
        model._history = before
        moved = median[..., None] + SHARES * (simple - median)[..., None]
        errors = np.abs(plain.y[..., None] - moved) / plain.scale[..., None]
        count = (~np.isnan(errors[..., 0])).sum((1, 2))[:, None]
        losses = np.where(count > 0, np.nansum(errors, (1, 2)) / np.maximum(count, 1), np.nan)
        share = find_share(losses, which, blocks)
        found.append((float(np.nanmean(losses, 0).min()), season, share))
    _, season, share = min(found)
    return np.array([float(season), share]) if share else None


def learn_widening(model: Forecaster, windows: Windows, spans: Whole) -> Numbers | None:
    """Estimate the numbers of `elman.decode.widen` from the windows within spans (N, 2)."""
    if model.plane or len(model.levels) < 2:
        return None
    rows = max(50, JOINT // (model.samples if windows.layout.feedback else 1))
    which, origins = choose(windows, spans, 1, rows)
    truth, draw = windows.truth(which, origins), np.random.default_rng(model.seed)

    def forecast(hidden: Windows, seen: NDArray[np.bool_]) -> tuple[Numbers, Numbers, Numbers]:
        rolled = roll(model, hidden, which[seen], origins[seen])
        there = rolled.missing < 1
        y, quantiles = truth[seen], rolled.quantiles
        flat = quantiles.reshape(len(y), -1, len(model.levels))
        return rolled.missing[there], y.reshape(len(y), -1)[there], flat[there]

    found = [forecast(windows, windows.seen(which, origins))]
    ends = windows.begins[which] + origins - 1
    for _ in range(HIDDEN):
        hidden = windows.with_gaps(draw)  # windows whose last number is missing count below
        seen = ~np.isnan(hidden.y[ends]).any(1)
        found += [forecast(hidden, seen)] if seen.any() else []
    missing, y, quantiles = (np.concatenate(part) for part in zip(*found, strict=True))
    always, scattered = find_widening(missing, y, quantiles, model.levels)
    if model.conformal:  # complete windows are already corrected
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
            factors.append(find_factor(y, quantiles, model.levels, always))
    sides = np.maximum.accumulate(np.reshape(factors, (2, -1)), 1)
    return np.array([always, *scattered, *sides.ravel()])


def learn_dependence(model: Forecaster, windows: Windows, spans: Whole) -> Numbers | None:
    """Estimate the dependence from the windows within spans (N, 2); None if it cannot be used."""
    layout = windows.layout
    unused = (
        model.decoder == "autoregressive"
        or len(model.levels) < 2
        or model.kind_of_output == "point"
    )
    if unused or layout.horizon * layout.targets > MOST:
        return None
    rolled = roll(model, windows, *choose(windows, spans, 1, JOINT), corrected=False)
    return find_dependence(rolled.y, rolled.quantiles, model.levels)


def check_enough(model: Forecaster, windows: Windows, spans: Whole) -> None:
    """Raise a DataError if the validation data are too few for the outermost quantiles."""
    wanted = least(model.levels)
    there = ~np.isnan(windows.truth(*choose(windows, spans, 1, SCORED)))
    found = int(there.sum((0, 1)).min())
    if found < wanted:
        raise DataError(
            f"conformal: the outermost quantile needs {wanted} validation numbers of each target, "
            f"got {found}; raise validation_fraction, or drop the outer quantiles"
        )


def calibrate(model: Forecaster, windows: Windows, spans: Whole) -> tuple[Numbers, int]:
    """Return corrections (H, K, Q) from the windows within spans (N, 2), and their number."""
    rolled = roll(model, windows, *choose(windows, spans, 1, SCORED), corrected=False)
    errors = (rolled.y[..., None] - rolled.quantiles) / rolled.scale[..., None]
    return find_corrections(errors, model.levels), len(rolled.which)
