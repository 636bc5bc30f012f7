"""Scores of forecasts by utilsforecast, and what they are to be compared with.

    MAE, RMSE           in the unit of the series
    MASE                MAE / MAE of the seasonal naive forecast within the training data:
                        Hyndman and Koehler 2006
    sMAPE               200 |y - f| / (|y| + |f|), percent, as in the M4 competition
    ND                  sum |y - f| / sum |y|
    wQL                 2 sum of the quantile losses / sum |y|, mean over levels 0.1 to 0.9
    coverage 80         share of the numbers inside the interval of 80 %

f is the median; RMSE is that of the mean.  MASE and sMAPE are means over series.

    naive               the last number
    seasonal naive      that a season before
    drift               the last number, and on as from the first to the last
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError

Numbers = NDArray[np.float64]
DECILES = tuple(round(0.1 * n, 1) for n in range(1, 10))


@dataclass(frozen=True)
class Guess:
    """What a model says of some numbers (N,).

    Attributes:
        median, mean: (N,).
        quantiles: (N, Q) at the levels; None for a point.
    """

    median: Numbers
    mean: Numbers
    quantiles: Numbers | None = None


def check_scorer() -> None:
    """Refuse to begin what cannot be scored with an ArgumentError."""
    try:
        import polars  # noqa: F401
        import utilsforecast.losses  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            'forecasts are scored by utilsforecast: pip install "elman[forecast]"'
        ) from error


def score_forecasts(
    names: Sequence[str],
    y: Numbers,
    guesses: Mapping[str, Guess],
    *,
    levels: Sequence[float],
    train: Mapping[str, Numbers],
    season: int,
) -> dict[str, dict[str, Any]]:
    """Scores of each model.

    Args:
        names: (N,) of the series that each number is of.
        y: (N,) numbers; NaN counts for nothing.
        guesses: of each model.
        levels: Q of the quantiles.
        train: of each series what training saw (T,), for MASE.
        season: steps.

    Example:
        >>> import numpy as np
        >>> from elman.report.forecasts import Guess, score_forecasts
        >>> y = np.array([1.0, 2.0, 4.0])
        >>> found = score_forecasts(
        ...     ["a"] * 3, y, {"ours": Guess(y + 1, y)}, levels=[], train={"a": y}, season=1
        ... )
        >>> found["ours"]["MAE"], found["ours"]["RMSE"], round(found["ours"]["MASE"], 3)
        (1.0, 0.0, 0.667)
    """
    import polars
    from utilsforecast import losses

    there = ~np.isnan(y)
    y = y[there]
    frame = polars.DataFrame({"unique_id": np.asarray(names)[there], "y": y})
    models = list(guesses)
    medians = frame.with_columns(
        polars.Series(model, guess.median[there]) for model, guess in guesses.items()
    )
    means = frame.with_columns(
        polars.Series(model, guess.mean[there]) for model, guess in guesses.items()
    )
    whole = medians.with_columns(unique_id=polars.lit("all"))
    seen = polars.DataFrame(
        {
            "unique_id": np.repeat(list(train), [len(values) for values in train.values()]),
            "y": np.concatenate(list(train.values())),
        }
    ).filter(polars.col("y").is_not_nan())
    many = {len(values) - np.isnan(values).sum() > season for values in train.values()}
    tables: dict[str, Any] = {
        "MASE": losses.mase(medians, models, seasonality=season, train_df=seen)
        if many == {True}
        else None,
        "MAE": losses.mae(whole, models),
        "RMSE": losses.rmse(means.with_columns(unique_id=polars.lit("all")), models),
        "sMAPE": losses.smape(medians, models),
        "ND": losses.nd(whole, models),
    }
    result: dict[str, dict[str, Any]] = {}
    for model in models:
        scores = result[model] = {}
        for score, table in tables.items():
            values = None if table is None else table[model].to_numpy()
            values = np.zeros(0) if values is None else values[np.isfinite(values)]
            if len(values):  # a constant series has no MASE
                scores[score] = (200 if score == "sMAPE" else 1) * float(values.mean())
        scores |= _of_quantiles(y, guesses[model], there, levels)
        scores["numbers"] = len(y)
    return result


def _of_quantiles(
    y: Numbers, guess: Guess, there: NDArray[np.bool_], levels: Sequence[float]
) -> dict[str, float]:
    """wQL at the deciles, and coverage of the intervals that the levels have."""
    if guess.quantiles is None:
        return {}
    found = dict(zip(levels, guess.quantiles[there].T, strict=True))
    scores = {}
    deciles = [p for p in DECILES if p in found]
    if len(deciles) == len(DECILES) and np.abs(y).sum() > 0:
        losses = [np.maximum(p * (y - found[p]), (p - 1) * (y - found[p])).sum() for p in deciles]
        scores["wQL"] = 2 * float(np.mean(losses)) / float(np.abs(y).sum())
    for p in levels:
        if p < 0.5 and round(1 - p, 6) in found:
            inside = (found[p] <= y) & (y <= found[round(1 - p, 6)])
            scores[f"coverage {100 * (1 - 2 * p):g}"] = float(inside.mean())
    return scores


def baselines(seen: Sequence[Numbers], horizon: int, season: int) -> dict[str, Numbers]:
    """Forecasts (N, horizon) of series from what was seen of each, NaN left out.

    Example:
        >>> import numpy as np
        >>> from elman.report.forecasts import baselines
        >>> found = baselines([np.array([1.0, 5.0, 2.0, 6.0])], 3, 2)
        >>> {name: values[0].round(2).tolist() for name, values in found.items()}
        {'seasonal naive': [2.0, 6.0, 2.0], 'naive': [6.0, 6.0, 6.0], 'drift': [7.67, 9.33, 11.0]}
    """
    ahead = np.arange(1, horizon + 1)
    found: dict[str, list[Numbers]] = {"seasonal naive": [], "naive": [], "drift": []}
    for values in seen:
        there = np.flatnonzero(~np.isnan(values))
        first, last = values[there[0]], values[there[-1]]
        slope = (last - first) / max(1, there[-1] - there[0])
        found["naive"].append(np.full(horizon, last))
        found["drift"].append(last + slope * (ahead + len(values) - 1 - there[-1]))
        found["seasonal naive"].append(_last_season(values, season, horizon))
    return {name: np.stack(values) for name, values in found.items()}


def _last_season(values: Numbers, season: int, horizon: int) -> Numbers:
    """The last season again and again; what is missing of it from the seasons before."""
    whole = -(-len(values) // season) * season
    padded = np.concatenate([np.full(whole - len(values), np.nan), values]).reshape(-1, season)
    last = np.full(season, values[~np.isnan(values)][-1])
    for row in padded:
        last = np.where(np.isnan(row), last, row)
    return np.asarray(np.resize(last, horizon))
