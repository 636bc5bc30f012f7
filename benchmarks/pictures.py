"""Scores of models of images and of one-dimensional images, with data that need no download.

    python benchmarks/pictures.py NAME [--seeds 0 1 2] [--set NAME=VALUE ...] [--try]
    python benchmarks/pictures.py NAME --draw FOLDER    # only write some images, as PNG

NAME         data, and scores
digits       scikit-learn's digits of 8 x 8, read pixel by pixel: test accuracy
mnist1d      MNIST-1D (Greydanus and Kobak 2024, arXiv:2011.14439), made by `pip install mnist1d`:
             4,000 training and 1,000 test sequences of 40 numbers, read one by one: test accuracy
captions     drawings of two shapes and their descriptions, such as "a small red circle left of a
             large blue square": share of the descriptions that are right in every word.  Both
             shapes of a test drawing have a colour that this shape never has in training.
handwriting  words in four italic fonts of matplotlib, distorted at random: CER.  Test words are in
             no other part.

Parts are drawn with the seed of the model, but the test part of MNIST-1D is the published one.
Settings are those of benchmarks/NAME.yaml; `--set` changes them.  The program writes
benchmarks/results/NAME.json.  `minutes` are those of the processor.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import torch
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from speech import Facts, summary
from texts import Settings, finish, settings_of

import elman
from elman.report.transcripts import score_transcripts

Pixels = NDArray[np.uint8]
Part = tuple[list[Any], list[Any]]  # inputs, and the label or the text of each
SIZES = {"small": 5.5, "large": 9.5}  # half of the side, in pixels
COLOURS = {
    "red": (220, 50, 50),
    "green": (50, 180, 60),
    "blue": (60, 80, 230),
    "yellow": (230, 210, 50),
    "purple": (160, 50, 190),
    "white": (240, 240, 240),
    "orange": (235, 130, 30),
    "cyan": (40, 200, 210),
    "pink": (240, 150, 190),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
SIDE = 56  # rows and columns of a drawing
FONTS = ("cmti10", "STIXGeneralItalic", "DejaVuSerif-Italic", "DejaVuSans-Oblique")
TREES = 200  # of the forests
HEIGHT = 48  # rows of the image of a word


# ---- drawings of two shapes


def combinations(part: str) -> list[tuple[str, str]]:
    """Return the colours and shapes of a part; each one is in one part only."""
    colours = list(COLOURS)
    place = {"test": (0,), "validation": (1,), "train": range(2, len(colours))}[part]
    return [(colours[(n + k) % len(colours)], one) for n, one in enumerate(SHAPES) for k in place]


def outline(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    """Return the corners of a shape around (x, y)."""
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    thin = r / 3
    corners = {
        "circle": np.c_[np.cos(t), np.sin(t)] * r,
        "ring": np.c_[np.cos(t), np.sin(t)] * r,
        "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.9 * r,
        "triangle": np.array([(0, -1), (1, 1), (-1, 1)]) * r,
        "diamond": np.array([(0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)]) * r,
        "cross": np.array(
            [
                *((-thin, -r), (thin, -r), (thin, -thin), (r, -thin), (r, thin), (thin, thin)),
                *((thin, r), (-thin, r), (-thin, thin), (-r, thin), (-r, -thin), (-thin, -thin)),
            ]
        ),
    }[shape]
    return [(x + a, y + b) for a, b in corners.tolist()]


def drawing(part: str, draw: np.random.Generator) -> tuple[Pixels, str]:
    """Return a noisy drawing (H, W, 3) of two shapes that do not touch, and its description."""
    known = combinations(part)
    pairs = [known[n] for n in draw.integers(len(known), size=2)]
    sizes = [str(one) for one in draw.choice(list(SIZES), 2)]
    beside = bool(draw.integers(2))
    radii = [SIZES[one] * draw.uniform(0.9, 1.1) for one in sizes]
    while True:  # draw places until the relation is clear
        places = [draw.uniform(1.15 * r, SIDE - 1.15 * r, 2) for r in radii]
        along, across = (places[1] - places[0])[:: 1 if beside else -1]
        if along > 1.2 * sum(radii) and abs(across) < 0.6 * along:
            break
    dark = [int(one) for one in draw.integers(0, 60, 3)]
    image = Image.new("RGB", (4 * SIDE, 4 * SIDE), tuple(dark))
    pen = ImageDraw.Draw(image)
    for (colour, shape), (x, y), r in zip(pairs, places, radii, strict=True):
        shade = draw.uniform(0.75, 1.05) * np.array(COLOURS[colour]) + 12 * draw.standard_normal(3)
        fill = tuple(shade.clip(0, 255).astype(int).tolist())
        pen.polygon([(4 * a, 4 * b) for a, b in outline(shape, x, y, r)], fill=fill)
        if shape == "ring":
            hole = outline("circle", x, y, 0.55 * r)
            pen.polygon([(4 * a, 4 * b) for a, b in hole], fill=tuple(dark))
    pixels = np.asarray(image.reduce(4), dtype=np.float64)
    pixels = pixels + 12 * draw.standard_normal(pixels.shape)
    first, second = (
        f"a {size} {colour} {shape}" for size, (colour, shape) in zip(sizes, pairs, strict=True)
    )
    relation = "left of" if beside else "above"
    return pixels.clip(0, 255).astype(np.uint8), f"{first} {relation} {second}"


def drawings(part: str, count: int, draw: np.random.Generator) -> Part:
    images, texts = zip(*(drawing(part, draw) for _ in range(count)), strict=True)
    return list(images), list(texts)


# ---- words that look written by hand


def word_lists(draw: np.random.Generator, *, held: int) -> dict[str, list[str]]:
    """Return words of the help texts of Python; `held` of them for validation and for the test."""
    text = " ".join(topics.topics.values())
    words = sorted(set(re.findall(r"\b[a-z]{3,12}\b", text)))
    words = [words[n] for n in draw.permutation(len(words))]
    return {
        "test": words[:held],
        "validation": words[held : 2 * held],
        "train": words[2 * held :],
    }


def written(word: str, draw: np.random.Generator) -> Pixels:
    """Return a grey image (H, W) of a word with random font, size, spacing, slant and strokes."""
    file = Path(get_data_path(), "fonts", "ttf", f"{draw.choice(FONTS)}.ttf")
    font = ImageFont.truetype(file, int(draw.integers(25, 33)))
    ink = Image.new("L", (40 * (len(word) + 2), HEIGHT))
    pen, gap, x = ImageDraw.Draw(ink), draw.uniform(-0.5, 3), 30.0
    for letter in word:
        y = 0.68 * HEIGHT + draw.normal(0, 0.8)
        pen.text((x, y), letter, fill=255, font=font, anchor="ls", stroke_width=0)
        x += font.getlength(letter) + max(-0.5, gap + draw.normal(0, 0.7))
    pixels = np.asarray(ink, dtype=np.float64)
    pixels = gaussian_filter(pixels, draw.uniform(0, 0.8)) * draw.uniform(1, 1.8)  # thin or thick
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(np.float64)
    # Simard et al. 2003: smooth random shifts, here of about a pixel and a half.
    down, right = (
        draw.uniform(10, 22) * gaussian_filter(draw.standard_normal(pixels.shape), 5)
        for _ in range(2)
    )
    slant = draw.uniform(-0.25, 0.25)
    places = [rows + down, columns + right + slant * (rows - HEIGHT / 2)]
    pixels = map_coordinates(pixels, places, order=1)
    seen = np.flatnonzero(pixels.max(0) > 60)
    before, after = draw.integers(2, 8, 2)
    pixels = pixels[:, seen[0] - before : seen[-1] + 1 + after]
    noise = draw.uniform(4, 16) * draw.standard_normal(pixels.shape)
    return (draw.uniform(200, 250) - pixels + noise).clip(0, 255).astype(np.uint8)


def writings(words: Sequence[str], count: int, draw: np.random.Generator) -> Part:
    """Return `count` images of words, each word about equally often, and the words."""
    texts = [words[n % len(words)] for n in range(count)]
    return [written(word, draw) for word in texts], texts


# ---- simpler models


def small(images: Sequence[Pixels], height: int, width: int) -> NDArray[np.float32]:
    """Return the pixels (N, F) of images at one small size."""
    return np.array(
        [np.asarray(Image.fromarray(one).resize((width, height))).ravel() for one in images],
        dtype=np.float32,
    )


def nearest(x: NDArray[np.float32], known: Sequence[str], new: NDArray[np.float32]) -> list[str]:
    """Return the text of the training image with the least squared distance to each new image."""
    far = (x**2).sum(1) - 2 * new @ x.T
    return [known[n] for n in far.argmin(1)]


def word_by_word(x: NDArray[np.float32], known: Part, new: NDArray[np.float32]) -> list[str]:
    """Return descriptions whose words are each found by a random forest on pixels."""
    slots = [re.split(r"(?<!left) (?!of)", text) for text in known[1]]
    forest = RandomForestClassifier(TREES, random_state=0).fit(x, np.array(slots))
    return [" ".join(one) for one in forest.predict(new)]


def equal(found: Sequence[str], wanted: Sequence[str]) -> float:
    return float(np.mean([a == b for a, b in zip(found, wanted, strict=True)]))


# ---- the runs


def outcome(model: Any, name: str, score: float, began: float) -> Facts:
    return {
        "seed": model.seed,
        name: score,
        "validation": model.metrics["model"]["validation"],
        "parameters": sum(p.numel() for p in model.model.parameters()),
        "minutes": (time.process_time() - began) / 60,
    }


def digits(settings: Settings, *, counts: Sequence[int] = (1347, 450)) -> Facts:
    """Return the test accuracy of digits that are read pixel by pixel."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(settings["seed"]).permutation(len(y))
    known, new = order[: counts[0]], order[-counts[1] :]
    train, test = (([x[n].reshape(8, 8) for n in some], y[some].tolist()) for some in (known, new))
    began = time.process_time()
    model = elman.Classifier(**settings, inputs="image").fit(*train, show=True)
    facts = outcome(model, "accuracy", model.score(*test), began)
    facts["baselines"] = by_numbers(x[known], train[1], x[new], test[1])
    return facts


