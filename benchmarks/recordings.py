"""Scores of classifiers of recordings and their baselines on one data set.

    python benchmarks/recordings.py NAME DATA [--set NAME=VALUE ...] [--only SET ...] [--try]

NAME         DATA
driver       folder of the Driver Behavior data set (trips 17, 20, 21): the kind of 53 manoeuvres;
             ten folds of them, and the manoeuvres of each trip learned from the other two, if these
             have the same kind, with the axes of the earth and with those of the manoeuvre
watch        watch_dataset.npy of seglearn: the exercise of 140 recordings; each of ten people is
             predicted from the nine others
physionet    folder of PhysioNet 2012 with set-a and Outcomes-a.txt: death in hospital, five folds
             of the patients, five networks, each alone and all together; and live stays, one
             measurement at a time, compared with the batch
physionet_inputs  physionet with the series, and age, sex, height and kind of unit as columns, as
             several inputs; settings of physionet
defaults     folder with physionet2012 and the packages aeon and tslearn (from
             `pip install --no-deps --target FOLDER`): default settings on their sets, on the watch
             (a third of the people is the test part) and on PhysioNet (one fold)

Settings are otherwise those of benchmarks/NAME.yaml; `--set` changes them.  The test part of a fold
is used only for its scores.  It writes benchmarks/results/NAME.json, and for `defaults`
benchmarks/results/recordings_defaults.json, in which `--only` replaces the sets that it names.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads sleep

import numpy as np
import torch
from recording_sets import (
    APART,
    MEASUREMENTS,
    STATIC,
    Table,
    append,
    exercises,
    outcomes_of,
    rows_of,
    small_sets,
    stays_of,
    with_columns,
)
from result import RESULTS
from sklearn.metrics import recall_score
from sklearn.model_selection import StratifiedKFold
from texts import Settings, finish, parser_of, settings_of

import elman
from elman.encode.recordings import RecordingIndex
from elman.inputs.fused_trained import Fused
from elman.inputs.recording_trained import Recorded
from elman.read.examples import Examples
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Layout
from elman.read.rows import Rejects
from elman.report.classes import score_classes

AXES = {"aceleracaoLinear_terra": ("ax", "ay", "az"), "giroscopio_terra": ("gx", "gy", "gz")}
NETWORKS, TOGETHER = 5, "five networks together"
SEEDS = (0, 1, 2)  # for the defaults


def driver(data: Path, settings: Settings) -> dict[str, Any]:
    """Return accuracy and macro accuracy over ten folds and from trip to trip."""
    channels = tuple(axis for axes in AXES.values() for axis in axes)
    trips: Table = {name: [] for name in ("unique_id", "ds", *channels)}
    events: Table = {name: [] for name in ("unique_id", "label", "start", "end")}
    for trip in ("17", "20", "21"):
        facts = json.loads((data / trip / "viagem.json").read_text())
        began = facts["firstCollectionUptimeNanos"]
        for sensor, axes in AXES.items():
            names = dict(zip(axes, "xyz", strict=True))
            for row in rows_of(data / trip / f"{sensor}.csv"):
                numbers = [float(row[names[one]]) if one in names else None for one in channels]
                append(trips, trip, (int(row["uptimeNanos"]) - began) / 1e9, *numbers)
        for row in rows_of(data / trip / "groundTruth.csv"):
            append(events, trip, row["evento"], row["inicio"], row["fim"])
    whole = RecordingSource(trips, events, Layout(channels)).read(Rejects(None))
    index = RecordingIndex.build(whole, rate=settings.pop("rate"))
    axes = [index.resampled(one).values for one in whole.items]
    labels, trip = np.array(whole.labels), np.array([one.unique_id for one in whole.items])

    def run(arrays: list[Any], train: list[int], test: list[int]) -> dict[str, list[str]]:
        model = elman.Classifier(**settings)
        model.fit([arrays[n] for n in train], labels[train].tolist())
        held, learned = (model.items([arrays[n] for n in part]) for part in (test, train))
        output = {"model": model.predict(held).tolist()}
        targets, _ = model.labels.numbers([(labels[n],) for n in train])
        others, count = {"test": Examples(held)}, len(model.classes)
        for name, p in model.input_.label_baselines(Examples(learned), targets, others, count):
            output[name] = [str(model.classes[k]) for k in p["test"].argmax(1)]
        return output

    folds = list(StratifiedKFold(10, shuffle=True, random_state=0).split(labels, labels))
    trips_apart = []
    for one in sorted(set(trip)):
        train = np.flatnonzero(trip != one)
        known = np.isin(labels, labels[train])
        trips_apart.append((train, np.flatnonzero((trip == one) & known)))
    own = partial(run, [turned(one) for one in axes])
    return {
        "ten folds": scored(labels, partial(run, axes), folds),
        "from trip to trip": scored(labels, partial(run, axes), trips_apart),
        "from trip to trip, axes of the manoeuvre": scored(labels, own, trips_apart),
    }


def turned(x: Any) -> Any:
    """Turn the axes of the earth to the main direction in the plane, whose mean is positive."""
    plane = np.nan_to_num(x[:, :2])
    directions = np.linalg.svd(plane, full_matrices=False)[2]
    sign = np.sign((plane @ directions[0]).mean()) or 1.0
    first, second = [sign * np.nan_to_num(x[:, n : n + 2]) @ directions.T for n in (0, 3)]
    return np.concatenate([first, x[:, 2:3], second, x[:, 5:]], 1)


def scored(
    labels: Any, run: Callable[[Any, Any], dict[str, list[str]]], folds: list[tuple[Any, Any]]
) -> dict[str, Any]:
    """Return accuracy and macro accuracy of each model over all folds together."""
    output: dict[str, dict[int, str]] = {}
    for train, test in folds:
        for name, guesses in run(train.tolist(), test.tolist()).items():
            output.setdefault(name, {}).update(zip(test.tolist(), guesses, strict=True))
    found = {}
    for name, guesses in output.items():
        places = sorted(guesses)
        true, guess = labels[places], [guesses[n] for n in places]
        kinds = sorted(set(true))
        found[name] = {
            "accuracy": float(np.mean(true == np.array(guess))),
            "macro accuracy": float(recall_score(true, guess, labels=kinds, average="macro")),
            "examples": len(places),
            "kinds": len(kinds),
        }
    return found


def watch(data: Path, settings: Settings) -> dict[str, Any]:
    """Return the accuracy on each person, learned from the others."""
    whole = np.load(data, allow_pickle=True).item()
    who = np.array(whole["subject"])
    found: dict[str, list[float]] = {}
    for person in sorted(set(who.tolist())):
        train, test = exercises(whole, who != person), exercises(whole, who == person)
        model = elman.Classifier(**settings).fit(*train, test=test)
        for name, scores in scores_of(model.metrics).items():
            found.setdefault(name, []).append(scores["accuracy"])
    return {
        name: {"accuracy": statistics.mean(each), "of each": [round(x, 4) for x in each]}
        for name, each in found.items()
    }


def write_table(path: Path, table: Table) -> Path:
    """Write a table as CSV, and return its path."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))
    return path


