"""Scores and tables as lines on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elman.report.page import SCORES

SHOWN = 48  # rows of a table


def print_metrics(metrics: Mapping[str, Any], out: Path | None = None) -> None:
    """What metrics.json holds, a line for each part; and where the report is."""
    ours, baseline = metrics.get("model", {}), metrics.get("baseline", {})
    for part, scores in ours.items():
        name = next((name for name in SCORES if name in scores), None)
        if name is None:  # such as of series that are 0 throughout
            continue
        form, more = SCORES[name]
        line = f"{part} {name} {form.format(scores[name])}"
        if name in baseline.get(part, {}):
            mine, theirs = scores[name], baseline[part][name]
            good, bad = ("higher than", "LOWER than") if more else ("lower than", "HIGHER than")
            better = "equal to" if mine == theirs else good if (mine > theirs) == more else bad
            line += f", {better} {form.format(theirs)} of {baseline['name']}"
        if "pairs" in scores:
            line += f"; perplexity {scores['perplexity']:.2f}; {scores['pairs']:,} pairs"
        elif "tokens" in scores:
            line += f"; accuracy {scores['accuracy']:.1%} of {scores['tokens']:,} tokens"
        elif "examples" in scores:
            auc = f", AUC {scores['AUC']:.3f}" if "AUC" in scores else ""
            line += f"; F1 macro {scores['F1 macro']:.3f}{auc} of {scores['examples']:,} examples"
        elif "words" in scores:
            spans = f"; F1 of spans {scores['F1']:.3f}" if "F1" in scores else ""
            line += f"{spans}; {scores['words']:,} words"
        elif "steps" in scores:
            events = f"; F1 of events {scores['event F1']:.3f}" if "event F1" in scores else ""
            line += f"{events}; {scores['steps']:,} steps"
        elif "numbers" in scores:
            held = (
                f"; coverage of 80 %: {scores['coverage 80']:.1%}"
                if "coverage 80" in scores
                else ""
            )
            line += f"{held}; {scores['numbers']:,} numbers"
        print(line)
    if out is not None:
        print(f"model and report: {out}  (open {out / 'report.html'})")


def print_table(table: Mapping[str, Sequence[Any]]) -> None:
    """Print the first rows of columns of one length."""
    from elman.tasks.write_table import as_text

    count = len(next(iter(table.values()), ()))
    cells = [
        [name, *(f"{x:.5g}" if isinstance(x, float) else str(x) for x in values[:SHOWN])]
        for name, values in as_text(table).items()
    ]
    wide = [max(12, *map(len, column)) for column in cells]
    for row in zip(*cells, strict=True):
        print("  ".join(f"{cell:>{width}s}" for cell, width in zip(row, wide, strict=True)))
    if count > SHOWN:
        print(f"... {count - SHOWN:,} rows more; --out FILE for all")
