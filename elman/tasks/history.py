"""What a forecaster keeps of its training data, and what came behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.encode.index import SeriesIndex
from elman.encode.windows import Layout
from elman.errors import DataError, FolderError
from elman.read.clock import Clock
from elman.read.frequency import Frequency
from elman.read.series import Series, SeriesTable
from elman.report.forecasts import seasonal_error
from elman.train.checkpoint import load_tensors, save_tensors

LEARNED = ("corrections", "dependence", "widening")
KEPT = 1 << 22  # numbers; of more only the end of each series is kept

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """From where forecasts begin.

    Attributes:
        table: the training data, or their end.
        errors: (N, K) within them, see `seasonal_error`.
        corrections: (H, K, Q) of the quantiles; None for none.
        dependence: (H K, H K) of the numbers of a forecast, see `elman.decode.copula`; None if it
            is not known.
        widening: (1,) of intervals where numbers are missing, see `elman.decode.widen`; None for
            none.
    """

    table: SeriesTable
    errors: Numbers
    corrections: Numbers | None = None
    dependence: Numbers | None = None
    widening: Numbers | None = None

    def save(self, path: Path) -> None:
        """Write it to a file."""
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
            "names": [one.unique_id for one in table.series], "columns": list(table.columns),
            "categories": table.categories, "frequency": str(table.frequency),
            "counted": table.counted, "clock": asdict(table.clock),
            "ids": {k: v for k, v in table.ids.items() if type(v) in (int, float)},
        }  # fmt: skip
        save_tensors(path, tensors, facts)

    @classmethod
    def load(cls, path: Path) -> History:
        """What `save` wrote.

        Raises:
            FolderError: it is damaged.
        """
        tensors, read = load_tensors(path)
        facts: dict[str, Any] = dict(read)
        for name, tensor in tensors.items():
            whole = name in ("lengths", "starts")
            if tensor.dtype != (torch.int64 if whole else torch.float64):
                raise FolderError(f"{path}: is damaged, {name} is {tensor.dtype}")
        try:
            frequency = Frequency.named(facts["frequency"])
            kind = np.int64 if frequency.unit == "step" else "datetime64[us]"
            starts = tensors["starts"].numpy().astype(kind)
            values = torch.split(tensors["values"], tensors["lengths"].tolist())
            series = [
                Series(name, begin, part.numpy().copy())
                for name, begin, part in zip(facts["names"], starts, values, strict=True)
            ]
            table = SeriesTable(
                series, tuple(facts["columns"]), facts["categories"], frequency,
                facts["counted"], [], Clock(**facts.get("clock", {})), facts.get("ids", {}),
            )  # fmt: skip
            learned = {name: tensors[name].numpy() for name in LEARNED if name in tensors}
            return cls(table, tensors["errors"].numpy(), **learned)
        except (KeyError, TypeError, ValueError) as error:
            raise FolderError(f"{path}: is damaged ({error})") from error


def observed(one: Series, targets: int) -> int:
    """Steps of a series until the last with one of its targets, 0 for none."""
    seen = np.flatnonzero(~np.isnan(one.values[:, :targets]).all(1))
    return int(seen[-1]) + 1 if len(seen) else 0


def history_of(table: SeriesTable, index: SeriesIndex, layout: Layout, errors: Numbers) -> History:
    """The rows that a forecast at the end reads and those behind, or all if they are not many."""
    kept = []
    whole = layout.neighbours > 0 or sum(one.values.size for one in table.series) <= KEPT
    fixed = [table.columns.index(name) for name in index.static]
    for one in table.series:
        values = one.values.copy()
        for column in fixed:  # what does not change may stand in the first row only
            there = values[~np.isnan(values[:, column]), column]
            values[:, column] = there[0] if len(there) else np.nan
        first = observed(one, layout.targets) - layout.context - max(layout.lags, default=0)
        begin, first = one.start, 0 if whole else max(0, first)
        if first:
            begin = table.stamps(one, 1, first)[0]
        kept.append(Series(one.unique_id, begin, values[first:]))
    return History(replace(table, series=kept, notes=[]), errors)


def seasonal_errors(
    table: SeriesTable, targets: int, season: int, lengths: Sequence[int] | None = None
) -> Numbers:
    """(N, K) of each series, or of its first steps."""
    found = []
    for number, one in enumerate(table.series):
        until = None if lengths is None else lengths[number]
        found.append([seasonal_error(one.values[:until, k], season) for k in range(targets)])
    return np.array(found)


def joined(
    before: SeriesTable, table: SeriesTable, targets: int
) -> tuple[SeriesTable, NDArray[np.int64], list[int]]:
    """Series after what came before them, how many steps that is, and which series these are.

    Raises:
        DataError: nothing is known before a series, or no step of it comes after that.
    """
    numbers = {one.unique_id: number for number, one in enumerate(before.series)}
    whole, known, which = [], [], []
    for one in table.series:
        if one.unique_id not in numbers:
            raise DataError(
                f"{one.who}: training has not seen it, so nothing is known before it; give new "
                "series with their past, apart from those that go on"
            )
        old = before.series[numbers[one.unique_id]]
        steps = observed(old, targets)
        place = steps if table.counted else steps_between(before.frequency, old.start, one.start)
        if place is None or place + len(one.values) <= steps:
            empty = np.isnan(one.values[:, :targets]).all()
            without = "has no number, " if empty else ""
            raise DataError(
                f"{one.who}: {without}begins at {before.shown(one.start)} and has "
                f"{len(one.values):,} steps; expected steps of {before.frequency.name} after "
                f"{before.shown(before.stamps(old, 1, steps - 1)[0])}, where training ends"
            )
        values = np.full((place + len(one.values), one.values.shape[1]), np.nan)
        values[: min(len(old.values), len(values))] = old.values[: len(values)]
        values[max(place, steps) :] = one.values[max(place, steps) - place :]
        whole.append(Series(one.unique_id, old.start, values))
        known.append(steps)
        which.append(numbers[one.unique_id])
    return replace(table, series=whole), np.array(known), which


def steps_between(frequency: Frequency, first: Any, then: Any) -> int | None:
    """Steps from one stamp to another, below zero if it lies before; None if it lies between."""
    low, high = min(first, then), max(first, then)
    place = int(frequency.places(np.array([low, high]))[1])
    if place < 0:
        return None
    return place if then >= first else -place
