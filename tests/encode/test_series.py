"""Scaling, the calendar, and vectors of steps."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from elman.encode.scale import (
    LEAST,
    LEAST_STEP,
    LEVEL,
    ROUNDING,
    Scaling,
    find_scale,
    find_velocity,
)
from elman.encode.series import SeriesEmbed, calendar
from elman.padded import Padded
from elman.read.clock import read_stamps
from elman.read.frequency import Frequency

SCALINGS = get_args(Scaling)
finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@pytest.mark.parametrize("how", [None, *SCALINGS])
@settings(max_examples=30)
@given(y=hnp.arrays(np.float64, (3, 7, 2), elements=finite | st.just(np.nan)))
def test_scaling_any_window_can_be_undone(how: str, y: np.ndarray) -> None:
    shift, scale = find_scale(y, how)  # type: ignore[arg-type]
    assert shift.shape == scale.shape == (3, 1, 2)
    assert (scale > 0).all()
    assert np.isfinite(shift).all()
    back = (y - shift) / scale * scale + shift
    np.testing.assert_allclose(back, y, rtol=1e-9, atol=1e-6)


def test_scales_match_their_names() -> None:
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
        "velocity": [9, pytest.approx(math.sqrt((1 + 4 + 2.5**2) / 3))],
    }


def test_a_place_has_one_scale_in_any_orientation() -> None:
    draw = np.random.default_rng(0)
    y = draw.normal(size=(4, 9, 2)).cumsum(1)
    y[1, 3] = np.nan
    c, s = math.cos(1.0), math.sin(1.0)
    turned = y @ np.array([[c, s], [-s, c]]) + 1e7
    for how in ("standard", "last", "velocity"):
        found = [find_scale(x, how, usual=(0.3, 0.3), plane=True)[1] for x in (y, turned)]  # type: ignore[arg-type]
        assert np.array_equal(found[0][..., 0], found[0][..., 1])
        if how == "velocity":
            np.testing.assert_allclose(*found, rtol=1e-6)
    still = np.full((1, 9, 2), 1e7)
    scale = find_scale(still, "velocity", usual=(0.3, 0.4), plane=True)[1]
    assert scale[0, 0, 0] == pytest.approx(LEAST_STEP * 0.5)


def test_the_velocity_is_that_of_the_last_two_numbers() -> None:
    nan = math.nan
    y = np.array([[1.0, nan, 5, nan], [nan, 2, nan, nan], [nan] * 4, [0, 0, 1, 3]])[..., None]
    velocity, time = find_velocity(y, 2)
    assert velocity.ravel().tolist() == [2, 0, 0, 2]
    assert time[..., 0].tolist() == [[2, 3], [3, 4], [4, 5], [1, 2]]


@pytest.mark.parametrize("how", SCALINGS)
@pytest.mark.parametrize("steps", [1, 4, 100])
def test_a_window_without_variation_or_numbers_has_a_scale(how: str, steps: int) -> None:
    for value, size in ((7.0, 7.0), (-3.0, 3.0), (0.0, 1.0), (np.nan, 1.0)):
        y = np.full((1, steps, 1), value)
        constant = how not in ("mean", "velocity") and size != 1.0
        size = 1.0 if how == "velocity" else size
        # The scale of a constant is the rounding of its level; in version 0.1.0 a share of it.
        _, scale = find_scale(y, how)  # type: ignore[arg-type]
        assert scale.item() == pytest.approx(size * ROUNDING if constant else size)
        _, scale = find_scale(y, how, level=LEVEL)  # type: ignore[arg-type]
        assert scale.item() == pytest.approx(size * max(steps**-2, 1e-3) if constant else size)


@pytest.mark.parametrize("how", ["mean", "standard", "robust", "last"])
def test_a_scale_is_at_least_a_share_of_the_usual_one(how: str) -> None:
    def scale(y: list[float], usual: float, spare: float) -> float:
        window = np.array(y)[None, :, None]
        found = find_scale(window, how, usual=usual, spare=spare)  # type: ignore[arg-type]
        return float(found[1].item())

    # The fewer the numbers, the larger the share; the spare scale counts only without a usual one.
    assert scale([0.0] * 20, 5.0, 9.0) == pytest.approx(LEAST * 5)
    assert scale([0.0] * 2, 5.0, 9.0) == pytest.approx(5 / 2)
    assert scale([np.nan] * 19 + [0.0], 5.0, 9.0) == pytest.approx(5)
    assert scale([0.0] * 20, 0.0, 9.0) == pytest.approx(LEAST * 9)
    assert scale([-1.0, 1.0] * 10, 0.0, 1e9) == pytest.approx(scale([-1.0, 1.0] * 10, 0.0, 0.0))


@pytest.mark.parametrize("how", SCALINGS)
@settings(max_examples=30)
@given(
    y=hnp.arrays(np.float64, (2, 9, 1), elements=st.integers(-(2**20), 2**20).map(float)),
    factor=st.integers(-40, 40),
    level=st.integers(-(2**20), 2**20),
)
def test_a_scale_follows_the_unit_and_not_the_level(
    how: str, y: np.ndarray, factor: int, level: int
) -> None:
    usual = 1000.0
    shift, scale = find_scale(y, how, usual=usual)  # type: ignore[arg-type]
    c = 0.0 if how == "mean" else float(level)
    f = 2.0**factor
    found = find_scale(y * f + c * f, how, usual=usual * f)  # type: ignore[arg-type]
    np.testing.assert_allclose(found[0], (shift + c) * f, rtol=1e-12, atol=1e-9 * f)
    np.testing.assert_allclose(found[1], scale * f, rtol=1e-9)


def test_a_robust_scale_is_not_tiny_if_half_of_the_numbers_are_zero() -> None:
    sales = np.array([0.0, 0, 0, 0, 0, 9, 0, 0])[None, :, None]
    assert find_scale(sales, "robust")[1].item() == pytest.approx(sales.std())


def test_a_word_that_is_not_in_the_training_data_has_a_zero_vector() -> None:
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
    stamps = read_stamps(["2024-03-01 06:30"])[0]
    features, found = calendar(stamps, Frequency.named(freq))
    assert (found, features.shape) == (cycles, (1, 2 * len(cycles)))


def test_calendar_features_repeat_in_every_cycle() -> None:
    stamps = read_stamps(["2023-03-01 06:30", "2023-03-08 06:30", "2023-03-09 06:30"])[0]
    found, _ = calendar(stamps, Frequency.named("15min"))
    np.testing.assert_allclose(found[0, :6], found[1, :6], atol=1e-6)  # hour, day and week
    np.testing.assert_allclose(found[0, :4], found[2, :4], atol=1e-6)
    assert np.abs(found[0, 4:6] - found[2, 4:6]).max() > 0.5
    assert calendar(np.arange(3), Frequency("step", 1))[0].shape == (3, 0)


def test_a_category_that_is_not_in_the_training_data_has_its_own_vector() -> None:
    embed = SeriesEmbed(2, [3], 4, 6)
    data = torch.zeros(4, 1, 3)
    data[:, 0, 2] = torch.tensor([-1.0, 0.0, 1.0, 2.0])
    found = embed(Padded.full(data)).data[:, 0]
    assert found.shape == (4, embed.size)
    assert len({tuple(row.tolist()) for row in found}) == 4
