"""GRU-D against its equations, in parts, with lengths, and against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import elman
from elman.errors import ArgumentError
from elman.recur.cell import Cell, Masks
from elman.state import State

B, T, C, H, E = 4, 9, 3, 5, 2


def inputs(dtype: torch.dtype = torch.float64) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    there = (torch.rand(B, T, C, generator=draw) < 0.4).to(dtype)
    values = torch.randn(B, T, C, generator=draw, dtype=dtype) * there
    elapsed = torch.rand(B, T, 1, generator=draw, dtype=dtype)
    return torch.cat([values, there, elapsed, torch.randn(B, T, E, generator=draw, dtype=dtype)], 2)


@pytest.fixture
def core() -> elman.GRUD:
    torch.manual_seed(1)
    core = elman.GRUD(C, H, E).double()
    with torch.no_grad():  # large enough to have an effect
        core.decay_input += 0.5
        core.decay_state += 0.3
    return core


def by_definition(core: elman.GRUD, x: Tensor, length: int) -> Tensor:
    """Return the outputs by the equations in `elman.recur.grud`, step by step; x is (T, ...)."""
    h, seen, d, m, before = (torch.zeros(n, dtype=x.dtype) for n in (H, C, C, C, C))
    found = []
    W, U = core.weight_ih, core.weight_hh
    for x_t in x[:length]:
        value, there, s, u = x_t.split([C, C, 1, E])
        d = s + (1 - m) * d
        seen = m * before + (1 - m) * seen
        a = torch.exp(-torch.clamp(core.decay_input * d + core.decay_input_bias, min=0))
        g = torch.exp(-torch.clamp(core.decay_state @ d + core.decay_state_bias, min=0))
        v = there * value + (1 - there) * a * seen
        k = g * h
        r_in, z_in, n_in = (W @ torch.cat([v, there, u]) + core.bias).split(H)
        r = torch.sigmoid(r_in + U[:H] @ k)
        z = torch.sigmoid(z_in + U[H : 2 * H] @ k)
        n = torch.tanh(n_in + U[2 * H :] @ (r * k))
        h = (1 - z) * n + z * k
        m, before = there, value
        found.append(h)
    return torch.stack(found) if found else torch.zeros(0, H, dtype=x.dtype)


def test_outputs_match_the_equations(core: elman.GRUD) -> None:
    x, lengths = inputs(), torch.tensor([T, 4, 0, 1])
    x[1, 4:] = torch.nan  # padding is never read
    y, (h, _, _) = core(x, None, lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = by_definition(core, x[row], length)
        torch.testing.assert_close(y[row, :length], expected)
        assert bool((y[row, length:] == 0).all())
        last = expected[-1] if length else torch.zeros(H, dtype=x.dtype)
        torch.testing.assert_close(h[0, row], last)


@pytest.mark.parametrize("cut", range(T + 1))
def test_two_parts_equal_the_sequence(core: elman.GRUD, cut: int) -> None:
    x, lengths = inputs(), torch.tensor([T, 4, 0, 1])
    whole, end = core(x, None, lengths)
    first = lengths.clamp(max=cut)
    y1, state = core(x[:, :cut], None, first)
    y2, last = core(x[:, cut:], state, lengths - first)
    torch.testing.assert_close(torch.cat([y1, y2], 1), whole)
    for a, b in zip(leaves(last), leaves(end), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dropped", [False, True])
def test_single_steps_equal_the_whole_sequence(core: elman.GRUD, dropped: bool) -> None:
    x, lengths = inputs().transpose(0, 1), torch.tensor([T, 4, 0, 1])
    x = torch.where(torch.arange(T)[:, None, None] < lengths[:, None], x, 0)
    state = tuple(torch.rand(B, n, dtype=x.dtype) for n in (H, C, C))
    masks = Masks(2.0 * (torch.rand(B, H, dtype=x.dtype) < 0.5) if dropped else None, (0.0,) * 3)
    cell, weights = core.cell, core.weights(0)
    for given in (None, lengths):
        whole, end = cell.sequence(x, state, weights, masks=masks, lengths=given, reverse=False)
        steps, last = Cell.sequence(
            cell, x, state, weights, masks=masks, lengths=given, reverse=False
        )
        torch.testing.assert_close(steps, whole)
        torch.testing.assert_close(last, end)


def test_packed_rows_and_single_sequences_equal_the_batch(core: elman.GRUD) -> None:
    x, lengths = inputs(), torch.tensor([T, 4, 2, 1])
    y, _ = core(x, None, lengths)
    packed, _ = core(pack_padded_sequence(x, lengths, batch_first=True))
    torch.testing.assert_close(pad_packed_sequence(packed, batch_first=True)[0], y)
    torch.testing.assert_close(core(x[0])[0], y[0])


def leaves(state: State) -> list[Tensor]:
    assert isinstance(state, tuple)
    return [leaf for leaf in state if isinstance(leaf, Tensor)]


def test_gradients_match_finite_differences(core: elman.GRUD) -> None:
    x, lengths = inputs()[:3, :5], torch.tensor([5, 2, 0])
    there = x[:, :, C : 2 * C].clone()

    def run(values: Tensor, rest: Tensor, *weights: Tensor) -> Tensor:
        names = [name for name, _ in core.named_parameters()]
        whole = torch.cat([values * there, there, rest], 2)
        y, _ = torch.func.functional_call(
            core, dict(zip(names, weights, strict=True)), (whole, None, lengths)
        )
        return y

    parts = [x[:, :, :C], x[:, :, 2 * C :], *core.parameters()]
    leaves = [p.detach().clone().requires_grad_() for p in parts]
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


def test_without_time_or_gaps_the_layer_equals_a_gru() -> None:
    torch.manual_seed(0)
    core = elman.GRUD(C, H)
    gru = elman.GRU(C, H, batch_first=True, reset_after=False)
    with torch.no_grad():
        for weight in (core.decay_input_bias, core.decay_state_bias):
            weight.zero_()
        gru.weight_ih_l0.copy_(core.weight_ih[:, :C])
        gru.bias_ih_l0.copy_(core.bias + core.weight_ih[:, C:].sum(1))
        gru.weight_hh_l0.copy_(core.weight_hh)
        gru.bias_hh_l0.zero_()
    values = torch.randn(2, 7, C)
    x = torch.cat([values, torch.ones(2, 7, C), torch.zeros(2, 7, 1)], 2)
    torch.testing.assert_close(core(x)[0], gru(values)[0], rtol=1e-5, atol=1e-6)


def test_old_values_decay() -> None:
    core = elman.GRUD(1, H)
    with torch.no_grad():
        core.decay_input.fill_(1.0)
        core.decay_state.fill_(1.0)
    first = torch.tensor([[[2.0, 1.0, 0.0]]])
    _, state = core(first)
    later = [core(torch.tensor([[[0.0, 0.0, gap]]]), state)[0] for gap in (0.0, 1e6)]
    nothing = core(torch.tensor([[[0.0, 0.0, 0.0]]]))[0]
    torch.testing.assert_close(later[1], nothing)
    assert (later[0] - nothing).abs().max() > 0.01


def test_invalid_sizes_and_shapes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="at least 1, extra at least 0, got 0, 4, 0"):
        elman.GRUD(0, 4)
    with pytest.raises(ArgumentError, match=r"input_size=7, got shape \(2, 5, 6\)"):
        elman.GRUD(3, 4)(torch.zeros(2, 5, 6))
    with pytest.raises(ArgumentError, match="state of GRUD must be a tuple of 3"):
        elman.GRUD(3, 4)(torch.zeros(2, 5, 7), torch.zeros(1, 2, 4))
