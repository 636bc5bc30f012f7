"""Two processes train the same model as one, for each task, and a killed run can be resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from elman.train.checkpoint import load_tensors
from tests.tasks import every_task

pytest.importorskip("sacrebleu")
TASKS = list(every_task.TASKS)


def run(base: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> tuple[int, str]:
    """Return the exit code and the standard error of the program."""
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *launcher, every_task.__file__, str(base), *arguments],
        text=True,
        capture_output=True,
        timeout=500,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train each task with one process, and return the folder."""
    base = tmp_path_factory.mktemp("processes")
    every_task.write_data(base / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elman.tasks.run.write_report", lambda _: None)
        every_task.train(base, 1)
    return base


@pytest.fixture(scope="module")
def by_two(base: Path) -> list[str]:
    """Return the lines that two processes print while they train, until one of them is killed."""
    code, shown = run(base)
    assert code == 2, shown
    return shown.splitlines()


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_train_the_same_model_as_one(
    base: Path, by_two: list[str], task: str
) -> None:
    one, two = (load_tensors(base / n / task / "weights.safetensors")[0] for n in "12")
    for name, value in one.items():
        # In each of about 20 steps, the gradients of the halves of a batch add in another order.
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def test_each_line_is_shown_once(by_two: list[str]) -> None:
    shown = "\n".join(by_two)
    assert shown.count("finished after") == len(TASKS)
    assert shown.count("held out") == len(TASKS) + 1  # including the killed run
    for unwanted in ("Initializing distributed", "Warning", "Traceback"):
        assert unwanted not in shown


def test_a_killed_process_stops_the_run_which_resumes_to_the_same_weights(
    base: Path, by_two: list[str]
) -> None:
    assert by_two[-1] == (
        "elman: process 2 of 2 was killed by signal 9; continue with: elman resume "
        f"{base / 'cut' / 'killed'}"
    )
    # A run that `processes` started can be continued by torchrun.
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    code, shown = run(base, "resume", launcher=torchrun)
    assert code == 0, shown
    for task in ("killed", *TASKS):
        for name in ("weights.safetensors", "checkpoint.safetensors"):
            original = task.replace("killed", "language-model")
            whole, _ = load_tensors(base / "2" / original / name)
            resumed, _ = load_tensors(base / "cut" / task / name)
            assert whole.keys() == resumed.keys()
            assert all(torch.equal(whole[key], resumed[key]) for key in whole), (task, name)
