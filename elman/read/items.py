"""Read the texts and files in columns of a table, each different one once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from elman.errors import DataError
from elman.read.columns import Columns
from elman.read.rows import Rejects

# Returns the name and the item of a cell, given the cell and its place.
ReadItem = Callable[[str, str], tuple[str, Any]]


def read_items(
    columns: Columns,
    readers: Mapping[str, ReadItem | None],
    known: Mapping[str, tuple[Sequence[str], Sequence[Any]]],
    rejects: Rejects,
) -> tuple[Columns, dict[str, list[Any]]]:
    """Read each different item of the columns once; rows with a bad item are rejected.

    Args:
        columns: the columns, as words.
        readers: the function that reads a cell of each column; None if the text is the item.
        known: names and items of each column that come first.
        rejects: receives rows whose item cannot be read.

    Returns:
        The columns, in which the words are the names of the items, and the items by column.

    Example:
        >>> from elman.read.columns import Table
        >>> from elman.read.items import read_items
        >>> from elman.read.rows import Rejects
        >>> rejects = Rejects(None)
        >>> columns = Table({"news": ["up", "", "down", "up"]}).read({"news": "word"}, rejects)
        >>> columns, items = read_items(columns, {"news": None}, {}, rejects)
        >>> columns.columns["news"].values.tolist(), items
        ([0.0, nan, 1.0, 0.0], {'news': ['up', 'down']})
    """
    bad: dict[int, str] = {}
    found = {}
    for name, read in readers.items():
        column = columns.columns[name]
        words = column.words or []
        names, items = map(list, known.get(name, ((), ())))
        codes = {word: number for number, word in enumerate(names)}
        numbers, first = np.unique(column.values, return_index=True)
        first, numbers = first[~np.isnan(numbers)], numbers[~np.isnan(numbers)].astype(int)
        changed = np.full(len(words) + 1, np.nan)  # NaN at the end is that of no item
        places = columns.places(first.tolist()) if read is not None else [""] * len(first)
        for number, place in zip(numbers.tolist(), places, strict=True):
            word = item = words[number]
            try:
                word, item = (word, item) if read is None else read(word, place)
            except DataError as error:
                rows = np.flatnonzero(column.values == number).tolist()
                bad |= dict.fromkeys(rows, str(error).removeprefix(f"{place}: "))
                continue
            changed[number] = codes.setdefault(word, len(codes))
            if len(items) < len(codes):
                items.append(item)
        column.values = changed[np.nan_to_num(column.values, nan=-1).astype(int)]
        column.words, found[name] = list(codes), items
    return columns.without(bad, rejects) if bad else columns, found
