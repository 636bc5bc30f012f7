"""Tags of steps, alone and as a chain, against an enumeration of all sequences."""

from __future__ import annotations

import itertools

import pytest
import torch

from elman.heads import TagHead
from elman.heads.tags import IGNORED
from elman.padded import Padded

K = 3
LENGTHS = torch.tensor([4, 1, 0, 2])


def head(chain: bool) -> TagHead:
    torch.manual_seed(0)
    model = TagHead(5, K, chain=chain).double()
    if chain:
        with torch.no_grad():
            for weight in (model.transitions, model.begin, model.end):
                weight.normal_()
    return model


def batch() -> tuple[Padded, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    h = torch.randn(4, 4, 5, dtype=torch.float64, generator=draw)
    return Padded(h, LENGTHS), torch.randint(0, K, (4, 4), generator=draw)


def every_score(model: TagHead, h: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    """Return the unnormalised score of every sequence of tags of one row (T, D)."""
    s = model(h)
    scores = {}
    for tags in itertools.product(range(K), repeat=len(h)):
        total = sum((s[t, tag] for t, tag in enumerate(tags)), torch.zeros(()))
        if model.chain:
            total = total + model.begin[tags[0]] + model.end[tags[-1]]
            total = total + sum(model.transitions[a, b] for a, b in itertools.pairwise(tags))
        scores[tags] = total
    return scores


@pytest.mark.parametrize("chain", [False, True])
def test_loss_and_best_sequence_match_an_enumeration(chain: bool) -> None:
    model, (states, targets) = head(chain), batch()
    expected = torch.zeros((), dtype=torch.float64)
    best = model.best(states)
    for row, length in enumerate(LENGTHS.tolist()):
        if length == 0:
            continue
        scores = every_score(model, states.data[row, :length])
        wanted = tuple(targets[row, :length].tolist())
        expected = expected + torch.stack(list(scores.values())).logsumexp(0) - scores[wanted]
        likeliest = max(scores, key=lambda tags: float(scores[tags].detach()))
        assert tuple(best[row, :length].tolist()) == likeliest
    total, count = model.loss(states, targets)
    assert count == int(LENGTHS.sum())
    torch.testing.assert_close(total.double(), expected.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chain", [False, True])
def test_padding_does_not_change_loss_and_tags(chain: bool) -> None:
    model, (states, targets) = head(chain), batch()
    mask = states.mask()
    poisoned = torch.where(mask.unsqueeze(2), states.data, torch.nan).requires_grad_()
    nonsense = torch.where(mask, targets, 10_000)
    total, _ = model.loss(Padded(poisoned, LENGTHS), nonsense)
    torch.testing.assert_close(total, model.loss(states, targets)[0])
    total.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())
    assert not bool(poisoned.grad[~mask].any())
    found = model.best(Padded(poisoned.detach(), LENGTHS))
    assert torch.equal(found[mask], model.best(states)[mask])


def test_the_gradient_of_a_chain_matches_finite_differences() -> None:
    model, (states, targets) = head(True), batch()

    def loss(h: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
        model.transitions.data = moves
        return torch.func.functional_call(
            _Loss(model), {"head.transitions": moves}, (Padded(h, LENGTHS), targets)
        )

    inputs = (
        states.data.clone().requires_grad_(),
        model.transitions.detach().clone().requires_grad_(),
    )
    # The scores are float32, so finite differences contain its rounding.
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-3, atol=1e-2)


class _Loss(torch.nn.Module):
    def __init__(self, head: TagHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, states: Padded, targets: torch.Tensor) -> torch.Tensor:
        return self.head.loss(states, targets)[0]


@pytest.mark.parametrize("chain", [False, True])
def test_unknown_tags_are_wrong_and_have_no_loss(chain: bool) -> None:
    model, (states, targets) = head(chain), batch()
    before = model.score(states, targets)
    strange = targets.clone()
    strange[0, 2] = IGNORED
    after = model.score(states, strange)
    assert after["tags"] == before["tags"] == 7
    assert after["count"] == 3  # the other rows
    assert after["right"] <= before["right"]
