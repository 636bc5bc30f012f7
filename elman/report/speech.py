"""Pictures of transcripts: the features of a clip, its tokens and its words over time.

Equal inputs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import east_asian_width

from elman.report.charts import BLUE, INK, RED, figure_with, svg_of
from elman.report.terminal import one_line

WIDTH = 9.6  # inches
LEFT, RIGHT, BOTTOM, TOP, GAP = 0.6, 0.1, 0.5, 0.1, 0.12  # inches around and between the parts
FEATURES, PATH, WORD = 1.2, 1.4, 0.3  # height in inches of the parts, and of a row of words
LETTER = 0.085  # width of a letter in inches
LETTERS = 40  # tokens up to which their text is shown
SHADE = (0.3, 0.55, 0.82)  # visible on light and dark paper

Span = tuple[float, float]


def speech_chart(found: Mapping[str, Any]) -> str:
    """Return an HTML figure of a transcript.

    Args:
        found: `title`; `features`, a row of numbers 00..99 for each band, the lowest band first;
            `band`, the name of a row; `seconds`, the duration of the picture; `tokens`, pairs
            (text, seconds); `words`, (text, start, end) in seconds; `caption`, text below the
            picture.

    Example:
        >>> from elman.report.speech import speech_chart
        >>> found = {"title": "a.wav", "features": ["0099", "5000"], "band": "mel band"}
        >>> found |= {"seconds": 1.0, "tokens": [("h", 0.2), ("i", 0.4)], "caption": "Is: hi."}
        >>> speech_chart({**found, "words": [("hi", 0.2, 0.45)]})[:27]
        '<figure><h3>a.wav</h3>\\n<div'
    """
    words, seconds = found["words"], float(found["seconds"])
    inches = WIDTH - LEFT - RIGHT
    places = [_place(word, seconds, LETTER * seconds / inches) for word in words]
    rows = rows_of(places)
    heights = [WORD * (1 + max(rows, default=0)), PATH, FEATURES]
    height = BOTTOM + sum(heights) + 2 * GAP + TOP

    def draw(drawing: Any) -> None:
        parts, at = [], BOTTOM
        for part in heights:
            box = (LEFT / WIDTH, at / height, inches / WIDTH, part / height)
            parts.append(drawing.add_axes(box, xlim=(0, seconds)))
            at += part + GAP
        for one in parts:
            one.grid(visible=True, axis="x")
        _words(parts[0], words, places, rows)
        _path(parts[1], found["tokens"])
        _features(parts[2], found["features"], found["band"], seconds)
        for one in parts[1:]:
            one.tick_params(labelbottom=False)
        for one in parts:
            one.yaxis.set_label_coords(-0.42 / inches, 0.5)
        parts[0].set_xlabel("time (s)")

    spoken = ", ".join(f"{text} {start:.2f}\N{EN DASH}{end:.2f} s" for text, start, end in words)
    caption = f"{found['caption']} Words found: {spoken or 'none'}."
    svg = svg_of(found["title"], (WIDTH, height), draw)
    return figure_with(found["title"], f'<div class="wide speech">{svg}</div>', caption)


def rows_of(places: Sequence[Span]) -> list[int]:
    """Return a row for each label from left to right, so that labels of a row do not overlap.

    Args:
        places: the left and right end of each label.

    Example:
        >>> from elman.report.speech import rows_of
        >>> rows_of([(0.0, 2.0), (1.0, 3.0), (2.5, 4.0)])
        [0, 1, 0]
    """
    ends: list[float] = []
    rows = []
    for left, right in places:
        row = next((n for n, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [right]
        rows.append(row)
    return rows


def _place(word: tuple[str, float, float], seconds: float, letter: float) -> Span:
    """Return the ends of the label of a word, inside of the picture, given a letter's width."""
    text, start, end = word
    letters = sum(2 if east_asian_width(one) in "WF" else 1 for one in text)
    width = min(seconds, max(letter * (letters + 1), end - start))
    left = min(max(0.0, (start + end - width) / 2), seconds - width)
    return left, left + width


def _words(
    axes: Any, words: Sequence[tuple[str, float, float]], places: Sequence[Span], rows: list[int]
) -> None:
    axes.set(ylim=(max(rows, default=0) + 1, 0), yticks=[], ylabel="words")
    for (text, start, end), place, row in zip(words, places, rows, strict=True):
        axes.plot([start, end], [row + 0.15] * 2, color=RED, linewidth=3, solid_capstyle="butt")
        axes.text(sum(place) / 2, row + 0.9, one_line(text), color=INK, ha="center")


def _path(axes: Any, tokens: Sequence[tuple[str, float]]) -> None:
    """Draw the number of each token over its time, with its text if there are few."""
    from matplotlib.ticker import MaxNLocator

    numbers = range(1, len(tokens) + 1)
    axes.plot([time for _, time in tokens], numbers, color=BLUE, marker="o", markersize=2.5)
    axes.set(ylim=(0, 1.2 * len(tokens) + 1), ylabel="tokens")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    for (text, time), number in zip(
        tokens if len(tokens) <= LETTERS else [], numbers, strict=False
    ):
        axes.annotate(
            one_line(text.strip()),
            (time, number),
            (0, 3),
            textcoords="offset points",
            ha="center",
            color=INK,
        )


def _features(axes: Any, features: Sequence[str], band: str, seconds: float) -> None:
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    shades = np.array(
        [[int(a + b) / 99 for a, b in zip(row[::2], row[1::2], strict=True)] for row in features]
    )
    image = np.empty((*shades.shape, 4))
    image[..., :3], image[..., 3] = SHADE, shades
    extent = (0, seconds, 0.5, len(shades) + 0.5)
    axes.imshow(image, origin="lower", aspect="auto", extent=extent, interpolation="none")
    axes.set_ylabel(band)
    axes.grid(visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
