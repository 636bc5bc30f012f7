"""Calibrated confidences: monotone, at the minimum of their loss, and sane for few words."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error

from elman.errors import ArgumentError
from elman.report.confidence import Calibration, fit_calibration, score_confidences

words = st.lists(
    st.tuples(st.floats(0, 1), st.booleans(), st.floats(-1e3, 1e3)), min_size=1, max_size=40
)


def drawn(
    count: int, slope: float, offset: float, second: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return raw confidences, correct words and a second feature that follow these weights."""
    draw = np.random.default_rng(0)
    z, f = draw.normal(1, 2, count), draw.normal(3, 0.5, count)
    p = 1 / (1 + np.exp(-(slope * z + offset + second * f)))
    return 1 / (1 + np.exp(-z)), draw.random(count) < p, f


@given(words)
def test_a_higher_raw_confidence_never_gives_a_lower_probability(
    some: list[tuple[float, bool, float]],
) -> None:
    raw, correct, feature = zip(*some, strict=True)
    fitted = fit_calibration(raw, correct, feature)
    p = fitted(np.linspace(0, 1, 50), np.full(50, feature[0]))
    assert np.isfinite(p).all()
    assert p.min() >= 0
    assert p.max() <= 1
    assert (np.diff(p) >= -1e-12).all()  # rounding of a slope near 0


@settings(max_examples=30)
@given(words)
def test_no_small_change_of_the_weights_lowers_the_loss(
    some: list[tuple[float, bool, float]],
) -> None:
    raw, correct = np.array([one[0] for one in some]), np.array([one[1] for one in some])
    fitted = fit_calibration(raw, correct)

    def loss(slope: float, offset: float) -> float:
        p = Calibration(slope, offset)(raw)
        likelihood = np.where(correct, np.log(p), np.log1p(-p)).sum()
        return float(((slope - 1) ** 2 + offset**2) / 2 - likelihood)

    best = loss(fitted.slope, fitted.offset)
    assert fitted.slope >= 0
    for change in (-1e-2, 1e-2):
        assert loss(max(0, fitted.slope + change), fitted.offset) >= best - 1e-9
        assert loss(fitted.slope, fitted.offset + change) >= best - 1e-9


def test_the_weights_that_made_the_data_are_found() -> None:
    raw, correct, feature = drawn(20_000, 0.6, -1.0, 0.5)
    fitted = fit_calibration(raw, correct, feature)
    # Four standard deviations of the estimate, which are about 0.01, 0.1 and 0.03 for these words.
    assert fitted.slope == pytest.approx(0.6, abs=0.05)
    assert fitted.offset == pytest.approx(-1.0, abs=0.4)
    assert fitted.second == pytest.approx(0.5, abs=0.13)


def test_calibration_repairs_ece_and_nce() -> None:
    raw, correct, _ = drawn(4000, 0.4, -1.0, 0.0)
    before, after = (
        score_confidences(p, correct) for p in (raw, fit_calibration(raw, correct)(raw))
    )
    assert before["ECE"] > 0.2
    assert after["ECE"] < 0.05
    assert before["NCE"] < 0 < after["NCE"]


def test_few_words_change_little_and_correct_words_are_not_certain() -> None:
    assert fit_calibration([], []) == Calibration(1, 0, 0)
    raw = np.array([0.3, 0.9])
    assert np.abs(fit_calibration([0.9], [True])(raw) - raw).max() < 0.05
    for count in (10, 10_000):
        p = fit_calibration([0.6] * count, [True] * count)([0.6])[0]
        assert 0.6 < p < 1 - 1e-6
        p = fit_calibration([0.6] * count, [False] * count)([0.6])[0]
        assert 1e-6 < p < 0.6


def test_confidences_that_mislead_become_constant() -> None:
    fitted = fit_calibration([0.1, 0.9] * 200, [True, False] * 200)
    assert fitted.slope == 0
    assert fitted([0.0, 1.0]) == pytest.approx([0.5, 0.5], abs=1e-6)


def test_the_unit_of_the_second_feature_does_not_matter() -> None:
    raw, correct, feature = drawn(300, 0.6, -1.0, 0.5)
    one, other = (
        fit_calibration(raw, correct, feature),
        fit_calibration(raw, correct, 1e3 * feature),
    )
    assert one(raw, feature) == pytest.approx(other(raw, 1e3 * feature), abs=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-300, 1e12])
def test_a_constant_second_feature_has_no_weight(constant: float) -> None:
    raw, correct, _ = drawn(30, 0.6, -1.0, 0.0)
    fitted = fit_calibration(raw, correct, [constant] * 30)
    assert fitted == fit_calibration(raw, correct)


def test_a_calibration_is_stored_as_plain_numbers() -> None:
    fitted = fit_calibration([0.9, 0.8, 0.7], [True, False, True], [1, 2, 3])
    assert Calibration(**json.loads(json.dumps(asdict(fitted)))) == fitted


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=40))
def test_ece_equals_that_of_torchmetrics(some: list[tuple[float, bool]]) -> None:
    p, correct = zip(*((p, c) for p, c in some), strict=True)
    # On an edge, rounding chooses the bin.
    p = tuple(x if abs(15 * x - round(15 * x)) > 1e-3 else 0.5 for x in p)
    wanted = binary_calibration_error(torch.tensor(p), torch.tensor(correct).long(), n_bins=15)
    assert score_confidences(p, correct)["ECE"] == pytest.approx(float(wanted), abs=1e-5)


def test_nce_of_the_share_of_correct_words_is_zero_and_one_for_certain_words() -> None:
    correct = [True, True, True, False]
    assert score_confidences([0.75] * 4, correct)["NCE"] == pytest.approx(0, abs=1e-12)
    assert score_confidences([1, 1, 1, 0], correct)["NCE"] == pytest.approx(1, abs=1e-5)
    assert score_confidences([0.1] * 4, correct)["NCE"] < 0
    assert "NCE" not in score_confidences([0.9, 0.8], [True, True])
    assert score_confidences([], []) == {"ECE": 0, "words": 0}


@pytest.mark.parametrize(
    ("raw", "correct", "feature", "message"),
    [
        ([1.5], [True], None, "raw: got 1.5, expected numbers in 0..1"),
        ([float("nan")], [True], None, "raw: got nan"),
        ([0.5], [True, False], None, r"correct: got shape \(2,\), expected 1 numbers"),
        ([0.5], [True], [float("inf")], "feature: got inf, expected finite numbers"),
        ([[0.5]], [True], None, r"raw: got shape \(1, 1\)"),
    ],
)
def test_wrong_values_are_refused(
    raw: list[float], correct: list[bool], feature: list[float] | None, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        fit_calibration(raw, correct, feature)


def test_a_missing_second_feature_is_refused() -> None:
    with pytest.raises(ArgumentError, match="feature: got None"):
        Calibration(1, 0, 0.5)([0.5])
