"""The native loss of a transducer equals its definition in float64 on every instruction set."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch
from torch import Tensor

from elman import kernels
from elman.errors import ArgumentError, TensorError
from elman.heads.transducer import TransducerHead, plain_loss
from elman.kernels.transducer import covers, transducer_loss
from elman.padded import Padded

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
SETS = kernels.native.instruction_sets() if kernels.native is not None else []
SIZES = [1, 15, 17, 63]
# Every pair of sizes of T and U, with sizes of J and V, which is one more than a vocabulary.
CASES = [
    (SIZES[i], SIZES[j], SIZES[(i + j) % 4], 1 + SIZES[(2 * i + j) % 4])
    for i, j in itertools.product(range(4), range(4))
]
Given = tuple[list[Tensor], list[Tensor]]  # e, p, W, b; targets, frames, tokens


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


def tensors(T: int, U: int, J: int, V: int, *, B: int = 4, scale: float = 1.0) -> Given:
    """Return a ragged batch whose first row is full, and whose last is empty."""
    draw = torch.Generator().manual_seed(T * 1_000_003 + U * 10_007 + J * 101 + V)
    e, p = (torch.randn(B, n, J, generator=draw) * scale for n in (T, U + 1))
    weight = torch.randn(V, J, generator=draw) / math.sqrt(J) * scale
    bias = torch.randn(V, generator=draw)
    targets = torch.randint(V - 1, (B, U), generator=draw)
    frames = torch.randint(1, T + 1, (B,), generator=draw)
    tokens = torch.randint(0, U + 1, (B,), generator=draw)
    frames[0], tokens[0] = T, U
    if B > 1:
        frames[-1] = tokens[-1] = 0
    return [x.requires_grad_() for x in (e, p, weight, bias)], [targets, frames, tokens]


def reference(leaves: list[Tensor], rest: list[Tensor]) -> list[Tensor]:
    """Return the loss and gradients of the definition in float64."""
    exact = [x.detach().double().requires_grad_() for x in leaves]
    loss = plain_loss(exact[0], exact[1], exact[2], exact[3], *rest)
    return [loss.detach(), *torch.autograd.grad(loss, exact)]


@functools.cache
def expected_of(T: int, U: int, J: int, V: int) -> list[Tensor]:
    return reference(*tensors(T, U, J, V))


def result(leaves: list[Tensor], rest: list[Tensor]) -> list[Tensor]:
    assert kernels.native is not None
    kernels.native.poison_scratch()
    loss = transducer_loss(leaves[0], leaves[1], leaves[2], leaves[3], *rest)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def check(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-5) -> None:
    """Compare with a tolerance relative to the largest number of each tensor.

    Log-probabilities have an error of about 1e-6 from sums of up to 63 products in float32, which
    is also the relative error of their exponentials; 1e-5 leaves a factor of ten.
    """
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == torch.float32
        assert a.shape == b.shape
        largest = max(float(b.abs().max()), 1e-3) if b.numel() else 1.0
        assert float((a - b).abs().max() if b.numel() else 0) <= tolerance * largest


@pytest.mark.parametrize(("T", "U", "J", "V"), CASES)
def test_loss_and_gradients_equal_the_definition_in_float64(
    T: int, U: int, J: int, V: int, native: ModuleType
) -> None:
    # Half of the sizes are tested with one thread, half with two.
    with threads_of(1 + (T + U) % 4 // 2):
        check(result(*tensors(T, U, J, V)), expected_of(T, U, J, V))


def test_a_new_thread_gives_the_same(native: ModuleType) -> None:
    # The memory of a thread grows with its calls; that of a new one is just large enough, so that
    # the sanitizers see what is read or written beyond it.
    for T, U, J, V in CASES:
        leaves, rest = tensors(T, U, J, V)
        found: list[Tensor] = []

        def call(given: Given = (leaves, rest), to: list[Tensor] = found) -> None:
            (e, p, weight, bias), lengths = given
            to.append(transducer_loss(e, p, weight, bias, *lengths))

        worker = threading.Thread(target=call)
        worker.start()
        worker.join()
        check([found[0].detach(), *torch.autograd.grad(found[0], leaves)], expected_of(T, U, J, V))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_frames_of_one_row(threads: int, native: ModuleType) -> None:
    given = tensors(63, 17, 33, 64, B=1)
    with threads_of(threads):
        first = result(*given)
        check(first, reference(*given))
        again = result(*given)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_scores_that_are_not_kept_are_computed_again(native: ModuleType) -> None:
    given = tensors(64, 63, 3, 2101, B=1)  # 64 * 64 * 2101 scores, more than KEPT
    check(result(*given), reference(*given))


def test_a_long_lattice_is_exact(native: ModuleType) -> None:
    # The loss is about 2000, which float32 represents to 1e-4.  A posterior is a product of 1200
    # shares, each with a relative error of about 1e-6.
    leaves, rest = tensors(1000, 200, 2, 4, B=1, scale=2.0)
    ours, theirs = result(leaves, rest), reference(leaves, rest)
    check(ours[:1], theirs[:1], 1e-6)
    check(ours[1:], theirs[1:], 1e-3)


def test_a_row_alone_gives_the_same_as_in_a_batch(native: ModuleType) -> None:
    (e, p, weight, bias), (targets, frames, tokens) = tensors(17, 15, 17, 16)
    whole = result([e, p, weight, bias], [targets, frames, tokens])
    total = torch.zeros(())
    for row in range(4):
        T, U = int(frames[row]), int(tokens[row])
        cut = [e[row : row + 1, :T], p[row : row + 1, : U + 1], weight, bias]
        leaves = [x.detach().clone().requires_grad_() for x in cut]
        rest = [targets[row : row + 1, :U], frames[row : row + 1], tokens[row : row + 1]]
        loss, d_e, d_p, *_ = result(leaves, rest)
        total = total + loss
        check([d_e[0], d_p[0]], [whole[1][row, :T], whole[2][row, : U + 1]])
        assert not bool(whole[1][row, T:].any())
        assert not bool(whole[2][row, U + 1 :].any())
    check([total], whole[:1])


def test_padding_may_be_nan(native: ModuleType) -> None:
    leaves, rest = tensors(17, 15, 17, 16)
    before = result(leaves, rest)
    targets, frames, tokens = rest
    with torch.no_grad():
        for row in range(4):
            leaves[0][row, frames[row] :] = math.nan
            leaves[1][row, tokens[row] + 1 :] = math.nan
            targets[row, tokens[row] :] = -1
    after = result(leaves, rest)
    # An empty row has no alignment, but the kernel does not read its p either.
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_no_bias_equals_a_bias_of_zeros(native: ModuleType) -> None:
    leaves, rest = tensors(15, 17, 17, 16)
    with torch.no_grad():
        leaves[3].zero_()
    loss = transducer_loss(leaves[0], leaves[1], leaves[2], None, *rest)
    ours = [loss.detach(), *torch.autograd.grad(loss, leaves[:3])]
    check(ours, reference(leaves, rest)[:4])


def test_strides_do_not_matter(native: ModuleType) -> None:
    leaves, rest = tensors(15, 17, 17, 16)
    turned = [x.detach().transpose(0, -1).contiguous().transpose(0, -1) for x in leaves]
    apart = [torch.stack([x, x], -1)[..., 0] for x in rest]
    check(result([x.requires_grad_() for x in turned], apart), reference(leaves, rest))


@pytest.mark.parametrize("wanted", [w for w in itertools.product([0, 1], repeat=4) if any(w)])
def test_only_the_required_gradients_are_computed(
    wanted: tuple[int, ...], native: ModuleType
) -> None:
    leaves, rest = tensors(15, 17, 17, 16)
    expected = expected_of(15, 17, 17, 16)
    for x, want in zip(leaves, wanted, strict=True):
        x.requires_grad_(bool(want))
    transducer_loss(leaves[0], leaves[1], leaves[2], leaves[3], *rest).backward()
    for x, want, gradient in zip(leaves, wanted, expected[1:], strict=True):
        assert (x.grad is not None) == bool(want)
        if x.grad is not None:
            check([x.grad], [gradient])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_loss_is_the_same(mode: type, native: ModuleType) -> None:
    leaves, rest = tensors(15, 17, 17, 16)
    with mode():
        loss = transducer_loss(leaves[0], leaves[1], leaves[2], leaves[3], *rest)
    assert torch.equal(loss, result(leaves, rest)[0])


def test_a_nan_is_not_hidden(native: ModuleType) -> None:
    for where in range(4):
        leaves, rest = tensors(17, 15, 17, 16)
        with torch.no_grad():
            leaves[where].view(-1)[0] = math.nan
        assert math.isnan(result(leaves, rest)[0])


def test_a_masked_symbol_has_no_gradient(native: ModuleType) -> None:
    leaves, rest = tensors(17, 15, 17, 16)
    with torch.no_grad():
        leaves[3][7] = -math.inf
    rest[0][rest[0] == 7] = 8
    ours = result(leaves, rest)
    check(ours, reference(leaves, rest))
    assert not bool(ours[3][7].any())


def test_an_impossible_target_has_an_infinite_loss(native: ModuleType) -> None:
    leaves, rest = tensors(3, 2, 2, 3, B=1)
    with torch.no_grad():
        leaves[3][int(rest[0][0, 0])] = -math.inf
    assert math.isinf(result(leaves, rest)[0])


def test_rows_without_frames_give_zeros(native: ModuleType) -> None:
    (e, p, *weights), rest = tensors(3, 3, 5, 6)
    none = [x[:0].detach().requires_grad_() for x in (e, p)]
    assert not any(bool(x.any()) for x in result([*none, *weights], [x[:0] for x in rest]))
    leaves = [torch.ones(2, 0, 5), torch.ones(2, 1, 5), torch.ones(6, 5), torch.ones(6)]
    leaves = [x.requires_grad_() for x in leaves]
    zeros = torch.zeros(2, dtype=torch.int64)
    assert not any(bool(x.any()) for x in result(leaves, [zeros[:, None][:, :0], zeros, zeros]))


@pytest.mark.parametrize("target", [-1, 15, 2**40])
def test_a_target_outside_the_vocabulary_is_refused(target: int, native: ModuleType) -> None:
    leaves, rest = tensors(17, 15, 17, 16)
    rest[0][0, 5] = target
    with pytest.raises(ArgumentError, match=rf"0..V-2=14, got {target}"):
        result(leaves, rest)


def test_wrong_lengths_and_shapes_are_refused(native: ModuleType) -> None:
    leaves, (targets, frames, tokens) = tensors(17, 15, 17, 16)
    with pytest.raises(ArgumentError, match=r"frames must be in 0..T=17, got 18"):
        result(leaves, [targets, frames + 1, tokens])
    with pytest.raises(ArgumentError, match=r"tokens must be in 0..U=15, got 16"):
        result(leaves, [targets, frames, tokens + 1])
    with pytest.raises(ArgumentError, match="row 0 has tokens, but no frames"):
        result(leaves, [targets, frames * 0, tokens])
    with pytest.raises(TensorError, match="targets"):
        result(leaves, [targets[:, :3], frames, tokens])
    with pytest.raises(TensorError, match="weight"):
        result([*leaves[:2], leaves[2][:, :3], leaves[3]], [targets, frames, tokens])


def test_gradients_scale_with_the_gradient_of_the_loss(native: ModuleType) -> None:
    leaves, rest = tensors(15, 17, 17, 16)
    for factor in (1.0, 0.25):
        (transducer_loss(leaves[0], leaves[1], leaves[2], leaves[3], *rest) * factor).backward()
    for x, gradient in zip(leaves, expected_of(15, 17, 17, 16)[1:], strict=True):
        assert x.grad is not None
        check([x.grad / 1.25], [gradient])


def test_a_retained_graph_gives_the_same_gradients_again() -> None:
    leaves, rest = tensors(15, 17, 17, 16)
    loss = transducer_loss(leaves[0], leaves[1], leaves[2], leaves[3], *rest) * 3
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    second = torch.autograd.grad(loss, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_second_derivative_is_refused() -> None:
    leaves, rest = tensors(15, 17, 17, 16)
    loss = transducer_loss(leaves[0], leaves[1], leaves[2], leaves[3], *rest)
    with pytest.raises(ArgumentError, match="no second derivatives"):
        torch.autograd.grad(loss, leaves[:1], create_graph=True)


def test_bfloat16_inputs_are_computed_in_float32() -> None:
    leaves, rest = tensors(15, 17, 17, 16)
    short = [x.detach().bfloat16().requires_grad_() for x in leaves]
    loss = transducer_loss(short[0], short[1], short[2], short[3], *rest)
    wide = [x.detach().float().requires_grad_() for x in short]
    assert torch.equal(loss, result(wide, rest)[0])
    assert all(g.dtype == torch.bfloat16 for g in torch.autograd.grad(loss, short))


def test_the_loss_is_one_operator_in_compiled_graphs() -> None:
    leaves, rest = tensors(15, 17, 17, 16)

    def loss(e: Tensor, *others: Tensor) -> Tensor:
        p, weight, bias, targets, frames, tokens = others
        return transducer_loss(e * 2, p, weight, bias, targets, frames, tokens) / 2

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    ours = torch.autograd.grad(compiled(*leaves, *rest), leaves)
    expected = torch.autograd.grad(loss(*leaves, *rest), leaves)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_the_head_uses_the_kernel_if_it_covers_the_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = TransducerHead(7, 9, predictor_size=5, joint_size=6)
    states = Padded(torch.randn(3, 8, 7), torch.tensor([8, 0, 3]))
    targets = torch.tensor([[1, 2, 2], [-1, -1, -1], [8, -1, -1]])

    def outcome() -> list[Tensor]:
        total, count = head.loss(states, targets)
        assert count == 4
        return [total.detach(), *torch.autograd.grad(total, list(head.parameters()))]

    ours = outcome()
    monkeypatch.setattr(kernels, "native", None)
    check(ours, outcome())


def test_float64_and_other_devices_use_the_definition() -> None:
    (e, p, weight, bias), _ = tensors(15, 17, 17, 16)
    assert covers(e, p, weight, bias)
    assert not covers(e.double(), p.double(), weight.double(), bias.double())
    assert not covers(e, p, weight, bias.half())
    assert not covers(*(x.to("meta") for x in (e, p, weight, bias)))
