"""Data for the charts of a forecaster's report: example forecasts, errors and coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.encode.windows import Windows
from elman.forecast.predictor import Numbers, Predictor, Rolled
from elman.read.series import SeriesTable
from elman.report.forecasts import Scored, find_distances

Chart = dict[str, Any]


def chart_data(
    predictor: Predictor, windows: Windows, rolled: Rolled, scored: Scored, table: SeriesTable
) -> Chart:
    """Return the data of the charts: easy and hard forecasts, errors of each step, and coverage."""
    of_series = scored.of_series["this model"]
    ranked = [n for n in np.argsort(of_series, kind="stable").tolist() if of_series[n] >= 0]
    wanted = {
        "easiest": ranked[:1],
        "median": ranked[len(ranked) // 2 :][:1],
        "hardest": ranked[-1:],
    }
    if len(ranked) < len(wanted):
        wanted = {"": ranked[:1]}
    levels, layout = predictor.settings.levels, windows.layout
    fans = []
    for kind, (n,) in ((kind, found) for kind, found in wanted.items() if found):
        series, k = divmod(n, layout.targets)
        row = int(np.flatnonzero(rolled.which == series)[-1])
        target = predictor.index.targets[k] if layout.targets > 1 and not layout.plane else ""
        title = " ".join(x for x in (table.series[series].unique_id, target) if x) or "Forecast"
        chart = (
            _path_chart(predictor, windows, rolled, row)
            if layout.plane
            else _fan_chart(predictor, windows, rolled, row, k, table)
        )
        fans.append({"title": f"{title} ({kind})" if kind else title, **chart})
    median = rolled.quantiles[..., predictor.middle]
    error = np.abs(rolled.y - median) / rolled.scale[:, :1]
    if layout.plane:
        error = find_distances(rolled.y, median)
    below: Any = rolled.y[..., None] <= rolled.quantiles
    below = np.where(np.isnan(rolled.y[..., None]), np.nan, below)
    return {
        "fans": fans,
        "error_label": "mean distance" if layout.plane else "error in units of the scale",
        "errors": _as_list(np.array([_mean(error[:, h]) for h in range(layout.horizon)])),
        "levels": list(levels),
        "below": _as_list(np.array([_mean(below[..., q]) for q in range(len(levels))])),
    }


def _fan_chart(
    predictor: Predictor, windows: Windows, rolled: Rolled, row: int, k: int, table: SeriesTable
) -> Chart:
    """Return target k of a forecast over time: observed and actual numbers, median and bands."""
    levels, layout = predictor.settings.levels, windows.layout
    begin, origin = windows.begins[rolled.which[row]], int(rolled.origins[row])
    first = max(0, origin - max(2 * layout.horizon, 2 * predictor.season))
    quantiles = rolled.quantiles[row, :, k]
    start = np.array([table.series[rolled.which[row]].start])
    stamps = table.frequency.after(start, origin - first + layout.horizon, first)
    return {
        "stamps": None if table.counted else _stamps_as_list(stamps),
        "seen": _as_list(windows.y[begin + first : begin + origin, k]),
        "y": _as_list(rolled.y[row, :, k]),
        "median": _as_list(quantiles[:, predictor.middle]),
        "bands": {
            f"{100 * (1 - 2 * p):g}": [
                _as_list(quantiles[:, levels.index(side)]) for side in (p, round(1 - p, 6))
            ]
            for p in levels
            if p in (0.025, 0.1) and round(1 - p, 6) in levels
        },
    }


def _path_chart(predictor: Predictor, windows: Windows, rolled: Rolled, row: int) -> Chart:
    """Return a path in the plane relative to the last observed place: actual, median, futures."""
    begin, origin = windows.begins[rolled.which[row]], int(rolled.origins[row])
    seen = windows.y[begin + max(0, origin - windows.layout.context) : begin + origin]
    seen = seen[~np.isnan(seen).any(1)]
    here = seen[-1:]

    def path(places: Numbers) -> list[list[float | None]]:
        return [_as_list(axis) for axis in (places[~np.isnan(places).any(1)] - here).T]

    def continued(places: Numbers) -> list[list[float | None]]:
        return path(np.concatenate([here, places]))

    median = rolled.quantiles[row, ..., predictor.middle]
    return {
        "axes": [f"{name} from here" for name in predictor.index.targets],
        "places": {
            "seen": path(seen),
            "came": continued(rolled.y[row]),
            "median": continued(median),
        },
        "futures": [continued(future) for future in rolled.futures[row]],
    }


def _stamps_as_list(stamps: NDArray[Any]) -> list[int] | list[str]:
    """Return timestamps as integers or as text in ISO 8601, for JSON."""
    found = stamps if stamps.dtype.kind == "i" else stamps.astype(str)
    return list(found.tolist())


def _mean(values: NDArray[Any]) -> float:
    """Return the mean of the numbers that are not NaN; NaN if there are none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _as_list(values: NDArray[Any]) -> list[float | None]:
    """Return a list for JSON, with None for numbers that are not finite."""
    return [x if np.isfinite(x) else None for x in values.tolist()]