def by_numbers(x: Any, y: Any, new: Any, wanted: Any) -> dict[str, float]:
    """Return the accuracy of two models of all numbers of a row."""
    forest = RandomForestClassifier(TREES, random_state=0)
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    models = {"random forest": forest, "logistic regression": regression}
    return {name: float(one.fit(x, y).score(new, wanted)) for name, one in models.items()}


def mnist1d(settings: Settings, *, count: int = 5000) -> Facts:
    """Return the test accuracy of MNIST-1D; with another count, of other data."""
    maker = importlib.import_module("mnist1d.data")
    chosen = maker.get_dataset_args()
    chosen.num_samples = count
    made = maker.make_dataset(chosen)
    train, test = (
        (list(made[f"x{part}"].astype(np.float32)[..., None]), made[f"y{part}"].tolist())
        for part in ("", "_test")
    )
    began = time.process_time()
    model = elman.Classifier(**settings).fit(*train, show=True)
    facts = outcome(model, "accuracy", model.score(*test), began)
    facts["baselines"] = by_numbers(made["x"], train[1], made["x_test"], test[1])
    return facts


def captions(settings: Settings, *, counts: Sequence[int] = (24000, 500, 1000)) -> Facts:
    """Return the share of the drawings that are described without an error."""
    draw = np.random.default_rng(settings["seed"])
    names = ("train", "validation", "test")
    parts = {n: drawings(n, count, draw) for n, count in zip(names, counts, strict=True)}
    began = time.process_time()
    model = elman.Translator(**settings, inputs="image")
    model.fit(*parts["train"], validation=parts["validation"], show=True)
    images, texts = parts["test"]
    facts = outcome(model, "accuracy", equal(model.predict(images), texts), began)
    images, known = parts["validation"]
    facts["validation"]["accuracy"] = equal(model.predict(images), known)
    x, new = (small(parts[name][0], 16, 16) for name in ("train", "test"))
    facts["baselines"] = {
        "description of the nearest drawing": equal(nearest(x, parts["train"][1], new), texts),
        "random forest for each word": equal(word_by_word(x, parts["train"], new), texts),
    }
    return facts


