"""Laws that every core of `elman.recur` must satisfy."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import elman.cores
import elman.recur
from elman.errors import ArgumentError
from elman.recur.cell import Cell
from elman.recur.memory import MatrixCell
from elman.state import from_bytes, select_rows, to_bytes, zero_rows
from tests.laws.cores import CAUSAL, CORES, INPUT, TIMED, build, leaves, random_state

# float64 rounds by about 1e-16 per operation; sums in another order differ in the last digits only.
CLOSE = {"rtol": 0, "atol": 1e-12}
every_core = pytest.mark.parametrize("name", CORES)
every_causal_core = pytest.mark.parametrize("name", [*CAUSAL, *TIMED])
every_core_and_the_timed = pytest.mark.parametrize("name", [*CORES, *TIMED])


def same(a: object, b: object) -> None:
    torch.testing.assert_close(a, b, **CLOSE)


def test_every_exported_core_is_tested() -> None:
    # The functions are tested in tests/recur.
    cores = set(elman.recur.__all__) - {"linear_recurrence", "matrix_recurrence"}
    assert {kind for kind, _ in [*CORES.values(), *TIMED.values()]} == cores


def test_the_command_line_offers_every_cell() -> None:
    offered = (*get_args(elman.cores.AnyCell), *get_args(elman.cores.AnyTimedCell))
    assert offered == tuple(elman.cores.CORES)


@every_causal_core
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_split_of_a_sequence_equals_the_whole(name: str, data: st.DataObject) -> None:
    core = build(name)
    x = torch.randn(3, 9, INPUT, dtype=torch.float64)
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=3, max_size=3)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 9), max_size=3)))
    whole, end = core(x, None, lengths)
    parts, state = [], None
    for start, stop in zip([0, *cuts], [*cuts, 9], strict=True):
        here = (lengths - start).clamp(0, stop - start)
        y, state = core(x[:, start:stop], state, here)
        parts.append(y)
    same(torch.cat(parts, 1), whole)
    same(leaves(state), leaves(end))


@every_core_and_the_timed
@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_a_row_depends_neither_on_padding_nor_on_its_neighbours(
    name: str, lengths: list[int]
) -> None:
    core = build(name)
    x = torch.randn(len(lengths), 6, INPUT, dtype=torch.float64)
    start = random_state(core, len(lengths))
    poisoned = x.clone()
    for row, length in enumerate(lengths):
        poisoned[row, length:] = float("nan")
    poisoned.requires_grad_()
    y, end = core(poisoned, start, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        index = torch.tensor([row])
        alone, alone_end = core(x[row : row + 1, :length], select_rows(start, index))
        same(y[row : row + 1, :length], alone)
        assert bool((y[row, length:] == 0).all())
        same(leaves(select_rows(end, index)), leaves(alone_end))
    total = y.sum() + sum(leaf.sum() for leaf in leaves(end)) + poisoned.nan_to_num().sum() * 0
    gradients = torch.autograd.grad(total, [poisoned, *core.parameters()], allow_unused=True)
    assert all(bool(g.isfinite().all()) for g in gradients if g is not None)
    for row, length in enumerate(lengths):
        assert bool((gradients[0][row, length:] == 0).all())


@every_core
def test_a_whole_sequence_equals_the_equations_step_by_step(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = build(name)
    x = torch.randn(4, 7, INPUT, dtype=torch.float64, requires_grad=True)
    start, lengths = random_state(core, 4), torch.tensor([7, 0, 3, 1])

    def everything(lengths: torch.Tensor | None) -> list[torch.Tensor]:
        y, end = core(x, start, lengths)
        weights = [torch.randn(leaf.shape, dtype=leaf.dtype) for leaf in [y, *leaves(end)]]
        total = sum((w * leaf).sum() for w, leaf in zip(weights, [y, *leaves(end)], strict=True))
        return [y, *leaves(end), *torch.autograd.grad(total, [x, *core.parameters()])]

    for these in (None, lengths):
        torch.manual_seed(1)
        fast = everything(these)
        with monkeypatch.context() as patch:
            patch.setattr(type(core), "uses_torch", lambda self: False)
            patch.setattr(type(core.cell), "sequence", Cell.sequence)
            torch.manual_seed(1)
            plain = everything(these)
        same(fast, plain)


@every_core_and_the_timed
def test_gradients_equal_finite_differences(name: str) -> None:
    options = CORES.get(name, ("", {}))[1]
    core = build(name, hidden_size=options.get("hidden_size", 3))
    x = torch.randn(2, 4, INPUT, dtype=torch.float64, requires_grad=True)
    start = elman.state.map_state(lambda leaf: leaf.requires_grad_(), random_state(core, 2))

    def run(*_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, end = core(x, start, torch.tensor([4, 2]))
        return (y, *leaves(end))

    assert torch.autograd.gradcheck(run, (x, *leaves(start), *core.parameters()), fast_mode=True)


@every_core
def test_layouts_and_packed_sequences_agree(name: str) -> None:
    core = build(name)
    time_major = build(name, batch_first=False)
    x = torch.randn(4, 6, INPUT, dtype=torch.float64)
    lengths, start = torch.tensor([2, 6, 1, 4]), random_state(core, 4)
    y, end = core(x, start, lengths)
    for strided in (x.transpose(0, 1), x.transpose(0, 1).contiguous()):
        other, other_end = time_major(strided, start, lengths)
        same(other.transpose(0, 1), y)
        same(leaves(other_end), leaves(end))
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    out, packed_end = core(packed, start)
    same(pad_packed_sequence(out, batch_first=True)[0], y)
    same(leaves(packed_end), leaves(end))
    single, single_end = core(x[1], elman.state.map_state(lambda leaf: leaf[:, 1], start))
    same(single, y[1])
    same([leaf.unsqueeze(1) for leaf in leaves(single_end)], [leaf[:, 1:2] for leaf in leaves(end)])


@every_core
def test_rows_of_equal_length_equal_a_shorter_batch(name: str) -> None:
    core, time_major = build(name), build(name, batch_first=False)
    x, start = torch.randn(3, 6, INPUT, dtype=torch.float64), random_state(core, 3)
    for length in (0, 4):
        lengths, poisoned = torch.full((3,), length), x.clone()
        poisoned[:, length:] = torch.nan
        y, end = core(poisoned, start, lengths)
        expected, expected_end = core(x[:, :length], start)
        same(y[:, :length], expected)
        assert y.shape == (3, 6, core.output_size)
        assert not y[:, length:].any()
        same(leaves(end), leaves(expected_end))
        other, _ = time_major(poisoned.transpose(0, 1), start, lengths)
        same(other.transpose(0, 1), y)


@every_core_and_the_timed
def test_a_state_is_stored_bit_for_bit(name: str) -> None:
    state = random_state(build(name), 3)
    back = from_bytes(to_bytes(state))
    assert all(torch.equal(a, b) for a, b in zip(leaves(state), leaves(back), strict=True))


def test_zero_rows_starts_new_sequences_and_keeps_the_others() -> None:
    core = build("lstm hidden size per layer")
    state = random_state(core, 3)
    x = torch.randn(3, 2, INPUT, dtype=torch.float64)
    y, _ = core(x, zero_rows(state, torch.tensor([False, True, False])))
    same(y[1], core(x[1])[0])
    same(y[0], core(x, state)[0][0])


@every_core
def test_dropout_is_determined_by_the_generator(name: str) -> None:
    kind, options = CORES[name]
    noise: dict[str, object] = {"dropout": 0.5}
    if kind in ("RNN", "LSTM", "GRU", "SLSTM", "LEM"):  # a matrix multiplies the state
        noise["weight_dropout"] = 0.5
    if isinstance(options.get("hidden_size", 5), int):
        noise["num_layers"] = 2
    core = build(name, **noise)
    core.train()
    x = torch.randn(2, 5, INPUT, dtype=torch.float64)
    torch.manual_seed(1)
    first, _ = core(x, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    again, _ = core(x, generator=torch.Generator().manual_seed(3))
    other, _ = core(x, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every_core
def test_half_precision_is_close_to_single_precision(name: str) -> None:
    core = build(name, dtype=torch.float32)
    x = torch.randn(3, 6, INPUT)
    lengths = torch.tensor([6, 0, 4])
    y, _ = core(x, None, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = core(x, None, lengths)
    # bf16 keeps 8 bits, 2^-8 = 0.004 per rounding, and errors add over 6 steps and 3 layers.  Cells
    # that divide by a root mean square below 1 enlarge the errors of single numbers.
    bound = 0.2 if isinstance(core.cell, MatrixCell) else 0.06
    torch.testing.assert_close(half.float(), y, rtol=0, atol=bound)
    assert float((half.float() - y).detach().square().mean()) ** 0.5 < 0.02
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = [core(x[:, :steps])[1] for steps in (1, 6)]
    kinds = [[leaf.dtype for leaf in leaves(state)] for state in states]
    assert kinds[0] == kinds[1]  # of one step, and of several


@pytest.mark.learns
@every_core
def test_a_core_learns_to_sum_its_inputs(name: str) -> None:
    torch.manual_seed(0)
    kind, options = CORES[name]
    wide = {**options, "hidden_size": 16}
    for noise in ("dropout", "weight_dropout", "recurrent_dropout", "zoneout"):
        wide.pop(noise, None)
    core = getattr(elman.recur, kind)(2, batch_first=True, **wide)
    head = torch.nn.Linear(core.output_size, 1)
    parameters = [*core.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.02)
    numbers = torch.rand(32, 5, 1) - 0.5
    target = numbers.cumsum(1)
    x = torch.cat([numbers, torch.ones_like(numbers)], 2)  # layers without a bias need the 1
    losses = []
    # What a normalised memory returns has no size, so a sum is harder for it.
    for _ in range(300 if isinstance(core.cell, MatrixCell) else 120):
        loss = (head(core(x)[0]) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.15 * float(target.var())


def test_errors_name_the_received_and_the_expected_argument() -> None:
    core = elman.LSTM(3, 4, batch_first=True)
    x = torch.zeros(4, 40, 3)
    with pytest.raises(ArgumentError, match=r"lengths must be in 0..T=40, got 41 at row 3"):
        core(x, None, torch.tensor([40, 2, 0, 41]))
    with pytest.raises(ArgumentError, match=r"lengths must be integers .* got dtype torch.float32"):
        core(x, None, torch.tensor([0.5, 1.0, 1.0, 1.0]))
    with pytest.raises(ArgumentError, match=r"lengths must have shape \(4,\), got \(3,\)"):
        core(x, None, torch.tensor([1, 2, 3]))
    with pytest.raises(ArgumentError, match=r"input_size=3, got shape \(4, 40, 2\)"):
        core(x[..., :2])
    with pytest.raises(
        ArgumentError, match=r"state leaf 1 must have shape .*\(1, 4, 4\).*\(1, 4, 5\)"
    ):
        core(x, (torch.zeros(1, 4, 4), torch.zeros(1, 4, 5)))
    with pytest.raises(ArgumentError, match=r"tuple of 2 \(h, c\), got Tensor"):
        core(x, torch.zeros(1, 4, 4))
    with pytest.raises(ArgumentError, match=r"dropout must be a probability in \[0, 1\), got 1.5"):
        elman.GRU(3, 4, dropout=1.5)
    with pytest.raises(ArgumentError, match=r"nonlinearity must be .* got 'gelu'"):
        elman.RNN(3, 4, nonlinearity="gelu")
    with pytest.raises(ArgumentError, match=r"num_layers=3 but hidden_size names 2 layers"):
        elman.RNN(3, [4, 4], num_layers=3)
