"""Transcripts of items that arrive in parts, such as pieces of long recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from elman.decode.hypotheses import Hypothesis
from elman.decode.transcript import Transcript, join_transcripts
from elman.targets.transcripts import Transcripts

TOGETHER = 1 << 17  # frames of the parts that are in memory at the same time
Part = tuple[int, float, Any]  # number of an item, seconds from its beginning, and a part of it


def transcribe_parts(
    target: Transcripts,
    decode: Callable[[Sequence[Any]], list[list[Hypothesis]]],
    parts: Iterable[Part],
    *,
    spaced: bool = False,
) -> list[list[Transcript]]:
    """Return the best transcripts of each item, joined from those of its parts.

    Args:
        target: the transcripts of the model.
        decode: returns the best hypotheses of each part.
        parts: the parts of all items, in their order.
        spaced: whether a space separates the parts even if the model writes no spaces.
    """
    separator = " " if spaced or any(" " in piece for piece in target.pieces) else ""
    found: list[list[Transcript]] = []
    for group in _groups(parts):
        best = decode([part for _, _, part in group])
        for (item, start, _), some in zip(group, best, strict=True):
            written = [target.transcript(one, start) for one in some]
            if item < len(found):
                found[item] = join_transcripts(found[item], written, separator)
            else:
                found.append(written)
    return found


def _groups(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Yield parts in lists that fit in memory."""
    group: list[Part] = []
    size = 0
    for part in parts:
        group.append(part)
        size += len(part[2])
        if size > TOGETHER:
            yield group
            group, size = [], 0
    if group:
        yield group
