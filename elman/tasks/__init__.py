"""Tasks: each combines data, model, decoding and scores.  This file does not import torch."""

from __future__ import annotations

from pathlib import Path

from elman.errors import FolderError
from elman.read.files import path_of
from elman.tasks.classifier import Classifier
from elman.tasks.folder import read_config
from elman.tasks.forecaster import Forecaster
from elman.tasks.language_model import LanguageModel
from elman.tasks.tagger import Tagger
from elman.tasks.transcriber import Transcriber
from elman.tasks.translator import Translator

AnyTask = Classifier | Forecaster | LanguageModel | Tagger | Transcriber | Translator
TASKS: dict[str, type[AnyTask]] = {
    task.task: task
    for task in (LanguageModel, Classifier, Tagger, Translator, Transcriber, Forecaster)
}


def task_of(folder: str | Path) -> type[AnyTask]:
    """Return the class of the model in a folder; raise a FolderError if its task is unknown."""
    task = read_config(path_of(folder, "folder"))["task"]
    if task not in TASKS:
        raise FolderError(f"{folder}: holds a model for {task!r}; the tasks are {', '.join(TASKS)}")
    return TASKS[task]


def load(folder: str | Path) -> AnyTask:
    """Read a trained model from its folder.

    Raises:
        FolderError: the folder is missing or damaged, or contains no model.
    """
    return task_of(folder).load(folder)


__all__ = [
    "TASKS",
    "AnyTask",
    "Classifier",
    "Forecaster",
    "LanguageModel",
    "Tagger",
    "Transcriber",
    "Translator",
    "load",
    "task_of",
]
