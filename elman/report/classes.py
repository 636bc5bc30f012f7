"""How good a classifier is: scores, calibration, confusions.

    accuracy      right rows / rows; with several labels all of them have to be right
    F1            2 TP / (2 TP + FP + FN): macro, the mean over classes of the training data that
                  occur or are guessed; micro, of all together
    AUC           probability that a row of a class scores above one of the others, mean of classes
    AUPRC         mean precision over the recall of a class: of two the second, else mean of classes
    ECE           sum over bins of probability of (rows / all rows) |accuracy - mean probability|
    temperature   T of softmax(s / T) that fits best: Guo et al. 2017 (arXiv:1706.04599)

Shape legend: N rows, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional import classification as metrics

BINS = 15  # of the calibration error


def probabilities(scores: Tensor, temperature: float, *, several: bool) -> Tensor:
    """(N, K) from scores (N, K); with several labels each by itself."""
    scores = scores / temperature
    return scores.sigmoid() if several else scores.softmax(1)


def score_classes(
    p: Tensor, targets: Tensor, unseen: Tensor | None = None, *, several: bool
) -> dict[str, float]:
    """Scores of probabilities (N, K) against classes (N), below 0 for none of them, or (N, K).

    Args:
        p: (N, K).
        targets: see above.
        unseen: (N,) labels of each row that are none of the K classes; they are never found.
        several: whether a row may have any number of labels.

    Example:
        >>> import torch
        >>> from elman.report.classes import score_classes
        >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> scores = score_classes(p, torch.tensor([0, 1, 1]), several=False)
        >>> round(scores["accuracy"], 3), round(scores["AUC"], 3)
        (0.667, 1.0)
    """
    count = len(p)
    if unseen is None:
        unseen = torch.zeros(count, dtype=torch.int64)
    if several:
        wanted, found = targets.bool(), p > 0.5
        right = (wanted == found).all(1) & (unseen == 0)
        confidence, hits = torch.maximum(p, 1 - p).flatten(), (wanted == found).flatten()
    else:
        wanted = F.one_hot(targets.clamp(min=0), p.shape[1]).bool() & (targets >= 0).unsqueeze(1)
        top, guess = p.max(1)
        found = F.one_hot(guess, p.shape[1]).bool()
        right = guess == targets
        confidence, hits = top, right
    both, either = (wanted & found).sum(0), wanted.sum(0) + found.sum(0)
    there = either > 0  # classes that neither occur nor are guessed say nothing
    f1 = 2 * both[there] / either[there]
    scores = {
        "accuracy": right.double().mean().item(),
        "F1 macro": f1.mean().item() if len(f1) else 0.0,
        "F1 micro": (2 * both.sum() / (either.sum() + unseen.sum()).clamp(min=1)).item(),
    }
    pairs = wanted.any(0) & ~wanted.all(0)
    if bool(pairs.any()):
        each = [metrics.binary_auroc(p[:, k], wanted[:, k].long()) for k in pairs.nonzero()[:, 0]]
        scores["AUC"] = torch.stack(each).mean().item()
        some = pairs.nonzero()[:, 0].tolist()
        if p.shape[1] == 2 and not several:
            some = [1]
        areas = [metrics.binary_average_precision(p[:, k], wanted[:, k].long()) for k in some]
        scores["AUPRC"] = torch.stack(areas).mean().item()
    scores["ECE"] = metrics.binary_calibration_error(
        confidence, hits.long(), n_bins=BINS, norm="l1"
    ).item()
    scores["examples"] = count
    if bool(unseen.any()):
        scores["unseen labels"] = int(unseen.sum())
    return scores


def nll(scores: Tensor, targets: Tensor, temperature: float, *, several: bool) -> float:
    """Mean negative log-likelihood in nats a row, of rows whose class is known."""
    scores = scores.double() / temperature
    if several:
        wanted = targets.double()
        return F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum").item() / len(
            scores
        )
    known = targets >= 0
    return F.cross_entropy(scores[known], targets[known]).item()


def fit_temperature(scores: Tensor, targets: Tensor, *, several: bool) -> float:
    """The temperature in 1/20..20 with the least `nll`, by golden section over its logarithm.

    Of N rows a class is true at 1 - 1 / (N + 2) only: a few that are all right do not say that the
    next will be (Platt 1999, "Probabilistic outputs for support vector machines").  The likelihood
    is concave in 1 / T, so that the search cannot end in a wrong valley.
    """
    if not several and not bool((targets >= 0).any()):
        return 1.0
    doubt = 1 / (len(targets) + 2)
    if several:
        soft = targets.double() * (1 - 2 * doubt) + doubt
    else:
        scores, targets = scores[targets >= 0], targets[targets >= 0]
        soft = F.one_hot(targets, scores.shape[1]).double()
        soft = soft * (1 - doubt) + (1 - soft) * doubt / max(1, scores.shape[1] - 1)

    def loss(t: float) -> float:
        if several:
            return nll(scores, soft, t, several=True)
        return F.cross_entropy(scores.double() / t, soft).item()

    ratio = (5**0.5 - 1) / 2
    low, high = -3.0, 3.0
    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        values = [loss(2.718281828459045**x) for x in (a, b)]
        low, high = (low, b) if values[0] < values[1] else (a, high)
    return float(2.718281828459045 ** ((low + high) / 2))


def reliability(p: Tensor, targets: Tensor) -> list[tuple[float, float, float, int]]:
    """Where it begins, mean probability, share that is so, and rows, of each tenth of probability.

    Of two classes the probability of the second, of more that of the guess; empty tenths are left
    out.

    Example:
        >>> import torch
        >>> from elman.report.classes import reliability
        >>> p = torch.tensor([[0.95, 0.05], [0.96, 0.04], [0.3, 0.7]])
        >>> for low, said, so, rows in reliability(p, torch.tensor([0, 1, 1])):
        ...     print(low, round(said, 3), so, rows)
        0.0 0.045 0.5 2
        0.7 0.7 1.0 1
    """
    said, guess = (p[:, 1], torch.ones(len(p), dtype=torch.int64)) if p.shape[1] == 2 else p.max(1)
    true = (targets == guess).double()
    tenth = (said * 10).long().clamp(0, 9)
    return [
        (k / 10, said[rows].mean().item(), true[rows].mean().item(), int(rows.sum()))
        for k, rows in enumerate(tenth == k for k in range(10))
        if bool(rows.any())
    ]


def confusion(guesses: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Rows (K, K) of true classes by columns of guessed ones."""
    known = targets >= 0
    pairs = targets[known] * classes + guesses[known]
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)
