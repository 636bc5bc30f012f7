"""Forecasts of the baselines of a forecaster.

A baseline reads a series from its beginning.  If the baselines would take longer than the model,
because there are many windows or steps, they read only the last steps; a note says how many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from elman.encode.windows import Windows
from elman.optional import absent
from elman.report.forecasts import STATISTICS, baselines, statistical

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster

# Maximum counts of numbers that baselines read, and that statistical models fit, in all windows
# together, but at least 50 seasons of each window.  The time of a fit grows with the square of its
# steps, so a fit never reads more than LONGEST steps.
READ, FITTED, SEASONS, LONGEST = 30_000_000, 1_000_000, 50, 3_000

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


def forecast_baselines(
    model: Forecaster, windows: Windows, which: Whole, origins: Whole
) -> tuple[dict[str, Numbers], tuple[str, ...]]:
    """Return forecasts (B K, H) of each baseline from B origins, and notes on skipped numbers."""
    layout, season, notes = windows.layout, model.seasonal, list[str]()
    count = len(which) * layout.targets

    def seen(most: int, who: str) -> list[Numbers]:
        if origins.max() > most:
            notes.append(f"To save time, {who} read only the last {most:,} steps of a series.")
        return [
            windows.y[begin + max(0, origin - most) : begin + origin, k]
            for begin, origin in zip(windows.begins[which], origins, strict=True)
            for k in range(layout.targets)
        ]

    most = max(READ // count, SEASONS * season)
    whole = seen(most, "the baselines")
    found = baselines(whole, layout.horizon, season, moving=layout.plane)
    if model.statistics:
        fitted = min(most, LONGEST, max(FITTED // count, SEASONS * season))
        found |= statistical(seen(fitted, "AutoETS and AutoTheta"), layout.horizon, season)
    return found, tuple(notes)


def missing_baselines(model: Forecaster) -> list[str]:
    """Return notes on the baselines whose library is not installed."""
    return absent(STATISTICS, "AutoETS and AutoTheta") if model.statistics else []
