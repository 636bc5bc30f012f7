"""The general laws for `linear_recurrence`, with dtypes that run step by step and dtypes of the
kernel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import ArgumentError
from elman.recur import linear_recurrence

KINDS = (torch.float32, torch.complex64, torch.float64, torch.complex128)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind)[6:])


def random(*shape: int, kind: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=kind, generator=torch.Generator().manual_seed(seed))


def same(x: torch.Tensor, y: torch.Tensor) -> None:
    """Compare up to the last digits: torch may round a complex product in two ways."""
    close = 1e-12 if x.dtype in (torch.float64, torch.complex128) else 1e-5
    torch.testing.assert_close(x, y, rtol=close, atol=close)


def test_outputs_match_the_recurrence() -> None:
    a, b = torch.tensor([[[0.5], [-1.0], [2.0]]]), torch.tensor([[[1.0], [2.0], [3.0]]])
    h, state = linear_recurrence(a, b, torch.tensor([[4.0]]))
    assert h.flatten().tolist() == [3.0, -1.0, 1.0]
    assert state.tolist() == [[1.0]]
    h, state = linear_recurrence(a, b, torch.tensor([[4.0]]), reverse=True)
    assert h.flatten().tolist() == [-3.5, -9.0, 11.0]
    assert state.tolist() == [[-3.5]]
    h, _ = linear_recurrence(torch.tensor(1j), torch.ones(1, 3, 1))
    assert h.flatten().tolist() == [1, 1 + 1j, 1j]


@every_kind
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_split_equals_the_whole(kind: torch.dtype, data: st.DataObject) -> None:
    a, b, start = (random(*s, kind=kind) for s in ((3, 9, 5), (3, 9, 5), (3, 5)))
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=3, max_size=3)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 9), max_size=3)))
    whole, end = linear_recurrence(a, b, start, lengths)
    parts, state = [], start
    for first, last in zip([0, *cuts], [*cuts, 9], strict=True):
        here = (lengths - first).clamp(0, last - first)
        h, state = linear_recurrence(a[:, first:last], b[:, first:last], state, here)
        parts.append(h)
    same(torch.cat(parts, 1), whole)
    same(state, end)


@every_kind
@pytest.mark.parametrize("reverse", [False, True])
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_a_row_depends_neither_on_padding_nor_on_its_neighbours(
    kind: torch.dtype, reverse: bool, lengths: list[int]
) -> None:
    rows = len(lengths)
    clean = [random(rows, 6, 4, kind=kind, seed=seed) for seed in (0, 1)]
    start = random(rows, 4, kind=kind).requires_grad_()
    poisoned = [x.clone() for x in clean]
    for row, length in enumerate(lengths):
        for x in poisoned:
            x[row, length:] = float("nan")
    leaves = [x.requires_grad_() for x in poisoned]
    h, end = linear_recurrence(*leaves, start, torch.tensor(lengths), reverse=reverse)
    weight = torch.ones_like(h)
    for row, length in enumerate(lengths):
        weight[row, length:] = float("nan")  # gradients of padding must not matter either
        alone, alone_end = linear_recurrence(
            *(x[row : row + 1, :length] for x in clean), start[row : row + 1], reverse=reverse
        )
        same(h[row : row + 1, :length], alone)
        same(end[row : row + 1], alone_end)
        assert bool((h[row, length:] == 0).all())
    gradients = torch.autograd.grad([h, end], [*leaves, start], [weight, torch.ones_like(end)])
    assert all(bool(g.isfinite().all()) for g in gradients)
    for row, length in enumerate(lengths):
        assert all(bool((g[row, length:] == 0).all()) for g in gradients[:2])
        if length == 0:
            assert bool((gradients[2][row] == 1).all())


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 4, 3), (2, 1, 3), (3,), (2, 4, 1), ()])
def test_gradients_match_finite_differences(
    kind: torch.dtype, reverse: bool, shape: tuple[int, ...]
) -> None:
    a, b, start = (random(*s, kind=kind).requires_grad_() for s in (shape, (2, 4, 3), (2, 3)))
    for lengths in (None, torch.tensor([4, 2])):

        def run(*inputs: torch.Tensor, lengths: object = lengths) -> tuple[torch.Tensor, ...]:
            return linear_recurrence(*inputs, lengths, reverse=reverse)  # type: ignore[arg-type]

        assert torch.autograd.gradcheck(run, (a, b, start), fast_mode=True)
    if not reverse:
        assert torch.autograd.gradgradcheck(linear_recurrence, (a, b, start), fast_mode=True)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_and_carried_as_float32(kind: torch.dtype) -> None:
    a, b = (random(2, 40, 3, kind=torch.float32, seed=s).sigmoid().to(kind) for s in (0, 1))
    h, state = linear_recurrence(a, b)
    exact, end = linear_recurrence(a.float(), b.float())
    assert h.dtype == kind
    assert torch.equal(h, exact.to(kind))
    assert torch.equal(state, end)


@every_kind
def test_sizes_of_zero_are_supported(kind: torch.dtype) -> None:
    for shape in ((0, 4, 3), (2, 0, 3), (2, 4, 0)):
        start = random(shape[0], shape[2], kind=kind)
        h, end = linear_recurrence(random(*shape, kind=kind), random(*shape, kind=kind), start)
        assert h.shape == shape
        assert shape[1] or torch.equal(end, start)


def test_errors_show_the_given_and_the_expected_argument() -> None:
    b = torch.zeros(2, 5, 3)
    with pytest.raises(ArgumentError, match=r"b must have shape \(B, T, D\), got \(5, 3\)"):
        linear_recurrence(b[0], b[0])
    with pytest.raises(
        ArgumentError, match=r"broadcast to the shape of b, \(2, 5, 3\), got \(1, 4, 3\)"
    ):
        linear_recurrence(torch.zeros(4, 3), b)
    with pytest.raises(ArgumentError, match=r"broadcast to the shape of b, .* got \(1, 2, 5, 3\)"):
        linear_recurrence(b[None], b)
    with pytest.raises(ArgumentError, match=r"state must have shape \(2, 3\), got \(1, 2, 3\)"):
        linear_recurrence(b, b, b[None, :, 0])
    for kind in (torch.float32, torch.float64):
        x = b.to(kind)
        with pytest.raises(ArgumentError, match=r"lengths must be in 0..T=5, got 6 at row 1"):
            linear_recurrence(x, x, None, torch.tensor([5, 6]))
        with pytest.raises(ArgumentError, match=r"lengths must be integers"):
            linear_recurrence(x, x, None, torch.tensor([0.5, 1.0]))
