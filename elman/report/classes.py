"""Scores of a classifier by the definitions of scikit-learn, calibration and confusions.

    accuracy      right rows / rows; with several labels, all labels of a row must be right
    F1            2 TP / (2 TP + FP + FN).  Macro: the mean over classes that occur or are
                  predicted, with several labels over all classes.  Micro: all classes together.
                  A label that is not in the training data counts as a class with F1 = 0
    AUC           area under the ROC curve, one class against the rest, mean over classes
    AUPRC         average precision: for two classes that of the positive one, see `find_positive`,
                  else the mean over classes
    ECE           sum over bins of probability of (rows / all rows) |accuracy - mean probability|
    temperature   the best T in softmax(s / T): Guo et al. 2017 (arXiv:1706.04599)

With one label per row, the memory needed besides the scores grows with the rows and with the
classes, but not with their product.

Shape legend: N rows, K classes, M labels that are not in the training data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_calibration_error

BINS = 15  # bins of the calibration error
BLOCK = 1 << 20  # scores that are processed at a time
SKEWED = 2 / 3  # share of the most frequent class from which accuracy does not suffice
LARGEST = 30  # most classes of a confusion matrix in the report
CONFUSED = 15  # pairs of classes in the report, if there are more classes
# Pairs of labels in which the second one is positive, even if it is more frequent.
SIGNED: tuple[set[Hashable], ...] = (
    {0, 1},
    {-1, 1},
    {"0", "1"},
    {"-1", "1"},
    {"False", "True"},
    {"false", "true"},
)


def probabilities(scores: Tensor, temperature: float, *, several: bool) -> Tensor:
    """Return probabilities (N, K) from scores (N, K); with several labels they are independent."""
    scores = scores / temperature
    return scores.sigmoid() if several else scores.softmax(1)


def find_positive(targets: Tensor, classes: Sequence[Hashable]) -> int:
    """Return which of two classes is the positive one: the rarer one of the training data.

    If both are equally frequent, it is the second one.  If the labels are 0 and 1, -1 and 1, or
    False and True, it is 1 or True even where that is the more frequent one, as in scikit-learn.

    Args:
        targets: classes (N) of the training data.
        classes: the two labels.

    Example:
        >>> import torch
        >>> from elman.report.classes import find_positive
        >>> rare_first = torch.tensor([0, 1, 1])
        >>> find_positive(rare_first, ["sick", "well"]), find_positive(rare_first, [False, True])
        (0, 1)
    """
    first = int((targets == 0).sum())
    return 0 if set(classes) not in SIGNED and first < len(targets) - first else 1


def score_classes(
    p: Tensor, targets: Tensor, unseen: Tensor | None = None, *, several: bool, positive: int = 1
) -> dict[str, float]:
    """Score probabilities against true classes.

    Args:
        p: probabilities (N, K).
        targets: classes (N), negative for a label that is not one of the K classes; with
            several labels, zeros and ones (N, K).
        unseen: row and number (M, 2), from 0, of each label that is not one of the K classes.
        several: whether a row can have any number of labels.
        positive: number of the class that AUPRC is computed for, if there are two.

    Example:
        >>> import torch
        >>> from elman.report.classes import score_classes
        >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> scores = score_classes(p, torch.tensor([0, 1, 1]), several=False)
        >>> round(scores["accuracy"], 3), round(scores["AUC"], 3)
        (0.667, 1.0)
    """
    if unseen is None:
        unseen = torch.zeros(0, 2, dtype=torch.int64)
    if several:
        wanted, found = targets.bool(), p > 0.5
        hits = wanted == found
        right = hits.all(1)
        right[unseen[:, 0]] = False
        confidence, hits = torch.maximum(p, 1 - p).flatten(), hits.flatten()
        both, support, guessed = (wanted & found).sum(0), wanted.sum(0), found.sum(0)
    else:
        confidence, guess = p.max(1)
        right = hits = guess == targets
        both, support, guessed = (
            torch.bincount(some, minlength=p.shape[1])
            for some in (guess[right], targets[targets >= 0], guess)
        )
    either = support + guessed
    f1 = 2 * both.double() / either.clamp(min=1)
    counted = f1 if several else f1[either > 0]
    strange = len(unseen[:, 1].unique())
    scores = {
        "accuracy": right.double().mean().item(),
        "F1_macro": counted.sum().item() / max(1, len(counted) + strange),
        "F1_micro": 2 * both.sum().item() / max(1, int(either.sum()) + len(unseen)),
    }
    scores |= _areas(p, targets, support, several=several, positive=positive)
    scores["ECE"] = binary_calibration_error(confidence, hits.long(), n_bins=BINS, norm="l1").item()
    scores["examples"] = len(p)
    if len(unseen):
        scores["unseen_labels"] = len(unseen)
    return scores


def _areas(
    p: Tensor, targets: Tensor, support: Tensor, *, several: bool, positive: int
) -> dict[str, float]:
    """Return AUC and AUPRC over the classes that some rows have, but not all.

    `support` (K) has the number of rows of each class.
    """
    some = (support > 0) & (support < len(p))
    if not bool(some.any()):
        return {}
    chosen = torch.ones_like(some) if several else some
    columns = chosen.nonzero()[:, 0]
    parts = []
    for block in columns.split(max(1, BLOCK // len(p))):
        wanted = targets[:, block].T.bool() if several else targets == block[:, None]
        parts.append(_areas_of(p[:, block].T.contiguous(), wanted))
    roc, precision = torch.cat(parts, 1)
    if p.shape[1] == 2 and not several:
        precision = precision[columns == positive]
    areas = {"AUC": roc[some[columns]].mean().item()}
    return areas | ({"AUPRC": precision.mean().item()} if len(precision) else {})


def _areas_of(scores: Tensor, wanted: Tensor) -> Tensor:
    """Return AUC and average precision (2, K) of scores (K, N); NaN and 0 without positives.

    AUC is computed from the mean rank of the positives, with ties at their mean rank; average
    precision is the mean over the positives of the precision at their score.
    """
    scores, order = scores.sort(1)
    wanted = wanted.gather(1, order).double()
    count, positives = scores.shape[1], wanted.sum(1)
    below = torch.searchsorted(scores, scores)
    within = torch.searchsorted(scores, scores, right=True)
    ranks = (wanted * (below + within + 1)).sum(1) / 2
    roc = (ranks - positives * (positives + 1) / 2) / (positives * (count - positives))
    before = torch.cat([torch.zeros_like(positives)[:, None], wanted.cumsum(1)], 1)
    precision = (positives[:, None] - before.gather(1, below)) / (count - below)
    return torch.stack([roc, (wanted * precision).sum(1) / positives.clamp(min=1)])


def nll(scores: Tensor, targets: Tensor, temperature: float, *, several: bool) -> float:
    """Return the mean negative log-likelihood in nats per row, over rows with a known class."""
    if several:
        total = sum(
            F.binary_cross_entropy_with_logits(
                part.double() / temperature, wanted.double(), reduction="sum"
            ).item()
            for part, wanted in zip(_rows(scores), _rows(targets), strict=True)
        )
        return total / len(scores)
    known = targets >= 0
    scores, targets = scores[known], targets[known]
    own = scores.gather(1, targets[:, None]).double().sum().item()
    return (_normalisers(scores, temperature) - own / temperature) / len(scores)


def _normalisers(scores: Tensor, temperature: float) -> float:
    """Return the sum over rows of the logarithm of the sum of exp(s / T)."""
    return sum((part.double() / temperature).logsumexp(1).sum().item() for part in _rows(scores))


def _rows(values: Tensor) -> Iterator[Tensor]:
    """Yield blocks of rows of values (N, K)."""
    yield from values.split(max(1, BLOCK // values.shape[1]))


def fit_temperature(scores: Tensor, targets: Tensor, *, several: bool) -> float:
    """Return the temperature in 1/20..20 with the lowest `nll`, by golden section search.

    The target of the true class is 1 - 1 / (N + 2) for N rows, because a few correct rows do not
    show that the next one will be correct (Platt 1999, "Probabilistic outputs for support vector
    machines").  The likelihood is concave in 1 / T, so the search finds its only maximum.
    """
    if not several:
        known = targets >= 0
        if not bool(known.any()):
            return 1.0
        scores, targets = scores[known], targets[known]
    doubt = 1 / (len(targets) + 2)
    if several:
        soft = targets * (1 - 2 * doubt) + doubt
    else:  # the other classes share the rest equally
        share = doubt / max(1, scores.shape[1] - 1)
        own = scores.gather(1, targets[:, None]).double().sum().item()
        weighed = (1 - doubt - share) * own + share * scores.sum(dtype=torch.float64).item()

    def loss(t: float) -> float:
        if several:
            return nll(scores, soft, t, several=True)
        return _normalisers(scores, t) - weighed / t

    ratio = (5**0.5 - 1) / 2
    low, high = -3.0, 3.0
    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        values = [loss(2.718281828459045**x) for x in (a, b)]
        low, high = (low, b) if values[0] < values[1] else (a, high)
    return float(2.718281828459045 ** ((low + high) / 2))


def reliability(
    p: Tensor, targets: Tensor, positive: int = 1
) -> list[tuple[float, float, float, int]]:
    """Return the calibration of the probabilities, in ten bins of equal width.

    The probability is that of the positive class for two classes, else that of the prediction.

    Returns:
        For each bin with rows: lower edge, mean probability, share of rows where the class is
        true, and number of rows.

    Example:
        >>> import torch
        >>> from elman.report.classes import reliability
        >>> p = torch.tensor([[0.95, 0.05], [0.96, 0.04], [0.3, 0.7]])
        >>> for low, mean, share, rows in reliability(p, torch.tensor([0, 1, 1])):
        ...     print(low, round(mean, 3), share, rows)
        0.0 0.045 0.5 2
        0.7 0.7 1.0 1
    """
    p, guess = (p[:, positive], positive) if p.shape[1] == 2 else p.max(1)
    true = (targets == guess).double()
    tenth = (p * 10).long().clamp(0, 9)
    return [
        (k / 10, p[rows].mean().item(), true[rows].mean().item(), int(rows.sum()))
        for k, rows in enumerate(tenth == k for k in range(10))
        if bool(rows.any())
    ]


def confusion(guesses: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return counts (K, K), with true classes as rows and predicted classes as columns."""
    known = targets >= 0
    pairs = targets[known] * classes + guesses[known]
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def confusion_table(
    guess: Tensor, targets: Tensor, classes: list[str], part: str
) -> dict[str, Any]:
    """Return the confusion matrix; with many classes, the most frequent mistakes."""
    if len(classes) <= LARGEST:
        counts = confusion(guess, targets, len(classes)).tolist()
        return {
            "title": f"Confusion, {part} data: rows are true labels, columns are predictions",
            "columns": classes,
            "rows": [[name, *row] for name, row in zip(classes, counts, strict=True)],
        }
    wrong = (guess != targets) & (targets >= 0)
    pairs = Counter(zip(targets[wrong].tolist(), guess[wrong].tolist(), strict=True))
    return {
        "title": f"Most frequent mistakes, {part} data",
        "columns": ["examples"],
        "rows": [
            [f"{classes[a]} predicted as {classes[b]}", count]
            for (a, b), count in pairs.most_common(CONFUSED)
        ],
    }


def calibration_table(
    p: Tensor, targets: Tensor, classes: list[str], part: str, *, positive: int
) -> dict[str, Any]:
    """Return how often predictions of each probability are right."""
    what = f"p({classes[positive]})" if len(classes) == 2 else "p(prediction)"
    return {
        "title": f"Calibration, {part} data: predicted probability, and how often it is right",
        "columns": [what, "share", "examples"],
        "rows": [
            [f"{low:.1f} to {low + 0.1:.1f}", f"{mean:.3f}", f"{true:.3f}", count]
            for low, mean, true, count in reliability(p, targets, positive)
        ],
    }


def calibration_note(temperature: float, *, tested: bool) -> str:
    """Return a note on how probabilities were calibrated; `tested` if there are test data."""
    text = (
        f"Scores are divided by the temperature {temperature:.2f}, fitted on the validation data. "
        "The loss among the final scores is computed after that division, and the losses of the "
        "training log before it."
    )
    return text if tested else f"{text} ECE of the validation data is too low: give test data."


def mistakes(p: Tensor, targets: Tensor, most: int) -> list[tuple[int, float]]:
    """Return the rows with a wrong prediction and its confidence, the most confident ones first.

    Args:
        p: probabilities (N, K).
        targets: classes (N), or with several labels zeros and ones (N, K).
        most: maximum number of rows.
    """
    if targets.dim() == 2:
        wrong = ((p > 0.5) != targets.bool()).any(1)
        confidence = torch.where(p > 0.5, p, 1 - p).amin(1)
    else:
        confidence, guess = p.max(1)
        wrong = guess != targets
    order = torch.where(wrong, confidence, -1.0).argsort(descending=True, stable=True)
    rows = order[: min(most, int(wrong.sum()))].tolist()
    return [(row, float(confidence[row])) for row in rows]


def judged_by(targets: Tensor, classes: int) -> list[str]:
    """Return names of the main scores of a model with one label per row."""
    if int(torch.bincount(targets).max()) < SKEWED * len(targets):
        return ["accuracy"]
    return ["AUC", "AUPRC"] if classes == 2 else ["accuracy", "F1_macro"]
