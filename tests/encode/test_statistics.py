"""Statistics of recordings: their definitions, missing numbers, and steps that arrive in parts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from elman.encode.statistics import Running, whole_statistics


def recording(steps: int) -> NDArray[np.float64]:
    """Return channels: complete, with gaps, and without a number if the steps are odd."""
    draw = np.random.default_rng(steps)
    values = draw.standard_normal((steps, 3)) + 5
    values[draw.random(steps) < 0.5, 1] = np.nan
    values[:, 2] = np.nan if steps % 2 else values[:, 2]
    return values


def of_channel(x: NDArray[np.float64]) -> dict[str, float]:
    """Return the statistics of one channel with a number, by plain means."""
    seen = x[~np.isnan(x)]
    change = np.diff(seen) if len(seen) > 1 else np.zeros(1)
    crossed = np.diff(seen > seen.mean()) if len(seen) > 1 else np.zeros(1)
    return {
        "mean": seen.mean(),
        "deviation": seen.std(),
        "minimum": seen.min(),
        "maximum": seen.max(),
        "low": np.quantile(seen, 0.25),
        "middle": np.median(seen),
        "high": np.quantile(seen, 0.75),
        "first": seen[0],
        "last": seen[-1],
        **{
            f"quarter {n}": part[~np.isnan(part)].mean() if (~np.isnan(part)).any() else np.nan
            for n, part in enumerate(np.array_split(x, 4))
        },
        "change": np.abs(change).mean(),
        "rms change": np.sqrt((change**2).mean()),
        "fall": min(change.min(), 0),
        "rise": max(change.max(), 0),
        "crossed": crossed.mean(),
        "there": len(seen) / len(x),
    }


RUNNING = (
    "mean",
    "deviation",
    "minimum",
    "maximum",
    "first",
    "last",
    "change",
    "rms change",
    "there",
)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 51])
def test_statistics_match_their_names(steps: int) -> None:
    values = recording(steps)
    whole, running = whole_statistics(values), Running.start(3).push(values).values.reshape(-1, 3)
    each = whole[: len(whole) - 3].reshape(-1, 3)  # the correlations come last
    for channel in range(3):
        if np.isnan(values[:, channel]).all():
            assert np.isnan(each[:13, channel]).all()
            assert np.isnan(running[:6, channel]).all()
            assert each[-1, channel] == running[-1, channel] == 0
            continue
        wanted = of_channel(values[:, channel])
        np.testing.assert_allclose(each[:, channel], list(wanted.values()), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            running[:, channel], [wanted[name] for name in RUNNING], rtol=1e-9, atol=1e-6
        )


def test_correlations_of_channels_match_numpy() -> None:
    values = recording(50)
    values[:, 1] = recording(48)[0, 0] - 2 * values[:, 0]
    values[0, 0] = values[1, 1] = np.nan
    found = whole_statistics(values)[-3:]
    assert found[0] == pytest.approx(-1, abs=0.1)
    assert found[1] == pytest.approx(np.corrcoef(values[1:, 0], values[1:, 2])[0, 1], abs=0.1)
    # With many channels there are no correlations.
    assert len(whole_statistics(np.zeros((5, 9)))) == 9 * 19


def test_running_statistics_in_parts_are_exactly_equal() -> None:
    values = recording(52)
    whole = Running.start(3).push(values).values
    for size in (1, 3, 17):
        running = Running.start(3)
        for at in range(0, len(values), size):
            running = running.push(values[at : at + size])
        np.testing.assert_array_equal(running.values, whole)
