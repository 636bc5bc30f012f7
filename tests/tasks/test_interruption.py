"""A run that is killed and stopped several times resumes to the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from elman.cli import main
from elman.report.journal import read_journal
from tests.tasks.test_language_model import sentences

FLAGS = [
    "--hidden-size",
    "16",
    "--epochs",
    "10",
    "--bptt",
    "6",
    "--batch-size",
    "4",
    "--device",
    "cpu",
    "--checkpoint-seconds",
    "0",
    "--document",
    "line",
    "--dropout",
    "0.3",
]


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "elman", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


def wait_for_a_new_checkpoint(process: subprocess.Popen[str], run: Path, began: float) -> None:
    """Wait until the run has a checkpoint that was written after `began`."""
    until, checkpoint = time.monotonic() + 120, run / "checkpoint.safetensors"
    while not checkpoint.exists() or checkpoint.stat().st_mtime <= began:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_killed_and_stopped_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("\n".join(sentences()[:150]) + "\n")
    train = ["train", "language-model", text, *FLAGS, "--out"]
    assert main([*map(str, train), str(tmp_path / "whole")]) == 0
    draw = random.Random(int(time.time()))  # different moments in each run of the test

    command: list[object] = [*train, run]
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        began = time.time()
        process = start(*command)
        wait_for_a_new_checkpoint(process, run, began)
        if number == signal.SIGKILL:
            time.sleep(draw.uniform(0, 0.2))
        assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        if number != signal.SIGKILL:
            assert process.returncode == 128 + number
            assert f"continue with: elman resume {run}" in errors
            assert "Traceback" not in errors
        command = ["resume", run]

    process = start(*command)  # killed at any moment, even before the training starts
    time.sleep(draw.uniform(0.5, 4.0))
    process.kill()
    process.communicate()

    process = start(*command)
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "perplexity" in out
    whole, resumed = (tmp_path / name / "weights.safetensors" for name in ("whole", "run"))
    assert resumed.read_bytes() == whole.read_bytes()
    events = [record["event"] for record in read_journal(run / "run.jsonl")]
    assert events.count("start") == 1
    assert events.count("resume") >= 3
