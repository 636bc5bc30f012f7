"""Pooling over time and scores of labels."""

from __future__ import annotations

import math

import pytest
import torch

from elman.heads import LabelHead
from elman.heads.labels import POOLINGS
from elman.padded import Padded


def head(pooling: str, **options: object) -> LabelHead:
    torch.manual_seed(0)
    return LabelHead(4, 3, pooling=pooling, **options).double()


def batch(rows: int = 3, steps: int = 5) -> torch.Tensor:
    return torch.randn(
        rows, steps, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_does_not_change_scores(pooling: str, bidirectional: bool) -> None:
    model, h = head(pooling, bidirectional=bidirectional), batch()
    lengths = torch.tensor([5, 2, 0])
    poisoned = torch.where(Padded(h, lengths).mask().unsqueeze(2), h, torch.nan).requires_grad_()
    scores = model(Padded(poisoned, lengths))
    for row, length in enumerate(lengths.tolist()):
        alone = model(Padded.full(h[row : row + 1, :length]))
        torch.testing.assert_close(scores[row : row + 1], alone)
    scores.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())
    assert not bool(poisoned.grad[1, 2:].any())


def test_poolings_match_their_names() -> None:
    h = batch(1)
    states = Padded.full(h)
    assert torch.equal(head("last").pool(states), h[:, -1])
    assert torch.equal(head("mean").pool(states), h.sum(1) / 5)
    assert torch.equal(head("max").pool(states), h.amax(1))
    assert torch.equal(
        head("concat").pool(states), torch.cat([h[:, -1], h.sum(1) / 5, h.amax(1)], 1)
    )
    both = head("last", bidirectional=True).pool(states)
    assert torch.equal(both, torch.cat([h[:, -1, :2], h[:, 0, 2:]], 1))
    attend = head("attention")
    weights = attend.attention(states)
    assert weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(
        attend.pool(states), (weights.unsqueeze(2) * h).sum(1), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_match_finite_differences(pooling: str) -> None:
    model = head(pooling)
    lengths = torch.tensor([5, 2, 0])

    def loss(h: torch.Tensor) -> torch.Tensor:
        return model.loss(Padded(h, lengths), torch.tensor([0, 2, 1]))[0]

    # The scores are float32, so finite differences contain its rounding.
    assert torch.autograd.gradcheck(loss, batch().requires_grad_(), eps=1e-3, atol=1e-2)


def test_losses_match_the_definition() -> None:
    model, h = head("mean"), batch()
    states, targets = Padded.full(h), torch.tensor([2, 0, 1])
    p = model(states).softmax(1).detach()
    total, count = model.loss(states, targets)
    assert count == 3
    assert total.item() == pytest.approx(
        -sum(math.log(p[n, k]) for n, k in enumerate([2, 0, 1])), rel=1e-6
    )
    model.class_weights = torch.tensor([1.0, 2.0, 0.5])
    weighted = -math.log(p[0, 2]) * 0.5 - math.log(p[1, 0]) - 2 * math.log(p[2, 1])
    assert model.loss(states, targets)[0].item() == pytest.approx(weighted, rel=1e-6)
    # The score that selects a model is not weighted.
    assert model.score(states, targets)["loss"] == pytest.approx(total.item(), rel=1e-6)


def test_several_labels_are_scored_independently() -> None:
    model, states = head("max", several=True), Padded.full(batch())
    wanted = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1]])
    p = model(states).sigmoid()
    expected = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).sum()
    assert model.loss(states, wanted)[0].item() == pytest.approx(expected.item(), rel=1e-6)
    all_right = ((p > 0.5) == wanted.bool()).all(1).sum()
    assert model.score(states, wanted)["right"] == int(all_right)


def test_the_share_of_the_states_applies_only_outside_of_training() -> None:
    head = LabelHead(4, 3, pooling="last", features=2, share=0.25)
    torch.nn.init.normal_(head.linear.weight)
    h, beside = torch.randn(2, 5, 4), torch.randn(2, 3)
    states = Padded(h, torch.tensor([5, 5]), extra=beside)
    whole = head(states) - beside
    live, _ = head.eval().follow(h[:, -1], None)
    torch.testing.assert_close(head(states) - beside, whole / 4)
    torch.testing.assert_close(live, whole / 4)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="pooling must be one of last"):
        LabelHead(4, 3, pooling="median")  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_scores_step_by_step_equal_those_of_the_whole(pooling: str) -> None:
    model, h = head(pooling), batch(2, 9)
    pooled = None
    for t in range(9):
        scores, pooled = model.follow(h[:, t], pooled)
        torch.testing.assert_close(scores, model(Padded.full(h[:, : t + 1])))
