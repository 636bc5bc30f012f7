"""Packed rows of different lengths: each step has only the rows that still run, longest first.

Rows that have ended cost nothing, neither in the products nor in the recurrence.

Shape legend: T steps, B rows, N rows of all steps, D features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.kernels import native
from elman.kernels.autograd import resolved

THREADED = 1 << 20  # bytes that several threads copy faster than one


class Ragged:
    """The places of the rows of each step in packed data.

    Args:
        native: the native object, whose numbers are already checked.
        steps: T.
    """

    def __init__(self, native: Any, steps: int) -> None:
        self.native, self.steps = native, steps

    @classmethod
    def sort(cls, lengths: Tensor, steps: int) -> Ragged:
        """Sort rows with these lengths, (B) in 0..T."""
        assert native is not None
        return cls(native.Ragged.sorted(lengths.to("cpu", torch.int64).contiguous(), steps), steps)

    @classmethod
    def packed(cls, batch_sizes: Tensor, rows: int) -> Ragged:
        """Take the batch sizes of a PackedSequence whose data have this number of rows."""
        assert native is not None
        return cls(native.Ragged.packed(batch_sizes.contiguous(), rows), len(batch_sizes))

    @property
    def batch_sizes(self) -> list[int]:
        """The number of rows that run at each step."""
        sizes: list[int] = self.native.batch_sizes
        return sizes

    def rows(self, first: int, last: int) -> tuple[int, int]:
        """Return begin and end of the rows of steps `first` to `last` - 1 in packed data."""
        rows: tuple[int, int] = self.native.rows(first, last)
        return rows


def pack(x: Tensor, ragged: Ragged) -> Tensor:
    """Pack x (T, B, D) with any strides to (N, D)."""
    if torch.is_grad_enabled() and x.requires_grad:
        packed: Tensor = _Pack.apply(x, ragged)  # type: ignore[no-untyped-call]
        return packed
    return _pack(x, ragged)


def _pack(x: Tensor, ragged: Ragged) -> Tensor:
    x = resolved(x)
    if x.stride(2) != 1:
        x = x.contiguous()
    packed = x.new_empty(ragged.rows(0, ragged.steps)[1], x.shape[2])
    _copy(ragged, x, packed, pack=True)
    return packed


def _copy(ragged: Ragged, padded: Tensor, packed: Tensor, *, pack: bool) -> None:
    threaded = packed.numel() * packed.element_size() > THREADED
    ragged.native.copy(padded, packed, pack, torch.get_num_threads() if threaded else 1)


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
        _copy(ctx.ragged, d_x, resolved(gradient).contiguous(), pack=False)
        return d_x, None
