"""Results that take long to compute, such as the tokens of a text, stored in a cache folder.

The folder is `ELMAN_CACHE`, else `~/.cache/elman`.  Each result is a folder of files, whose name is
the hash of everything that the result depends on.  A manifest next to the files has their lengths
and checksums, and those of a file with the hash.  Files that differ, or belong to another result,
are computed again.  The cache folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from elman.errors import FolderError
from elman.manifest import check_parts, read_manifest, settle_parts

KEY = "key"


def cache_folder() -> Path:
    """Return the cache folder."""
    base = os.environ.get("ELMAN_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "elman"


def cached(key: str, names: Sequence[str], write: Callable[[Path], None]) -> Path:
    """Return the folder of a result, which is computed if it is not in the cache or is damaged.

    Args:
        key: a text with everything that the result depends on.
        names: names of the files of the result.
        write: computes the result and writes these files to an empty folder.

    Raises:
        FolderError: the cache folder cannot be written or the disk is full.
    """
    name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    folder = cache_folder() / name
    if folder.is_dir() and not _is_whole(folder, names):
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=folder.parent))
            try:
                write(temporary)
                (temporary / KEY).write_text(name)
                settle_parts(temporary, (*names, KEY))
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            if not folder.is_dir():  # otherwise another process has written the same content
                raise FolderError(
                    f"{folder.parent}: the cache folder cannot be written ({error.strerror}); "
                    "free some space or set ELMAN_CACHE to another folder"
                ) from error
    return folder


def _is_whole(folder: Path, names: Sequence[str]) -> bool:
    """Return whether the files of a cache folder are undamaged and belong to its name."""
    try:
        check_parts(folder)
        known = read_manifest(folder) or ()
        return {*names, KEY} <= set(known) and (folder / KEY).read_bytes() == folder.name.encode()
    except (FolderError, OSError):
        return False
