"""Key words from probabilities: the detector, and its false alarms at many thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.decode.spotting import Detector, Spotting, SpottingCurve, spotting_curve
from elman.errors import ArgumentError

HOP = 0.25  # seconds, an exact number


def stream(seed: int, windows: int, keywords: int = 2) -> np.ndarray:
    """Return probabilities in steps of 1/8, whose means of 1, 2 and 4 are exact."""
    return np.random.default_rng(seed).integers(0, 9, (windows, keywords)) / 8


def plain_detections(p, rules: Spotting, threshold: float) -> list[tuple[int, int]]:
    """Return the windows and key words of all detections, from the definition."""
    size = max(1, round(rules.smoothing / rules.hop))
    found = []
    for k in range(p.shape[1]):
        last = None
        for t in range(len(p)):
            mean = sum(p[s, k] for s in range(max(0, t - size + 1), t + 1)) / size
            if mean >= threshold and (last is None or (t - last) * rules.hop >= rules.refractory):
                found.append((t, k))
                last = t
    return sorted(found)


def plain_curve(p, ends, truth, rules: Spotting, threshold: float, tolerance: float):
    """Return the false alarms and the misses at a threshold, from the definition."""
    unused = [(ends[t], k) for t, k in plain_detections(p, rules, threshold)]
    misses = 0
    for k, start, end in sorted(truth, key=lambda one: one[1]):
        hits = [one for one in unused if one[1] == k and start <= one[0] <= end + tolerance]
        if hits:
            unused.remove(min(hits))
        else:
            misses += 1
    return len(unused), misses


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    windows=st.integers(0, 40),
    smoothing=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    refractory=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    cuts=st.lists(st.integers(0, 40), max_size=6),
)
def test_a_detector_follows_the_definition_for_chunks_of_any_size(
    seed, windows, smoothing, refractory, cuts
):
    p = stream(seed, windows)
    rules = Spotting(threshold=0.625, smoothing=smoothing, refractory=refractory, hop=HOP)
    detector, parts = Detector(2, rules), np.split(p, sorted(min(cut, windows) for cut in cuts))
    fired = np.concatenate([detector.push(part)[0] for part in parts])[:, 0]
    assert list(map(tuple, np.argwhere(fired).tolist())) == plain_detections(p, rules, 0.625)
    assert detector.window == windows


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    smoothing=st.sampled_from([0.0, 0.5]),
    refractory=st.sampled_from([0.0, 0.5, 1.5]),
    tolerance=st.sampled_from([0.0, 0.5, 3.0]),
    words=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60)), max_size=8),
)
def test_a_curve_equals_a_slow_computation(seed, smoothing, refractory, tolerance, words):
    """Key words can follow each other so quickly that their times overlap."""
    p, ends = stream(seed, 64), np.arange(64) * HOP + 1
    truth = [(k, at * HOP + 1, at * HOP + 1.75) for k, at in words]
    rules = Spotting(smoothing=smoothing, refractory=refractory, hop=HOP)
    thresholds = [0.0, 0.25, 0.5, 0.75, 0.875, 1.0]
    curve = spotting_curve(
        p, ends, truth, spotting=rules, thresholds=thresholds, seconds=17, tolerance=tolerance
    )
    for n, threshold in enumerate(thresholds):
        wrong, misses = plain_curve(p, ends, truth, rules, threshold, tolerance)
        assert curve.false_alarms_per_hour[n] == pytest.approx(wrong * 3600 / 17)
        if truth:
            assert curve.miss_rate[n] == pytest.approx(misses / len(truth))
        else:
            assert np.isnan(curve.miss_rate[n])


def test_the_lowest_allowed_threshold_has_no_higher_one_with_more_false_alarms():
    curve = SpottingCurve(
        np.array([0.1, 0.2, 0.3, 0.4, 0.5]),
        np.array([9.0, 1.0, 3.0, 1.0, 0.0]),
        np.array([0.0, 0.0, 0.0, 0.5, 1.0]),
    )
    assert curve.allowed(1.0) == 3
    assert curve.allowed(0.5) == 4
    assert curve.allowed(9.0) == 0
    assert curve._replace(thresholds=curve.thresholds[:3]).at_misses(0.05) == 1.0
    assert curve.at_misses(0.5) == 1.0
    assert curve._replace(miss_rate=np.ones(5)).at_misses(0.05) is None
    worse = curve._replace(false_alarms_per_hour=np.full(5, 2.0))
    assert worse.allowed(1.0) is None


def test_an_hour_without_any_detection_has_no_false_alarm():
    p = np.full((36000, 1), 0.25)
    rules = Spotting(hop=0.1)
    curve = spotting_curve(
        p, np.arange(36000) * 0.1, [], spotting=rules, thresholds=[0.2, 0.3], seconds=3600
    )
    # A detection every second; the mean reaches 0.25 at the third window.
    assert curve.false_alarms_per_hour.tolist() == [3600, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": -0.1}, r"threshold must be in 0\.\.1, got -0\.1"),
        ({"threshold": float("nan")}, r"threshold must be in 0\.\.1, got nan"),
        ({"threshold": "high"}, "threshold must be a number"),
        ({"smoothing": -1.0}, r"smoothing must be in 0\.\.3600 s"),
        ({"refractory": float("inf")}, r"refractory must be in 0\.\.3600 s"),
        ({"hop": 0}, r"hop must be in 0\.001\.\.3600 s"),
    ],
)
def test_rules_out_of_range_are_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        Spotting(**given)


def test_shapes_that_do_not_match_are_refused():
    rules = Spotting()
    with pytest.raises(ArgumentError, match=r"p must be \(T, K\) and ends \(T,\)"):
        spotting_curve([[0.5]], [1, 2], [], spotting=rules, thresholds=[0.5], seconds=1)
    with pytest.raises(ArgumentError, match="seconds must be the duration"):
        spotting_curve([[0.5]], [1], [], spotting=rules, thresholds=[0.5], seconds=0)
