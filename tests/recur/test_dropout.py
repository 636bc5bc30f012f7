"""Random choices of dropout and zoneout."""

from __future__ import annotations

import math

import pytest
import torch

from elman.dropout import STEPS, choose, keep_mask

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_places_are_chosen_with_the_requested_probability(p: float) -> None:
    n = 400_000
    chosen = choose((n,), p, device=CPU, generator=torch.Generator().manual_seed(0))
    # Five standard deviations of a binomial share, plus the rounding of p.
    assert abs(float(chosen.float().mean()) - p) <= 5 * math.sqrt(p * (1 - p) / n) + 0.5 / STEPS


def test_neighbours_from_one_number_are_independent() -> None:
    chosen = choose((100_000, 4), 0.5, device=CPU, generator=torch.Generator().manual_seed(1))
    found = torch.corrcoef(chosen.float().t()) - torch.eye(4)
    assert float(found.abs().max()) < 5 / math.sqrt(100_000)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 0, 3), (7, 4)])
def test_any_shape_is_filled(shape: tuple[int, ...]) -> None:
    assert choose(shape, 0.5, device=CPU).shape == shape


def test_a_mask_preserves_the_mean_even_at_the_ends_of_the_range() -> None:
    like = torch.zeros((), dtype=torch.float64)
    seeded = torch.Generator().manual_seed(2)
    for p in (1e-9, 0.25, 1 - 1e-9):
        mask = keep_mask(like, (2_000_000,), p, generator=seeded)
        kept = float((mask > 0).double().mean())
        assert float(mask.mean()) == pytest.approx(kept * float(mask.max()), rel=1e-12)
        assert float(mask.max()) == pytest.approx(1 / (1 - p), rel=1e-4) or p > 1 - 1 / STEPS
    assert float(mask.max()) == STEPS
