"""Forecast of the S&P 500, on data from a package of the `demo` extra.

    python examples/prices.py [folder]

The package arch has 5,031 trading days from 1999 to 2018.  The index is forecast one day ahead,
from its past and the range of each day; 2017 and 2018 are the test part.  A model can predict how
far the index may move, but not the direction; the report compares it with the naive price, that of
the day before.
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
    """Return the date and price of each day, and its range in percent."""
    spec = find_spec("arch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0], "data", "sp500", "sp500.csv.gz")
    with gzip.open(path, "rt", newline="") as file:
        rows = [
            (
                datetime.strptime(row["Date"], "%m/%d/%Y").date(),
                *(float(row[name]) for name in ("Adj Close", "High", "Low")),
            )
            for row in csv.DictReader(file)
            if row["Date"]
        ]
    rows.sort()
    return [
        {"date": day, "price": close, "range": round(100 * math.log(high / low), 4)}
        for day, close, high, low in rows
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write a table of some days, one step per trading day, and return its path."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("price", "range"))
        table.writerows((row["price"], row["range"]) for row in rows)
    return str(path)


def run(folder: Path, *, last: int | None = None, **settings: object) -> int:
    """Train, score beside the naive price, forecast, and backtest on the test part."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, out = days()[-(last or 0) :], str(folder / "model")
    later = [row for row in rows if str(row["date"]) >= UNTIL]
    learn = write(folder / "learn.csv", rows[: -len(later)])
    test, whole = write(folder / "test.csv", later), write(folder / "whole.csv", rows)
    flags = ["--targets", "price", "--past", "range", "--horizon", "1", "--context", "20"]
    flags += ["--season", "1"]
    flags += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    for command in (
        ["train", "forecaster", learn, "--test", test, "--out", out, "--overwrite", *flags],
        ["predict", out, "--level", "80"],
        ["backtest", out, whole, "--cuts", str(len(later)), "--stride", "1"],
    ):
        print(f"\n$ elman {' '.join(command)}", flush=True)
        if code := main(command):
            return code
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/prices")))
