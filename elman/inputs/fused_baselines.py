"""Simpler models of several inputs, for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.bags import Bag
from elman.inputs.input import Input, Probabilities
from elman.inputs.values import value_baselines
from elman.optional import find
from elman.read.examples import Examples

if TYPE_CHECKING:
    from elman.inputs.fused import Fused

ALL = "logistic regression on all texts, numbers and categories"
MOST = 200_000  # examples from which it learns


def fused_baselines(
    learned: Fused,
    train: Examples,
    targets: Tensor,
    others: Mapping[str, Examples],
    classes: int,
) -> list[Probabilities]:
    """Return the probabilities of simpler models of the inputs, together and one by one.

    Args:
        learned: the inputs after training.
        train: the training data.
        targets: their classes (N), or zeros and ones (N, K).
        others: the other data by part.
        classes: K.
    """
    values = [n for n, part in enumerate(learned.parts) if part.reader.static]
    found: list[Probabilities] = []
    if sum(part.features > 0 for part in learned.parts) > 1 and find("sklearn") is not None:
        found.append((ALL, _together(learned, train, targets, others, classes)))
    if values:
        some = {n: part.columns(values) for n, part in others.items()}
        inputs: list[Any] = [learned.parts[n] for n in values]
        found += value_baselines(inputs, train.columns(values), targets, some, classes)
    for n, (name, part) in enumerate(zip(learned.reader.columns, learned.parts, strict=True)):
        if n not in values:
            of_one = _of_present(part, n, train, targets, others, classes)
            found += [(f"{name}: {title}", p) for title, p in of_one]
    return found


def _together(
    learned: Fused, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
) -> dict[str, Tensor]:
    """Return the probabilities of a logistic regression on the bags of all inputs."""
    from sklearn.linear_model import LogisticRegression

    several = targets.dim() == 2
    x = _rows(learned, train.items[:MOST])
    parts = {name: _rows(learned, part.items) for name, part in others.items()}
    found = {name: torch.zeros(len(part), classes) for name, part in others.items()}
    for k, wanted in enumerate(targets.long().T if several else targets[None]):
        y = wanted[:MOST].numpy()
        if len(np.unique(y)) == 1:
            for p in found.values():
                p[:, k if several else y[0]] = float(y[0]) if several else 1.0
            continue
        model = LogisticRegression(max_iter=1000).fit(x, y)
        for name, rows in parts.items():
            p = torch.from_numpy(model.predict_proba(rows)).float()
            if several:
                found[name][:, k] = p[:, 1]
            else:
                found[name][:, torch.from_numpy(model.classes_)] = p
    return found


def _rows(learned: Fused, items: Sequence[Any]) -> Any:
    """Return the bags of items as a sparse matrix (N, features)."""
    from scipy.sparse import csr_matrix

    bag: Bag | None = learned.bag(items)
    assert bag is not None
    ends: NDArray[np.int64] = np.append(bag.starts.numpy(), len(bag.numbers))
    size = (len(items), learned.features)
    return csr_matrix((bag.values.numpy(), bag.numbers.numpy(), ends), shape=size)


def _of_present(
    part: Input,
    number: int,
    train: Examples,
    targets: Tensor,
    others: Mapping[str, Examples],
    classes: int,
) -> list[Probabilities]:
    """Return the probabilities of simpler models of an input, and frequencies where it is missing.

    The models learn only from items in which the input is not missing.
    """
    there = {name: one.present(number) for name, one in others.items()}
    rows = train.present(number)
    if not rows or not all(there.values()):
        return []
    parts = {name: others[name].select(some).column(number) for name, some in there.items()}
    some = train.select(rows).column(number)
    several = targets.dim() == 2
    frequent = targets.float().mean(0) if several else targets.bincount(minlength=classes)
    usual = frequent if several else frequent / len(targets)
    found: list[Probabilities] = []
    for title, p in part.label_baselines(some, targets[rows], parts, classes):
        whole = {name: usual.float().repeat(len(one), 1) for name, one in others.items()}
        for name, one in p.items():
            whole[name][there[name]] = one
        found.append((title, whole))
    return found
