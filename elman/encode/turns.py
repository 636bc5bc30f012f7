"""Join the turns of a conversation into one text, and split such a text into turns."""

from __future__ import annotations

from collections.abc import Sequence

TURN = "\u241e"  # the symbol for a record separator, which no text contains


def split_turns(text: str, separator: str) -> list[str]:
    """Return the turns of a conversation that are not blank.

    Example:
        >>> from elman.encode.turns import split_turns
        >>> split_turns("Hello . __eou__ Hi , how are you ? __eou__", "__eou__")
        ['Hello .', 'Hi , how are you ?']
    """
    parts = (part.strip() for part in text.replace(separator, TURN).split(TURN))
    return [part for part in parts if part]


def join_turns(turns: Sequence[str], last: int) -> str:
    """Return the last turns as one text.

    Example:
        >>> from elman.encode.turns import join_turns
        >>> join_turns(["a", "b", "c"], 2)
        'b \u241e c'
    """
    return f" {TURN} ".join(turns[-last:])
