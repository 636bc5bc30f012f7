"""Small models of every task and kind of input, to compare versions of Elman.

    python -m tests.tasks.every_kind FOLDER

This command writes the data and the trained models to FOLDER and the outputs of the models to
FOLDER/outputs.json, and prints a hash of the weights of each model.  If two versions print the same
hashes on one machine, they train the same models.

tests/folders is the FOLDER of version 0.1.0 without the reports and without the large checkpoint of
`recordings`.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import elman
from elman.decode.beam import Search

SMALL: dict[str, Any] = {
    "hidden_size": 6,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.02,
    "device": "cpu",
}
NOUNS, VERBS = ("cat", "dog", "hen", "fox"), ("sees", "likes", "hears")
LINES = [f"the {a} {verb} the {b}" for a in NOUNS for verb in VERBS for b in NOUNS]


class Case(NamedTuple):
    """A model, the names of its files, and its outputs after training."""

    model: Any
    files: tuple[str, ...]
    outputs: Callable[[Any, Path], Any]


def _probabilities(model: Any, data: Path) -> Any:
    return model.predict_proba(LINES[:5] if not model.channels and not model.variable else data)


def _steps(model: Any, data: Path) -> Any:
    return model.predict(data)


def _words(model: Any, _data: Path) -> Any:
    return model.predict([line.split() for line in LINES[:5]])


def _next(model: Any, _data: Path) -> Any:
    return [p for _, p in model.predict("the cat", k=5)]


def _targets(model: Any, _data: Path) -> Any:
    return [[score for _, score in some] for some in model.n_best(LINES[:5], Search(beam=2))]


def _forecast(model: Any, data: Path) -> Any:
    found = model.predict(data)
    return [found.mean.tolist(), found.quantiles.tolist()]


SERIES: dict[str, Any] = {**SMALL, "horizon": 4, "context": 12, "season": 4, "windows": 48}
CASES = {
    "texts": Case(elman.Classifier(**SMALL), ("labels.csv",), _probabilities),
    "several-labels": Case(
        elman.Classifier(**SMALL, several=True, separator=" ", label="tags", pooling="attention"),
        ("labels.csv",),
        _probabilities,
    ),
    "recordings": Case(
        elman.Classifier(**SMALL, channels=("a", "b"), static=("age",), bidirectional=False),
        ("recordings.csv",),
        _probabilities,
    ),
    "windows": Case(
        elman.Classifier(**SMALL, channels=("a", "b"), window=6, wide=False, jitter=0.1),
        ("recordings.csv",),
        _probabilities,
    ),
    "measurements": Case(
        elman.Classifier(**SMALL, variable="name", cell="grud", bidirectional=False, wide=False),
        ("measurements.csv",),
        _probabilities,
    ),
    "words": Case(elman.Tagger(**SMALL, character_size=4), ("tags.conll",), _words),
    "chain": Case(
        elman.Tagger(**SMALL, character_size=0, chain=True, cell="gru"), ("tags.conll",), _words
    ),
    "steps": Case(
        elman.Tagger(**SMALL, channels=("a", "b"), tags="state", bidirectional=False),
        ("recordings.csv",),
        _steps,
    ),
    "language-model": Case(
        elman.LanguageModel(**SMALL, bptt=6, document="line"), ("text.txt",), _next
    ),
    "characters": Case(
        elman.LanguageModel(**SMALL, bptt=9, tokens="character", tied=True, cell="gru"),
        ("text.txt",),
        _next,
    ),
    "translator": Case(elman.Translator(**SMALL), ("sources.txt", "targets.txt"), _targets),
    "transformer": Case(
        elman.Translator(**{**SMALL, "hidden_size": 8}, cell="transformer", tokens="word"),
        ("sources.txt", "targets.txt"),
        _targets,
    ),
    "summary": Case(
        elman.Translator(
            **SMALL, kind="summary", shared=True, copying=True, coverage=0.1, input_feeding=True
        ),
        ("sources.txt", "targets.txt"),
        _targets,
    ),
    "dialogue": Case(
        elman.Translator(**SMALL, kind="dialogue", tokens="word"), ("talk.txt",), _targets
    ),
    "forecaster": Case(elman.Forecaster(**SERIES), ("series.csv",), _forecast),
    "autoregressive": Case(
        elman.Forecaster(
            **SERIES, decoder="autoregressive", past=("wind",), static=("place",), samples=20
        ),
        ("series.csv",),
        _forecast,
    ),
    "counts": Case(
        elman.Forecaster(
            **SERIES,
            output="negative_binomial",
            scaling="mean",
            per_series=True,
            future=("holiday",),
            conformal=True,
            quantiles=(0.3, 0.5, 0.7),
        ),
        ("series.csv",),
        _forecast,
    ),
    "places": Case(
        elman.Forecaster(
            **SERIES,
            targets=("y", "x"),
            plane=True,
            scaling="velocity",
            neighbours=2,
            jitter=0.1,
            hold_out="series",
        ),
        ("places.csv",),
        _forecast,
    ),
}


def write_data(folder: Path) -> None:
    """Write a small file for each kind of data."""
    draw = np.random.default_rng(0)
    tagged = [
        "\n".join(f"{word}\t{tag}" for word, tag in zip(line.split(), "DNVDN", strict=True)) + "\n"
        for line in LINES
    ]
    labels = [f"{line},{line.split()[1]},{line.split()[1]} {line.split()[2]}" for line in LINES]
    recordings = ["unique_id,ds,a,b,age,state,label"]
    measurements = ["unique_id,ds,name,value,label"]
    for n in range(24):
        for t in range(10):
            state = "up" if (t // 3 + n) % 2 else "down"
            a, b = math.sin(t * (1 + n % 2)) + draw.normal() / 9, draw.normal() + (state == "up")
            recordings.append(f"r{n},{t},{a:.4f},{b:.4f},{20 + n},{state},{n % 2}")
            name, at = ("pulse", "pressure")[t % 2], t + round(draw.uniform(0, 0.9), 2)
            measurements.append(f"r{n},{at},{name},{a if t % 2 else b:.4f},{n % 2}")
    series, places = ["unique_id,ds,y,wind,holiday,place"], ["unique_id,ds,y,x"]
    for n, name in enumerate("abc"):
        for t in range(48):
            y = 5 + 3 * n + round(3 * math.sin(t * math.pi / 2) + draw.uniform(0, 2))
            day = f"2024-{1 + t // 28:02d}-{1 + t % 28:02d}"
            future = "" if t >= 44 else str(y)
            series.append(f"{name},{day},{future},{draw.normal():.3f},{t % 7 == 0:d},{name * 2}")
    for n in range(12):
        for t in range(24):
            places.append(
                f"p{n},{t},{n % 3 + t * 0.1 * (1 + n % 2):.3f},{n // 3 + 0.02 * t * t:.3f}"
            )
    folder.mkdir(parents=True)
    for file, content in {
        "text.txt": LINES * 2,
        "labels.csv": ["text,label,tags", *labels],
        "tags.conll": tagged,
        "sources.txt": LINES,
        "targets.txt": [line[4:] for line in LINES],
        "talk.txt": [f"{a} __eou__ {b} __eou__ {a}" for a, b in pairwise(LINES)],
        "recordings.csv": recordings,
        "measurements.csv": measurements,
        "series.csv": series,
        "places.csv": places,
    }.items():
        (folder / file).write_text("\n".join(content) + "\n")


def hash_of(model: Any) -> str:
    """Return a hash of the weights of a model."""
    weights = hashlib.sha256()
    for name, value in sorted(model.model.state_dict().items()):
        weights.update(name.encode() + value.numpy().tobytes())
    return weights.hexdigest()[:16]


def outputs_of(name: str, model: Any, data: Path) -> Any:
    """Return the outputs of the model of a case as lists."""
    case = CASES[name]
    found = case.outputs(model, data / case.files[0])
    return found.tolist() if isinstance(found, np.ndarray) else found


def main(folder: Path) -> None:
    """Train every case into a folder, and print the hashes of the weights."""
    data = folder / "data"
    if not data.exists():
        write_data(data)
    outputs = {}
    for name, case in CASES.items():
        model = case.model.fit(*(data / file for file in case.files), out=folder / name)
        outputs[name] = outputs_of(name, model, data)
        print(name, hash_of(model), flush=True)
    (folder / "outputs.json").write_text(json.dumps(outputs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
