"""Subtitles from words with times: SubRip (.srt) and WebVTT (.vtt) files.

A cue is shown while its words are spoken.  A new cue begins after a pause, after the end of a
sentence, and where the next word would not fit into two lines of 42 characters or into 7 seconds;
in that case the cue ends at the longest pause in its second half.  A cue is shown for at least a
second, unless the next one begins earlier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from elman.atomic import write_atomic
from elman.errors import ArgumentError
from elman.read.files import path_of
from elman.report.write_table import check_target

Word = tuple[str, float, float]  # text, start and end in seconds

WIDTH = 42  # most characters of a line
PAUSE = 0.8  # seconds without a word after which a new cue begins
SHORTEST, LONGEST = 1000, 7000  # milliseconds of a cue
ENDS = (".", "!", "?", "…", "。", "！", "？")  # of a sentence
CLOSING = "\"')]}»”’"  # marks that can follow the end of a sentence
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})  # in WebVTT


class Cue(NamedTuple):
    """Lines that are shown together.

    Attributes:
        start, end: times in milliseconds.
        lines: one or two lines.
    """

    start: int
    end: int
    lines: tuple[str, ...]


def make_cues(words: Iterable[Word]) -> list[Cue]:
    """Return the cues of spoken words.

    No two cues overlap, and each is at least a millisecond long.  Words of more than 42 characters
    are divided.

    Args:
        words: texts with start and end in seconds, in the order of their starts.

    Raises:
        ArgumentError: a time is negative or not finite, a word ends before it starts, or starts
            before the previous one.

    Example:
        >>> from elman.report.subtitles import make_cues
        >>> for cue in make_cues([("Go", 0.5, 0.7), ("left.", 0.8, 1.2), ("Stop.", 4.0, 4.3)]):
        ...     print(cue)
        Cue(start=500, end=1500, lines=('Go left.',))
        Cue(start=4000, end=5000, lines=('Stop.',))
    """
    groups = list(_groups(_pieces(words)))
    cues: list[Cue] = []
    for n, group in enumerate(groups):
        start = max(_milliseconds(group[0][1]), cues[-1].end if cues else 0)
        spoken = _milliseconds(max(end for _, _, end in group))
        until = _milliseconds(groups[n + 1][0][1]) if n + 1 < len(groups) else start + LONGEST
        end = min(max(spoken, start + SHORTEST), start + LONGEST, until)
        cues.append(Cue(start, max(start + 1, end), _lines(group)))
    return cues


def as_srt(cues: Iterable[Cue]) -> str:
    """Return cues as the content of a SubRip file.

    Example:
        >>> from elman.report.subtitles import Cue, as_srt
        >>> print(as_srt([Cue(500, 1500, ("Go left.",))]))
        1
        00:00:00,500 --> 00:00:01,500
        Go left.
        <BLANKLINE>
    """
    return "\n".join(
        "\n".join([str(n), _span(cue, ","), *cue.lines, ""]) for n, cue in enumerate(cues, 1)
    )


def as_vtt(cues: Iterable[Cue]) -> str:
    """Return cues as the content of a WebVTT file (https://www.w3.org/TR/webvtt1/).

    Example:
        >>> from elman.report.subtitles import Cue, as_vtt
        >>> print(as_vtt([Cue(500, 1500, ("a < b & c",))]))
        WEBVTT
        <BLANKLINE>
        00:00:00.500 --> 00:00:01.500
        a &lt; b &amp; c
        <BLANKLINE>
    """
    blocks = (
        "\n".join(["", _span(cue, "."), *(line.translate(ESCAPES) for line in cue.lines), ""])
        for cue in cues
    )
    return "WEBVTT\n" + "".join(blocks)


KINDS = {".srt": as_srt, ".vtt": as_vtt}


def write_subtitles(path: str | Path, words: Iterable[Word], *, overwrite: bool = False) -> None:
    """Write the subtitles of spoken words to a file, all of it or nothing.

    Args:
        path: a file that ends with .srt or .vtt.
        words: texts with start and end in seconds, in the order of their starts.
        overwrite: whether to replace an existing file.

    Raises:
        ArgumentError: the times of a word are not valid, see `make_cues`.
        FolderError: the file exists already, cannot be written, or has another suffix.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.report.subtitles import write_subtitles
        >>> path = Path(tempfile.mkdtemp()) / "talk.srt"
        >>> write_subtitles(path, [("Hello", 0.5, 2.0)])
        >>> path.read_text().split("\\n")[1]
        '00:00:00,500 --> 00:00:02,000'
    """
    path = path_of(path, "path")
    check_target(path, overwrite=overwrite, kinds=tuple(KINDS))
    write_atomic(path, KINDS[path.suffix.lower()](make_cues(words)))


def _pieces(words: Iterable[Word]) -> Iterator[Word]:
    """Yield words without white space and of at most one line, which share the time of theirs."""
    before = 0.0
    for n, (text, start, end) in enumerate(words):
        if not before <= start <= end < math.inf:
            raise ArgumentError(
                f"words: number {n} is at {start} to {end} s, expected a start at {before} s or "
                "later, and an end that is not before the start"
            )
        before = start
        parts = [part[k : k + WIDTH] for part in text.split() for k in range(0, len(part), WIDTH)]
        share = (end - start) / max(1, len(parts))
        for k, part in enumerate(parts):
            yield part, start + k * share, start + (k + 1) * share


def _groups(words: Iterable[Word]) -> Iterator[list[Word]]:
    """Yield the words of each cue."""
    group: list[Word] = []
    for word in words:
        if group and (_pause(group[-1], word) >= PAUSE or _ends_sentence(group[-1])):
            yield group
            group = []
        group.append(word)
        if not _fits(group):
            places = [n for n in range(len(group) // 2, len(group)) if _fits(group[n:])]
            cut = max(places, key=lambda n: (_pause(group[n - 1], group[n]), n))
            yield group[:cut]
            group = group[cut:]
    if group:
        yield group


def _pause(word: Word, following: Word) -> float:
    return following[1] - word[2]


def _ends_sentence(word: Word) -> bool:
    return word[0].rstrip(CLOSING).endswith(ENDS)


def _fits(group: Sequence[Word]) -> bool:
    """Return whether words can be one cue; a single word always can."""
    longest = max(end for _, _, end in group) - group[0][1]
    narrow = all(len(line) <= WIDTH for line in _lines(group))
    return len(group) == 1 or (narrow and 1000 * longest <= LONGEST)


def _lines(group: Sequence[Word]) -> tuple[str, ...]:
    """Return one line if it is short enough, else two of similar length."""
    texts = [text for text, _, _ in group]
    whole = " ".join(texts)
    if len(whole) <= WIDTH:
        return (whole,)
    halves = ((" ".join(texts[:n]), " ".join(texts[n:])) for n in range(1, len(texts)))
    return min(halves, key=lambda two: max(map(len, two)))


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _span(cue: Cue, mark: str) -> str:
    return f"{_clock(cue.start, mark)} --> {_clock(cue.end, mark)}"


def _clock(time: int, mark: str) -> str:
    seconds, rest = divmod(time, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"
