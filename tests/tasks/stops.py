"""Ctrl-C in the middle of predicting a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from elman.errors import Stopped


@contextmanager
def stopped_at_call(number: int, kind: type, method: str) -> Iterator[None]:
    """Inside, this call of a method is where Ctrl-C falls; what stops must say how to go on."""
    whole: Callable[..., object] = getattr(kind, method)
    calls = 0

    def stop(self: object, *arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyboardInterrupt
        return whole(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, stop)
        with pytest.raises(Stopped, match="the same command continues"):
            yield
    assert calls == number
