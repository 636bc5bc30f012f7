"""The pool of buffers is quick to use and never waits for itself."""

from __future__ import annotations

import gc

import pytest

from elman.kernels import pool
from elman.kernels.pool import Lease


def test_a_lease_that_is_collected_while_the_pool_is_locked_does_not_wait() -> None:
    rows = pool.SMALLEST // 8
    lease = Lease()
    block = lease.take(rows, 8)
    address = block.data_ptr()
    del block
    with pool._lock:  # as if the collector ran inside of a call of the pool
        lease.release()
    del lease
    again = Lease()
    assert again.take(rows, 8).data_ptr() == address


def test_the_collector_may_run_at_every_allocation() -> None:
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for size in range(40):
            lease = Lease()
            lease.take(pool.SMALLEST, 1 + size)
            cycle = [lease]
            cycle.append(cycle)  # type: ignore[arg-type]
            del lease, cycle
    finally:
        gc.set_threshold(*threshold)


def test_no_more_is_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LARGEST", pool._kept)
    before = pool._kept
    lease = Lease()
    lease.take(pool.SMALLEST, 3 * 7)
    lease.release()
    assert pool._kept <= before
