"""Rows of different lengths, packed: at each step those that still run, longest first.

Rows that have ended then cost nothing, neither in the products nor in the recurrence.

Shape legend: T steps, B rows, N rows of all steps, D features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.kernels import native

THREADED = 1 << 20  # bytes that several threads copy faster than one


class Ragged:
    """Where the rows of each step are.

    Args:
        numbers: int64, one after the other: (T) the first row of a step in packed data, (T) how
            many rows run at it, and, unless the caller's rows are sorted, (B) which of them is
            r-th by length.
        steps: T.
    """

    def __init__(self, numbers: Tensor, steps: int) -> None:
        self.numbers, self.steps = numbers, steps
        self.address = numbers.data_ptr()
        self.order = self.address + 16 * steps if len(numbers) > 2 * steps else 0

    @classmethod
    def sort(cls, lengths: Tensor, steps: int) -> Ragged:
        """Of rows with these lengths, (B) in 0..T."""
        assert native is not None
        lengths = lengths.to("cpu", torch.int64).contiguous()
        rows = len(lengths)
        numbers = torch.empty(2 * steps + rows, dtype=torch.int64)
        native.sort_rows(lengths.data_ptr(), rows, steps, numbers.data_ptr())
        return cls(numbers, steps)

    @classmethod
    def packed(cls, batch_sizes: Tensor) -> Ragged:
        """Of the batch sizes of a PackedSequence."""
        numbers = torch.cat([batch_sizes.cumsum(0) - batch_sizes, batch_sizes])
        return cls(numbers, len(batch_sizes))

    def start(self, step: int) -> int:
        """The address of the first rows of the steps from this one on."""
        return self.address + 8 * step

    def active(self, step: int) -> int:
        """The same of how many rows run."""
        return self.address + 8 * (self.steps + step)

    @property
    def batch_sizes(self) -> Tensor:
        """How many rows run at each step, (T)."""
        return self.numbers[self.steps : 2 * self.steps]

    def rows(self, first: int, last: int) -> tuple[int, int]:
        """First row, and that behind the last, of steps `first` to `last` - 1 in packed data."""
        start, active = int(self.numbers[last - 1]), int(self.numbers[self.steps + last - 1])
        return int(self.numbers[first]), start + active


def pack(x: Tensor, ragged: Ragged) -> Tensor:
    """(T, B, D) of any strides to (N, D)."""
    if torch.is_grad_enabled() and x.requires_grad:
        packed: Tensor = _Pack.apply(x, ragged)  # type: ignore[no-untyped-call]
        return packed
    return _pack(x, ragged)


def _pack(x: Tensor, ragged: Ragged) -> Tensor:
    if x.stride(2) != 1:
        x = x.contiguous()
    packed = x.new_empty(ragged.rows(0, ragged.steps)[1], x.shape[2])
    _copy(ragged, x, packed, pack=True)
    return packed


def _copy(ragged: Ragged, padded: Tensor, packed: Tensor, *, pack: bool) -> None:
    assert native is not None
    size, (count, features) = packed.element_size(), packed.shape
    step, row, _ = padded.stride()
    native.copy_rows(
        ragged.steps, ragged.address, ragged.order, padded.data_ptr(), size * step, size * row,
        packed.data_ptr(), size * features, pack,
        torch.get_num_threads() if size * count * features > THREADED else 1,
    )  # fmt: skip


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ragged: Ragged) -> Tensor:
        ctx.shape, ctx.ragged = x.shape, ragged
        ctx.batch_first = x.stride(0) < x.stride(1)
        return _pack(x, ragged)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        steps, rows, features = ctx.shape
        if ctx.batch_first:
            d_x = gradient.new_zeros(rows, steps, features).transpose(0, 1)
        else:
            d_x = gradient.new_zeros(steps, rows, features)
        _copy(ctx.ragged, d_x, gradient.contiguous(), pack=False)
        return d_x, None
