"""The native recurrences equal the plain ones: outputs, states and every gradient."""

from __future__ import annotations

import copy
import functools
import gc
import os
import threading
from collections.abc import Iterator

import psutil
import pytest
import torch

import elman
from elman import kernels
from elman.errors import ArgumentError
from elman.recur.stack import Stack
from tests.laws.cores import CORES, INPUT, build, leaves, random_state

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
NATIVE = [name for name in CORES if build(name).cell.kernel()]
SETS = [] if kernels.native is None else kernels.native.instruction_sets()
# name -> B, T, H: one, just below and above a register, several tiles, more than one panel.
SIZES = {
    "one": (1, 1, 2),
    "a step": (3, 1, 20),
    "few": (2, 5, 15),
    "odd": (13, 4, 17),
    "many rows": (33, 3, 63),
    "wide": (3, 2, 500),
    "by units": (5, 6, 130),
}


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill torch.empty and the scratch memory of the kernels with NaN."""
    torch.use_deterministic_algorithms(True)
    kernels.native.poison_scratch()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.name()
    kernels.native.choose(request.param)
    yield request.param
    kernels.native.choose(before)


def sized(name: str, hidden: int, dtype: torch.dtype) -> Stack:
    options = CORES[name][1]
    changed: dict[str, object] = {"hidden_size": hidden}
    if isinstance(options.get("hidden_size"), list):
        changed["hidden_size"] = [hidden, hidden + 1, max(1, hidden - 1)]
    if options.get("proj_size"):
        changed["proj_size"] = max(1, hidden // 2)
    core = build(name, dtype=dtype, **changed)
    with torch.no_grad():  # larger matrices and gains would amplify rounding errors
        for key, parameter in core.named_parameters():
            if key.startswith(("gain_ih", "gain_hh")):
                parameter.mul_(0.4)
            elif parameter.dim() == 2:
                parameter.mul_(min(1.0, 2 / hidden**0.5))
    return core


def everything(
    core: Stack, x: torch.Tensor, start: object, lengths: torch.Tensor | None
) -> list[torch.Tensor]:
    """Return outputs, the final state, and all gradients of a random weighted sum of them."""
    leaf = x.detach().requires_grad_()
    first = elman.state.map_state(lambda s: s.detach().requires_grad_(), start)
    torch.manual_seed(3)
    y, end = core(leaf, first, lengths, generator=torch.Generator().manual_seed(5))
    out = [y, *leaves(end)]
    total = sum((torch.randn(o.shape).to(o.dtype) * o).sum() for o in out)
    inputs = [leaf, *leaves(first), *core.parameters()]
    gradients = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    return [*out, *gradients]


@functools.lru_cache(maxsize=4)
def in_float64(name: str, hidden: int) -> Stack:
    return sized(name, hidden, torch.float64)


Call = tuple[Stack, torch.Tensor, object, torch.Tensor | None]  # a core, x, state, lengths


def call(
    name: str, size: tuple[int, int, int], *, training: bool, ragged: bool, strided: bool
) -> Call:
    """Return a core of a size, and the arguments of its call."""
    rows, steps, hidden = size
    core = copy.deepcopy(in_float64(name, hidden)).float().train(training)
    torch.manual_seed(1)
    x = torch.randn(rows, steps, INPUT)
    if strided:
        x = torch.randn(steps, rows, 2 * INPUT).transpose(0, 1)[:, :, ::2]
    start = random_state(core, rows)
    return core, x, start, torch.randint(0, steps + 1, (rows,)) if ragged else None


def plain(core: Stack, *given: object) -> list[torch.Tensor]:
    """Return the results of the plain functions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "way", lambda x, ragged=False: "plain")
        return [result.detach().double() for result in everything(core, *given)]


@functools.lru_cache(maxsize=32)
def exactly(
    name: str, size: tuple[int, int, int], *, ragged: bool, strided: bool
) -> list[torch.Tensor]:
    """Return the results of the equations in float64, which all instruction sets must give."""
    _, x, start, lengths = call(name, size, training=False, ragged=ragged, strided=strided)
    start = elman.state.map_state(torch.Tensor.double, start)
    return plain(in_float64(name, size[2]), x.double(), start, lengths)


def assert_parity(
    name: str, size: tuple[int, int, int], *, training: bool, ragged: bool, strided: bool
) -> None:
    """Compare with the equations in float64: only the rounding of a kernel may differ."""
    core, *given = call(name, size, training=training, ragged=ragged, strided=strided)
    assert core.way(given[0]) == "kernel"
    ours = [result.detach().double() for result in everything(core, *given)]
    # In training, the masks must be those that the plain functions draw in float32.
    expected = (
        plain(core, *given) if training else exactly(name, size, ragged=ragged, strided=strided)
    )
    errors = distances(ours, expected)
    # The float32 rounding of all steps, relative to the largest number of the tensor.
    close = [5e-5 * max(1.0, float(b.abs().max())) for b in expected]
    if any(a > b for a, b in zip(errors, close, strict=True)):
        # If the recurrence itself amplifies rounding, the plain functions have large errors, too.
        more = distances(plain(core, *given), expected)
        close = [a + 4 * b for a, b in zip(close, more, strict=True)]
    assert all(a <= b for a, b in zip(errors, close, strict=True)), (errors, close)


