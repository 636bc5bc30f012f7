"""Scores and baselines of forecasts.

    MAE, RMSE           in the unit of the series, if there is one target
    MASE                MAE / MAE of the seasonal naive forecast within the training data:
                        Hyndman and Koehler 2006
    sMAPE               200 |y - f| / (|y| + |f|), percent, as in the M4 competition
    OWA                 mean of MASE and sMAPE, each divided by that of naive 2:
                        Makridakis et al. 2020
    ND                  sum |y - f| / sum |y|
    CRPS                2 * mean of the quantile losses, mean over the levels 0.1 to 0.9
    wQL                 2 * sum of the quantile losses / sum |y|, mean over the same levels
    coverage_80         share of the numbers inside the interval of 80 %
    ADE, FDE            for places in the plane: mean distance over all steps, and at the last step
    best_of_20_ADE      lowest ADE (best_of_20_FDE: FDE) of 20 futures: Gupta et al. 2018
                        (arXiv:1803.10892)

f is the median; RMSE uses the mean.  MASE and sMAPE are means over series; ND and wQL are
means over targets.  The baselines are:

    naive               the last number
    seasonal naive      the number one season earlier
    naive 2             naive on the seasonally adjusted series, if it has a season
    drift               the last number, continued by the mean change from the first to the last
    constant velocity   for places: the last place, continued by the last change
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.optional import find

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]
DECILES = tuple(round(0.1 * n, 1) for n in range(1, 10))
STATISTICS = "statsforecast.models"
Z = 1.645  # standard errors of an autocorrelation above which a series has a season


@dataclass(frozen=True)
class Guess:
    """The forecasts of a model for N numbers.

    Attributes:
        median, mean: (N,).
        quantiles: (N, Q) at the levels; None for a point forecast.
    """

    median: Numbers
    mean: Numbers
    quantiles: Numbers | None = None


@dataclass(frozen=True)
class Scored:
    """The scores of models.

    Attributes:
        scores: scores of each model, by name.
        of_series: MASE of each model and series (S,), NaN if undefined; MAE if no series has MASE.
        notes: remarks on the scores.
    """

    scores: dict[str, dict[str, Any]]
    of_series: dict[str, Numbers]
    notes: tuple[str, ...] = ()


def score_forecasts(
    series: Whole,
    y: Numbers,
    guesses: Mapping[str, Guess],
    *,
    levels: Sequence[float],
    errors: Numbers,
    targets: Whole | None = None,
) -> Scored:
    """Score the forecasts of each model.

    Args:
        series: (N,) index of the series of each number.
        y: (N,) actual numbers; NaN is ignored.
        guesses: forecasts of each model, by name.
        levels: Q levels of the quantiles.
        errors: (S,) `seasonal_error` of each series, for MASE; NaN if undefined.
        targets: (N,) index of the target of each number; None for a single target.

    Example:
        >>> import numpy as np
        >>> from elman.report.forecasts import Guess, score_forecasts
        >>> y = np.array([1.0, 2.0, 4.0])
        >>> found = score_forecasts(
        ...     np.zeros(3, dtype=int), y, {"ours": Guess(y + 1, y)}, levels=[],
        ...     errors=np.array([1.5]),
        ... ).scores["ours"]
        >>> found["MAE"], found["RMSE"], round(found["MASE"], 3)
        (1.0, 0.0, 0.667)
    """
    there = ~np.isnan(y)
    target = np.zeros_like(series) if targets is None else targets
    one = int(target.max(initial=0)) == 0
    y, series, target = y[there], series[there], target[there]
    scores: dict[str, dict[str, Any]] = {}
    of_series = {}
    for model, guess in guesses.items():
        median, mean = guess.median[there], guess.mean[there]
        off, size = np.abs(median - y), np.abs(median) + np.abs(y)
        with np.errstate(divide="ignore", invalid="ignore"):
            mae = _means_by(series, off, len(errors))
            mase = mae / errors  # undefined for a constant series
            parts = {
                "MASE": mase,
                "sMAPE": 200 * _means_by(series, np.where(size == 0, 0, off / size), len(errors)),
            }
            if one:
                parts |= {"MAE": off.mean(), "RMSE": np.sqrt(np.square(mean - y).mean())}
            parts["ND"] = np.bincount(target, off) / np.bincount(target, np.abs(y))
        found = {name: _mean_of_finite(part) for name, part in parts.items()}
        scores[model] = found = {name: value for name, value in found.items() if value == value}
        found |= _of_quantiles(y, target, guess, there, levels, one=one)
        found["numbers"] = len(y)
        of_series[model] = np.where(np.isfinite(mase), mase, np.nan) if "MASE" in found else mae
    for found in scores.values():
        _add_owa(found, scores.get("naive 2", {}))
    return Scored(scores, of_series)


def _means_by(group: Whole, values: Numbers, groups: int) -> Numbers:
    """Return means (groups,) of values (N,); NaN for a group without values."""
    counts = np.bincount(group, minlength=groups)
    return np.asarray(np.bincount(group, values, minlength=groups) / counts)


def _mean_of_finite(values: Numbers) -> float:
    """Return the mean of the finite numbers; NaN if there are none."""
    finite = np.isfinite(values)
    return float(values[finite].mean()) if finite.any() else np.nan


def _add_owa(found: dict[str, Any], naive: Mapping[str, Any]) -> None:
    if all(name in found and naive.get(name, 0) > 0 for name in ("MASE", "sMAPE")):
        found["OWA"] = (found["MASE"] / naive["MASE"] + found["sMAPE"] / naive["sMAPE"]) / 2


def _of_quantiles(
    y: Numbers,
    target: Whole,
    guess: Guess,
    there: NDArray[np.bool_],
    levels: Sequence[float],
    *,
    one: bool,
) -> dict[str, float]:
    """Return CRPS and wQL at the deciles, and the coverage of each interval of the levels."""
    if guess.quantiles is None or not len(y):
        return {}
    found = dict(zip(levels, guess.quantiles[there].T, strict=True))
    scores = {}
    if all(p in found for p in DECILES):
        losses = np.mean(
            [2 * np.maximum(p * (y - found[p]), (p - 1) * (y - found[p])) for p in DECILES], 0
        )
        if one:
            scores["CRPS"] = float(losses.mean())
        sums = [np.bincount(target, weights=weights) for weights in (losses, np.abs(y))]
        some = sums[1] > 0
        if some.any():
            scores["wQL"] = float((sums[0][some] / sums[1][some]).mean())
    for p in levels:
        if p < 0.5 and round(1 - p, 6) in found:
            inside = (found[p] <= y) & (y <= found[round(1 - p, 6)])
            scores[f"coverage_{100 * (1 - 2 * p):g}"] = float(inside.mean())
    return scores


def find_distances(y: Numbers, places: Numbers) -> Numbers:
    """Return distances (..., H) between places (..., H, 2)."""
    return np.asarray(np.linalg.norm(places - y, axis=-1))


def score_places(y: Numbers, places: Numbers, futures: Numbers | None = None) -> dict[str, float]:
    """Return ADE and FDE of places (B, H, 2), and those of the best future of (B, S, H, 2).

    Paths with missing steps are ignored, unless all paths have some.

    Example:
        >>> import numpy as np
        >>> from elman.report.forecasts import score_places
        >>> y, path = np.zeros((1, 2, 2)), np.array([[[0.0, 1.0], [3.0, 4.0]]])
        >>> score_places(y, path, np.stack([path, path / 2], 1))
        {'ADE': 3.0, 'FDE': 5.0, 'best_of_2_ADE': 1.5, 'best_of_2_FDE': 2.5}
    """
    apart = find_distances(y, places)
    there = ~np.isnan(apart)
    whole = there.all(1) if there.all(1).any() else there.any(1)
    found = {"ADE": _mean(_means(apart[whole])), "FDE": _mean(apart[whole, -1])}
    if futures is not None:
        apart, name = find_distances(y[whole, None], futures[whole]), f"best_of_{futures.shape[1]}"
        found[f"{name}_ADE"] = _mean(_means(apart).min(1))
        found[f"{name}_FDE"] = _mean(apart[..., -1].min(1))
    return found


def _means(values: Numbers) -> Numbers:
    """Return means over the last axis, ignoring NaN; 0 where all are NaN."""
    there = ~np.isnan(values)
    return np.asarray(np.where(there, values, 0).sum(-1) / np.maximum(there.sum(-1), 1))


def _mean(values: Numbers) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def seasonal_error(values: Numbers, season: int) -> float:
    """Return the mean absolute error of the seasonal naive forecast within a series (T,).

    It is NaN if no two numbers are a season apart.

    Example:
        >>> import numpy as np
        >>> from elman.report.forecasts import seasonal_error
        >>> seasonal_error(np.array([1.0, 2.0, 1.5, np.nan, 2.5]), 2)
        0.75
    """
    errors = np.abs(values[season:] - values[:-season])
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else np.nan


def baselines(
    seen: Sequence[Numbers], horizon: int, season: int, *, moving: bool = False
) -> dict[str, Numbers]:
    """Return forecasts (N, horizon) of each baseline, from the past of N series; NaN is ignored.

    With `moving`, constant velocity is included, and the seasonal baselines are not.

    Example:
        >>> import numpy as np
        >>> from elman.report.forecasts import baselines
        >>> found = baselines([np.array([1.0, 5.0, 2.0, 6.0])], 3, 2)
        >>> {name: values[0].round(2).tolist() for name, values in found.items()}
        {'seasonal naive': [2.0, 6.0, 2.0], 'naive': [6.0, 6.0, 6.0], \
'naive 2': [6.0, 6.0, 6.0], 'drift': [7.67, 9.33, 11.0]}
    """
    ahead = np.arange(1, horizon + 1)
    names: tuple[str, ...] = ("seasonal naive", "naive", "naive 2", "drift")
    if moving:
        names = ("constant velocity", "naive", "drift")
    found: dict[str, list[Numbers]] = {name: [] for name in names}
    for values in seen:
        there = np.flatnonzero(~np.isnan(values))
        if not len(there):
            for name in names:
                found[name].append(np.full(horizon, np.nan))
            continue
        first, last = values[there[0]], values[there[-1]]
        slope = (last - first) / max(1, there[-1] - there[0])
        time = ahead + len(values) - 1 - there[-1]
        found["naive"].append(np.full(horizon, last))
        found["drift"].append(last + slope * time)
        if moving:
            before = there[-2:][0]
            velocity = (last - values[before]) / max(1, there[-1] - before)
            found["constant velocity"].append(last + velocity * time)
            continue
        found["seasonal naive"].append(_last_season(values, season, horizon))
        index = _seasonal_index(values, season)
        then = index[(len(values) - 1 + ahead) % season]
        found["naive 2"].append(last / index[there[-1] % season] * then)
    return {name: np.stack(values) for name, values in found.items()}


def _last_season(values: Numbers, season: int, horizon: int) -> Numbers:
    """Repeat the last season; missing numbers are taken from earlier seasons."""
    whole = -(-len(values) // season) * season
    rows = np.concatenate([values, np.full(whole - len(values), np.nan)]).reshape(-1, season)
    there = ~np.isnan(rows)
    newest = len(rows) - 1 - there[::-1].argmax(0)  # the last row with a number, for each column
    found = rows[newest, np.arange(season)]
    found = np.where(there.any(0), found, values[~np.isnan(values)][-1])
    return np.asarray(found[(len(values) + np.arange(horizon)) % season])


def _seasonal_index(values: Numbers, season: int) -> Numbers:
    """Return seasonal factors (season,), beginning with the first number; all 1 for no season.

    Source: the classical multiplicative decomposition and the test of the autocorrelation, as in
    the M4 competition.
    """
    none = np.ones(season)
    count = len(values)
    if season == 1 or count < 3 * season or not (values > 0).all():
        return none
    centred = values - values.mean()
    power = float(centred @ centred)
    if power == 0:
        return none
    acf = [float(centred[lag:] @ centred[:-lag]) / power for lag in range(1, season + 1)]
    limit = Z * np.sqrt((1 + 2 * np.square(acf[:-1]).sum()) / count)
    if abs(acf[-1]) <= limit:
        return none
    weights = np.ones(season) if season % 2 else np.array([0.5, *np.ones(season - 1), 0.5])
    trend = np.convolve(values, weights / season, mode="valid")
    half = season // 2
    ratios = values[half : half + len(trend)] / trend
    place = (np.arange(len(ratios)) + half) % season
    index = np.bincount(place, weights=ratios, minlength=season) / np.bincount(
        place, minlength=season
    )
    return np.asarray(index / index.mean())


def statistical(seen: Sequence[Numbers], horizon: int, season: int) -> dict[str, Numbers]:
    """Return forecasts (N, horizon) by AutoETS and AutoTheta of statsforecast; {} without it.

    Missing numbers are interpolated linearly, because neither method accepts gaps.  If a method
    cannot be fitted, for example to two numbers, the forecast is the last number.

    Example:
        >>> import numpy as np
        >>> from elman.report.forecasts import statistical
        >>> found = statistical([np.arange(24.0) % 4], 4, 4)
        >>> {name: values[0].round(1).tolist() for name, values in found.items()}
        {'AutoETS': [0.0, 1.0, 2.0, 3.0], 'AutoTheta': [0.0, 1.0, 2.0, 3.0]}
    """
    library = find(STATISTICS)
    if library is None:
        return {}
    models = {"AutoETS": library.AutoETS, "AutoTheta": library.AutoTheta}
    found: dict[str, list[Numbers]] = {name: [] for name in models}
    for values in seen:
        there = np.flatnonzero(~np.isnan(values))
        whole = values
        if len(there):
            place = np.arange(there[0], len(values))
            whole = np.interp(place, there, values[there])
        for name, kind in models.items():
            if not len(there):
                found[name].append(np.full(horizon, np.nan))
                continue
            try:
                mean = kind(season_length=season).forecast(y=whole, h=horizon)["mean"]
            except Exception:
                mean = np.full(horizon, whole[-1])
            found[name].append(np.asarray(mean, dtype=np.float64))
    return {name: np.stack(values) for name, values in found.items()}
