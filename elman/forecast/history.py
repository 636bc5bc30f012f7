"""The training data that a forecaster stores, and their continuation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.arguments import check_type, check_types
from elman.decode.widen import GAPS, complete_widening
from elman.encode.index import SeriesIndex, check_zone
from elman.encode.layout import Layout
from elman.errors import DataError
from elman.forecast.inputs import Inputs, pack_items, unpack_items
from elman.manifest import content_of
from elman.read.clock import Clock
from elman.read.frequency import Frequency
from elman.read.series import Series, SeriesTable
from elman.report.forecasts import seasonal_error
from elman.train.checkpoint import load_tensors, save_tensors

LEARNED = ("share", "corrections", "dependence", "widening")
KEPT = 1 << 22  # maximum count of numbers for which the complete series are stored
DATES: dict[str, type[date]] = {"date": date, "datetime": datetime}  # types of names that are dates

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """The training data, which forecasts continue, and estimates from the validation data.

    Shape legend: N series, H steps ahead, K targets, Q levels.

    Attributes:
        table: the training data, or the end of each series.
        errors: seasonal errors (N, K) of the training data, see `seasonal_error`.
        share: season and share of the simple forecast in each forecast (2,), see
            `elman.decode.combine`; None for none.
        corrections: corrections (H, K, Q) of the quantiles; None for none.
        dependence: dependence (H K, H K) between the numbers of a forecast, see
            `elman.decode.copula`; None if it is unknown.
        widening: factors that widen intervals, also where numbers are missing, see
            `elman.decode.widen`; None for none.
    """

    table: SeriesTable
    errors: Numbers
    share: Numbers | None = None
    corrections: Numbers | None = None
    dependence: Numbers | None = None
    widening: Numbers | None = None

    def save(self, path: Path) -> None:
        """Write the history to a file."""
        table = self.table
        kind = np.int64 if table.frequency.unit == "step" else "datetime64[us]"
        starts = np.array([one.start for one in table.series]).astype(kind).astype(np.int64)
        tensors = {
            "values": torch.from_numpy(np.concatenate([one.values for one in table.series])),
            "lengths": torch.tensor([len(one.values) for one in table.series]),
            "starts": torch.from_numpy(starts),
            "errors": torch.from_numpy(self.errors),
        }
        for name in LEARNED:
            if (values := getattr(self, name)) is not None:
                tensors[name] = torch.from_numpy(values)
        facts: dict[str, Any] = {
            "names": [one.unique_id for one in table.series],
            "columns": list(table.columns),
            "categories": table.categories,
            "frequency": str(table.frequency),
            "counted": table.counted,
            "clock": asdict(table.clock),
            "ids": _ids_to_write(table.ids),
            "items": list(table.items),
        }
        tensors |= pack_items(table.items)
        save_tensors(path, tensors, facts)

    @classmethod
    def load(cls, path: Path) -> History:
        """Read a file that `save` wrote.

        Raises:
            FolderError: the file is damaged.
        """
        tensors, read = load_tensors(path)
        facts: dict[str, Any] = dict(read)
        with content_of(path):
            names = facts.get("items", [])
            check_type(names, list[str], "items")
            items = unpack_items(tensors, names)
            tensors = {n: one for n, one in tensors.items() if not n.startswith("items.")}
            _check_tensors(tensors)
            _check_facts(facts, tensors)
            for name, some in items.items():
                if len(some) != len(facts["categories"].get(name, [])):
                    raise ValueError(f"the items of {name!r} must be as many as their names")
            frequency = Frequency.named(facts["frequency"])
            kind = np.int64 if frequency.unit == "step" else "datetime64[us]"
            starts = tensors["starts"].numpy().astype(kind)
            values = torch.split(tensors["values"], tensors["lengths"].tolist())
            series = [
                Series(name, begin, part.numpy().copy())
                for name, begin, part in zip(facts["names"], starts, values, strict=True)
            ]
            clock = Clock(**facts.get("clock", {}))
            check_types(clock)
            check_zone(clock.zone)
            table = SeriesTable(
                series,
                tuple(facts["columns"]),
                facts["categories"],
                frequency,
                facts["counted"],
                [],
                clock,
                _ids_as_read(facts.get("ids", {})),
                items,
            )
            learned = {name: tensors[name].numpy() for name in LEARNED if name in tensors}
            if "widening" in learned:
                learned["widening"] = complete_widening(learned["widening"])
            return cls(table, tensors["errors"].numpy(), **learned)


def _check_tensors(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise a ValueError unless the tensors have the form that `History.save` writes."""
    count, (rows, columns) = len(tensors["lengths"]), tensors["values"].shape
    targets = min(columns, tensors["errors"].shape[-1])
    expected = {
        "values": (rows, columns),
        "lengths": (count,),
        "starts": (count,),
        "errors": (count, targets),
    }
    for name, tensor in tensors.items():
        form = torch.int64 if name in ("lengths", "starts") else torch.float64
        if tensor.dtype != form:
            raise ValueError(f"{name} is {tensor.dtype}, expected {form}")
        shape = tuple(tensor.shape)
        if shape != expected.get(name, shape):
            raise ValueError(f"{name} has shape {shape}, expected {expected[name]}")
        if name not in LEARNED and tensor.isinf().any():
            raise ValueError(f"{name} holds a number that is not finite")
    lengths = tensors["lengths"]
    if not count or lengths.min() < 1 or lengths.sum() != rows:
        raise ValueError(f"lengths must be above 0 and have the sum {rows}, the rows of values")
    for name, sizes in {"share": (2,), "widening": (1, 2, 1 + 3 * len(GAPS))}.items():
        numbers = tensors.get(name, torch.ones(2))
        if numbers.dim() != 1 or len(numbers) not in sizes or not (numbers >= 0).all():
            raise ValueError(
                f"{name} must be {sizes[-1]} numbers, 0 or more, got {numbers.tolist()}"
            )