def distances(found: list[torch.Tensor], expected: list[torch.Tensor]) -> list[float]:
    """Return the largest difference in each pair of tensors, NaN if one contains a NaN."""
    assert [a.shape for a in found] == [b.shape for b in expected]
    return [float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NATIVE)
def test_the_kernel_equals_the_equations(name: str, size: str) -> None:
    for ragged in (False, True):
        assert_parity(name, SIZES[size], training=False, ragged=ragged, strided=ragged)


@pytest.mark.parametrize("size", ["odd", "by units"])
@pytest.mark.parametrize("name", NATIVE)
def test_two_threads_give_the_results_of_one(name: str, size: str) -> None:
    rows, _, hidden = SIZES[size]
    before = torch.get_num_threads()
    for ragged in (False, True):
        core, *given = call(name, (rows, 40, hidden), training=False, ragged=ragged, strided=False)
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(everything(core, *given))
        torch.set_num_threads(before)
        for one, two in zip(*results, strict=True):
            # With fewer rows or units per thread, sums are added in another order.
            close = 5e-5 * max(1.0, float(one.detach().abs().max()))
            torch.testing.assert_close(two, one, rtol=0, atol=close)


@pytest.mark.parametrize("name", NATIVE)
def test_parts_of_a_long_sequence_equal_the_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elman.kernels.call.PART", 1)
    size = (3, 50, 7)  # 28 rows per part are 10 steps, so 50 steps are five parts
    for ragged in (False, True):
        assert_parity(name, size, training=False, ragged=ragged, strided=ragged)
    core = sized(name, 7, torch.float32)
    x, start = torch.randn(3, 50, INPUT), random_state(core, 3)
    with torch.no_grad():
        ours = core(x, start, torch.tensor([50, 31, 12]))
        monkeypatch.setattr("elman.kernels.call.PART", 1 << 30)
        whole = core(x, start, torch.tensor([50, 31, 12]))
    torch.testing.assert_close(ours, whole, rtol=0, atol=1e-6)  # products of fewer rows


@pytest.mark.parametrize("name", NATIVE)
def test_a_single_step_without_gradients_equals_one_with(name: str) -> None:
    core = sized(name, 20, torch.float32).train()
    x, start = torch.randn(3, 1, INPUT), random_state(core, 3)
    results = []
    for grad in (True, False):
        torch.manual_seed(2)
        with torch.set_grad_enabled(grad):
            y, end = core(x, start, generator=torch.Generator().manual_seed(4))
        results.append([leaf.detach() for leaf in (y, *leaves(end))])
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "lstm everything",
        "gru layer norm",
        "rnn relu, 2 layers",
        "gru reset before",
        "gru reset before, layer norm",
    ],
)
def test_every_instruction_set_computes_the_same(name: str, instruction_set: str) -> None:
    for size in ("few", "odd", "by units"):
        assert_parity(name, SIZES[size], training=False, ragged=True, strided=True)


@pytest.mark.parametrize("name", NATIVE)
def test_random_masks_equal_those_of_the_plain_functions(name: str) -> None:
    if CORES[name][1].get("dropout") and len(build(name).hidden_sizes) > 1:
        assert_parity(name, SIZES["few"], training=True, ragged=False, strided=False)
        return
    for ragged in (False, True):
        assert_parity(name, SIZES["few"], training=True, ragged=ragged, strided=False)


def test_a_graph_may_be_used_twice_and_gradients_accumulate() -> None:
    cores = [kind(3, 5, num_layers=2) for kind in (elman.RNN, elman.LSTM, elman.GRU)]
    normed = [kind(3, 5, layer_norm=True) for kind in (elman.RNN, elman.LSTM, elman.GRU)]
    for core in [*cores, *normed, elman.GRU(3, 5, num_layers=2, reset_after=False)]:
        y, _ = core(torch.randn(4, 2, 3))
        total = y.square().sum()
        total.backward(retain_graph=True)
        once = [p.grad.clone() for p in core.parameters()]
        total.backward()
        for parameter, gradient in zip(core.parameters(), once, strict=True):
            torch.testing.assert_close(parameter.grad, 2 * gradient, rtol=1e-6, atol=0)


def test_a_second_derivative_is_refused() -> None:
    core = elman.LSTM(3, 5)
    x = torch.randn(4, 2, 3, requires_grad=True)
    with pytest.raises(ArgumentError, match="no second derivatives"):
        torch.autograd.grad(core(x)[0].sum(), x, create_graph=True)


def test_only_the_required_gradients_are_computed() -> None:
    core = elman.GRU(3, 5)
    for parameter in core.parameters():
        parameter.requires_grad_(False)
    x = torch.randn(4, 2, 3, requires_grad=True)
    _, end = core(x)
    (alone,) = torch.autograd.grad(end.sum(), x)
    assert alone.shape == x.shape
    assert not core(x.detach())[0].requires_grad


