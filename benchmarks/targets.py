"""The targets of the grid: the geometric mean of a ratio over a row, and its worst cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One line of the table of targets.

    Args:
        what: the name in the table.
        rows: rows of the grid, whose cells count together.
        mean: the geometric mean to reach.
        worst: the ratio to reach in the worst cell.
        peers: prefixes of the peers that count; empty for all.  The fastest counts in each cell.
        share: whether it is the share of the speed of sgemm instead of a ratio.
    """

    what: str
    rows: tuple[str, ...]
    mean: float
    worst: float
    peers: tuple[str, ...] = ()
    share: bool = False


def _bf16(cell: str, mode: str) -> tuple[str, str]:
    return f"{cell} bf16 autocast {mode}", f"{cell} bf16 module {mode}"


ONE_STEP = ("LSTM one step", "GRU one step")
LOOPS = (
    "layer norm LSTM training",
    "peephole LSTM training",
    "zoneout LSTM training",
    "GRU reset before training",
)
RAGGED = (
    "LSTM ragged training",
    "LSTM ragged inference",
    "GRU ragged training",
    "GRU ragged inference",
)
TARGETS = [
    Target("LSTM float32, training", ("LSTM float32 training",), 1.7, 1.2),
    Target("LSTM float32, inference", ("LSTM float32 inference",), 1.25, 1.0),
    Target("GRU float32, training", ("GRU float32 training",), 4, 1.5),
    Target("GRU float32, inference", ("GRU float32 inference",), 2.2, 1.2),
    Target("RNN float32, training", ("RNN float32 training",), 4, 1.5),
    Target("RNN float32, inference", ("RNN float32 inference",), 2.8, 1.2),
    Target("LSTM bf16, training", _bf16("LSTM", "training"), 1.3, 1.0),
    Target("LSTM bf16, inference", _bf16("LSTM", "inference"), 1.2, 1.0),
    Target("GRU bf16, training, better of bf16, float32", _bf16("GRU", "training"), 4, 1.5),
    Target("ragged, against packed", RAGGED, 3, 1.2, ("torch.nn packed",)),
    Target("ragged, against padded", RAGGED, 1.3, 1.0, ("torch.nn padded",)),
    *(Target(f"{row}, against a loop", (row,), 6, 3) for row in LOOPS),
    Target("one step, against onnxruntime", ONE_STEP, 1.2, 1.0, ("onnxruntime",)),
    Target("one step, against nn.LSTMCell", ("LSTM one step",), 3, 1.0, ("nn.LSTMCell",)),
    Target("share of sgemm, LSTM training", ("LSTM float32 training",), 0.9, 0.8, share=True),
    Target("tutorial, against Keras on its best backend", ("tutorial program",), 5, 5, ("Keras",)),
    Target(
        "tutorial, against PyTorch with fused Adam",
        ("tutorial program",),
        2,
        2,
        ("PyTorch, fused",),
    ),
]


def reached(target: Target, rows: dict[str, dict[str, Any]]) -> list[tuple[float, str, str]]:
    """Return (ratio against the fastest peer, row, cell) of every cell, the lowest first."""
    found = []
    for row in target.rows:
        for cell in rows.get(row, {}).get("cells", []):
            if target.share:
                values = [cell["share"][0]] if "share" in cell else []
            else:
                values = [
                    ratio[0]
                    for name, ratio in cell.get("ratio", {}).items()
                    if not target.peers or name.startswith(target.peers)
                ]
            if values:
                found.append((min(values), row, cell["shape"]))
    return sorted(found)


def refused(target: Target, rows: dict[str, dict[str, Any]]) -> int:
    """Return the number of cells that were not timed because their results differ."""
    cells = [cell for row in target.rows for cell in rows.get(row, {}).get("cells", [])]
    return sum("refused" in cell for cell in cells)


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
