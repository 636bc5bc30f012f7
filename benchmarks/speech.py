"""Scores of voice commands and speech to text on one data set.

    python benchmarks/speech.py NAME FOLDER [--seeds 0 1 2] [--set NAME=VALUE ...] [--try]

FOLDER has the manifests that benchmarks/sounds.py writes.

NAME                   settings       scores
speech_commands        .yaml          test accuracy
speech_commands_small  .yaml          test accuracy of a model of fewer than 100,000 parameters
fsdd                   .yaml          test accuracy, official split
fsdd_speakers          .yaml          test accuracy for each speaker, learned from the five others
an4                    .yaml          WER and CER; with an n-gram model of the training transcripts
an4_whole              an4            the same, learned from the validation part too
an4_live               .yaml          WER of a transducer that reads forward only
an4_live_whole         an4_live       the same, learned from the validation part too
fsdd_digits            .yaml          WER of connected digits, of a speaker without training data
fsdd_digits_known      .yaml          WER of other takes of the speakers in the training data
fsdd_digits_live       .yaml          fsdd_digits_known for a model that reads forward only

The weights of the language model, and whether words that are not in the training transcripts are
excluded, are chosen on the validation part.  The program writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from result import RESULTS
from texts import Settings, finish, parser_of, settings_of

import elman
from elman.decode.hypotheses import SpeechSearch
from elman.decode.kneser_ney import write_arpa
from elman.read.rows import Rows
from elman.report.transcripts import score_transcripts

WEIGHTS = (0.3, 0.5, 0.8, 1.2)  # of the language model
BONUSES = (0.0, 1.0, 2.0, 3.0, 4.5)  # for each word
WORDS = "with a 3-gram model"
Facts = dict[str, Any]
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def parts_of(folder: Path, split: str = "") -> dict[str, Path]:
    """Return the manifests of a folder by part."""
    found = {part: folder / split / f"{part}.csv" for part in ("train", "validation", "test")}
    return {part: path for part, path in found.items() if path.exists()}


def labels(folder: Path, settings: Settings, split: str = "") -> Facts:
    """Return the scores of a classifier, and of its baselines."""
    parts = parts_of(folder, split)
    begin = time.perf_counter()
    model = elman.Classifier(**settings)
    model.fit(parts["train"], validation=parts.get("validation"), test=parts["test"], show=True)
    return {
        "seed": settings["seed"],
        "accuracy": model.metrics["model"]["test"]["accuracy"],
        "baselines": {
            one["name"]: one["test"]["accuracy"]
            for one in (model.metrics["baseline"], *model.metrics["others"])
        },
        "parameters": sum(p.numel() for p in model.model.parameters()),
        "minutes": (time.perf_counter() - begin) / 60,
    }


def speakers(folder: Path, settings: Settings) -> Facts:
    """Return the scores for each speaker, learned from the others, and their means."""
    found = {name: labels(folder, settings, f"without_{name}") for name in SPEAKERS}
    runs = list(found.values())
    return {
        "seed": settings["seed"],
        "accuracy of each": {name: one["accuracy"] for name, one in found.items()},
        "accuracy": statistics.mean(one["accuracy"] for one in runs),
        "baselines": {
            name: statistics.mean(one["baselines"][name] for one in runs)
            for name in runs[0]["baselines"]
        },
        "parameters": runs[0]["parameters"],
        "minutes": sum(one["minutes"] for one in runs),
    }


def transcripts(folder: Path, settings: Settings, *, chosen_by: str | None = None) -> Facts:
    """Return the errors of a transcriber, alone and with a language model of its transcripts.

    With the name of another run in `chosen_by`, the validation part is also used for training, and
    the weights of the language model are those that the other run chose.
    """
    parts = parts_of(folder)
    if chosen_by:
        known, more = (parts[name].read_text() for name in ("train", "validation"))
        parts["train"] = folder / "train_and_validation.csv"
        parts["train"].write_text(known + more.partition("\n")[2])
    begin = time.perf_counter()
    model = elman.Transcriber(**settings)
    model.fit(parts["train"], validation=parts["validation"], test=parts["test"], show=True)
    minutes = (time.perf_counter() - begin) / 60
    texts = {
        name: [str(row.values[0]) for row in Rows(path, ["text"]).read()]
        for name, path in parts.items()
    }
    scores = model.metrics["model"]["test"]
    facts = {
        "seed": settings["seed"],
        "WER": scores["WER"],
        "CER": scores["CER"],
        "validation": model.metrics["model"]["validation"]["WER"],
        "baselines": {model.metrics["baseline"]["name"]: model.metrics["baseline"]["test"]["WER"]},
        "parameters": sum(p.numel() for p in model.model.parameters()),
        "minutes": minutes,
    }
    facts |= {name: value for name, value in scores.items() if name.startswith("confidence")}
    chosen = None
    if chosen_by:
        before = json.loads((RESULTS / f"{chosen_by}.json").read_text())["cells"][0][WORDS]
        chosen = before["lm_weight"], before["word_bonus"], before["closed vocabulary"]
    facts[WORDS] = with_words(model, parts, texts, chosen)
    return facts


def with_words(
    model: elman.Transcriber,
    parts: dict[str, Path],
    texts: dict[str, list[str]],
    chosen: tuple[float, float, bool] | None,
) -> Facts:
    """Return the errors with a 3-gram model of the training transcripts, and possibly their words.

    The weights, and whether other words are excluded, are `chosen`, or those with the fewest
    validation errors.
    """
    known = {word for text in texts["train"] for word in text.split()}
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "words.arpa")
        write_arpa(texts["train"], file, order=3)

        def errors(part: str, weight: float, bonus: float, closed: bool) -> Facts:
            search = SpeechSearch(beam=16, lm_weight=weight, word_bonus=bonus)
            words = known if closed else None
            found = model.predict(parts[part], search=search, language_model=file, words=words)
            return score_transcripts(found, texts[part])

        some = [chosen] if chosen else itertools.product(WEIGHTS, BONUSES, (False, True))
        tried = {given: errors("validation", *given)["WER"] for given in some}
        best = min(tried, key=lambda given: tried[given])
        scores = errors("test", *best)
    named = dict(zip(("lm_weight", "word_bonus", "closed vocabulary"), best, strict=True))
    return {**named, "WER": scores["WER"], "CER": scores["CER"], "validation": tried[best]}


RUNS: dict[str, tuple[Callable[[Path, Settings], Facts], str]] = {
    "speech_commands": (labels, "speech_commands"),
    "speech_commands_small": (labels, "speech_commands_small"),
    "fsdd": (lambda folder, settings: labels(folder, settings, "official"), "fsdd"),
    "fsdd_speakers": (speakers, "fsdd_speakers"),
    "an4": (transcripts, "an4"),
    "an4_whole": (partial(transcripts, chosen_by="an4"), "an4"),
    "an4_live": (transcripts, "an4_live"),
    "an4_live_whole": (partial(transcripts, chosen_by="an4_live"), "an4_live"),
    "fsdd_digits": (transcripts, "fsdd_digits"),
    "fsdd_digits_known": (transcripts, "fsdd_digits_known"),
    "fsdd_digits_live": (transcripts, "fsdd_digits_live"),
}


def summary(runs: list[Facts]) -> Facts:
    """Return the median of the scores of several seeds, the worst one and each of them."""
    found: Facts = {}
    for name in ("accuracy", "WER", "CER", "minutes"):
        values = [one[name] for one in runs if name in one]
        with_words = [one[WORDS][name] for one in runs if name in one.get(WORDS, {})]
        for who, some in ((name, values), (f"{name} {WORDS}", with_words)):
            if some:
                worst = min(some) if name == "accuracy" else max(some)
                middle = statistics.median(some)
                found[who] = {"middle": middle, "worst": worst, "of each": some}
    return found


def main() -> None:
    for _, name in RUNS.values():
        if not Path(__file__).with_name(f"{name}.yaml").exists():
            raise SystemExit(f"benchmarks/{name}.yaml is missing")
    parser = parser_of(RUNS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    run, name = RUNS[given.name]
    runs = []
    for seed in given.seeds:
        settings = settings_of(name, given.set, seed)
        runs.append(run(given.data, settings))
        print(json.dumps(runs[-1]), flush=True)
    facts = {
        "settings": settings_of(name, given.set, given.seeds[0]),
        "seeds": given.seeds,
        "threads": torch.get_num_threads(),
        "scores": summary(runs),
        "baselines": runs[0]["baselines"],
        "parameters": runs[0]["parameters"],
        "cells": runs,
    }
    finish(given.name, facts, only_try=given.only_try)


if __name__ == "__main__":
    main()
