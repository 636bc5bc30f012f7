"""The CTC loss against an enumeration of all paths."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from elman.errors import ArgumentError
from elman.heads.ctc import CTCHead, feasible
from elman.padded import Padded

FRAMES = torch.tensor([5, 3, 2, 0, 4, 0])
TARGETS = torch.tensor([[0, 2, 2], [1, 1, -1], [1, 1, -1], [-1, -1, -1], [-1, -1, -1], [2, -1, -1]])
FEASIBLE = [True, True, False, True, True, False]


def head() -> CTCHead:
    torch.manual_seed(0)
    return CTCHead(5, 3).double()


def batch() -> Padded:
    draw = torch.Generator().manual_seed(1)
    return Padded(torch.randn(6, 5, 5, dtype=torch.float64, generator=draw), FRAMES)


def merged(path: tuple[int, ...], blank: int) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != blank]


def test_the_loss_equals_the_sum_over_all_paths() -> None:
    model, states = head(), batch()
    expected = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(FRAMES.tolist()):
        target = [token for token in TARGETS[row].tolist() if token >= 0]
        log_p = model(states.data[row, :length]).log_softmax(1).double()
        paths = [
            sum((log_p[t, k] for t, k in enumerate(path)), torch.zeros(()))
            for path in itertools.product(range(4), repeat=length)
            if merged(path, model.blank) == target
        ]
        assert bool(paths) == FEASIBLE[row]
        if paths:
            expected = expected - torch.stack([torch.as_tensor(x) for x in paths]).logsumexp(0)
    total, count = model.loss(states, TARGETS)
    # The scores are float32: sums of 12 log-probabilities of about 1 have an error of 1e-6.
    assert count == 8
    assert float((total - expected).detach().abs()) < 2e-5
    weights = list(model.parameters())
    pairs = zip(*(torch.autograd.grad(x, weights) for x in (total, expected)), strict=True)
    assert all(torch.allclose(a, b, rtol=0, atol=2e-5) for a, b in pairs)


def test_rows_with_too_few_frames_are_found() -> None:
    assert feasible(TARGETS, FRAMES).tolist() == FEASIBLE


def test_padding_does_not_change_the_loss_or_gradients() -> None:
    model = head()
    outcomes = []
    for padding in (0.0, math.nan):
        data = torch.where(batch().mask().unsqueeze(2), batch().data, padding)
        total, _ = model.loss(Padded(data, FRAMES), TARGETS)
        outcomes.append([total, *torch.autograd.grad(total, list(model.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_a_batch_without_tokens_or_frames_has_a_loss() -> None:
    model, states = head(), batch()
    none = TARGETS[:, :0]
    blanks = [-model(states.data[b, :n]).log_softmax(1)[:, -1].sum() for b, n in enumerate(FRAMES)]
    total, count = model.loss(states, none)
    assert count == 0
    assert abs(float((total - torch.stack(blanks).sum()).detach())) < 2e-5
    assert model.summary(model.score(states, none))["tokens"] == 0
    empty = Padded(states.data[:, :0], torch.zeros(6, dtype=torch.int64))
    assert float(model.loss(empty, none)[0].detach()) == 0


def edits(a: list[int], b: list[int]) -> int:
    """Return how many tokens must be inserted, deleted or substituted to get b from a."""
    if not a or not b:
        return len(a) + len(b)
    return min(edits(a[1:], b) + 1, edits(a, b[1:]) + 1, edits(a[1:], b[1:]) + (a[0] != b[0]))


def test_scores_are_nats_per_token_and_the_share_of_right_tokens() -> None:
    model = head()
    states = Padded(9 * batch().data, FRAMES)  # some frames have tokens
    sums = model.score(states, TARGETS)
    wrong = found = 0
    for row, length in enumerate(FRAMES.tolist()):
        path = tuple(model(states.data[row, :length]).argmax(1).tolist())
        tokens = merged(path, model.blank)
        wrong += edits(tokens, [token for token in TARGETS[row].tolist() if token >= 0])
        found += len(tokens)
    assert found > 3
    scores = {"loss": sums["loss"] / 8, "accuracy": 1 - wrong / 8, "tokens": 8}
    assert model.summary(sums) == scores


def test_targets_out_of_range_are_named() -> None:
    targets = TARGETS.clone()
    targets[4, 0] = 3
    with pytest.raises(ArgumentError, match=r"0..2, .* got 3 at row 4, token 0"):
        head().loss(batch(), targets)


@pytest.mark.learns
def test_ctc_learns_to_name_marked_frames() -> None:
    torch.manual_seed(0)
    model = CTCHead(6, 5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(60):
        # Frames without a mark lie between the marks, so that every target has a path.
        seen = torch.randint(6, (16, 8))
        target = [[token for token in row if token < 5] for row in seen.tolist()]
        padded = torch.tensor([row + [-1] * (8 - len(row)) for row in target])
        frames = torch.stack([seen, torch.full_like(seen, 5)], 2).flatten(1)
        states = Padded.full(torch.nn.functional.one_hot(frames, 6).float())
        total, count = model.loss(states, padded)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        losses.append(float(total.detach()) / count)
    with torch.no_grad():
        assert model.summary(model.score(states, padded))["accuracy"] > 0.9
    # An untrained model has 2 to 3 nats per token; a trained one 0.03.
    assert losses[0] > 1.5
    assert sum(losses[-5:]) / 5 < 0.3
