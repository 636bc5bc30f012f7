"""The manifest of a model folder: length and checksum of each file, to detect damage and mix-ups.

    {"config.json": [[1495, 2867011]], "weights.safetensors": [[4020, 90117], [4020, 33421]]}

An entry with two contents means that the process was stopped while it replaced the first by the
second; null means no file.  A file is written in three steps: the manifest lists the new content
next to the old one, the file is replaced, and the manifest lists only the new content.  After a
crash or `kill -9` between any two steps, every file matches the manifest, so the folder loads and
training resumes.

The checksum is CRC-32.  It finds damage and mix-ups, and takes a quarter of the time of BLAKE2b
(0.11 and 0.45 s for 100 MB); an attacker who forges a model can also forge any checksum.
"""

from __future__ import annotations

import contextlib
import json
import math
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from elman.arguments import check_types, is_unicode
from elman.atomic import write_atomic
from elman.errors import FolderError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class Checked(DataclassInstance, Protocol):
        """A dataclass that checks itself."""

        def check(self) -> None:
            """Raise a ValueError for invalid values."""


Index = TypeVar("Index", bound="Checked")

MANIFEST = "manifest.json"
WEIGHTS, CHECKPOINT = "weights.safetensors", "checkpoint.safetensors"
INPUTS = "inputs"  # contains one numbered folder for each of several inputs
# Files of inputs and targets: vocabularies of texts and of their sources, words and characters,
# statistics of series or recordings, and features of a wide part.
TOKENIZER, SOURCE_TOKENIZER = "tokenizer.json", "source_tokenizer.json"
WORDS, SERIES, FEATURES = "words.json", "series.json", "wide.safetensors"
BLOCK = 1 << 20  # bytes read at a time

# Errors that values of a wrong type or size cause.
DAMAGE = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)

Content: TypeAlias = list[int] | None  # length in bytes and CRC-32; None for no file
Parts: TypeAlias = dict[str, list[Content]]


def start_manifest(folder: Path) -> None:
    """Start a manifest of the files that are written to a folder from now on.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.manifest import check_parts, start_manifest, write_part
        >>> folder = Path(tempfile.mkdtemp())
        >>> start_manifest(folder)
        >>> write_part(folder / "a.txt", "one")
        >>> check_parts(folder)
        >>> _ = (folder / "a.txt").write_text("two")
        >>> check_parts(folder)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        elman.errors.FolderError: ...a.txt: is not the file that was written with this model...
    """
    _write(folder, {})


def write_part(path: Path, data: bytes | str) -> None:
    """Replace a file atomically, and list it in the manifest if its folder has one.

    Raises:
        FolderError: the disk is full or the folder cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    parts = read_manifest(path.parent)
    if parts is None:
        write_atomic(path, content)
        return
    new = [len(content), zlib.crc32(content)]
    before = parts.get(path.name, [None])
    _write(path.parent, parts | {path.name: [*before, new]})
    write_atomic(path, content)
    _write(path.parent, parts | {path.name: [new]})


def settle_parts(folder: Path, names: Collection[str]) -> None:
    """List the current content of files that are not in the manifest or not completely written.

    Args:
        folder: a folder that `check_parts` accepts; a manifest is started if there is none.
        names: names of the files; those that do not exist are skipped.
    """
    parts = read_manifest(folder) or {}
    found: Parts = {
        name: [measure(folder / name)]
        for name in names
        if len(parts.get(name, [])) != 1 and (folder / name).exists()
    }
    _write(folder, parts | found)


def remove_part(path: Path) -> None:
    """Delete a file and its entry in the manifest."""
    parts = read_manifest(path.parent)
    if parts is not None and parts.pop(path.name, None) is not None:
        _write(path.parent, parts)
    path.unlink(missing_ok=True)


def check_parts(folder: Path, *, without: Collection[str] = ()) -> None:
    """Raise an error if a file of a folder is missing or was not written with the folder.

    Args:
        folder: a model folder; a folder without a manifest is accepted.
        without: names of files that are not checked.

    Raises:
        FolderError: a file is missing or differs; the message gives its name and a remedy.
    """
    while (parts := read_manifest(folder)) is not None:
        checked = (name for name in parts if name not in without)
        wrong = next((name for name in checked if _differs(folder, name, parts)), None)
        if wrong is None:
            return
        if read_manifest(folder) == parts:  # otherwise a training run has just replaced it
            path = folder / wrong
            reason = (
                "is not the file that was written with this model: it is damaged, or belongs to "
                "another model"
                if path.exists()
                else "is missing"
            )
            raise FolderError(
                f"{path}: {reason}. Restore the right file; if you changed it on purpose, delete "
                f"{MANIFEST} in the same folder"
            )


def read_manifest(folder: Path) -> Parts | None:
    """Return the lengths and checksums that each file can have; None if there is no manifest.

    Raises:
        FolderError: the manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        parts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, dict) or not all(map(_is_entry, parts, parts.values())):
        raise FolderError(
            f"{path}: is damaged, so the files of the model cannot be checked; restore it, or "
            "delete it to use the folder unchecked"
        )
    return parts


