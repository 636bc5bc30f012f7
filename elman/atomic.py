"""Write files atomically: to a temporary file in the folder, which is synced and then renamed.

After a crash or `kill -9` at any moment the path holds the complete old or the complete new
content.  On a full disk the old content is kept, as the error message explains.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from elman.errors import FolderError

FULL = {errno.ENOSPC, errno.EDQUOT}  # a full disk, and a full quota

if sys.platform == "win32":
    PLAIN = os.O_BINARY
else:
    PLAIN = os.O_NOFOLLOW


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write data to the file at `path`, all of it or nothing.

    Raises:
        FolderError: the disk is full, or the folder does not exist or cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_atomic(path, "new")
        >>> path.read_text()
        'new'
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.unlink(missing_ok=True)  # left by a process that was killed
        with temporary.open("xb") as file:  # "x" follows no link
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        kept = "the previous content is kept" if path.exists() else ""
        raise refusal(path, error, kept) from error


def refusal(path: Path, error: OSError, kept: str = "") -> FolderError:
    """Return the error for a file that cannot be written, with its remedy.

    Args:
        path: the file.
        error: the error of the system.
        kept: what is not lost; "" if there is nothing.
    """
    reason = f"{path}: cannot be written ({error.strerror or error})"
    if not path.parent.is_dir():
        return FolderError(
            f"{reason}; there is no folder {path.parent}; create it, or name another file"
        )
    space = "free some space, or " if error.errno in FULL else ""
    return FolderError("; ".join(filter(None, (reason, kept, f"{space}name another folder"))))


def open_own(path: Path, flags: int = 0) -> int:
    """Open a file for reading and writing, or create it; return its descriptor.

    A folder from another source can contain links.  This function follows none, so that it changes
    nothing outside the folder.

    Args:
        path: the file.
        flags: more flags of `os.open`, such as `os.O_APPEND`.

    Raises:
        FolderError: there is a link, a folder or a device at the path.
        OSError: the file cannot be opened.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        kind = "a symbolic link" if path.is_symlink() else "a folder or a device"
        raise FolderError(f"{path}: is {kind}, expected a file in the folder itself; delete it")
    return os.open(path, os.O_RDWR | os.O_CREAT | PLAIN | flags, 0o644)


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder durable, if the system supports it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
