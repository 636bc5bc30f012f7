"""The recurrence of a matrix state: the native kernel against the definition, and its laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from elman import kernels
from elman.errors import ArgumentError
from elman.recur.matrix import matrix_recurrence, plain_matrix_scan

FORMS = [
    (decay, beta, delta)
    for decay in (None, "head", "key")
    for beta in (False, True)
    for delta in (False, True)
]


def inputs(
    sizes: tuple[int, ...], decay: str | None, beta: bool, dtype: torch.dtype = torch.float32
) -> list[Tensor | None]:
    """Return q, k, v, decay, beta and a state for (B, T, N, K, V)."""
    torch.manual_seed(3)
    rows, steps, heads, size, wide = sizes
    k = F.normalize(torch.randn(rows, steps, heads, size), dim=-1)
    factors = torch.rand(rows, steps, heads, *([size] if decay == "key" else []))
    found = [
        torch.randn(rows, steps, heads, size),
        k,
        torch.randn(rows, steps, heads, wide),
        factors if decay else None,
        2 * torch.rand(rows, steps, heads) if beta else None,
        torch.randn(rows, heads, size, wide),
    ]
    return [None if one is None else one.to(dtype) for one in found]


def everything(run: Any, given: list[Tensor | None], dtype: torch.dtype) -> list[Tensor]:
    """Return y, the last state, and the gradients of all inputs."""
    leaves = [None if one is None else one.detach().to(dtype).requires_grad_() for one in given]
    y, end = run(*leaves)
    torch.manual_seed(4)
    weights = [torch.randn(one.shape).to(dtype) for one in (y, end)]
    total = (y * weights[0]).sum() + (end * weights[1]).sum()
    return [y, end, *torch.autograd.grad(total, [one for one in leaves if one is not None])]


@pytest.mark.skipif(kernels.native is None, reason="there are no kernels")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [
        (2, 5, 3, 4, 4),
        (1, 37, 2, 17, 33),
        (3, 20, 1, 64, 65),
        (2, 9, 2, 1, 3),
        (2, 11, 1, 32, 64),
        (1, 61, 1, 130, 140),  # so large that the backward pass keeps some of the states only
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_the_kernel_equals_the_definition(
    form: tuple[str | None, bool, bool], sizes: tuple[int, ...], reverse: bool
) -> None:
    decay, beta, delta = form
    found = inputs(sizes, decay, beta)
    assert kernels.native is not None
    kernels.native.poison_scratch()
    for lengths in (None, torch.arange(sizes[0]) * sizes[1] // max(1, sizes[0] - 1)):
        options: dict[str, Any] = {"delta": delta, "reverse": reverse}
        fast = everything(
            lambda *x, n=lengths, o=options: matrix_recurrence(*x, n, **o), found, torch.float32
        )
        exact = everything(
            lambda *x, n=lengths, o=options: plain_matrix_scan(*x, n, **o), found, torch.float64
        )
        for a, b in zip(fast, exact, strict=True):
            # Float keeps 24 bits, and sums of up to 140 x 61 products of size 1 are compared.
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e-4, -0.5, 3.0])
def test_a_decay_of_any_size_is_exact(factor: float, delta: bool) -> None:
    given = inputs((1, 40, 1, 17, 5), "head", True)
    assert given[3] is not None
    given[3].fill_(factor)

    def exact(*x: Any) -> tuple[Tensor, Tensor]:
        return plain_matrix_scan(*x, None, delta=delta, reverse=False)

    found = everything(lambda *x: matrix_recurrence(*x, delta=delta), given, torch.float32)
    for a, b in zip(found, everything(exact, given, torch.float64), strict=True):
        size = b.abs().max().clamp(min=1e-30)
        torch.testing.assert_close(a.double() / size, b / size, rtol=0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_split_of_a_sequence_equals_the_whole(data: st.DataObject) -> None:
    q, k, v, decay, beta, state = inputs((3, 9, 2, 5, 4), "head", True)
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=3, max_size=3)))
    cut = data.draw(st.integers(0, 9))
    whole, end = matrix_recurrence(q, k, v, decay, beta, state, lengths, delta=True)
    parts = []
    for begin, stop in ((0, cut), (cut, 9)):
        here = (lengths - begin).clamp(0, stop - begin)
        part = [x[:, begin:stop] for x in (q, k, v, decay, beta)]
        y, state = matrix_recurrence(*part, state, here, delta=True)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(state, end)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_is_ignored(dtype: torch.dtype) -> None:
    given = inputs((2, 6, 2, 3, 4), "key", True, dtype)
    lengths = torch.tensor([4, 0])
    clean = everything(lambda *x: matrix_recurrence(*x, lengths, delta=True), given, dtype)
    for one in given[:5]:
        assert one is not None
        one[0, 4:] = one[1] = float("nan")
    dirty = everything(lambda *x: matrix_recurrence(*x, lengths, delta=True), given, dtype)
    for a, b in zip(clean, dirty, strict=True):
        assert torch.equal(a, b)
    assert bool((clean[0][0, 4:] == 0).all())


@pytest.mark.parametrize("form", [(None, False, False), ("head", True, True), ("key", True, True)])
def test_gradients_equal_finite_differences(form: tuple[str | None, bool, bool]) -> None:
    decay, beta, delta = form
    given = inputs((2, 4, 2, 3, 2), decay, beta, torch.float64)
    lengths = torch.tensor([4, 2])
    present = [one.requires_grad_() for one in given if one is not None]

    def run(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        rest = iter(leaves)
        whole = [None if one is None else next(rest) for one in given]
        return matrix_recurrence(*whole, lengths, delta=delta)

    assert torch.autograd.gradcheck(run, present)


def test_any_strides_give_the_same_result() -> None:
    given = inputs((3, 8, 2, 5, 4), "head", True)
    by_steps = [
        None if one is None else one.transpose(0, 1).contiguous().transpose(0, 1) for one in given
    ]
    spread = [None if one is None else torch.stack([one, one], -1)[..., 0] for one in given]
    wanted = everything(lambda *x: matrix_recurrence(*x, delta=True), given, torch.float32)
    for form in (by_steps, spread):
        found = everything(lambda *x: matrix_recurrence(*x, delta=True), form, torch.float32)
        for a, b in zip(found, wanted, strict=True):
            assert torch.equal(a, b)


def test_short_types_are_computed_as_float32() -> None:
    given = inputs((2, 7, 2, 5, 4), "head", True)
    half = [None if one is None else one.bfloat16() for one in given[:5]]
    y, end = matrix_recurrence(*half, given[5], delta=True)
    wide = [None if one is None else one.float() for one in half]
    wanted, wanted_end = matrix_recurrence(*wide, given[5], delta=True)
    assert (y.dtype, end.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(y, wanted.bfloat16())
    assert torch.equal(end, wanted_end)


@pytest.mark.parametrize("steps", [0, 3])
def test_no_rows_and_no_steps(steps: int) -> None:
    y, end = matrix_recurrence(*inputs((0, steps, 2, 3, 4), "head", True), delta=True)
    assert y.shape == (0, steps, 2, 4)
    state = torch.randn(2, 1, 3, 4)
    empty = [torch.zeros(2, 0, 1, 3), torch.zeros(2, 0, 1, 3), torch.zeros(2, 0, 1, 4)]
    y, end = matrix_recurrence(*empty, state=state)
    assert y.shape == (2, 0, 1, 4)
    assert torch.equal(end, state)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"q": torch.zeros(2, 3, 4)}, r"q must have shape \(B, T, N, K\), got \(2, 3, 4\)"),
        ({"k": torch.zeros(2, 3, 1, 5)}, r"k must have shape \(2, 3, 1, 4\), got \(2, 3, 1, 5\)"),
        ({"decay": torch.zeros(2, 3)}, r"decay must have shape \(2, 3, 1\) or \(2, 3, 1, 4\)"),
        ({"state": torch.zeros(2, 1, 4, 9)}, r"state must have shape \(2, 1, 4, 6\)"),
        ({"lengths": [3, 4]}, "lengths must be in 0..T=3, got 4 at row 1"),
    ],
)
def test_shapes_that_do_not_fit(changed: dict[str, Any], words: str) -> None:
    given = {"q": torch.zeros(2, 3, 1, 4), "k": torch.zeros(2, 3, 1, 4)}
    with pytest.raises(ArgumentError, match=words):
        matrix_recurrence(**{**given, "v": torch.zeros(2, 3, 1, 6), **changed})


@pytest.mark.parametrize("form", FORMS)
def test_the_recurrence_compiles_to_one_graph(form: tuple[str | None, bool, bool]) -> None:
    decay, beta, delta = form
    given = inputs((2, 6, 2, 3, 4), decay, beta)
    lengths = torch.tensor([6, 3])

    def run(*x: Tensor | None) -> tuple[Tensor, Tensor]:
        y, end = matrix_recurrence(*x, lengths, delta=delta, reverse=True)
        return y.tanh(), end

    # "aot_eager" makes the graphs of both passes and needs no C++ compiler.
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    found = everything(compiled, given, torch.float32)
    for a, b in zip(found, everything(run, given, torch.float32), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.compiler.reset()


def test_operators_follow_the_rules_of_torch() -> None:
    if kernels.native is None:
        pytest.skip("there are no kernels")
    torch.use_deterministic_algorithms(False)  # opcheck would compare unread memory
    for decay, beta, delta in (("key", True, True), (None, False, False)):
        q, k, v, a, b, state = inputs((2, 5, 1, 3, 4), decay, beta)
        assert q is not None
        assert k is not None
        assert v is not None
        assert state is not None
        flat = [q, k, v, None if a is None else a.flatten(2), b]
        given = [None if x is None else x.flatten(2).requires_grad_() for x in flat]
        rest = (state.requires_grad_(), torch.tensor([5, 2]), 1, delta, False)
        torch.library.opcheck(torch.ops.elman.matrix_scan, (*given, *rest))
