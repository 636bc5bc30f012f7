"""How warm it will be in Seattle, on data that come with an ordinary install.

    python examples/weather.py [folder]

1,461 days from 2012 to 2015 out of the package vega_datasets: the highest temperature in degrees
Celsius, a week ahead, from it and what else is known of the past: the lowest, rain in mm, wind, and
a word for the weather.  The last 20 weeks are not learned from: they are forecast a week at a
time, then day by day, as they come in.
"""

from __future__ import annotations

import csv
import sys
from importlib.resources import files
from pathlib import Path

import elman
from elman.cli import main

BEHIND = 20 * 7  # days
PAST = ("precipitation", "temp_min", "wind", "weather")


def days() -> list[dict[str, str]]:
    """A row a day, in order."""
    text = (files("vega_datasets") / "_data" / "seattle-weather.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return [{**row, "date": row["date"].replace("/", "-")} for row in rows]


def write(path: Path, rows: list[dict[str, str]]) -> str:
    """A table of some days."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(path)


def run(folder: Path, **settings: object) -> int:
    """Train, score, forecast, and take the last weeks live."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, out = days(), str(folder / "model")
    learn = write(folder / "learn.csv", rows[:-BEHIND])
    behind = write(folder / "behind.csv", rows[-BEHIND:])
    whole = write(folder / "whole.csv", rows)
    flags = ["--ds", "date", "--targets", "temp_max"]
    for name in PAST:
        flags += ["--past", name]
    flags += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    train = ["train", "forecaster", learn, "--test", behind, "--out", out, "--overwrite", *flags]
    for command in (
        train,
        ["predict", out, "--level", "80"],
        ["backtest", out, whole, "--cuts", "20", "--out", str(folder / "said.csv"), "--overwrite"],
    ):
        print(f"\n$ elman {' '.join(command)}", flush=True)
        if code := main(command):
            return code
    model = elman.load(out)
    assert isinstance(model, elman.Forecaster)
    print(
        "\nday by day: what came, what was said the day before (10 % to 90 %), and of a week later"
    )
    live = model.stream()
    said, tenth = live.forecast(), model.levels.index(0.1)
    for row in rows[-BEHIND:][:14]:
        low, high = (float(said.quantiles[0, 0, place]) for place in (tenth, -1 - tenth))
        said = live.push(float(row["temp_max"]), **{name: row[name] for name in PAST})
        print(f"{row['date']}  {row['temp_max']:>5s}  {low:5.1f} to {high:4.1f}  "
              f"{said.mean[-1, 0]:5.1f}")  # fmt: skip
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/weather")))
