"""Batches of many rows and wide inputs, which some processors multiply in parts of bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import elman
from elman import kernels
from elman.kernels.products import Steps, add_products, multiply

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
SETS = [] if kernels.native is None else kernels.native.instruction_sets()
CELLS = {
    "lstm": (elman.LSTM, {}),
    "projection": (elman.LSTM, {"proj_size": 97, "num_layers": 2}),
    "gru": (elman.GRU, {"bidirectional": True}),
    "reset before": (elman.GRU, {"reset_after": False}),
    "rnn": (elman.RNN, {"nonlinearity": "relu"}),
}
# B, T, D, H, threads: several chunks of steps; rows shared by threads; units shared by threads.
SIZES = [(35, 45, 40, 100, 1), (70, 30, 97, 99, 2), (33, 6, 20, 304, 2)]


@pytest.fixture(params=SETS[:2], autouse=True)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Choose an instruction set; the scratch memory and torch.empty give NaN."""
    before, threads = kernels.name(), torch.get_num_threads()
    kernels.native.choose(request.param)
    kernels.native.poison_scratch()
    torch.use_deterministic_algorithms(True)
    yield str(request.param)
    torch.use_deterministic_algorithms(False)
    kernels.native.choose(before)
    torch.set_num_threads(threads)


def results(core: torch.nn.Module, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
    """Return outputs and gradients, the latter of a sum that all outputs are part of."""
    x = x.clone().requires_grad_()
    y, _ = core(x, lengths=lengths)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in core.parameters() if p.grad is not None)]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_gradients_equal_those_in_float64(
    cell: str, size: tuple[int, int, int, int, int], ragged: bool
) -> None:
    torch.manual_seed(0)
    B, T, D, H, threads = size
    torch.set_num_threads(threads)
    module, options = CELLS[cell]
    core = module(D, H, **options)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(0.7)
    x = torch.randn(T, B, D)
    lengths = torch.randint(1, T + 1, (B,)) if ragged else None
    assert core.way(x) == "kernel"
    exact = results(copy.deepcopy(core).double(), x.double(), lengths)
    with torch.no_grad():  # it keeps nothing for a backward pass
        torch.testing.assert_close(core(x, lengths=lengths)[0].double(), exact[0], rtol=0, atol=2e-5)
    for found, wanted in zip(results(core, x, lengths), exact, strict=True):
        assert float((found - wanted).abs().max()) <= 2e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 3.4e38, -3.4e38])
def test_numbers_without_a_bfloat16_are_multiplied_as_floats(value: float) -> None:
    torch.manual_seed(0)
    a, w = torch.randn(70, 40) / 100, torch.randn(45, 40) / 100
    a[3, 5] = a[66, 39] = value
    w[40, 2] = 3.39e38
    w[1, 1] = value
    wanted = (a.double() @ w.double().t()).float()
    out = torch.empty(70, 45)
    multiply(Steps(a), w, out, transposed=True)
    torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)
    sums: dict[str, Tensor] = {}
    add_products(sums, a.t().contiguous(), {"x": Steps(w.t().contiguous())})
    torch.testing.assert_close(sums["x"], wanted, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_infinite_inputs_saturate_the_gates_as_in_torch() -> None:
    ours, theirs = elman.LSTM(20, 100), torch.nn.LSTM(20, 100)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 40, 20)
    x[1, 7, 3] = float("inf")
    x[2, 39, 0] = -float("inf")
    with torch.no_grad():
        y = ours(x)[0]
        assert y.isfinite().all()
        torch.testing.assert_close(y, theirs(x)[0], rtol=1e-5, atol=1e-6)
