"""Scaling, the calendar, and vectors of steps."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from elman.encode.scale import Scaling, find_scale
from elman.encode.series import SeriesEmbed, calendar
from elman.padded import Padded
from elman.read.stamps import Frequency, parse_stamps

SCALINGS = get_args(Scaling)
finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@pytest.mark.parametrize("how", [None, *SCALINGS])
@given(y=hnp.arrays(np.float64, (3, 7, 2), elements=finite | st.just(np.nan)))
def test_any_window_has_a_scale_that_can_be_undone(how: str, y: np.ndarray) -> None:
    shift, scale = find_scale(y, how)  # type: ignore[arg-type]
    assert shift.shape == scale.shape == (3, 1, 2)
    assert (scale > 0).all()
    assert np.isfinite(shift).all()
    back = (y - shift) / scale * scale + shift
    np.testing.assert_allclose(back, y, rtol=1e-9, atol=1e-6)


def test_scales_are_what_they_are_called() -> None:
    y = np.array([1.0, 2, 4, np.nan, 9])[None, :, None]
    there = y[~np.isnan(y)]
    found = {how: [x.item() for x in find_scale(y, how)] for how in (None, *SCALINGS)}  # type: ignore[arg-type]
    low, middle, high = np.quantile(there, [0.25, 0.5, 0.75])
    assert found == {
        None: [0, 1],
        "mean": [0, pytest.approx(4)],
        "standard": [pytest.approx(4), pytest.approx(there.std())],
        "robust": [pytest.approx(middle), pytest.approx(0.7413 * (high - low))],
        "last": [9, pytest.approx(there.std())],
    }


@pytest.mark.parametrize("how", SCALINGS)
@pytest.mark.parametrize("steps", [1, 4, 100])
def test_a_window_without_variation_or_without_a_number_has_one_too(how: str, steps: int) -> None:
    for value, size in ((7.0, 7.0), (-3.0, 3.0), (0.0, 1.0), (np.nan, 1.0)):
        _, scale = find_scale(np.full((1, steps, 1), value), how)  # type: ignore[arg-type]
        constant = how != "mean" and size != 1.0
        assert scale.item() == pytest.approx(size * max(steps**-2, 1e-3) if constant else size)


def test_half_of_zeros_does_not_make_a_robust_scale_tiny() -> None:
    sales = np.array([0.0, 0, 0, 0, 0, 9, 0, 0])[None, :, None]
    assert find_scale(sales, "robust")[1].item() == pytest.approx(sales.std())


def test_a_word_that_training_has_not_seen_has_no_vector_of_chance() -> None:
    embed = SeriesEmbed(0, [2], 4)
    found = embed(Padded.full(torch.tensor([[[-1.0]]]))).data
    assert found.tolist() == [[[0.0] * 4]]


@pytest.mark.parametrize(
    ("freq", "cycles"),
    [
        ("15min", ["hour", "day", "week", "month", "year"]),
        ("h", ["day", "week", "month", "year"]),
        ("D", ["week", "month", "year"]),
        ("B", ["week", "month", "year"]),
        ("W", ["month", "year"]),
        ("MS", ["year"]),
        ("YS", []),
    ],
)
def test_the_calendar_has_the_cycles_that_a_frequency_can_show(
    freq: str, cycles: list[str]
) -> None:
    stamps = parse_stamps(["2024-03-01 06:30"])[0]
    features, found = calendar(stamps, Frequency.named(freq))
    assert (found, features.shape) == (cycles, (1, 2 * len(cycles)))


def test_a_place_in_a_cycle_comes_again_in_the_next() -> None:
    stamps = parse_stamps(["2023-03-01 06:30", "2023-03-08 06:30", "2023-03-09 06:30"])[0]
    found, _ = calendar(stamps, Frequency.named("15min"))
    np.testing.assert_allclose(found[0, :6], found[1, :6], atol=1e-6)  # hour, day and week
    np.testing.assert_allclose(found[0, :4], found[2, :4], atol=1e-6)
    assert np.abs(found[0, 4:6] - found[2, 4:6]).max() > 0.5
    assert calendar(np.arange(3), Frequency("step", 1))[0].shape == (3, 0)


def test_a_category_that_training_has_not_seen_has_a_vector_of_its_own() -> None:
    embed = SeriesEmbed(2, [3], 4, 6)
    data = torch.zeros(4, 1, 3)
    data[:, 0, 2] = torch.tensor([-1.0, 0.0, 1.0, 2.0])
    found = embed(Padded.full(data)).data[:, 0]
    assert found.shape == (4, embed.size)
    assert len({tuple(row.tolist()) for row in found}) == 4
