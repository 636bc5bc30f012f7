"""Sequences padded to a common length, together with their lengths.

Encoders, recurrences and heads all take a `Padded`.  `lengths` is absolute (elements, not
fractions), int64, and can be zero.  Values after the end of a row are ignored and never affect a
result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import ArgumentError


class Padded(NamedTuple):
    """Sequences `data` (B, T, ...), in which row b has `lengths[b]` elements; `lengths` is (B,).

    `extra` (B, ...) is optional information about each row, such as the number of its first
    elements that are missing or scores of its steps, and `others` are further inputs of the rows,
    with lengths of their own.

    Example:
        >>> import torch
        >>> from elman.padded import Padded
        >>> batch = Padded.pad([torch.tensor([1, 2, 3]), torch.tensor([4])])
        >>> batch.data.tolist(), batch.lengths.tolist()
        ([[1, 2, 3], [4, 0, 0]], [3, 1])
        >>> batch.mask().tolist()
        [[True, True, True], [True, False, False]]
    """

    data: Tensor
    lengths: Tensor
    extra: Tensor | None = None
    others: tuple[Padded, ...] = ()

    @classmethod
    def pad(cls, rows: Sequence[Tensor]) -> Padded:
        """Pad tensors (T_b, ...) with zeros to a batch."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return cls(torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True), lengths)

    @classmethod
    def full(cls, data: Tensor) -> Padded:
        """Return a batch of rows (B, T, ...) that are all T long."""
        return cls(data, torch.full((data.shape[0],), data.shape[1], dtype=torch.int64))

    def mask(self) -> Tensor:
        """Return a boolean mask (B, T), true where there is an element."""
        return time_mask(self.lengths.to(self.data.device), self.data.shape[1])

    def cleared(self) -> Tensor:
        """Return the data with zeros after the end of each row, where values can be NaN."""
        mask = self.mask()
        return torch.where(mask.view(*mask.shape, *[1] * (self.data.dim() - 2)), self.data, 0)

    def to(self, device: torch.device | str) -> Padded:
        """Return the batch on another device."""
        extra = None if self.extra is None else self.extra.to(device)
        others = tuple(one.to(device) for one in self.others)
        return Padded(self.data.to(device), self.lengths.to(device), extra, others)


