"""The native scans with gates equal their equations: h, the last state and every gradient."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import elman
from elman import kernels
from elman.errors import ArgumentError
from elman.kernels.gated_scan import GATES, Scan, run_gated_scan
from elman.recur.linear import LinearCell
from elman.recur.mingru import MinGRUCell
from elman.recur.minlstm import MinLSTMCell
from elman.recur.scan import plain_scan
from elman.recur.stack import Stack

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
SETS = [] if kernels.native is None else kernels.native.instruction_sets()
# Rows, steps, units: around a register, several parts of rows, and more units than a part has.
SIZES = [(1, 1, 1), (2, 5, 15), (13, 4, 17), (40, 3, 63), (1, 3, 2100)]
CELLS: dict[str, LinearCell] = {"min_gru": MinGRUCell(), "min_lstm": MinLSTMCell()}
Inputs = list[Tensor]  # gates, bias, state and, for an RG-LRU, the input and the rate

every_cell = pytest.mark.parametrize("cell", list(GATES))


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill torch.empty with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.name()
    kernels.native.choose(request.param)
    yield request.param
    kernels.native.choose(before)


def random(shape: tuple[int, int, int], layout: str) -> Tensor:
    """Return a tensor (T, B, D) with steps, rows or units outermost in memory."""
    steps, rows, units = shape
    if layout == "by rows":
        return torch.randn(rows, steps, units).transpose(0, 1)
    if layout == "by units":
        return torch.randn(units, steps, rows).permute(1, 2, 0)
    return torch.randn(steps, rows, units)


def inputs_of(cell: str, size: tuple[int, int, int], layout: str = "by steps") -> Inputs:
    rows, steps, units = size
    width = GATES[cell] * units
    found = [2 * random((steps, rows, width), layout), torch.randn(width), torch.randn(rows, units)]
    if cell == "rg_lru":
        found += [random((steps, rows, units), layout), -torch.rand(units)]
    return found


def definition(scan: Scan, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Compute h (T, B, H) and the last state step by step in float64."""
    gates, bias, state, *rest = inputs
    gates = gates + bias
    if rest:
        given, rate = rest
        r, i = torch.sigmoid(gates).chunk(2, -1)
        a = torch.exp(rate * r)
        b = torch.sqrt(1 - a**2) * (i * given)
    else:
        a, b = CELLS[scan.cell].factors(gates)
    kept = scan.kept.double() if isinstance(scan.kept, Tensor) else scan.kept
    a, b = a + kept * (1 - a), b * (1 - kept)
    h, end = plain_scan(a.transpose(0, 1), b.transpose(0, 1), state, scan.lengths, scan.reverse)
    return h.transpose(0, 1), end


def assert_parity(scan: Scan, inputs: Inputs) -> None:
    leaves = [x.requires_grad_() for x in inputs]
    weights = [torch.randn(*inputs[0].shape[:2], inputs[2].shape[1]), torch.randn(inputs[2].shape)]

    def everything(exact: bool) -> list[Tensor]:
        given = [x.detach().double().requires_grad_() for x in leaves] if exact else leaves
        # The native call may overwrite the gates, so it gets a copy.
        found = (
            definition(scan, given) if exact else run_gated_scan(scan, 1 * leaves[0], *given[1:])
        )
        gradients = torch.autograd.grad(found, given, [w.to(found[0].dtype) for w in weights])
        return [*found, *gradients]

    for ours, exact in zip(everything(False), everything(True), strict=True):
        assert ours.shape == exact.shape
        # Rounding of 6e-8 in functions of gates and in sums over steps.
        bound = 4e-6 * max(1, float(exact.detach().abs().max()))
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=bound)


