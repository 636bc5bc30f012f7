"""Read labels of recordings from a separate table.

    unique_id  label                 label of the whole recording
    unique_id  label  start  end     label of the steps start <= ds < end

The table can also have columns that do not change within a recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from elman.errors import ArgumentError, DataError
from elman.read.clock import shown
from elman.read.columns import Table
from elman.read.convert import single
from elman.read.dialect import choose_decimal, named_like, with_point
from elman.read.recordings import Layout, Recording, is_blank, static_values
from elman.read.rows import Rejects
from elman.read.stamps import Parsed, parse_seconds
from elman.read.text import table_head

START, END = "start", "end"


@dataclass(frozen=True)
class Span:
    """A row of a table of labels.

    Attributes:
        place: place of the row, for messages.
        label: label of any type.
        bounds: start and end, parsed; None for the whole recording.
        static: values of the static columns, by name.
    """

    place: str
    label: Any
    bounds: Parsed | None
    static: dict[str, object]

    def steps(self, one: Recording) -> tuple[int, int]:
        """Return the bounds of the steps, as for `range`.

        Raises:
            DataError: no step is in the span, or the stamps are of another kind.
        """
        if self.bounds is None:
            return 0, len(one)
        stamps = one.stamps
        bounds, _, bad = one.clock.read(self.bounds)
        if bad or (bounds.dtype.kind == "M") != (stamps.dtype.kind == "M"):
            raise DataError(
                f"{self.place}: {START} is {shown(self.bounds.values[0])}, but the stamps of "
                f"recording {one.unique_id!r} are like {one.shown(0)}; both must be dates, or "
                "numbers, and both with an offset from UTC or without"
            )
        first, last = stamps.searchsorted(bounds).tolist()
        if first >= last:
            raise DataError(
                f"{self.place}: no step of recording {one.unique_id!r} lies in this span; it has "
                f"{one.shown(0)} to {one.shown(-1)}"
            )
        return first, last


def read_spans(
    table: Table, layout: Layout, rejects: Rejects, *, labelled: bool = True
) -> dict[str, list[Span]]:
    """Return the rows, by name of the recording; labels can be missing if `labelled` is false.

    Raises:
        ArgumentError: a column is missing.

    Example:
        >>> from elman.read.columns import Table
        >>> from elman.read.recordings import Layout
        >>> from elman.read.rows import Rejects
        >>> from elman.read.spans import read_spans
        >>> rows = {"unique_id": ["a"], "label": ["turn"], "start": [2.5], "end": [4]}
        >>> span = read_spans(Table(rows), Layout(), Rejects(None))["a"][0]
        >>> span.label, span.bounds.values.tolist()
        ('turn', [2.5, 4.0])
    """
    bounds = [name for name in (START, END) if name in table.names]
    if len(bounds) == 1:
        raise ArgumentError(f"a table of labels with {bounds[0]!r} needs {START!r} and {END!r}")
    static = [name for name in layout.static if name in table.names]
    label = [layout.label] if labelled or layout.label in table.names else []
    names = [layout.unique_id, *label, *bounds, *static]
    found: dict[str, list[Span]] = {}
    rows = list(table.rows(names).read())
    good = [row.values for row in rows if not isinstance(row.values, DataError)]
    texts = 1 + len(label)  # the number of columns that are not numbers
    decimal = _find_decimal(table, (value for values in good for value in values[texts:]))
    for place, values in rows:
        try:
            if isinstance(values, DataError):
                raise values
            row = {
                name: None if table.is_missing(value, name, named=True) else value
                for name, value in zip(names, values, strict=True)
            }
            for name in static:
                some = static_values([row[name]], name, table.dialect, decimal=decimal)
                row[name] = next(iter(some), None)
            if decimal == ",":
                row |= {name: with_point(row[name]) for name in bounds}
            name, span = _span(place, row, layout, bounds, static)
        except DataError as error:
            rejects.add(place, error)
        else:
            found.setdefault(name, []).append(span)
    return found


def _find_decimal(table: Table, fields: Iterable[object]) -> str:
    """Return the decimal mark of a table; add a note if it is a comma or uncertain."""
    if table.dialect.decimal is not None or table.typed or table.file is None:
        return table.dialect.decimal or "."
    head = table_head(table.file, table.encoding, table.dialect.delimiter, lenient=table.lenient)
    decimal, note = choose_decimal(fields, head.delimiter)
    table.notes += [f"{table.file.name}: {note}"] if note else []
    return decimal


def _span(
    place: str, row: dict[str, object], layout: Layout, bounds: Sequence[str], static: list[str]
) -> tuple[str, Span]:
    if is_blank(row[layout.unique_id]):
        raise DataError(f"{place}: column {layout.unique_id!r} is empty; fill or drop it")
    moments = None
    if bounds:
        moments = parse_seconds(single((row[START], row[END]))[0], layout.ds_format)
        if moments.bad:
            raise DataError(
                f"{place}: {START} and {END} must be dates or seconds, got {row[START]!r} and "
                f"{row[END]!r}"
            )
        if not moments.values[0] < moments.values[1]:
            how = "before" if moments.values[1] < moments.values[0] else "at"
            raise DataError(
                f"{place}: the end ({row[END]}) is {how} the start ({row[START]}); exchange or "
                "correct them"
            )
    fixed = {name: row[name] for name in static}
    label = row.get(layout.label)
    return named_like(row[layout.unique_id]), Span(place, label, moments, fixed)
