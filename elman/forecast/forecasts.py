"""Forecasts: means, quantiles and intervals of future values, and tables of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.arguments import check_number, list_of_argument
from elman.errors import ArgumentError
from elman.read.clock import Clock
from elman.report.write_table import as_text, write_table

Numbers = NDArray[np.float64]
LEVELS = (80, 95)  # default levels of intervals, in percent


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of N series, H steps and K targets.

    Attributes:
        unique_id: N names of the series, of the type that they have in the data.
        ds: (N, H) stamps, int64 or datetime64[us], as the clock stores them: in UTC if they have a
            zone, but wall-clock time for days and opening hours.
        targets: K names.
        mean: (N, H, K) means.
        quantiles: (N, H, K, Q) quantiles.
        levels: Q levels of the quantiles in ascending order, one of them 0.5.
        y: (N, H, K) observed values, NaN where there are none; None if they are not known.
        cutoff: (N, 1) last stamp before each forecast, if there are several origins; else None.
        names: names of the columns of series and stamps.
        notes: messages for the user.
        futures: (N, S, H, K) S equally likely futures of each series; None if none were drawn.  The
            series share the random numbers of a future, so the futures of several series must not
            be added.
        clock: clock by which stamps are written.
        counts: whether the values are counts, so that all quantiles are whole numbers.

    Example:
        >>> import numpy as np
        >>> from elman.forecast.forecasts import Forecasts
        >>> q = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3)
        >>> found = Forecasts(["a"], np.array([[7]]), ["y"], q[..., 1], q, (0.1, 0.5, 0.9))
        >>> found.columns([80])
        {'unique_id': ['a'], 'ds': [7], 'y-mean': [2.0], 'y-median': [2.0], 'y-lo-80': [1.0], \
'y-hi-80': [4.0]}
    """

    unique_id: list[Any]
    ds: Any
    targets: list[str]
    mean: Numbers
    quantiles: Numbers
    levels: tuple[float, ...]
    y: Numbers | None = None
    cutoff: Any = None
    names: tuple[str, str] = ("unique_id", "ds")
    notes: tuple[str, ...] = ()
    futures: Numbers | None = None
    clock: Clock = Clock()  # noqa: RUF009
    counts: bool = False

    @property
    def median(self) -> Numbers:
        """The medians (N, H, K)."""
        return self.quantile(0.5)

    def quantile(self, p: float) -> Numbers:
        """Return the quantiles (N, H, K) at a level, interpolated between the nearest levels.

        Args:
            p: the level, between the smallest and the largest of `levels`.

        Raises:
            ArgumentError: the level is outside this range.
        """
        check_number(p, "quantile")
        if len(self.levels) == 1 and p != 0.5:
            raise ArgumentError(
                f"quantile {p:g}: the model predicts only the median; train with conformal=True, "
                "or with another output"
            )
        if not self.levels[0] <= p <= self.levels[-1]:
            hint = f"{p:g} percent is {p / 100:g}" if p > 1 else "train with other quantiles"
            raise ArgumentError(
                f"quantile {p:g} is outside of {self.levels[0]:g} to {self.levels[-1]:g}, the "
                f"range that the model predicts; {hint}"
            )
        upper = max(1, int(np.searchsorted(self.levels, p))) if len(self.levels) > 1 else 0
        low, high = self.levels[upper - 1], self.levels[upper]
        share = (p - low) / (high - low) if high > low else 0.0
        a, b = self.quantiles[..., upper - 1], self.quantiles[..., upper]
        found = a + share * (b - a)
        return np.ceil(found - 1e-9) + 0.0 if self.counts else np.asarray(found)

    def columns(self, level: Sequence[float] | float | None = None) -> dict[str, list[Any]]:
        """Return a table with one row per series and step.

        Its columns are the name of the series, the stamp, and for each target the mean, the median
        and the bounds of the intervals; observed values, if known, are in the column of the target.
        Names and stamps have the type that they had in the data; stamps that were text are text in
        one format.

        Args:
            level: levels of the intervals in percent; None for 80 and 95, if the quantiles reach
                that far.

        Raises:
            ArgumentError: the quantiles do not reach that far.
        """
        table = self._table(level)
        return as_text(table, self.clock.resolution) if self.clock.text else table

    def _table(self, level: Sequence[float] | float | None) -> dict[str, list[Any]]:
        """Return the table of `columns`, but with stamps that were text as datetimes."""
        if level is None:
            reach = 100 * (1 - 2 * max(self.levels[0], 1 - self.levels[-1]))
            level = [one for one in LEVELS if one <= reach + 1e-6]
        level = [level] if isinstance(level, int | float) else list(level)
        check_level(level)
        steps = self.ds.shape[1]
        table: dict[str, list[Any]] = {}
        if any(name != "" for name in self.unique_id):
            table[self.names[0]] = [name for name in self.unique_id for _ in range(steps)]
        stamps = {self.names[1]: self.ds}
        if self.cutoff is not None:
            stamps["cutoff"] = np.repeat(self.cutoff, steps, 1)
        for name, some in stamps.items():
            table[name] = self.clock.as_objects(self.clock.moments(some.reshape(-1)))
        for k, target in enumerate(self.targets):
            columns = {"": self.y, "-mean": self.mean, "-median": self.median}
            for one in level:
                for side, p in (("lo", 0.5 - one / 200), ("hi", 0.5 + one / 200)):
                    columns[f"-{side}-{one:g}"] = self.quantile(round(p, 6))
            for n, future in enumerate(() if self.futures is None else self.futures.swapaxes(0, 1)):
                columns[f"-future-{n + 1}"] = future
            for name, values in columns.items():
                if values is not None:
                    table[f"{target}{name}"] = values[:, :, k].reshape(-1).tolist()
        return table

    def write(
        self,
        path: str | Path,
        level: Sequence[float] | float | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        """Write the table of `columns` to a file: .csv, .tsv, .jsonl or .parquet.

        Args:
            path: the file.
            level: levels of the intervals, see `columns`.
            overwrite: whether to replace an existing file.

        Raises:
            FolderError: the file exists already, cannot be written, or has another suffix.
        """
        write_table(path, self._table(level), least=self.clock.resolution, overwrite=overwrite)


@dataclass(frozen=True)
class Backtest:
    """Forecasts from several origins, with the observed values.

    Attributes:
        forecasts: N forecasts, several of each series.
        origins: (N,) number of steps of the series before each forecast.
        scores: scores of this model and of the baselines, the best baseline first.
    """

    forecasts: Forecasts
    origins: NDArray[np.int64]
    scores: dict[str, dict[str, Any]]


def check_level(level: Sequence[float]) -> None:
    """Raise an ArgumentError unless the levels of intervals are percentages."""
    for one in list_of_argument(level, "level", "percentages"):
        check_number(one, "level")
        if not 1 <= one < 100:
            hint = f"; for {one:.0%} set level {100 * one:g}" if 0 < one < 1 else ""
            raise ArgumentError(
                f"level must be a percentage, at least 1 and below 100, got {one:g}{hint}"
            )