def handwriting(
    settings: Settings, *, held: int = 300, counts: Sequence[int] = (4800, 300, 600)
) -> Facts:
    """Return the errors of words that are in no training image."""
    draw = np.random.default_rng(settings["seed"])
    words = word_lists(draw, held=held)
    names = ("train", "validation", "test")
    parts = {n: writings(words[n], count, draw) for n, count in zip(names, counts, strict=True)}
    began = time.process_time()
    model = elman.Transcriber(**settings, inputs="image")
    model.fit(*parts["train"], validation=parts["validation"], test=parts["test"], show=True)
    scores, simple = model.metrics["model"]["test"], model.metrics["baseline"]
    facts = outcome(model, "CER", scores["CER"], began)
    facts["WER"] = scores["WER"]
    x, new = (small(parts[name][0], 16, 48) for name in ("train", "test"))
    found = score_transcripts(nearest(x, parts["train"][1], new), parts["test"][1])
    facts["baselines"] = {
        simple["name"]: simple["test"]["CER"],
        "word of the nearest image": found["CER"],
    }
    return facts


RUNS: dict[str, Callable[[Settings], Facts]] = {
    run.__name__: run for run in (digits, mnist1d, captions, handwriting)
}


def write_examples(name: str, folder: Path, *, count: int = 12) -> None:
    """Write images of the training part; their names are their texts."""
    draw = np.random.default_rng(0)
    if name == "captions":
        images, texts = drawings("train", count, draw)
    else:
        images, texts = writings(word_lists(draw, held=300)["train"], count, draw)
    folder.mkdir(parents=True, exist_ok=True)
    for n, (image, text) in enumerate(zip(images, texts, strict=True)):
        Image.fromarray(image).save(folder / f"{n:02d} {text}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=list(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--draw", type=Path, metavar="FOLDER")
    parser.add_argument("--try", action="store_true", dest="only_try", help="do not write a result")
    given = parser.parse_args()
    if given.draw is not None:
        write_examples(given.name, given.draw)
        return
    runs = []
    for seed in given.seeds:
        runs.append(RUNS[given.name](settings_of(given.name, given.set, seed)))
        print(json.dumps(runs[-1]), flush=True)
    facts = {
        "settings": settings_of(given.name, given.set, given.seeds[0]),
        "seeds": given.seeds,
        "threads": torch.get_num_threads(),
        "scores": summary(runs),
        "baselines": {
            name: statistics.median(one["baselines"][name] for one in runs)
            for name in runs[0]["baselines"]
        },
        "parameters": runs[0]["parameters"],
        "cells": runs,
    }
    finish(given.name, facts, only_try=given.only_try)


if __name__ == "__main__":
    main()
