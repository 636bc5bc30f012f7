"""The folder of a model or a run.

    config.json              task, settings, data
    tokenizer.json           vocabulary of texts; for a translator that of the targets
    source_tokenizer.json    vocabulary of a translator's sources
    words.json               words and characters of a tagger
    wide.safetensors         features of a classifier's wide part
    inputs/0, inputs/1, ..   the files of each of several inputs; for groups inputs/ has the files
                             of the rows
    series.json              scales, categories and names of a forecaster's series, and
    history.safetensors      their last values, after which forecasts begin
    weights.safetensors      the best weights
    metrics.json             scores of the model and of its baselines
    README.md                the model card: data, sizes, scores, how to use the model
    run.jsonl, report.html   records and report of the training
    checkpoint.safetensors   state of the training, for `elman resume`
    manifest.json            lengths and checksums of these files, see `elman.manifest`

No file is a pickle.  This file does not import torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from elman.errors import DataError, FolderError
from elman.manifest import (
    CHECKPOINT,
    FEATURES,
    INPUTS,
    MANIFEST,
    SERIES,
    SOURCE_TOKENIZER,
    TOKENIZER,
    WEIGHTS,
    WORDS,
    check_parts,
    read_json,
    start_manifest,
    write_json,
)
from elman.version import __version__

if TYPE_CHECKING:
    from elman.settings import NetworkSettings

FORMAT = 1
PATHS = (
    "train",
    "validation",
    "test",
    "start_from",
    "vectors",
    "noise",
)  # settings and data with paths
CONFIG, METRICS, CARD = "config.json", "metrics.json", "README.md"
HISTORY = "history.safetensors"
PARTS = (  # files of a model, which the manifest lists
    CONFIG,
    TOKENIZER,
    SOURCE_TOKENIZER,
    WORDS,
    FEATURES,
    SERIES,
    HISTORY,
    WEIGHTS,
    METRICS,
    CHECKPOINT,
)
OURS = (CARD, "run.jsonl", "report.html", *reversed(PARTS), MANIFEST)  # in the order of deletion


class Model(Protocol):
    """The interface of a model of any task that training runs and folders use.

    Attributes:
        task: name of the task.
        described: facts about the data, for config.json.
        metrics: scores of the model and of its baselines.
    """

    task: ClassVar[str]
    described: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def model(self) -> Any:  # SequenceModel or Seq2Seq
        """The network."""

    def settled(self) -> NetworkSettings:
        """Return the settings, with the values that the data decided."""

    def _config(self, folder: Path) -> dict[str, Any]:
        """Return the content of config.json, with paths relative to the folder."""

    def _save_parts(self, folder: Path) -> None:
        """Write the files that the network needs besides its weights, such as a vocabulary."""

    def card(self, name: str) -> str:
        """Return the model card as Markdown."""


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise an error unless a model can be written to a folder.

    Raises:
        FolderError: the folder contains other files, or a model and `overwrite` is false, or it
            cannot be created or written.
    """
    if folder.is_dir() and not _is_empty(folder):
        if not (folder / CONFIG).exists():
            raise FolderError(
                f"{folder}: is not empty and is not a model folder; name a new folder for out"
            )
        read_config(folder)
        if not overwrite:
            raise FolderError(
                f"{folder}: holds a model already; name another folder, continue its training with "
                f"`elman resume {folder}`, or replace the model with --overwrite"
            )
    elif folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder}: is a file; name a new folder for out")
    above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not os.access(above, os.W_OK | os.X_OK) or not above.is_dir():
        raise FolderError(f"{folder}: {above} cannot be written; name another folder for out")


def _is_empty(folder: Path) -> bool:
    """Return whether a folder is empty, except for files of a run killed before its config."""
    found = {path.name.removeprefix(".").removesuffix(".part") for path in folder.iterdir()}
    found.discard("lock")
    if not found or (folder / CONFIG).exists():
        return not found
    return MANIFEST in found and found <= {MANIFEST, INPUTS, *PARTS}


