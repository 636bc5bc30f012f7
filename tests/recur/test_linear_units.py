"""The LRU and the RG-LRU against their equations, their initial values and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import elman
from elman.errors import ArgumentError
from elman.recur.stack import Stack
from elman.state import named_leaves

CORES = {"lru": elman.LRU, "rglru": elman.RGLRU}
T, B, D, H = 6, 2, 3, 12


def eigenvalues(core: elman.LRU) -> Tensor:
    return torch.exp(torch.complex(-core.nu_log_l0.exp(), core.theta_log_l0.exp()))


def test_the_lru_computes_its_equations_in_complex_numbers() -> None:
    torch.manual_seed(0)
    core = elman.LRU(D, H, dtype=torch.float64)
    x, start = torch.randn(T, B, D).double(), torch.randn(B, H, dtype=torch.complex128)
    factors, gamma = eigenvalues(core), core.gamma_log_l0.exp()
    matrix_in = torch.complex(core.weight_in_l0[::2], core.weight_in_l0[1::2])
    matrix_out = torch.complex(core.weight_out_l0[:, ::2], -core.weight_out_l0[:, 1::2])
    s, expected = start, []
    for step in x:
        s = factors * s + gamma * (step.to(s.dtype) @ matrix_in.t())
        expected.append((s @ matrix_out.t()).real + step @ core.weight_skip_l0.t())
    y, (last, end) = core(x, (torch.zeros(1, B, H).double(), torch.view_as_real(start)[None]))
    torch.testing.assert_close(y, torch.stack(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.view_as_complex(end[0]), s, rtol=0, atol=1e-12)
    assert torch.equal(last[0], y[-1])


def test_the_rg_lru_computes_its_equations() -> None:
    torch.manual_seed(0)
    core = elman.RGLRU(D, H, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in core.named_parameters():
            if name.startswith("bias"):
                weight.normal_()
    assert core.weight_gates_l0.shape == (2, 4, 3, 3)  # gcd(12, 8) blocks
    x, h = torch.randn(T, B, D).double(), torch.randn(B, H).double()
    tail = torch.randn(B, 3, H).double()
    u = torch.cat([tail.transpose(0, 1), x @ core.weight_in_l0.t()])
    w_r, w_i = (torch.block_diag(*blocks) for blocks in core.weight_gates_l0)
    b_r, b_i = core.bias_gates_l0
    start = (torch.zeros(1, B, H).double(), h[None], tail[None])
    expected = []
    for t, step in enumerate(x):
        c = core.bias_conv_l0 + sum(core.weight_conv_l0[:, 3 - k] * u[t + 3 - k] for k in range(4))
        r, i = torch.sigmoid(c @ w_r.t() + b_r), torch.sigmoid(c @ w_i.t() + b_i)
        a = torch.exp(-8 * F.softplus(core.decay_l0) * r)
        h = a * h + torch.sqrt(1 - a**2) * (i * c)
        gate = F.gelu(step @ core.weight_gelu_l0.t() + core.bias_gelu_l0)
        expected.append((h * gate) @ core.weight_out_l0.t())
    y, (last, end, carried) = core(x, start)
    torch.testing.assert_close(y, torch.stack(expected), rtol=0, atol=1e-12)
    torch.testing.assert_close(end[0], h, rtol=0, atol=1e-12)
    torch.testing.assert_close(carried[0], u[-3:].transpose(0, 1), rtol=0, atol=1e-12)
    assert torch.equal(last[0], y[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_initial_eigenvalues_fill_the_ring_evenly(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    core = elman.LRU(1, 4000, r_min=0.5, r_max=0.9, max_phase=math.pi / 2, dtype=dtype)
    found, gamma = eigenvalues(core).detach(), core.gamma_log_l0.detach().exp()
    radius, phase = found.abs(), found.angle()
    assert 0.5 - 1e-6 < float(radius.min()) < 0.51
    assert 0.89 < float(radius.max()) < 0.9 + 1e-6
    assert -1e-6 < float(phase.min()) < 0.01
    assert math.pi / 2 - 0.01 < float(phase.max()) < math.pi / 2 + 1e-6
    # A mean of 4,000 numbers uniform over 0.56 or 1.6 has a standard error of 0.0026 or 0.0072.
    assert abs(float(radius.square().mean()) - (0.25 + 0.81) / 2) < 0.015
    assert abs(float(phase.mean()) - math.pi / 4) < 0.04
    torch.testing.assert_close(gamma, torch.sqrt(1 - radius**2), rtol=1e-4, atol=0)


def test_initial_decays_of_the_rg_lru_are_between_their_limits() -> None:
    torch.manual_seed(0)
    decay = torch.exp(-F.softplus(elman.RGLRU(1, 4000).decay_l0.detach()))
    assert 0.9 - 1e-6 < float(decay.min()) < 0.901
    assert 0.998 < float(decay.max()) < 0.999 + 1e-6
    assert abs(float(decay.square().mean()) - (0.81 + 0.998) / 2) < 0.01


@pytest.mark.parametrize("limits", [(0.0, 1.0), (0.0, 1e-4), (0.9999999, 1.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_rings_have_finite_values_and_gradients(
    limits: tuple[float, float], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    core = elman.LRU(2, 500, r_min=limits[0], r_max=limits[1], dtype=dtype)
    core(torch.randn(5, 2, 2, dtype=dtype))[0].float().square().sum().backward()
    for weight in core.parameters():
        assert bool(weight.isfinite().all())
        assert weight.grad is not None
        assert bool(weight.grad.isfinite().all())


@pytest.mark.parametrize(
    "wrong",
    [
        {"r_min": -0.1},
        {"r_min": 0.5, "r_max": 0.5},
        {"r_max": 1.1},
        {"r_min": math.nan},
        {"max_phase": 0.0},
        {"max_phase": 7.0},
    ],
)
def test_a_ring_outside_the_unit_disc_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=r"must satisfy 0 <= r_min < r_max <= 1 and .* got"):
        elman.LRU(2, 3, **wrong)


def test_a_closed_gate_keeps_the_state_and_finite_gradients() -> None:
    core = elman.RGLRU(2, 8)
    with torch.no_grad():
        core.bias_gates_l0[0] = -200.0  # r_t underflows to 0, so a_t is 1
    x = torch.randn(4, 3, 2)
    start = tuple(torch.randn(1, 3, *shape) for shape in ((8,), (8,), (3, 8)))
    y, (_, h, _) = core(x, start)
    assert torch.equal(h, start[1])
    y.sum().backward()
    assert all(bool(w.grad.isfinite().all()) for w in core.parameters())


@pytest.mark.parametrize("name", CORES)
def test_a_decoder_starts_from_a_state_that_the_next_step_reads(name: str) -> None:
    for size in (5, [5, 3]):
        core = CORES[name](2, size, 2, batch_first=True)
        first = torch.randn(2, 4, 5) if size == 5 else (torch.randn(1, 4, 5), torch.randn(1, 4, 3))
        x = torch.randn(4, 1, 2)
        state = core.begin(first)
        _, like = core(x)
        shapes = [leaf.shape for _, leaf in named_leaves(like)]
        assert [leaf.shape for _, leaf in named_leaves(state)] == shapes
        assert not torch.allclose(core(x, state)[0], core(x)[0])


@pytest.mark.parametrize("name", CORES)
def test_bfloat16_weights_give_states_of_bfloat16(name: str) -> None:
    torch.manual_seed(0)
    core: Stack = CORES[name](3, 8, 2, batch_first=True)
    short: Stack = CORES[name](3, 8, 2, batch_first=True, dtype=torch.bfloat16)
    core.load_state_dict(short.state_dict())
    x, lengths = torch.randn(4, 9, 3).bfloat16(), [9, 0, 4, 1]
    y, state = short(x, None, lengths)
    again, _ = short(x, state, lengths)
    assert {leaf.dtype for _, leaf in named_leaves(state)} == {y.dtype} == {torch.bfloat16}
    expected, state = core(x.float(), None, lengths)
    # bfloat16 rounds by 2^-8 at each of some 10 operations in each of two layers.
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(
        again.float(), core(x.float(), state, lengths)[0], rtol=0.05, atol=0.1
    )


@pytest.mark.parametrize("cell", CORES)
def test_zoneout_is_refused(cell: str) -> None:
    with pytest.raises(ArgumentError, match=rf"zoneout=0.1 needs cell=.*got cell={cell}"):
        elman.LanguageModel(cell=cell, zoneout=0.1).check()


@pytest.mark.filterwarnings("ignore")  # those of torch, about tracing
@pytest.mark.parametrize("name", CORES)
def test_transformed_and_traced_layers_equal_the_layer(name: str) -> None:
    torch.manual_seed(0)
    core, x = CORES[name](3, 8, batch_first=True), torch.randn(2, 5, 3)
    expected = core(x)[0]
    torch.testing.assert_close(torch.func.vmap(lambda row: core(row)[0])(x), expected)
    backward = torch.func.jacrev(lambda x: core(x)[0])(x)
    torch.testing.assert_close(torch.func.jacfwd(lambda x: core(x)[0])(x), backward)
    traced = torch.jit.trace(core, torch.zeros(2, 5, 3))
    torch.testing.assert_close(traced(x)[0], expected)
