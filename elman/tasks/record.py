"""A record beside an unfinished output, with which the command that was stopped continues.

The first line has facts on which the output depends, such as the weights of the model, the content
of the data and the options.  Each further line describes a part of the output that is complete.  A
line that a crash has cut off is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from elman.errors import FolderError
from elman.read.file_source import content_key
from elman.read.files import files_below
from elman.tasks.prediction import Prediction
from elman.tasks.task import Task, identity_of


class Record:
    """The record of an output, which may have been begun by an earlier command.

    Args:
        path: file of the record.
        facts: facts on which the output depends.

    Attributes:
        changed: names of the facts that an earlier command had otherwise; empty if it had the same.
        done: the complete parts, in their order.
    """

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        self.path, self.facts = path, dict(facts)
        found, self.done = _read(path)
        self.changed = [name for name in self.facts if found.get(name) != self.facts[name]]

    def begin(self) -> None:
        """Write the facts, without any complete part."""
        self.done = []
        self.path.write_text(json.dumps(self.facts), encoding="utf-8")

    def add(self, *part: int | str) -> None:
        """Write that a part is complete."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(part)}")

    def refusal(self, output: Path) -> FolderError:
        """Return the error for an output that was begun with other facts."""
        return FolderError(
            f"{output}: was begun with other settings ({', '.join(self.changed)}); repeat the "
            "earlier command to continue it, delete it to begin again, or name another one"
        )


def facts_of(model: Task, data: str, options: Prediction[Any]) -> dict[str, str]:
    """Return the facts on which predictions depend, including the content of files in options.

    Args:
        model: the model.
        data: what identifies the data.
        options: the options of the predictions.
    """
    facts = {"model": identity_of(model), "data": data}
    for field in fields(options):
        value = getattr(options, field.name)
        if isinstance(value, Path) and value.exists():
            value = [content_key(file) for file in files_below(value)]
        facts[field.name] = repr(value)
    return facts


def _read(path: Path) -> tuple[dict[str, Any], list[list[Any]]]:
    """Return the facts and the complete parts of a record; both are empty without a record."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        return {}, []
    facts, *parts = map(_parsed, lines)
    return facts if isinstance(facts, dict) else {}, [x for x in parts if isinstance(x, list)]


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (RecursionError, ValueError):
        return None
