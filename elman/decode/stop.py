"""End a text at stop strings, also while it is being generated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from elman.arguments import list_of_argument, text_of_argument


def stop_strings(stop: Sequence[str]) -> list[str]:
    """Return one or several stop strings as a list; raise an ArgumentError for anything else.

    Example:
        >>> from elman.decode.stop import stop_strings
        >>> stop_strings("mat"), stop_strings(("at", "sat"))
        (['mat'], ['at', 'sat'])
    """
    marks = [stop] if isinstance(stop, str) else list_of_argument(stop, "stop", "texts")
    return [text_of_argument(mark, "stop") for mark in marks]


def cut_at(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string.

    Example:
        >>> from elman.decode.stop import cut_at
        >>> cut_at("the cat sat", ["at", "sat"])
        'the c'
    """
    found = [at for at in (text.find(mark) for mark in stop if mark) if at >= 0]
    return text[: min(found, default=len(text))]


def until(pieces: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield pieces up to the first stop string; delay text that could be the beginning of one."""
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
