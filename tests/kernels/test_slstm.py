"""The native sLSTM equals its equations: outputs, the last state and every gradient."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import elman
from elman import kernels
from elman.errors import ArgumentError
from elman.kernels import slstm
from elman.recur.cell import Masks, Weights
from elman.recur.slstm import SLSTMCell

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
SETS = [] if kernels.native is None else kernels.native.instruction_sets()
# Rows, steps, features, heads, units of a head: around a register, several groups of rows.
SIZES = [(1, 1, 1, 1, 1), (2, 5, 3, 3, 5), (13, 4, 7, 2, 17), (100, 3, 4, 2, 16), (7, 6, 9, 1, 150)]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill torch.empty and the scratch memory with NaN."""
    kernels.native.poison_scratch()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.name()
    kernels.native.choose(request.param)
    yield request.param
    kernels.native.choose(before)


def inputs_of(size: tuple[int, ...], *, started: bool) -> tuple[Tensor, list[Tensor], Weights]:
    """Return x, the state and the weights; rows with a past have any state, others zeros."""
    rows, steps, features, heads, units = size
    hidden = heads * units
    cell = SLSTMCell(heads)
    shapes = cell.weight_shapes(features, hidden)
    weights = {name: 0.7 * torch.randn(shape) for name, shape in shapes.items()}
    weights["weight_hh"] /= units**0.5  # larger matrices would amplify rounding from step to step
    state = [torch.randn(rows, hidden) for _ in range(4)]
    state[2] = state[2].abs() + 0.5
    if not started:  # every second row has no past
        state = [leaf * (torch.arange(rows) % 2)[:, None] for leaf in state]
    return torch.randn(steps, rows, features), state, weights


