"""What a forecaster says: numbers of the time to come, and between which they will lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError
from elman.read.series import shown
from elman.tasks.write_table import write_table

Numbers = NDArray[np.float64]
LEVELS = (80, 95)  # percent


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of N series, H steps, K targets.

    Attributes:
        unique_id: N names, as they were given in a frame.
        ds: (N, H) stamps.
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
        counts: whether the numbers are counts; a quantile between two levels is then whole, too.

    Example:
        >>> import numpy as np
        >>> from elman.tasks.forecasts import Forecasts
        >>> q = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3)
        >>> found = Forecasts(["a"], np.array([[7]]), ["y"], q[..., 1], q, (0.1, 0.5, 0.9))
        >>> found.columns([80])
        {'unique_id': ['a'], 'ds': [7], 'y': [2.0], 'y-lo-80': [1.0], 'y-hi-80': [4.0]}
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
        if len(self.levels) == 1 and p != 0.5:
            raise ArgumentError(
                f"quantile {p:g}: the model says only the median; train with conformal=True, or "
                "with another output"
            )
        if not self.levels[0] <= p <= self.levels[-1]:
            raise ArgumentError(
                f"quantile {p:g} lies outside {self.levels[0]:g} to {self.levels[-1]:g}, which the "
                "model says; train with other quantiles"
            )
        upper = max(1, int(np.searchsorted(self.levels, p))) if len(self.levels) > 1 else 0
        low, high = self.levels[upper - 1], self.levels[upper]
        share = (p - low) / (high - low) if high > low else 0.0
        a, b = self.quantiles[..., upper - 1], self.quantiles[..., upper]
        found = a + share * (b - a)
        return np.ceil(found - 1e-9) + 0.0 if self.counts else np.asarray(found)

    def columns(self, level: Sequence[float] | float | None = None) -> dict[str, list[Any]]:
        """A table, a row a series and step: id, stamp, of each target median, intervals, futures.

        What came stands in the column of the target, if it is known; then the median is behind
        it, as y-median.

        Args:
            level: of the intervals, in percent; None for 80 and 95, as far as the quantiles reach.

        Raises:
            ArgumentError: the quantiles do not reach so far.
        """
        if level is None:
            reach = 100 * (1 - 2 * max(self.levels[0], 1 - self.levels[-1]))
            level = [one for one in LEVELS if one <= reach + 1e-6]
        level = [level] if isinstance(level, int | float) else list(level)
        for one in level:
            if not 0 < one < 100:
                raise ArgumentError(f"level must be between 0 and 100 percent, got {one:g}")
        steps = self.ds.shape[1]
        table: dict[str, list[Any]] = {}
        if len(self.unique_id) > 1 or self.unique_id[0] != "":
            table[self.names[0]] = [name for name in self.unique_id for _ in range(steps)]
        table[self.names[1]] = _written(self.ds)
        if self.cutoff is not None:
            table["cutoff"] = _written(np.repeat(self.cutoff, steps, 1))
        for k, target in enumerate(self.targets):
            if self.y is not None:
                table[target] = self.y[:, :, k].reshape(-1).tolist()
            name = target if self.y is None else f"{target}-median"
            table[name] = self.median[:, :, k].reshape(-1).tolist()
            for one in level:
                for side, p in (("lo", 0.5 - one / 200), ("hi", 0.5 + one / 200)):
                    values = self.quantile(round(p, 6))[:, :, k]
                    table[f"{target}-{side}-{one:g}"] = values.reshape(-1).tolist()
            for n, future in enumerate(() if self.futures is None else self.futures.swapaxes(0, 1)):
                table[f"{target}-future-{n + 1}"] = future[:, :, k].reshape(-1).tolist()
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
            FolderError: the file is there already, or cannot be written, or has another name.
        """
        write_table(
            path, self.columns(level), stamps=(self.names[1], "cutoff"), overwrite=overwrite
        )


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


def _written(stamps: Any) -> list[Any]:
    flat = stamps.reshape(-1)
    return [shown(one) for one in flat] if flat.dtype.kind == "M" else list(flat.tolist())
