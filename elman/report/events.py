"""Scores of predicted events: an event is right if it overlaps a true one of its class by half.

    overlap = steps in both events / steps in either event

Each true event counts as found at most once; F1 is the harmonic mean of precision and recall.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from elman.decode.events import Event

ENOUGH = 0.5  # smallest overlap of a right event


def score_events(
    wanted: Iterable[Sequence[Event]], found: Iterable[Sequence[Event]]
) -> dict[str, float]:
    """Return precision, recall and F1 of the events of many recordings.

    Example:
        >>> from elman.decode.events import Event
        >>> from elman.report.events import score_events
        >>> true, guess = [Event("turn", 10, 20, 1.0)], [Event("turn", 12, 21, 0.8)]
        >>> score_events([true], [guess])
        {'event_precision': 1.0, 'event_recall': 1.0, 'event_F1': 1.0, 'events': 1}
    """
    right = true = guessed = 0
    for theirs, ours in zip(wanted, found, strict=True):
        left = list(theirs)
        for event in ours:
            best = max(left, key=lambda one: _overlap(event, one), default=None)
            if best is not None and _overlap(event, best) >= ENOUGH:
                left.remove(best)
                right += 1
        true, guessed = true + len(theirs), guessed + len(ours)
    return {
        "event_precision": right / max(1, guessed),
        "event_recall": right / max(1, true),
        "event_F1": 2 * right / max(1, true + guessed),
        "events": true,
    }


def _overlap(a: Event, b: Event) -> float:
    if a.label != b.label:
        return 0.0
    both = min(a.end, b.end) - max(a.begin, b.begin)
    return max(0, both) / (max(a.end, b.end) - min(a.begin, b.begin))