def physionet(data: Path, settings: Settings, *, apart: bool = False) -> dict[str, Any]:
    """Return AUROC, AUPRC and calibration on five folds, and how live and batch differ.

    If `apart`, values that do not change are inputs of their own, and live stays are not compared.
    """
    records, stays, labels = stays_of(data)
    form = APART if apart else MEASUREMENTS
    if apart:
        records = with_columns(records)
    found: dict[str, dict[str, list[float]]] = {}
    reads = Fused if apart else Recorded
    baselines = reads.label_baselines
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder, "records.csv"), records)
        for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels):
            known = write_table(Path(folder, "train.csv"), outcomes_of(stays, labels, train))
            held = write_table(Path(folder, "test.csv"), outcomes_of(stays, labels, test))
            output, true = [], labels[test].astype(int)
            for seed in range(NETWORKS):
                # Baselines do not depend on the seed.
                reads.label_baselines = baselines if not seed else lambda *_: []
                model = elman.Classifier(**form, **settings | {"seed": seed})
                model.fit(table, known, test=None if seed else (table, held), show=True)
                p = model.predict_proba((table, held))[:, 1]
                # Predictions are in the order of the table, which is sorted by name.
                assert [stays[n] for n in test] == sorted(stays[n] for n in test)
                output.append(p)
                add(found, f"seed {seed}", scores_on(true, p))
                others = {} if seed else scores_of(model.metrics)
                for name, scores in others.items():
                    if name != "model":
                        add(found, name, scores)
            add(found, TOGETHER, scores_on(true, np.mean(output, axis=0)))
    result: dict[str, Any] = {}
    for name, scores in found.items():
        result[name] = {score: statistics.mean(each) for score, each in scores.items()}
        for score in ("AUC", "AUPRC"):
            result[name][f"{score} of each"] = [round(x, 4) for x in scores[score]]
    result["model"] = {"seeds": "median of five"}
    for score in ("AUC", "AUPRC", "ECE"):
        each = [result[f"seed {seed}"][score] for seed in range(NETWORKS)]
        result["model"][score] = statistics.median(each)
    if not apart:
        result["live"] = live(model, records, [stays[n] for n in test[:20]])
    return result


