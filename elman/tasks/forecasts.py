"""What a forecaster says: numbers of the time to come, and between which they will lie."""

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
from elman.tasks.write_table import as_text, write_table

Numbers = NDArray[np.float64]
LEVELS = (80, 95)  # percent


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of N series, H steps, K targets.

    Attributes:
        unique_id: N names, as they were given in a frame.
        ds: (N, H) stamps, int64 or datetime64[us], as the clock keeps them: those of a zone in UTC,
            but for days and hours that are open, which are the wall clock's.
        targets: K names.
        mean: (N, H, K).
        quantiles: (N, H, K, Q).
        levels: Q of the quantiles, rising, 0.5 among them.
        y: (N, H, K) what came, NaN where nothing did; None if it is not known.
        cutoff: (N, 1) the last stamps that were seen, if forecasts have several origins.
        names: of the columns of names and stamps.
        notes: what was found and done on the way, for people.
        futures: (N, S, H, K) that may come, as likely as each other; None if none were drawn.  The
            n-th of all series are of the same random numbers, so that none depends on the others:
            they are not to be added up.
        clock: how stamps are written.
        counts: whether the numbers are counts; a quantile between two levels is then whole, too.

    Example:
        >>> import numpy as np
        >>> from elman.tasks.forecasts import Forecasts
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
        """(N, H, K)."""
        return self.quantile(0.5)

    def quantile(self, p: float) -> Numbers:
        """(N, H, K), on a straight line between the nearest levels.

        Raises:
            ArgumentError: the levels do not reach so far.
        """
        check_number(p, "quantile")
        if len(self.levels) == 1 and p != 0.5:
            raise ArgumentError(
                f"quantile {p:g}: the model says only the median; train with conformal=True, or "
                "with another output"
            )
        if not self.levels[0] <= p <= self.levels[-1]:
            hint = f"{p:g} percent are {p / 100:g}" if p > 1 else "train with other quantiles"
            raise ArgumentError(
                f"quantile {p:g} lies outside {self.levels[0]:g} to {self.levels[-1]:g}, which the "
                f"model says; {hint}"
            )
        upper = max(1, int(np.searchsorted(self.levels, p))) if len(self.levels) > 1 else 0
        low, high = self.levels[upper - 1], self.levels[upper]
        share = (p - low) / (high - low) if high > low else 0.0
        a, b = self.quantiles[..., upper - 1], self.quantiles[..., upper]
        found = a + share * (b - a)
        return np.ceil(found - 1e-9) + 0.0 if self.counts else np.asarray(found)

    def columns(self, level: Sequence[float] | float | None = None) -> dict[str, list[Any]]:
        """A table, a row a series and step: id, stamp, of each target mean, median and intervals.

        The observed numbers, if they are known, stand in the column of the target's own name.
        Names and stamps are what they were in the data: whole numbers stay numbers, dates stay
        dates, datetimes stay datetimes in their zone, and text is text of one form.

        Args:
            level: of the intervals, in percent; None for 80 and 95, as far as the quantiles reach.

        Raises:
            ArgumentError: the quantiles do not reach so far.
        """
        table = self._table(level)
        if self.clock.text:
            return as_text(table, self.clock.resolution)
        for name in {self.names[1], "cutoff"} & set(table):
            table[name] = self.clock.as_objects(table[name])
        return table

    def _table(self, level: Sequence[float] | float | None) -> dict[str, list[Any]]:
        """A table as `columns` gives it, but with stamps as datetimes."""
        if level is None:
            reach = 100 * (1 - 2 * max(self.levels[0], 1 - self.levels[-1]))
            level = [one for one in LEVELS if one <= reach + 1e-6]
        level = [level] if isinstance(level, int | float) else list(level)
        check_level(level)
        steps = self.ds.shape[1]
        table: dict[str, list[Any]] = {}
        if any(name != "" for name in self.unique_id):
            table[self.names[0]] = [name for name in self.unique_id for _ in range(steps)]
        table[self.names[1]] = self.clock.moments(self.ds.reshape(-1))
        if self.cutoff is not None:
            table["cutoff"] = self.clock.moments(np.repeat(self.cutoff, steps, 1).reshape(-1))
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
        """Write the table to a file: .csv, .tsv, .jsonl or .parquet.

        Raises:
            FolderError: the file exists already, or cannot be written, or has another name.
        """
        write_table(path, self._table(level), least=self.clock.resolution, overwrite=overwrite)


@dataclass(frozen=True)
class Backtest:
    """Forecasts from several origins, with what came.

    Attributes:
        forecasts: N of them, a series several times.
        origins: (N,) steps of its series before each.
        scores: of this model and of the baselines, the best of these first.
    """

    forecasts: Forecasts
    origins: NDArray[np.int64]
    scores: dict[str, dict[str, Any]]


def check_level(level: Sequence[float]) -> None:
    """Refuse levels of intervals that are no percentages with an ArgumentError."""
    for one in list_of_argument(level, "level", "percentages"):
        check_number(one, "level")
        if not 1 <= one < 100:
            hint = f"; {one:.0%} of the numbers are level {100 * one:g}" if 0 < one < 1 else ""
            raise ArgumentError(f"level must be in percent, 1 to below 100, got {one:g}{hint}")
