"""Events in streams of probabilities, and how they are scored."""

from __future__ import annotations

import pytest

from elman.decode.events import Event, Spotter, events_of, spot
from elman.errors import ArgumentError
from elman.report.events import score_events

LABELS = ["none", "a", "b"]


def steps(*a: float) -> list[list[float]]:
    return [[1 - p, p, 0.0] for p in a]


def test_a_probability_between_the_two_levels_does_not_end_an_event() -> None:
    found = spot(steps(0.1, 0.7, 0.5, 0.45, 0.65, 0.39, 0.5), LABELS, "none")
    assert found == [Event("a", 1, 5, 0.575)]
    flicker = spot(steps(0.1, 0.7, 0.5, 0.45, 0.65, 0.39, 0.5), LABELS, "none", on=0.6, off=0.6)
    assert [(event.begin, event.end) for event in flicker] == [(1, 2), (4, 5)]


def test_one_event_may_follow_another_immediately() -> None:
    p = [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]]
    assert spot(p, LABELS, "none") == [Event("a", 0, 1, 0.8), Event("b", 1, 3, 0.8)]


def test_short_events_are_dropped_and_the_last_ends_with_the_stream() -> None:
    found = spot(steps(0.9, 0.1, 0.9, 0.9), LABELS, "none", shortest=2)
    assert found == [Event("a", 2, 4, 0.9)]


def test_without_a_background_all_classes_are_events() -> None:
    assert [event.label for event in spot(steps(0.1, 0.9), LABELS)] == ["none", "a"]


def test_invalid_levels_are_refused() -> None:
    for on, off in ((0.4, 0.6), (1.1, 0.5), (0.5, 0.0)):
        with pytest.raises(ArgumentError, match="0 < off <= on <= 1"):
            Spotter(LABELS, on=on, off=off)
    with pytest.raises(ArgumentError, match="shortest must be at least 1, got 0"):
        Spotter(LABELS, shortest=0)


def test_an_event_is_found_once_if_half_of_it_is_covered() -> None:
    true = events_of(["none"] * 5 + ["a"] * 10 + ["b"] * 4, "none")
    assert true == [Event("a", 5, 15, 1.0), Event("b", 15, 19, 1.0)]
    halves = [Event("a", 5, 10, 0.9), Event("a", 10, 15, 0.9), Event("b", 17, 25, 0.9)]
    scores = score_events([true], [halves])
    assert scores["event_precision"] == pytest.approx(1 / 3)
    assert scores["event_recall"] == pytest.approx(1 / 2)
    assert scores["event_F1"] == pytest.approx(2 / 5)
    assert score_events([true], [[]])["event_F1"] == 0
