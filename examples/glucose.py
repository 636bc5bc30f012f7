"""Where blood sugar goes, on data that come with an ordinary install.

    python examples/glucose.py [folder]

52,281 readings of a sensor, one every five minutes, out of the package bokeh-sampledata: the
glucose of one person in mg/dl from March to October 2010, half an hour ahead, with holes where the
sensor was changed.  The last two weeks are not learned from.  This is an example of a forecast and
no medical device.
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
BEHIND = 14 * 24 * 12  # steps
FIRST = datetime(2010, 1, 1)


def readings() -> dict[datetime, float]:
    """By the five minutes that they lie in: the clock of the sensor begins anew with each."""
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
    """A table of some readings."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("ds", "glucose"))
        table.writerows(rows)
    return str(path)


def run(folder: Path, *, last: int | None = None, **settings: object) -> int:
    """Train on all but the last two weeks (of the `last` readings), score, and go live."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, out = list(readings().items())[-(last or 0) :], str(folder / "model")
    learn = write(folder / "learn.csv", rows[:-BEHIND])
    behind = write(folder / "behind.csv", rows[-BEHIND:])
    flags = ["--targets", "glucose", "--horizon", "6", "--context", "24", "--season", "288",
             "--segment", "1", "--lags", "0"]  # fmt: skip
    flags += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    train = ["train", "forecaster", learn, "--test", behind, "--out", out, "--overwrite", *flags]
    for command in (train, ["predict", out, "--level", "80"]):
        print(f"\n$ elman {' '.join(command)}", flush=True)
        if code := main(command):
            return code
    model = elman.load(out)
    assert isinstance(model, elman.Forecaster)
    live, tenth = model.stream(), model.levels.index(0.1)
    print("\nlive: what the sensor says, and between what it will be in half an hour (80 %)")
    for moment, glucose in rows[-BEHIND:][:12]:
        said = live.push(glucose).quantiles[-1, 0]
        print(f"{moment}  {glucose:5.0f}  {said[tenth]:5.0f} to {said[-1 - tenth]:3.0f}")
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/glucose")))
