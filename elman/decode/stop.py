"""End a text at stop strings, also while it is being generated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence


def cut_at(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string; `stop` is one string or several.

    Example:
        >>> from elman.decode.stop import cut_at
        >>> cut_at("the cat sat on the mat", "mat"), cut_at("the cat sat", ["at", "sat"])
        ('the cat sat on the ', 'the c')
    """
    stop = [stop] if isinstance(stop, str) else stop
    found = [at for at in (text.find(mark) for mark in stop if mark) if at >= 0]
    return text[: min(found, default=len(text))]


def until(pieces: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield pieces up to the first stop string, holding back a possible beginning of one."""
    stop = [stop] if isinstance(stop, str) else stop
    held = ""
    longest = max(map(len, stop), default=1)
    for piece in itertools.chain(pieces, [""]):
        held += piece
        cut = cut_at(held, stop)
        if len(cut) < len(held):
            yield cut
            return
        sure = len(held) - longest + 1
        if sure > 0:
            yield held[:sure]
            held = held[sure:]
    yield held