def start_folder(folder: Path) -> None:
    """Create the folder, delete the files of an earlier run in it, and start a manifest.

    The config must be written after the other parts, because a folder with a config can be resumed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _delete_parts(folder)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be created ({error.strerror})") from error
    start_manifest(folder)


def _delete_parts(folder: Path) -> None:
    """Delete the files of a run in a folder and in the folders of its inputs."""
    for name in OURS:
        (folder / name).unlink(missing_ok=True)
        (folder / f".{name}.part").unlink(missing_ok=True)
    inside = folder / INPUTS
    for place in (*sorted(inside.glob("*")), inside):
        if place.is_dir():
            _delete_parts(place)
            if not any(place.iterdir()):
                place.rmdir()


def check_folder(folder: Path, *, checkpoint: bool) -> None:
    """Raise an error if a part of a model is missing, damaged or of another model.

    Args:
        folder: folder of a model or a run.
        checkpoint: whether to check the checkpoint, the largest part.

    Raises:
        FolderError: a part is wrong; the message names it.
    """
    # A user may delete these two: the model does not need them.
    without = [name for name in (METRICS, CHECKPOINT) if not (folder / name).exists()]
    check_parts(folder, without=without if checkpoint else [*without, CHECKPOINT])


def check_can_go_on(folder: Path) -> None:
    """Raise a FolderError if a run cannot be continued: its checkpoint is missing or damaged.

    A run that was stopped before its first checkpoint has none, and starts again.
    """
    there = {name for name in (CHECKPOINT, METRICS, CARD, WEIGHTS) if (folder / name).exists()}
    if CHECKPOINT not in there and (METRICS in there or {CARD, WEIGHTS} <= there):
        raise FolderError(f"{folder}: has no {CHECKPOINT}, so its training cannot be continued")
    check_parts(folder, without=[METRICS])  # training writes it again


def relative_to(folder: Path, path: str) -> str:
    """Return a path relative to a folder; absolute if the two are on different drives."""
    try:
        return os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    except ValueError:
        return os.path.realpath(path)


def found_from(folder: Path, path: str) -> Path:
    """Return the absolute path for a result of `relative_to`."""
    return Path(os.path.normpath(folder.resolve() / path))


def short_path(path: str) -> str:
    """Return an absolute path as a user would write it: from the current folder, if shorter.

    Example:
        >>> import os
        >>> from elman.tasks.folder import short_path
        >>> short_path(os.path.join(os.getcwd(), "book.txt"))
        'book.txt'
    """
    return min(path, relative_to(Path(), path), key=len) if Path(path).is_absolute() else path


def name_of(path: str) -> str:
    """Return the last part of a path, which can be shared."""
    return Path(path).name


def find_data(path: str, part: str) -> str:
    """Return the path of a run's data as a user would write it.

    Args:
        path: the absolute path.
        part: the part of the data, such as train.

    Raises:
        DataError: there is no such file.
    """
    short = short_path(path)
    if not Path(path).exists():
        raise DataError(
            f"{short}: is missing, it holds the {part} data of this run; put it back, or train "
            "again with another out"
        )
    return short


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json, with the version of Elman and the format of the folder."""
    write_json(folder / CONFIG, {"elman": __version__, "format": FORMAT, **config})


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check config.json.

    Raises:
        FolderError: the folder does not exist, or contains no model that this version can read.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder}: there is no such folder; name a folder that training wrote")
    if not (folder / CONFIG).exists():
        raise FolderError(f"{folder}: is not a model folder, it has no {CONFIG}")
    config = read_json(folder / CONFIG)
    if "elman" not in config or not isinstance(config.get("task"), str):
        raise FolderError(f"{folder / CONFIG}: was not written by Elman")
    if config.get("format") != FORMAT:
        raise FolderError(
            f"{folder}: has folder format {config.get('format')}, written by Elman "
            f"{config['elman']}; this is Elman {__version__}, which reads format {FORMAT}"
        )
    for name in ("settings", "data"):
        if not isinstance(config.get(name), dict):
            raise FolderError(f"{folder / CONFIG}: is damaged, it holds no {name}")
    return config
