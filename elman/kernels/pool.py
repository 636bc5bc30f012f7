"""A pool of large buffers, because new memory costs a page fault for every 4096 bytes.

A training step frees the buffers of its backward pass, and the next step needs buffers of equal
size.  glibc returns large blocks to the system in between, and allocating them again takes more
time than the arithmetic of a small model.
"""

from __future__ import annotations

import os
import threading
from collections import deque

import torch
from torch import Tensor

SMALLEST = 1 << 14  # floats; smaller ones come from malloc's own lists
LARGEST = 1 << 28  # floats that are kept in all: 1 GiB
ALIASED = 256  # floats; rows whose length is a multiple of it share sets of the L1 cache
GAP = 16  # floats

_returned: deque[Tensor] = deque()  # given back, but not yet sorted into the pool
_free: dict[int, list[Tensor]] = {}
_kept = 0
_lock = threading.Lock()


def _renew_lock() -> None:
    """Replace the lock in a forked process, where a thread that held it does not exist."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class Lease:
    """Buffers of one owner, which go back to the pool when the owner is deleted.

    Args:
        pooled: whether the buffers come from the pool; False allocates new memory.

    Example:
        >>> from elman.kernels.pool import Lease
        >>> Lease().take(3, 4).shape
        torch.Size([3, 4])
    """

    def __init__(self, *, pooled: bool = True) -> None:
        self.pooled = pooled
        self._blocks: list[Tensor] = []

    def take(
        self, rows: int, columns: int, *, padded: bool = False, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return a tensor (rows, columns) with arbitrary contents.

        Args:
            rows: rows of the tensor.
            columns: columns of the tensor.
            padded: leave a gap between rows where they would otherwise begin in the same sets of
                the cache, and evict one another.  Without a gap the tensor is dense, except that
                a bfloat16 row of odd length is followed by one unused number.
            dtype: float32 or bfloat16.
        """
        count = rows * columns
        if count < SMALLEST or not self.pooled:
            return torch.empty(rows, columns, dtype=dtype, device="cpu")
        share = 4 // dtype.itemsize  # numbers in the place of a float
        if padded and columns % (ALIASED * share) == 0:
            return self.take(rows, columns + GAP * share, dtype=dtype)[:, :columns]
        if share > 1:
            return self.take(rows, -(-columns // share)).view(dtype)[:, :columns]
        # Sizes in steps of an eighth of a power of two, so that ragged batches share them.
        grain = 1 << (count.bit_length() - 4)
        size = (count + grain - 1) // grain * grain
        block = _take(size)
        self._blocks.append(block)
        return block[:count].view(rows, columns)

    def release(self) -> None:
        """Give all buffers back now; they must not be used any more."""
        while self._blocks:
            _give(self._blocks.pop())

    def __del__(self) -> None:
        self.release()


def _take(size: int) -> Tensor:
    global _kept
    with _lock:
        _store()
        blocks = _free.get(size)
        if blocks:
            _kept -= size
            return blocks.pop()
    # A block outlives the mode in which it was first allocated.
    with torch.inference_mode(False):
        return torch.empty(size, dtype=torch.float32, device="cpu")


def _give(block: Tensor) -> None:
    # Python can collect a Lease anywhere, even where this thread holds the lock: do not wait here.
    _returned.append(block)
    if _lock.acquire(blocking=False):
        try:
            _store()
        finally:
            _lock.release()


def _store() -> None:
    """Sort the returned buffers into the pool, up to the limit; the caller holds the lock."""
    global _kept
    while _returned:
        block = _returned.popleft()
        if _kept + block.numel() <= LARGEST:
            _free.setdefault(block.numel(), []).append(block)
            _kept += block.numel()
