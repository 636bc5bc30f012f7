"""The grid: every recurrence beside its peers, at every size.

    python benchmarks/grid.py [--quick] [--only WORDS] [--seconds S] [--budget S] [--compare PATH]

Measured cells stay in results/partial.jsonl as long as the code is unchanged, so that with
`--budget` the grid can be run in pieces: the next call continues with the remaining cells.  When
all cells of a row are measured, results/grid/KERNELS/ROW.json (with --quick:
results/quick/KERNELS/ROW.json) is written, where KERNELS is the instruction set in use.  Peers that
are not installed are skipped and listed.

`--compare PATH` prints how the ratios changed since a result file, or a folder of them, that was
measured on the same kind of processor, and writes no files.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import one_step
import programs
from recurrences import GATES, ROWS, Shape
from result import processor, write_result
from side_by_side import Cells, Store, peer_versions, run_cells
from targets import geometric_mean

from elman import kernels

LIMIT = 1.1e11  # floating point operations of an LSTM's training step: about half a second
LONG, NARROW = 100_000, 16  # elements of a batch and units, see `takes_minutes`
SHAPES = [
    *product((1, 8, 32, 128), (20, 100, 1000), (16, 64, 128, 256, 512, 1024)),
    (5, 37, 63),
    (17, 50, 500),
]
QUICK = [
    Shape(1, 100, 64, 2),
    Shape(1, 100, 512, 1),
    Shape(1, 1000, 16, 1),
    Shape(8, 20, 128, 2),
    Shape(8, 100, 1024, 2),
    Shape(32, 20, 16, 1),
    Shape(32, 100, 256, 2),
    Shape(32, 1000, 128, 2),
    Shape(128, 20, 512, 2),
    Shape(5, 37, 63, 1),
    Shape(17, 50, 500, 2),
]
STEPS = {True: [(64, 1), (256, 2), (1024, 2)], False: product(one_step.SIZES, (1, 2))}
LAYERS = {True: programs.LAYERS[:1], False: programs.LAYERS}


def whole_grid() -> list[Shape]:
    shapes = [Shape(*size, threads) for size in SHAPES for threads in (1, 2)]
    return [shape for shape in shapes if shape.operations(GATES["LSTM"]) <= LIMIT]


def takes_minutes(row: str, shape: Shape) -> bool:
    """Return whether packed torch.nn needs a minute per training step: it copies at every step."""
    return "ragged training" in row and shape.B * shape.T > LONG and shape.H > NARROW


def all_cells(quick: bool) -> Cells:
    cells: Cells = []
    for row, build in ROWS.items():
        for shape in QUICK if quick else whole_grid():
            if not takes_minutes(row, shape):
                cells.append((row, str(shape), partial(build, shape)))
    for cell, (hidden, threads) in product(("LSTM", "GRU"), list(STEPS[quick])):
        shape = f"B 1, T 1, H {hidden}, threads {threads}"
        cells.append((f"{cell} one step", shape, partial(one_step.build, cell, hidden, threads)))
    for B, T, H in LAYERS[quick]:
        shape = f"B {B}, T {T}, H {H}, threads 2"
        cells.append(
            ("LSTM layer as a program", shape, partial(programs.build, "layer", B, T, H, 2))
        )
    tutorial = partial(programs.build, "tutorial", 32, 20, 128, 2)
    cells.append(("tutorial program", "B 32, T 20, H 128, threads 2", tutorial))
    return cells


def write_rows(cells: Cells, store: Store, folder: str, seconds: float) -> None:
    """Write a file for each row whose cells are all measured."""
    for row in dict.fromkeys(cell[0] for cell in cells):
        shapes = [shape for name, shape, _ in cells if name == row]
        found = [store.cells.get((row, shape)) for shape in shapes]
        if None in found:
            continue
        kept = [
            {k: v for k, v in cell.items() if k not in ("row", "code")} for cell in found if cell
        ]
        write_result(
            f"{folder}/{kernels.name()}/{row.replace(' ', '-')}",
            {
                "row": row,
                "code": store.code,
                "kernels": kernels.name(),
                "peers": peer_versions(),
                "seed": 0,
                "seconds a cell": seconds,
                "what": "ms per step and ratios peer / elman as [median, quartile 1, quartile 3]; "
                "ratios are of the same round; error is the largest difference from a peer, "
                "relative to the largest value of its tensor; share is of the speed of sgemm; "
                "others is the share of all cores that other processes used meanwhile",
                "cells": kept,
            },
            quiet=True,
        )


def earlier(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the cells of a result file, or of all files in a folder, by row and shape."""
    found = {}
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        row = json.loads(file.read_text())
        if row["kernels"] != kernels.name() or not row["machine"].startswith(processor()):
            raise SystemExit(
                f"{file}: measured on {row['machine']} with kernels {row['kernels']}; this is "
                f"{processor()} with {kernels.name()}; ratios compare only if both are equal"
            )
        found.update({(row["row"], cell["shape"]): cell for cell in row["cells"]})
    return found


def compare(old: dict[tuple[str, str], dict[str, Any]], store: Store) -> None:
    """Print how the ratio against the fastest peer changed in each cell, the worst change first."""
    changes: dict[str, list[tuple[float, str]]] = {}
    for (row, shape), cell in store.cells.items():
        before, now = old.get((row, shape), {}).get("ratio"), cell.get("ratio")
        if before and now:
            low, new = (min(median for median, *_ in ratio.values()) for ratio in (before, now))
            changes.setdefault(row, []).append((new / low, f"{shape}: {low:.2f} to {new:.2f}"))
    for row, cells in changes.items():
        mean = geometric_mean([change for change, _ in cells])
        print(f"{row}: {len(cells)} cells, ratios times {mean:.2f} on average")
        for change, text in sorted(cells):
            print(f"    {text} (times {change:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few cells of each row")
    parser.add_argument("--only", default="", help="rows with all of these words in their name")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of timing per cell")
    parser.add_argument("--budget", type=float, default=math.inf, help="stop after these seconds")
    parser.add_argument("--compare", type=Path, help="a result file, or a folder of them")
    settings = parser.parse_args()
    old = earlier(settings.compare) if settings.compare else None
    # torch warns of shapes for which bf16 falls back, and of copied layouts; both are measured.
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    store = Store()
    cells = [
        cell
        for cell in all_cells(settings.quick)
        if all(word in cell[0].split() for word in settings.only.split())
    ]
    run_cells(cells, store, settings.seconds, settings.budget)
    if old is None:
        write_rows(cells, store, "quick" if settings.quick else "grid", settings.seconds)
    else:
        compare(old, store)


if __name__ == "__main__":
    main()
