"""The sLSTM against its equations, the start of a sequence in single rows, and its heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import elman
from elman.errors import ArgumentError
from elman.state import from_bytes, named_leaves, to_bytes, zero_rows

B, T, F = 3, 6, 4
Array = NDArray[np.float64]


def core_of(hidden: int = 6, heads: int = 2, **options: object) -> elman.SLSTM:
    torch.manual_seed(0)
    core = elman.SLSTM(F, hidden, heads=heads, batch_first=True, dtype=torch.float64, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.5)
    return core.eval()


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def by_definition(core: elman.SLSTM, x: Array, heads: int) -> Array:
    """Return the outputs for one row (T, F), without a stabiliser and with a full matrix R."""
    weights = {name: weight.detach().numpy() for name, weight in core.weights(0).items()}
    hidden, size = core.output_size, core.output_size // heads
    R = np.zeros((4, hidden, hidden))
    for head, block in enumerate(weights["weight_hh"].reshape(heads, 4, size, size)):
        units = slice(head * size, (head + 1) * size)
        R[:, units, units] = block
    h, c, n = np.zeros((3, hidden))
    found = []
    for x_t in x:
        a = (weights["weight_ih"] @ x_t + weights["bias"]).reshape(4, hidden) + R @ h
        i, f, z, o = np.exp(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        found.append(h)
    return np.array(found)


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_outputs_equal_the_equations_without_a_stabiliser(heads: int) -> None:
    core, x = core_of(heads=heads), torch.randn(B, T, F, dtype=torch.float64)
    y, _ = core(x)
    for row in range(B):
        expected = by_definition(core, x[row].numpy(), heads)
        np.testing.assert_allclose(y[row].detach().numpy(), expected, rtol=0, atol=1e-12)


def leaves(state: object) -> list[Tensor]:
    return [leaf for _, leaf in named_leaves(state)]  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_a_row_begins_beside_rows_with_a_past_at_any_size_of_the_input_gate(size: float) -> None:
    core = core_of().float()
    x = torch.randn(B, T, F)
    _, state = core(x)
    fresh = torch.tensor([False, True, False])
    state = zero_rows(state, fresh)
    with torch.no_grad():
        core.bias_l0[:6] = size  # exp of it is 0 or infinite in float32
    x.requires_grad_()
    y, end = core(x, state)
    alone, alone_end = core(x[1:2])
    torch.testing.assert_close(y[1:2], alone)
    torch.testing.assert_close([leaf[:, 1:2] for leaf in leaves(end)], leaves(alone_end))
    # n cancels in the first step, so that h is o * tanh(z)
    z, o = (x[1, 0] @ core.weight_ih_l0.t() + core.bias_l0)[12:].chunk(2)
    torch.testing.assert_close(y[1, 0], torch.sigmoid(o) * torch.tanh(z))
    assert bool(y.isfinite().all())
    gradients = torch.autograd.grad(y.sum(), [x, *core.parameters()])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_the_normaliser_is_at_least_one_after_a_step_and_bounds_the_cell() -> None:
    core = core_of()
    _, (_, c, n, _) = core(10 * torch.randn(20, T, F, dtype=torch.float64))
    assert bool((n >= 1).all())
    assert bool((c.abs() <= n).all())


def test_a_row_without_steps_stays_without_a_past() -> None:
    core = core_of()
    x = torch.randn(2, T, F, dtype=torch.float64)
    _, state = core(x, None, [0, T])
    assert not any(leaf[:, 0].any() for leaf in leaves(state))
    torch.testing.assert_close(core(x, state)[0][0], core(x)[0][0])


def test_units_of_one_head_do_not_read_those_of_another() -> None:
    core, x = core_of(6, 3), torch.randn(1, T, F, dtype=torch.float64)
    h, *others = (leaf.detach() for leaf in leaves(core(x)[1]))
    h.requires_grad_()
    y, _ = core(x, (h, *others))
    for unit in range(6):
        (gradient,) = torch.autograd.grad(y[0, 0, unit], h, retain_graph=True)
        same = torch.arange(6) // 2 == unit // 2
        assert torch.equal(gradient[0, 0] != 0, same)


def test_heads_have_64_units_by_default_if_these_divide_the_hidden_size() -> None:
    shapes = {
        hidden: tuple(elman.SLSTM(2, hidden).weight_hh_l0.shape) for hidden in (64, 192, 8, 100)
    }
    assert shapes == {64: (1, 256, 64), 192: (3, 256, 64), 8: (1, 32, 8), 100: (1, 400, 100)}
    layers = elman.SLSTM(2, [64, 128, 12])
    assert [len(layers.weights(k)["weight_hh"]) for k in range(3)] == [1, 2, 1]
    for heads in (0, 4, -1):
        with pytest.raises(
            ArgumentError, match=f"hidden_size=6 must be a multiple of heads={heads}"
        ):
            elman.SLSTM(2, 6, heads=heads)
    with pytest.raises(ArgumentError, match="hidden_size=6 must be a multiple of heads=4"):
        elman.SLSTM(2, [8, 6], heads=4)


def test_forget_gates_start_open_and_the_recurrence_at_zero() -> None:
    core = elman.SLSTM(2, 128)
    i, f, z, o = core.bias_l0.chunk(4)
    torch.testing.assert_close(f, torch.linspace(3, 6, 64).repeat(2))
    assert not any(part.any() for part in (i, z, o, core.weight_hh_l0))


def test_zoneout_keeps_units_of_the_output_only() -> None:
    core = core_of(zoneout=0.5).train()
    x = torch.randn(4, 1, F, dtype=torch.float64)
    h = torch.full((1, 4, 6), 9.0, dtype=torch.float64)
    start = (h, torch.zeros_like(h), torch.ones_like(h), torch.zeros_like(h))
    y, (_, c, n, m) = core(x, start, generator=torch.Generator().manual_seed(0))
    kept = y[:, 0] == 9
    assert 0 < int(kept.sum()) < kept.numel()
    core.zoneout = (0.0,) * 4
    torch.testing.assert_close((c, n, m), core(x, start)[1][1:])


def test_a_stream_equals_the_batch_and_its_state_survives_as_bytes() -> None:
    core, x = core_of(num_layers=2).float(), torch.randn(2, T, F)
    whole, _ = core(x)
    stream = elman.Stream(core, rows=2)
    for t in range(T):
        torch.testing.assert_close(stream(x[:, t]), whole[:, t])
        state = from_bytes(to_bytes(stream.state))
        stream = elman.Stream(core, rows=2, state=state)


@pytest.mark.learns
def test_the_parity_of_bits_is_learned() -> None:
    torch.manual_seed(0)
    core, head = elman.SLSTM(1, 32, batch_first=True), torch.nn.Linear(32, 1)
    optimiser = torch.optim.Adam([*core.parameters(), *head.parameters()], lr=0.01)
    for _ in range(200):
        bits = torch.randint(2, (64, 12, 1)).float()
        logits, parity = head(core(bits)[0]), bits.cumsum(1) % 2
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, parity)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(core.parameters(), 1.0)
        optimiser.step()
    bits = torch.randint(2, (256, 12, 1)).float()
    right = (head(core(bits)[0]) > 0) == (bits.cumsum(1) % 2 > 0)
    assert float(right.float().mean()) > 0.99
