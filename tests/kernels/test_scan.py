"""The native linear recurrence equals the plain one: h, the last state and every gradient."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterator

import psutil
import pytest
import torch

from elman import kernels
from elman.errors import ArgumentError
from elman.kernels import scan
from elman.recur import linear_recurrence
from elman.recur.scan import plain_scan

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
SETS = [] if kernels.native is None else kernels.native.instruction_sets()
KINDS = (torch.float32, torch.complex64)
# Rows, steps, units: around a register, and more than a span of state.
SIZES = [(1, 1, 1), (2, 5, 15), (13, 4, 17), (33, 3, 63), (3, 2, 500), (1, 3, 5000), (70, 2, 40)]
LAYOUTS = ("by rows", "by steps", "by units", "expanded")
BROADCASTS = ((), (0,), (1,), (0, 1), (2,))  # dimensions in which a has size 1

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind)[6:])


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


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def random(shape: tuple[int, int, int], kind: torch.dtype, layout: str) -> torch.Tensor:
    rows, steps, units = shape
    if layout == "by steps":
        return torch.randn(steps, rows, units, dtype=kind).transpose(0, 1)
    if layout == "by units":  # a step of 2 in memory that another tensor shares
        return torch.randn(rows, 2 * units, 2 * steps, dtype=kind).transpose(1, 2)[:, ::2, ::2]
    if layout == "expanded":
        return torch.randn(rows, 1, units, dtype=kind).expand(shape)
    return torch.randn(shape, dtype=kind)


def assert_parity(
    shape: tuple[int, int, int],
    kind: torch.dtype,
    layout: str,
    ones: tuple[int, ...],
    *,
    ragged: bool,
    reverse: bool,
    started: bool,
) -> None:
    rows, steps, units = shape
    a = 0.7 * random(shape, kind, layout)
    for dim in ones:
        a = a.narrow(dim, 0, 1)
    b, weight = random(shape, kind, layout), random(shape, kind, layout)
    start = torch.randn(rows, units, dtype=kind) if started else None
    lengths = torch.randint(0, steps + 1, (rows,)) if ragged else None
    leaves = [x.detach().requires_grad_() for x in (a, b, start) if x is not None]
    end_weight = torch.randn(rows, units, dtype=kind)

    def everything(fast: bool) -> list[torch.Tensor]:
        inputs = leaves if started else [*leaves, None]
        run = linear_recurrence if fast else plain_scan
        h, end = run(*inputs, lengths, reverse=reverse)
        gradients = torch.autograd.grad([h, end], leaves, [weight, end_weight])
        assert all(g.shape == x.shape for g, x in zip(gradients, leaves, strict=True))
        return [h, end, *gradients]

    for ours, plain in zip(everything(True), everything(False), strict=True):
        # A fused multiply-add rounds once and the plain function twice: 6e-8 of a number each
        # time, over a few steps, and in sums over rows and steps.
        torch.testing.assert_close(
            ours, plain, rtol=0, atol=4e-6 * max(1, float(plain.detach().abs().max()))
        )


@every_kind
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_kernel_equals_the_equations(size: tuple[int, int, int], kind: torch.dtype) -> None:
    torch.manual_seed(0)
    yes = (False, True)
    for layout, ones, ragged, reverse in itertools.product(LAYOUTS, BROADCASTS, yes, yes):
        assert_parity(size, kind, layout, ones, ragged=ragged, reverse=reverse, started=not ragged)


@every_kind
def test_every_instruction_set_computes_the_same(kind: torch.dtype, instruction_set: str) -> None:
    torch.manual_seed(0)
    for size, layout in itertools.product(SIZES[:5], LAYOUTS):
        assert_parity(size, kind, layout, (), ragged=True, reverse=True, started=True)
        assert_parity(size, kind, layout, (1,), ragged=False, reverse=False, started=True)


@every_kind
@pytest.mark.parametrize("layout", ["by rows", "by steps"])
def test_several_threads_give_the_same_results(
    kind: torch.dtype, layout: str, threads: None
) -> None:
    torch.manual_seed(0)
    for size in ((1, 40, 9000), (7, 90, 700), (2, 99, 1999), (100, 100, 33)):
        for ones in ((), (0,), (0, 1)):
            assert_parity(size, kind, layout, ones, ragged=True, reverse=False, started=True)


def test_results_written_past_the_cache_are_the_same() -> None:
    shape = (5, 1000, 1024)  # more than 2^22 numbers
    a, b = torch.rand(shape).requires_grad_(), torch.rand(shape).requires_grad_()
    lengths = torch.tensor([1000, 0, 999, 400, 1000])
    h, _ = linear_recurrence(a, b, None, lengths)
    gradients = torch.autograd.grad(h, [a, b], torch.ones(shape))
    for row, length in enumerate(lengths):
        part = slice(row, row + 1), slice(0, int(length))
        alone, _ = linear_recurrence(a[part], b[part])
        alone_gradients = torch.autograd.grad(
            alone, [a, b], torch.ones_like(alone), materialize_grads=True
        )
        assert torch.equal(h[part], alone)
        assert all(
            torch.equal(x[row], y[row]) for x, y in zip(gradients, alone_gradients, strict=True)
        )


def test_subnormal_numbers_become_zero() -> None:
    h, _ = linear_recurrence(torch.tensor(1e-3), torch.zeros(1, 16, 20), torch.ones(1, 20))
    # 1e-39 is subnormal, and arithmetic on such numbers is a hundred times slower.
    assert h[0, :, 0].count_nonzero() == 12


@every_kind
def test_lazy_conjugates_and_negatives_are_resolved(kind: torch.dtype) -> None:
    x = torch.randn(2, 5, 3, dtype=torch.complex64)
    a, b = (x.conj(), x.conj()) if kind.is_complex else (x.conj().imag, x.conj().imag)
    h, end = linear_recurrence(a, b, b[:, 0])
    expected, expected_end = linear_recurrence(a.clone(), b.clone(), b[:, 0].clone())
    assert torch.equal(h, expected)
    assert torch.equal(end, expected_end)


def test_a_graph_may_be_used_twice() -> None:
    a, b = (torch.rand(2, 5, 3, requires_grad=True) for _ in range(2))
    h, _ = linear_recurrence(a, b)
    first = torch.autograd.grad(h.sum(), [a, b], retain_graph=True)
    again = torch.autograd.grad(h.sum(), [a, b])
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def test_a_second_derivative_is_refused() -> None:
    a = torch.rand(2, 5, 3, requires_grad=True)
    with pytest.raises(ArgumentError, match="no second derivatives"):
        torch.autograd.grad(linear_recurrence(a, a)[0].sum(), a, create_graph=True)


def test_only_the_required_gradients_are_computed() -> None:
    a, b, start = torch.rand(2, 5, 3), torch.rand(2, 5, 3), torch.rand(2, 3)
    every = [x.clone().requires_grad_() for x in (a, b, start)]
    together = torch.autograd.grad(linear_recurrence(*every)[1].sum(), every)
    for i, expected in enumerate(together):
        inputs = [a, b, start]
        inputs[i] = inputs[i].clone().requires_grad_()
        (alone,) = torch.autograd.grad(linear_recurrence(*inputs)[1].sum(), inputs[i])
        assert torch.equal(alone, expected)
    with torch.no_grad():
        assert linear_recurrence(*every)[0].grad_fn is None
    with torch.inference_mode():
        assert torch.equal(linear_recurrence(*every)[0], linear_recurrence(a, b, start)[0])


def test_changing_a_result_in_place_raises_an_error() -> None:
    a, b = (torch.rand(2, 5, 3, requires_grad=True) for _ in range(2))
    h, _ = linear_recurrence(a, b)
    h.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        h.sum().backward()


@every_kind
@pytest.mark.parametrize("layout", ["by rows", "by steps"])
def test_the_recurrence_compiles_to_one_graph(kind: torch.dtype, layout: str) -> None:
    torch.manual_seed(0)
    shape = (3, 6, 5)
    a, b = (random(shape, kind, layout).requires_grad_() for _ in range(2))
    start, decay = (torch.randn(n, dtype=kind, requires_grad=True) for n in ((3, 5), (5,)))
    lengths = torch.tensor([6, 0, 4])

    def run(a: torch.Tensor, b: torch.Tensor, start: torch.Tensor, lengths: torch.Tensor) -> object:
        h, end = linear_recurrence(a * 0.5, b, start, lengths)
        y, _ = linear_recurrence(decay, h, reverse=True)
        return (y * y.conj()).abs().sum() + (end * end.conj()).abs().sum()

    # "aot_eager" makes the graphs of both passes and needs no C++ compiler.
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    results = []
    for function in (run, compiled):
        total = function(a, b, start, lengths)
        gradients = torch.autograd.grad(total, [a, b, start, decay])
        results.append([total, *gradients])
    # The kernels are the same, but torch may sum in another order.
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    torch.compiler.reset()


def test_operators_follow_the_rules_of_torch() -> None:
    torch.use_deterministic_algorithms(False)  # opcheck would compare unread memory, which is NaN
    a, b, start = (torch.rand(s, requires_grad=True) for s in ((2, 5, 3), (2, 5, 3), (2, 3)))
    for factors in (a, torch.rand(1, 1, 3, requires_grad=True)):
        for lengths in (None, torch.tensor([5, 2])):
            torch.library.opcheck(scan._operator, (factors, b, start, lengths, False))


def test_an_exported_program_gives_the_same_results() -> None:
    class Sum(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return linear_recurrence(a, b)[0]

    a, b = torch.rand(2, 5, 3), torch.rand(2, 5, 3)
    program = torch.export.export(Sum(), (a, b))
    assert torch.equal(program.module()(a, b), Sum()(a, b))


def test_python_threads_do_not_disturb_each_other() -> None:
    inputs = [(torch.rand(4, 50, 70), torch.rand(4, 50, 70)) for _ in range(4)]
    expected = [linear_recurrence(*pair)[0] for pair in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(50):
            if not torch.equal(linear_recurrence(*inputs[index])[0], expected[index]):
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_memory_does_not_grow_over_thousands_of_calls() -> None:
    a, b = torch.rand(2, 10, 64, requires_grad=True), torch.rand(2, 10, 64)
    lengths = torch.tensor([10, 3])

    def call(times: int) -> int:
        for _ in range(times):
            linear_recurrence(a, b, None, lengths)[0].sum().backward()
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    torch.use_deterministic_algorithms(False)
    before = call(300)
    # A leak of one h (2 * 10 * 64 floats) would be 15 MB.
    assert call(3000) - before < 4e6
