"""Whole futures: their width matches the quantiles, and their dependence the data."""

from __future__ import annotations

import numpy as np
import pytest

from elman.decode.copula import draw_futures, find_dependence, find_root

LEVELS = (0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975)
NORMAL = np.array([-1.95996, -1.28155, -0.52440, 0, 0.52440, 1.28155, 1.95996])


def walks(count: int, steps: int, targets: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return random walks from 0, and the quantiles of each step."""
    y = np.random.default_rng(0).normal(size=(count, steps, targets)).cumsum(1)
    width = np.sqrt(np.arange(1.0, steps + 1))[None, :, None, None]
    return y, np.broadcast_to(width * NORMAL, (count, steps, targets, len(LEVELS)))


@pytest.mark.parametrize(("count", "off"), [(20, 0.1), (50, 0.07), (2000, 0.02)])
def test_the_dependence_of_steps_is_found_even_from_few_forecasts(count: int, off: float) -> None:
    found = find_dependence(*walks(count, 12), LEVELS)
    assert found[10, 11] == pytest.approx(np.sqrt(11 / 12), abs=off)
    assert np.allclose(found, found.T)
    assert np.allclose(np.diag(found), 1)
    assert np.linalg.eigvalsh(found).min() > -1e-9


def test_gaps_do_not_remove_the_dependence() -> None:
    y, quantiles = walks(1000, 12)
    y[np.random.default_rng(1).random(y.shape) < 0.2] = np.nan
    found = find_dependence(y, quantiles, LEVELS)
    assert found[10, 11] == pytest.approx(np.sqrt(11 / 12), abs=0.03)


def test_errors_in_one_direction_are_dependent() -> None:
    y, quantiles = walks(30, 6)
    found = find_dependence(y - 100, quantiles, LEVELS)
    assert found.min() > 0.99


def test_two_targets_may_be_independent() -> None:
    found = find_dependence(*walks(2000, 4, 2), LEVELS).reshape(4, 2, 4, 2)
    assert np.abs(found[:, 0, :, 1]).max() < 0.1
    assert found[2, 1, 3, 1] == pytest.approx(np.sqrt(3 / 4), abs=0.03)


def test_futures_have_the_width_of_the_quantiles_and_the_steps_of_walks() -> None:
    y, quantiles = walks(2000, 6)
    root = find_root(find_dependence(y, quantiles, LEVELS))
    found = draw_futures(quantiles[:2], LEVELS, root, 20_000, np.random.default_rng(2))
    assert found.shape == (2, 20_000, 6, 1)
    assert np.array_equal(found[0], found[1])  # rows with equal quantiles
    spread = found[0, :, :, 0]
    np.testing.assert_allclose(spread.std(0), np.sqrt(np.arange(1, 7)), rtol=0.03)
    np.testing.assert_allclose(np.diff(spread, axis=1).std(0), 1, rtol=0.05)
