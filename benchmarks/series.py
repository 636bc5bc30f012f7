"""How good forecasts get: one set of data to the end, beside the baselines, and the time.

    python benchmarks/series.py NAME DATA [seed ...] [--set NAME=VALUE ...] [--try]

NAME         DATA
m4_hourly    folder with Hourly-train.csv and Hourly-test.csv of the M4 competition
etth1        ETTh1.csv: all seven channels, the split of Zhou et al. 2021 (arXiv:2012.07436), each
             channel in units of its deviation in the training part; mean squared and absolute
             error at horizons of 24, 48, 96 and 168 hours, of every window of the test part
pm25         pollution.csv of Beijing, hourly: one and 24 hours ahead, all of 2014

Settings are those of benchmarks/NAME.yaml; `--set` changes them.  Of several seeds each is run, and
their medians are given, too.  It writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a thread that waits takes no time

import numpy as np
from result import write_result
from texts import Settings, settings_of

import elman

ETT = {"train": 12 * 30 * 24, "validation": 4 * 30 * 24, "test": 4 * 30 * 24}  # hours
HORIZONS = (24, 48, 96, 168)


def m4_hourly(data: Path, settings: Settings) -> dict[str, Any]:
    """Scores of all 414 series, of the model and of the baselines."""
    parts = {}
    for part in ("train", "test"):
        with (data / f"Hourly-{part}.csv").open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        numbers = [[float(value) for value in row[1:] if value] for row in rows]
        names = [row[0] for row, values in zip(rows, numbers, strict=True) for _ in values]
        parts[part] = {"unique_id": names, "y": [y for values in numbers for y in values]}
    model = elman.Forecaster(**{"horizon": 48, "season": 24, **settings})
    return scores_of(model.fit(parts["train"], test=parts["test"], show=True).metrics)


def etth1(data: Path, settings: Settings) -> dict[str, Any]:
    """Errors at each horizon, of a network for each."""
    with data.open(newline="") as file:
        names, *rows = csv.reader(file)
    values = np.array([row[1:] for row in rows], dtype=np.float64)
    learned, until = ETT["train"] + ETT["validation"], sum(ETT.values())
    mean, deviation = values[: ETT["train"]].mean(0), values[: ETT["train"]].std(0)
    units = (values - mean) / deviation
    table = {"ds": [row[0] for row in rows]} | dict(zip(names[1:], units.T.tolist(), strict=True))
    found: dict[str, Any] = {"model": {}, "seasonal naive": {}}
    for horizon in HORIZONS:
        model = elman.Forecaster(
            wide=True, horizon=horizon, validation_fraction=ETT["validation"] / learned, **settings
        ).fit({name: column[:learned] for name, column in table.items()}, show=True)
        windows = ETT["test"] - horizon + 1
        whole = {name: column[:until] for name, column in table.items()}
        said = model.backtest(whole, cuts=windows, stride=1).forecasts
        assert len(said.unique_id) == windows * units.shape[1]
        assert said.y is not None
        error = said.mean - said.y
        squares, sizes = float((error**2).mean()), float(np.abs(error).mean())
        found["model"][f"{horizon} hours"] = {"MSE": squares, "MAE": sizes}
        day = np.stack(
            [units[at - 24 : at + horizon] for at in range(learned, until - horizon + 1)]
        )
        naive = np.concatenate([day[:, :24]] * 7, axis=1)[:, :horizon] - day[:, 24:]
        found["seasonal naive"][f"{horizon} hours"] = {
            "MSE": float((naive**2).mean()), "MAE": float(np.abs(naive).mean())
        }  # fmt: skip
    return found


def pm25(data: Path, settings: Settings) -> dict[str, Any]:
    """Scores of 2014, learned from the years before, one and 24 hours ahead."""
    with data.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers, words = ("DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"), ("cbwd",)
    table = {"ds": [f"{r['year']}-{int(r['month']):02}-{int(r['day']):02} {int(r['hour']):02}:00"
                    for r in rows]}  # fmt: skip
    table |= {name: [row[name] for row in rows] for name in ("pm2.5", *numbers, *words)}
    learned = sum(row["year"] != "2014" for row in rows)
    parts = [{name: column[at] for name, column in table.items()}
             for at in (slice(learned), slice(learned, None))]  # fmt: skip
    found: dict[str, Any] = {}
    for horizon, span in ((1, "1 hour"), (24, "24 hours")):
        model = elman.Forecaster(
            targets=("pm2.5",), past=(*numbers, *words), horizon=horizon, season=24, **settings
        ).fit(parts[0], test=parts[1], show=True)
        for who, scores in scores_of(model.metrics).items():
            found.setdefault(who, {})[span] = scores
    return found


def scores_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """Test scores of the model and of each baseline."""
    others = [metrics["baseline"], *metrics["others"]]
    return {"model": metrics["model"]["test"]} | {one["name"]: one["test"] for one in others}


def medians(runs: list[Any]) -> Any:
    """Of numbers at the same place in several results."""
    if isinstance(runs[0], dict):
        return {key: medians([run[key] for run in runs]) for key in runs[0]}
    return statistics.median(runs) if isinstance(runs[0], int | float) else runs[0]


RUNS: dict[str, Callable[[Path, Settings], dict[str, Any]]] = {
    run.__name__: run for run in (m4_hourly, etth1, pm25)
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=list(RUNS))
    parser.add_argument("data", type=Path)
    parser.add_argument("seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--as", dest="result", help="name of the result; NAME if none is given")
    parser.add_argument("--try", action="store_true", dest="only_try", help="write no result")
    given = parser.parse_args()
    runs, minutes = [], []
    for seed in given.seeds:
        settings, began = settings_of(given.name, given.set, seed), time.monotonic()
        runs.append(RUNS[given.name](given.data, settings))
        minutes.append(round((time.monotonic() - began) / 60, 1))
    settings.pop("seed")
    facts = {"seeds": given.seeds, "settings": settings, "minutes of each": minutes, "core_minutes":
             round(time.process_time() / 60, 1), "median": medians(runs)}  # fmt: skip
    if len(runs) > 1:
        facts["runs"] = {
            str(seed): run["model"] for seed, run in zip(given.seeds, runs, strict=True)
        }
    if given.only_try:
        print(json.dumps(facts, indent=1))
    else:
        write_result(given.result or given.name, facts)


if __name__ == "__main__":
    main()