def test_expanded_and_missing_output_gradients_are_supported() -> None:
    core = elman.LSTM(3, 5, batch_first=True)
    x = torch.randn(4, 6, 3)
    y, (h, _) = core(x)
    by_sum = torch.autograd.grad(y.sum(), list(core.parameters()))  # a gradient of stride 0
    y, (h, _) = core(x)
    by_ones = torch.autograd.grad(y, list(core.parameters()), torch.ones_like(y).contiguous())
    torch.testing.assert_close(by_sum, by_ones, rtol=1e-6, atol=1e-6)
    y, (h, _) = core(x)
    by_state = torch.autograd.grad(h.sum(), list(core.parameters()))
    y, (h, _) = core(x)
    by_last = torch.autograd.grad(y[:, -1].sum(), list(core.parameters()))
    torch.testing.assert_close(by_state, by_last, rtol=1e-6, atol=1e-6)


def test_saturated_and_non_finite_numbers_give_the_results_of_torch() -> None:
    for kind in ("RNN", "LSTM", "GRU"):
        core = getattr(elman, kind)(1, 3)
        theirs = getattr(torch.nn, kind)(1, 3)
        theirs.load_state_dict(core.state_dict())
        x = torch.tensor([0.0, 1e30, -1e30, 1e-30, 88.0, -104.0, 3e38]).view(1, -1, 1)
        torch.testing.assert_close(core(x)[0], theirs(x)[0], rtol=1e-6, atol=1e-6)
        for value in (float("nan"), float("inf"), -float("inf")):
            y, expected = (m(torch.full((2, 1, 1), value))[0] for m in (core, theirs))
            torch.testing.assert_close(y, expected, equal_nan=True, rtol=1e-6, atol=1e-6)


def test_the_inference_mode_does_not_change_later_results() -> None:
    core, x = elman.LSTM(64, 64), torch.randn(100, 32, 64)
    with torch.inference_mode():
        expected = core(x)[0]
    with torch.no_grad():
        assert torch.equal(core(x)[0], expected)
    core(x)[0].sum().backward()
    with torch.inference_mode():
        assert torch.equal(core(x)[0], expected)


def test_python_threads_do_not_disturb_each_other() -> None:
    core = elman.LSTM(16, 40, num_layers=2)
    inputs = [torch.randn(30, 6, 16) for _ in range(4)]
    expected = [core(x)[0].detach() for x in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            if not torch.equal(core(inputs[index])[0].detach(), expected[index]):
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_gives_the_same_results(threads: None) -> None:
    core, x = elman.LSTM(64, 64), torch.randn(50, 16, 64)
    with torch.no_grad():
        expected = core(x)[0]
        child = os.fork()
        if child == 0:
            # As in the workers of torch's DataLoader: torch's own threads do not survive a fork.
            torch.set_num_threads(1)
            os._exit(0 if torch.allclose(core(x)[0], expected, atol=1e-6) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_memory_does_not_grow_over_thousands_of_calls() -> None:
    core, x = elman.GRU(8, 64), torch.randn(5, 4, 8)

    def call(times: int) -> int:
        for _ in range(times):
            core(x)[0].sum().backward()
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    torch.use_deterministic_algorithms(False)
    before = call(300)
    # A leak of the smallest buffer (5 * 4 * 64 floats) would be 15 MB.
    assert call(3000) - before < 4e6


@pytest.mark.parametrize("by", ["autocast", "weights"])
@pytest.mark.parametrize("name", NATIVE)
def test_bfloat16_stays_within_its_rounding(name: str, by: str, instruction_set: str) -> None:
    for size in ("odd", "many rows", "by units"):
        rows, steps, hidden = SIZES[size]
        core = sized(name, hidden, torch.float32)
        with torch.no_grad():
            for parameter in core.parameters():
                parameter.copy_(parameter.bfloat16())
        x, start = torch.randn(rows, steps, INPUT).bfloat16(), random_state(core, rows)
        start = elman.state.map_state(lambda leaf: leaf.bfloat16().float(), start)
        lengths = torch.arange(rows) % (steps + 1)
        exact = everything(core, x.float(), start, lengths)
        if by == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                rounded = everything(core, x.float(), start, lengths)
        else:
            start = elman.state.map_state(torch.Tensor.bfloat16, start)
            rounded = everything(core.bfloat16(), x, start, lengths)
        assert core.way(x) == "kernel"
        assert rounded[0].dtype == torch.bfloat16
        for a, b in zip(rounded, exact, strict=True):
            # bfloat16 has 8 bits: 0.4 % of a number.  Rounding can make gradients of relu and of
            # normalised rows jump or grow, so the norm is compared and not the largest error.
            error = (a.detach().float() - b.detach()).norm() / (b.detach().norm() + 1e-3)
            assert float(error) < 0.1, (size, tuple(b.shape))
