"""A picture of the ratios of the grid, with one line of dots for each target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from targets import TARGETS, geometric_mean, reached

matplotlib.use("agg")
from matplotlib import pyplot as plt

DOT, MEAN, GOAL = "#3b76af", "#1a1a1a", "#c44e52"


def draw(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw a dot for each cell, a bar at the geometric mean and a cross at the target."""
    lines = [(t, [r[0] for r in reached(t, rows)]) for t in TARGETS if not t.share]
    lines = [(t, values) for t, values in lines if values]
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(lines) + 1.3), dpi=110)
    for y, (target, values) in enumerate(lines):
        # Spread the dots a little, so that those with similar ratios remain distinguishable.
        heights = [y + 0.22 * ((n * 0.618) % 1 - 0.5) for n in range(len(values))]
        axes.scatter(values, heights, s=9, color=DOT, alpha=0.55, linewidths=0)
        mean = geometric_mean(values)
        axes.plot([mean, mean], [y - 0.32, y + 0.32], color=MEAN, linewidth=2)
        axes.scatter([target.mean], [y], marker="x", s=34, color=GOAL, linewidths=1.6, zorder=3)
    axes.axvline(1, color="0.5", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_yticks(range(len(lines)), [t.what for t, _ in lines])
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "time of the fastest peer / time of elman (dot: cell, bar: geometric mean, cross: target)",
        fontsize=8,
    )
    axes.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
