"""Forecasts on the command line: `elman predict` of a forecaster, and `elman backtest`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman.cli.app import AsJson, Overwrite, RunFolder, SkipBadRows, app
from elman.cli.show import print_notes, print_table
from elman.errors import ArgumentError
from elman.report.terminal import counted, show
from elman.report.verdict import SCORES, compare, name_of, shown
from elman.tasks import Forecaster, load, task_of


@dataclass(kw_only=True)
class ForecastFlags:
    """The flags of `elman predict` for forecasts."""

    level: tuple[float, ...] = ()
    """Intervals that contain the number with this probability, in percent. Without it 80 and 95."""
    futures: int = 0
    """Possible courses to draw, one column for each."""


def print_forecasts(
    run: Path, file: Path | None, out: Path | None, wanted: ForecastFlags, *, overwrite: bool
) -> None:
    """Write the forecasts of a model to a file, or print the first of them."""
    _check(out, wanted.level, overwrite=overwrite)
    model = load(run)
    assert isinstance(model, Forecaster)
    found = model.predict(file, futures=wanted.futures)
    print_notes(found.notes)
    level = wanted.level or None
    if out is None:
        print_table(found.columns(level))
        return
    found.write(out, level, overwrite=overwrite)
    show(f"{counted(found.ds.size, 'rows')}: {out}")


@app.command
def backtest(
    run: RunFolder,
    series: Path,
    /,
    *,
    cuts: int = 5,
    stride: int | None = None,
    level: tuple[float, ...] = (),
    futures: int = 0,
    out: Path | None = None,
    overwrite: Overwrite = False,
    skip_bad_rows: SkipBadRows = None,
    as_json: AsJson = False,
) -> None:
    """Score forecasts from several origins in series, without training again.

    Example: elman backtest runs/sales sales.csv --cuts 4 --out forecasts.csv

    Parameters
    ----------
    series
        A table like the training data, with complete series: the forecasts begin before their end.
    cuts
        Number of origins in each series.
    stride
        Steps between two origins; None for the horizon.
    level
        Intervals in the file, in percent; without it 80 and 95.
    futures
        Possible courses of each forecast to draw, one column in the file for each.
    out
        File for all forecasts and the actual numbers: CSV, TSV, JSONL or Parquet.
    """
    if not issubclass(task_of(run), Forecaster):
        raise ArgumentError(f"{run}: holds a {task_of(run).task}; backtest is for a forecaster")
    _check(out, level, overwrite=overwrite)
    model = load(run)
    assert isinstance(model, Forecaster)
    found = model.backtest(
        series, cuts=cuts, stride=stride, futures=futures, skip_bad_rows=skip_bad_rows
    )
    print_notes(found.forecasts.notes)
    if out is not None:
        found.forecasts.write(out, level or None, overwrite=overwrite)
    if as_json:
        print(json.dumps(found.scores))
        return
    _print_scores(found.scores)
    show(counted(len(found.origins), "forecasts") + ("" if out is None else f": {out}"))


def _print_scores(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table with a row for each model, and how the trained one compares."""
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


def _check(out: Path | None, level: Sequence[float], *, overwrite: bool) -> None:
    """Raise an error before the work for a level or a file that cannot be used."""
    from elman.forecast.forecasts import check_level
    from elman.report.write_table import check_target

    check_level(level)
    if out is not None:
        check_target(out, overwrite=overwrite)
