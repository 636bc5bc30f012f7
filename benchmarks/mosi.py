"""Sentiment of the utterances of videos, from text, audio and video features (CMU-MOSI).

    python benchmarks/mosi.py FOLDER [--seeds 0 1 2] [--set NAME=VALUE ...] [--only INPUTS] [--try]

FOLDER contains transcripts.csv and the folders text, audio and video, with a row for each utterance
(arXiv:1606.06259).  A step is an utterance, an item is a video, and the label of an utterance can
depend on the whole video.  62 videos are for training, of which every eighth is used for
validation, and 31 for the test.  The program trains a model of each input, of each pair and of all
three, and a logistic regression on the same features of single utterances.  A last model also reads
the words of each utterance, which the features do not: its items are groups of rows.  It writes
benchmarks/results/mosi.json.

The text features were learned from the labels of the training videos, so a model of them is right
on 97 % of the validation videos and on 76 % of the test videos: no setting can be chosen on them.

Published test accuracy (Poria et al. 2017, "Context-Dependent Sentiment Analysis in User-Generated
Videos", ACL): text 78.1, audio 60.3, video 55.8, text and audio 80.2, text and video 79.3, audio
and video 62.1, all 80.3 %.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from texts import Settings, finish, settings_of

import elman
from elman.inputs.kinds import FUSION

INPUTS = ("text", "audio", "video")
PUBLISHED = {
    "text": 0.781,
    "audio": 0.603,
    "video": 0.558,
    "text, audio": 0.802,
    "text, video": 0.793,
    "audio, video": 0.621,
    "text, audio, video": 0.803,
}
HELD_OUT = 8  # every eighth training video is for validation
Columns = dict[str, list[Any]]


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def videos(folder: Path, part: str) -> Columns:
    """Return features (T, F) of each input and labels (T) for the videos of a part, in order.

    The features do not name their utterance, but their text features are also in a table that does.
    """
    numbers = {
        name: np.array(rows_of(folder / name / f"{name}_{part}0.csv"), dtype=np.float64)
        for name in INPUTS
    }
    named = rows_of(folder / f"text_{part}.csv")
    place = {tuple(np.float32(row[1:])): int(row[0]) for row in named}
    transcripts = rows_of(folder / "transcripts.csv")
    found: dict[str, list[tuple[int, int]]] = {}  # utterances of a video, and their rows
    for row, features in enumerate(numbers["text"][:, :-1]):
        name, _, number = transcripts[place[tuple(np.float32(features))]][0].rpartition("_")
        found.setdefault(name, []).append((int(number), row))
    order = [[row for _, row in sorted(some)] for _, some in sorted(found.items())]
    said = {tuple(np.float32(row[1:])): transcripts[int(row[0])][1] for row in named}
    features = np.float32(numbers["text"][:, :-1])
    columns: Columns = {name: [numbers[name][rows, :-1] for rows in order] for name in INPUTS}
    columns["words"] = [[said[tuple(features[row])].lower() for row in rows] for rows in order]
    columns["tags"] = [
        ["positive" if one else "negative" for one in numbers["text"][rows, -1]] for rows in order
    ]
    return columns


def split(parts: dict[str, Columns]) -> list[Columns]:
    """Return the training, the validation and the test videos."""
    whole = parts["train"]
    held = set(range(0, len(whole["tags"]), HELD_OUT))
    train, validation = (
        {name: [one for n, one in enumerate(whole[name]) if (n in held) == out] for name in whole}
        for out in (False, True)
    )
    return [train, validation, parts["test"]]


def accuracy(names: tuple[str, ...], parts: dict[str, Columns], settings: Settings) -> Any:
    """Return the test and the validation accuracy of a model of some inputs."""
    inputs = dict.fromkeys(names, "recordings")
    train, validation, test = (
        {name: part[name] for name in (*names, "tags")} for part in split(parts)
    )
    if len(names) == 1:
        settings = {k: v for k, v in settings.items() if k not in FUSION}
    model = elman.Tagger(**settings, inputs=inputs).fit(train, validation=validation, show=True)
    return model.evaluate(test)["accuracy"], model.evaluate(validation)["accuracy"]


def with_words(parts: dict[str, Columns], settings: Settings) -> Any:
    """Return the test and the validation accuracy of a model of all features and the words."""
    inputs = {**dict.fromkeys(INPUTS, "recordings"), "words": "text"}

    def rows(part: Columns) -> Columns:
        found: Columns = {name: [] for name in ("film", *inputs, "tags")}
        for n, tags in enumerate(part["tags"]):
            found["film"] += [f"film {n}"] * len(tags)
            found["tags"] += tags
            found["words"] += part["words"][n]
            for name in INPUTS:
                found[name] += list(part[name][n][:, None])  # a sequence of one step
        return found

    train, validation, test = map(rows, split(parts))
    model = elman.Tagger(**{**settings, "fusion": "late"}, inputs=inputs, group="film")
    model.fit(train, validation=validation, show=True)
    return model.evaluate(test)["accuracy"], model.evaluate(validation)["accuracy"]


def regression(names: tuple[str, ...], parts: dict[str, Columns]) -> float:
    """Return the test accuracy of a logistic regression on single utterances."""
    x, y = [], []
    for part in ("train", "test"):
        columns = parts[part]
        x.append(np.concatenate([np.concatenate(columns[name]) for name in names], 1))
        y.append(np.concatenate(columns["tags"]))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000))
    return float(model.fit(x[0], y[0]).score(x[1], y[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--try", action="store_true", dest="only_try")
    given = parser.parse_args()
    parts = {part: videos(given.data, part) for part in ("train", "test")}
    found: dict[str, Any] = {}
    for names in (some for n in (1, 2, 3) for some in combinations(INPUTS, n)):
        title = ", ".join(names)
        if given.only and title not in given.only:
            continue
        pairs = [
            accuracy(names, parts, settings_of("mosi", given.set, seed)) for seed in given.seeds
        ]
        test, validation = zip(*pairs, strict=True)
        found[title] = {
            "accuracy": statistics.median(test),
            "of each": test,
            "validation": validation,
            "logistic regression": regression(names, parts),
            "published": PUBLISHED[title],
        }
        print(title, json.dumps(found[title]), flush=True)
    if not given.only or "words" in given.only:
        pairs = [with_words(parts, settings_of("mosi", given.set, seed)) for seed in given.seeds]
        test, validation = zip(*pairs, strict=True)
        found["text, audio, video and words"] = {
            "accuracy": statistics.median(test),
            "of each": test,
            "validation": validation,
        }
    tags = [tag for some in parts["test"]["tags"] for tag in some]
    facts = {
        "settings": settings_of("mosi", given.set, given.seeds[0]),
        "seeds": given.seeds,
        "threads": torch.get_num_threads(),
        "most frequent label": max(map(tags.count, set(tags))) / len(tags),
        "scores": found,
    }
    finish("mosi", facts, only_try=given.only_try)


if __name__ == "__main__":
    main()
