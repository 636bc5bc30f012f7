"""Real processes, really killed: a run goes on to the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elman.report.journal import read_journal
from tests.tasks.test_language_model import sentences

FLAGS = ["--hidden-size", "16", "--epochs", "14", "--bptt", "6", "--batch-size", "4", "--device",
         "cpu", "--checkpoint-seconds", "0", "--document", "line", "--dropout", "0.3"]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(sentences()[:150]) + "\n")
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "elman", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


def steps_done(run: Path) -> int:
    """The step of the last checkpoint that the journal has surely seen."""
    if not (run / "run.jsonl").exists():
        return 0
    return max([0, *(int(r.get("step", 0)) for r in read_journal(run / "run.jsonl"))])


def wait_for_checkpoint(process: subprocess.Popen[str], run: Path) -> None:
    until = time.monotonic() + 120
    while not (run / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    process = start("train", "language-model", text, "--out", run, *FLAGS)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    return run


def test_killed_at_random_moments_it_resumes_to_the_same_weights(
    text: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    draw = random.Random(int(time.time()))  # other moments every time
    process = start("train", "language-model", text, "--out", run, *FLAGS)
    kills = 0
    for _ in range(3):
        wait_for_checkpoint(process, run)
        time.sleep(draw.uniform(0, 0.6))
        finished = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += not finished
        process = start("resume", run)
        if kills:  # wait until it runs again before the next kill
            time.sleep(draw.uniform(1.0, 4.0))
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert kills >= 1
    assert (run / "weights.safetensors").read_bytes() == (
        whole / "weights.safetensors"
    ).read_bytes()
    assert not [path for path in run.iterdir() if path.suffix == ".part"] or kills


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_says_how_to_go_on_and_does(
    number: signal.Signals, text: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start("train", "language-model", text, "--out", run, *FLAGS)
    wait_for_checkpoint(process, run)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"continue with: elman resume {run}" in errors
    assert "Traceback" not in errors
    process = start("resume", run)
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "perplexity" in out
    assert (run / "weights.safetensors").read_bytes() == (
        whole / "weights.safetensors"
    ).read_bytes()
    events = [record["event"] for record in read_journal(run / "run.jsonl")]
    assert events.count("start") == 1
    assert "resume" in events
