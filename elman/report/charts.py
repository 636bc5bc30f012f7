"""Charts as SVG inside a page, in the light or dark colours of the page.

Equal inputs give equal bytes.
"""

import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from elman.report.journal import thin
from elman.report.terminal import one_line

MAX_POINTS = 1000
# Inches.  With text of 9 points, a chart that fills the width of a phone is readable.
CHART = (4.6, 2.9)
RING = 9.0  # diameter in points of the mark around the best validation
LEFT, LABEL = 0.15, 0.127  # left edge of the frame, and its distance to the label of the values
# Tick labels with more characters than ROOM move the frame to the right, by WIDE for each of them.
ROOM, WIDE = 6, 0.0175
# Placeholder colours for matplotlib, which are replaced by variables of the page's style.
INK, QUIET, RULE, BLUE, RED = "#100001", "#100002", "#100003", "#100004", "#100005"
VARIABLES = {INK: "ink", QUIET: "quiet", RULE: "rule", BLUE: "blue", RED: "red"}
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": RULE,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.xmargin": 0.02,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


class Curve(NamedTuple):
    """Points of a line.

    Attributes:
        xs, ys: coordinates of the points.
        color: INK, QUIET, BLUE or RED.
        label: name in the legend.
        dot: diameter of the marks in points; RING for a ring.
        low: the lower ends of a band below ys.
    """

    xs: list[float]
    ys: list[float]
    color: str = BLUE
    label: str = ""
    dot: float = 0.0
    low: list[float] = []  # noqa: RUF012 - the default is never changed

    @property
    def group(self) -> int:
        """The number of consecutive points that are drawn as one."""
        return max(1, math.ceil(len(self.ys) / MAX_POINTS))


def chart(
    title: str,
    labels: tuple[str, str],
    lines: list[Curve],
    *,
    words: str = "",
    scale: str = "",
    dates: bool = False,
) -> str:
    """Return an HTML figure with a chart; empty if there is nothing to draw and no words.

    Args:
        title: title of the figure, unique in the page.
        labels: labels of the axes.
        lines: the curves; there is a legend if the first one has a label.
        words: text below the chart.
        scale: scale of the values: "log", "zero" to begin at zero, "plane" for equal units on both
            axes, or "" for a scale from the data.
        dates: whether xs are days since 1970, for an axis with dates and clock times.

    Example:
        >>> from elman.report.charts import Curve, chart
        >>> chart("Loss", ("step", "loss"), [Curve([1.0, 2.0], [3.0, 2.0])])[:30]
        '<figure><h3>Loss</h3>\\n<svg ari'
    """
    values = [y for line in lines for y in line.ys if line.dot != RING]
    size, broken = lines[0].group, sum(not math.isfinite(y) for y in values)
    words += f" Each point is the mean of {size} records." if size > 1 else ""
    if broken:
        words += f" Values that are not finite and not drawn: {broken:,} of {len(values):,}."
    picture = (
        _draw(title, labels, lines, scale, dates=dates) if any(map(math.isfinite, values)) else ""
    )
    return figure_with(title, picture, words)


def figure_with(title: str, picture: str, words: str) -> str:
    """Return an HTML figure with a picture and a text below it; empty without both."""
    note = f"<figcaption>{escape(words.strip())}</figcaption>" if words else ""
    return (
        f"<figure><h3>{escape(title)}</h3>\n{picture}{note}</figure>\n" if picture or note else ""
    )


