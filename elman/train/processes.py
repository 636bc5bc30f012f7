"""Several processes of one run: who starts them, which one speaks, and what if one dies.

The first process starts the others with its own command line, as `torchrun` does for all; each
finds its number in the environment.  They meet in every step.  If one is killed, the others notice
that at the next meeting, or are told by a thread that looks whether all are still there.
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

LOOK, GRACE = 0.5, 20.0  # seconds between two looks, and until a process that cannot go on is ended
PARENT = "ELMAN_FIRST_PROCESS"  # its number for the system, in the environment of the others

_started: list[subprocess.Popen[bytes]] = []  # by this process


def rank() -> int:
    """The number of this process among those of the run: 0 is the first, and often the only one."""
    names = ["RANK", "LOCAL_RANK"]
    if os.environ.get("SLURM_NTASKS", "1") != "1":
        names.append("SLURM_PROCID")
    numbers = (os.environ.get(name, "") for name in names)
    return next((int(number) for number in numbers if number.isdecimal()), 0)


def is_first() -> bool:
    """Whether this process speaks for the run, and writes its files."""
    return rank() == 0


def speaks() -> bool:
    """Whether this process tells the user of an error: the first, or if that is gone the second."""
    return is_first() or (rank() == 1 and _first_is_gone())


def start_others(count: int) -> None:
    """Start the other processes of a run.

    Raises:
        ArgumentError: this program was not started by a command that can be repeated.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    if len(command) < 2 or command[1] == "-":
        raise ArgumentError(
            f"processes={count} starts this program {count} times, which needs a file or a command "
            "of elman; got a program typed in"
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": "0",
        "WORLD_SIZE": str(count), PARENT: str(os.getpid()),
    }  # fmt: skip
    for number in range(1, count):
        child = subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(number)})
        _started.append(child)


class Others:
    """The other processes of a run, those of them that this one can see.

    Args:
        folder: of the run, for the remedy; None if nothing can go on.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def watched(cls, folder: Path | None) -> Iterator[Others]:
        """Inside, this process is ended if another has died and it waits for that one."""
        others, over = cls(folder), threading.Event()
        threading.Thread(target=others._watch, args=(over,), daemon=True).start()
        try:
            yield others
        finally:
            over.set()

    def describe_loss(self) -> str:
        """Which process has ended, and the remedy, in one line."""
        until = time.monotonic() + 1  # the system may be about to tell
        while (lost := self._lost()) is None and time.monotonic() < until:
            time.sleep(0.05)
        remedy = "start anew" if self.folder is None else f"go on with: elman resume {self.folder}"
        return f"{lost or 'another process of the run has ended'}; {remedy}"

    def _lost(self) -> str | None:
        """Which process has ended, and how."""
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
        if over.wait(GRACE):  # the process has noticed by itself
            return
        if speaks():
            print(f"elman: {self.describe_loss()}", file=sys.stderr, flush=True)
        for child in _started:
            child.kill()
        os._exit(2)


def _first_is_gone() -> bool:
    """Whether this process was started by the first one, and that has ended."""
    parent = os.environ.get(PARENT)
    return not is_first() and parent is not None and os.getppid() != int(parent)
