"""A lock file, so that only one process trains into a folder at a time.

The operating system holds the lock (`flock`), so it ends with its process, even by `kill -9`.  The
file names the process.  If another machine has locked a network folder, or the file system has no
such locks, the file alone decides, and the message explains how to remove it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elman.atomic import open_own
from elman.errors import FolderError

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"
MACHINE = Path("/proc/sys/kernel/random/boot_id")  # equal in all containers of a machine


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training into a folder, which is created if it does not exist.

    Raises:
        FolderError: a process holds the lock, and the message names it; or the folder cannot be
            written, or its lock file is a link.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.tasks.lock import locked
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> with locked(folder):
        ...     with locked(folder):  # doctest: +ELLIPSIS
        ...         pass
        Traceback (most recent call last):
        elman.errors.FolderError: ...run: process ... has been training into it since ...
        >>> folder.exists()  # nothing was written to it
        False
    """
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_lock(folder)
    except OSError as error:
        raise FolderError(
            f"{folder}: cannot be written ({error.strerror}); name another folder for out"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
        os.close(file)
        with contextlib.suppress(OSError):  # folders that are not empty are kept
            for path in made:
                path.rmdir()


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes of this machine from a file, which is created if it does not exist.

    If the file is empty at the end, it is deleted.

    Raises:
        FolderError: another process holds the file.
        OSError: the file cannot be opened.
    """
    if sys.platform == "win32":  # which has no such locks, and deletes no open files
        yield
        return
    while True:
        file = open_own(path)
        try:
            _hold(file)
        except BlockingIOError:
            os.close(file)
            raise FolderError(
                f"{path}: another process is using it; wait for that process, or stop it"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(file).st_ino == path.stat().st_ino:
                break
        os.close(file)  # its holder has just deleted it: try again
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()
        os.close(file)


def _open_lock(folder: Path) -> int:
    """Return the open lock file, which holds the lock until it is closed."""
    path = folder / LOCK
    while True:
        file = open_own(path)
        try:
            by_system = _hold(file)
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(file).st_ino == path.stat().st_ino:
                    break
        except BlockingIOError:
            holder = _read(file)
            os.close(file)
            raise FolderError(f"{folder}: {_describe(holder)}; wait for it, or stop it") from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder has just deleted it: try again
    holder = _read(file)
    host = socket.gethostname()
    # The system's lock is free, so on this machine the holder has ended; a lock of another machine
    # may not be visible here.
    here = _machine() == holder.get("machine") or host == holder.get("host")
    if holder and not (by_system and here):
        os.close(file)
        raise FolderError(
            f"{folder}: {_describe(holder)}; if that process no longer runs, delete {path}"
        )
    since = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
    ours = {"process": os.getpid(), "host": host, "since": since, "machine": _machine()}
    os.truncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, json.dumps(ours).encode())
    return file


def _hold(file: int) -> bool:
    """Take the system's lock of an open file; return false if the system has no such locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _read(file: int) -> dict[str, Any]:
    """Return the content of the lock file, which names the process; empty if it is damaged."""
    try:
        holder = json.loads(os.read(file, 4096))
    except (RecursionError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    process, host, since = (holder.get(name, "unknown") for name in ("process", "host", "since"))
    return f"process {process} on {host} has been training into it since {since}"


def _machine() -> str:
    try:
        return MACHINE.read_text().strip()
    except OSError:
        return socket.gethostname()
