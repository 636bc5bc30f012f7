"""A model folder belongs to one model; damaged, foreign and half-written parts are reported."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import elman
from elman import manifest
from elman.cli import main
from elman.errors import FolderError
from elman.manifest import MANIFEST
from elman.tasks.folder import check_free
from elman.tasks.lock import LOCK, locked
from elman.train.checkpoint import load_tensors, save_tensors

SETTINGS: dict[str, Any] = {
    "hidden_size": 6,
    "embedding_size": 6,
    "epochs": 2,
    "batch_size": 16,
    "device": "cpu",
    "min_count": 1,
    "checkpoint_seconds": 0.0,
}
TEXTS = [f"{a} {b} {c}" for a in ("so", "very") for b in ("good", "bad") for c in "abcdefgh"]


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman.tasks.run.write_report", lambda _: None)  # takes a second


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("base")
    (base / "data").mkdir()
    rows = [f"{text},{text.split()[1]}" for text in TEXTS]
    (base / "data" / "table.csv").write_text("\n".join(["text,label", *rows, ",empty"]) + "\n")
    return base


@pytest.fixture(scope="module")
def run(base: Path) -> Path:
    """Return the folder of a finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elman.tasks.run.write_report", lambda _: None)
        elman.Classifier(**SETTINGS).fit(
            base / "data" / "table.csv", out=base / "run", skip_bad_rows=base / "bad.csv"
        )
    return base / "run"


@pytest.fixture
def copy(run: Path) -> Path:
    """Return a copy of the run that a test may damage, with the same relative path to the data."""
    target = run.parent / "copy"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run, target)
    return target


def refused(folder: Path, *, resume: bool = False) -> str:
    take = elman.Classifier.resume if resume else elman.load
    with pytest.raises(FolderError) as caught:
        take(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_manifest_names_each_part_of_the_model(run: Path) -> None:
    parts = json.loads((run / MANIFEST).read_text())
    assert sorted(parts) == [
        "checkpoint.safetensors",
        "config.json",
        "metrics.json",
        "tokenizer.json",
        "weights.safetensors",
        "wide.safetensors",
    ]
    assert all([manifest.measure(run / name)] == contents for name, contents in parts.items())


@pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "bit", "gone"])
def test_a_damaged_part_is_named_by_load_resume_and_info(
    copy: Path, capsys: pytest.CaptureFixture[str], part: str, damage: str
) -> None:
    content = bytearray((copy / part).read_bytes())
    if damage == "gone":
        (copy / part).unlink()
    elif damage == "cut":
        (copy / part).write_bytes(content[: len(content) // 2])
    else:
        content[-3] ^= 1
        (copy / part).write_bytes(content)
    for resume in (False, True):
        assert part in refused(copy, resume=resume)
    assert main(["info", str(copy)]) == 2
    assert part in capsys.readouterr().err


def test_a_damaged_checkpoint_prevents_only_a_resume(copy: Path) -> None:
    checkpoint = copy / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-4] + b"\0\1\2\3")
    elman.load(copy)
    assert "checkpoint.safetensors: is not the file" in refused(copy, resume=True)
    checkpoint.unlink()  # a model is complete without it
    elman.load(copy)
    assert "has no checkpoint" in refused(copy, resume=True)


def test_a_tokenizer_of_another_model_is_refused_even_at_the_same_size(copy: Path) -> None:
    tokenizer = copy / "tokenizer.json"
    text = tokenizer.read_text()
    tokenizer.write_text(text.replace('"good"', '"gone"'))
    assert "tokenizer.json: is not the file that was written with this model" in refused(copy)


