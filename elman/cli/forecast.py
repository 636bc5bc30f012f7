"""Forecasts on the command line: those of `predict`, and `backtest`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from elman.cli.app import app
from elman.cli.show import print_notes, print_table
from elman.errors import ArgumentError
from elman.report.terminal import show
from elman.report.verdict import SCORES, compare
from elman.tasks import Forecaster, load, task_of


def show_forecasts(
    run: Path, file: Path | None, out: Path | None, level: tuple[float, ...] | None,
    futures: int, *, overwrite: bool,
) -> None:  # fmt: skip
    """Write what a forecaster says to a file, or show the beginning of it."""
    _check(out, level or (), overwrite=overwrite)
    model = load(run)
    assert isinstance(model, Forecaster)
    found = model.predict(file, futures=futures)
    print_notes(found.notes)
    if out is not None:
        found.write(out, level, overwrite=overwrite)
        show(f"{found.ds.size:,} rows: {out}")
        return
    print_table(found.columns(level))


@app.command
def backtest(
    run: Path,
    series: Path,
    /,
    *,
    cuts: int = 5,
    stride: int | None = None,
    level: tuple[float, ...] = (),
    futures: int = 0,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    skip_bad_rows: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Score a forecaster from several origins of series, without training anew.

    Example: elman backtest runs/sales sales.csv --cuts 4 --out forecasts.csv

    Parameters
    ----------
    run
        The model's folder.
    series
        A table like that of the training; whole, as forecasts begin before its end.
    cuts
        Origins of each series.
    stride
        Steps from one to the next; None for the horizon.
    level
        Intervals in the file, in percent; 80 and 95 if none is given.
    futures
        How many whole courses to draw of each forecast, a column each in the file.
    out
        File for all forecasts beside what came: CSV, TSV, JSONL or Parquet.
    overwrite
        Replace a file that is there.
    skip_bad_rows
        Leave out rows that cannot be read and write them, with the reason, to this CSV file.
    as_json
        Print the scores as JSON, for scripts.
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
    best = (name for name in found.scores["this model"] if name.startswith("best of"))
    names = [
        name for name in (*SCORES, *best, "sMAPE", "OWA", "wQL")
        if name in found.scores["this model"]
    ]  # fmt: skip
    wide = max(map(len, found.scores)) + 2
    show(" " * wide + "".join(f"{name:>{_width(name)}s}" for name in names))
    for who, scores in found.scores.items():
        cells = (
            f"{scores[name]:{_width(name)}.4g}" if name in scores else " " * _width(name)
            for name in names
        )
        show(f"{who:{wide}s}" + "".join(cells))
    ours, *others = ({"name": who, "all": scores} for who, scores in found.scores.items())
    for one in compare({"model": ours, "others": others}, "all"):
        show(str(one))
    show(f"{len(found.origins):,} forecasts" + ("" if out is None else f": {out}"))


def _width(name: str) -> int:
    """Of its column."""
    return max(10, len(name) + 2)


def _check(out: Path | None, level: Sequence[float], *, overwrite: bool) -> None:
    """Refuse what cannot work before the work."""
    from elman.tasks.forecasts import check_level
    from elman.tasks.write_table import check_target

    check_level(level)
    if out is not None:
        check_target(out, overwrite=overwrite)