def svg_of(title: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """Return the SVG of a drawing in the colours of the page.

    Args:
        title: title of the figure, unique in the page.
        size: width and height in inches.
        draw: draws on a figure of matplotlib.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    # Ids are made from the salt and must be unique in the page.
    with style.context(["default", {**STYLE, "svg.hashsalt": title}]), warnings.catch_warnings():
        # The page uses the browser's font, so a glyph that is missing here does not matter.
        warnings.filterwarnings("ignore", message="Glyph")
        drawing, target = Figure(figsize=size), io.StringIO()
        draw(drawing)
        drawing.savefig(target, format="svg", metadata={"Date": None})
    svg = re.sub(r'<g id="[^"]*"', "<g", target.getvalue()).replace("xlink:href", "href")
    for color, name in VARIABLES.items():
        svg = svg.replace(color, f"var(--{name})")
    width, height = (round(72 * length, 1) for length in size)
    head = f'<svg aria-hidden="true" viewBox="0 0 {width} {height}">'
    return re.sub(r"^.*?<svg.*?</metadata>", head, svg, flags=re.DOTALL)


def _draw(
    title: str, labels: tuple[str, str], curves: Sequence[Curve], scale: str, *, dates: bool
) -> str:
    def draw(drawing: Any) -> None:
        x, y = map(one_line, labels)
        axes = drawing.add_axes((0, 0, 1, 1), xlabel=x, ylabel=y)
        shade = 0.0
        for values in (curve for curve in curves if curve.ys):
            xs, ys = thin(values.xs, values.group), thin(values.ys, values.group)
            label = one_line(values.label)
            if values.low:
                low = thin(values.low, values.group)
                shade += 0.15  # a band inside another one is darker, also in the legend
                axes.fill_between(
                    xs, low, ys, color=values.color, alpha=shade, linewidth=0, label=label
                )
                continue
            line = axes.plot(xs, ys, color=values.color)[0]
            line.set(label=label or "_", marker="o", markersize=values.dot)
            if len(values.ys) == 1:
                line.set(linestyle="none", markersize=values.dot or 4.0)
            line.set_fillstyle("none" if values.dot == RING else "full")
        if curves[0].label:
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(-0.02, 1.0),
                ncols=len(curves),
                borderaxespad=0.2,
                handlelength=1.2,
                handletextpad=0.5,
                columnspacing=1.1,
            )
        _scale(axes, curves, scale)
        _mark_x(axes, plane=scale == "plane", dates=dates)
        _place(axes)

    return svg_of(title, CHART, draw)


def _scale(axes: Any, curves: Sequence[Curve], scale: str) -> None:
    """Set the range and the ticks of the values."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    positive = [y for values in curves for y in values.ys if 0 < y < math.inf]
    if scale == "zero":
        axes.set_ylim(bottom=0.0)
    elif scale == "log" and positive:
        # Very small values must not compress the rest of the chart.
        peak, least = max(positive), max(min(positive), 1e-8 * max(positive))
        subs = (1, 2, 3, 5, 7) if peak < 10 * least else (1, 2, 5) if peak < 100 * least else (1,)
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(0.7 * least, 1.4 * peak)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_formatter("")
    axes.yaxis.set_major_formatter(_labelled_by(_apart))


def _place(axes: Any) -> None:
    """Set the frame, which is equal for all charts unless tick labels are long.

    The legend is above the frame.
    """
    longest = max(map(len, _apart(axes.get_yticks())), default=0)
    more = max(0, longest - ROOM) * WIDE
    width = 0.97 - LEFT - more
    axes.set_position((LEFT + more, 0.16, width, 0.74))
    axes.yaxis.set_label_coords(-(LABEL + more) / width, 0.5)


def _labelled_by(write: Callable[[Sequence[float]], list[str]]) -> Any:
    """Return a formatter of matplotlib that writes the labels of all ticks together."""
    from matplotlib.ticker import Formatter

    class Together(Formatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return write([x])[0]

        def format_ticks(self, values: Sequence[float]) -> list[str]:
            return [label.replace("-", "\N{MINUS SIGN}") for label in write(values)]

    return Together()


def _apart(ticks: Sequence[float]) -> list[str]:
    """Return the shortest labels, of six digits or more, that show the distances of the ticks.

    >>> _apart([0.0, 0.5, 1.0]), _apart([1e7, 1e7 + 20])
    (['0', '0.5', '1'], ['10000000', '10000020'])
    """
    places = sorted({float(x) for x in ticks})
    near = 0.01 * min((b - a for a, b in itertools.pairwise(places)), default=math.inf)
    # 17 digits are exact.
    tried = ([f"{x:.{digits}g}" for x in ticks] for digits in range(6, 18))
    apart = [
        labels
        for labels in tried
        if all(abs(float(label) - x) <= near for label, x in zip(labels, ticks, strict=True))
    ]
    return min(apart, key=lambda labels: max(map(len, labels), default=0))


def _steps(ticks: Sequence[float]) -> list[str]:
    """Return labels of whole numbers, with commas from 10,000 on, because a step can be a year.

    >>> _steps([2000.0, 20000.0]), _steps([0.5, 1.0])
    (['2000', '20,000'], ['0.5', '1'])
    """
    if any(x % 1 for x in ticks):
        return _apart(ticks)
    return [f"{x:,.0f}" if abs(x) >= 1e4 else f"{x:.0f}" for x in ticks]


def _mark_x(axes: Any, *, plane: bool, dates: bool) -> None:
    """Set the ticks of the horizontal axis."""
    from matplotlib import dates as calendar
    from matplotlib.ticker import MaxNLocator

    untyped: Any = calendar
    if plane:
        axes.set_aspect("equal", adjustable="datalim")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(_labelled_by(_apart))
    elif dates:
        locator = untyped.AutoDateLocator(minticks=3, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        if axes.dataLim.width == 0:  # a single step has one tick
            axes.set_xticks([axes.dataLim.x0])
        axes.xaxis.set_major_formatter(_labelled_by(_steps))
