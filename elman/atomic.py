"""Write files atomically: to a temporary file in the folder, which is synced and then renamed.

After a crash or `kill -9` at any moment the path holds the complete old or the complete new
content.  On a full disk the old content is kept, as the error message explains.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from elman.errors import FolderError


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write data to the file at `path`, all of it or nothing.

    Raises:
        FolderError: the disk is full or the folder cannot be written.

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
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise FolderError(
            f"{path}: cannot be written ({error.strerror}); the previous content is kept. "
            "Free some space or name another folder"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
