"""Guess the kinds of inputs from the columns of a table.  This file does not import torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice, pairwise
from math import isfinite
from pathlib import Path

from elman.errors import ArgumentError, DataError
from elman.read.audio import AUDIO
from elman.read.columns import Table
from elman.read.dialect import is_nothing, number_in
from elman.read.images import PICTURES
from elman.read.tables import TABLES, listed, no_column

FIRST = 1000  # rows that are read
FILES = {"audio": AUDIO, "image": PICTURES, "recordings": {".npy", *TABLES}}
MOST = 50  # categories of a column
STEPS = {"unique_id", "ds"}  # columns of a table whose rows are steps


def guess_columns(table: Table, target: str, group: str | None = None) -> dict[str, str]:
    """Return the kind of each column that can be an input, by name.

    Columns with (almost) only one value, and those that number or name the rows, are not inputs.

    Args:
        table: a table with an item in each row.
        target: column of the targets.
        group: column with the name of the group of a row, which is not an input.

    Raises:
        ArgumentError: the column of the targets does not exist, or no column can be an input.
        DataError: there is no good row.

    Example:
        >>> from elman.inputs.guess import guess_columns
        >>> from elman.read.columns import Table
        >>> columns = {
        ...     "id": [1, 2, 3, 4], "review": ["so good a film", "too long", "not so bad", "fine"],
        ...     "stars": [5, 1, 3, 4], "photo": ["a.jpg", "b.jpg", "", "d.jpg"],
        ...     "motion": ["a.csv", "b.csv", "c.csv", "d.csv"], "label": [1, 0, 1, 1],
        ... }
        >>> guess_columns(Table(columns), "label")
        {'review': 'text', 'stars': 'number', 'photo': 'image', 'motion': 'recordings'}
    """
    names = [name for name in table.names if name.strip() and name not in (target, group)]
    where = "" if table.file is None else f"{table.file}: "
    if target not in table.names:
        raise no_column(ArgumentError, target, (target,), table.names, where)
    rows = [row.values for row in islice(table.rows(names).read(), FIRST)] if names else []
    good = [values for values in rows if not isinstance(values, DataError)]
    bad = next((values for values in rows if isinstance(values, DataError)), None)
    if bad is not None and not good:
        raise bad
    decimal = table.dialect.decimal
    columns = zip(names, zip(*good, strict=True), strict=False)
    kinds = ((name, _kind(values, decimal)) for name, values in columns)
    found = {name: kind for name, kind in kinds if kind}
    if not found:
        raise ArgumentError(
            f"{where}none of the columns {listed(names)} looks like an input: columns of (almost) "
            f"one value and those that number or name the rows are skipped, and {target!r} has "
            "the labels; set inputs=COLUMN:KIND to read a column, or label=NAME for other labels"
        )
    return found


def _kind(values: Sequence[object], decimal: str | None) -> str:
    """Return the kind of the values of a column; "" if they are no input."""
    there = [one for one in values if isinstance(one, list) or not is_nothing(one)]
    if not there or any(not isinstance(one, str | int | float) for one in there):
        return ""
    texts = [str(one).strip() for one in there]
    for kind, suffixes in FILES.items():
        if all(Path(text).suffix.lower() in suffixes for text in texts):
            return "" if any("://" in text for text in texts) else kind
    if len(texts) - Counter(texts).most_common(1)[0][1] < max(1, len(texts) / 50):
        return ""  # almost all values are the same
    numbers = sorted(number_in(one, decimal) for one in there)
    if all(map(isfinite, numbers)):
        counts = all(b - a == 1 for a, b in pairwise(numbers))
        return "" if counts and len(numbers) > 2 else "number"
    words = sum(len(text.split()) for text in texts) / len(texts)
    if len(set(texts)) <= max(2, min(MOST, len(texts) / 5)) and words < 4:
        return "category"
    return "text" if words >= 1.5 else ""
