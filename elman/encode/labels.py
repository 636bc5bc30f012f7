"""Labels as numbers, and the weights of classes.

Shape legend: N rows, K classes, M labels that are not among the classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman.read.labels import Label, alike

UNSEEN = -1  # number of a label that is not among the classes


def label_numbers(
    labels: Sequence[tuple[Label, ...]], classes: Sequence[Label], *, several: bool
) -> tuple[Tensor, Tensor]:
    """Return the classes of rows as numbers, and the labels that are not among the classes.

    Args:
        labels: the labels of each row.
        classes: labels of the training data, in the order of their numbers.
        several: whether a row can have any number of labels.

    Returns:
        Classes (N), with UNSEEN for other labels; with `several`, zeros and ones (N, K).  And the
        row and a number (M, 2) of each label that is not among the classes.

    Example:
        >>> from elman.encode.labels import label_numbers
        >>> numbers, unseen = label_numbers([("a",), ("c",)], ["a", "b"], several=False)
        >>> numbers.tolist(), unseen.tolist()
        ([0, -1], [[1, 0]])
    """
    number = {label: n for n, label in enumerate(classes)}
    # Labels in files are text, so a label that is a number is recognised by its text.
    similar = {alike(label): n for label, n in reversed(number.items())}
    found = [[number.get(one, similar.get(alike(one), UNSEEN)) for one in some] for some in labels]
    strange: dict[str, int] = {}
    unseen = [
        (row, strange.setdefault(str(one), len(strange)))
        for row, some in enumerate(labels)
        for one, place in zip(some, found[row], strict=True)
        if place == UNSEEN
    ]
    others = torch.tensor(unseen, dtype=torch.int64).reshape(-1, 2)
    if not several:
        return torch.tensor([row[0] for row in found], dtype=torch.int64), others
    targets = torch.zeros(len(labels), len(classes), dtype=torch.float32)
    for row, some in enumerate(found):
        targets[row, [one for one in some if one != UNSEEN]] = 1
    return targets, others


def balanced_weights(targets: Tensor, classes: int) -> Tensor:
    """Return class weights (K) whose mean over the training examples is 1."""
    if targets.dim() == 2:
        counts = targets.sum(0).clamp(min=1)
        weights = 1 / counts
        return weights / weights.mean()
    counts = torch.bincount(targets, minlength=classes).clamp(min=1)
    return len(targets) / (classes * counts.float())
