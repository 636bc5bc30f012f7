"""What stands beside a forecaster: forecasts of its baselines from all that came before.

A baseline reads a series from its beginning.  Only where windows times steps are so many that the
baselines would take longer than the model, it reads the last steps, and a note tells how many.
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

# Numbers that all windows together read at most, and those that are fitted by statistics; but 50
# seasons in any case.  A fit takes time with the square of the steps: never more than the longest.
READ, FITTED, SEASONS, LONGEST = 30_000_000, 1_000_000, 50, 3_000

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


def beside(
    model: Forecaster, windows: Windows, which: Whole, origins: Whole
) -> tuple[dict[str, Numbers], tuple[str, ...]]:
    """Forecasts (B K, H) of each baseline from origins (B,), and notes on what it does not read."""
    layout, season, notes = windows.layout, model.seasonal, list[str]()
    count = len(which) * layout.targets

    def seen(most: int, who: str) -> list[Numbers]:
        if origins.max() > most:
            notes.append(f"To save time, {who} read the last {most:,} steps of a series at most.")
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
    """Notes on the baselines whose library is not installed."""
    return absent(STATISTICS, "AutoETS and AutoTheta") if model.statistics else []
