"""A random forest on levels of statistics: the part of a wide model for interactions.

    p(k | row) = mean over trees of the share of class k in the leaf that the row reaches
    score_k    = beta log((p_k + SMALLEST) / (1 + K SMALLEST))

A linear model of levels adds up functions of single statistics; a tree combines them.  Trees are
grown by scikit-learn and stored as arrays, in the order of a heap: node n has the children 2 n + 1
and 2 n + 2.  A leaf above the lowest row is repeated below.

Source: Breiman 2001, "Random Forests".

Shape legend: N rows, S statistics, K classes, F trees, D depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.optional import find, need

TREES, DEPTH = 200, 10
FLOATS = 1 << 22  # maximum of numbers in all leaves, which limits the depth
ROWS = 20_000  # maximum of rows of a tree
LEAST = 2  # minimum of rows of a leaf
SMALLEST = 0.01  # is added to each probability
BLOCK = 1 << 22  # numbers that are computed at a time


def trees_of(*, several: bool) -> int:
    """Return the number of trees of a forest; 0 without scikit-learn, or for several labels."""
    return 0 if several or find("sklearn") is None else TREES


class Forest(nn.Module):
    """Scores (N, K) of rows of levels; the arrays are buffers, not trained by an optimiser.

    Args:
        classes: K.
        trees: F.

    Example:
        >>> import torch
        >>> from elman.heads.forest import Forest
        >>> forest = Forest(2, 3)
        >>> forest(torch.tensor([[5], [9]])).exp()  # not fitted yet
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """

    def __init__(self, classes: int, trees: int) -> None:
        super().__init__()
        self.depth = min(DEPTH, int(np.log2(max(2, FLOATS // (trees * classes)))))
        inner = (trees, 2**self.depth - 1)
        shape = (trees, 2**self.depth, classes)
        leaves = torch.full(shape, 1 / classes, dtype=torch.float32)
        self.register_buffer("statistic", torch.zeros(inner, dtype=torch.int32))
        self.register_buffer("level", torch.zeros(inner, dtype=torch.int32))
        self.register_buffer("leaves", leaves)
        self.register_buffer("beta", torch.ones((), dtype=torch.float32))
        self.statistic: Tensor
        self.level: Tensor
        self.leaves: Tensor
        self.beta: Tensor

    def forward(self, levels: Tensor) -> Tensor:
        """Return the scores of rows of levels (N, S), int64."""
        trees, _, classes = self.leaves.shape
        rows = max(1, BLOCK // (trees * classes))
        parts = [self._probabilities(part) for part in levels.split(rows)]
        return self.beta * log_of(torch.cat(parts) if parts else self.leaves.new_zeros(0, classes))

    def _probabilities(self, levels: Tensor) -> Tensor:
        trees, inner = self.statistic.shape
        tree = torch.arange(trees, device=levels.device)
        node = tree.new_zeros(len(levels), trees)
        for _ in range(self.depth):
            place = node + inner * tree
            found = levels.gather(1, self.statistic.take(place).long())
            node = 2 * node + 1 + (found > self.level.take(place))
        leaf = node - inner + (inner + 1) * tree
        return self.leaves.flatten(0, 1)[leaf].mean(1)

    @torch.no_grad()
    def grow(self, levels: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Fit the forest to rows.

        Args:
            levels: (N, S) int64.
            targets: (N,) classes.
            weights: (N,) weights of the rows; if all are 0, all classes are equally probable.

        Raises:
            DataError: scikit-learn is not installed.
        """
        ensemble = need("sklearn.ensemble", "a forest of statistics")
        kept = weights > 0
        if not kept.any():
            self.leaves.fill_(1 / self.leaves.shape[2])
            return
        model = ensemble.RandomForestClassifier(
            len(self.leaves),
            max_depth=self.depth,
            min_samples_leaf=LEAST,
            random_state=0,
            max_samples=min(1.0, ROWS / int(kept.sum())),
            n_jobs=torch.get_num_threads(),
        )
        model.fit(levels[kept].numpy(), targets[kept].numpy(), weights[kept].numpy())
        for number, one in enumerate(model.estimators_):
            self._store(number, one.tree_, model.classes_)

    def _store(self, number: int, tree: Any, classes: NDArray[np.int64]) -> None:
        """Copy a tree of scikit-learn into the arrays, depth by depth."""
        left, right = tree.children_left, tree.children_right
        statistic, limit = tree.feature, tree.threshold
        share = tree.value[:, 0] / tree.value[:, 0].sum(1, keepdims=True)
        nodes = np.zeros(1, dtype=np.int64)
        for depth in range(self.depth):
            inner = left[nodes] >= 0
            at = slice(2**depth - 1, 2 ** (depth + 1) - 1)
            self.statistic[number, at] = torch.from_numpy(
                np.where(inner, statistic[nodes], 0)
            ).int()
            level = np.where(inner, np.floor(limit[nodes]), 0)
            self.level[number, at] = torch.from_numpy(level).int()
            both = [np.where(inner, child[nodes], nodes) for child in (left, right)]
            nodes = np.stack(both, 1).reshape(-1)
        self.leaves[number] = 0
        self.leaves[number][:, torch.from_numpy(classes)] = torch.from_numpy(share[nodes]).float()


def log_of(p: Tensor) -> Tensor:
    """Add SMALLEST to probabilities (N, K), normalise them and return their logarithms."""
    return ((p + SMALLEST) / (1 + p.shape[1] * SMALLEST)).log()
