"""Quality of forecasts on one data set, beside the baselines, and the time of a run.

    python benchmarks/series.py NAME DATA [seed ...] [--set NAME=VALUE ...] [--try]

NAME         DATA
m4_hourly    folder with Hourly-train.csv and Hourly-test.csv of the M4 competition
etth1        ETTh1.csv: all seven channels, the split of Zhou et al. 2021 (arXiv:2012.07436), each
             channel in units of its deviation in the training part; mean squared and absolute
             error at horizons of 24, 48, 96 and 168 hours, over all windows of the test part
pm25         pollution.csv of Beijing, hourly: one and 24 hours ahead, on all of 2014
stocks       stocks.tar.xz: daily prices of the shares of KDD17 and ACL18, the splits of Feng et al.
             2019 (arXiv:1810.09936); the return of the next day, and its direction on days that
             rise by at least 0.55 % or fall by at least 0.5 %
eth_ucy      folder datasets of the pedestrians of ETH and UCY: each of five scenes is held out
             once; 8 places are read and 12 predicted, in all windows of 20 steps without a gap;
             distances in metres of one forecast and of the best of 20 futures

Settings are those of benchmarks/NAME.yaml; `--set` changes them.  With several seeds the scores are
medians over the runs.  It writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads sleep

import numpy as np
from result import write_result
from texts import Settings, settings_of

import elman

ETT = {"train": 12 * 30 * 24, "validation": 4 * 30 * 24, "test": 4 * 30 * 24}  # hours
HORIZONS = (24, 48, 96, 168)
SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
SEEN, AHEAD, FRAMES = 8, 12, 10  # steps read, steps predicted, frames per step
STOCKS = {  # folder, first day of the test part, day after its last
    "KDD17": ("kdd17/price_long_50", "2016-01-01", "2017-01-01"),
    "ACL18": ("stocknet-dataset/price/raw", "2015-10-01", "2016-01-01"),
}


def m4_hourly(data: Path, settings: Settings) -> dict[str, Any]:
    """Return the scores of the model and the baselines on all 414 series."""
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
    """Return the errors at each horizon, which has its own network."""
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
        output = model.backtest(whole, cuts=windows, stride=1).forecasts
        assert len(output.unique_id) == windows * units.shape[1]
        assert output.y is not None
        error = output.mean - output.y
        squares, sizes = float((error**2).mean()), float(np.abs(error).mean())
        found["model"][f"{horizon} hours"] = {"MSE": squares, "MAE": sizes}
        day = np.stack(
            [units[at - 24 : at + horizon] for at in range(learned, until - horizon + 1)]
        )
        naive = np.concatenate([day[:, :24]] * 7, axis=1)[:, :horizon] - day[:, 24:]
        found["seasonal naive"][f"{horizon} hours"] = {
            "MSE": float((naive**2).mean()),
            "MAE": float(np.abs(naive).mean()),
        }
    return found


def pm25(data: Path, settings: Settings) -> dict[str, Any]:
    """Return the scores on 2014, learned from the years before, one and 24 hours ahead."""
    with data.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers, words = ("DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"), ("cbwd",)
    table = {
        "ds": [
            f"{r['year']}-{int(r['month']):02}-{int(r['day']):02} {int(r['hour']):02}:00"
            for r in rows
        ]
    }
    table |= {name: [row[name] for row in rows] for name in ("pm2.5", *numbers, *words)}
    learned = sum(row["year"] != "2014" for row in rows)
    parts = [
        {name: column[at] for name, column in table.items()}
        for at in (slice(learned), slice(learned, None))
    ]
    found: dict[str, Any] = {}
    for horizon, span in ((1, "1 hour"), (24, "24 hours")):
        model = elman.Forecaster(
            targets=("pm2.5",), past=(*numbers, *words), horizon=horizon, season=24, **settings
        ).fit(parts[0], test=parts[1], show=True)
        for who, scores in scores_of(model.metrics).items():
            found.setdefault(who, {})[span] = scores
    return found


def stocks(data: Path, settings: Settings) -> dict[str, Any]:
    """Return the accuracy of the direction, and the error of returns, beside a coin and zero."""
    found: dict[str, Any] = {"model": {}, "coin": {}, "naive price": {}}
    for name, (where, learned, until) in STOCKS.items():
        shares = {}
        with tarfile.open(data) as archive:
            for member in archive:
                if where in member.name and member.name.endswith(".csv"):
                    file = archive.extractfile(member)
                    assert file is not None
                    share = days_of(file.read().decode("ascii"), until)
                    if len(share["date"]) > 100:
                        shares[Path(member.name).stem] = share

        def table(until: str, shares: dict[str, Any] = shares) -> dict[str, list[Any]]:
            columns: dict[str, list[Any]] = {"unique_id": [], "y": [], "range": [], "volume": []}
            for share, days in shares.items():
                count = sum(date < until for date in days["date"])
                columns["unique_id"] += [share] * count
                for key in ("y", "range", "volume"):
                    columns[key] += days[key][:count]
            return columns

        model = elman.Forecaster(horizon=1, season=1, past=("range", "volume"), **settings).fit(
            table(learned), show=True
        )
        cuts = max(sum(date >= learned for date in days["date"]) for days in shares.values())
        output = model.backtest(table("9"), cuts=cuts, stride=1)
        places = zip(output.forecasts.unique_id, output.origins, strict=True)
        dates = [shares[share]["date"][origin] for share, origin in places]
        test = np.array([date >= learned for date in dates])
        assert output.forecasts.y is not None
        y, guess = output.forecasts.y[test, 0, 0], output.forecasts.median[test, 0, 0]
        moved = (y >= 0.55) | (y <= -0.5)
        up, rises = y[moved] > 0, guess[moved] > 0
        varies = 0 < rises.mean() < 1
        found["model"][name] = {
            "accuracy": float((up == rises).mean()),
            "MCC": float(np.corrcoef(up, rises)[0, 1]) if varies else 0.0,
            "share of rises told": float(rises.mean()),
            "MAE": float(np.abs(y - guess).mean()),
            "days": int(moved.sum()),
        }
        # The accuracy of a coin has this standard deviation if days are independent.
        found["coin"][name] = {
            "accuracy": 0.5,
            "deviation": 0.5 / float(moved.sum()) ** 0.5,
            "share of rises": float(up.mean()),
        }
        found["naive price"][name] = {"MAE": float(np.abs(y).mean())}
    return found


def eth_ucy(data: Path, settings: Settings) -> dict[str, Any]:
    """Return the distances on each scene, for a network trained on the four others."""
    found: dict[str, Any] = {}
    for scene in SCENES:
        model = elman.Forecaster(
            targets=("x", "y"),
            plane=True,
            group="scene" if settings.get("neighbours") else None,
            context=SEEN,
            horizon=AHEAD,
            **settings,
        ).fit(walkers(data / scene / "train"), show=True)
        test = walkers(data / scene / "test")
        places = np.stack([test["x"], test["y"]], 1)
        first = dict(zip(reversed(test["unique_id"]), range(len(places))[::-1], strict=True))
        begin = {name: test["ds"][row] for name, row in first.items()}
        seen = {
            (name, step): row
            for row, (name, step) in enumerate(zip(test["unique_id"], test["ds"], strict=True))
        }
        output = model.backtest(test, cuts=len(places), stride=1, futures=20)
        whole = [
            [seen.get((name, begin[name] + at + n)) for n in range(-SEEN, AHEAD)]
            for name, at in zip(output.forecasts.unique_id, output.origins.tolist(), strict=True)
        ]
        kept = [n for n, rows in enumerate(whole) if None not in rows]
        path = places[np.array([whole[n] for n in kept])]
        y, futures = path[:, SEEN:], output.forecasts.futures
        assert futures is not None
        last, velocity = path[:, SEEN - 1, None], path[:, SEEN - 1, None] - path[:, SEEN - 2, None]
        course = last + velocity * np.arange(1, AHEAD + 1)[:, None]
        for who, guess in (("model", output.forecasts.median[kept]), ("constant velocity", course)):
            apart = np.linalg.norm(guess - y, axis=2)
            scores = {"ADE": float(apart.mean()), "FDE": float(apart[:, -1].mean())}
            found.setdefault(who, {})[scene] = scores
        apart = np.linalg.norm(futures[kept] - y[:, None], axis=3)
        found["model"][scene] |= {
            "best of 20 ADE": float(apart.mean(2).min(1).mean()),
            "best of 20 FDE": float(apart[..., -1].min(1).mean()),
            "windows": len(kept),
        }
    for scenes in found.values():
        scenes["mean"] = {
            name: statistics.mean(one[name] for one in scenes.values())
            for name in scenes["eth"]
            if name != "windows"
        }
    return found


def walkers(folder: Path) -> dict[str, list[Any]]:
    """Return the places in all files of a folder, sorted by person and time."""
    found: dict[str, list[Any]] = {name: [] for name in ("unique_id", "ds", "x", "y", "scene")}
    for path in sorted(folder.glob("*.txt")):
        rows = [line.split() for line in path.read_text("ascii").split("\n") if line.strip()]
        numbers = sorted(
            (float(who), float(frame), float(x), float(y)) for frame, who, x, y in rows
        )
        for who, frame, x, y in numbers:
            step, rest = divmod(frame, FRAMES)
            assert not rest, f"{path.name}: frame {frame} is not a multiple of {FRAMES}"
            values = (f"{path.stem} {who:.0f}", int(step), x, y, path.stem)
            for name, value in zip(found, values, strict=True):
                found[name].append(value)
    return found


def days_of(text: str, until: str) -> dict[str, list[Any]]:
    """Return dates, returns in percent, daily ranges and changes of volume of one share."""
    rows = []
    for row in csv.DictReader(text.splitlines()):
        date = row["Date"]
        if "/" in date:
            month, day, year = date.split("/")
            date = f"{year}-{int(month):02}-{int(day):02}"
        numbers = [float(row[key]) for key in ("Adj Close", "High", "Low", "Close", "Volume")]
        rows.append((date, *numbers))
    rows = sorted(row for row in rows if row[0] < until)
    _, close, high, low, end, volume = (np.array(part) for part in zip(*rows, strict=True))
    close = close.astype(np.float64)
    return {
        "date": [row[0] for row in rows[1:]],
        "y": (100 * np.diff(np.log(close))).tolist(),
        "range": (100 * (high - low) / end)[1:].tolist(),
        "volume": np.diff(np.log(volume + 1)).tolist(),
    }


def scores_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the test scores of the model and each baseline."""
    others = [metrics["baseline"], *metrics["others"]]
    return {"model": metrics["model"]["test"]} | {one["name"]: one["test"] for one in others}


def medians(runs: list[Any]) -> Any:
    """Return the median of the numbers at the same place in several results."""
    if isinstance(runs[0], dict):
        return {key: medians([run[key] for run in runs]) for key in runs[0]}
    return statistics.median(runs) if isinstance(runs[0], int | float) else runs[0]


RUNS: dict[str, Callable[[Path, Settings], dict[str, Any]]] = {
    run.__name__: run for run in (m4_hourly, etth1, pm25, stocks, eth_ucy)
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=list(RUNS))
    parser.add_argument("data", type=Path)
    parser.add_argument("seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--as", dest="result", help="name of the result; default: NAME")
    parser.add_argument("--try", action="store_true", dest="only_try", help="do not write a result")
    given = parser.parse_args()
    runs, minutes = [], []
    for seed in given.seeds:
        settings, began = settings_of(given.name, given.set, seed), time.monotonic()
        runs.append(RUNS[given.name](given.data, settings))
        minutes.append(round((time.monotonic() - began) / 60, 1))
    settings.pop("seed")
    facts = {
        "seeds": given.seeds,
        "settings": settings,
        "minutes of each": minutes,
        "core_minutes": round(time.process_time() / 60, 1),
        "scores": medians(runs),
    }
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
