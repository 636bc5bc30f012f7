"""Distributions: densities against torch's, and quantiles against samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch import distributions as td
from torch.nn import functional as F

from elman.errors import ArgumentError
from elman.heads import ForecastHead
from elman.heads.distributions import (
    LEAST,
    Density,
    Distribution,
    Gaussian,
    Mixture,
    NegativeBinomial,
    Point,
    Quantiles,
    StudentT,
)
from elman.padded import Padded

ALL: list[Distribution] = [
    Point(),
    Quantiles((0.1, 0.25, 0.5, 0.75, 0.9)),
    Gaussian(),
    StudentT(),
    Mixture(3),
    NegativeBinomial(),
]


def name(distribution: Distribution) -> str:
    return type(distribution).__name__


def positive(x: Tensor) -> Tensor:
    return F.softplus(x) + LEAST


def theirs(distribution: Distribution, found: Tensor, scale: Tensor) -> td.Distribution:
    if isinstance(distribution, Gaussian):
        return td.Normal(found[:, 0], positive(found[:, 1]))
    if isinstance(distribution, StudentT):
        return td.StudentT(2 + positive(found[:, 2]), found[:, 0], positive(found[:, 1]))
    if isinstance(distribution, Mixture):
        weights, mu, width = found.chunk(3, 1)
        return td.MixtureSameFamily(td.Categorical(logits=weights), td.Normal(mu, positive(width)))
    mean, a = F.softplus(found[:, 0]) * scale + LEAST, positive(found[:, 1])
    return td.NegativeBinomial(1 / a, logits=(a * mean).log())


@pytest.mark.parametrize("distribution", ALL[2:], ids=name)
def test_the_loss_is_the_negative_log_density(distribution: Distribution) -> None:
    generator = torch.Generator().manual_seed(1)
    found = torch.randn(50, distribution.size, generator=generator).double()
    scale = torch.rand(50, generator=generator).double() * 3 + 0.5
    y = torch.randn(50, generator=generator).double()
    if isinstance(distribution, NegativeBinomial):
        y = torch.randint(0, 20, (50,), generator=generator).double() / scale
        wanted = theirs(distribution, found, scale).log_prob((y * scale).round())
    else:
        wanted = theirs(distribution, found, scale).log_prob(y)
    torch.testing.assert_close(distribution.losses(found, y, scale), -wanted)


@pytest.mark.parametrize("distribution", ALL[2:], ids=name)
def test_samples_match_the_mean_and_the_quantiles(distribution: Density) -> None:
    generator = torch.Generator().manual_seed(2)
    found = torch.randn(3, 1, 2, distribution.size, generator=generator)
    scale = torch.tensor([1.0, 2.0, 30.0])[:, None, None].expand(3, 1, 2)
    many = found.expand(3, 40_000, 2, -1)
    drawn = distribution.sample(many, scale.expand(3, 40_000, 2), generator)
    assert drawn.shape == (3, 40_000, 2)
    spread = drawn.std(1) + 1e-3
    mean = distribution.mean(found, scale)[:, 0]
    # 40,000 draws: a standard error is 1/200 of a deviation, more with heavy tails.
    assert ((drawn.mean(1) - mean) / spread).abs().max() < 0.05
    # A share of 40,000 has a deviation of at most 0.0025.
    for level in (0.025, 0.1, 0.4, 0.9, 0.975):
        q = distribution.quantiles(found, [level], scale)[..., 0]
        assert ((drawn < q - 1e-5).double().mean(1) < level + 0.01).all()
        assert ((drawn <= q + 1e-5).double().mean(1) > level - 0.01).all()


@pytest.mark.parametrize("distribution", ALL[2:], ids=name)
def test_samples_of_a_row_do_not_depend_on_other_rows(distribution: Density) -> None:
    found = torch.randn(3, 20, 2, distribution.size, generator=torch.Generator().manual_seed(2))
    scale = torch.rand(3, 20, 2, generator=torch.Generator().manual_seed(3)) + 1

    def draw(row: slice) -> Tensor:
        generator = torch.Generator().manual_seed(4)
        return distribution.sample(found[row], scale[row], generator)

    assert torch.equal(draw(slice(1, 2)), draw(slice(3))[1:2])


@pytest.mark.parametrize("distribution", ALL, ids=name)
def test_quantiles_increase_and_are_the_same_in_every_call(distribution: Distribution) -> None:
    found = torch.randn(4, distribution.size, generator=torch.Generator().manual_seed(3))
    levels = [0.05, 0.1, 0.3, 0.5, 0.8, 0.95]
    first, again = (distribution.quantiles(found, levels, torch.ones(4)) for _ in range(2))
    assert first.shape == (4, 6)
    assert (first.diff(dim=1) >= 0).all()
    assert torch.equal(first, again)


def test_the_loss_of_a_median_is_the_absolute_error() -> None:
    y, found = torch.tensor([1.0, -2.0]), torch.tensor([[0.5], [1.0]])
    assert Quantiles((0.5,)).losses(found, y, torch.ones(2)).tolist() == [0.5, 3.0]


def test_a_quantile_minimises_its_loss() -> None:
    y = torch.arange(1.0, 101.0)
    at = [Quantiles((0.9,)).losses(torch.full((100, 1), q), y, y).sum() for q in (80.0, 90.0, 95.0)]
    assert at[1] == min(at)


@pytest.mark.parametrize(
    ("levels", "wanted"),
    [((), "in"), ((0.5, 0.1), "asc"), ((0.1, 0.1), "asc"), ((0.0, 0.5), r"in \(0, 1\)")],
)
def test_invalid_levels_are_refused(levels: tuple[float, ...], wanted: str) -> None:
    with pytest.raises(ArgumentError, match=f"levels must.*{wanted}"):
        Quantiles(levels)


@pytest.mark.parametrize("distribution", ALL, ids=name)
def test_missing_targets_have_no_loss_and_no_gradient(distribution: Distribution) -> None:
    head = ForecastHead(4, 2, distribution).double()
    states = torch.randn(3, 5, 4, dtype=torch.float64)
    states[1, 2:] = torch.nan  # after the end of a row
    states.requires_grad_()
    targets = torch.ones(3, 5, 2, 2, dtype=torch.float64)
    targets[0, 1:, :, 0] = torch.nan
    loss, count = head.loss(Padded(states, torch.tensor([5, 2, 5])), targets)
    loss.backward()
    assert count == 2 * (1 + 2 + 5)
    assert loss.isfinite()
    assert states.grad is not None
    assert states.grad.isfinite().all()
    assert (states.grad[0, 1:] == 0).all()
    assert (states.grad[2] != 0).any()


def test_a_batch_without_a_target_has_no_loss() -> None:
    head = ForecastHead(4, 1, Gaussian())
    targets = torch.full((2, 3, 1, 2), torch.nan)
    found = head.score(Padded.full(torch.zeros(2, 3, 4)), targets)
    assert head.summary(found) == {"loss": 0.0, "numbers": 0}
