"""Commands that use a model: chat, evaluate, backtest and info."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from elman.cli.app import AsJson, FileName, Overwrite, RunFolder, SkipBadRows
from elman.cli.flags import Whole
from elman.cli.predict import check_unicode, options_of
from elman.cli.show import (
    named,
    notes_shown,
    print_backtest,
    print_metrics,
    print_perplexity,
    print_scores,
)
from elman.errors import ArgumentError
from elman.report.terminal import counted, show, show_text, tell
from elman.tasks import Forecaster, Translator, load, task_of
from elman.tasks.generations import Generation
from elman.tasks.prediction import check_pair
from elman.tasks.predictions import EVALUATIONS, FutureSteps
from elman.version import __version__


def chat(
    run: RunFolder,
    /,
    *,
    temperature: float = 0.0,
    top_k: Annotated[Whole | None, Parameter(help="Draw only from the k likeliest words.")] = None,
    top_p: Annotated[
        float | None,
        Parameter(help="Draw only from the likeliest words that together reach this probability."),
    ] = None,
    seed: Whole = 0,
) -> None:
    """Talk to a model of kind dialogue, one turn per line.

    An empty line begins a new conversation, and Ctrl-D ends the program.

    Parameters
    ----------
    temperature
        Above 0, answers are drawn at random; 0 takes the likeliest one.
    seed
        Seed of the random numbers; equal seeds give equal answers.
    """
    if ((top_k, top_p) != (None, None) or seed) and not temperature:
        raise ArgumentError(
            "--top-k, --top-p and --seed draw answers: set --temperature, for example 0.8"
        )
    sampling = Generation(temperature=temperature, top_k=top_k, top_p=top_p).sampling
    model = Translator.load(run)
    conversation = model.chat(sampling=sampling if temperature else None, seed=seed)
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        if line.strip():
            check_unicode(line)
            show_text(f"{conversation.push(line)}\n")
        else:
            conversation.restart()


def evaluate(
    run: RunFolder,
    data: FileName,
    labels: FileName | None = None,
    /,
    *,
    as_json: AsJson = False,
    skip_bad_rows: SkipBadRows = None,
    **options: Any,
) -> None:
    """Score a model on data that it was not trained on.

    Example: elman evaluate runs/speech test.csv --language-model words.arpa --word-bonus 1

    Parameters
    ----------
    data
        Data in the same form as the training data.
    labels
        For a file with one text per line: the file with its labels, tags or targets.
    """
    more = options_of(run, EVALUATIONS, options).given() if options else {}
    model = load(run)
    verb: Callable[..., dict[str, Any]] = model.evaluate
    takes = inspect.signature(verb).parameters
    files = [one for one in (data, labels) if one is not None]
    if len(files) > sum(one.kind is one.POSITIONAL_OR_KEYWORD for one in takes.values()):
        raise ArgumentError(f"{run}: {named(model.task)} is scored on one file, without labels")
    if skip_bad_rows is not None:
        more["skip_bad_rows"] = skip_bad_rows
    if not more.keys() <= takes.keys():
        raise ArgumentError(
            f"{run}: {named(model.task)} is scored on all rows of its data; omit skip_bad_rows"
        )
    with notes_shown():
        scores = verb(*files, **more)
    if as_json:
        print(json.dumps(scores))
    elif model.task == "language-model":
        print_perplexity(scores)
    else:
        print_scores(scores, str(model.metrics.get("positive", "")))


def backtest(
    run: RunFolder,
    series: FileName,
    /,
    *,
    cuts: Whole = 5,
    stride: Whole | None = None,
    level: tuple[float, ...] = (),
    futures: Whole = 0,
    out: FileName | None = None,
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
        Probability of an interval in the file, in percent; may be repeated. Without it 80 and 95.
    futures
        Number of sampled futures of each forecast; each is a column of the file.
    out
        File for all forecasts and the actual numbers: CSV, TSV, JSONL or Parquet.
    """
    from elman.report.write_table import check_target

    FutureSteps(level=level)  # raises for an invalid level
    check_pair("level", level or None, "out", out)
    check_pair("overwrite", overwrite or None, "out", out)
    if out is not None:
        check_target(out, overwrite=overwrite)
    found = Forecaster.load(run).backtest(
        series, cuts=cuts, stride=stride, futures=futures, skip_bad_rows=skip_bad_rows
    )
    for note in found.forecasts.notes:
        tell(note)
    if out is not None:
        found.forecasts.write(out, level or None, overwrite=overwrite)
    if as_json:
        print(json.dumps(found.scores))
        return
    print_backtest(found.scores)
    show(counted(len(found.origins), "forecasts") + ("" if out is None else f": {out}"))


def info(run: FileName | None = None, /) -> None:
    """Describe the model in a folder; without a folder, describe this installation.

    Parameters
    ----------
    run
        Folder of a model.
    """
    if run is not None:
        _print_model(run)
        return
    import torch

    from elman import kernels

    show(f"elman    {__version__}")
    show(f"torch    {torch.__version__}, {torch.get_num_threads()} threads")
    show(f"kernels  {kernels.describe()}")
    show(f"cuda     {torch.cuda.get_device_name() if torch.cuda.is_available() else 'no'}")


def _print_model(run: Path) -> None:
    """Print the data, state, scores and settings of a model."""
    from elman.manifest import MANIFEST, read_json
    from elman.tasks.folder import METRICS, check_folder, read_config

    config = read_config(run)
    settings = task_of(run)._from_config(config, run)
    check_folder(run, checkpoint=True)
    metrics = read_json(run / METRICS, finite=False) if (run / METRICS).exists() else None
    show(f"{run}: a {config['task']} by Elman {config['elman']}")
    show(f"data   {config['data'].get('name', 'texts in memory')}")
    state = "trained" if metrics is not None else "in training, or stopped (see elman resume)"
    show(f"state  {state}")
    checked = "unchanged" if (run / MANIFEST).exists() else "not checked: there is no manifest"
    show(f"files  {checked}")
    print_metrics(metrics or {})
    show("settings that differ from the defaults:")
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, list):  # JSON has no tuples
            value = tuple(value)
        if value != field.default:
            show(f"  {field.name}: {value}")
