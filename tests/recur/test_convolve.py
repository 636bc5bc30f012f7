"""The causal convolution against torch's, in parts, ragged, and in both directions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elman.recur.convolve import convolve

T, B, D, K = 7, 5, 3, 4
LENGTHS = [7, 0, 2, 3, 1]


def draw(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, the weight, the bias and a tail."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((T, B, D), (D, K), (D,), (B, K - 1, D))
    x, weight, bias, tail = (torch.randn(s, generator=generator, dtype=dtype) for s in shapes)
    return x, weight, bias, tail


def alone(row: Tensor, weight: Tensor, bias: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs and the tail of one row (T, D), by torch's convolution over time."""
    whole = torch.cat([tail, row])
    y = F.conv1d(whole.t()[None], weight[:, None], bias, groups=D)[0].t()
    return y, whole[len(row) :]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_row_equals_the_convolution_of_the_row_alone(
    dtype: torch.dtype, lengths: list[int] | None, reverse: bool
) -> None:
    x, weight, bias, tail = draw(dtype)
    given = None if lengths is None else torch.tensor(lengths)
    y, end = convolve(x, weight, bias, tail, given, reverse=reverse)
    # Each output is a sum of five numbers of about 1, in any order.
    close = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 1e-5}
    for row, length in enumerate(lengths or [T] * B):
        own = x[:length, row].flip(0) if reverse else x[:length, row]
        if length:
            expected, last = alone(own, weight, bias, tail[row])
            found = y[:length, row].flip(0) if reverse else y[:length, row]
            torch.testing.assert_close(found, expected, **close)
        else:
            last = tail[row]
        assert torch.equal(end[row], last)
    assert bool(y.isfinite().all())


def test_parts_equal_the_whole() -> None:
    x, weight, _, tail = draw()
    y, end = convolve(x, weight, None, tail)
    parts, carried = [], tail
    for piece in (x[:1], x[1:3], x[3:3], x[3:]):
        part, carried = convolve(piece, weight, None, carried)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), y, rtol=0, atol=1e-12)
    assert torch.equal(carried, end)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_equal_finite_differences(reverse: bool) -> None:
    inputs = [one.requires_grad_() for one in draw()]
    mask = torch.arange(T)[:, None] < torch.tensor(LENGTHS)

    def run(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        y, end = convolve(*inputs, torch.tensor(LENGTHS), reverse=reverse)
        return torch.where(mask[:, :, None], y, 0), end

    assert torch.autograd.gradcheck(run, inputs)


def test_a_tail_does_not_keep_the_memory_of_the_sequence() -> None:
    x, weight, bias, tail = draw()
    for reverse in (False, True):
        _, end = convolve(x[:, :1], weight, bias, tail[:1], reverse=reverse)
        assert end.untyped_storage().nbytes() == end.numel() * end.element_size()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_batch_without_rows_or_steps_is_empty(dtype: torch.dtype) -> None:
    x, weight, bias, tail = draw(dtype)
    y, end = convolve(x[:, :0], weight, bias, tail[:0])
    assert y.shape == (T, 0, D)
    assert end.shape == (0, K - 1, D)
    y, end = convolve(x[:0], weight, bias, tail)
    assert y.shape == (0, B, D)
    assert torch.equal(end, tail)
