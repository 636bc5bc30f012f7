"""Labelled data: examples, classes, and a stratified part for validation."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import ArgumentError, DataError
from elman.read.convert import scalar_of
from elman.read.dialect import is_code, is_none, named_like
from elman.read.recordings import is_blank
from elman.read.text import checked_text
from elman.tasks.settings import dialect_of

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier

Label = Any  # text, a number, or any other value that can be a key of a dict
KINDS: dict[str, Callable[[str], Any]] = {  # types of labels that JSON does not have
    "bytes": bytes.fromhex, "date": date.fromisoformat, "datetime": datetime.fromisoformat,
    "Timestamp": datetime.fromisoformat, "Decimal": Decimal, "float": float,
}  # fmt: skip
UNSEEN = -1  # number of a class that is not in the training data
FEW = 5  # examples of a class; fewer are reported


@dataclass
class Examples:
    """Texts or recordings with their labels and places.

    Attributes:
        items: texts or recordings.
        labels: labels of each item.
        places: where each item was read, for messages.
        whole: all recordings that were read; None for texts.
    """

    items: list[Any] = field(default_factory=list)
    labels: list[tuple[Label, ...]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    whole: Any = None

    def __len__(self) -> int:
        return len(self.items)

    def add(self, item: Any, labels: tuple[Label, ...], place: str) -> None:
        """Add an example."""
        self.items.append(item)
        self.labels.append(labels)
        self.places.append(place)

    def select(self, numbers: Iterable[int]) -> Examples:
        """Return the examples with these numbers, in this order."""
        chosen = list(numbers)
        return Examples(
            [self.items[n] for n in chosen],
            [self.labels[n] for n in chosen],
            [self.places[n] for n in chosen],
            self.whole,
        )


def labels_of(value: object, place: str, model: Classifier, *, written: bool) -> tuple[Label, ...]:
    """Return the label of a row, or with `several` its labels.

    Args:
        value: the value that was read.
        place: where the row was read, for messages.
        model: its settings decide how labels are read.
        written: whether the value comes from a file, where blanks around a label do not count.

    Raises:
        DataError: the row has no label.
    """
    value = scalar_of(value)
    if is_code(value, dialect_of(model).codes(model.label, named=True)):
        value = None
    if not model.several:
        return (_label(value, place, model.label, written=written),)
    if isinstance(value, str):
        value = split_labels(value, model.separator)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if is_none(value):
        return ()
    some = value if isinstance(value, list | tuple | set | frozenset) else [value]
    labels = [_label(scalar_of(one), place, model.label, written=written) for one in some]
    return tuple(dict.fromkeys(labels))


def _label(value: object, place: str, column: str, *, written: bool) -> Label:
    if isinstance(value, str):
        checked_text(value, f"{place}: column {column!r}")
        value = " ".join(value.split()) if written else value
    if is_blank(value):
        raise DataError(f"{place}: column {column!r} is empty, expected a label; fill or drop it")
    if isinstance(value, list | dict | tuple | set | frozenset | np.ndarray):
        raise DataError(
            f"{place}: column {column!r} is a {type(value).__name__}, expected a label; for any "
            "number of labels set several=True"
        )
    # Other values, such as members of an Enum, cannot be made again from a saved model: they are
    # text from the beginning, so that a model predicts the same before and after it is saved.
    if isinstance(value, Enum) and isinstance(value, str | int | float):
        value = value.value  # equal to the member
    kept = type(value) in (str, int, float, bool, bytes) or type(value).__name__ in KINDS
    return value if kept else str(value)


def join_labels(labels: Iterable[Label], separator: str) -> str:
    """Return labels as one text; a label that contains the separator is put in double quotes.

    Example:
        >>> from elman.tasks.labelled_data import join_labels, split_labels
        >>> join_labels(["a", "b, c"], ","), split_labels('a,"b, c"', ",")
        ('a,"b, c"', ['a', 'b, c'])
    """
    texts = map(str, labels)
    return separator.join(
        '"' + text.replace('"', '""') + '"' if separator in text or text.startswith('"') else text
        for text in texts
    )


def split_labels(text: str, separator: str) -> list[str]:
    """Return the labels of a text, such as `join_labels` returns."""
    mark = re.escape(separator)
    found = re.findall(rf'\s*"((?:[^"]|"")*)"\s*(?:{mark}|$)|(.*?)(?:{mark}|$)', text, re.DOTALL)
    labels = [quoted.replace('""', '"') if quoted else plain for quoted, plain in found]
    return [label for label in labels if label.strip()]


def shown_label(label: Label) -> str | int | float | bool:
    """Return a label for JSON and tables: as text, unless it is a plain value."""
    if isinstance(label, float) and not math.isfinite(label):
        return str(label)
    return label if type(label) in (str, int, float, bool) else str(label)


def packed_label(label: Label) -> Any:
    """Return a label for config.json, which `unpacked_label` turns back into the same value.

    Values that neither JSON nor `KINDS` have, such as an Enum, become text.

    Example:
        >>> from datetime import date
        >>> from elman.tasks.labelled_data import packed_label, unpacked_label
        >>> packed_label(date(2024, 1, 31)), unpacked_label(packed_label(b"a"))
        ({'date': '2024-01-31'}, b'a')
    """
    kind = type(label).__name__
    if isinstance(label, bytes):
        return {"bytes": label.hex()}
    if kind in KINDS:
        return {kind: str(label)}
    found = shown_label(label)
    return found if found == label or not isinstance(label, float) else {"float": found}


def unpacked_label(value: Any) -> Label:
    """Return the label from which `packed_label` made the value."""
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not set(value) <= set(KINDS):
        raise ArgumentError(f"a label must be a value, or a type and its text, got {value!r}")
    ((kind, text),) = value.items()
    return KINDS[kind](text)


def _alike(label: Label) -> str:
    """Return the text by which a label from a file is recognised, whatever its type in training."""
    return named_like(" ".join(str(label).split()))


def find_classes(examples: Examples, name: str, given: object) -> list[Label]:
    """Return all labels of the training data in order.

    Args:
        examples: the training data.
        name: name of the data, for messages.
        given: the data as given to `fit`; each column of a matrix of labels is a label.

    Raises:
        DataError: there are fewer than two labels, or two that look alike.
    """
    found = set().union(*examples.labels)
    shape: tuple[int, ...] = getattr(given[1], "shape", ()) if isinstance(given, tuple) else ()
    found |= set(range(shape[1] if len(shape) > 1 else 0))
    kinds = {type(label) for label in found}
    try:
        classes: list[Label] = sorted(found, key=None if len(kinds) == 1 else str)
    except TypeError:  # values without an order, such as those of an Enum
        classes = sorted(found, key=str)
    if len(classes) < 2:
        shown = repr(classes[0]) if classes else "no label"
        raise DataError(f"{name}: all rows have {shown}; at least 2 classes are needed")
    if len({str(label) for label in classes}) < len(classes):
        raise DataError(
            f"{name}: labels of different types look alike ({', '.join(map(repr, classes[:6]))}); "
            "convert all of them to text or all to numbers"
        )
    return classes


def split(
    examples: Examples, fraction: float, *, seed: int, groups: Sequence[str] | None = None
) -> tuple[Examples, Examples]:
    """Return a training and a validation part with the same share of every label or set of labels.

    With `groups`, the name of the group of each example, a group stays in one part; the shares of
    labels are then random.  Sets of labels that are too rare to be divided are drawn from together.
    Every label stays in the training part.

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
    debt = 0.0  # examples that previous sets still owe, so that the total is the share
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
        single = sorted(key for key in sets if len(sets[key]) == 1)
        alone = f" ({_some(map(', '.join, single))} in one row only)" if single else ""
        raise DataError(
            f"{len(examples)} rows with {len(sets)} labels are too few to hold out "
            f"validation_fraction={fraction} of each{alone}; give more rows, or validation data"
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
    """Return the classes of rows as numbers, and the labels that are not among the classes.

    Returns:
        Classes (N), UNSEEN for other labels, or with `several` zeros and ones (N, K); and for each
        label that is not in the training data its row and a number for the label (M, 2).
    """
    number = {label: n for n, label in enumerate(classes)}
    # Labels in files are text: a number is recognised by how it is written.
    alike = {_alike(label): n for label, n in reversed(number.items())}
    found = [[number.get(one, alike.get(_alike(one), UNSEEN)) for one in some] for some in labels]
    strange: dict[str, int] = {}
    unseen = [
        (row, strange.setdefault(str(one), len(strange)))
        for row, some in enumerate(labels)
        for one, place in zip(some, found[row], strict=True)
        if place == UNSEEN
    ]
    others = torch.tensor(unseen, dtype=torch.int64).reshape(-1, 2)
    if not several:
        return torch.tensor([row[0] for row in found], dtype=torch.int64), others
    targets = torch.zeros(len(labels), len(classes), dtype=torch.float32)
    for row, some in enumerate(found):
        targets[row, [one for one in some if one != UNSEEN]] = 1
    return targets, others


def notes_on(train: Examples, others: dict[str, Examples], classes: Sequence[Label]) -> list[str]:
    """Return notes about labels that are rare, or that are not in the training data."""
    notes = []
    counts = Counter(label for labels in train.labels for label in labels)
    single = [str(label) for label in classes if counts[label] == 1]
    if single:
        notes.append(f"labels with only one row, of which none can be held out: {_some(single)}")
    rare = [f"{label} ({counts[label]})" for label in classes if 1 < counts[label] < FEW]
    if rare:
        notes.append(f"labels with few examples: {_some(rare)}")
    known = set(map(_alike, classes))
    for name, examples in others.items():
        strange = {x for labels in examples.labels for x in labels}
        strange = {str(x) for x in strange if _alike(x) not in known}
        if strange:
            notes.append(
                f"labels of the {name} data that are not in the training data: {_some(strange)}"
            )
    return notes


def _some(names: Iterable[str]) -> str:
    """Return the first ten names and the number of the others as one text."""
    found = sorted(names)
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")


def columns_set(labels: Any, *, several: bool) -> Any:
    """Return the numbers of the columns with a one, for a matrix of zeros and ones (N, K).

    Other labels are returned unchanged.

    Raises:
        ArgumentError: a matrix has other values, or `several` is not set.
    """
    shape = getattr(labels, "shape", ())
    if len(shape) < 2:
        return labels
    matrix = np.asarray(labels)
    if not several or matrix.ndim != 2 or not np.isin(matrix, (0, 1)).all():
        raise ArgumentError(
            f"labels must be a list, or with several=True a matrix of zeros and ones; got {shape}"
        )
    return [np.flatnonzero(row).tolist() for row in matrix]
