"""Predict the next token: scores over a vocabulary, and cross-entropy.

    s_t = W h_t + b,      p(token | past) = softmax(s_t)
    loss = -log p(target_t), in nats, summed over all elements

W is (V, D).  It can be the embedding matrix itself: tied weights, Press and Wolf 2017
(arXiv:1608.05859), Inan et al. 2017 (arXiv:1611.01462).

`plain_loss` is the definition; if `kernels.cross_entropy` supports the tensors, it computes the
same loss without storing the scores.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.errors import ArgumentError
from elman.kernels import cross_entropy
from elman.padded import Padded

NONE_IGNORED = -(1 << 62)  # by default torch ignores targets of -100


class TokenHead(nn.Module):
    """Scores (logits) over V tokens.

    Args:
        input_size: D, features of the states.
        vocabulary_size: V.
        tied: the matrix (V, D) of an embedding to share, or None for a separate matrix.

    Example:
        >>> import torch
        >>> from elman.heads import TokenHead
        >>> from elman.padded import Padded
        >>> head = TokenHead(4, 10)
        >>> states = Padded(torch.zeros(2, 3, 4), torch.tensor([3, 1]))
        >>> total, count = head.loss(states, torch.zeros(2, 3, dtype=torch.int64))
        >>> round(float(total.detach()) / count, 4)   # ln 10: all tokens are equally likely
        2.3026
    """

    def __init__(
        self, input_size: int, vocabulary_size: int, *, tied: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        if tied is None:
            tied = nn.Parameter(torch.empty(vocabulary_size, input_size).uniform_(-0.1, 0.1))
        self.weight = tied
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, states: Tensor) -> Tensor:
        """Return scores (..., V) for states (..., D)."""
        return F.linear(states, self.weight, self.bias)

    def loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        """Return the sum of the negative log-likelihoods of targets (B, T) in nats, and a count."""
        h, wanted = _elements(states, targets)
        if cross_entropy.covers(h, self.weight, self.bias):
            loss = cross_entropy.linear_cross_entropy(h, self.weight, self.bias, wanted)
        else:
            loss = plain_loss(self(h), wanted)
        return loss, len(wanted)

    def score(self, states: Padded, targets: Tensor) -> dict[str, float]:
        """Return sums over a batch, for `summary`: loss, count and right predictions."""
        h, wanted = _elements(states, targets)
        if cross_entropy.covers(h, self.weight, self.bias):
            loss, right = cross_entropy.loss_and_right(h, self.weight, self.bias, wanted)
        else:
            scores = self(h)
            loss, right = plain_loss(scores, wanted), scores.argmax(1) == wanted
        return {"loss": loss.item(), "count": len(wanted), "right": right.sum().item()}

    @staticmethod
    def summary(sums: dict[str, float]) -> dict[str, float]:
        """Return loss (nats per token), perplexity and accuracy from sums over batches."""
        loss = sums["loss"] / sums["count"]
        return {
            "loss": loss,
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
            "accuracy": sums["right"] / sums["count"],
            "tokens": sums["count"],
        }


def plain_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of the negative log-likelihoods of targets (N), in nats, for scores (N, V).

    Raises:
        ArgumentError: a target is not in 0..V-1.
    """
    try:
        return F.cross_entropy(scores.float(), targets, reduction="sum", ignore_index=NONE_IGNORED)
    except IndexError as error:
        raise ArgumentError(f"targets must be in 0..V-1={scores.shape[1] - 1}: {error}") from error


def _elements(states: Padded, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return states (N, D) and int64 targets (N,) of the elements within each row's length."""
    targets = cross_entropy.as_integers(targets)
    if targets.shape != states.data.shape[:2]:
        raise ArgumentError(
            f"targets must be one for each element, {tuple(states.data.shape[:2])}, got "
            f"{tuple(targets.shape)}"
        )
    if bool((states.lengths == states.data.shape[1]).all()):
        return states.data.reshape(-1, states.data.shape[-1]), targets.reshape(-1)
    mask = states.mask()
    return states.data[mask], targets[mask]
