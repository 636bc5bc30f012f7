"""What the S&P 500 does tomorrow, on data that come with an ordinary install: nobody knows.

    python examples/prices.py [folder]

5,031 trading days from 1999 to 2018 out of the package arch: the index a day ahead, from it and the
range of the day.  2017 and 2018 are not learned from.  What can be told is how far it may go, not
where to; the report says what the model is worth beside the naive price, that of the day before.
"""

from __future__ import annotations

import csv
import gzip
import math
import sys
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from elman.cli import main

UNTIL = "2017-01-01"


def days() -> list[dict[str, Any]]:
    """Date and price of each day, and its range in percent."""
    spec = find_spec("arch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0], "data", "sp500", "sp500.csv.gz")
    with gzip.open(path, "rt", newline="") as file:
        rows = [
            (datetime.strptime(row["Date"], "%m/%d/%Y").date(), *(float(row[name])
             for name in ("Adj Close", "High", "Low")))
            for row in csv.DictReader(file) if row["Date"]
        ]  # fmt: skip
    rows.sort()
    return [
        {"date": day, "price": close, "range": round(100 * math.log(high / low), 4)}
        for day, close, high, low in rows
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """A table of some days; trading days are steps, as holidays have no price."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("price", "range"))
        table.writerows((row["price"], row["range"]) for row in rows)
    return str(path)


def run(folder: Path, *, last: int | None = None, **settings: object) -> int:
    """Train, score beside no change, forecast, and roll the origin through what came."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, out = days()[-(last or 0) :], str(folder / "model")
    behind = [row for row in rows if str(row["date"]) >= UNTIL]
    learn = write(folder / "learn.csv", rows[: -len(behind)])
    test, whole = write(folder / "behind.csv", behind), write(folder / "whole.csv", rows)
    flags = ["--targets", "price", "--past", "range", "--horizon", "1", "--context", "20"]
    flags += ["--season", "1"]
    flags += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    for command in (
        ["train", "forecaster", learn, "--test", test, "--out", out, "--overwrite", *flags],
        ["predict", out, "--level", "80"],
        ["backtest", out, whole, "--cuts", str(len(behind)), "--stride", "1"],
    ):
        print(f"\n$ elman {' '.join(command)}", flush=True)
        if code := main(command):
            return code
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/prices")))
