"""Predict labels of a sequence: pool its states over time, then compute scores of K classes.

    last         p = h_T  (with two directions, the final state of each)
    mean, max    over all steps, feature by feature
    concat       last, mean and max side by side: Howard and Ruder 2018 (arXiv:1801.06146)
    attention    p = sum_t a_t h_t,   a = softmax_t(v . tanh(U h_t + u)): Yang et al. 2016,
                 "Hierarchical Attention Networks for Document Classification", NAACL

    s = r (W p + b) + v,    v the scores of a wide part, if there is one (see `elman.heads.wide`);
                            r = 1 in training, and afterwards at most 1: with few examples the wide
                            part has more weight
    one label:       loss = -w_y log softmax(s)_y
    several labels:  loss = -sum_k w_k (y_k log sigmoid(s_k) + (1 - y_k) log sigmoid(-s_k))

The weights w make rare classes count as much as others.  A sequence without steps has p = 0.

Shape legend: B rows, T steps, D features, K classes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.dropout import check_probability
from elman.errors import ArgumentError
from elman.heads.wide import Wide
from elman.padded import Padded, masked_softmax

Pooling = Literal["last", "mean", "max", "concat", "attention"]
POOLINGS = ("last", "mean", "max", "concat", "attention")


class Pooled(NamedTuple):
    """Statistics (B, D) of the states of all steps so far.

    Attributes:
        steps: number of steps.
        total: sum of the states; with attention weighted by exp(a_t - highest a).
        highest: maximum of each feature; with attention the highest a.
        weight: sum of exp(a_t - highest a).
    """

    steps: int
    total: Tensor
    highest: Tensor
    weight: Tensor


class LabelHead(nn.Module):
    """Scores of K classes for whole sequences.

    Args:
        input_size: D, features of the states.
        classes: K.
        pooling: how the states become one vector.
        bidirectional: whether the second half of the features was read in reverse.
        several: whether a sequence can have any number of labels.
        class_weights: (K) weights w; None for ones.
        label_smoothing: share of the target that is spread over all classes.
        features: number of features of the wide part, which holds their weights and is called
            before batches are built; W and b then start at zero. 0 for no wide part.
        trees: trees of its forest, for features that are levels of statistics; 0 for none.
        share: r, the factor of the scores of the states outside of training.

    Example:
        >>> import torch
        >>> from elman.heads import LabelHead
        >>> from elman.padded import Padded
        >>> head = LabelHead(4, 3, pooling="max")
        >>> states = Padded(torch.zeros(2, 5, 4), torch.tensor([5, 0]))
        >>> head(states).shape
        torch.Size([2, 3])
        >>> total, count = head.loss(states, torch.tensor([0, 2]))
        >>> count
        2
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        pooling: Pooling = "max",
        bidirectional: bool = False,
        several: bool = False,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        features: int = 0,
        trees: int = 0,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ArgumentError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        self.pooling, self.bidirectional, self.several = pooling, bidirectional, several
        self.label_smoothing = check_probability("label_smoothing", label_smoothing)
        self.share = share
        self.linear = nn.Linear(input_size * (3 if pooling == "concat" else 1), classes)
        self.wide = Wide(features, classes, trees) if features else None
        if self.wide is not None:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
        if pooling == "attention":
            self.hidden = nn.Linear(input_size, input_size)
            self.query = nn.Parameter(torch.empty(input_size).uniform_(-0.1, 0.1))
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.class_weights: Tensor | None

    def forward(self, states: Padded) -> Tensor:
        """Return scores (B, K) for states (B, T, D)."""
        scores = self._scores(self.pool(states))
        return scores if states.extra is None else scores + states.extra

    def _scores(self, pooled: Tensor) -> Tensor:
        scores: Tensor = self.linear(pooled).float()
        return scores if self.training else self.share * scores

    def pool(self, states: Padded) -> Tensor:
        """Pool each row to one vector: (B, T, D) -> (B, D), or (B, 3 D) for concat."""
        mask, h = states.mask().unsqueeze(2), states.cleared()
        if h.shape[1] == 0:
            return h.new_zeros(h.shape[0], self.linear.in_features)
        if self.pooling == "attention":
            return (self._weights(h, mask[:, :, 0]).unsqueeze(2) * h).sum(1)
        found = []
        if self.pooling in ("last", "concat"):
            found.append(self._last(h, states.lengths.to(h.device)))
        if self.pooling in ("mean", "concat"):
            found.append(h.sum(1) / mask.sum(1).clamp(min=1))
        if self.pooling in ("max", "concat"):
            highest = torch.where(mask, h, -torch.inf).amax(1)
            found.append(torch.where(mask[:, 0], highest, 0))
        return torch.cat(found, dim=1)

    def _last(self, h: Tensor, lengths: Tensor) -> Tensor:
        last = h[torch.arange(len(h), device=h.device), (lengths - 1).clamp(min=0)]
        if not self.bidirectional:
            return last
        half = h.shape[2] // 2
        return torch.cat([last[:, :half], h[:, 0, half:]], dim=1)

    def follow(self, h: Tensor, before: Pooled | None) -> tuple[Tensor, Pooled]:
        """Return scores (B, K) of a sequence whose last state is h (B, D), and its `Pooled` states.

        For a causal core they equal the scores of the sequence up to this step.
        """
        if before is None:
            zeros = torch.zeros_like(h)
            low = torch.full_like(h, -torch.inf)
            before = Pooled(0, zeros, low if self.pooling != "attention" else low[:, :1], zeros)
        steps = before.steps + 1
        if self.pooling == "attention":
            a = (torch.tanh(self.hidden(h)) @ self.query)[:, None]
            highest = torch.maximum(before.highest, a)
            old, new = (before.highest - highest).exp(), (a - highest).exp()
            now = Pooled(
                steps, before.total * old + h * new, highest, before.weight[:, :1] * old + new
            )
            pooled = now.total / now.weight
        else:
            highest = torch.maximum(before.highest, h)
            now = Pooled(steps, before.total + h, highest, before.weight)
            parts = {"last": h, "mean": now.total / steps, "max": highest}
            wanted = parts if self.pooling == "concat" else [self.pooling]
            pooled = torch.cat([parts[name] for name in wanted], dim=1)
        return self._scores(pooled), now

    def attention(self, states: Padded) -> Tensor:
        """Return the weights (B, T) of the steps, which sum to 1; zeros for a row without steps."""
        return self._weights(states.cleared(), states.mask())

    def _weights(self, h: Tensor, mask: Tensor) -> Tensor:
        a: Tensor = torch.tanh(self.hidden(h)) @ self.query
        return masked_softmax(a, mask)

    def loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        """Return the weighted sum of the losses of a batch, and the number of rows.

        Targets are classes (B), or with several labels (B, K) of zeros and ones.
        """
        scores, w, smooth = self(states), self.class_weights, self.label_smoothing
        if not self.several:
            total = F.cross_entropy(
                scores, targets, weight=w, reduction="sum", label_smoothing=smooth
            )
        else:
            wanted = targets.to(scores.dtype) * (1 - smooth) + smooth / 2
            total = F.binary_cross_entropy_with_logits(scores, wanted, weight=w, reduction="sum")
        return total, len(scores)

    def score(self, states: Padded, targets: Tensor) -> dict[str, float]:
        """Return sums over a batch, for `summary`."""
        scores = self(states)
        if self.several:
            loss = F.binary_cross_entropy_with_logits(scores, targets.float(), reduction="sum")
            right = ((scores > 0) == targets.bool()).all(1)
        else:
            loss = F.cross_entropy(scores, targets, reduction="sum")
            right = scores.argmax(1) == targets
        return {"loss": loss.item(), "count": len(scores), "right": right.sum().item()}

    @staticmethod
    def summary(sums: dict[str, float]) -> dict[str, float]:
        """Return loss (nats per sequence) and accuracy, the share of rows with all labels right."""
        return {
            "loss": sums["loss"] / sums["count"],
            "accuracy": sums["right"] / sums["count"],
            "examples": int(sums["count"]),
        }
