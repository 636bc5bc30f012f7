"""Two processes train the model of one, each task; when one of them is killed, the run resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from elman.train.checkpoint import load_tensors
from tests.tasks import every_task

pytest.importorskip("sacrebleu")
pytest.importorskip("utilsforecast")
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
PROGRAM = every_task.__file__
TASKS = list(every_task.TASKS)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *command], env=ENVIRONMENT, capture_output=True, text=True, timeout=400,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each task by one process and one by two."""
    base = tmp_path_factory.mktemp("processes")
    every_task.write_data(base / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elman.tasks.run.write_report", lambda _: None)
        every_task.train(base, 1)
    return base


@pytest.fixture(scope="module")
def by_two(base: Path) -> str:
    """The lines of the program that trains by two processes."""
    return run(PROGRAM, str(base), "2").stderr


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_give_the_model_of_one(base: Path, by_two: str, task: str) -> None:
    one, two = (load_tensors(base / n / task / "weights.safetensors")[0] for n in "12")
    for name, value in one.items():
        # The halves of a batch are added in another order, in each of some 20 steps.
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def test_each_line_is_said_once(by_two: str) -> None:
    assert by_two.count("finished after") == len(TASKS)
    assert by_two.count("held out") == len(TASKS)
    assert "Initializing distributed" not in by_two
    assert "Warning" not in by_two


def test_a_run_that_torchrun_resumes_has_the_weights_of_one_never_stopped(
    base: Path, by_two: str
) -> None:
    run("-m", "torch.distributed.run", "--nproc-per-node", "2", PROGRAM, str(base), "resume")
    for task in TASKS:
        for name in ("weights.safetensors", "checkpoint.safetensors"):
            whole, resumed = (load_tensors(base / n / task / name)[0] for n in ("2", "cut"))
            assert whole.keys() == resumed.keys()
            assert all(torch.equal(whole[key], resumed[key]) for key in whole), (task, name)


def test_the_death_of_a_process_is_one_line_and_its_run_resumes(base: Path, by_two: str) -> None:
    out = base / "killed"
    command = [
        "train", "language-model", str(base / "data" / "text.txt"), "--out", str(out),
        "--processes", "2", "--epochs", "1000", "--hidden-size", "6", "--bptt", "6", "--device",
        "cpu", "--checkpoint-seconds", "0", "--validate-steps", "100",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "elman", *command], env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 200
    while not (out / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    (worker,) = children_of(process.pid)
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == (
        f"elman: process 2 of 2 was killed by signal 9; go on with: elman resume {out}"
    )
    assert (out / "checkpoint.safetensors").exists()


def children_of(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children")
    if not found.exists():
        pytest.skip("needs /proc to find the other process")
    return [int(number) for number in found.read_text().split()]
