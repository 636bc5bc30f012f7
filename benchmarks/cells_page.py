"""Write the tables of docs/cells.md from benchmarks/results/cells/.

    python benchmarks/cells_page.py

A table stands between the lines `<!-- table NAME -->` and `<!-- end -->`.  Only these parts are
replaced; the text around them is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cell_runs import SHAPES
from cell_tests import LEARNED, TESTS, Test
from cells import REAL, SEEDS, WAYS
from result import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "cells.md"
TRACKING = ("parity", "arithmetic", "s5", "a5")
RECALL = ("mqar", "selective", "copy-200", "copy-1000", "adding")
EMPTY = "not measured"
SCORES = {  # of real data: the name, its key in the file, and whether higher is better
    "shakespeare": ("nats per character", ("loss",), False),
    "m4_hourly": ("OWA", ("OWA",), False),
    "mnist1d": ("accuracy", ("accuracy",), True),
}
Runs = list[dict[str, Any]]


def runs_of(name: str) -> Runs:
    """Return the stored runs of a test or of real data, without short runs."""
    path = RESULTS / "cells" / f"{name}.json"
    runs = json.loads(path.read_text())["cells"] if path.exists() else []
    return [one for one in runs if not one.get("sweep")]


def of_way(runs: Runs, cell: str, block: bool) -> Runs:
    return [one for one in runs if (one["cell"], one["block"]) == (cell, block)]


def named(cell: str, block: bool) -> str:
    return f"`{cell}`" if block else f"`{cell}` without blocks"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def scored(test: Test, runs: Runs) -> str:
    """Return the median over the seeds and, if it is wide, the range."""
    if not runs:
        return EMPTY
    shown = percent if test.classes else (lambda value: f"{value:.2g}")
    values = [one["score"] for one in runs]
    low, middle, high = shown(min(values)), shown(median(values)), shown(max(values))
    text = middle if max(values) - min(values) < 0.01 else f"{middle} ({low} to {high})"
    if not test.counts_from:
        return text
    known = median(one["by length"][f"1 to {LEARNED}"] for one in runs)
    return f"{percent(known)} / {text}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def unfinished(name: str) -> str:
    """Return the number of seeds of a test, unless it has all of them."""
    counts = [len(of_way(runs_of(name), *way)) for way in WAYS]
    fewest = min(counts)
    return "" if fewest == len(SEEDS) else f", {max(counts)} of {len(SEEDS)} seeds"


def tests(names: Sequence[str]) -> str:
    """Return the table of synthetic tests: cells by tests."""
    rows = [["chance", *(scored_chance(TESTS[name]) for name in names)]]
    for way in WAYS:
        found = [scored(TESTS[name], of_way(runs_of(name), *way)) for name in names]
        rows.append([named(*way), *found])
    units = ["%" if TESTS[name].classes else "MSE" for name in names]
    heads = [f"{name}, {unit}{unfinished(name)}" for name, unit in zip(names, units, strict=True)]
    return table(["cell", *heads], rows)


def scored_chance(test: Test) -> str:
    return percent(test.chance) if test.classes else f"{test.chance:.2g}"


def real() -> str:
    """Return the table of real data, with the share of the epochs if it is not all of them."""
    rows = []
    for way in WAYS:
        line = [named(*way)]
        for name in REAL:
            found = of_way(runs_of(name), *way)
            if not found:
                line.append(EMPTY)
                continue
            share = max(one["share"] for one in found)
            kept = [one for one in found if one["share"] == share]
            score = median(one["scores"][SCORES[name][1][-1]] for one in kept)
            line.append(f"{score:.4g}" + ("" if share == 1 else f" ({share:.0%} of the epochs)"))
        rows.append(line)
    return table(["cell", *(f"{name}, {SCORES[name][0]}" for name in REAL)], rows)


def speed() -> str:
    """Return the table of microseconds a token."""
    path = RESULTS / "cells" / "speed.json"
    cells = json.loads(path.read_text())["cells"] if path.exists() else []
    by_cell = {one["cell"]: one for one in cells}
    columns = [f"training, H {hidden}, T {steps}" for hidden, steps in SHAPES]
    columns += [f"live, H {hidden}" for hidden in sorted({hidden for hidden, _ in SHAPES})]
    rows = []
    for cell, block in WAYS:
        if block:
            found = by_cell.get(cell, {})
            rows.append([f"`{cell}`", *(str(found.get(name, EMPTY)) for name in columns)])
    return table(["cell", *columns], rows)


def budgets() -> str:
    """Return the table of what each test costs."""
    rows = []
    for name, test in TESTS.items():
        sizes = (test.minutes, test.rows, test.steps, test.test_steps)
        rates = ", ".join(map(str, test.rates))
        rows.append([name, f"{test.parameters:,}", *(f"{size:g}" for size in sizes), rates])
    head = ["test", "parameters", "minutes of a run", "rows of a batch", "steps in training"]
    return table([*head, "steps in the test", "learning rates"], rows)


def main() -> None:
    tables = {
        "tracking": tests(TRACKING),
        "recall": tests(RECALL),
        "real": real(),
        "speed": speed(),
        "budgets": budgets(),
    }
    page = PAGE.read_text(encoding="utf-8")
    for name, text in tables.items():
        begin, end = f"<!-- table {name} -->", "<!-- end -->"
        place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        page, found = place.subn(lambda _, b=begin, t=text, e=end: f"{b}\n\n{t}\n{e}", page)
        assert found == 1, f"docs/cells.md must have one table {name}, found {found}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