def assert_parity(
    size: tuple[int, ...],
    *,
    ragged: bool = False,
    reverse: bool = False,
    started: bool = True,
    dropped: bool = False,
    kept: Tensor | float = 0.0,
) -> None:
    rows, steps, _, heads, units = size
    cell, hidden = SLSTMCell(heads), heads * units
    x, state, weights = inputs_of(size, started=started)
    lengths = torch.randint(0, steps + 1, (rows,)) if ragged else None
    seen = 2 * torch.randint(0, 2, (rows, hidden)).float() if dropped else None
    if lengths is not None:
        x[torch.arange(steps)[:, None] >= lengths] = 0
    outside = [torch.randn(steps, rows, hidden), *(torch.randn(rows, hidden) for _ in range(4))]

    def everything(kind: torch.dtype) -> list[Tensor]:
        leaves = [t.to(kind, copy=True).requires_grad_() for t in (x, *state, *weights.values())]
        masks = Masks(
            None if seen is None else seen.to(kind),
            (kept.to(kind) if isinstance(kept, Tensor) else kept, 0.0, 0.0, 0.0),
        )
        y, end = cell.sequence(
            leaves[0],
            tuple(leaves[1:5]),
            dict(zip(weights, leaves[5:], strict=True)),
            masks=masks,
            lengths=lengths,
            reverse=reverse,
        )
        assert (type(y.grad_fn).__name__ == "_SlstmBackward") == (kind == torch.float32)
        given = [weight.to(kind) for weight in outside]
        return [y, *end, *torch.autograd.grad([y, *end], leaves, given)]

    for ours, exact in zip(everything(torch.float32), everything(torch.float64), strict=True):
        assert ours.shape == exact.shape
        # Rounding of 6e-8 in exponents of up to about 10, and in sums over steps and rows.
        bound = 1e-5 * max(1, float(exact.detach().abs().max()))
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_kernel_equals_the_equations(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    rows, steps, _, heads, units = size
    zoneout = torch.randint(0, 2, (steps, rows, heads * units)).float()
    yes = (False, True)
    for ragged, reverse, started in itertools.product(yes, yes, yes):
        assert_parity(size, ragged=ragged, reverse=reverse, started=started)
        assert_parity(size, ragged=ragged, reverse=reverse, dropped=True, kept=0.3)
        assert_parity(size, ragged=ragged, reverse=reverse, started=started, kept=zoneout)


def test_every_instruction_set_computes_the_same(instruction_set: str) -> None:
    torch.manual_seed(0)
    for size in SIZES:
        assert_parity(size, ragged=True, reverse=True, dropped=True)
        assert_parity(size, started=False, kept=0.2)


def test_several_threads_give_the_same_results() -> None:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for size in (
            (40, 30, 8, 2, 32),
            (5, 60, 8, 4, 33),
            (3, 50, 4, 1, 64),
            (200, 10, 4, 1, 150),
        ):
            assert_parity(size, ragged=True)
            assert_parity(size, reverse=True, dropped=True)
    finally:
        torch.set_num_threads(before)


def test_large_exponents_stay_finite() -> None:
    torch.manual_seed(0)
    x, state, weights = inputs_of((4, 12, 3, 2, 20), started=False)
    x = (300 * x).requires_grad_()
    y, end = SLSTMCell(2).sequence(
        x,
        tuple(state),
        weights,
        masks=Masks(None, (0.0,) * 4),
        lengths=None,
        reverse=False,
    )
    (d_x,) = torch.autograd.grad(y.sum() + sum(leaf.sum() for leaf in end), x)
    assert all(t.isfinite().all() for t in (y, *end, d_x))
    exact, _ = SLSTMCell(2).sequence(
        x.detach().double(),
        tuple(leaf.double() for leaf in state),
        {name: weight.double() for name, weight in weights.items()},
        masks=Masks(None, (0.0,) * 4),
        lengths=None,
        reverse=False,
    )
    # Exponents of about 1000 have an absolute error of 1e-4.
    torch.testing.assert_close(y.double(), exact, rtol=0, atol=2e-3)


def test_padding_can_be_nan() -> None:
    torch.manual_seed(0)
    core = elman.SLSTM(3, 10, heads=2, batch_first=True, bidirectional=True)
    x, lengths = torch.randn(4, 6, 3), torch.tensor([6, 0, 3, 1])
    results = []
    for padding in (0.0, float("nan")):
        given = x.clone()
        given[torch.arange(6) >= lengths[:, None]] = padding
        y, end = core(given.requires_grad_(), None, lengths)
        total = y.square().sum() + sum(leaf.sum() for leaf in end)
        results.append([y, *end, *torch.autograd.grad(total, [given, *core.parameters()])])
    for zero, nan in zip(*results, strict=True):
        assert torch.equal(zero, nan)


def test_a_graph_may_be_used_twice_and_a_second_derivative_is_refused() -> None:
    core, x = elman.SLSTM(3, 10, heads=2), torch.randn(5, 2, 3, requires_grad=True)
    leaves = [x, *core.parameters()]
    y, _ = core(x)
    first = torch.autograd.grad(y.sum(), leaves, retain_graph=True)
    again = torch.autograd.grad(y.sum(), leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(ArgumentError, match="no second derivatives"):
        torch.autograd.grad(core(x)[0].sum(), x, create_graph=True)


def test_without_gradients_results_are_the_same() -> None:
    core, x = elman.SLSTM(3, 10, heads=2), torch.randn(5, 2, 3)
    y, end = core(x)
    with torch.no_grad():
        other, other_end = core(x)
    assert torch.equal(y, other)
    assert all(torch.equal(a, b) for a, b in zip(end, other_end, strict=True))


def test_lengths_outside_the_sequence_are_refused() -> None:
    state = tuple(torch.zeros(2, 3) for _ in range(4))
    how = slstm.Recurrence(torch.tensor([5, 6]))
    with pytest.raises(ArgumentError, match="lengths must be in"):
        slstm.run_slstm(how, torch.zeros(5, 2, 12), torch.zeros(1, 12, 3), state)
