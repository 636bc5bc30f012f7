"""The loss of a transducer against an enumeration of all alignments, and its head."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from elman.decode.transducer import greedy_transducer
from elman.errors import ArgumentError
from elman.heads.ctc import CTCHead, token_errors
from elman.heads.transducer import TransducerHead, plain_loss
from elman.padded import Padded
from elman.state import select_rows

FRAMES = torch.tensor([4, 1, 3, 0, 2])
TARGETS = torch.tensor([[0, 2, 2], [1, 1, 0], [-1, -1, -1], [-1, -1, -1], [2, -1, -1]])
CONTEXTS = [None, 1, 2, 3]


def head(context: int | None = None, *, ctc_weight: float = 0.0) -> TransducerHead:
    torch.manual_seed(0)
    sizes = {"predictor_size": 6, "joint_size": 7}
    return TransducerHead(5, 3, **sizes, context=context, ctc_weight=ctc_weight).double()


def batch() -> Padded:
    draw = torch.Generator().manual_seed(1)
    return Padded(torch.randn(5, 4, 5, dtype=torch.float64, generator=draw), FRAMES)


def by_alignments(model: TransducerHead, states: Tensor, target: list[int]) -> Tensor:
    """Return -log p of one row (T, D): the sum over all places of its tokens among the blanks."""
    e, (p, state) = model.encode(states), model.begin(1)
    read = [p[0]]
    for token in target:
        p, state = model.advance(torch.tensor([token]), state)
        read.append(p[0])
    T, U = len(states), len(target)
    paths = []
    for places in itertools.combinations(range(T - 1 + U), U):
        t = u = 0
        total = torch.zeros((), dtype=torch.float64)
        for step in range(T + U):
            log_p = model.join(e[t], read[u])
            if step in places:
                total, u = total + log_p[target[u]], u + 1
            else:
                total, t = total + log_p[model.blank], t + 1
        paths.append(total)
    return -torch.stack(paths).logsumexp(0)


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_loss_equals_the_sum_over_all_alignments(context: int | None) -> None:
    model, states = head(context), batch()
    total, count = model.loss(states, TARGETS)
    expected = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(FRAMES.tolist()):
        target = [token for token in TARGETS[row].tolist() if token >= 0]
        if length:
            expected = expected + by_alignments(model, states.data[row, :length], target)
    assert count == 7
    assert float((total - expected).detach().abs()) < 1e-10
    weights = list(model.parameters())
    pairs = zip(*(torch.autograd.grad(x, weights) for x in (total, expected)), strict=True)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in pairs)


def test_the_gradient_of_the_definition_is_exact() -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 4), (2, 3, 4), (5, 4), (5,)]
    given = [torch.randn(s, generator=draw, dtype=torch.float64) for s in shapes]
    rest = [torch.tensor([[0, 3], [2, 0]]), torch.tensor([3, 2]), torch.tensor([2, 1])]
    assert torch.autograd.gradcheck(
        lambda e, p, weight, bias: plain_loss(e, p, weight, bias, *rest),
        [x.requires_grad_() for x in given],
    )


def test_float32_equals_float64() -> None:
    # Sums of log-probabilities are about 10, with an error of 1e-6 per step; ELMAN_KERNELS decides
    # whether this is the kernel or the definition.
    for context in CONTEXTS:
        exact, _ = head(context).loss(batch(), TARGETS)
        short = batch()._replace(data=batch().data.float())
        total, _ = head(context).float().loss(short, TARGETS)
        assert abs(float(total.detach()) - float(exact.detach())) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ctc_weight", [0.0, 0.3])
def test_padding_does_not_change_the_loss_or_gradients(
    ctc_weight: float, dtype: torch.dtype
) -> None:
    model = head(ctc_weight=ctc_weight).to(dtype)
    weights = list(model.parameters())
    outcomes = []
    for padding in (0.0, math.nan):
        data = torch.where(batch().mask().unsqueeze(2), batch().data, padding).to(dtype)
        total, _ = model.loss(Padded(data, FRAMES), TARGETS)
        outcomes.append([total, *torch.autograd.grad(total, weights)])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_a_row_alone_has_the_same_loss_as_in_a_batch() -> None:
    model, states = head(), batch()
    total = 0.0
    for row, length in enumerate(FRAMES.tolist()):
        count = int((TARGETS[row] >= 0).sum())
        one = Padded(states.data[row : row + 1, :length], FRAMES[row : row + 1])
        total += float(model.loss(one, TARGETS[row : row + 1, :count])[0].detach())
    # Products of other shapes can round differently.
    assert abs(total - float(model.loss(states, TARGETS)[0].detach())) < 1e-10


def test_the_weight_mixes_transducer_and_ctc() -> None:
    model, states = head(ctc_weight=0.25), batch()
    assert isinstance(model.ctc, CTCHead)
    total, count = model.loss(states, TARGETS)
    alone = model.score(states, TARGETS)
    ctc, _ = model.ctc.loss(states, TARGETS)
    assert abs(float((total - 0.25 * ctc).detach()) - 0.75 * alone["loss"]) < 1e-9
    found = greedy_transducer(model, Padded(model(states.data), FRAMES))
    right = 1 - token_errors(found, TARGETS) / count
    assert model.summary(alone) == {
        "loss": alone["loss"] / count, "accuracy": right, "tokens": count
    }  # fmt: skip


@pytest.mark.parametrize("context", [None, 2])
def test_dropout_of_the_prediction_network_acts_in_training_only(context: int | None) -> None:
    model, states = head(context), batch()
    whole = float(model.loss(states, TARGETS)[0].detach())
    model.dropout = 0.5
    drawn = {float(model.loss(states, TARGETS)[0].detach()) for _ in range(8)}
    assert len(drawn) > 1
    assert abs(float(model.eval().loss(states, TARGETS)[0].detach()) - whole) < 1e-9


@pytest.mark.parametrize("context", CONTEXTS)
def test_steps_of_several_hypotheses_equal_the_whole_sequence(context: int | None) -> None:
    model = head(context)
    rows = torch.tensor([[0, 2, 1], [1, 1, 1]])
    whole = model.from_tokens(model.predictor(rows, torch.tensor([3, 3])))
    p, state = model.begin(2)
    for u in range(4):
        assert torch.allclose(p, whole[:, u], rtol=0, atol=1e-12)
        if u == 1:  # hypotheses can be exchanged between two steps
            order = torch.tensor([1, 0])
            state, rows, whole = select_rows(state, order), rows[order], whole[order]
        if u < 3:
            p, state = model.advance(rows[:, u], state)


def test_log_probabilities_of_a_join_add_up_to_one() -> None:
    model = head()
    e, (p, _) = model.encode(batch().data)[:, 0], model.begin(5)
    log_p = model.join(e, p)
    assert log_p.shape == (5, 4)
    assert torch.allclose(log_p.exp().sum(1), torch.ones(5, dtype=log_p.dtype))


def test_a_row_with_tokens_but_without_frames_is_named() -> None:
    targets = TARGETS.clone()
    targets[3, 0] = 1
    with pytest.raises(ArgumentError, match="row 3 of the batch has 1 tokens, but no frames"):
        head().loss(batch(), targets)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ([0, 3, -1], "0..2, with -1 only after the end of a row, got 3 at row 0, token 1"),
        ([0, -2, 1], "got -2 at row 0, token 1"),
        ([0, -1, 1], "got -1 at row 0, token 1"),
    ],
)
def test_targets_out_of_range_are_named(row: list[int], named: str) -> None:
    targets = TARGETS.clone()
    targets[0] = torch.tensor(row)
    with pytest.raises(ArgumentError, match=named):
        head().loss(batch(), targets)


def test_targets_of_another_shape_or_type_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"shape \(B, U\) with B=5, got \(4, 3\)"):
        head().loss(batch(), TARGETS[:4])
    with pytest.raises(ArgumentError, match="must be integers"):
        head().loss(batch(), TARGETS.float())


@pytest.mark.learns
@pytest.mark.parametrize("context", [None, 2])
def test_a_transducer_learns_to_copy_marked_tokens(context: int | None) -> None:
    torch.manual_seed(0)
    model = TransducerHead(6, 5, predictor_size=16, joint_size=32, context=context)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        # A frame is one of five tokens or nothing, so that the target is known from the frames.
        seen = torch.randint(6, (16, 8))
        target = [[token for token in row if token < 5] for row in seen.tolist()]
        padded = torch.tensor([row + [-1] * (8 - len(row)) for row in target])
        states = Padded.full(torch.nn.functional.one_hot(seen, 6).float())
        total, count = model.loss(states, padded)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        losses.append(float(total.detach()) / count)
    # An untrained model has 2.6 to 2.9 nats per token, and a trained one 0.37 to 0.43.  It cannot
    # reach 0: after two equal frames, it does not know whether one token or both are written.
    assert losses[0] > 2
    assert sum(losses[-5:]) / 5 < 0.8
