"""The tag of each frame of an audio clip."""

from __future__ import annotations

from typing import Any

from elman.errors import DataError
from elman.inputs.target_column import TargetColumn


def frame_tags(
    cell: Any, count: int, seconds: float, target: TargetColumn, place: str
) -> list[str]:
    """Return the tag of each frame of a clip, given as a list or by spans.

    Args:
        cell: a tag for each frame, or spans (start, end, label) in seconds.
        count: number of frames.
        seconds: time from one frame to the next.
        target: the column of the tags, with the tag outside all spans.
        place: where the clip was read, for messages.

    Raises:
        DataError: there are more or fewer tags than frames.

    Example:
        >>> from elman.inputs.frame_tags import frame_tags
        >>> from elman.inputs.input import TargetColumn
        >>> column = TargetColumn("tags", "tags", each=True)
        >>> frame_tags([(0.01, 0.03, "beep")], 4, 0.01, column, "row 0")
        ['none', 'beep', 'beep', 'none']
    """
    if isinstance(cell, list) and all(isinstance(one, tuple) for one in cell):
        tags = [target.background] * count
        for start, end, label in cell:
            first, last = (min(round(time / seconds), count) for time in (start, end))
            tags[first:last] = [label] * (last - first)
        return tags
    found = cell.split() if isinstance(cell, str) else list(cell or ())
    if len(found) != count:
        raise DataError(
            f"{place}: has {count} frames and {len(found)} {target.noun}; expected the same number "
            "of both, or a table of spans (path, start, end, label)"
        )
    return found