class Composite(ABC):
    """The arrays of one item that a batch holds in several tensors."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def part(self, begin: int, end: int) -> Composite:
        """Return some of the steps."""


@dataclass(frozen=True)
class Joint(Composite):
    """The arrays of several inputs of one item; the first determines the steps.

    Attributes:
        first: (T, ...), or None if it is missing.
        others: arrays of the other inputs, of other lengths; None for a missing one.
    """

    first: NDArray[Any] | None
    others: tuple[NDArray[Any] | Delayed | None, ...]

    def __len__(self) -> int:
        return 1 if self.first is None else max(1, len(self.first))

    def part(self, begin: int, end: int) -> Joint:
        """Return some steps of the first input, with the whole of the other inputs."""
        return Joint(None if self.first is None else self.first[begin:end], self.others)


@dataclass(frozen=True)
class Nested(Composite):
    """The arrays of an item whose steps are sequences, such as the sentences of a document.

    Attributes:
        rows: the array (S, ...) of each step, or several inputs of it (`Joint`).
    """

    rows: Sequence[Any]

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, begin: int, end: int) -> Nested:
        """Return some of the steps."""
        return Nested(self.rows[begin:end])


class Delayed(ABC):
    """An array (T, ...) that is made when a batch needs it, so that all of them need little memory.

    Its length is known before.

    Attributes:
        missing: number of first elements that are missing.
    """

    missing = 0

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self) -> NDArray[Any]:
        """Return the array."""


def pad_arrays(arrays: Sequence[Any]) -> Padded:
    """Return a batch of arrays (T_b, ...), of several inputs (`Joint`) or of sequences (`Nested`).

    An array that is None has no steps.  The batch of `Nested` has the number of each inner sequence
    (B, T), and the batch of all inner sequences as its only other input.
    """
    if isinstance(arrays[0], Nested):
        inner = pad_arrays([row for array in arrays for row in array.rows])
        numbers = torch.arange(len(inner.lengths)).split([len(array) for array in arrays])
        return Padded.pad(numbers)._replace(others=(inner,))
    if isinstance(arrays[0], Joint):
        columns = zip(*((array.first, *array.others) for array in arrays), strict=True)
        first, *others = map(pad_arrays, columns)
        return first._replace(others=tuple(others))
    rows = [None if array is None else row_of(array) for array in arrays]
    known = next((row for row in rows if row is not None), torch.zeros(0))
    batch = Padded.pad([known[:0] if row is None else row for row in rows])
    missing = [one.missing if isinstance(one, Delayed) else 0 for one in arrays]
    return batch._replace(extra=torch.tensor(missing)) if any(missing) else batch


def row_of(values: Sequence[int] | NDArray[Any] | Delayed) -> Tensor:
    """Return features as a float32 tensor, tokens as an int64 tensor."""
    if isinstance(values, Delayed):
        values = values.read()
    if not (isinstance(values, np.ndarray) and values.dtype.kind == "f"):
        return torch.as_tensor(values, dtype=torch.int64)
    return torch.from_numpy(values) if values.dtype == np.float32 else torch.tensor(values).float()


def time_mask(lengths: Tensor, steps: int) -> Tensor:
    """Return a boolean mask (B, T), true at the first `lengths[b]` of `steps` elements."""
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)


LOW = -1e30  # not -inf, which gives NaN gradients in a row without elements


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the float32 softmax over the last dimension where the mask is true, else zeros."""
    weights = torch.where(mask, scores.float(), LOW).softmax(-1)
    return torch.where(mask, weights, 0)


def as_lengths(lengths: Tensor | Sequence[int]) -> Tensor:
    """Return lengths, which can be a list, as a tensor."""
    if isinstance(lengths, Tensor):
        return lengths
    try:
        return torch.as_tensor(lengths, dtype=None if len(lengths) else torch.int64)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"lengths must be integers (elements of each row), got {lengths!r:.80}"
        ) from None


def check_batch_sizes(sizes: Tensor, elements: int) -> None:
    """Raise an ArgumentError unless `sizes` (T,) are batch sizes of this many packed elements."""
    known = sizes.dtype == torch.int64 and sizes.device.type == "cpu" and sizes.dim() == 1
    values = sizes.tolist() if known else []
    if not values or values[-1] < 1 or sum(values) != elements or values != sorted(values)[::-1]:
        raise ArgumentError(
            f"batch_sizes of a PackedSequence must be int64 on the CPU, at least 1, never grow and "
            f"add up to its {elements} rows; build it with pack_padded_sequence"
        )


def check_lengths(lengths: Tensor, rows: int, steps: int) -> tuple[int, int]:
    """Return the shortest and longest length; raise an ArgumentError unless (B,) ints in 0..T."""
    if lengths.device.type == "meta":
        raise ArgumentError("lengths must have values, got a tensor on the meta device")
    if lengths.dtype.is_floating_point or lengths.dtype.is_complex or lengths.dtype == torch.bool:
        raise ArgumentError(
            f"lengths must be integers (elements of each row), got dtype {lengths.dtype}"
        )
    if lengths.shape != (rows,):
        raise ArgumentError(f"lengths must have shape ({rows},), got {tuple(lengths.shape)}")
    values = lengths.tolist()  # faster for one batch than torch's functions
    shortest, longest = min(values, default=steps), max(values, default=steps)
    if shortest < 0 or longest > steps:
        row = next(row for row, value in enumerate(values) if not 0 <= value <= steps)
        raise ArgumentError(f"lengths must be in 0..T={steps}, got {values[row]} at row {row}")
    return shortest, longest
