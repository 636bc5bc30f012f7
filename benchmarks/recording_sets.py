"""Recordings of public data sets, for benchmarks/recordings.py."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold
from texts import Settings

Table = dict[str, list[Any]]
Pair = tuple[Any, Any]  # recordings and labels
STATIC = ("Age", "Gender", "Height", "ICUType")
MEASUREMENTS = {"variable": "variable", "static": STATIC}  # settings of PhysioNet
KINDS = dict(zip(STATIC, ("number", "category", "number", "category"), strict=True))
APART = {"variable": "variable", "inputs": {"stay": "recordings", **KINDS}}
AEON = ("ArrowHead", "BasicMotions", "GunPoint", "ItalyPowerDemand", "JapaneseVowels", "OSULeaf")


def append(table: Table, *values: Any) -> None:
    """Append a row."""
    for column, value in zip(table.values(), values, strict=True):
        column.append(value)


def exercises(whole: dict[str, Any], mask: Any) -> Pair:
    """Return some of the recordings of the watch, and their labels."""
    rows = np.flatnonzero(mask).tolist()
    arrays = [np.asarray(whole["X"][n], dtype=np.float64) for n in rows]
    return arrays, [whole["y_labels"][whole["y"][n]] for n in rows]


def stays_of(data: Path) -> tuple[Table, list[str], Any]:
    """Return the measurements, and the names and outcomes of the stays."""
    records: Table = {"unique_id": [], "ds": [], "variable": [], "value": []}
    for path in sorted((data / "set-a").glob("*.txt")):
        for row in rows_of(path):
            missing = row["Parameter"] in ("Height", "Weight", "Gender") and float(row["Value"]) < 0
            if row["Parameter"] not in ("RecordID", "") and not missing:
                append(records, path.stem, row["Time"], row["Parameter"], row["Value"])
    rows = rows_of(data / "Outcomes-a.txt")
    outcomes = {row["RecordID"]: row["In-hospital_death"] for row in rows}
    stays = sorted(outcomes.keys() & set(records["unique_id"]))
    return records, stays, np.array([outcomes[stay] for stay in stays])


def with_columns(records: Table) -> Table:
    """Return the measurements of stays, with the values that do not change in columns."""
    rows = list(zip(*records.values(), strict=True))
    fixed = {(stay, name): value for stay, _, name, value in rows if name in STATIC}
    kept = [row for row in rows if row[2] not in STATIC]
    measured = {row[0] for row in kept}
    without = sorted({row[0] for row in rows} - measured)  # their recording is missing
    kept += [(stay, "00:00", kept[0][2], None) for stay in without]
    kept.sort(key=lambda row: row[0])
    table = dict(zip(records, map(list, zip(*kept, strict=True)), strict=True))
    return table | {
        name: [fixed.get((stay, name)) for stay in table["unique_id"]] for name in STATIC
    }


def outcomes_of(stays: list[str], labels: Any, rows: Any) -> Table:
    """Return a table of the names and outcomes of some stays."""
    return {"unique_id": [stays[n] for n in rows], "label": labels[rows].tolist()}


def small_sets(data: Path) -> dict[str, Callable[[], tuple[Pair, Pair, Settings]]]:
    """Return for each set a function that reads its training part, test part and settings."""
    folder = data / "aeon" / "datasets" / "data"
    sets = {name: partial(of_package, folder / name) for name in AEON}
    return sets | {"Trace": partial(trace, data), "watch": people, "physionet": partial(fold, data)}


def of_package(folder: Path) -> tuple[Pair, Pair, Settings]:
    train, test = (read_ts(folder / f"{folder.name}_{part}.ts") for part in ("TRAIN", "TEST"))
    return train, test, {}


def read_ts(path: Path) -> Pair:
    """Return recordings (T, C) and labels of lines with colons between channels and the label."""
    arrays, labels = [], []
    for line in path.read_text().splitlines():
        if line.strip() and line[0] not in "#@":
            *channels, label = line.strip().split(":")
            arrays.append(np.array([channel.split(",") for channel in channels], dtype=float).T)
            labels.append(label)
    return arrays, labels


def trace(data: Path) -> tuple[Pair, Pair, Settings]:
    file = np.load(data / "tslearn" / ".cached_datasets" / "Trace.npz")
    train, test = (
        ([one.reshape(-1, 1) for one in file[f"X_{part}"]], file[f"y_{part}"].tolist())
        for part in ("train", "test")
    )
    return train, test, {}


def people() -> tuple[Pair, Pair, Settings]:
    """Return the recordings of the watch, with every third person in the test part."""
    import seglearn

    file = Path(seglearn.__file__).parent / "data" / "watch_dataset.npy"
    whole = np.load(file, allow_pickle=True).item()
    who = np.array(whole["subject"])
    tested = np.isin(who, np.unique(who)[::3])
    return exercises(whole, ~tested), exercises(whole, tested), {}


def fold(data: Path) -> tuple[Pair, Pair, Settings]:
    """Return the first of five folds."""
    records, stays, labels = stays_of(data / "physionet2012")
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels)
    train, test = ((records, outcomes_of(stays, labels, part)) for part in next(folds))
    return train, test, MEASUREMENTS


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, skipinitialspace=True))
