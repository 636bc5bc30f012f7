"""GRUwE and CfC against their equations in NumPy, in parts, and with uneven time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import elman
from elman.errors import ArgumentError
from elman.recur.cell import Cell
from elman.state import named_leaves, zero_rows

B, T, C, H, E = 4, 9, 3, 5, 2
CORES: dict[str, Any] = {
    "gruwe": elman.GRUwE,
    "cfc": elman.CfC,
    "cfc with a wide backbone": lambda *sizes: elman.CfC(*sizes, backbone=11),
}
every_core = pytest.mark.parametrize("name", CORES)
LENGTHS = torch.tensor([T, 4, 0, 1])
Array = NDArray[np.float64]


def inputs(dtype: torch.dtype = torch.float64) -> Tensor:
    """Return recordings with gaps, uneven times and features that are always present."""
    draw = torch.Generator().manual_seed(0)
    there = (torch.rand(B, T, C, generator=draw) < 0.4).to(dtype)
    values = torch.randn(B, T, C, generator=draw, dtype=dtype) * there
    elapsed = 10 ** (4 * torch.rand(B, T, 1, generator=draw, dtype=dtype) - 2)  # 0.01 to 100
    return torch.cat([values, there, elapsed, torch.randn(B, T, E, generator=draw, dtype=dtype)], 2)


def core_of(name: str, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(1)
    core = CORES[name](C, H, E).to(dtype)
    with torch.no_grad():  # biases of 0 would hide mistakes
        for parameter in core.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return core


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def gruwe(w: dict[str, Array], x: Array) -> Array:
    h, found = np.zeros(H), []
    U_r, U_z, U_n = w["weight_hh"].reshape(3, H, H)
    for x_t in x:
        value, there, (s,), u = np.split(x_t, [C, 2 * C, 2 * C + 1])
        k = np.exp(-np.maximum(0, w["decay_state"] * s + w["decay_state_bias"])) * h
        a = w["weight_ih"] @ np.concatenate([value, there, u]) + w["bias"]
        r, z = sigmoid(a[:H] + U_r @ k), sigmoid(a[H : 2 * H] + U_z @ k)
        n = np.tanh(a[2 * H :] + U_n @ (r * k))
        h = (1 - z) * n + z * k
        found.append(h)
    return np.array(found)


def cfc(w: dict[str, Array], x: Array) -> Array:
    h, v, found = np.zeros(H), np.zeros(C), []
    for x_t in x:
        value, there, (s,), u = np.split(x_t, [C, 2 * C, 2 * C + 1])
        v = np.where(there == 1, value, v)
        a = w["weight_ih"] @ np.concatenate([v, there, u]) + w["weight_hh"] @ h + w["bias"]
        b = 1.7159 * np.tanh(2 * a / 3)
        f, offset, g, other = (w["weight_out"] @ b + w["bias_out"]).reshape(4, H)
        k = sigmoid(-f * s + offset)
        h = k * np.tanh(g) + (1 - k) * np.tanh(other)
        found.append(h)
    return np.array(found)


@every_core
def test_outputs_equal_the_equations(name: str) -> None:
    core, x = core_of(name), inputs()
    weights = {key: weight.detach().numpy() for key, weight in core.weights(0).items()}
    y, _ = core(x)
    for row in range(B):
        expected = (gruwe if name == "gruwe" else cfc)(weights, x[row].numpy())
        np.testing.assert_allclose(y[row].detach().numpy(), expected, rtol=0, atol=1e-12)


def leaves(state: Any) -> list[Tensor]:
    return [leaf for _, leaf in named_leaves(state)]


@every_core
@pytest.mark.parametrize("cuts", [[0], [1, 2], [4], [3, 3, 8]])
def test_parts_with_uneven_times_equal_the_sequence(name: str, cuts: list[int]) -> None:
    core, x = core_of(name), inputs()
    whole, end = core(x, None, LENGTHS)
    parts, state = [], None
    for start, stop in zip([0, *cuts], [*cuts, T], strict=True):
        y, state = core(x[:, start:stop], state, (LENGTHS - start).clamp(0, stop - start))
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(leaves(state), leaves(end))


@every_core
def test_a_row_that_is_set_to_zero_starts_a_new_recording(name: str) -> None:
    core, x = core_of(name), inputs()
    _, state = core(x)
    again, _ = core(x, zero_rows(state, torch.tensor([False, True, False, False])))
    torch.testing.assert_close(again[1], core(x)[0][1])


@every_core
def test_the_time_between_steps_changes_the_state(name: str) -> None:
    core, x = core_of(name), inputs()
    later = x.clone()
    later[:, 1, 2 * C] *= 3
    y, other = core(x)[0], core(later)[0]
    torch.testing.assert_close(y[:, 0], other[:, 0])
    assert float((y[:, 1] - other[:, 1]).abs().max().detach()) > 1e-3


@every_core
def test_a_value_under_a_mask_of_zero_is_not_read(name: str) -> None:
    core, x = core_of(name), inputs()
    other = x.clone()
    other[..., :C] += 7 * (1 - x[..., C : 2 * C])
    torch.testing.assert_close(core(other)[0], core(x)[0])


def test_a_decay_forgets_the_state_of_gruwe_after_a_long_time() -> None:
    core = elman.GRUwE(1, H)
    with torch.no_grad():
        core.decay_state.fill_(1.0)
    _, h = core(torch.tensor([[[2.0, 1.0, 0.0]]]))
    later = [core(torch.tensor([[[0.0, 0.0, gap]]]), h)[0] for gap in (0.0, 1e6)]
    nothing = core(torch.zeros(1, 1, 3))[0]
    torch.testing.assert_close(later[1], nothing)
    assert float((later[0] - nothing).abs().max().detach()) > 0.01


def test_cfc_keeps_the_last_value_of_a_channel() -> None:
    core = elman.CfC(2, H)
    x = torch.tensor([[[3.0, 5.0, 1, 1, 0], [4.0, 0.0, 1, 0, 1], [0.0, 0.0, 0, 0, 1]]])
    _, (_, last) = core(x)
    assert last.tolist() == [[[4.0, 5.0]]]


@pytest.mark.parametrize("dropped", [False, True])
def test_the_kernel_of_gruwe_equals_its_steps(dropped: bool, monkeypatch: Any) -> None:
    core, x = core_of("gruwe", torch.float32), inputs(torch.float32).requires_grad_()
    core.recurrent_dropout = 0.5 * dropped

    def run(lengths: Tensor | None) -> list[Tensor]:
        y, h = core(x, None, lengths, generator=torch.Generator().manual_seed(3))
        loss = y.square().sum() + h.sum()
        return [y, h, *torch.autograd.grad(loss, [x, *core.parameters()])]

    for lengths in (None, LENGTHS):
        fast = run(lengths)
        with monkeypatch.context() as patch:
            patch.setattr(type(core.cell), "sequence", Cell.sequence)
            plain = run(lengths)
        # Sums of some 40 float32 terms are in another order.
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


@every_core
def test_a_stream_equals_the_batch(name: str) -> None:
    core, x = core_of(name).eval(), inputs()
    whole, _ = core(x)
    stream = elman.Stream(core, rows=B)
    for t in range(T):
        torch.testing.assert_close(stream(x[:, t]), whole[:, t])


@pytest.mark.learns
@every_core
def test_the_time_since_a_value_is_learned(name: str) -> None:
    """The target is the value of the first step, halved with every unit of time since then."""
    torch.manual_seed(0)
    core, head = CORES[name](1, 16), torch.nn.Linear(16, 1)
    optimiser = torch.optim.Adam([*core.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(300):
        elapsed = torch.rand(64, 5, 1)
        elapsed[:, 0] = 0
        there = torch.zeros(64, 5, 1)
        there[:, 0] = 1
        values = torch.randn(64, 5, 1) * there
        target = values[:, :1] * 0.5 ** elapsed.cumsum(1)
        y, _ = core(torch.cat([values, there, elapsed], 2))
        loss = (head(y) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()) / float(target.var()))
    assert np.mean(losses[-10:]) < 0.1


@every_core
def test_invalid_sizes_and_shapes_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="at least 1, extra at least 0, got 2, 4, -1"):
        CORES[name](2, 4, -1)
    with pytest.raises(ArgumentError, match=r"input_size=7, got shape \(2, 5, 6\)"):
        CORES[name](3, 4)(torch.zeros(2, 5, 6))
    with pytest.raises(ArgumentError, match="backbone must be at least 1, got 0"):
        elman.CfC(2, 4, backbone=0)