def test_a_folder_without_a_manifest_loads_and_gets_one_after_a_resume(copy: Path) -> None:
    before = elman.load(copy).predict_proba(TEXTS)
    (copy / MANIFEST).unlink()
    assert (elman.load(copy).predict_proba(TEXTS) == before).all()
    elman.Classifier.resume(copy, epochs=3)
    assert "tokenizer.json" in json.loads((copy / MANIFEST).read_text())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.fill_(math.nan), "not finite"),
        (lambda t: t.view(torch.int32), "is int32"),
        (lambda t: t.double(), "is float64"),
        (lambda t: t[..., :1], "describes a model with"),
    ],
)
def test_invalid_weights_are_refused_even_without_a_manifest(
    copy: Path, change: Callable[[torch.Tensor], torch.Tensor], expected: str
) -> None:
    tensors, facts = load_tensors(copy / "weights.safetensors")
    tensors["head.linear.weight"] = change(tensors["head.linear.weight"])
    (copy / MANIFEST).unlink()
    save_tensors(copy / "weights.safetensors", tensors, facts)
    message = refused(copy)
    assert "weights.safetensors: head.linear.weight" in message
    assert expected in message


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ('"temperature": -Infinity', "data.temperature is not finite"),
        ('"temperature": 1e999', "data.temperature is not finite"),
        ('"temperature": 0', "temperature must be a positive number, got 0"),
        ('"temperature": "2"', "temperature must be a positive number, got '2'"),
        ('"temperature": 1, "classes": ["a", "a"]', "two or more different names"),
        ('"temperature": 1, "classes": "ab"', "two or more different names"),
        ('"temperature": 1, "decided": {"cell": "best"}', "cell must be one of"),
        ('"temperature": 1, "decided": {"colour": 1}', "colour"),
        ('"temperature": 1, "train": 5', "data.train must be a path or a list of two, got 5"),
        ('"temperature": 1, "test": ["a"]', "data.test must be a path or a list of two"),
    ],
)
def test_invalid_values_in_the_config_are_refused(copy: Path, values: str, expected: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    del config["data"]["temperature"]
    text = json.dumps(config)
    (copy / "config.json").write_text(text[:-2] + ", " + values + "}}")
    (copy / MANIFEST).unlink()
    message = refused(copy)
    assert "config.json: is damaged" in message
    assert expected in message


def test_a_manifest_that_names_a_file_outside_its_folder_is_refused(copy: Path) -> None:
    (copy / MANIFEST).write_text('{"../data/table.csv": [[1, 2]]}')
    assert "manifest.json: is damaged" in refused(copy)


# Paths.


def test_a_model_folder_contains_no_absolute_path(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["train"] == ["../data/table.csv", None]
    for file in run.iterdir():
        assert str(run.parent).encode() not in file.read_bytes(), file.name


def test_a_folder_that_is_moved_with_its_data_can_be_resumed(base: Path, run: Path) -> None:
    target = base.parent / "elsewhere"
    shutil.copytree(base / "data", target / "data")
    shutil.copytree(run, target / "run")
    (base / "data").rename(base / "hidden")
    try:
        assert elman.Classifier.resume(target / "run", epochs=3).epochs == 3
    finally:
        (base / "hidden").rename(base / "data")


def test_resume_names_files_relative_to_the_current_folder(
    base: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (base / "data").rename(base / "hidden")
    try:
        for folder, path in ((base, "data/table.csv"), (base / "hidden", "../data/table.csv")):
            monkeypatch.chdir(folder)
            assert main(["resume", str(copy), "--epochs", "3"]) == 2
            assert f"elman: {path}: is missing" in capsys.readouterr().err
    finally:
        (base / "hidden").rename(base / "data")


def test_resume_reports_that_a_cosine_schedule_has_another_number_of_epochs(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for epochs, count in (("3", 1), ("3", 0)):
        assert main(["resume", str(copy), "--epochs", epochs]) == 0
        assert capsys.readouterr().err.count("not that of one run with --epochs 3") == count


def test_resume_changes_no_file_that_a_config_names(copy: Path, tmp_path: Path) -> None:
    victim = tmp_path / "empty"
    victim.write_text("")
    config = json.loads((copy / "config.json").read_text())
    config["data"]["rejects"] = str(victim)  # as in an older version
    (copy / "config.json").write_text(json.dumps(config))
    (copy / MANIFEST).unlink()
    bad = copy.parent / "bad.csv"
    before = bad.stat().st_mtime_ns
    elman.Classifier.resume(copy, epochs=3)
    assert victim.exists()
    assert bad.stat().st_mtime_ns == before


# Crashes.


def test_a_run_killed_between_any_two_writes_loads_and_resumes_to_the_same_bytes(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copy the folder before each rename: a kill at that moment would leave this state."""
    whole, kills = base / "whole", base / "kills"
    replace, count = Path.replace, 0

    def copy_and_replace(self: Path, target: Path) -> Path:
        nonlocal count
        shutil.copytree(whole, kills / f"{count:02d}")
        count += 1
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", copy_and_replace)
    model = elman.LanguageModel(
        hidden_size=4,
        epochs=2,
        bptt=20,
        batch_size=2,
        device="cpu",
        document="line",
        dropout=0.5,
        validate_steps=1,
    )
    text = base / "data" / "text.txt"
    text.write_text("\n".join(TEXTS[:16]) + "\n")
    model.fit(text, out=whole)
    monkeypatch.setattr(Path, "replace", replace)
    assert count > 25
    expected = [(whole / name).read_bytes() for name in ("weights.safetensors", "config.json")]
    for kill in sorted(kills.iterdir()):
        # After a kill, the file of the lock still exists, but the lock is free.
        assert (kill / LOCK).exists()
        if not (kill / "config.json").exists():
            check_free(kill, overwrite=False)  # a new run may begin there
            continue
        if (kill / "weights.safetensors").exists():
            elman.load(kill)
        moved = base / "killed"
        shutil.rmtree(moved, ignore_errors=True)
        shutil.copytree(kill, moved)
        elman.LanguageModel.resume(moved)
        found = [(moved / name).read_bytes() for name in ("weights.safetensors", "config.json")]
        assert found == expected, kill.name
        assert all(len(one) == 1 for one in json.loads((moved / MANIFEST).read_text()).values())


# Locks.


def _hold(folder: Path, ready: Any) -> None:
    with locked(folder):
        ready.set()
        signal.pause()


def test_only_one_process_trains_into_a_folder_and_it_is_named(base: Path, run: Path) -> None:
    context = multiprocessing.get_context("fork")
    folder, ready = base / "held", context.Event()
    shutil.copytree(run, folder)
    other = context.Process(target=_hold, args=(folder, ready))
    other.start()
    try:
        assert ready.wait(60)
        expected = (
            f"process {other.pid} on {os.uname().nodename} has been training into it since 20"
        )
        assert expected in refused(folder, resume=True)
        with pytest.raises(FolderError, match=expected):
            elman.Classifier(**SETTINGS).fit(TEXTS, TEXTS, out=folder, overwrite=True)
        elman.load(folder)  # reading needs no lock
    finally:
        other.kill()
        other.join()
    assert (folder / LOCK).exists()
    elman.Classifier.resume(folder)  # the lock was released when its process ended
    assert not (folder / LOCK).exists()


def test_the_message_on_a_lock_of_another_machine_explains_how_to_remove_it(copy: Path) -> None:
    holder = {"process": 7, "host": "far", "since": "2026-01-01 10:00:00", "machine": "other"}
    (copy / LOCK).write_text(json.dumps(holder))
    message = refused(copy, resume=True)
    assert "process 7 on far" in message
    assert f"if that process no longer runs, delete {copy / LOCK}" in message


def test_the_lock_file_is_used_if_the_system_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", fail)
    folder = tmp_path / "run"
    with locked(folder):
        again = locked(folder)
        with pytest.raises(FolderError, match=r"no longer runs, delete"):
            again.__enter__()
    assert not folder.exists()


def test_a_folder_of_a_run_killed_before_its_config_is_free(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "inputs" / "0").mkdir(parents=True)  # of several inputs
    (run / "inputs" / "0" / "tokenizer.json").write_text("{}")
    (run / MANIFEST).write_text("{}")
    check_free(run, overwrite=False)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match="is not empty and is not a model folder"):
        check_free(run, overwrite=False)
