"""Whether a model is better than its baselines: the one place that compares scores.

The terminal, the report page and the model card show what is found here.  A model is compared with
the best baseline of the same part of the data, by the scores that its task is judged by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elman.report.journal import number

Metrics = Mapping[str, Any]

# Of each score its format, and whether more is better.
SCORES = {
    "ADE": ("{:.3f}", False), "FDE": ("{:.3f}", False),
    "MASE": ("{:.3f}", False), "ND": ("{:.4f}", False), "MAE": ("{:.4g}", False),
    "BLEU": ("{:.1f}", True), "ROUGE-L": ("{:.1f}", True), "BLEU-2": ("{:.1f}", True),
    "perplexity": ("{:.2f}", False), "accuracy": ("{:.1%}", True), "F1": ("{:.3f}", True),
    "event F1": ("{:.3f}", True), "F1 macro": ("{:.3f}", True), "AUC": ("{:.3f}", True),
    "AUPRC": ("{:.3f}", True), "coverage 80": ("{:.1%}", True), "loss": ("{:.3f}", False),
}  # fmt: skip
NAMES = {"AUC": "AUROC", "F1": "F1 of spans", "event F1": "F1 of events"}
# Scores that a task is judged by, if the metrics name no others: the first group that is there.
JUDGES = (
    ("ADE",), ("MASE",), ("ND",), ("MAE",), ("BLEU",), ("ROUGE-L",), ("BLEU-2",), ("perplexity",),
    ("F1",), ("accuracy", "event F1"), ("loss",),
)  # fmt: skip
# Another seed alone may change a score by this share.
CLOSE = 0.01


@dataclass(frozen=True)
class Comparison:
    """One score of a model beside that of the best baseline.

    Attributes:
        score: its key in the metrics.
        ours: of the model.
        theirs: of the best baseline; NaN if no baseline has the score.
        name: of that baseline.
        rivals: how many baselines have the score.
    """

    score: str
    ours: float
    theirs: float = math.nan
    name: str = ""
    rivals: int = 0

    @property
    def verdict(self) -> str:
        """What the model is in comparison: better, worse or about as good."""
        if abs(self.ours - self.theirs) <= CLOSE * abs(self.theirs):
            return "about as good as"
        better = (self.ours > self.theirs) == SCORES[self.score][1]
        return "better than" if better else "worse than"

    def __str__(self) -> str:
        """The comparison in a line, such as `accuracy 91.0%, better than 90.0% of naive`."""
        line = f"{name_of(self.score)} {shown(self.score, self.ours)}"
        if not self.rivals:
            return line
        best = f", the best of {self.rivals} baselines" if self.rivals > 1 else ""
        return f"{line}, {self.verdict} {shown(self.score, self.theirs)} of {self.name}{best}"


def shown(score: str, value: float) -> str:
    """A score with as many digits as are usual for it.

    >>> shown("accuracy", 0.8125), shown("MASE", 0.8125)
    ('81.2%', '0.812')
    """
    return SCORES[score][0].format(value)


def name_of(score: str) -> str:
    """The name that a reader knows.

    >>> name_of("AUC"), name_of("coverage 80"), name_of("MASE")
    ('AUROC', 'coverage of 80%', 'MASE')
    """
    kind, _, level = score.partition(" ")
    return f"coverage of {level}%" if kind == "coverage" else NAMES.get(score, score)


def baselines_of(metrics: Metrics) -> list[Metrics]:
    """All baselines: `baseline` and `others` of the metrics."""
    found = [metrics.get("baseline"), *(metrics.get("others") or [])]
    return [one for one in found if isinstance(one, dict) and one]


def compare(metrics: Metrics, part: str) -> list[Comparison]:
    """The model beside its best baseline on a part of the data, by each score that judges it.

    >>> metrics = {"model": {"test": {"MASE": 0.8}}, "baseline": {"name": "naive"},
    ...            "others": [{"name": "drift", "test": {"MASE": 0.9}}]}
    >>> print(*compare(metrics, "test"))
    MASE 0.800, better than 0.900 of drift
    """
    scores = _scores_of(metrics.get("model"), part)
    judges = [group for group in (metrics.get("judged_by") or (), *JUDGES) if _has(scores, group)]
    found = []
    for score in judges[0] if judges else ():
        ours, more = number(scores, score), SCORES[score][1]
        if not math.isfinite(ours):
            continue
        rivals = [
            one for one in baselines_of(metrics)
            if math.isfinite(number(_scores_of(one, part), score))
        ]  # fmt: skip
        if not rivals:
            found.append(Comparison(score, ours))
            continue

        def rank(one: Metrics, score: str = score, more: bool = more) -> tuple[float, float]:
            theirs = _scores_of(one, part)
            value = number(theirs, score)
            return (value if more else -value, number(theirs, "AUC"))  # the latter between equals

        best = max(rivals, key=rank)
        theirs = number(_scores_of(best, part), score)
        found.append(Comparison(score, ours, theirs, str(best.get("name", "unnamed")), len(rivals)))
    return found


def conclude(metrics: Metrics) -> str:
    """The closing sentences: how good the model is on the test data, or else on the validation's.

    >>> conclude({"model": {"test": {"MASE": 0.8}}, "baseline": {"name": "naive", "test": {}}})
    'The model and its baselines share no score, so they cannot be compared.'
    """
    for part in ("test", "validation"):
        found = [one for one in compare(metrics, part) if one.rivals]
        if found:
            return " ".join(_sentence(one, "" if n else part) for n, one in enumerate(found))
    if not metrics.get("model"):
        return "The model was not evaluated, so there is nothing to compare."
    if baselines_of(metrics):
        return "The model and its baselines share no score, so they cannot be compared."
    return "There is no baseline, so the scores alone do not say whether the model is good."


def _sentence(one: Comparison, part: str) -> str:
    """A comparison as a sentence; the first names the part of the data."""
    whom = "its baseline" if one.rivals == 1 else f"the best of its {one.rivals} baselines"
    score = name_of(one.score)
    begin = f"On the {part} data the model is" if part else f"By {score} it is"
    values = f"{shown(one.score, one.ours)} against {shown(one.score, one.theirs)}"
    direction = "higher" if SCORES[one.score][1] else "lower"
    end = f"{score} {values}, {direction} is better" if part else values
    return f"{begin} {one.verdict} {whom} ({one.name}): {end}."


def _scores_of(one: object, part: str) -> Metrics:
    scores = one.get(part) if isinstance(one, Mapping) else None
    return scores if isinstance(scores, Mapping) else {}


def _has(scores: Metrics, group: Sequence[str]) -> bool:
    return bool(group) and group[0] in scores
