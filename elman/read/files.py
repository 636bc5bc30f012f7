"""Find the files of a path and their kind, and report their errors in one line."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from elman.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from typing_extensions import TypeIs


# Remedies in messages about files of audio and images.
AGAIN = "copy it again, or remove it from the data"
RELATIVE = "relative paths in a table begin at its folder"
ACCESS = "correct the name, allow reading, or remove it from the data"
LONG = 200  # characters of a path in a message


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors while reading a file into a `DataError` with its name."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: not a complete gzip file ({error}); download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def named(path: Path, place: str) -> str:
    """Return where a path was read, and the path if that is not the same."""
    return place if place == str(path) else f"{place}: {path}"


def check_file(path: Path, place: str, expected: str) -> None:
    """Raise a DataError for a file that is missing, empty, unreadable, or a pipe.

    Args:
        path: the file, or a folder.
        place: where the path was read, for messages.
        expected: what the file should be, such as an image.
    """
    where = named(path, place)
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except FileNotFoundError:
        raise DataError(f"{where} does not exist, expected {expected}; {RELATIVE}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        shown = (
            where if len(str(path)) <= LONG else f"{where[: len(where) - len(str(path)) + LONG]}..."
        )
        raise DataError(f"{shown} cannot be read ({reason}); {ACCESS}") from None
    if stat.S_ISDIR(status.st_mode):
        return
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{where} is a pipe or a device, expected {expected}; write it to a file")
    if not status.st_size:
        raise DataError(f"{where} is an empty file, expected {expected}; {AGAIN}")


def path_of(given: object, name: str) -> Path:
    """Return the path of a file or folder, which need not exist yet.

    Raises:
        ArgumentError: the value is not a path, or no file can have this name.

    Example:
        >>> from elman.read.files import path_of
        >>> path_of("runs\\0", "out")
        Traceback (most recent call last):
        elman.errors.ArgumentError: out must be a path, got 'runs\\x00' (embedded null byte)
    """
    if not is_path(given) or not os.fspath(given):
        got = "an empty text" if isinstance(given, str) else type(given).__name__
        raise ArgumentError(f"{name} must be a path, got {got}")
    path = Path(given)
    try:
        path.stat()
    except (OSError, ValueError) as error:  # other errors appear when it is opened
        if isinstance(error, ValueError) or error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            reason = getattr(error, "strerror", None) or error
            raise ArgumentError(f"{name} must be a path, got {_cut(path)} ({reason})") from error
    return path


def _cut(path: Path) -> str:
    return repr(str(path)) if len(str(path)) <= LONG else f"{str(path)[:LONG]!r}..."


def is_path(source: object) -> TypeIs[str | Path]:
    """Return whether a source is a path: text, or an `os.PathLike` object."""
    return isinstance(source, str | os.PathLike)


def data_path(given: str | Path) -> Path:
    """Return the path of data; raise an ArgumentError for "", which is not the current folder."""
    if not os.fspath(given):
        raise ArgumentError("path must name a file or a folder, got an empty string")
    return Path(given)


def files_below(path: str | Path, kinds: str = "files with data") -> tuple[Path, ...]:
    """Return the file itself, or all files below a folder except hidden ones, sorted by path.

    Raises `DataError` for a path that does not exist or a folder without files; the message says
    that files of these kinds are expected.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.read.files import files_below
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.txt", "a.txt", ".hidden"):
        ...         _ = Path(folder, name).write_text("text")
        ...     print([file.name for file in files_below(folder)])
        ['a.txt', 'b.txt']
    """
    root = data_path(path)
    try:
        mode = root.stat().st_mode
    except (OSError, ValueError) as error:
        # Cut and quoted, because a text in place of a path causes this error too.
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"path {str(root)[:LONG]!r}: {reason}; give texts as a list") from error
    if not stat.S_ISDIR(mode):
        size_of(root)  # raises for a pipe, because opening it would block
        return (root,)

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    with reading(root):
        for folder, folders, names in os.walk(root, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(folder, name) for name in names if not name.startswith(".")]
    if not found:
        raise DataError(f"{root}: a folder without files; expected one or more {kinds}")
    for file in found:
        size_of(file)
    return tuple(sorted(found, key=Path.as_posix))


def size_of(file: Path) -> int:
    """Return the size of a file in bytes; raise a `DataError` for pipes and devices."""
    with reading(file):
        status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{file}: a pipe or a device can be read only once; write it to a file")
    return status.st_size


def is_packed(file: Path) -> bool:
    """Return whether the name ends with .gz."""
    return file.suffix.lower() == ".gz"


def kind_of(file: Path) -> str:
    """Return the suffix in lower case, without .gz.

    Example:
        >>> from pathlib import Path
        >>> from elman.read.files import kind_of
        >>> kind_of(Path("table.CSV.gz"))
        '.csv'
    """
    return (file.with_suffix("") if is_packed(file) else file).suffix.lower()