@every_cell
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_kernel_equals_the_equations(cell: str, size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    rows, steps, units = size
    shares = (0.0, 0.3, torch.randint(0, 2, (steps, rows, units)).float())
    for layout, ragged, reverse in itertools.product(
        ("by steps", "by rows", "by units"), (False, True), (False, True)
    ):
        lengths = torch.randint(0, steps + 1, (rows,)) if ragged else None
        for kept in shares:
            assert_parity(Scan(cell, lengths, reverse, kept), inputs_of(cell, size, layout))


@every_cell
def test_every_instruction_set_computes_the_same(cell: str, instruction_set: str) -> None:
    torch.manual_seed(0)
    for size in SIZES:
        lengths = torch.randint(0, size[1] + 1, (size[0],))
        assert_parity(Scan(cell, lengths, reverse=True), inputs_of(cell, size))
        assert_parity(Scan(cell, kept=0.2), inputs_of(cell, size))


@every_cell
def test_several_threads_give_the_same_results(cell: str) -> None:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for size, layout in itertools.product(
            [(40, 60, 100), (2, 90, 1000), (1, 30, 9000)], ("by steps", "by rows")
        ):
            lengths = torch.randint(0, size[1] + 1, (size[0],))
            assert_parity(Scan(cell, lengths), inputs_of(cell, size, layout))
    finally:
        torch.set_num_threads(before)


@every_cell
def test_saturated_gates_give_the_right_numbers(cell: str) -> None:
    torch.manual_seed(0)
    inputs = inputs_of(cell, (3, 6, 40))
    values = torch.tensor([-200.0, -30.0, 0.0, 30.0, 200.0])
    inputs[0] = values[torch.randint(0, 5, inputs[0].shape)]
    if cell == "rg_lru":  # with these factors the root of 1 - a^2 has a derivative
        inputs[0] = inputs[0].clamp(-30, 30)
    assert_parity(Scan(cell), inputs)


def test_a_factor_of_one_has_finite_gradients() -> None:
    inputs = [x.requires_grad_() for x in inputs_of("rg_lru", (3, 6, 40))]
    gates = torch.full_like(inputs[0], -300.0).requires_grad_()  # log a is 0
    h, _ = run_gated_scan(Scan("rg_lru"), 1 * gates, *inputs[1:])
    found = torch.autograd.grad(h.sum(), [gates, *inputs[1:]])
    assert all(g.isfinite().all() for g in found)
    torch.testing.assert_close(h[-1], inputs[2])


@every_cell
def test_padding_can_be_nan(cell: str) -> None:
    torch.manual_seed(0)
    inputs, lengths = inputs_of(cell, (4, 6, 17)), torch.tensor([6, 0, 3, 1])
    after = torch.arange(6)[:, None] >= lengths
    results = []
    for padding in (0.0, float("nan")):
        given = [x.clone() for x in inputs]
        for x in (given[0], *given[3:4]):
            x[after] = padding
        leaves = [x.requires_grad_() for x in given]
        found = run_gated_scan(Scan(cell, lengths), 1 * leaves[0], *leaves[1:])
        gradients = torch.autograd.grad(sum(x.sum() for x in found), leaves)
        results.append([*found, *gradients])
    for zero, nan in zip(*results, strict=True):
        assert torch.equal(zero, nan)


@every_cell
def test_large_results_are_the_same(cell: str) -> None:
    torch.manual_seed(0)
    size = (3, 1400, 1008)  # more than 2^22 numbers, written past the cache
    inputs = [x.requires_grad_() for x in inputs_of(cell, size)]
    h, _ = run_gated_scan(Scan(cell), 1 * inputs[0], *inputs[1:])
    found = torch.autograd.grad(h.sum(), inputs)
    row = [inputs[0][:, 1:2], inputs[1], inputs[2][1:2], *(x[:, 1:2] for x in inputs[3:4])]
    h_alone, _ = run_gated_scan(Scan(cell), row[0].clone(), *row[1:], *inputs[4:])
    gradients = torch.autograd.grad(h_alone.sum(), [inputs[0], inputs[2]])
    assert torch.equal(h[:, 1], h_alone[:, 0])
    assert torch.equal(found[0][:, 1], gradients[0][:, 1])
    assert torch.equal(found[2][1], gradients[1][1])


@every_cell
def test_a_graph_may_be_used_twice(cell: str) -> None:
    inputs = [x.requires_grad_() for x in inputs_of(cell, (2, 5, 18))]
    h, _ = run_gated_scan(Scan(cell), 1 * inputs[0], *inputs[1:])
    first = torch.autograd.grad(h.sum(), inputs, retain_graph=True)
    again = torch.autograd.grad(h.sum(), inputs)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def test_a_second_derivative_is_refused() -> None:
    inputs = [x.requires_grad_() for x in inputs_of("min_gru", (2, 5, 18))]
    h, _ = run_gated_scan(Scan("min_gru"), 1 * inputs[0], *inputs[1:])
    with pytest.raises(ArgumentError, match="no second derivatives"):
        torch.autograd.grad(h.sum(), inputs, create_graph=True)


def test_lengths_outside_the_sequence_are_refused() -> None:
    with pytest.raises(ArgumentError, match="lengths must be in"):
        run_gated_scan(Scan("min_gru", torch.tensor([5, 6])), *inputs_of("min_gru", (2, 5, 18)))


@pytest.mark.parametrize("name", ["MinGRU", "MinLSTM", "LRU", "RGLRU"])
@pytest.mark.parametrize(("rows", "steps", "features", "hidden"), [(5, 7, 3, 37), (9, 30, 64, 128)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_equal_those_in_float64(
    name: str, rows: int, steps: int, features: int, hidden: int, bidirectional: bool
) -> None:
    """Layers with kernels equal the definition, in sizes below and above that of our products."""
    torch.manual_seed(0)

    def build() -> Stack:
        core = getattr(elman, name)(features, hidden, batch_first=True, bidirectional=bidirectional)
        assert isinstance(core, Stack)
        return core

    core, exact = build(), build().double()
    exact.load_state_dict(core.state_dict())
    lengths = torch.randint(0, steps + 1, (rows,))
    x, weight = torch.randn(rows, steps, features), torch.randn(rows, steps, core.output_size)
    x[torch.arange(steps) >= lengths[:, None]] = float("nan")
    _, state = core(torch.randn(rows, 2, features))
    state = elman.state.map_state(torch.randn_like, state)
    results = []
    for module in (core, exact):
        kind = next(module.parameters()).dtype
        given = elman.state.map_state(lambda leaf, kind=kind: leaf.to(kind), state)
        y, end = module(x.to(kind), given, lengths)
        ends = [leaf for _, leaf in elman.state.named_leaves(end)]
        total = (y * weight.to(kind)).sum() + sum(leaf.sum() for leaf in ends)
        results.append([y, *ends, *torch.autograd.grad(total, list(module.parameters()))])
    for ours, wanted in zip(*results, strict=True):
        bound = 2e-5 * max(1, float(wanted.detach().abs().max()))
        torch.testing.assert_close(ours.double(), wanted, rtol=0, atol=bound)


def test_transformed_functions_use_the_definition() -> None:
    core = elman.MinGRU(3, 5)
    x = torch.randn(4, 2, 3, requires_grad=True)
    transformed = torch.func.grad(lambda x: core(x)[0].square().sum())(x)
    (plain,) = torch.autograd.grad(core(x)[0].square().sum(), x)
    torch.testing.assert_close(transformed, plain)


def test_rates_at_their_limits_give_factors_of_one_and_of_zero() -> None:
    inputs = inputs_of("rg_lru", (2, 4, 20))
    inputs[0] = torch.full_like(inputs[0], 30.0)
    inputs[4] = torch.full((20,), -1e-38)
    torch.testing.assert_close(run_gated_scan(Scan("rg_lru"), *inputs)[1], inputs[2])
    inputs[4] = torch.full((20,), -1e4)
    torch.testing.assert_close(run_gated_scan(Scan("rg_lru"), *inputs)[1], inputs[3][-1])
