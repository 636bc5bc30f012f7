"""Read data frames of polars, pandas and pyarrow, and dicts of columns, without importing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from elman.arguments import list_of_argument
from elman.errors import ArgumentError
from elman.optional import need

# Prefixes of the names of types that are words, in pandas, Arrow and polars.
WORDS = ("category", "str", "dictionary", "large_string", "Categorical", "Enum", "String", "Utf8")


def is_frame(source: object) -> bool:
    """Return whether a source is a data frame, or a dict of columns."""
    columns = hasattr(source, "columns") and hasattr(source, "__getitem__")
    return columns or isinstance(source, Mapping) or type(source).__name__ == "LazyFrame"


def read_frame(source: Any) -> tuple[dict[str, list[object]], set[str]] | None:
    """Return the columns of a frame by name, and which of them are declared as words.

    Returns None for anything but a frame.

    Raises:
        ArgumentError: two columns have the same name.

    Example:
        >>> from elman.read.frames import read_frame
        >>> read_frame({"y": (1, 2)})
        ({'y': [1, 2]}, set())
    """
    if type(source).__name__ == "LazyFrame":
        source = source.collect()
    words = set[str]()
    if type(source).__module__.startswith("pyarrow"):
        schema = source.schema if hasattr(source, "schema") else ()
        words = {one.name for one in schema if str(one.type).startswith(WORDS)}
        source = need("polars", "a table of pyarrow").from_arrow(source)
    if isinstance(source, Mapping):
        named = {str(name): values for name, values in source.items()}
        return {name: list_of_argument(one, name, "cells") for name, one in named.items()}, set()
    if not is_frame(source):
        return None
    names = [str(name) for name in source.columns]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ArgumentError(f"the data frame has two columns {twice!r}; rename one")
    frame = _index_of(source, names)
    for name in source.columns:
        column = source[name]
        frame[str(name)] = column.to_list()
        if str(column.dtype).startswith(WORDS):
            words.add(str(name))
    return frame, words


def _index_of(frame: Any, names: Sequence[str]) -> dict[str, list[object]]:
    """Return the index of a pandas frame as a column, if it has a name or contains stamps."""
    index = getattr(frame, "index", None)
    if index is None or not hasattr(index, "nlevels"):
        return {}
    if type(index).__name__ == "PeriodIndex":
        index = index.to_timestamp()
    stamps = type(index).__name__ == "DatetimeIndex"
    levels = [
        (name or ("ds" if stamps else None), index.get_level_values(level).tolist())
        for level, name in enumerate(index.names)
    ]
    return {str(name): values for name, values in levels if name and str(name) not in names}