@contextlib.contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Turn errors about values that were read from a file into a FolderError that names the file.

    Example:
        >>> from pathlib import Path
        >>> from elman.manifest import content_of
        >>> with content_of(Path("a.json")):
        ...     raise ValueError("step must be a number, got 'x'")
        Traceback (most recent call last):
        elman.errors.FolderError: a.json: is damaged (step must be a number, got 'x'); put the \
right file back
    """
    try:
        yield
    except DAMAGE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"{reason} is missing"
        raise FolderError(f"{path}: is damaged ({reason}); put the right file back") from error


def measure(path: Path) -> Content:
    """Return the length and CRC-32 of a file."""
    length = checksum = 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                length, checksum = length + len(block), zlib.crc32(block, checksum)
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror})") from error
    return [length, checksum]


def _differs(folder: Path, name: str, parts: Parts) -> bool:
    path = folder / name
    return (measure(path) if path.exists() else None) not in parts[name]


def _is_entry(name: str, contents: object) -> bool:
    plain = name == Path(name).name  # no path that leads out of the folder
    return (
        plain
        and isinstance(contents, list)
        and all(
            one is None
            or (isinstance(one, list) and len(one) == 2 and all(isinstance(x, int) for x in one))
            for one in contents
        )
    )


def _write(folder: Path, parts: Parts) -> None:
    lines = (f"  {json.dumps(name)}: {json.dumps(contents)}" for name, contents in parts.items())
    write_atomic(folder / MANIFEST, "{\n" + ",\n".join(lines) + "\n}\n")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not is_unicode(text):
        text = json.dumps(value, indent=2)  # such as a file name that is not UTF-8
    write_part(path, f"{text}\n")


def read_json(path: Path, *, finite: bool = True) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FolderError: the file is missing or damaged, or `finite` is true and a number in it is NaN
            or infinite, which is valid only in scores.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror})") from error
    except (RecursionError, ValueError) as error:
        raise FolderError(f"{path}: is damaged, it is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise FolderError(f"{path}: is damaged, it is not a JSON object")
    if finite and (place := _not_finite(value, "")) is not None:
        raise FolderError(f"{path}: is damaged, {place} is not finite; put the old file back")
    return value


def _not_finite(value: object, place: str) -> str | None:
    """Return the place of the first NaN or infinity in a JSON value; None if there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    places = (_not_finite(one, f"{place}.{name}".removeprefix(".")) for name, one in inside)
    return next((found for found in places if found is not None), None)


def read_index(path: Path, kind: Callable[..., Index]) -> Index:
    """Read the index of series or recordings from a JSON file.

    Raises:
        FolderError: the file is missing, or a value in it is invalid; the message names the field.
    """
    values = read_json(path)
    with content_of(path):
        index = kind(**values)
        check_types(index)
        index.check()
    return index
