"""Predict numbers at every step: the output layer of Elman's network with the squared error.

    y_t = g(W_hy h_t + b_y)
    loss = (y_t - target_t)^2, summed over all elements and features

Source: Elman 1990, "Finding Structure in Time", Cognitive Science 14(2).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from elman.padded import Padded


class ValueHead(nn.Module):
    """Predict K numbers per step from states of D features.

    Args:
        input_size: D.
        output_size: K.
        g: pointwise output function; None for the identity.

    Example:
        >>> import torch
        >>> from elman.heads import ValueHead
        >>> from elman.padded import Padded
        >>> head = ValueHead(4, 2, g=torch.sigmoid)
        >>> head(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self, input_size: int, output_size: int, *, g: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, output_size)
        self.g = g

    def forward(self, states: Tensor) -> Tensor:
        """Compute y_t = g(W_hy h_t + b_y), (..., D) -> (..., K)."""
        a: Tensor = self.linear(states)
        return a if self.g is None else self.g(a)

    def loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        """Return the sum of the squared errors against targets (B, T, K), and a count."""
        error = self(states.data).float() - targets
        error = torch.where(states.mask().unsqueeze(2), error, 0)
        return error.square().sum(), int(states.lengths.sum()) * targets.shape[2]

    def score(self, states: Padded, targets: Tensor) -> dict[str, float]:
        """Return sums over a batch, for `summary`."""
        loss, count = self.loss(states, targets)
        return {"loss": loss.item(), "count": count}

    @staticmethod
    def summary(sums: dict[str, float]) -> dict[str, float]:
        """Return the loss, which is the mean squared error, and its root."""
        loss = sums["loss"] / sums["count"]
        return {"loss": loss, "rmse": loss**0.5, "values": sums["count"]}
