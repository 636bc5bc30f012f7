"""Compare the scores of a model with those of its baselines.

The terminal, the report page and the model card all use the comparisons of this file.  A model is
compared with the best baseline on the same part of the data, by the main scores of its task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elman.report.journal import number
from elman.report.progress import figure

Metrics = Mapping[str, Any]

UNIT = ""  # the format of scores in the unit of the data, which can be of any size
# The format of each score, and whether a higher value is better.
SCORES = {
    "ADE": (UNIT, False),
    "FDE": (UNIT, False),
    "MASE": ("{:.3f}", False),
    "ND": ("{:.4f}", False),
    "MAE": (UNIT, False),
    "WER": ("{:.1%}", False),
    "BLEU": ("{:.1f}", True),
    "ROUGE-L": ("{:.1f}", True),
    "BLEU-2": ("{:.1f}", True),
    "perplexity": ("{:.2f}", False),
    "accuracy": ("{:.1%}", True),
    "F1": ("{:.3f}", True),
    "event_F1": ("{:.3f}", True),
    "F1_macro": ("{:.3f}", True),
    "AUC": ("{:.3f}", True),
    "AUPRC": ("{:.3f}", True),
    "coverage_80": ("{:.1%}", True),
    "miss_rate": ("{:.1%}", False),
    "loss": ("{:.3f}", False),
}
NAMES = {
    "AUC": "AUROC",
    "F1": "F1 of spans",
    "event_F1": "F1 of events",
    "real_time_factor": "real-time factor of a batch",
    "stream_real_time_factor": "real-time factor of a stream",
    "first_word_latency": "latency of the first word (s)",
    "end_latency": "latency of the end (s)",
}
# The main scores of the tasks, unless the metrics name others: the first group that exists.
JUDGES = (
    ("ADE",),
    ("MASE",),
    ("ND",),
    ("MAE",),
    ("WER",),
    ("BLEU",),
    ("ROUGE-L",),
    ("BLEU-2",),
    ("perplexity",),
    ("F1",),
    ("accuracy", "event_F1"),
    ("loss",),
)
# A relative difference that another seed alone can cause.
CLOSE = 0.01


@dataclass(frozen=True)
class Comparison:
    """One score of a model and of the best baseline.

    Attributes:
        score: key of the score in the metrics.
        ours: score of the model.
        theirs: score of the best baseline; NaN if no baseline has the score.
        name: name of the best baseline.
        rivals: number of baselines that have the score.
        positive: label of the class that AUPRC is computed for; empty for a mean over classes.
    """

    score: str
    ours: float
    theirs: float = math.nan
    name: str = ""
    rivals: int = 0
    positive: str = ""

    @property
    def title(self) -> str:
        """The usual name of the score."""
        return name_of(self.score, self.positive)

    @property
    def verdict(self) -> str:
        """The model in comparison with the baseline: better, worse or about as good."""
        if abs(self.ours - self.theirs) <= CLOSE * abs(self.theirs):
            return "about as good as"
        better = (self.ours > self.theirs) == SCORES[self.score][1]
        return "better than" if better else "worse than"

    def __str__(self) -> str:
        """Return a line such as `accuracy 91.0%, better than naive (90.0%)`."""
        line = f"{self.title} {shown(self.score, self.ours)}"
        if not self.rivals:
            return line
        best = f", the best of {self.rivals} baselines" if self.rivals > 1 else ""
        return f"{line}, {self.verdict} {self.name} ({shown(self.score, self.theirs)}){best}"


def shown(score: str, value: float) -> str:
    """Return a score as text, with the digits that are usual for it, or four of them.

    >>> shown("accuracy", 0.8125), shown("MASE", 0.8125), shown("ADE", 0.03125)
    ('81.2%', '0.812', '0.03125')
    """
    form, _ = SCORES.get(score, (UNIT, False))
    return form.format(value) if form else figure(value)


def name_of(score: str, positive: str = "") -> str:
    """Return the usual name of a score; that of AUPRC contains the positive class, if there is one.

    >>> name_of("AUC"), name_of("coverage_80"), name_of("MASE"), name_of("AUPRC", "sick")
    ('AUROC', 'coverage of 80%', 'MASE', 'AUPRC of sick')
    """
    if score == "AUPRC" and positive:
        return f"AUPRC of {positive}"
    kind, _, level = score.partition("_")
    if kind == "coverage":
        return f"coverage of {level}%"
    return NAMES.get(score, score.replace("_", " "))


def baselines_of(metrics: Metrics) -> list[Metrics]:
    """Return all baselines in the metrics: `baseline` and `others`."""
    found = [metrics.get("baseline"), *(metrics.get("others") or [])]
    return [one for one in found if isinstance(one, dict) and one]


def compare(metrics: Metrics, part: str) -> list[Comparison]:
    """Compare a model with its best baseline on a part of the data, by each main score.

    >>> metrics = {"model": {"test": {"MASE": 0.8}}, "baseline": {"name": "naive"},
    ...            "others": [{"name": "drift", "test": {"MASE": 0.9}}]}
    >>> print(*compare(metrics, "test"))
    MASE 0.800, better than drift (0.900)
    """
    scores = _scores_of(metrics.get("model"), part)
    judges = [group for group in (metrics.get("judged_by") or (), *JUDGES) if _has(scores, group)]
    positive, found = str(metrics.get("positive", "")), []
    for score in judges[0] if judges else ():
        ours, more = number(scores, score), SCORES[score][1]
        if not math.isfinite(ours):
            continue
        rivals = [
            one
            for one in baselines_of(metrics)
            if math.isfinite(number(_scores_of(one, part), score))
        ]
        if not rivals:
            found.append(Comparison(score, ours, positive=positive))
            continue

        def rank(one: Metrics, score: str = score, more: bool = more) -> tuple[float, float]:
            theirs = _scores_of(one, part)
            value = number(theirs, score)
            return (value if more else -value, number(theirs, "AUC"))  # AUC decides ties

        best = max(rivals, key=rank)
        theirs = number(_scores_of(best, part), score)
        name = str(best.get("name", "unnamed"))
        found.append(Comparison(score, ours, theirs, name, len(rivals), positive))
    return found


def conclude(metrics: Metrics) -> str:
    """Return sentences on how good the model is on the test data, or else the validation data.

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
    return "There is no baseline, so the scores alone do not show whether the model is good."


def _sentence(one: Comparison, part: str) -> str:
    """Return a comparison as a sentence; the first one names the part of the data."""
    whom = "its baseline" if one.rivals == 1 else f"the best of its {one.rivals} baselines"
    score = one.title
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
