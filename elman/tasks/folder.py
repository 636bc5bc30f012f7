"""A model or run as a folder.

    config.json              task, settings, data
    tokenizer.json           the vocabulary of texts; of a translator that of the targets, beside
                             source_tokenizer.json; words.json is that of a tagger
    wide.safetensors         of a classifier the features that its wide part reads
    series.json              of a forecaster what training has seen of the series, and
    history.safetensors      their end, from where forecasts begin
    weights.safetensors      the best weights
    metrics.json             scores beside the baseline
    README.md                the card: data, sizes, scores, how to use it
    run.jsonl, report.html   how the training went
    checkpoint.safetensors   for `elman resume`
    manifest.json            lengths and checksums of these parts, see `elman.manifest`

Never a pickle.  No torch is imported here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import elman
from elman.arguments import is_unicode
from elman.errors import DataError, FolderError
from elman.manifest import (
    CHECKPOINT,
    MANIFEST,
    WEIGHTS,
    check_parts,
    start_manifest,
    write_part,
)

Index = TypeVar("Index")

FORMAT = 1
CONFIG, METRICS, CARD = "config.json", "metrics.json", "README.md"
TOKENIZER, SOURCE_TOKENIZER, WORDS = "tokenizer.json", "source_tokenizer.json", "words.json"
FEATURES = "wide.safetensors"
SERIES, HISTORY = "series.json", "history.safetensors"
PARTS = (  # of a model; the manifest names them
    CONFIG, TOKENIZER, SOURCE_TOKENIZER, WORDS, FEATURES, SERIES, HISTORY, WEIGHTS, METRICS,
    CHECKPOINT,
)  # fmt: skip
OURS = (CARD, "run.jsonl", "report.html", *reversed(PARTS), MANIFEST)  # as they are deleted


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot be written or that holds something already.

    Raises:
        FolderError: the folder is not empty and `overwrite` is not set, or it holds files that are
            not from Elman, or it cannot be made or written.
    """
    if folder.is_dir() and not _is_empty(folder):
        if not (folder / CONFIG).exists():
            raise FolderError(
                f"{folder}: is not empty and no model folder; name a new folder for out"
            )
        read_config(folder)
        if not overwrite:
            raise FolderError(
                f"{folder}: holds a model already; name another folder, continue it with "
                f"`elman resume {folder}`, or replace it with --overwrite"
            )
    elif folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder}: is a file; name a new folder for out")
    above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not os.access(above, os.W_OK | os.X_OK) or not above.is_dir():
        raise FolderError(f"{folder}: {above} cannot be written; name another folder for out")


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what a run leaves that is killed before its config."""
    found = {path.name.removeprefix(".").removesuffix(".part") for path in folder.iterdir()}
    found.discard("lock")
    if not found or (folder / CONFIG).exists():
        return not found
    return MANIFEST in found and found <= {MANIFEST, *PARTS}


def start_folder(folder: Path) -> None:
    """Make the folder, delete what an earlier run left in it, and begin a manifest.

    The config is to be written after the other parts: a folder that has one can be resumed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in OURS:
            (folder / name).unlink(missing_ok=True)
            (folder / f".{name}.part").unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be made ({error.strerror})") from error
    start_manifest(folder)


def check_folder(folder: Path, *, checkpoint: bool, metrics: bool = True) -> None:
    """Refuse a folder with a part that is missing, damaged or of another model.

    Args:
        folder: a model or a run.
        checkpoint: whether the checkpoint, the largest part, is looked at, too.
        metrics: whether the scores are.

    Raises:
        FolderError: names the part.
    """
    # These two may be taken away: the model is the same without them.
    wanted = {METRICS: metrics, CHECKPOINT: checkpoint}
    without = [name for name in wanted if not (wanted[name] and (folder / name).exists())]
    check_parts(folder, without=without)


def check_can_go_on(folder: Path) -> None:
    """Refuse a finished model without a checkpoint with a FolderError."""
    if (folder / METRICS).exists() and not (folder / CHECKPOINT).exists():
        raise FolderError(f"{folder}: has no {CHECKPOINT}, so its training cannot go on")


def relative_to(folder: Path, path: str) -> str:
    """Return a path relative to a folder; absolute if the two are on different drives."""
    try:
        return os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    except ValueError:
        return os.path.realpath(path)


def found_from(folder: Path, path: str) -> Path:
    """Return the absolute path that `relative_to` described."""
    return Path(os.path.normpath(folder.resolve() / path))


def find_data(path: str, part: str) -> str:
    """Return the path of a run's data as a user of the current folder would write it.

    Args:
        path: the absolute path.
        part: the part of the data, such as train.

    Raises:
        DataError: there is no such file.
    """
    short = min(path, relative_to(Path(), path), key=len)
    if not Path(path).exists():
        raise DataError(
            f"{short}: is missing, it holds the {part} data of this run; put it back, or train "
            "again with another out"
        )
    return short


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json with the version and the format of the folder."""
    write_json(folder / CONFIG, {"elman": elman.__version__, "format": FORMAT, **config})


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not is_unicode(text):
        text = json.dumps(value, indent=2)  # the name of a file that is not UTF-8
    write_part(path, f"{text}\n")


def read_json(path: Path, *, finite: bool = True) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FolderError: the file is missing or damaged, or a number in it is NaN or infinite; with
            finite=False such numbers are taken, as scores may be.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror})") from error
    except (RecursionError, ValueError) as error:
        raise FolderError(f"{path}: is damaged, it is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise FolderError(f"{path}: is damaged, it holds no JSON object")
    if finite and (place := _not_finite(value, "")) is not None:
        raise FolderError(f"{path}: is damaged, {place} is no finite number; put the old file back")
    return value


def _not_finite(value: object, place: str) -> str | None:
    """Where in a JSON value a number is NaN or infinite."""
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
    """What training has seen of series or recordings, from a JSON file.

    Raises:
        FolderError: the file is missing or damaged, or a unit cannot be one.
    """
    values = read_json(path)
    try:
        for name, (_, deviation) in values.get("units", {}).items():
            if not deviation > 0:
                raise ValueError(f"the deviation of {name} is {deviation}, expected above 0")
        return kind(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{path}: is damaged ({error}); put the old file back") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check config.json.

    Raises:
        FolderError: there is no such folder, or it is not a model that this version can read.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder}: there is no such folder; name the folder given as out")
    if not (folder / CONFIG).exists():
        raise FolderError(f"{folder}: is no model folder, it has no {CONFIG}")
    config = read_json(folder / CONFIG)
    if "elman" not in config or "task" not in config:
        raise FolderError(f"{folder / CONFIG}: was not written by Elman")
    if config.get("format") != FORMAT:
        raise FolderError(
            f"{folder}: has folder format {config.get('format')}, written by Elman "
            f"{config['elman']}; this is Elman {elman.__version__}, which reads format {FORMAT}"
        )
    for name in ("settings", "data"):
        if not isinstance(config.get(name), dict):
            raise FolderError(f"{folder / CONFIG}: is damaged, it holds no {name}")
    return config
