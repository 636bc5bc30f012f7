"""Labelled data of any kind: examples, classes, and a stratified part for validation."""

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
KINDS: dict[str, Callable[[str], Any]] = {  # of labels that JSON does not have
    "bytes": bytes.fromhex, "date": date.fromisoformat, "datetime": datetime.fromisoformat,
    "Timestamp": datetime.fromisoformat, "Decimal": Decimal, "float": float,
}  # fmt: skip
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


def labels_of(value: object, place: str, model: Classifier, *, written: bool) -> tuple[Label, ...]:
    """The label of a row, or with `several` its labels.

    Args:
        value: as it was read.
        place: of the row, for people.
        model: whose settings say how labels are read.
        written: whether it comes from a file, where blanks around a label do not count; a label in
            memory stays as it is.

    Raises:
        DataError: there is no label.
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
            "number of them set several"
        )
    # Other values, such as members of an Enum, cannot be made again from a saved model: they are
    # text from the beginning, so that a model predicts the same before and after it is saved.
    if isinstance(value, Enum) and isinstance(value, str | int | float):
        value = value.value  # equal to the member
    kept = type(value) in (str, int, float, bool, bytes) or type(value).__name__ in KINDS
    return value if kept else str(value)


def join_labels(labels: Iterable[Label], separator: str) -> str:
    """Labels as a file has them; one that holds the separator stands in double quotes.

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
    """The labels of a text that `join_labels` wrote, or a user."""
    mark = re.escape(separator)
    found = re.findall(rf'\s*"((?:[^"]|"")*)"\s*(?:{mark}|$)|(.*?)(?:{mark}|$)', text, re.DOTALL)
    labels = [quoted.replace('""', '"') if quoted else plain for quoted, plain in found]
    return [label for label in labels if label.strip()]


def shown_label(label: Label) -> str | int | float | bool:
    """A label as JSON and tables have it: text where it is no plain value."""
    if isinstance(label, float) and not math.isfinite(label):
        return str(label)
    return label if type(label) in (str, int, float, bool) else str(label)


def packed_label(label: Label) -> Any:
    """A label for config.json, from which `unpacked_label` makes the same value again.

    What neither JSON nor `KINDS` know, such as an Enum, becomes text.

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
    """The label that `packed_label` was given, or a label as it is."""
    if not isinstance(value, dict):
        return value
    ((kind, text),) = value.items()
    return KINDS[kind](text)


def _alike(label: Label) -> str:
    """Text by which a label of a file is recognised, whatever it was in training."""
    return named_like(" ".join(str(label).split()))


def find_classes(examples: Examples, name: str, given: object) -> list[Label]:
    """All labels of the training data in order; DataError for fewer than two.

    `given` is what the user gave: of a matrix all columns are labels.
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
        single = sorted(key for key in sets if len(sets[key]) == 1)
        alone = f" ({_some(map(', '.join, single))} in one row only)" if single else ""
        raise DataError(
            f"{len(examples)} rows of {len(sets)} labels are too few to hold out "
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
    """Classes of rows as numbers, and the labels that are none of them.

    Returns:
        Classes (N), UNSEEN for none, or with `several` (N, K) of zeros and ones; and (M, 2) row
        and number of each label that training has not seen.
    """
    number = {label: n for n, label in enumerate(classes)}
    # Files know text only: what was a number in training is recognised by how it is written.
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
    """What a user should know of labels: rare ones, and those never seen in training."""
    notes = []
    counts = Counter(label for labels in train.labels for label in labels)
    single = [str(label) for label in classes if counts[label] == 1]
    if single:
        notes.append(f"one row only, from which nothing can be held out: {_some(single)}")
    rare = [f"{label} ({counts[label]})" for label in classes if 1 < counts[label] < FEW]
    if rare:
        notes.append(f"few examples of: {_some(rare)}")
    known = set(map(_alike, classes))
    for name, examples in others.items():
        strange = {x for labels in examples.labels for x in labels}
        strange = {str(x) for x in strange if _alike(x) not in known}
        if strange:
            notes.append(f"labels of the {name} data that training has not: {_some(strange)}")
    return notes


def _some(names: Iterable[str]) -> str:
    """The first ten names, and how many more there are."""
    found = sorted(names)
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")


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
