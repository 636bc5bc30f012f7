"""Batches of many rows, which some processors multiply as sums of bfloat16, and wide layers."""

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
# B, T, D, H, threads: several chunks of steps; rows shared by threads; units shared by threads, in
# whole panels of each gate and not; few rows of a matrix that is read from alternating ends.
SIZES = [
    (35, 45, 40, 100, 1),
    (70, 30, 97, 99, 2),
    (33, 6, 20, 304, 2),
    (33, 6, 20, 320, 2),
    (3, 4, 20, 304, 1),
    (7, 4, 20, 311, 2),
]


@pytest.fixture(params=SETS[:2], autouse=True)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Choose an instruction set, and fill the scratch memory and torch.empty with NaN."""
    before, threads = kernels.name(), torch.get_num_threads()
    kernels.native.choose(request.param)
    kernels.native.poison_scratch()
    torch.use_deterministic_algorithms(True)
    yield str(request.param)
    torch.use_deterministic_algorithms(False)
    kernels.native.choose(before)
    torch.set_num_threads(threads)


def results(core: torch.nn.Module, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
    """Return outputs, and the gradients of a weighted sum of all outputs."""
    x = x.clone().requires_grad_()
    start = random_leaves(core, x)
    core.zero_grad()
    y, _ = core(x, state_of(start), lengths=lengths)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    inputs = [x, *start, *core.parameters()]
    return [y.detach(), *(leaf.grad for leaf in inputs if leaf.grad is not None)]


def random_leaves(core: torch.nn.Module, x: Tensor) -> list[Tensor]:
    """Return the leaves of a random state that require gradients."""
    torch.manual_seed(1)
    _, end = core(x[:1])
    leaves = end if isinstance(end, tuple) else (end,)
    shapes = [leaf.shape for leaf in leaves]
    return [(torch.randn(shape) / 2).to(x.dtype).requires_grad_() for shape in shapes]


def state_of(start: list[Tensor]) -> object:
    return tuple(start) if len(start) == 2 else start[0]


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
    exact = once((cell, size, ragged), core, x, lengths)
    with torch.no_grad():  # nothing is stored for a backward pass
        y, _ = core(x, state_of(random_leaves(core, x)), lengths=lengths)
        torch.testing.assert_close(y.double(), exact[0], rtol=0, atol=2e-5)
    for found, wanted in zip(results(core, x, lengths), exact, strict=True):
        assert float((found - wanted).abs().max()) <= 2e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 3.4e38, -3.4e38])
def test_numbers_without_a_bfloat16_are_multiplied_as_floats(value: float) -> None:
    torch.manual_seed(0)
    a, w = torch.randn(130, 131) / 100, torch.randn(140, 131) / 100
    a[3, 5] = a[66, 39] = value
    w[40, 2] = 3.39e38
    w[1, 1] = value
    wanted = (a.double() @ w.double().t()).float()
    out = torch.empty(130, 140)
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


def test_threads_that_share_units_never_read_a_state_before_it_is_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    # The gradient of a state connects the parts.
    monkeypatch.setattr("elman.kernels.call.PART", 1)
    monkeypatch.setattr("elman.kernels.call.LARGER", 1)
    core, x = elman.LSTM(20, 320), torch.randn(100, 16, 20)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(0.7)
    exact = results(copy.deepcopy(core).double(), x.double(), None)
    for _ in range(20):
        for found, wanted in zip(results(core, x, None), exact, strict=True):
            assert float((found - wanted).abs().max()) <= 2e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_a_stream_of_many_rows_equals_the_whole_sequence(name: str) -> None:
    core = getattr(elman, name)(20, 100).eval()
    x = torch.randn(5, 40, 20)
    stream = elman.Stream(core, rows=40)
    with torch.no_grad():
        wanted = core(x)[0]
    found = torch.stack([stream(step).clone() for step in x])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_normalised_rnn_of_wide_inputs_equals_that_in_float64() -> None:
    torch.manual_seed(0)
    core, x = elman.RNN(20, 32, layer_norm=True), torch.randn(3, 30, 20)
    exact = results(copy.deepcopy(core).double(), x.double(), None)
    for found, wanted in zip(results(core, x, None), exact, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4)


def test_both_biases_of_a_gru_are_added_if_they_are_one_tensor() -> None:
    gru = elman.GRU(20, 32)
    gru.bias_hh_l0 = gru.bias_ih_l0
    x = torch.randn(10, 8, 20)
    exact = copy.deepcopy(gru).double()(x.double())[0]
    torch.testing.assert_close(gru(x)[0].double(), exact, rtol=0, atol=1e-5)


@pytest.mark.skipif("amx" not in SETS, reason="only tiles take all steps at once")
def test_inference_needs_no_memory_for_the_gates_of_all_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    take = kernels.pool.Lease.take

    def watched(self: kernels.pool.Lease, rows: int, columns: int, **options: bool) -> Tensor:
        taken.append(rows * columns)
        return take(self, rows, columns, **options)

    monkeypatch.setattr(kernels.pool.Lease, "take", watched)
    kernels.native.choose("amx")
    with torch.no_grad():
        for core in (elman.LSTM(20, 32), elman.GRU(20, 32)):
            core(torch.randn(5000, 2, 20))
    assert max(taken, default=0) < 100_000  # the packed matrix, if it is kept


# tanh replaces relu, as rounding makes the gradients of relu jump.
ROUNDED = {
    **CELLS,
    "projection": (elman.LSTM, {"proj_size": 41, "num_layers": 2}),
    "rnn": (elman.RNN, {"bidirectional": True}),
    "peephole": (elman.LSTM, {"peephole": True, "bidirectional": True}),
}


# T, B, D, H: gaps between rows of gates; an odd number of cells; inputs too narrow for tiles, and
# too few rows.
LAYOUTS = [(40, 10, 24, 128), (40, 10, 20, 57), (40, 10, 8, 40), (4, 5, 20, 32)]


def rounded(core: torch.nn.Module, x: Tensor, how: str, lengths: Tensor | None) -> list[Tensor]:
    """Return outputs and gradients in bfloat16, by autocast or with weights of that type."""
    if how == "module":
        return results(copy.deepcopy(core).bfloat16(), x.bfloat16(), lengths)
    with torch.autocast("cpu", torch.bfloat16):
        if how == "both":
            return results(copy.deepcopy(core).bfloat16(), x, lengths)
        return results(core, x, lengths)


EXACT: dict[object, list[Tensor]] = {}


def once(key: object, core: torch.nn.Module, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
    """Return the results in float64, which are computed once for all types and instruction sets."""
    if key not in EXACT:
        EXACT[key] = results(copy.deepcopy(core).double(), x.double(), lengths)
    return EXACT[key]


def assert_rounded(found: list[Tensor], exact: list[Tensor]) -> None:
    """Compare norms: bfloat16 has 8 bits, 0.4 % of a number, and errors add up."""
    for a, b in zip(found, exact, strict=True):
        assert a.isfinite().all()
        assert float((a.double() - b).norm()) <= 0.03 * float(b.norm()) + 1e-3


@pytest.mark.parametrize("how", ["autocast", "module"])
@pytest.mark.parametrize("case", ["whole", "ragged", "parts"])
@pytest.mark.parametrize("cell", ROUNDED)
def test_gates_in_bfloat16_give_the_gradients_up_to_rounding(
    cell: str, how: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)
    if case == "parts":
        monkeypatch.setattr("elman.kernels.call.PART", 1)
        monkeypatch.setattr("elman.kernels.call.LARGER", 1)
    module, options = ROUNDED[cell]
    torch.manual_seed(0)
    core, x = module(24, 56, **options).bfloat16().float(), torch.randn(30, 10, 24).bfloat16()
    lengths = torch.randint(1, 30, (10,)) if case == "ragged" else None
    exact = once((cell, case == "ragged"), core, x, lengths)
    found = rounded(core, x.float(), how, lengths)
    assert found[0].dtype == torch.bfloat16
    assert_rounded(found, exact)


@pytest.mark.parametrize("how", ["autocast", "module", "both"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("size", LAYOUTS)
def test_bfloat16_works_in_memory_of_any_layout(
    size: tuple[int, int, int, int], frozen: bool, how: str
) -> None:
    torch.manual_seed(0)
    T, B, D, H = size
    core, x = elman.LSTM(D, H).bfloat16().float(), torch.randn(T, B, D).bfloat16()
    core.weight_ih_l0.requires_grad_(not frozen)
    exact = once((size, frozen), core, x, None)
    assert_rounded(rounded(core, x.float(), how, None), exact)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_saturated_gates_keep_a_gradient_in_bfloat16(name: str) -> None:
    """In bfloat16, tanh(4) would be 1, and its slope 0 instead of 0.0013."""
    torch.manual_seed(0)
    core = getattr(elman, name)(16, 16)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(0.2)
        core.bias_ih_l0[-16:] = 4
        if name == "LSTM":  # g is the third gate
            core.bias_ih_l0[32:48] = 4
    core, x = core.bfloat16().float(), torch.randn(20, 8, 16).bfloat16()
    exact = results(copy.deepcopy(core).double(), x.double(), None)
    assert_rounded(rounded(core, x.float(), "module", None), exact)


@pytest.mark.parametrize("how", ["autocast", "module"])
def test_a_long_memory_keeps_its_gradient_in_bfloat16(how: str) -> None:
    """In bfloat16, a forget gate of 0.998 would be 1: seven times too much after 1000 steps."""
    torch.manual_seed(0)
    core = elman.LSTM(16, 16)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(0.2)
        core.bias_hh_l0[16:32] = 6.25
        core.bfloat16().float()
    x = torch.randn(1000, 3, 16).bfloat16()
    exact = results(copy.deepcopy(core).double(), x.double(), None)
    d_c0, wanted = rounded(core, x.float(), how, None)[3], exact[3]
    assert float((d_c0.double() - wanted).norm()) <= 0.05 * float(wanted.norm())


def test_a_second_pass_over_a_retained_graph_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    core, x = elman.LSTM(20, 32).bfloat16(), torch.randn(30, 8, 20).bfloat16().requires_grad_()
    y, _ = core(x)
    first = torch.autograd.grad(y.sum(), [x, *core.parameters()], retain_graph=True)
    second = torch.autograd.grad(y.sum(), [x, *core.parameters()])
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
