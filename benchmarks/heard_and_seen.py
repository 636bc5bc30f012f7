"""Digits that are heard and seen: recordings and images of one digit, both with noise.

    python benchmarks/heard_and_seen.py FSDD [--seeds 0 1 2] [--alone EPOCHS]
        [--set NAME=VALUE ...] [--try]

FSDD is the folder of the Free Spoken Digit Dataset.  Each of its recordings is paired with an image
of the same digit of scikit-learn's digits; recordings and images of the test part are in no other
part.  The program compares a model of both inputs with a model of each input alone, and with itself
when one input is missing in the test data.  With `drop_inputs=0.5`, a model of both sees each input
alone in three eighths of the examples; `--alone` is the number of epochs of the models of one
input, so that these can see an input equally often.  It writes
benchmarks/results/heard_and_seen.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from sklearn.datasets import load_digits
from texts import finish

import elman
from elman.inputs.kinds import FUSION

SNR = 4.0  # decibels of the recordings above their noise
BLUR = 4.0  # standard deviation of the noise of pixels, which are in 0..16
TEST_IMAGES = 500
INPUTS = {"sound": "audio", "image": "image"}
Columns = dict[str, list[Any]]


def pairs(folder: Path, seed: int) -> dict[str, Columns]:
    """Return recordings, images and labels of the training and the test part."""
    draw = np.random.default_rng(seed)
    images, digits = load_digits(return_X_y=True)
    order = draw.permutation(len(images))
    places = {"test": order[:TEST_IMAGES], "train": order[TEST_IMAGES:]}
    found: dict[str, Columns] = {part: {"sound": [], "image": [], "label": []} for part in places}
    for file in sorted((folder / "recordings").glob("*.wav")):
        digit, _, take = file.stem.split("_")
        part = "test" if int(take) < 5 else "train"
        x, rate = soundfile.read(file, dtype="float32")
        noise = draw.standard_normal(len(x)) * np.sqrt((x**2).mean()) * 10 ** (-SNR / 20)
        same = [n for n in places[part] if digits[n] == int(digit)]
        image = images[draw.choice(same)].reshape(8, 8) + BLUR * draw.standard_normal((8, 8))
        columns = found[part]
        columns["sound"].append(((x + noise).clip(-1, 1).astype(np.float32), rate))
        columns["image"].append((image.clip(0, 16) * 15.9).astype(np.uint8))
        columns["label"].append(digit)
    return found


def scores(
    parts: dict[str, Columns], settings: dict[str, Any], alone: int | None
) -> dict[str, Any]:
    """Return the test accuracy of each model, and of the model of both with one input missing."""
    found: dict[str, Any] = {"seed": settings["seed"]}
    for names in (["sound"], ["image"], ["sound", "image"]):
        chosen = (
            settings if len(names) > 1 else {n: settings[n] for n in settings if n not in FUSION}
        )
        if alone is not None and len(names) == 1:
            chosen = {**chosen, "epochs": alone}
        model = elman.Classifier(**chosen, inputs={name: INPUTS[name] for name in names})
        train, test = (
            {name: columns[name] for name in (*names, "label")} for columns in parts.values()
        )
        model.fit(train, show=True)
        result = model.evaluate(test)
        found[" and ".join(names)] = result["accuracy"]
        found |= {name: value for name, value in result.items() if "with only" in name}
        if len(names) == 2:
            table = model.metrics["tables"][-1]
            found["gates"] = {row[0]: row[-1] for row in table["rows"]}
            found["baselines"] = {
                one["name"]: one["validation"]["accuracy"]
                for one in (model.metrics["baseline"], *model.metrics["others"])
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--alone", type=int)
    parser.add_argument("--try", action="store_true", dest="only_try")
    given = parser.parse_args()
    settings = dict(one.split("=", 1) for one in given.set)
    settings = {
        name: json.loads(value) if value[0] in "0123456789tf" else value
        for name, value in settings.items()
    }
    runs = []
    for seed in given.seeds:
        parts = pairs(given.data, seed)
        ordered = {part: parts[part] for part in ("train", "test")}
        runs.append(scores(ordered, {**settings, "seed": seed, "device": "cpu"}, given.alone))
        print(json.dumps(runs[-1]), flush=True)
    facts = {
        "settings": settings,
        "epochs of a model of one input": given.alone,
        "seeds": given.seeds,
        "threads": torch.get_num_threads(),
        "scores": {
            name: statistics.median(run[name] for run in runs)
            for name in runs[0]
            if isinstance(runs[0][name], float)
        },
        "cells": runs,
    }
    finish("heard_and_seen", facts, only_try=given.only_try)


if __name__ == "__main__":
    main()
