"""Labelled data of any kind: examples, classes, and a stratified part for validation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import ArgumentError, DataError
from elman.read.text import checked_text

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier

Label = str | int | float | bool
UNSEEN = -1  # in the place of a class that the training data have not
FEW = 5  # examples of a class: fewer are said


@dataclass
class Examples:
    """Texts or recordings, their labels, where each stands; of recordings all that were read."""

    items: list[Any] = field(default_factory=list)
    labels: list[tuple[Label, ...]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    whole: Any = None

    def __len__(self) -> int:
        return len(self.items)

    def add(self, item: Any, labels: tuple[Label, ...], place: str) -> None:
        """One more."""
        self.items.append(item)
        self.labels.append(labels)
        self.places.append(place)

    def select(self, numbers: Iterable[int]) -> Examples:
        """Some of them, in this order."""
        chosen = list(numbers)
        return Examples(
            [self.items[n] for n in chosen],
            [self.labels[n] for n in chosen],
            [self.places[n] for n in chosen],
            self.whole,
        )


def labels_of(value: object, place: str, model: Classifier) -> tuple[Label, ...]:
    """The label of a row, or with `several` its labels; DataError if there is none."""
    if not model.several:
        return (_label(value, place, model.label),)
    if isinstance(value, str):
        value = [part for part in value.split(model.separator) if part.strip()]
    if value is None:
        return ()
    if isinstance(value, np.ndarray | list | tuple | set | frozenset):
        return tuple(dict.fromkeys(_label(one, place, model.label) for one in value))
    return (_label(value, place, model.label),)


def _label(value: object, place: str, column: str) -> Label:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        value = " ".join(checked_text(value, f"{place}: column {column!r}").split())
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        raise DataError(f"{place}: column {column!r} is empty, expected a label; fill or drop it")
    if isinstance(value, list | dict | tuple | set | frozenset | np.ndarray):
        raise DataError(
            f"{place}: column {column!r} is a {type(value).__name__}, expected a label; for any "
            "number of them set several"
        )
    if not isinstance(value, str | int | float | bool):
        value = str(value)
    return value


def find_classes(examples: Examples, name: str, given: object) -> list[Label]:
    """All labels of the training data in order; DataError for fewer than two.

    `given` is what the user gave: of a matrix all columns are labels.
    """
    found = set().union(*examples.labels)
    shape: tuple[int, ...] = getattr(given[1], "shape", ()) if isinstance(given, tuple) else ()
    found |= set(range(shape[1] if len(shape) > 1 else 0))
    kinds = {type(label) for label in found}
    classes: list[Label] = sorted(found) if len(kinds) == 1 else sorted(found, key=str)
    if len(classes) < 2:
        shown = repr(classes[0]) if classes else "no label"
        raise DataError(f"{name}: all rows have {shown}; at least 2 classes are needed")
    if len({str(label) for label in classes}) < len(classes):
        raise DataError(
            f"{name}: labels of different types look alike ({', '.join(map(repr, classes[:6]))}); "
            "make them all text or all numbers"
        )
    return classes


def split(
    examples: Examples, fraction: float, *, seed: int, groups: Sequence[str] | None = None
) -> tuple[Examples, Examples]:
    """A training and a validation part with the same share of every label (or set of labels).

    With a name of each, those of a group stay together; of which labels a part has how much is
    then left to chance, but the training part keeps all of them.

    Sets of several labels that are too rare for a share are drawn from together; but every label
    stays in the training part.

    Example:
        >>> from elman.tasks.labelled_data import Examples, split
        >>> many = Examples(["a"] * 30, [("x",)] * 20 + [("y",)] * 10, [""] * 30)
        >>> train, held = split(many, 0.1, seed=0)
        >>> len(train), held.labels
        (27, [('x',), ('x',), ('y',)])
    """
    draw = np.random.default_rng((seed, 1))
    if groups is not None:
        return _split_groups(examples, fraction, groups, draw)
    sets: dict[tuple[str, ...], list[int]] = {}
    for number, labels in enumerate(examples.labels):
        sets.setdefault(tuple(sorted(map(str, labels))), []).append(number)
    rare = {key for key in sets if len(sets[key]) * fraction < 1}
    if not any(len(key) > 1 for key in rare):
        rare = set()
    held: list[int] = []
    debt = 0.0  # what groups before owe, so that all together give their share
    for key in sorted(sets.keys() - rare):
        members = draw.permutation(sets[key])
        wanted = len(members) * fraction + debt
        most = min(math.ceil(len(members) * fraction), len(members) - 1)
        count = min(int(wanted + 1e-9), most)
        debt = min(1.0, wanted - count)
        held += members[:count].tolist()
    members = draw.permutation([n for key in sorted(rare) for n in sets[key]]).astype(int)
    left = Counter(label for labels in examples.labels for label in labels)
    left -= Counter(label for n in held for label in examples.labels[n])
    wanted = int(len(members) * fraction + debt + 1e-9)
    for n in members.tolist():
        if wanted and all(left[label] > 1 for label in examples.labels[n]):
            held.append(n)
            left.subtract(examples.labels[n])
            wanted -= 1
    if not held:
        raise DataError(
            f"{len(examples)} rows of {len(sets)} labels are too few to hold out "
            f"validation_fraction={fraction} of each; give more rows, or validation data"
        )
    there = set(held)
    return (
        examples.select(n for n in range(len(examples)) if n not in there),
        examples.select(sorted(held)),
    )


def _split_groups(
    examples: Examples, fraction: float, groups: Sequence[str], draw: np.random.Generator
) -> tuple[Examples, Examples]:
    left = Counter(label for labels in examples.labels for label in labels)
    held: set[str] = set()
    wanted = fraction * len(examples)
    for name in draw.permutation(sorted(set(groups))).tolist():
        rows = [n for n, group in enumerate(groups) if group == name]
        lost = Counter(label for n in rows for label in examples.labels[n])
        if len(rows) <= wanted + 0.5 and all(left[label] > lost[label] for label in lost):
            held.add(name)
            left.subtract(lost)
            wanted -= len(rows)
    parts = [
        examples.select(n for n, group in enumerate(groups) if (group in held) == of_held)
        for of_held in (False, True)
    ]
    if not held:
        raise DataError(
            f"{len(set(groups))} recordings are too few to hold out validation_fraction={fraction} "
            "of them; give more, or validation data"
        )
    return parts[0], parts[1]


def targets_of(
    labels: Sequence[tuple[Label, ...]], classes: Sequence[Label], *, several: bool
) -> tuple[Tensor, Tensor]:
    """Classes (N), UNSEEN for none, or with `several` (N, K) of zeros and ones; and unseen labels.

    Returns:
        The targets, and how many labels of each row (N) training has not.
    """
    number = {label: n for n, label in enumerate(classes)}
    # Files know text only: what was a number in training is recognised by how it is written.
    number |= {str(label): n for label, n in number.items()}
    found = [[number.get(one, number.get(str(one), UNSEEN)) for one in some] for some in labels]
    unseen = torch.tensor([row.count(UNSEEN) for row in found], dtype=torch.int64)
    if not several:
        return torch.tensor([row[0] for row in found], dtype=torch.int64), unseen
    targets = torch.zeros(len(labels), len(classes), dtype=torch.float32)
    for row, some in enumerate(found):
        targets[row, [one for one in some if one != UNSEEN]] = 1
    return targets, unseen


def notes_on(train: Examples, others: dict[str, Examples], classes: Sequence[Label]) -> list[str]:
    """What a user should know of labels: rare ones, and those never seen in training."""
    notes = []
    counts = Counter(label for labels in train.labels for label in labels)
    rare = [f"{label} ({counts[label]})" for label in classes if counts[label] < FEW]
    if rare:
        more = f" and {len(rare) - 10} more" if len(rare) > 10 else ""
        notes.append(f"few examples of: {', '.join(rare[:10])}{more}")
    for name, examples in others.items():
        strange = {x for labels in examples.labels for x in labels} - set(classes)
        strange = {x for x in strange if str(x) not in set(map(str, classes))}
        if strange:
            shown = ", ".join(sorted(map(str, strange))[:10])
            notes.append(f"labels of the {name} data that training has not: {shown}")
    return notes


def columns_set(labels: Any, *, several: bool) -> Any:
    """Of a matrix of zeros and ones (N, K), as scikit-learn has it, the columns with a one."""
    shape = getattr(labels, "shape", ())
    if len(shape) < 2:
        return labels
    matrix = np.asarray(labels)
    if not several or matrix.ndim != 2 or not np.isin(matrix, (0, 1)).all():
        raise ArgumentError(
            f"labels must be a list, or with several=True a matrix of zeros and ones, got {shape}"
        )
    return [np.flatnonzero(row).tolist() for row in matrix]
