"""W numbers a step with what is said of each, from states of D features.

    found_t = W h_t + b,   loss = sum of `Distribution.losses` over the targets that are there

Several steps ahead at once, each with its quantiles: Wen et al. 2017 (arXiv:1711.11053).

Shape legend: B rows, T steps, W numbers of a step, P parameters of a number.
"""

from __future__ import annotations

from torch import Tensor, nn

from elman.heads.distributions import Distribution
from elman.padded import Padded


class ForecastHead(nn.Module):
    """Numbers and what is said of them.

    Args:
        input_size: D.
        output_size: W.
        distribution: of each number.

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
        """Parameters (..., W, P) of states (..., D), float32."""
        found: Tensor = self.linear(states)
        return found.float().view(*states.shape[:-1], self.output_size, self.distribution.size)

    def loss(self, states: Padded, targets: Tensor) -> tuple[Tensor, int]:
        """Sum of the losses, and of how many numbers.

        Targets are (B, T, W, 2): numbers in units of a scale, NaN where there is none, and the
        scale.
        """
        y, scale = targets.unbind(-1)
        there = states.mask().unsqueeze(2) & ~y.isnan()
        # A state without a target may be of no use, but not NaN: its gradient is 0.
        found = self(states.cleared())[there]
        return self.distribution.losses(found, y[there], scale[there]).sum(), len(found)

    def score(self, states: Padded, targets: Tensor) -> dict[str, float]:
        """Sums over a batch, for `summary`."""
        loss, count = self.loss(states, targets)
        return {"loss": loss.item(), "count": count}

    @staticmethod
    def summary(sums: dict[str, float]) -> dict[str, float]:
        """Loss of a number, in units of its scale, and how many there were."""
        return {"loss": sums["loss"] / max(1, sums["count"]), "numbers": int(sums["count"])}
