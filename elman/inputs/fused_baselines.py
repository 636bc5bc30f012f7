"""Simpler models of several inputs, for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.bags import Bag
from elman.inputs.input import Input, Probabilities
from elman.inputs.values import value_baselines
from elman.optional import find
from elman.read.examples import Examples

ALL = "logistic regression on all texts, numbers and categories"
MOST = 200_000  # examples from which it learns


def fused_baselines(
    named: Mapping[str, Input],
    bag: Callable[[Sequence[Any]], Bag | None],
    train: Examples,
    targets: Tensor,
    others: Mapping[str, Examples],
    classes: int,
) -> list[Probabilities]:
    """Return the probabilities of simpler models of the inputs, together and one by one.

    Args:
        named: the inputs after training, by column.
        bag: returns the features of the wide part for some items.
        train: the training data.
        targets: their classes (N), or zeros and ones (N, K).
        others: the other data by part.
        classes: K.
    """
    inputs = list(named.values())
    values = [n for n, part in enumerate(inputs) if part.reader.static]
    features = sum(part.features for part in inputs)
    found: list[Probabilities] = []
    if sum(part.features > 0 for part in inputs) > 1 and find("sklearn") is not None:
        x = _rows(bag, train.items[:MOST], features)
        parts = {name: _rows(bag, part.items, features) for name, part in others.items()}
        found.append((ALL, _together(x, targets[:MOST], parts, classes)))
    if values:
        some = {n: part.columns(values) for n, part in others.items()}
        chosen: list[Any] = [inputs[n] for n in values]
        found += value_baselines(chosen, train.columns(values), targets, some, classes)
    for n, (name, part) in enumerate(named.items()):
        if n not in values:
            of_one = _of_present(part, n, train, targets, others, classes)
            found += [(f"{name}: {title}", p) for title, p in of_one]
    return found


def _together(x: Any, targets: Tensor, parts: Mapping[str, Any], classes: int) -> dict[str, Tensor]:
    """Return the probabilities of a logistic regression on the bags of all inputs."""
    from sklearn.linear_model import LogisticRegression

    several = targets.dim() == 2
    found = {name: torch.zeros(part.shape[0], classes) for name, part in parts.items()}
    for k, wanted in enumerate(targets.long().T if several else targets[None]):
        y = wanted.numpy()
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


def _rows(bag: Callable[[Sequence[Any]], Bag | None], items: Sequence[Any], features: int) -> Any:
    """Return the bags of items as a sparse matrix (N, features)."""
    from scipy.sparse import csr_matrix

    found = bag(items)
    assert found is not None
    ends: NDArray[np.int64] = np.append(found.starts.numpy(), len(found.numbers))
    arrays = (found.values.numpy(), found.numbers.numpy(), ends)
    return csr_matrix(arrays, shape=(len(items), features))


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
