"""Forecast of the temperature in Seattle, on data from a package of the `demo` extra.

    python examples/weather.py [folder]

The package vega_datasets has 1,461 days from 2012 to 2015.  The highest temperature in degrees
Celsius is forecast a week ahead, from its past and that of the lowest temperature, rain in mm,
wind, and a word for the weather.  The last 20 weeks are the test part: they are forecast a week at
a time, then live, day by day.
"""

from __future__ import annotations

import csv
import sys
from importlib.resources import files
from pathlib import Path

import elman
from elman.cli import main

TEST = 20 * 7  # days of the test part
PAST = ("precipitation", "temp_min", "wind", "weather")


def days() -> list[dict[str, str]]:
    """Return a row for each day, in order."""
    text = (files("vega_datasets") / "_data" / "seattle-weather.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return [{**row, "date": row["date"].replace("/", "-")} for row in rows]


def write(path: Path, rows: list[dict[str, str]]) -> str:
    """Write a table of some days, and return its path."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(path)


def run(folder: Path, **settings: object) -> int:
    """Train, score, forecast, and run the first days of the test part live."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, out = days(), str(folder / "model")
    learn = write(folder / "learn.csv", rows[:-TEST])
    test = write(folder / "test.csv", rows[-TEST:])
    whole = write(folder / "whole.csv", rows)
    flags = ["--ds", "date", "--targets", "temp_max"]
    for name in PAST:
        flags += ["--past", name]
    flags += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    train = ["train", "forecaster", learn, "--test", test, "--out", out, "--overwrite", *flags]
    for command in (
        train,
        ["predict", out, "--level", "80"],
        [
            "backtest",
            out,
            whole,
            "--cuts",
            "20",
            "--out",
            str(folder / "found.csv"),
            "--overwrite",
        ],
    ):
        print(f"\n$ elman {' '.join(command)}", flush=True)
        if code := main(command):
            return code
    model = elman.load(out)
    assert isinstance(model, elman.Forecaster)
    print("\nday by day: value, its forecast of the day before (10 % to 90 %), and a week ahead")
    live = model.stream()
    ahead, tenth = live.forecast(), model.levels.index(0.1)
    for row in rows[-TEST:][:14]:
        low, high = (float(ahead.quantiles[0, 0, place]) for place in (tenth, -1 - tenth))
        ahead = live.push(float(row["temp_max"]), **{name: row[name] for name in PAST})
        print(
            f"{row['date']}  {row['temp_max']:>5s}  {low:5.1f} to {high:4.1f}  "
            f"{ahead.mean[-1, 0]:5.1f}"
        )
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/weather")))
