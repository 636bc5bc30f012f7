"""Ctrl-C during the prediction of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from elman.errors import Stopped


@contextmanager
def stopped_at_call(number: int, kind: type, method: str) -> Iterator[None]:
    """Raise KeyboardInterrupt at one call of a method; the error must explain how to continue.

    Args:
        number: number of the call, from 1.
        kind: class of the method.
        method: name of the method.
    """
    original: Callable[..., object] = getattr(kind, method)
    calls = 0

    def stop(self: object, *arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, stop)
        with pytest.raises(Stopped, match="the same command continues"):
            yield
    assert calls == number
