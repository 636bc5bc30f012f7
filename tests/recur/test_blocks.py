"""Blocks of layers: the laws of a core, for layers of several kinds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import elman
from elman.errors import ArgumentError
from elman.recur.blocks import Blocks
from elman.state import from_bytes, map_state, named_leaves, select_rows, to_bytes

KINDS = ["MinGRU", "GatedDeltaNet", "LSTM"]


def build(kind: str, *, bidirectional: bool = False, dropout: float = 0.0) -> Blocks:
    torch.manual_seed(2)
    layers = [
        getattr(elman, kind)(6, 6, batch_first=True, bidirectional=bidirectional) for _ in range(2)
    ]
    return Blocks(3, layers, dropout=dropout, variational=True).double()


def leaves(state: elman.state.State) -> list[Tensor]:
    return [leaf for _, leaf in named_leaves(state)]


@pytest.mark.parametrize("kind", KINDS)
def test_any_split_of_a_sequence_equals_the_whole(kind: str) -> None:
    core = build(kind)
    x, lengths = torch.randn(3, 9, 3, dtype=torch.float64), torch.tensor([9, 0, 5])
    whole, end = core(x, None, lengths)
    parts, state = [], None
    for begin, stop in ((0, 4), (4, 5), (5, 9)):
        here = (lengths - begin).clamp(0, stop - begin)
        y, state = core(x[:, begin:stop], state, here)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(leaves(state), leaves(end))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_depends_neither_on_padding_nor_on_its_neighbours(
    kind: str, bidirectional: bool
) -> None:
    core = build(kind, bidirectional=bidirectional)
    x, lengths = torch.randn(3, 6, 3, dtype=torch.float64), torch.tensor([6, 0, 4])
    x[1] = x[2, 4:] = float("nan")
    y, end = core(x, None, lengths)
    y.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in core.parameters() if p.grad is not None)
    assert bool((y[1] == 0).all() and (y[2, 4:] == 0).all())
    alone, alone_end = core(x[2:, :4])
    torch.testing.assert_close(y[2:, :4], alone)
    torch.testing.assert_close(leaves(select_rows(end, torch.tensor([2]))), leaves(alone_end))


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_at_a_time_equals_the_whole(kind: str) -> None:
    core = build(kind).float().eval()
    x = torch.randn(2, 7, 3)
    expected, end = core(x)
    stream = elman.Stream(core, 2)
    live = [stream(x[:, t]) for t in range(3)]
    stored = to_bytes(stream.state)
    other = elman.Stream(core, 2, from_bytes(stored))
    live += [other(x[:, t]) for t in range(3, 7)]
    torch.testing.assert_close(torch.stack(live, 1), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(leaves(other.state), leaves(end), rtol=0, atol=1e-5)


def test_dropout_is_determined_by_the_generator() -> None:
    core, x = build("MinGRU", dropout=0.5), torch.randn(2, 5, 3, dtype=torch.float64)
    first, again, other = (
        core(x, generator=torch.Generator().manual_seed(n))[0] for n in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(core.eval()(x)[0], core(x)[0])


def test_a_wrong_shape_or_state_is_one_line() -> None:
    core = build("MinGRU")
    with pytest.raises(ArgumentError, match=r"x must be \(B, T, input_size=3\), got"):
        core(torch.zeros(2, 4))
    _, state = core(torch.zeros(2, 1, 3, dtype=torch.float64))
    with pytest.raises(ArgumentError, match="state must be a tuple of the states of 2 layers"):
        core(torch.zeros(2, 1, 3, dtype=torch.float64), state[:1])
    with pytest.raises(ArgumentError, match=r"the same number of features, got \[3, 4\]"):
        Blocks(3, [elman.GRU(n, n, batch_first=True) for n in (3, 4)])


@pytest.mark.parametrize("cell", ["mingru", "gated-deltanet", "mlstm", "gru"])
def test_every_kind_of_task_trains_blocks(cell: str, tmp_path: Path) -> None:
    texts = ["a good thing", "a bad thing", "good", "bad", "so good", "so bad"] * 4
    labels = ["good" if "good" in one else "bad" for one in texts]
    small = {"cell": cell, "block": True, "hidden_size": 8, "num_layers": 2, "epochs": 2}
    model = elman.Classifier(**small, device="cpu").fit(texts, labels, out=tmp_path / "c")
    again = elman.load(tmp_path / "c")
    assert list(again.predict(texts)) == list(model.predict(texts))
    live = elman.LanguageModel(**small, device="cpu", min_count=1).fit(texts * 5).stream()
    live.push("good")
    before = live.state_bytes()
    live.push("bad")
    assert live.state_bytes() != before
    pairs = elman.Translator(**small, device="cpu", tokens="word", min_count=1)
    assert len(pairs.fit(texts, labels).predict(texts[:3])) == 3


def test_settings_of_blocks_that_cannot_work() -> None:
    with pytest.raises(ArgumentError, match="block needs layers of one size"):
        elman.Classifier(block=True, hidden_size=(4, 8)).check()
    grud = elman.Classifier(block=True, cell="grud", inputs="recordings", bidirectional=False)
    with pytest.raises(ArgumentError, match=r"block needs cell=rnn, .*, got cell=grud"):
        grud.check()


def test_leaves_can_be_mapped() -> None:
    core = build("LSTM")
    _, state = core(torch.zeros(1, 1, 3, dtype=torch.float64))
    assert all(bool((leaf == 0).all()) for leaf in leaves(map_state(torch.zeros_like, state)))
