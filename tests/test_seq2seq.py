"""Models of an encoder, a decoder and attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import elman
from elman.attend import Attention
from elman.encode.embed import Embed
from elman.errors import ArgumentError
from elman.heads import TokenHead
from elman.padded import Padded
from elman.seq2seq import NOTHING, Seq2Seq
from elman.seq2seq.recurrent import Recurrent
from elman.seq2seq.transformer import Transformer

SOURCE = Padded(torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0], [7, 0, 0, 0]]), torch.tensor([4, 2, 1]))
TARGETS = torch.tensor([[3, 4, 1], [5, 1, NOTHING], [1, NOTHING, NOTHING]])
CELLS = {"lstm": elman.LSTM, "gru": elman.GRU, "rnn": elman.RNN}


def build(
    cell: str = "lstm",
    attention: str | None = "multiplicative",
    *,
    feeding: bool = False,
    layers: int = 1,
    sizes: int | tuple[int, ...] = 8,
    covering: bool = False,
    **options: object,
) -> Seq2Seq:
    torch.manual_seed(0)
    kind = CELLS[cell]
    last = sizes if isinstance(sizes, int) else sizes[-1]
    encoder = kind(6, sizes, num_layers=layers, batch_first=True, bidirectional=True)
    core = kind(6 + last * feeding, sizes, num_layers=layers, batch_first=True)
    look = None
    if attention is not None:
        look = Attention(last, 2 * last, attention, heads=2, coverage=covering)  # type: ignore[arg-type]
    if look is not None and look.cover is not None:
        nn.init.normal_(look.cover)
    coder = Recurrent(Embed(8, 6), encoder, Embed(8, 6), core, look, input_feeding=feeding)
    return Seq2Seq(coder, TokenHead(last, 8), begin=1, **options).eval()  # type: ignore[arg-type]


def transformer(**options: object) -> Seq2Seq:
    torch.manual_seed(0)
    coder = Transformer(Embed(8, 6), Embed(8, 6), 2, heads=2, dropout=0.1)
    return Seq2Seq(coder, TokenHead(6, 8), begin=1, **options).eval()  # type: ignore[arg-type]


def build_any(options: dict[str, object]) -> Seq2Seq:
    if options.get("cell") == "transformer":
        return transformer()
    return build(**options)  # type: ignore[arg-type]


VARIANTS: list[dict[str, object]] = [
    {"cell": "lstm"},
    {"cell": "gru", "attention": "additive", "layers": 2},
    {"cell": "rnn", "attention": "multi-head", "sizes": (6, 8), "layers": 2},
    {"cell": "lstm", "attention": None},
    {"cell": "gru", "feeding": True},
    {"cell": "lstm", "copying": True},
    {"cell": "gru", "attention": "additive", "covering": True, "feeding": True},
    {"cell": "lstm", "attention": "multi-head", "covering": True, "copying": True},
    {"cell": "transformer"},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_step_by_step_equals_all_steps_at_once(options: dict[str, object]) -> None:
    model = build_any(options)
    inputs = torch.tensor([[1, 3, 4], [1, 5, 2], [1, 2, 2]])
    whole, weights, _ = model.decode(Padded.full(inputs), model.read(SOURCE))
    here = model.read(SOURCE)
    for t in range(3):
        log_p, here, look = model.step(inputs[:, t], here)
        torch.testing.assert_close(log_p, model.log_p(whole.data, weights, SOURCE.data)[:, t])
        if look is not None:
            assert weights is not None
            torch.testing.assert_close(look, weights[:, t])


@pytest.mark.parametrize("options", VARIANTS)
def test_the_loss_of_a_pair_does_not_depend_on_its_batch(options: dict[str, object]) -> None:
    model = build_any(options)
    total = model.loss(SOURCE, TARGETS).total
    alone = sum(
        model.loss(Padded.full(SOURCE.data[n : n + 1, :length]), TARGETS[n : n + 1, :steps]).total
        for n, (length, steps) in enumerate(((4, 3), (2, 2), (1, 1)))
    )
    torch.testing.assert_close(total, alone)


def test_rows_of_a_decoding_can_be_selected_for_beams() -> None:
    for options in VARIANTS:
        model = build_any(options)
        which, tokens = torch.tensor([2, 0, 0, 1]), torch.tensor([1, 2, 3])
        _, here, _ = model.step(tokens, model.read(SOURCE))
        whole, _, _ = model.step(tokens, here)
        picked, _, _ = model.step(tokens[which], here.rows(which))
        torch.testing.assert_close(picked, whole[which])


def test_label_smoothing_equals_that_of_torch() -> None:
    model = build(label_smoothing=0.2).train()
    smoothed = model.loss(SOURCE, TARGETS)
    d, _, _ = model.decode(model.inputs_of(TARGETS), model.read(SOURCE))
    scores, targets = model.head(d.data).flatten(0, 1), TARGETS.flatten()
    expected = F.cross_entropy(
        scores, targets, ignore_index=NOTHING, reduction="sum", label_smoothing=0.2
    )
    torch.testing.assert_close(smoothed.total, expected)
    ours = torch.autograd.grad(smoothed.total, list(model.parameters()), retain_graph=True)
    theirs = torch.autograd.grad(expected, list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_incompatible_options_are_refused() -> None:
    with pytest.raises(ArgumentError, match="input_feeding needs attention"):
        build(attention=None, feeding=True)
    coder = build().coder
    with pytest.raises(ArgumentError, match="must read forward only"):
        Recurrent(coder.embed_source, coder.encoder, coder.embed_target, coder.encoder, None)
    for options in ({"copying": True}, {"coverage": 1.0}):
        with pytest.raises(ArgumentError, match="copying and coverage need attention"):
            transformer(**options)
    with pytest.raises(ArgumentError, match="one even size that heads=4 divides, got 6 and 6"):
        Transformer(Embed(8, 6), Embed(8, 6), 1, heads=4)


def test_copying_mixes_the_two_distributions_of_the_paper() -> None:
    model = build(copying=True)
    d, weights, here = model.decode(Padded.full(torch.tensor([[1], [3], [4]])), model.read(SOURCE))
    assert weights is not None
    assert model.gate is not None
    p = model.log_p(d.data, weights, here.source).exp()[:, 0]
    torch.testing.assert_close(p.sum(1), torch.ones(3))
    g = torch.sigmoid(model.gate(d.data))[:, 0]
    for row, length in enumerate(SOURCE.lengths.tolist()):
        expected = g[row] * model.head(d.data[row, 0]).softmax(0)
        for i in range(length):
            expected[SOURCE.data[row, i]] += (1 - g[row, 0]) * weights[row, 0, i]
        torch.testing.assert_close(p[row], expected)


def test_the_loss_and_the_score_of_copying_equal_the_sum_of_its_steps() -> None:
    model = build(copying=True, label_smoothing=0.1)
    total, here = 0.0, model.read(SOURCE)
    inputs = model.inputs_of(TARGETS)
    for t in range(3):
        log_p, here, _ = model.step(inputs.data[:, t], here)
        there = TARGETS[:, t] != NOTHING
        total -= log_p[there].gather(1, TARGETS[there, t : t + 1]).sum().item()
    assert model.loss(SOURCE, TARGETS).total.item() == pytest.approx(total, rel=1e-5)
    sums, _ = model.score(SOURCE, TARGETS)
    assert sums["loss"] == pytest.approx(total, rel=1e-5)
    assert sums["count"] == 6


def test_coverage_penalises_attention_to_the_same_elements() -> None:
    with_coverage, without = build(coverage=2.0).train(), build().train()
    d, weights, _ = without.decode(without.inputs_of(TARGETS), without.read(SOURCE))
    assert weights is not None
    expected = 0.0
    for row, steps in enumerate(d.lengths.tolist()):
        seen = torch.zeros(4)
        for t in range(steps):
            expected += torch.minimum(seen, weights[row, t]).sum().item()
            seen += weights[row, t]
    found = with_coverage.loss(SOURCE, TARGETS).total - without.loss(SOURCE, TARGETS).total
    assert found.item() == pytest.approx(2 * expected, rel=1e-4)


def test_scheduled_sampling_reads_the_predictions_of_the_model() -> None:
    model = build(scheduled_sampling=0.999).train()
    start, inputs = model.read(SOURCE), model.inputs_of(TARGETS)
    read = model._own(inputs, start, 0.999, torch.Generator().manual_seed(0))
    d, _, _ = model.decode(inputs, start)
    guess = model.head(d.data).argmax(2)
    assert torch.equal(read.data[:, 0], inputs.data[:, 0])
    assert torch.equal(read.data[:, 1:], guess[:, :-1])
    losses = [
        model.loss(SOURCE, TARGETS, generator=torch.Generator().manual_seed(n)).total.item()
        for n in (1, 1)
    ]
    assert losses[0] == losses[1]


def test_the_share_of_scheduled_sampling_grows_from_zero() -> None:
    model, plain = build(scheduled_sampling=0.999).train(), build().train()
    model.load_state_dict(plain.state_dict())

    def loss(progress: float) -> float:
        generator = torch.Generator().manual_seed(0)
        return model.loss(SOURCE, TARGETS, generator=generator, progress=progress).total.item()

    assert loss(0.0) == plain.loss(SOURCE, TARGETS).total.item() != loss(1.0)


def test_the_transformer_draws_only_from_the_generator() -> None:
    model = transformer().train()

    def loss(seed: int) -> float:
        torch.manual_seed(seed + 100)
        generator = torch.Generator().manual_seed(seed)
        return model.loss(SOURCE, TARGETS, generator=generator).total.item()

    before = torch.random.get_rng_state()
    model.loss(SOURCE, TARGETS, generator=torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.random.get_rng_state())
    assert loss(1) == loss(1) != loss(2)


def test_the_transformer_accepts_an_empty_source() -> None:
    model = transformer()
    empty = Padded(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 2]))
    loss = model.loss(empty, TARGETS[:2]).total
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
