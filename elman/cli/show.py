"""Scores and tables as lines on a terminal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from elman.report.progress import figure
from elman.report.terminal import as_on_shell, counted, show, tell
from elman.report.verdict import SCORES, compare, name_of, shown

SHOWN = 48  # rows of a table
# Units in which scores are counted, and the scores to print after the comparison.
DETAILS = {
    "pairs": ("perplexity",),
    "tokens": ("accuracy",),
    "examples": ("accuracy", "F1_macro", "AUC", "miss_rate", "false_alarms_per_hour"),
    "words": ("accuracy", "F1"),
    "steps": ("accuracy", "event_F1"),
    "numbers": ("coverage_80",),
}


def named(kind: str) -> str:
    """Return the name of a kind of model with its article."""
    return f"a {kind.replace('-', ' ')}"


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
    """Print the first rows of a table, whose columns have the same length."""
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


def print_scores(scores: Mapping[str, Any], positive: str) -> None:
    """Print scores, one per line; with two classes, some are scores of the class `positive`."""
    for name, value in scores.items():
        if not isinstance(value, str):
            value = f"{f'{value:,}' if isinstance(value, int) else figure(value):>10s}"
        show(f"{name_of(name, positive):22s} {value}")


def print_perplexity(scores: Mapping[str, Any]) -> None:
    """Print the scores of a language model and its baseline."""
    baseline = scores.get("baseline")
    show(f"perplexity  {scores['perplexity']:10.2f}")
    if baseline is None:
        show("baseline    unknown: the training text was moved, or has changed")
    else:
        show(f"  n-gram    {baseline['perplexity']:10.2f}   (interpolated Kneser-Ney 5-gram)")
    adapted = scores.get("adapted")
    if adapted is not None:
        show(f"adapted     {adapted['perplexity']:10.2f}   ({'; '.join(adapted['adapt'])})")
    show(f"accuracy    {scores['accuracy']:10.2%}")
    if adapted is not None:
        show(f"adapted     {adapted['accuracy']:10.2%}")
        plain, more = (one["microseconds_per_token"] for one in (scores, adapted))
        show(f"cost        {more:10.0f}   microseconds a token, without adapting {plain:.0f}")
    show(f"tokens      {scores['tokens']:10,}")
    if scores.get("unknown"):
        show(f"unknown     {scores['unknown']:10.2%}   of the tokens, counted as one word <unk>")


def print_backtest(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a row of scores for each model of a backtest, and compare the trained model."""
    ours = scores["this model"]
    best = (name for name in ours if name.startswith("best_of"))
    names = [name for name in (*SCORES, *best, "sMAPE", "OWA", "wQL") if name in ours]
    widths = [max(10, len(name_of(name)) + 2) for name in names]
    first = max(map(len, scores)) + 2
    show(" " * first + "".join(f"{name_of(n):>{w}s}" for n, w in zip(names, widths, strict=True)))
    for name, row in scores.items():
        cells = (shown(key, row[key]) if key in row else "" for key in names)
        line = "".join(f"{cell:>{w}s}" for cell, w in zip(cells, widths, strict=True))
        show(f"{name:{first}s}{line}")
    model, *others = ({"name": name, "all": row} for name, row in scores.items())
    for one in compare({"model": model, "others": others}, "all"):
        show(str(one))
