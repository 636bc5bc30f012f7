"""Forecast of blood sugar, on data from a package of the `demo` extra.

    python examples/glucose.py [folder]

The package bokeh-sampledata has 52,281 readings of a sensor, one every five minutes: the glucose of
one person in mg/dl from March to October 2010, with gaps where the sensor was changed.  The
forecast is for half an hour ahead, and the last two weeks are the test part.  This is an example of
a forecast and not a medical device.
"""

from __future__ import annotations

import csv
import gzip
import sys
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import elman
from elman.cli import main

EVERY = timedelta(minutes=5)
TEST = 14 * 24 * 12  # steps of the test part
FIRST = datetime(2010, 1, 1)


def readings() -> dict[datetime, float]:
    """Return the readings by time, rounded down to five minutes: each sensor restarts the clock."""
    spec = find_spec("bokeh_sampledata")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0], "_data", "CGM.csv.gz")
    found = {}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["glucose"]:
                moment = datetime.fromisoformat(row["datetime"])
                found[FIRST + (moment - FIRST) // EVERY * EVERY] = float(row["glucose"])
    return dict(sorted(found.items()))


def write(path: Path, rows: list[tuple[datetime, float]]) -> str:
    """Write a table of some readings, and return its path."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("ds", "glucose"))
        table.writerows(rows)
    return str(path)


def run(folder: Path, *, last: int | None = None, **settings: object) -> int:
    """Train on all but the last two weeks (of the `last` readings), score, and forecast live."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, out = list(readings().items())[-(last or 0) :], str(folder / "model")
    learn = write(folder / "learn.csv", rows[:-TEST])
    test = write(folder / "test.csv", rows[-TEST:])
    flags = [
        "--targets",
        "glucose",
        "--horizon",
        "6",
        "--context",
        "24",
        "--season",
        "288",
        "--segment",
        "1",
        "--lags",
        "0",
    ]
    flags += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    train = ["train", "forecaster", learn, "--test", test, "--out", out, "--overwrite", *flags]
    for command in (train, ["predict", out, "--level", "80"]):
        print(f"\n$ elman {' '.join(command)}", flush=True)
        if code := main(command):
            return code
    model = elman.load(out)
    assert isinstance(model, elman.Forecaster)
    live, tenth = model.stream(), model.levels.index(0.1)
    print("\nlive: the reading, and the 80 % interval of the reading in half an hour")
    for moment, glucose in rows[-TEST:][:12]:
        ahead = live.push(glucose).quantiles[-1, 0]
        print(f"{moment}  {glucose:5.0f}  {ahead[tenth]:5.0f} to {ahead[-1 - tenth]:3.0f}")
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/glucose")))
