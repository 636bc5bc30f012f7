"""Scores and tables as lines on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elman.report.terminal import show, tell
from elman.report.verdict import compare, name_of, shown

SHOWN = 48  # rows of a table
# What the scores of a part count, and which of them are worth a place beside the comparison.
DETAILS = {
    "pairs": ("perplexity",), "tokens": ("accuracy",),
    "examples": ("accuracy", "F1 macro", "AUC"), "words": ("accuracy", "F1"),
    "steps": ("accuracy", "event F1"), "numbers": ("coverage 80",),
}  # fmt: skip


def print_metrics(metrics: Mapping[str, Any], out: Path | None = None) -> None:
    """Print the metrics of a model: a line for each part, notes, and where the report is."""
    for part, scores in metrics.get("model", {}).items():
        found = compare(metrics, part)
        if not found:  # such as of series that are 0 throughout
            continue
        texts = list(map(str, found))
        unit = next((unit for unit in DETAILS if unit in scores), None)
        if unit is not None:
            judges = {one.score for one in found}
            more = [key for key in DETAILS[unit] if key in scores and key not in judges]
            texts += [f"{name_of(key)} {shown(key, scores[key])}" for key in more]
            texts.append(f"{scores[unit]:,} {unit}")
        show(f"{part} {'; '.join(texts)}")
    for note in metrics.get("notes", ()):
        show(f"  {note}")
    if out is not None:
        show(f"model and report: {out}  (open {out / 'report.html'})")


def print_notes(notes: Sequence[str]) -> None:
    """Notes on the error stream, a line each."""
    for note in notes:
        tell(note)


def print_table(table: Mapping[str, Sequence[Any]]) -> None:
    """The beginning of columns of one length."""
    show("  ".join(f"{name:>12s}" for name in table))
    rows = list(zip(*table.values(), strict=True))
    for row in rows[:SHOWN]:
        show("  ".join(f"{x:12.5g}" if isinstance(x, float) else f"{x!s:>12s}" for x in row))
    if len(rows) > SHOWN:
        show(f"... {len(rows) - SHOWN:,} rows more; --out FILE for all")
