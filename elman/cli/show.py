"""Scores and tables as lines on a terminal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from elman.report.terminal import as_on_shell, counted, show, tell
from elman.report.verdict import compare, name_of, shown

SHOWN = 48  # rows of a table
# Units in which scores are counted, and the scores to print after the comparison.
DETAILS = {
    "pairs": ("perplexity",), "tokens": ("accuracy",),
    "examples": ("accuracy", "F1_macro", "AUC"), "words": ("accuracy", "F1"),
    "steps": ("accuracy", "event_F1"), "numbers": ("coverage_80",),
}  # fmt: skip


def print_metrics(metrics: Mapping[str, Any], out: Path | None = None) -> None:
    """Print the metrics of a model: a line for each part of the data, notes, and the report."""
    for part, scores in metrics.get("model", {}).items():
        found = compare(metrics, part)
        if not found:  # for example, all series are always 0
            continue
        texts = list(map(str, found))
        unit = next((unit for unit in DETAILS if unit in scores), None)
        if unit is not None:
            judges = {one.score for one in found}
            more = [key for key in DETAILS[unit] if key in scores and key not in judges]
            texts += [f"{name_of(key)} {shown(key, scores[key])}" for key in more]
            texts.append(counted(scores[unit], unit))
        show(f"{part} {'; '.join(texts)}")
    for note in metrics.get("notes", ()):
        show(f"  {as_on_shell(note)}")
    if out is not None:
        show(f"model and report: {out}  (open {out / 'report.html'})")


def print_notes(notes: Sequence[str]) -> None:
    """Print notes to the error stream, one per line."""
    for note in notes:
        tell(note)


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


@contextlib.contextmanager
def notes_shown() -> Iterator[None]:
    """Print the notes about data that are read inside the context to the error stream."""
    log, handler = logging.getLogger("elman"), _Teller(logging.INFO)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def print_table(table: Mapping[str, Sequence[Any]]) -> None:
    """Print the first rows of columns of one length."""
    from elman.report.write_table import as_text

    count = len(next(iter(table.values()), ()))
    cells = [
        [name, *(f"{x:.5g}" if isinstance(x, float) else str(x) for x in values[:SHOWN])]
        for name, values in as_text(table).items()
    ]
    wide = [max(12, *map(len, column)) for column in cells]
    for row in zip(*cells, strict=True):
        show("  ".join(f"{cell:>{width}s}" for cell, width in zip(row, wide, strict=True)))
    if count > SHOWN:
        show(f"... {counted(count - SHOWN, 'more rows')}; to write all of them, give --out FILE")
