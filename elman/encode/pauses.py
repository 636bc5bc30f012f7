"""Long recordings in pieces of 20 to 30 s, each of which ends in a pause.

A piece ends in the middle of the quietest stretch between its 20th and its 30th second.  The level
of a frame is smoothed over 0.3 s; the stretch has the frames around the lowest level m whose level
is at most m + (median - m) / 10.

Shape legend: T frames, F features of a frame, n frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from elman.encode.sound import Floats

SHORTEST, LONGEST = 2000, 3000  # frames of a piece, except for the last one
LAST = 100  # frames that the last piece has at least
WINDOW = 31  # frames over which levels are smoothed
NEAR = 0.1  # levels of a stretch, as a share of the distance from the lowest level to the median


def cut_at_pauses(
    blocks: Iterable[Floats], level: Callable[[Floats], NDArray[np.float32]]
) -> Iterator[Floats]:
    """Yield the pieces (n, F) of a recording, of which only a block and a piece are in memory.

    Args:
        blocks: frames (n, F) in their order.
        level: returns the level (n,) of frames (n, F), such as their energy in decibels.

    Example:
        >>> import numpy as np
        >>> from elman.encode.pauses import cut_at_pauses
        >>> frames = np.ones((7000, 1), dtype=np.float32)
        >>> frames[2400:2500] = frames[4700:4800] = 0
        >>> [len(piece) for piece in cut_at_pauses([frames], lambda x: x[:, 0])]
        [2449, 2300, 2251]
    """
    kept = None
    for block in blocks:
        kept = block if kept is None else np.concatenate([kept, block])
        while len(kept) >= LONGEST + LAST:
            end = SHORTEST + quietest(level(kept[SHORTEST:LONGEST]))
            yield kept[:end].copy()
            kept = kept[end:]
    if kept is not None and len(kept):
        yield kept


def quietest(levels: NDArray[np.float32]) -> int:
    """Return the middle of the quietest stretch of levels (n,), n at least WINDOW."""
    smooth = np.convolve(levels, np.full(WINDOW, 1 / WINDOW), "valid")
    lowest = int(smooth.argmin())
    limit = smooth[lowest] + NEAR * (np.median(smooth) - smooth[lowest])
    loud = np.flatnonzero(smooth > limit)
    place = int(loud.searchsorted(lowest))
    first = int(loud[place - 1]) + 1 if place else 0
    end = int(loud[place]) if place < len(loud) else len(smooth)
    return (first + end - 1 + WINDOW - 1) // 2
