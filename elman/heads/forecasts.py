"""Distributions of W numbers per step, from states of D features.

    found_t = W h_t + b,   loss = sum of `Distribution.losses` over the targets that exist

The numbers can be several steps ahead, each with its quantiles: Wen et al. 2017 (arXiv:1711.11053).

Shape legend: B rows, T steps, W numbers of a step, P parameters of a number.
"""

from __future__ import annotations

from torch import Tensor, nn

from elman.heads.distributions import Distribution
from elman.padded import Padded


class ForecastHead(nn.Module):
    """Predict the distributions of W numbers per step.

    Args:
        input_size: D.
        output_size: W.
        distribution: the kind of distribution of each number.

    Example:
        >>> import torch
        >>> from elman.heads import ForecastHead
        >>> from elman.heads.distributions import Gaussian
        >>> from elman.padded import Padded
        >>> head = ForecastHead(4, 2, Gaussian())
        >>> targets = torch.zeros(3, 5, 2, 2)
        >>> targets[0] = torch.nan
        >>> head.loss(Padded.full(torch.zeros(3, 5, 4)), targets)[1]
        20
    """

    def __init__(self, input_size: int, output_size: int, distribution: Distribution) -> None:
        super().__init__()
        self.output_size, self.distribution = output_size, distribution
        self.linear = nn.Linear(input_size, output_size * distribution.size)

    def forward(self, states: Tensor) -> Tensor:
        """Return parameters (..., W, P), float32, for states (..., D)."""
        found: Tensor = self.linear(states)
        return found.float().view(*states.shape[:-1], self.output_size, self.distribution.size)

    def loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        """Return the sum of the losses, and the count of targets.

        Targets are (B, T, W, 2): numbers in units of a scale, NaN where there is none, and the
        scale.
        """
        y, scale = targets.unbind(-1)
        there = states.mask().unsqueeze(2) & ~y.isnan()
        # A state without a target is not used, but it must not be NaN: its gradient is 0.
        found = self(states.cleared())[there]
        return self.distribution.losses(found, y[there], scale[there]).sum(), len(found)

    def score(self, states: Padded, targets: Tensor) -> dict[str, float]:
        """Return sums over a batch, for `summary`."""
        loss, count = self.loss(states, targets)
        return {"loss": loss.item(), "count": count}

    @staticmethod
    def summary(sums: dict[str, float]) -> dict[str, float]:
        """Return the mean loss of a number, in units of its scale, and the count of numbers."""
        return {"loss": sums["loss"] / max(1, sums["count"]), "numbers": int(sums["count"])}
