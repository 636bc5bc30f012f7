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

Never a pickle.  No torch is imported here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import elman
from elman.atomic import write_atomic
from elman.errors import FolderError
from elman.read.text import is_unicode

FORMAT = 1
CONFIG, METRICS, CARD = "config.json", "metrics.json", "README.md"
TOKENIZER, SOURCE_TOKENIZER, WORDS = "tokenizer.json", "source_tokenizer.json", "words.json"
FEATURES = "wide.safetensors"
SERIES, HISTORY = "series.json", "history.safetensors"
OURS = (
    "weights.safetensors", "checkpoint.safetensors", METRICS, CARD, TOKENIZER,
    SOURCE_TOKENIZER, WORDS, FEATURES, SERIES, HISTORY, "run.jsonl", "report.html", CONFIG,
)  # fmt: skip


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot be written or that holds something already.

    Raises:
        FolderError: the folder is not empty and `overwrite` is not set, or it holds files that are
            not from Elman, or it cannot be made or written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / CONFIG).exists():
            raise FolderError(
                f"{folder}: is not empty and no model folder; name a new folder for out"
            )
        read_config(folder)
        if not overwrite:
            raise FolderError(
                f"{folder}: holds a model already; name another folder, go on with it by "
                f"`elman resume {folder}`, or replace it with --overwrite"
            )
    elif folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder}: is a file; name a new folder for out")
    above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not os.access(above, os.W_OK | os.X_OK) or not above.is_dir():
        raise FolderError(f"{folder}: {above} cannot be written; name another folder for out")


def start_folder(folder: Path, config: dict[str, Any]) -> None:
    """Make the folder, take away what an earlier run left in it, and write its config."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in OURS:
            (folder / name).unlink(missing_ok=True)
            (folder / f".{name}.part").unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be made ({error.strerror})") from error
    write_config(folder, config)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json with the version and the format of the folder."""
    write_json(folder / CONFIG, {"elman": elman.__version__, "format": FORMAT, **config})


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not is_unicode(text):
        text = json.dumps(value, indent=2)  # the name of a file that is not UTF-8
    write_atomic(path, f"{text}\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; FolderError if it is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise FolderError(f"{path}: is damaged, it is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise FolderError(f"{path}: is damaged, it holds no JSON object")
    return value


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
