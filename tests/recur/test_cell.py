"""A new cell, defined by one step alone, works wherever a layer works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import elman
from elman.cores import CORES, GATED, Core, stack
from elman.errors import ArgumentError
from elman.recur.cell import Cell, Leaves, Shapes, Weights
from elman.recur.stack import Stack
from elman.state import from_bytes, map_state, named_leaves, select_rows, to_bytes


class MinimalGated(Cell):
    """A minimal gated unit (Zhou et al. 2016, arXiv:1603.09420).

    f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
    n_t = tanh(W_n x_t + U_n (f_t * h_{t-1}) + b_n)
    h_t = (1 - f_t) * h_{t-1} + f_t * n_t
    """

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        rows = 2 * hidden
        return {"weight_ih": (rows, features), "weight_hh": (rows, hidden), "bias": (rows,)}

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        x_f, x_n = F.linear(x, weights["weight_ih"], weights["bias"]).chunk(2, dim=1)
        u_f, u_n = weights["weight_hh"].chunk(2)
        f = torch.sigmoid(x_f + F.linear(seen, u_f))
        n = torch.tanh(x_n + F.linear(f * seen, u_n))
        return (state[0] + f * (n - state[0]),)


class FastWeights(Cell):
    """An output, and a matrix that stores products of the inputs: leaves of two shapes."""

    def state_shapes(self, hidden: int) -> Shapes:
        return {"h": (hidden,), "matrix": (hidden, hidden)}

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        return {"write": (hidden, features), "read": (hidden, features)}

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        k, q = (F.linear(x, weights[name]) for name in ("write", "read"))
        matrix = 0.9 * state[1] + k[:, :, None] * k[:, None, :]
        return torch.tanh((matrix @ q[:, :, None])[:, :, 0] + 0.5 * seen), matrix


CELLS = {"mgu": MinimalGated(), "fast weights": FastWeights()}
every_cell = pytest.mark.parametrize("cell", CELLS)
SMALL: dict[str, Any] = {
    "cell": "mgu",
    "hidden_size": 6,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.02,
    "device": "cpu",
}
NOUNS, VERBS = ("cat", "dog", "hen", "fox"), ("sees", "likes", "hears")
LINES = [f"the {a} {verb} the {b}" for a in NOUNS for verb in VERBS for b in NOUNS]
TAGS = [["det", "noun", "verb", "det", "noun"]] * len(LINES)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    build = Core(
        lambda settings, shape: stack(MinimalGated(), settings, shape), GATED - {"layer_norm"}
    )
    monkeypatch.setitem(CORES, "mgu", build)
    torch.set_num_threads(1)


def core_of(cell: str, **options: Any) -> Stack:
    torch.manual_seed(0)
    options = {"batch_first": True, "dtype": torch.float64, **options}
    return Stack(CELLS[cell], 3, options.pop("hidden_size", 5), **options).eval()


def leaves(state: Any) -> list[Tensor]:
    return [leaf for _, leaf in named_leaves(state)]


@every_cell
@pytest.mark.parametrize("hidden_size", [5, (5, 4)])
def test_streaming_equals_the_batch_on_every_prefix(cell: str, hidden_size: Any) -> None:
    core = core_of(cell, num_layers=2, hidden_size=hidden_size, zoneout=0.2)
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    stream = elman.Stream(core, rows=2)
    for t in range(7):
        live = stream(x[:, t])
        whole, state = core(x[:, : t + 1])
        torch.testing.assert_close(live, whole[:, -1], rtol=0, atol=1e-12)
        torch.testing.assert_close(leaves(stream.state), leaves(state), rtol=0, atol=1e-12)
        blob = to_bytes(stream.state)
        stream.restart()
        stream.state = from_bytes(blob)  # as after a restart of the process


@every_cell
def test_a_row_depends_neither_on_padding_nor_on_its_neighbours(cell: str) -> None:
    core = core_of(cell, num_layers=2, bidirectional=True)
    x, lengths = torch.randn(4, 6, 3, dtype=torch.float64), [6, 0, 3, 1]
    start = map_state(torch.randn_like, core(x)[1])
    poisoned = x.clone()
    for row, length in enumerate(lengths):
        poisoned[row, length:] = torch.nan
    y, end = core(poisoned, start, lengths)
    for row, length in enumerate(lengths):
        index = torch.tensor([row])
        alone, last = core(x[row : row + 1, :length], select_rows(start, index))
        torch.testing.assert_close(y[row : row + 1, :length], alone, rtol=0, atol=1e-12)
        assert not y[row, length:].any()
        assert all(map(torch.allclose, leaves(select_rows(end, index)), leaves(last)))
    packed = pack_padded_sequence(x[[0, 2, 3]], torch.tensor([6, 3, 1]), batch_first=True)
    rows = torch.tensor([0, 2, 3])
    out, _ = core(packed, select_rows(start, rows))
    padded, _ = pad_packed_sequence(out, batch_first=True)
    torch.testing.assert_close(padded, y[rows], rtol=0, atol=1e-12)


@every_cell
def test_gradients_match_finite_differences(cell: str) -> None:
    core = core_of(cell, num_layers=2, bidirectional=True, hidden_size=3)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    start = map_state(lambda leaf: torch.randn_like(leaf).requires_grad_(), core(x)[1])

    def run(*_: Tensor) -> tuple[Tensor, ...]:
        y, end = core(x, start, torch.tensor([4, 2]))
        return (y, *leaves(end))

    assert torch.autograd.gradcheck(run, (x, *leaves(start), *core.parameters()), fast_mode=True)


def test_the_cell_in_the_documentation_equals_the_one_tested_here() -> None:
    page = (Path(__file__).parents[2] / "docs" / "adding.md").read_text(encoding="utf-8")
    page, _, _ = page.partition("## A kind of input")
    cell, use, table = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert f"{len(cell.splitlines())} lines:" in page
    names: dict[str, Any] = {}
    for code in (cell, use, table):
        exec(code, names)
    ours = Stack(MinimalGated(), 3, 8, num_layers=2, batch_first=True)
    ours.load_state_dict(names["core"].state_dict())
    x = torch.randn(4, 10, 3)
    assert torch.equal(ours(x)[0], names["core"](x)[0])
    elman.LanguageModel(cell="mgu", zoneout=0.1).check()


def test_every_dropout_of_a_stack_applies_and_is_seeded() -> None:
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    for name in ("dropout", "weight_dropout", "recurrent_dropout", "zoneout"):
        core = core_of("mgu", num_layers=2, **{name: 0.5}).train()
        one, two, other = (
            core(x, generator=torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
        )
        assert torch.equal(one, two)
        assert not torch.equal(one, other), name
    with pytest.raises(ArgumentError, match="weight_dropout needs a weight_hh, but FastWeights"):
        core_of("fast weights", weight_dropout=0.5)


def test_settings_that_the_cell_does_not_support_are_refused() -> None:
    with pytest.raises(
        ArgumentError, match=r"layer_norm needs cell=rnn, lstm or gru, got cell=mgu"
    ):
        elman.LanguageModel(cell="mgu", layer_norm=True).check()
    with pytest.raises(ArgumentError, match="peephole needs cell=lstm, got cell=mgu"):
        elman.Classifier(cell="mgu", peephole=True).check()
    with pytest.raises(ArgumentError, match=r"must be one of rnn, lstm, gru, .*mgu, got 'mgru'"):
        elman.LanguageModel(cell="mgru").check()


def test_a_language_model_is_trained_resumed_and_used_live(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("\n".join(LINES * 8))
    options = {**SMALL, "bptt": 4, "num_layers": 2, "recurrent_dropout": 0.2, "zoneout": 0.1}
    whole = elman.LanguageModel(**options).fit(book)
    elman.LanguageModel(**{**options, "epochs": 1}).fit(book, out=tmp_path / "run")
    resumed = elman.LanguageModel.resume(tmp_path / "run", epochs=2)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    assert "core.weight_hh_l1" in whole.model.state_dict()
    live, words = whole.stream(), LINES[5].split()
    for k, word in enumerate(words, 1):
        live.push(word)
        here, there = dict(live.predict(8)), dict(whole.predict(" ".join(words[:k]), k=8))
        assert here == pytest.approx(there, abs=1e-6)
    blob, before = live.state_bytes(), live.predict(3)
    live.push("the")
    assert live.predict(3) != before
    live.restore(blob)
    assert live.predict(3) == before
    again = elman.load(tmp_path / "run").stream()
    again.restore(blob)
    assert again.predict(3) == before


def test_a_classifier_of_texts_reads_both_directions_and_is_resumed(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("text,label\n" + "".join(f"{line},{line.split()[1]}\n" for line in LINES))
    options = {**SMALL, "num_layers": 2, "wide": False, "schedule": "constant"}
    whole = elman.Classifier(**options).fit(table)
    elman.Classifier(**{**options, "epochs": 1}).fit(table, out=tmp_path / "run")
    resumed = elman.Classifier.resume(tmp_path / "run", epochs=2)
    loaded = elman.load(tmp_path / "run")
    assert isinstance(loaded, elman.Classifier)
    for model in (resumed, loaded):
        assert np.array_equal(model.predict_proba(LINES[:5]), whole.predict_proba(LINES[:5]))
    assert "core.weight_hh_l1_reverse" in whole.model.state_dict()


def test_a_classifier_of_recordings_is_used_live() -> None:
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=(12, 2)) + n % 2 for n in range(24)]
    model = elman.Classifier(**SMALL, bidirectional=False, pooling="mean")
    model.fit(arrays, [n % 2 for n in range(24)])
    live = model.stream()
    for k, row in enumerate(arrays[0], 1):
        found = live.push(row)
        np.testing.assert_allclose(
            list(found.values()), model.predict_proba([arrays[0][:k]])[0], atol=1e-5
        )


@pytest.mark.parametrize("chain", [False, True])
def test_a_tagger_tags_words_live_as_in_a_batch(chain: bool) -> None:
    model = elman.Tagger(**SMALL, bidirectional=False, chain=chain, character_size=4)
    words = [line.split() for line in LINES]
    model.fit(words, TAGS)
    for k in range(1, 6):
        live = model.stream()
        found = [live.push(word)[0] for word in words[7][:k]]
        if not chain:  # a chain decides on all tags together
            assert found == model.predict([words[7][:k]])[0]
    both = elman.Tagger(**SMALL, character_size=4).fit(words, TAGS)
    assert len(both.predict([words[0]])[0]) == 5
    with pytest.raises(ArgumentError, match="bidirectional model cannot read sentences live"):
        both.stream()


def test_other_tasks_accept_a_new_cell() -> None:
    model = elman.Forecaster(**SMALL, horizon=2, context=4, season=2).fit([1.0, 3.0] * 30)
    assert np.isfinite(model.predict().median).all()
    translator = elman.Translator(**SMALL, tokens="word")
    translator.fit(LINES, [line.upper() for line in LINES])
    assert len(translator.predict(LINES[:2])) == 2


@pytest.mark.parametrize("hidden_size", [5, (5, 4)])
def test_a_decoder_starts_from_the_first_leaf_of_its_state(hidden_size: Any) -> None:
    core = core_of("fast weights", num_layers=2, hidden_size=hidden_size)
    _, (h, matrix) = core(torch.zeros(3, 1, 3, dtype=torch.float64))
    first, second = core.begin(map_state(torch.ones_like, h))
    for found, like, value in ((first, h, 1), (second, matrix, 0)):
        for a, b in zip(leaves(found), leaves(like), strict=True):
            assert a.shape == b.shape
            assert bool((a == value).all())
