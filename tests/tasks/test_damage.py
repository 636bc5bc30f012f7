"""The values in a folder without a manifest are checked, and resume changes only its folder."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.atomic import write_atomic
from elman.errors import DataError, ElmanError
from elman.manifest import MANIFEST
from elman.tasks.lock import LOCK, locked
from elman.train.checkpoint import load_tensors, save_tensors

SMALL: dict[str, Any] = {"hidden_size": 6, "epochs": 1, "device": "cpu"}
TEXTS = [f"{a} {b} {c}" for a in ("so", "very") for b in ("good", "bad") for c in "abcdefgh"]
WAVES = [np.sin(np.arange(12.0) * (0.3 + n % 2))[:, None] for n in range(24)]

Change = Callable[[dict[str, torch.Tensor]], None]


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.tasks.run.write_report", lambda _: None)  # takes a second


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train models of texts, waves and series, and return the folder with their folders."""
    base = tmp_path_factory.mktemp("damage")
    (base / "table.csv").write_text(
        "\n".join(["text,label", *(f"{text},{text.split()[1]}" for text in TEXTS)]) + "\n"
    )
    days = range(1, 31)
    series = {"ds": [f"2024-01-{day:02d}" for day in days], "y": [float(day % 7) for day in days]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elman.tasks.run.write_report", lambda _: None)
        elman.Classifier(**SMALL, min_count=1).fit(base / "table.csv", out=base / "texts")
        elman.Classifier(**SMALL).fit(WAVES, ["slow", "fast"] * 12, out=base / "waves")
        model = elman.Forecaster(**SMALL, horizon=2, context=7, windows=32)
        model.fit(series, out=base / "series")
    return base


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a folder without its manifest."""

    def copy(name: str) -> Path:
        shutil.copytree(base / name, tmp_path / name)
        shutil.copy(base / "table.csv", tmp_path)
        (tmp_path / name / MANIFEST).unlink()
        return tmp_path / name

    return copy


def refused(folder: Path, *, resume: bool = False) -> str:
    with pytest.raises(ElmanError) as caught:
        elman.Classifier.resume(folder, epochs=2) if resume else elman.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_json(path: Path, place: str, value: object) -> None:
    """Set the value at a place such as "settings.skip"; the value `...` deletes it."""
    values = json.loads(path.read_text())
    *above, last = place.split(".")
    inside = values
    for name in above:
        inside = inside[name]
    inside[last] = value
    if value is ...:
        del inside[last]
    path.write_text(json.dumps(values))


def change_tensors(path: Path, change: Change) -> None:
    tensors, facts = load_tensors(path)
    change(tensors)
    save_tensors(path, tensors, facts)


def filled(name: str, number: float) -> Change:
    return lambda tensors: tensors.update({name: torch.full_like(tensors[name], number)})


# Parts of a model.


@pytest.mark.parametrize(
    ("kind", "place", "value", "expected"),
    [
        ("texts", "settings.num_layers", None, "num_layers must be a whole number, got None"),
        ("texts", "settings.skip", "x", "skip must be True or False, got 'x'"),
        ("texts", "settings.several", "x", "several must be True or False, got 'x'"),
        ("texts", "data.classes", [{}, "b"], "a label must be a value, or a type and its text"),
        ("texts", "data.classes", [None, "b"], "classes must be a list of strings"),
        ("series", "settings.input_dropout", None, "input_dropout must be a number, got None"),
        ("series", "settings.freq", 5, "freq must be a string, got 5"),
        ("series", "settings.ds_format", 5, "ds_format must be a string, got 5"),
        ("series", "settings.ds", [], "ds must be a string, got ()"),
    ],
)
def test_a_setting_of_a_wrong_type_in_a_config_is_named(
    copied: Callable[[str], Path], kind: str, place: str, value: object, expected: str
) -> None:
    folder = copied(kind)
    change_json(folder / "config.json", place, value)
    assert f"config.json: is damaged ({expected}" in refused(folder)


@pytest.mark.parametrize("name", ["name", "train_key"])
def test_a_fact_about_the_data_that_is_no_string_is_named(
    copied: Callable[[str], Path], name: str
) -> None:
    folder = copied("texts")
    change_json(folder / "config.json", f"data.{name}", 5)
    assert f"data.{name} must be a string, got 5" in refused(folder, resume=True)


def test_the_texts_of_a_language_model_are_paths(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("the cat sat on the mat\n" * 40)
    small: dict[str, Any] = {"hidden_size": 4, "epochs": 1, "bptt": 5, "device": "cpu"}
    run = tmp_path / "run"
    elman.LanguageModel(**small).fit(tmp_path / "book.txt", out=run)
    (run / MANIFEST).unlink()
    change_json(run / "config.json", "data.train", ["../book.txt", None])
    with pytest.raises(ElmanError, match=r"data\.train in the config must be a path"):
        elman.LanguageModel.resume(run, epochs=2)


@pytest.mark.parametrize("name", ["hidden_size", "num_layers", "embedding_size"])
def test_a_network_that_exceeds_the_memory_is_refused_in_one_line(
    copied: Callable[[str], Path], name: str
) -> None:
    folder = copied("texts")
    change_json(folder / "config.json", f"settings.{name}", 10**12)
    assert "config.json: describes a network that cannot be built here" in refused(folder)


def test_a_config_whose_task_is_a_list_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("texts")
    change_json(folder / "config.json", "task", [])
    assert "config.json: was not written by Elman" in refused(folder)


@pytest.mark.parametrize(
    ("kind", "place", "value", "expected"),
    [
        ("series", "targets", None, "targets must be a list of strings, got None"),
        ("series", "frequency", 5, "frequency must be a string, got 5"),
        ("series", "frequency", "x", "freq='x'"),
        ("series", "scales", "x", "scales must be an object of lists of numbers, got 'x'"),
        ("series", "unit", [-1], "unit must be above 0, got [-1]"),
        ("series", "unit", ..., "unit and spread must be given together"),
        ("series", "unit", ["x"], "unit must be a list of numbers, got ['x']"),
        ("series", "spread", [1, 2], "spread must have a number for each target, got [1, 2]"),
        ("series", "cycles", ["x"], "cycles must be among ['week', 'month', 'year'], got ['x']"),
        ("series", "zone", "x", "zone must be a time zone, got 'x'"),
        ("series", "context", -1, "context must be 0 or more, got -1"),
        ("waves", "step", None, "step must be a number, got None"),
        ("waves", "rate", -1, "rate must be above 0, got -1"),
        ("waves", "units", {}, "units has no '0'"),
        ("waves", "gappy", ["z"], "gappy names 'z', which is not a channel"),
        ("waves", "tails", [], "tails must be an object of numbers, got []"),
    ],
)
def test_an_invalid_statistic_of_the_data_is_named(
    copied: Callable[[str], Path], kind: str, place: str, value: object, expected: str
) -> None:
    folder = copied(kind)
    change_json(folder / "series.json", place, value)
    message = refused(folder)
    assert "series.json: is damaged" in message
    assert expected in message


@pytest.mark.parametrize(
    ("kind", "part", "change", "expected"),
    [
        ("texts", "wide", filled("weights", math.nan), "weights holds a number that is not finite"),
        ("texts", "wide", filled("weights", -1), "weights must be above 0"),
        ("texts", "wide", filled("known", 3), "known must be hashes in ascending order"),
        ("texts", "wide", lambda t: t.update(weights=t["weights"].half()), "weights is float16"),
        ("texts", "wide", lambda t: t.update(weights=t["weights"][1:]), "weights is float32 ("),
        ("texts", "wide", lambda t: t.pop("known"), "'known' is missing"),
        ("waves", "wide", filled("edges", math.nan), "edges must be finite and ascending"),
        ("waves", "wide", lambda t: t.update(edges=t["edges"].half()), "edges must be float64"),
        ("waves", "wide", lambda t: t.update(edges=t["edges"][:, 1:]), "edges must be float64 (S"),
        ("series", "history", lambda t: t.update(values=t["values"][1:]), "the sum 29, the rows"),
        ("series", "history", lambda t: t.update(lengths=-t["lengths"]), "lengths must be above 0"),
        ("series", "history", filled("values", math.inf), "values holds a number that is not fini"),
        ("series", "history", lambda t: t.update(starts=t["starts"][1:]), "starts has shape (0,)"),
        ("series", "history", lambda t: t.update(values=t["values"][None]), "too many values"),
    ],
)
def test_invalid_tensors_are_named(
    copied: Callable[[str], Path], kind: str, part: str, change: Change, expected: str
) -> None:
    folder = copied(kind)
    change_tensors(folder / f"{part}.safetensors", change)
    message = refused(folder)
    assert f"{part}.safetensors" in message
    assert expected in message


def test_static_columns_of_another_model_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("waves")
    change_json(folder / "config.json", "settings.static", ["age"])
    assert "series.json: its static columns are [], but config.json has ['age']" in refused(folder)


# Resuming.


@pytest.mark.parametrize("name", [LOCK, "run.jsonl"])
def test_resume_does_not_follow_a_link_out_of_the_folder(
    copied: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = copied("texts")
    (tmp_path / "victim").write_text("precious\n")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "victim")
    assert f"{name}: is a symbolic link" in refused(folder, resume=True)
    assert (tmp_path / "victim").read_text() == "precious\n"


def test_a_link_in_place_of_a_temporary_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".a.json.part").symlink_to(tmp_path / "victim")
    write_atomic(tmp_path / "a.json", "new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "a.json").read_text() == "new"


@pytest.mark.parametrize("gone", [["metrics.json"], ["metrics.json", "README.md"]])
def test_a_finished_run_without_a_checkpoint_does_not_start_again(
    base: Path, tmp_path: Path, gone: list[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(base / "texts", folder)
    shutil.copy(base / "table.csv", tmp_path)
    before = (folder / "weights.safetensors").read_bytes()
    for name in ["checkpoint.safetensors", *gone]:
        (folder / name).unlink()
    assert "checkpoint.safetensors" in refused(folder, resume=True)
    assert (folder / "weights.safetensors").read_bytes() == before
    elman.load(folder)


@pytest.mark.parametrize("line", ["[" * 30_000, "[1, 2]", "\0\1"])
def test_a_damaged_journal_is_refused_before_a_resumed_training(
    base: Path, tmp_path: Path, line: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(base / "texts", folder)
    shutil.copy(base / "table.csv", tmp_path)
    before = (folder / "weights.safetensors").read_bytes()
    rest = (folder / "run.jsonl").read_text().partition("\n")[2]
    (folder / "run.jsonl").write_text(f"{line}\n{rest}")
    with pytest.raises(DataError, match=r"run\.jsonl, line 1: got .* expected one JSON object"):
        elman.Classifier.resume(folder, epochs=2)
    assert (folder / "weights.safetensors").read_bytes() == before


def test_a_lock_file_that_names_no_process_is_replaced(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("[" * 4000)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()


# Empty input.


def test_predictions_of_an_empty_list_are_empty(base: Path) -> None:
    model = elman.load(base / "waves")
    assert isinstance(model, elman.Classifier)
    assert model.predict([]).shape == (0,)
    assert model.predict_proba([]).shape == (0, 2)
