"""The fused projection and cross-entropy equal torch's two functions on every instruction set."""

from __future__ import annotations

import functools
import itertools
import math
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elman import kernels
from elman.errors import ArgumentError
from elman.heads import TokenHead
from elman.kernels import cross_entropy, pool
from elman.padded import Padded

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
SIZES = [1, 15, 17, 63, 500, 1031]
# Every pair of sizes in N and D with a size in V, and combinations of the largest ones.
CASES = [(SIZES[i], SIZES[j], SIZES[(i + j) % 6]) for i, j in itertools.product(range(6), range(6))]
CASES += [(500, 500, 1031), (1031, 63, 1031)]
SETS = kernels.native.instruction_sets() if kernels.native is not None else []


@pytest.fixture(params=SETS)
def native(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    assert kernels.native is not None
    before = kernels.native.chosen()
    kernels.native.choose(request.param)
    yield kernels.native
    kernels.native.choose(before)


@contextmanager
def threads_of(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    with threads_of(request.param):
        yield request.param


def tensors(N: int, D: int, V: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(N * 10_000_019 + D * 1009 + V)
    h = torch.randn(N, D, generator=draw) * scale
    weight = torch.randn(V, D, generator=draw) / math.sqrt(D)
    bias = torch.randn(V, generator=draw)
    targets = torch.randint(V, (N,), generator=draw)
    return h.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), targets


def reference(h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> list[Tensor]:
    """Return the loss and gradients of torch in float64."""
    given = (h, weight) if bias is None else (h, weight, bias)
    leaves = [x.detach().double().requires_grad_() for x in given]
    loss = F.cross_entropy(F.linear(*leaves), targets, reduction="sum")
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def result(h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> list[Tensor]:
    loss = cross_entropy.linear_cross_entropy(h, weight, bias, targets)
    inputs = [x for x in (h, weight, bias) if x is not None]
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def poison() -> None:
    """Fill freed memory and kept buffers with NaN, so that reading unwritten memory shows."""
    for size in (10, 1000, 30_000, 1_000_000):
        for block in [torch.full((size,), math.nan) for _ in range(4)]:
            del block
    for blocks in pool._free.values():
        for block in blocks:
            block.fill_(math.nan)
    kernels.native.poison_scratch()


def check(ours: list[Tensor], theirs: list[Tensor], factor: float = 1.0) -> None:
    """Compare with a tolerance relative to the largest number of each tensor.

    Scores of size 1 to 5 have an error of about 1e-6 from sums of up to 1031 products in float32,
    which is also the relative error of their exponentials; 1e-5 leaves a factor of ten.
    """
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == torch.float32
        assert a.shape == b.shape
        largest = max(float(b.abs().max()), 1e-3) if b.numel() else 1.0
        assert float((a - b).abs().max() if b.numel() else 0) <= 1e-5 * factor * largest


@functools.cache
def expected_of(N: int, D: int, V: int) -> list[Tensor]:
    """Return the reference of `tensors(N, D, V)`: the same for every instruction set."""
    return reference(*tensors(N, D, V))


@pytest.mark.parametrize(("N", "D", "V"), CASES)
def test_loss_and_gradients_equal_those_of_torch_in_float64(
    N: int, D: int, V: int, native: ModuleType
) -> None:
    # Each size is tested with one and with two threads.
    with threads_of(1 + (SIZES.index(N) // 3 + SIZES.index(D) // 2) % 2):
        given = tensors(N, D, V)
        poison()
        check(result(*given), expected_of(N, D, V))


def test_several_blocks_of_rows_equal_one(
    native: ModuleType, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "STORED", 1)  # blocks of 32 rows
    for N in (32, 33, 97, 500):
        given = tensors(N, 63, 300)
        poison()
        check(result(*given), reference(*given))


def test_no_bias_equals_a_bias_of_zeros(native: ModuleType, threads: int) -> None:
    h, weight, _, targets = tensors(63, 17, 500)
    poison()
    check(result(h, weight, None, targets), reference(h, weight, None, targets))


def test_strides_do_not_matter(native: ModuleType) -> None:
    h, weight, bias, targets = (x.detach() for x in tensors(63, 17, 500))
    given = (
        h.t().contiguous().t().requires_grad_(),
        torch.randn(500, 40)[:, 3:20].copy_(weight).requires_grad_(),
        torch.stack([bias, bias], 1)[:, 0].requires_grad_(),
        torch.stack([targets, targets], 1)[:, 1],
    )
    check(result(*given), reference(*given))


@pytest.mark.parametrize("wanted", [w for w in itertools.product([0, 1], repeat=3) if any(w)])
def test_only_the_required_gradients_are_computed(
    wanted: tuple[int, int, int], native: ModuleType
) -> None:
    given = tensors(63, 17, 500)
    expected = reference(*given)
    for x, want in zip(given, wanted, strict=False):
        x.requires_grad_(bool(want))
    cross_entropy.linear_cross_entropy(*given).backward()
    for x, want, gradient in zip(given[:3], wanted, expected[1:], strict=True):
        assert (x.grad is not None) == bool(want)
        if x.grad is not None:
            check([x.grad], [gradient])


def test_extreme_scores_stay_finite(native: ModuleType, threads: int) -> None:
    # float32 represents scores of +-1e4 to 1e-3, so the error of each loss is about 1e-3.
    given = tensors(63, 17, 500, scale=4e3)
    ours, theirs = result(*given), reference(*given)
    assert abs(ours[0] - theirs[0]) < 63 * 2e-3
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert float((a - b).abs().max()) < 5e-3 * float(b.abs().max())


def test_probabilities_that_would_be_subnormal_are_zeros(native: ModuleType) -> None:
    h = torch.ones(40, 1, requires_grad=True)
    weight = torch.linspace(-100, 0, 300)[:, None].requires_grad_()  # exp(-100) = 4e-44
    bias = torch.zeros(300, requires_grad=True)
    given = (h, weight, bias, torch.full((40,), 299))
    ours = result(*given)
    check(ours, reference(*given))
    tiny = ours[2].abs()
    assert not bool(((tiny > 0) & (tiny < 1e-30)).any())


def test_a_masked_token_has_no_gradient(native: ModuleType) -> None:
    h, weight, bias, targets = tensors(63, 17, 500)
    with torch.no_grad():
        bias[7] = -math.inf
    targets[targets == 7] = 8
    ours = result(h, weight, bias, targets)
    check(ours, reference(h, weight, bias, targets))
    assert not ours[2][7].any()


def test_a_nan_is_not_hidden(native: ModuleType) -> None:
    for where in range(3):
        given = tensors(63, 17, 500)
        with torch.no_grad():
            given[where].view(-1)[-1] = math.nan
        loss, d_h, *_ = result(*given)
        assert math.isnan(loss)
        assert bool(d_h[-1].isnan().all())


def test_an_empty_batch_gives_zeros(native: ModuleType) -> None:
    ours = result(*tensors(0, 17, 500))
    assert not any(bool(x.any()) for x in ours)
    assert [tuple(x.shape) for x in ours] == [(), (0, 17), (500, 17), (500,)]


@pytest.mark.parametrize("target", [-1, -100, 500, 2**40])
def test_a_target_outside_the_vocabulary_is_refused(target: int, native: ModuleType) -> None:
    h, weight, bias, targets = tensors(63, 17, 500)
    targets[5] = target
    with pytest.raises(ArgumentError, match=f"0..V-1=499, got {target}"):
        cross_entropy.linear_cross_entropy(h, weight, bias, targets)


def test_gradients_scale_with_the_gradient_of_the_loss_and_accumulate(native: ModuleType) -> None:
    given = tensors(63, 17, 500)
    expected = reference(*given)
    for factor in (1.0, 65536.0, 0.125):
        (cross_entropy.linear_cross_entropy(*given) * factor).backward()
    for x, gradient in zip(given, expected[1:], strict=False):
        assert x.grad is not None
        check([x.grad / 65537.125], [gradient])


def test_a_retained_graph_gives_the_same_gradients_again(native: ModuleType) -> None:
    given = tensors(63, 17, 500)
    loss = cross_entropy.linear_cross_entropy(*given) * 3
    first = torch.autograd.grad(loss, given[:3], retain_graph=True)
    second = torch.autograd.grad(loss, given[:3])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, given[:3])


def test_a_second_derivative_is_refused() -> None:
    given = tensors(63, 17, 500)
    loss = cross_entropy.linear_cross_entropy(*given)
    for total in (loss, loss * loss):  # the gradient that the first loss receives is a constant
        with pytest.raises(ArgumentError, match="no second derivatives"):
            torch.autograd.grad(total, given[:1], create_graph=True)


def test_one_matrix_may_be_embedding_and_projection(native: ModuleType) -> None:
    _, weight, bias, targets = tensors(63, 17, 500)
    tokens = torch.arange(63)
    ours = torch.autograd.grad(
        cross_entropy.linear_cross_entropy(weight[tokens], weight, bias, targets), weight
    )
    exact = weight.detach().double().requires_grad_()
    scores = F.linear(exact[tokens], exact, bias.detach().double())
    check(
        list(ours),
        list(torch.autograd.grad(F.cross_entropy(scores, targets, reduction="sum"), exact)),
    )


@pytest.mark.parametrize("N", [40, 500])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_correct_predictions_are_returned(
    mode: type, N: int, native: ModuleType
) -> None:
    h, weight, bias, _ = tensors(N, 17, 300)
    scores = F.linear(h.double(), weight.double(), bias.double())
    targets = scores.argmax(1)
    targets[::3] = (targets[::3] + 1) % 300
    with mode():
        loss, right = cross_entropy.loss_and_right(h, weight, bias, targets)
        assert float(loss) == float(cross_entropy.linear_cross_entropy(h, weight, bias, targets))
    check([loss], [F.cross_entropy(scores, targets, reduction="sum").detach()])
    assert torch.equal(right, scores.argmax(1) == targets)


def test_the_first_of_equal_scores_is_the_prediction(native: ModuleType) -> None:
    h, weight = torch.zeros(40, 3), torch.zeros(300, 3)
    _, right = cross_entropy.loss_and_right(h, weight, None, torch.arange(40))
    assert right.tolist() == [True] + 39 * [False]


@functools.cache
def rounded_tensors(N: int) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Return tensors with values of bfloat16, and references for them and for their first row."""
    *given, targets = tensors(N, 17, 6007)
    half = [x.detach().bfloat16() for x in given]
    h, *others = (x.float() for x in half)
    row = h[:1].expand(N, -1)
    expected = reference(h, *others, targets), reference(row, *others, targets[:1].expand(N))[:1]
    return [*half, targets], list(expected)


# One block, one block of many rows, two blocks, and blocks of 32 rows.
@pytest.mark.parametrize(("N", "stored"), [(63, 2**24), (200, 2**24), (1000, 2**24), (200, 1)])
@pytest.mark.parametrize("autocast", [False, True])
def test_in_bfloat16_factors_are_rounded_and_sums_are_not(
    autocast: bool,
    N: int,
    stored: int,
    native: ModuleType,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cross_entropy, "STORED", stored)
    (*half, targets), (expected, expected_of_row) = rounded_tensors(N)
    exact = [x.float().requires_grad_() for x in half]
    given = exact if autocast else [x.detach().requires_grad_() for x in half]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = cross_entropy.linear_cross_entropy(*given, targets)
    gradients = torch.autograd.grad(loss, given)
    check([loss.detach()], expected[:1])  # products of numbers with 8 bits are exact
    # In a batch of one repeated row, errors of opposite signs cannot cancel.
    row, same = half[0][:1].expand(N, -1).float().requires_grad_(), targets[:1].expand(N)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy.linear_cross_entropy(row, *exact[1:], same)
    check([loss.detach()], expected_of_row)
    for a, b, x in zip(gradients, expected[1:], given, strict=True):
        assert a.dtype == x.dtype
        # The gradient of the scores is rounded to 8 bits, and so is a result in bfloat16.
        assert float((a - b).abs().max()) <= 2**-7 * float(b.abs().max())


def test_in_bfloat16_scores_without_gradients_equal_those_of_float32(native: ModuleType) -> None:
    h, weight, bias, targets = tensors(200, 17, 500)
    alone = cross_entropy.loss_and_right(h, weight, bias, targets)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        loss = cross_entropy.linear_cross_entropy(h, weight, bias, targets)
        assert torch.equal(loss, alone[0])
        assert torch.equal(cross_entropy.loss_and_right(h, weight, bias, targets)[0], alone[0])


def test_several_python_threads_do_not_disturb_each_other(native: ModuleType, threads: int) -> None:
    cases = [tensors(200, 63, 500 + i) for i in range(4)]
    alone = [result(*case) for case in cases]
    together: list[list[Tensor]] = [[] for _ in cases]

    def work(i: int) -> None:
        torch.set_num_threads(threads)  # a new Python thread starts with the default number
        for _ in range(10):
            together[i] = result(*cases[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(cases))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for a, b in zip(alone, together, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_memory_does_not_grow(native: ModuleType) -> None:
    given = tensors(40, 16, 300)
    for _ in range(300):
        result(*given)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2000):
        result(*given)
    # A leak of the gradients would be 50 MB; the unit is KB (bytes on a Mac).
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_the_scores_are_never_all_in_memory() -> None:
    N, V = 20_000, 20_000  # 1.6 GB of scores
    h, weight, _, targets = tensors(N, 8, V)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result(h, weight, None, targets)
    # The buffer is 64 MiB, and nothing else is large; the unit is KB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


@pytest.mark.parametrize("shape", [(63, 17, 500), (200, 64, 1000)])
def test_the_loss_is_one_operator_in_compiled_and_exported_graphs(
    shape: tuple[int, int, int],
) -> None:
    class Loss(torch.nn.Module):
        def forward(self, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
            return cross_entropy.linear_cross_entropy(h * 2, weight, bias, targets) / 2

    given = tensors(*shape)
    plain = Loss()(*given)
    with torch.no_grad():
        gradients = torch.ops.elman.linear_cross_entropy(*given, False, True, True, True)[1:]
    assert all(x.is_contiguous() for x in gradients)  # as its fake kernel declares
    compiled = torch.compile(Loss(), fullgraph=True, backend="aot_eager")
    loss = compiled(*given)
    assert torch.equal(plain, loss)
    pairs = zip(*(torch.autograd.grad(x, given[:3]) for x in (plain, loss)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with torch.no_grad():
        assert torch.equal(compiled(*given), plain)
    exported = torch.export.export(Loss(), given).module()
    assert torch.equal(exported(*given), plain)


def test_the_head_uses_the_kernel_if_it_covers_the_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    head = TokenHead(17, 500)
    states = Padded(torch.randn(8, 9, 17), torch.tensor([9, 1, 0, 9, 5, 5, 7, 8]))
    targets = torch.randint(500, (8, 9))

    def outcome() -> list[Tensor]:
        total, count = head.loss(states, targets)
        score = head.score(states, targets)
        assert count == score["count"] == 44
        values = torch.tensor([score["loss"], score["right"]])
        return [total.detach(), values, *torch.autograd.grad(total, list(head.parameters()))]

    assert cross_entropy.covers(states.data.flatten(0, 1), head.weight, head.bias)
    ours = outcome()
    monkeypatch.setattr(kernels, "native", None)
    assert not cross_entropy.covers(states.data.flatten(0, 1), head.weight, head.bias)
    check(ours, outcome())


def test_float64_other_devices_and_small_problems_use_the_plain_function() -> None:
    h, weight, bias, _ = tensors(63, 17, 500)
    assert cross_entropy.covers(h, weight, bias)
    assert not cross_entropy.covers(h.double(), weight, bias)
    assert not cross_entropy.covers(h, weight, bias.half())
    assert not cross_entropy.covers(h.to("meta"), weight, bias)
    assert not cross_entropy.covers(h[:31], weight, bias)
    assert not cross_entropy.covers(h, weight[:255], bias[:255])