def _check_facts(facts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise a ValueError unless the facts have the types that `History.save` writes."""
    types = {
        "names": list[str],
        "columns": list[str],
        "categories": dict[str, list[str]],
        "frequency": str,
        "counted": bool,
    }
    for name, kind in types.items():
        check_type(facts[name], kind, name)
    counts = {"names": len(tensors["lengths"]), "columns": tensors["values"].shape[1]}
    for name, count in counts.items():
        if len(facts[name]) != count:
            raise ValueError(f"{name} must be {count} strings, got {len(facts[name])}")


def _ids_to_write(ids: dict[str, Any]) -> dict[str, Any]:
    """Return original names as JSON values: numbers, true and false, and dates as text.

    Example:
        >>> from datetime import date
        >>> from elman.forecast.history import _ids_as_read, _ids_to_write
        >>> written = _ids_to_write({"True": True, "2024-03-01": date(2024, 3, 1)})
        >>> written
        {'True': True, '2024-03-01': ['date', '2024-03-01']}
        >>> _ids_as_read(written)
        {'True': True, '2024-03-01': datetime.date(2024, 3, 1)}
    """
    plain = {name: one for name, one in ids.items() if type(one) in (bool, int, float)}
    dates = {
        name: ["datetime", datetime.isoformat(one)]
        if isinstance(one, datetime)
        else ["date", one.isoformat()]
        for name, one in ids.items()
        if isinstance(one, date)
    }
    return plain | dates


def _ids_as_read(written: dict[str, Any]) -> dict[str, Any]:
    """Return original names from the result of `_ids_to_write`."""
    return {
        name: DATES[one[0]].fromisoformat(one[1]) if isinstance(one, list) else one
        for name, one in written.items()
    }


def observed_steps(one: Series, targets: int) -> int:
    """Return the number of steps up to the last one with a target; 0 if there is none."""
    seen = np.flatnonzero(~np.isnan(one.values[:, :targets]).all(1))
    return int(seen[-1]) + 1 if len(seen) else 0


def history_of(
    table: SeriesTable, index: SeriesIndex, layout: Layout, errors: Numbers, inputs: Inputs
) -> History:
    """Return the training data; if they are large, only what a forecast at the end reads.

    Texts and images are always only those that such a forecast reads.
    """
    kept = []
    complete = layout.neighbours > 0 or sum(one.values.size for one in table.series) <= KEPT
    fixed = [table.columns.index(name) for name in index.static]
    items = [table.columns.index(name) for name in index.items]
    for one in table.series:
        values = one.values.copy()
        for column in fixed:  # a constant can be given in the first row only
            there = values[~np.isnan(values[:, column]), column]
            values[:, column] = there[0] if len(there) else np.nan
        last = observed_steps(one, layout.targets) - layout.context
        values[: max(0, last), items] = np.nan
        first = last - max(layout.lags, default=0)
        begin, first = one.start, 0 if complete else max(0, first)
        if first:
            begin = table.stamps(one, 1, first)[0]
        kept.append(Series(one.unique_id, begin, values[first:]))
    return History(_with_used_items(replace(table, series=kept, notes=[]), inputs), errors)


def _with_used_items(table: SeriesTable, inputs: Inputs) -> SeriesTable:
    """Return a table without the items that are at no step; its values change in place."""
    categories, items = dict(table.categories), {}
    for name, learned in inputs.items():
        column, words = table.columns.index(name), categories.pop(name)
        used = np.unique(np.concatenate([one.values[:, column] for one in table.series]))
        used = used[~np.isnan(used)]
        for one in table.series:
            there = ~np.isnan(one.values[:, column])
            one.values[there, column] = np.searchsorted(used, one.values[there, column])
        chosen = used.astype(np.int64).tolist()
        items[name] = [table.items[name][n] for n in chosen]
        # A file can change, so later files never have the names of stored images.
        is_file = learned.reader.kind == "image"
        categories[name] = [f"\0{place}" if is_file else words[n] for place, n in enumerate(chosen)]
    return replace(table, categories=categories, items=items)


def seasonal_errors(
    table: SeriesTable, targets: int, season: int, lengths: Sequence[int] | None = None
) -> Numbers:
    """Return the seasonal errors (N, K) of each series, or of its first `lengths` steps."""
    found = []
    for number, one in enumerate(table.series):
        until = None if lengths is None else lengths[number]
        found.append([seasonal_error(one.values[:until, k], season) for k in range(targets)])
    return np.array(found)


def join_series(
    before: SeriesTable, table: SeriesTable, targets: int
) -> tuple[SeriesTable, NDArray[np.int64], list[int]]:
    """Join each series of a table to the earlier part of the series of the same name.

    Returns:
        The joined series, their numbers of earlier steps, and their indices in `before`.

    Raises:
        DataError: a series has no earlier part, or no step after it.
    """
    numbers = {one.unique_id: number for number, one in enumerate(before.series)}
    joined, known, which = [], [], []
    for one in table.series:
        if one.unique_id not in numbers:
            raise DataError(
                f"{one.who}: is not in the training data, so its earlier numbers are unknown; give "
                "complete new series, in a table without the series of the training data"
            )
        old = before.series[numbers[one.unique_id]]
        steps = observed_steps(old, targets)
        place = steps if table.counted else steps_between(before.frequency, old.start, one.start)
        if place is None or place + len(one.values) <= steps:
            empty = np.isnan(one.values[:, :targets]).all()
            without = "has no number, " if empty else ""
            raise DataError(
                f"{one.who}: {without}begins at {before.shown(one.start)} and has "
                f"{len(one.values):,} steps; expected steps of {before.frequency.name} after "
                f"{before.shown(before.stamps(old, 1, steps - 1)[0])}, the end of training"
            )
        values = np.full((place + len(one.values), one.values.shape[1]), np.nan)
        values[: min(len(old.values), len(values))] = old.values[: len(values)]
        values[max(place, steps) :] = one.values[max(place, steps) - place :]
        joined.append(Series(one.unique_id, old.start, values))
        known.append(steps)
        which.append(numbers[one.unique_id])
    return replace(table, series=joined), np.array(known), which


def steps_between(frequency: Frequency, first: Any, then: Any) -> int | None:
    """Return the steps from one timestamp to another, negative if the other is earlier.

    None if they are not a whole number of steps apart.
    """
    low, high = min(first, then), max(first, then)
    place = int(frequency.places(np.array([low, high]))[1])
    if place < 0:
        return None
    return place if then >= first else -place
