"""Predictive distributions of a number: P parameters give a loss, a mean and quantiles.

Densities can also be sampled.

    Quantiles           q_p,  loss 2 mean_p max(p e, (p - 1) e),  e = y - q_p: Koenker and
                        Bassett 1978, "Regression Quantiles"
    Gaussian            mu, sigma
    StudentT            mu, sigma, nu > 2
    Mixture             w_k, mu_k, sigma_k: Bishop 1994, "Mixture density networks"
    NegativeBinomial    mean m and dispersion a of counts, of variance m + a m^2:
                        Salinas et al. 2017 (arXiv:1704.04110)
    Point               a number, squared error

Except for quantiles and points the loss is -log p(y).  Parameters are any real numbers, in units of
a scale; only counts depend on the value of the scale.

Shape legend: N numbers, P parameters, Q levels, B rows, S samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from elman.errors import ArgumentError
from elman.optional import need

LEAST = 1e-4  # the smallest deviation, in units of the scale
HALVINGS = 40  # until the interval around a quantile is narrower than the precision of a float
WIDE = 10.0  # deviations that contain practically all of a Gaussian
HALF_LOG = 0.5 * math.log(2 * math.pi)


class Distribution(Protocol):
    """The predictive distribution of a number."""

    @property
    def size(self) -> int:
        """P, the number of parameters."""

    def losses(self, found: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return the losses (N) of numbers (N), given parameters (N, P) and scales (N)."""

    def mean(self, found: Tensor, scale: Tensor) -> Tensor:
        """Return the means (...) for parameters (..., P)."""

    def quantiles(self, found: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        """Return the quantiles (..., Q) for parameters (..., P)."""


class Density(Distribution, Protocol):
    """A distribution that can be sampled."""

    def sample(self, found: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """Draw numbers (B, S, ...) for parameters (B, S, ..., P).

        All rows use the same random numbers, so that no row depends on the number of rows.
        """


class Point:
    """A single number without uncertainty."""

    size = 1

    def losses(self, found: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return the squared errors."""
        return (y - found[:, 0]).square()

    def mean(self, found: Tensor, scale: Tensor) -> Tensor:
        """Return the number."""
        return found[..., 0]

    def quantiles(self, found: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        """Return the number for all levels."""
        return found.expand(*found.shape[:-1], len(levels))


class Quantiles:
    """Quantiles, linear between the levels and constant outside the outermost levels.

    Args:
        levels: ascending, in (0, 1).

    Example:
        >>> import torch
        >>> from elman.heads.distributions import Quantiles
        >>> found = torch.tensor([[1.0, 2.0, 4.0]])
        >>> Quantiles((0.1, 0.5, 0.9)).quantiles(found, [0.5, 0.7, 0.99], torch.ones(1)).tolist()
        [[2.0, 3.0, 4.0]]
    """

    def __init__(self, levels: Sequence[float]) -> None:
        if not levels or not all(0 < level < 1 for level in levels):
            raise ArgumentError(f"levels must be in (0, 1), got {levels}")
        if list(levels) != sorted(set(levels)):
            raise ArgumentError(f"levels must be ascending, got {levels}")
        self.levels = tuple(levels)
        self.size = len(levels)
        # The weight of a quantile in the mean: half the way to a neighbour, all of it to 0 or 1.
        p = torch.tensor([-levels[0], *levels, 2 - levels[-1]], dtype=torch.float32)
        self.shares = (p[2:] - p[:-2]) / 2

    def losses(self, found: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return twice the mean of the quantile losses; for the median it is the absolute error."""
        p = found.new_tensor(self.levels)
        error = y.unsqueeze(1) - found
        return 2 * torch.maximum(p * error, (p - 1) * error).mean(1)

    def mean(self, found: Tensor, scale: Tensor) -> Tensor:
        """Return the mean of the piecewise linear quantile function."""
        return found.sort(-1).values @ self.shares.to(found)

    def quantiles(self, found: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        """Return quantiles by linear interpolation."""
        values, p = found.sort(-1).values, found.new_tensor(self.levels)
        wanted = found.new_tensor(levels)
        if len(p) == 1:
            return values.expand(*values.shape[:-1], len(wanted))
        upper = torch.searchsorted(p, wanted).clamp(1, len(p) - 1)
        share = ((wanted - p[upper - 1]) / (p[upper] - p[upper - 1])).clamp(0, 1)
        return torch.lerp(values[..., upper - 1], values[..., upper], share)


class Gaussian:
    """A Gaussian with parameters mu and sigma."""

    size = 2

    def losses(self, found: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return -log p(y)."""
        sigma = _positive(found[:, 1])
        return 0.5 * ((y - found[:, 0]) / sigma).square() + HALF_LOG + sigma.log()

    def mean(self, found: Tensor, scale: Tensor) -> Tensor:
        """Return mu."""
        return found[..., 0]

    def quantiles(self, found: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        """Return mu + sigma sqrt(2) erfinv(2 p - 1)."""
        z = math.sqrt(2) * torch.erfinv(2 * found.new_tensor(levels) - 1)
        return found[..., :1] + _positive(found[..., 1:]) * z

    def sample(self, found: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """Draw mu + sigma z."""
        z = torch.randn(found.shape[1:-1], generator=generator, dtype=found.dtype)
        return found[..., 0] + _positive(found[..., 1]) * z


class StudentT:
    """Student's t with parameters mu, sigma and nu: a Gaussian with heavier tails."""

    size = 3

    def losses(self, found: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return -log p(y)."""
        sigma, nu = _positive(found[:, 1]), self._freedom(found)
        z = (y - found[:, 0]) / sigma
        norm = torch.lgamma(nu / 2) - torch.lgamma((nu + 1) / 2) + 0.5 * (math.pi * nu).log()
        return norm + sigma.log() + (nu + 1) / 2 * torch.log1p(z * z / nu)

    @staticmethod
    def _freedom(found: Tensor) -> Tensor:
        return 2 + _positive(found[..., 2])

    def mean(self, found: Tensor, scale: Tensor) -> Tensor:
        """Return mu."""
        return found[..., 0]

    def quantiles(self, found: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        """Return mu + sigma times the quantile of Student's t."""
        stdtrit = need("scipy.special", "output=student_t").stdtrit
        t = stdtrit(self._freedom(found).double().unsqueeze(-1).numpy(), np.array(levels))
        return found[..., :1] + _positive(found[..., 1:2]) * torch.from_numpy(t).to(found)

    def sample(self, found: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from two uniform numbers: Bailey 1994, "Polar Generation of Random Variates"."""
        u, v = _uniform((2, *found.shape[1:-1]), generator)
        nu = self._freedom(found)
        radius = (nu * (torch.pow(u, -2 / nu) - 1)).sqrt()
        z = radius * torch.cos(2 * math.pi * v)
        return found[..., 0] + _positive(found[..., 1]) * z


class Mixture:
    """A mixture of Gaussians with weights, mu and sigma.

    Args:
        components: number of Gaussians.
    """

    def __init__(self, components: int = 3) -> None:
        self.components, self.size = components, 3 * components

    def losses(self, found: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return -log p(y)."""
        weights, mu, width = found.chunk(3, dim=1)
        sigma = _positive(width)
        log_p = -0.5 * ((y.unsqueeze(1) - mu) / sigma).square() - HALF_LOG - sigma.log()
        return -torch.logsumexp(weights.log_softmax(1) + log_p, dim=1)

    def mean(self, found: Tensor, scale: Tensor) -> Tensor:
        """Return sum_k w_k mu_k."""
        weights, mu, _ = found.chunk(3, dim=-1)
        return (weights.softmax(-1) * mu).sum(-1)

    def quantiles(self, found: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        """Find x where sum_k w_k Phi((x - mu_k) / sigma_k) is the level, by bisection."""
        weights, mu, width = (x.unsqueeze(-2) for x in found.chunk(3, dim=-1))
        weights, sigma, p = weights.softmax(-1), _positive(width), found.new_tensor(levels)
        low = (mu - WIDE * sigma).amin(-1).expand(*found.shape[:-1], len(levels))
        high = (mu + WIDE * sigma).amax(-1).expand_as(low)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            z = (middle.unsqueeze(-1) - mu) / sigma
            below = (weights * torch.special.ndtr(z)).sum(-1) < p
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def sample(self, found: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """Choose one of the Gaussians and draw a number from it."""
        weights, mu, width = found.chunk(3, dim=-1)
        rises = weights.softmax(-1).cumsum(-1)
        u = _uniform((*found.shape[1:-1], 1), generator)
        which = (u > rises).sum(-1, keepdim=True).clamp(max=self.components - 1)
        mu, sigma = (x.gather(-1, which)[..., 0] for x in (mu, _positive(width)))
        return mu + sigma * torch.randn(found.shape[1:-1], generator=generator, dtype=found.dtype)


class NegativeBinomial:
    """Counts with the mean softplus(parameter) * scale."""

    size = 2

    @staticmethod
    def _counts(found: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        return F.softplus(found[..., 0]) * scale + LEAST, _positive(found[..., 1])

    def losses(self, found: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Return -log p of y times the scale."""
        (mean, a), count = self._counts(found, scale), (y * scale).round()
        r, odds = 1 / a, a * mean
        choose = torch.lgamma(count + r) - torch.lgamma(r) - torch.lgamma(count + 1)
        return (r + count) * torch.log1p(odds) - count * odds.log() - choose

    def mean(self, found: Tensor, scale: Tensor) -> Tensor:
        """Return m, in units of the scale."""
        return self._counts(found, scale)[0] / scale

    def quantiles(self, found: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        """Return the smallest counts that reach the levels, in units of the scale."""
        nbinom = need("scipy.stats", "output=negative_binomial").nbinom
        mean, a = (x.double().unsqueeze(-1).numpy() for x in self._counts(found, scale))
        counts = nbinom.ppf(np.array(levels), 1 / a, 1 / (1 + a * mean))
        return torch.from_numpy(counts).to(found) / scale.unsqueeze(-1)

    def sample(self, found: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from a Poisson distribution whose rate is gamma distributed."""
        mean, a = self._counts(found, scale)
        seed = int(torch.randint(1 << 62, (1,), generator=generator))
        drawn = []
        for shape, rate in zip(1 / a, a * mean, strict=True):
            same = torch.Generator().manual_seed(seed)
            gamma = torch._standard_gamma(shape.contiguous(), same)
            drawn.append(torch.poisson(gamma * rate, same))
        return torch.stack(drawn) / scale


def _positive(x: Tensor) -> Tensor:
    return F.softplus(x) + LEAST


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw numbers in (0, 1), excluding the ends."""
    return torch.rand(shape, generator=generator, dtype=torch.float32).clamp(1e-7, 1 - 1e-7)