def scores_on(true: Any, p: Any) -> dict[str, float]:
    """Return the scores of probabilities of the second of two classes."""
    both = torch.from_numpy(np.stack([1 - p, p], 1)).float()
    return score_classes(both, torch.from_numpy(true), several=False)


def add(found: dict[str, Any], name: str, scores: dict[str, float]) -> None:
    """Add the scores of one fold."""
    for score in ("AUC", "AUPRC", "ECE", "accuracy"):
        found.setdefault(name, {}).setdefault(score, []).append(scores[score])


def live(model: elman.Classifier, records: Table, stays: list[str]) -> dict[str, Any]:
    """Compare live stays, one measurement at a time, with the batch on the same measurements."""
    differences, times = [], []
    for stay in stays:
        chosen_rows = [n for n, name in enumerate(records["unique_id"]) if name == stay]
        part = {name: [column[n] for n in chosen_rows] for name, column in records.items()}
        one = model.items(part)[0]
        stream = model.stream(**dict(zip(STATIC, one.static, strict=True)))
        for step, (time_, values) in enumerate(zip(one.times, one.values, strict=True), 1):
            began = time.perf_counter()
            output = stream.push(values, at=float(time_))
            times.append(time.perf_counter() - began)
            if step in (1, 5, len(one) // 2, len(one)):
                p = model.predict_proba([one.part(0, step)])[0]
                pairs = zip(output.values(), p.tolist(), strict=True)
                differences.append(max(abs(a - b) for a, b in pairs))
    return {
        "largest difference from the batch": max(differences),
        "compared": len(differences),
        "microseconds a measurement": round(1e6 * statistics.median(times), 1),
    }


def defaults(
    data: Path, settings: Settings, only: Sequence[str] = (), found: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the scores of the defaults, their linear model and the baselines on test data."""
    found = {} if found is None else found
    for name, load in small_sets(data).items():
        if only and name not in only:
            continue
        train, test, more = load()
        score = "AUC" if name == "physionet" else "accuracy"
        scores: dict[str, list[float]] = {}
        seconds = []
        for seed in SEEDS if name != "physionet" else SEEDS[:1]:
            began = time.process_time()
            model = elman.Classifier(**settings | more | {"seed": seed}).fit(*train, test=test)
            seconds.append(time.process_time() - began)
            for who, each in scores_of(model.metrics).items():
                scores.setdefault(who, []).append(each[score])
            bag = None if name == "physionet" else model.input_.bag(model.items(test[0]))
            if bag is not None:
                alone = model.classes_[model.head.wide(bag).argmax(1)]
                right = float(np.mean(alone == np.array(test[1])))
                scores.setdefault("linear model", []).append(right)
        means = {who: round(statistics.mean(each), 4) for who, each in scores.items()}
        best = max(mean for who, mean in means.items() if who not in ("model", "linear model"))
        count = model.metrics["model"]["test"]["examples"]
        found[name] = {
            "training": len(np.unique(train[1]["unique_id"] if more else range(len(train[1])))),
            "test": count,
            "score": score,
            **means,
            "model, each seed": [round(one, 4) for one in scores["model"]],
            "standard error": round((best * (1 - best) / count) ** 0.5, 4),
            "seconds": round(statistics.mean(seconds)),
        }
        print(name, found[name], flush=True)
    return found


def scores_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the test scores of the model and each baseline."""
    others = [metrics["baseline"], *metrics.get("others", [])]
    return {"model": metrics["model"]["test"]} | {one["name"]: one["test"] for one in others}


RUNS: dict[str, Callable[[Path, Settings], dict[str, Any]]] = {
    run.__name__: run for run in (driver, watch, physionet, defaults)
} | {"physionet_inputs": partial(physionet, apart=True)}


def main() -> None:
    given = parser_of(RUNS).parse_args()
    settings = settings_of(given.name.removesuffix("_inputs"), given.set, 0)
    name = given.result or given.name
    if given.name == "defaults":
        name = given.result or "recordings_defaults"
        before = RESULTS / f"{name}.json"
        kept = json.loads(before.read_text())["scores"] if given.only and before.exists() else {}
        scores = defaults(given.data, settings, given.only, kept)
    else:
        scores = RUNS[given.name](given.data, settings)
    minutes = round(time.process_time() / 60, 1)
    facts = {"settings": settings, "core_minutes": minutes, "scores": scores}
    finish(name, facts, only_try=given.only_try)


if __name__ == "__main__":
    main()
