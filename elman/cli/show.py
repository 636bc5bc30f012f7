"""Scores as lines on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elman.report.page import SCORES


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
            line += f"; F1 macro {scores['F1 macro']:.3f} of {scores['examples']:,} texts"
        elif "words" in scores:
            spans = f"; F1 of spans {scores['F1']:.3f}" if "F1" in scores else ""
            line += f"{spans}; {scores['words']:,} words"
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
