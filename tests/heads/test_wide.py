"""The wide part: the optimum of its loss, and scores of held-out rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from elman.encode.bags import Bag
from elman.heads.wide import C, Wide, _best_scale, _fit, _times, _transposed


def rows(count: int = 60, features: int = 12) -> tuple[Bag, torch.Tensor]:
    """Return rows of four features each, as a bag and as a matrix."""
    draw = torch.Generator().manual_seed(1)
    numbers = torch.stack([torch.randperm(features, generator=draw)[:4] for _ in range(count)])
    values = torch.rand(count * 4, generator=draw)
    dense = torch.zeros(count, features).scatter_(1, numbers, values.view(-1, 4))
    return Bag(numbers.flatten(), values, torch.arange(count) * 4), dense


@pytest.mark.parametrize("several", [False, True])
def test_the_fit_is_at_the_optimum(several: bool) -> None:
    bag, dense = rows()
    targets = (dense[:, 0] > dense[:, 1]).long() + (dense[:, 2] > 0.3).long()
    wanted = F.one_hot(targets, 3).float()
    weights = torch.ones(60, 3)
    v, b = _fit(bag, _transposed(bag, 12), wanted, weights, several=several)
    v.requires_grad_()
    b.requires_grad_()
    scores = dense @ v + b
    if several:
        loss = F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")
    else:
        loss = F.cross_entropy(scores, targets, reduction="sum")
    whole = C * loss + v.square().sum() / 2
    slopes = torch.autograd.grad(whole, (v, b))
    # The search stops below 1e-6 of the mean loss, which is C * 60 times as much here.
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-2


def test_the_fit_equals_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    bag, dense = rows()
    targets = (dense[:, 0] > dense[:, 1]).long()
    back, wanted = _transposed(bag, 12), F.one_hot(targets, 2).float()
    v, b = _fit(bag, back, wanted, torch.ones(60, 2), several=False)
    # With two classes scikit-learn fits w = V_1 - V_0, with half the penalty.
    model = linear_model.LogisticRegression(C=2 * C, tol=1e-8).fit(dense.numpy(), targets.numpy())
    ours = (dense @ v + b).softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(model.predict_proba(dense.numpy())[:, 1], ours, atol=1e-3)


def test_a_row_is_scored_by_a_fit_without_it() -> None:
    # Every row has its own feature, so that a fit predicts the labels of its own rows only.
    count = 40
    bag = Bag(torch.arange(count), torch.ones(count), torch.arange(count))
    targets = torch.arange(count) % 2
    wide = Wide(count, 2)
    scores = wide.fit(bag, targets, torch.ones(count, 2))
    assert (wide(bag).argmax(1) == targets).all()
    assert (scores.softmax(1) - 0.5).abs().max() < 0.2  # only the frequency of the classes


def test_rows_of_a_group_are_in_one_fold() -> None:
    # Both rows of a pair have one feature and one label, so each reveals the label of the other.
    pair = torch.arange(40) // 2
    bag, targets = Bag(pair, torch.ones(40), torch.arange(40)), pair % 2
    apart = Wide(20, 2).fit(bag, targets, torch.ones(40, 2))
    together = Wide(20, 2).fit(bag, targets, torch.ones(40, 2), pair)
    assert (apart.argmax(1) == targets).float().mean() > 0.7
    assert (together.softmax(1) - 0.5).abs().max() < 0.2
    alone = Wide(20, 2).fit(bag, targets, torch.ones(40, 2), torch.zeros_like(pair))
    assert alone.abs().max() == 0  # no row is left for the fit


def test_a_weight_of_two_equals_a_repeated_row() -> None:
    bag, dense = rows(30)
    targets = F.one_hot((dense[:, 0] > dense[:, 1]).long(), 2).float()
    twice = Bag(bag.numbers.repeat(2), bag.values.repeat(2), torch.arange(60) * 4)
    v, b = _fit(bag, _transposed(bag, 12), targets, torch.full((30, 2), 2.0), several=False)
    w, c = _fit(
        twice, _transposed(twice, 12), targets.repeat(2, 1), torch.ones(60, 2), several=False
    )
    torch.testing.assert_close(_times(bag, v) + b, _times(bag, w) + c, rtol=0, atol=1e-3)


def test_overconfident_scores_are_scaled_down() -> None:
    scores = torch.tensor([[8.0, 0], [8, 0], [8, 0], [8, 0]])
    wanted = F.one_hot(torch.tensor([0, 0, 0, 1]), 2).float()
    rate = _best_scale(scores, wanted, torch.ones(4, 2), several=False)
    assert rate == 0.25  # the smallest scale that is tried; the best, log(3) / 8, is smaller


def test_few_rows_do_not_make_scores_confident() -> None:
    draw = torch.Generator().manual_seed(3)
    scores = torch.randn(20, 2, generator=draw)
    wanted = F.one_hot((scores + torch.randn(20, 2, generator=draw)).argmax(1), 2).float()

    def scale(times: int, *, careful: bool) -> float:
        weights = torch.ones(20 * times, 2)
        return _best_scale(
            scores.repeat(times, 1),
            wanted.repeat(times, 1),
            weights,
            several=False,
            careful=careful,
        )

    best = scale(1, careful=False)
    assert scale(1, careful=True) < 0.7 * best
    assert 0.8 * best < scale(1000, careful=True) <= best


def test_rows_without_features_score_the_bias() -> None:
    wide = Wide(3, 2)
    wide.bias[1] = 2
    nothing = Bag(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(2, dtype=int))
    assert wide(nothing).tolist() == [[0, 2], [0, 2]]


def test_levels_are_sums_of_steps() -> None:
    # Two statistics with three levels each; a row exceeds the steps up to its level.
    draw = torch.Generator().manual_seed(2)
    level = torch.randint(3, (50, 2), generator=draw)
    bag = Bag((level + torch.tensor([0, 3])).flatten(), torch.ones(100), torch.arange(50) * 2)
    steps = (level[:, :, None] >= torch.arange(3)).float().flatten(1)
    row, number = steps.nonzero().T
    starts = torch.cat([torch.zeros(1), steps.sum(1).cumsum(0)[:-1]]).long()
    apart = Bag(number, torch.ones(len(row)), starts)
    targets = F.one_hot((level[:, 0] > level[:, 1]).long(), 2).float()
    weights = torch.ones(50, 2)
    v, b = _fit(bag, _transposed(bag, 6), targets, weights, several=False, levels=3)
    w, c = _fit(apart, _transposed(apart, 6), targets, weights, several=False)
    torch.testing.assert_close(_times(bag, v) + b, _times(apart, w) + c, rtol=0, atol=1e-3)
