"""Hold out a part of the data for validation; training and vocabularies never use it.

If a text has many documents, a random share of them is held out; else the end of the text, cut at a
line end.  If rows have labels, the same share of every label is held out.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from elman.errors import ArgumentError, DataError
from elman.read.characters import Advance
from elman.read.text import TextSource

Pieces = Iterator[tuple[str, bool]]  # text, and whether a document ends with it
Numbers = list[int]  # of rows

MANY = 10  # minimum mean number of documents in each part for a random choice


def hold_out(
    source: TextSource, fraction: float, *, seed: int
) -> tuple[Callable[..., Pieces], Callable[..., Pieces]]:
    """Split a source in two: return functions that read the training and the held-out part.

    Both functions take the `advance` of `TextSource.pieces`.

    Args:
        source: the documents.
        fraction: share to hold out, of documents or of characters, in (0, 1).
        seed: seed of the random choice.

    Raises:
        ArgumentError: the fraction is not in (0, 1).
        DataError: the text is too short to be split.

    Example:
        >>> from elman.read.text import TextSource
        >>> source = TextSource([f"text {i}" for i in range(100)])
        >>> train, held = hold_out(source, 0.2, seed=0)
        >>> len(list(train())) + len(list(held())), 5 < len(list(held())) < 35
        (100, True)
    """
    if not 0 < fraction < 1:
        raise ArgumentError(f"validation_fraction must be in (0, 1), got {fraction}")
    documents = characters = 0
    for text, ends in source.pieces():
        characters += len(text)
        documents += ends
    if documents * min(fraction, 1 - fraction) >= MANY:
        train = partial(_chosen, source, fraction, seed, False)
        held = partial(_chosen, source, fraction, seed, True)
    else:
        border = int(characters * (1 - fraction))
        train, held = partial(_before, source, border), partial(_after, source, border)
    if not any(text.strip() for text, _ in train()) or not any(t.strip() for t, _ in held()):
        raise DataError(
            f"{source.name}: too few characters ({characters}) to hold out "
            f"validation_fraction={fraction}; give more text, or a validation file"
        )
    return train, held


def _chosen(
    source: TextSource, fraction: float, seed: int, held: bool, advance: Advance | None = None
) -> Pieces:
    draw = random.Random(seed)
    chosen = draw.random() < fraction
    for text, ends in source.pieces(advance):
        if chosen == held:
            yield text, ends
        if ends:
            chosen = draw.random() < fraction


def _before(source: TextSource, border: int, advance: Advance | None = None) -> Pieces:
    for text, ends in source.pieces(advance):
        if border <= len(text):
            yield text[: _line_end(text, border)], True
            return
        yield text, ends
        border -= len(text)


def _after(source: TextSource, border: int, advance: Advance | None = None) -> Pieces:
    for text, ends in source.pieces(advance):
        rest = text[_line_end(text, border) if border > 0 else 0 :]
        if rest:
            yield rest, ends
        border -= len(text)


def _line_end(text: str, border: int) -> int:
    """Return the place to cut: the border, moved back to a line end or a space if one is near."""
    if border >= len(text):
        return len(text)
    for mark in ("\n", " "):
        found = text.rfind(mark, border // 2, border) + 1
        if found > 0:
            return found
    return border


def hold_out_rows(count: int, share: float, *, seed: int, unit: str) -> tuple[Numbers, Numbers]:
    """Return the indices of the training and the validation rows among `count` rows.

    Raises:
        DataError: there are too few rows.

    Example:
        >>> from elman.read.split import hold_out_rows
        >>> hold_out_rows(5, 0.2, seed=0, unit="pairs")
        ([0, 2, 3, 4], [1])
    """
    order = np.random.default_rng((seed, 1)).permutation(count)
    held = int(count * share)
    if not 0 < held < count:
        raise DataError(
            f"too few {unit} ({count}) to hold out validation_fraction={share}; give more data, or "
            "validation data"
        )
    return sorted(order[held:].tolist()), sorted(order[:held].tolist())


def hold_out_labels(
    labels: Sequence[tuple[object, ...]],
    fraction: float,
    *,
    seed: int,
    groups: Sequence[str] | None = None,
) -> tuple[Numbers, Numbers]:
    """Return training and validation rows with the same share of every label or set of labels.

    Sets of labels that are too rare to be divided are pooled first.  Every label stays in the
    training part.

    Args:
        labels: the labels of each row.
        fraction: share to hold out.
        seed: seed of the random choice.
        groups: name of the group of each row; a group stays in one part, and the shares of labels
            are then random.

    Raises:
        DataError: there are too few rows.

    Example:
        >>> from elman.read.split import hold_out_labels
        >>> train, held = hold_out_labels([("x",)] * 20 + [("y",)] * 10, 0.1, seed=0)
        >>> len(train), sum(number < 20 for number in held), len(held)
        (27, 2, 3)
    """
    draw = np.random.default_rng((seed, 1))
    if groups is not None:
        return _hold_out_groups(labels, fraction, groups, draw)
    sets: dict[tuple[str, ...], Numbers] = {}
    for number, some in enumerate(labels):
        sets.setdefault(tuple(sorted(map(str, some))), []).append(number)
    rare = {key for key in sets if len(sets[key]) * fraction < 1}
    if not any(len(key) > 1 for key in rare):
        rare = set()
    held: Numbers = []
    debt = 0.0  # rows that previous sets still owe, so that the total has the right share
    for key in sorted(sets.keys() - rare):
        members = draw.permutation(sets[key])
        wanted = len(members) * fraction + debt
        most = min(math.ceil(len(members) * fraction), len(members) - 1)
        count = min(int(wanted + 1e-9), most)
        debt = min(1.0, wanted - count)
        held += members[:count].tolist()
    members = draw.permutation([n for key in sorted(rare) for n in sets[key]]).astype(int)
    left = Counter(label for some in labels for label in some)
    left -= Counter(label for n in held for label in labels[n])
    wanted = int(len(members) * fraction + debt + 1e-9)
    for n in members.tolist():
        if wanted and all(left[label] > 1 for label in labels[n]):
            held.append(n)
            left.subtract(labels[n])
            wanted -= 1
    if not held:
        single = sorted(key for key in sets if len(sets[key]) == 1)
        alone = f" ({some_of(map(', '.join, single))} in one row only)" if single else ""
        raise DataError(
            f"{len(labels)} rows with {len(sets)} labels are too few to hold out "
            f"validation_fraction={fraction} of each{alone}; give more rows, or validation data"
        )
    there = set(held)
    return [n for n in range(len(labels)) if n not in there], sorted(held)


def _hold_out_groups(
    labels: Sequence[tuple[object, ...]],
    fraction: float,
    groups: Sequence[str],
    draw: np.random.Generator,
) -> tuple[Numbers, Numbers]:
    left = Counter(label for some in labels for label in some)
    held: set[str] = set()
    wanted = fraction * len(labels)
    for name in draw.permutation(sorted(set(groups))).tolist():
        rows = [n for n, group in enumerate(groups) if group == name]
        lost = Counter(label for n in rows for label in labels[n])
        if len(rows) <= wanted + 0.5 and all(left[label] > lost[label] for label in lost):
            held.add(name)
            left.subtract(lost)
            wanted -= len(rows)
    if not held:
        raise DataError(
            f"{len(set(groups))} recordings are too few to hold out validation_fraction={fraction} "
            "of them; give more, or validation data"
        )
    kept = [n for n, group in enumerate(groups) if group not in held]
    return kept, [n for n, group in enumerate(groups) if group in held]


def some_of(names: Iterable[str]) -> str:
    """Return the first ten names in order, and the number of the others, as one text."""
    found = sorted(names)
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
