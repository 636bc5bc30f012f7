"""Start the processes of one run, choose the one that reports, and detect when one dies.

The first process starts the others with its own command line, as `torchrun` does; each process
reads its rank from the environment.  They synchronise in every step.  If one is killed, the others
notice at the next synchronisation, or from a thread that checks whether all are still running.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from elman.errors import ArgumentError

LOOK, GRACE = 0.5, 20.0  # seconds between checks, and until a waiting process is ended
PARENT = "ELMAN_FIRST_PROCESS"  # variable with the id of the first process, for the others

_started: list[subprocess.Popen[bytes]] = []  # children of this process


def rank() -> int:
    """Return the rank of this process in the run: 0 is the first, and often the only one."""
    names = ["RANK", "LOCAL_RANK"]
    if os.environ.get("SLURM_NTASKS", "1") != "1":
        names.append("SLURM_PROCID")
    numbers = (os.environ.get(name, "") for name in names)
    return next((int(number) for number in numbers if number.isdecimal()), 0)


def is_first() -> bool:
    """Return whether this process reports for the run and writes its files."""
    return rank() == 0


def speaks() -> bool:
    """Return whether this process reports errors: the first, or the second if the first ended."""
    return is_first() or (rank() == 1 and _first_is_gone())


def count_processes(settings: int) -> int:
    """Return the number of processes of the run: that of the settings, or of `torchrun`.

    Args:
        settings: the number in the settings; 1 for as many as `torchrun` has started.

    Raises:
        ArgumentError: `torchrun` has started a different number.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return settings
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if settings not in (1, started):
        raise ArgumentError(
            f"processes={settings}, but torchrun started {started}; start as many, or set "
            "processes=1 to use those of torchrun"
        )
    return started


def start_others(count: int) -> None:
    """Start the other processes of a run.

    Raises:
        ArgumentError: this program was not started by a command that can be repeated.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    if len(command) < 2 or command[1] == "-":
        raise ArgumentError(
            f"processes={count} starts this program {count} times, which needs a file or a command "
            "of elman; got an interactive session or code from standard input"
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(count),
        PARENT: str(os.getpid()),
    }
    for number in range(1, count):
        child = subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(number)})
        _started.append(child)


class Others:
    """The other processes of a run that this process can observe.

    Args:
        folder: folder of the run, for the remedy; None if the run cannot be resumed.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def watched(cls, folder: Path | None) -> Iterator[Others]:
        """End this process inside the context if it waits for another process that has died."""
        others, over = cls(folder), threading.Event()
        threading.Thread(target=others._watch, args=(over,), daemon=True).start()
        try:
            yield others
        finally:
            over.set()

    def describe_loss(self) -> str:
        """Describe in one line which process has ended, and the remedy."""
        until = time.monotonic() + 1  # the exit code can arrive late
        while (lost := self._lost()) is None and time.monotonic() < until:
            time.sleep(0.05)
        remedy = (
            "start again" if self.folder is None else f"continue with: elman resume {self.folder}"
        )
        return f"{lost or 'another process of the run has ended'}; {remedy}"

    def _lost(self) -> str | None:
        """Return which process has ended, and how."""
        if _first_is_gone():
            return "the first process of the run has ended"
        for number, child in enumerate(_started, 1):
            code = child.poll()
            if code:
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                return f"process {number + 1} of {len(_started) + 1} {how}"
        return None

    def _watch(self, over: threading.Event) -> None:
        while self._lost() is None:
            if over.wait(LOOK):
                return
        if over.wait(GRACE):  # the process noticed the loss itself
            return
        if speaks():
            print(f"elman: {self.describe_loss()}", file=sys.stderr, flush=True)
        for child in _started:
            child.kill()
        os._exit(2)


def _first_is_gone() -> bool:
    """Return whether this process was started by the first one, which has ended."""
    parent = os.environ.get(PARENT)
    return not is_first() and parent is not None and os.getppid() != int(parent)
