"""Processes of a run: their numbers, and the message if one of them has died."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elman.errors import ArgumentError
from elman.train import processes
from elman.train.processes import Others, count_processes, is_first, rank, speaks, start_others


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_NTASKS", "SLURM_PROCID", processes.PARENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, "_started", [])


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "1"}, 1),
        ({"RANK": "5", "LOCAL_RANK": "1"}, 5),
        ({"RANK": "first"}, 0),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, 3),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, 0),
    ],
)
def test_the_launcher_determines_the_number_of_a_process(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], number: int
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert rank() == number
    assert is_first() == speaks() == (number == 0)


def test_torchrun_determines_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")  # from another launcher or an earlier run
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert [count_processes(n) for n in (1, 2)] == [1, 2]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert [count_processes(n) for n in (1, 3)] == [3, 3]
    with pytest.raises(ArgumentError, match="processes=2, but torchrun started 3; start as many"):
        count_processes(2)


def test_the_second_process_reports_if_the_first_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.PARENT, str(os.getppid()))
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not speaks()
    monkeypatch.setenv(processes.PARENT, "1234567")  # another parent: the first process has ended
    assert speaks()
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert not speaks()


def _dead(code: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", code])
    child.wait()
    return child


def test_a_process_that_waits_for_a_dead_one_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    over = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), over.set()))
    monkeypatch.setattr(processes, "LOOK", 0.01)
    monkeypatch.setattr(processes, "GRACE", 0.01)
    processes._started.append(_dead("import os; os.kill(os.getpid(), 9)"))
    with Others.watched(Path("runs/a")):
        assert over.wait(60)
    assert codes == [2]
    assert capfd.readouterr().err == (
        "elman: process 2 of 2 was killed by signal 9; continue with: elman resume runs/a\n"
    )


def test_a_process_that_has_ended_without_an_error_is_not_lost() -> None:
    processes._started.append(_dead(""))
    assert Others(None)._lost() is None
    processes._started.append(_dead("raise SystemExit(3)"))
    assert Others(None).describe_loss() == "process 3 of 3 ended with code 3; start again"


def test_an_interactive_program_cannot_be_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "orig_argv", [sys.executable])
    with pytest.raises(ArgumentError, match="processes=2 starts this program 2 times"):
        start_others(2)


DIES = """
import os, sys

if os.environ.get("LOCAL_RANK") == "1":
    sys.exit(3)
from elman.train import fabric, processes
from elman.train.settings import TrainingSettings

processes.LOOK = processes.GRACE = 0.1
fabric.build_fabric(TrainingSettings(processes=2, device="cpu"))
"""


def test_a_process_that_dies_before_all_are_connected_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text(DIES)
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "dies.py")],
        text=True,
        capture_output=True,
        timeout=100,
        check=False,
        env=environment,
    )
    assert done.returncode == 2
    assert done.stderr == "elman: process 2 of 2 ended with code 3; start again\n"
