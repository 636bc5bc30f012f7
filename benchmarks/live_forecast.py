"""Microseconds from an observation to the next live forecast, on one thread with 64 units.

    python benchmarks/live_forecast.py

by days      24 hours ahead from the last week, in steps of a day, with the calendar: the defaults
             of a Forecaster for hourly data
by hours     an hour ahead from the last two days, in steps of an hour
covariates   the case "by days" with two past covariates

The first live forecasts are compared with those of `predict` on the series up to the same step.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from result import write_result

import elman

HOURS, PUSHED, COMPARED = 3000, 2000, 50
CASES: dict[str, dict[str, Any]] = {
    "by days": {},
    "by days, no calendar": {"calendar": False},
    "by hours": {"calendar": False, "horizon": 1, "context": 48, "segment": 1},
    "covariates": {"past": ("wind", "load")},
}


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the times of pushes, and the largest relative difference from `predict`."""
    draw = np.random.default_rng(0)
    hours = np.arange(HOURS)
    stamps = (np.datetime64("2024-01-01T00") + hours).astype(str).tolist()
    y = 10 + 3 * np.sin(2 * np.pi * hours / 24) + draw.normal(0, 0.3, HOURS)
    columns = {"ds": stamps, "y": y.tolist()}
    past = settings.get("past", ())
    columns |= {name: draw.normal(size=HOURS).tolist() for name in past}
    learned = HOURS - PUSHED
    model = elman.Forecaster(
        season=24, hidden_size=64, epochs=1, windows=64, device="cpu", **settings
    ).fit({name: values[:learned] for name, values in columns.items()})
    live = model.stream()
    seconds, apart = [], 0.0
    for n in range(learned, HOURS):
        covariates = {name: columns[name][n] for name in past}
        began = time.perf_counter()
        found = live.push(y[n], **covariates)
        seconds.append(time.perf_counter() - began)
        if n < learned + COMPARED:
            until = {name: values[: n + 1] for name, values in columns.items()}
            wanted = model.predict(until).quantiles[0]
            apart = max(apart, float(np.abs(found.quantiles / wanted - 1).max()))
    if apart > 1e-4:
        raise SystemExit(f"live and predict differ by {apart:.2g}")
    micro = sorted(1e6 * x for x in seconds[COMPARED:])
    quarter = len(micro) // 4
    return {
        "microseconds": {
            "median": statistics.median(micro),
            "quartiles": [micro[quarter], micro[-1 - quarter]],
        },
        "of 95 % at most": micro[int(0.95 * len(micro))],
        "steps of the network": model.layout.steps,
        "apart from predict": apart,
    }


def main() -> None:
    torch.set_num_threads(1)
    write_result("live_forecast", {name: measure(case) for name, case in CASES.items()})


if __name__ == "__main__":
    main()
