"""The benchmark of images makes its data as its description says, and each run works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = {"seed": 0, "device": "cpu", "hidden_size": 8, "epochs": 1, "examples": 64}


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return pytest.importorskip("pictures")


def test_a_combination_of_colour_and_shape_is_in_one_part_only(pictures):
    parts = {name: set(pictures.combinations(name)) for name in ("train", "validation", "test")}
    assert len(set.union(*parts.values())) == sum(map(len, parts.values())) == 54
    for part, known in parts.items():
        _, texts = pictures.drawings(part, 20, np.random.default_rng(1))
        for text in texts:
            words = text.split()
            assert {(words[2], words[3]), (words[-2], words[-1])} <= known
    for place in (0, 1):  # each colour and each shape also occurs in training
        names = {part: {pair[place] for pair in known} for part, known in parts.items()}
        assert names["test"] <= names["train"]
        assert names["validation"] <= names["train"]


def test_drawings_show_what_their_description_says(pictures):
    images, texts = pictures.drawings("train", 60, np.random.default_rng(0))
    checked = 0
    for image, text in zip(images, texts, strict=True):
        words = text.split()
        pair = [pictures.COLOURS[words[2]], pictures.COLOURS[words[-2]]]
        if pair[0] == pair[1]:
            continue
        far = np.stack([((image - np.array(one, dtype=float)) ** 2).sum(2) for one in pair])
        inked = image.astype(int).sum(2) > 240  # paper is darker, and a hole is paper
        first, second = (
            np.argwhere(inked & (far.argmin(0) == k) & (far[k] < 9000)) for k in (0, 1)
        )
        assert len(first)
        assert len(second)
        axis = 0 if "above" in text else 1
        assert first[:, axis].mean() < second[:, axis].mean()
        checked += 1
    assert checked > 30


def test_words_are_in_one_part_and_are_dark_on_light_paper(pictures):
    draw = np.random.default_rng(0)
    words = pictures.word_lists(draw, held=50)
    assert not set(words["train"]) & set(words["test"] + words["validation"])
    assert len(words["train"]) > 2000
    images, texts = pictures.writings(["ill", "documentation"], 8, draw)
    assert texts == ["ill", "documentation"] * 4
    assert {one.shape[0] for one in images} == {pictures.HEIGHT}
    assert max(one.shape[1] for one in images[::2]) < min(one.shape[1] for one in images[1::2])
    assert all(np.median(one) > 160 and np.quantile(one, 0.02) < 90 for one in images)


@pytest.mark.parametrize(
    ("name", "settings", "sizes", "score"),
    [
        ("digits", {"scan": "rows"}, {"counts": (60, 20)}, "accuracy"),
        ("mnist1d", {"wide": False}, {"count": 100}, "accuracy"),
        ("captions", {"tokens": "word"}, {"counts": (12, 4, 4)}, "accuracy"),
        ("handwriting", {"convolution": 2}, {"counts": (12, 4, 4)}, "CER"),
    ],
)
def test_each_run_scores_a_model_and_its_baselines(
    pictures, name, settings, sizes, score, monkeypatch
):
    monkeypatch.setattr(pictures, "TREES", 3)
    if name == "mnist1d":
        pytest.importorskip("mnist1d")
    facts = pictures.RUNS[name]({**SMALL, **settings}, **sizes)
    assert 0 <= facts[score] <= (1 if score == "accuracy" else 2)
    assert len(facts["baselines"]) == 2
    assert all(value >= 0 for value in facts["baselines"].values())


def test_a_baseline_copies_the_nearest_text(pictures):
    x = np.array([[0.0, 0.0], [5.0, 5.0]], dtype=np.float32)
    assert pictures.nearest(x, ["low", "high"], x[::-1] + 1) == ["high", "low"]


def test_examples_are_written_with_their_texts(pictures, tmp_path):
    pictures.write_examples("captions", tmp_path, count=2)
    names = sorted(file.stem for file in tmp_path.iterdir())
    assert [name[:3] for name in names] == ["00 ", "01 "]
    assert names[0].split()[1] == "a"
