"""The pool reuses buffers, up to a limit, and never waits for its own lock."""

from __future__ import annotations

import gc
import threading

import pytest

from elman.kernels import pool
from elman.kernels.pool import Lease


def test_releasing_a_lease_while_the_pool_is_locked_does_not_wait() -> None:
    rows = pool.SMALLEST // 8
    lease = Lease()
    block = lease.take(rows, 8)
    address = block.data_ptr()
    del block
    with pool._lock:  # as if the collector ran during a call of the pool
        lease.release()
    del lease
    again = Lease()
    assert again.take(rows, 8).data_ptr() == address


def test_the_collector_may_delete_a_lease_while_the_pool_is_locked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = pool._store
    monkeypatch.setattr(pool, "_store", lambda: (gc.collect(), store()))
    # A thread that waits for ever would keep the lock.
    monkeypatch.setattr(pool, "_lock", threading.Lock())
    gc.disable()
    try:
        lease = Lease()
        address = lease.take(pool.SMALLEST, 3).data_ptr()
        cycle = [lease]
        cycle.append(cycle)  # type: ignore[arg-type]
        del lease, cycle
        found: list[int] = []
        worker = threading.Thread(
            target=lambda: found.append(Lease().take(pool.SMALLEST, 3).data_ptr()), daemon=True
        )
        worker.start()
        worker.join(60)
    finally:
        gc.enable()
    assert found == [address]


def test_the_pool_keeps_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LARGEST", pool._kept)
    before = pool._kept
    lease = Lease()
    lease.take(pool.SMALLEST, 3 * 7)
    lease.release()
    assert pool._kept <= before
