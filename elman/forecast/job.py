"""The training run of a forecaster: batches, the held-out part, estimates and scores.

Shape legend: N series, B windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elman.encode.layout import Layout
from elman.encode.windows import Windows
from elman.errors import ArgumentError, DataError
from elman.forecast import estimates
from elman.forecast.history import history_of, observed_steps, seasonal_errors
from elman.forecast.inputs import Inputs, encode_items, learn_inputs, load_inputs
from elman.forecast.pictures import chart_data
from elman.forecast.predictor import STEPS, Predictor, Whole, index_of, layout_of
from elman.forecast.scene import windows_of
from elman.forecast.score import choose_scored
from elman.forecast.settings import ForecasterSettings
from elman.forecast.tables import Evaluation, first_origins
from elman.model import SequenceModel
from elman.read.series import SeriesTable
from elman.report.forecasts import Scored
from elman.report.terminal import are
from elman.train.chunks import Refit
from elman.train.windows import WindowBatches

LEAST, MOST = 2_000, 20_000  # range of the number of windows in an epoch, unless it is set
REFIT = 1 << 20  # is added to the seed, so that the refit draws other windows

Tables = Mapping[str, SeriesTable]
Build = Callable[[Layout], SequenceModel]
Share = tuple[int, int]


class HeldOut(NamedTuple):
    """The windows that are held out for validation: those to score, and all, as spans (N, 2)."""

    evaluation: Evaluation
    spans: Whole
    batches: WindowBatches


@dataclass(frozen=True)
class Training:
    """A training run of a forecaster."""

    predictor: Predictor  # random weights, and statistics of the training data
    table: SeriesTable  # the training data
    batches: WindowBatches  # of the training data
    held_out: HeldOut | None  # the validation data
    evaluation: Evaluation | None  # windows of the test data
    refit: Refit | None  # training on the held-out data as well
    facts: Mapping[str, object]  # names and sizes of the data, for the report
    notes: list[str]  # messages for the user
    metrics: dict[str, Any]  # scores, once the run has ended

    @classmethod
    def prepare(
        cls,
        settings: ForecasterSettings,
        tables: Tables,
        name: str,
        *,
        build: Build,
        share: Share,
        inputs: Inputs,
    ) -> Training:
        """Prepare the training on the table `train`, scored on the table `test` if there is one.

        Args:
            settings: settings of the forecaster.
            tables: the data by part.
            name: name of the training data.
            build: builds a network with random weights.
            share: (rank, processes), which determine the windows of this process.
            inputs: texts and images, with which the tables are encoded.

        Raises:
            ArgumentError: the output needs counts, and a target is not a count.
            DataError: the series are too short, or the test data cannot be scored.
        """
        table = tables["train"]
        lengths, held = find_held_out(settings, table)
        if settings.kind_of_output == "negative_binomial":
            _check_counts(table, targets_of(settings))
        predictor = _begin(settings, table, lengths - held, build, inputs)
        windows, layout = windows_of(predictor, table), predictor.layout
        spans = _training_spans(lengths - held, layout)
        total = WindowBatches(windows, spans, 1, seed=None).total
        if not total:
            raise DataError(
                f"{name}: its longest series has {lengths.max()} numbers, of which {held.max()} "
                f"are held out; that is too few to train with horizon={layout.horizon}"
            )

        size, count = settings.batch_size, settings.windows or min(max(total, LEAST), MOST)

        def batches(ends: Whole, seed: int) -> WindowBatches:
            spans = _training_spans(ends, layout)
            return WindowBatches(
                windows, spans, size, seed=seed, count=count, ends=ends, share=share
            )

        held_out = evaluation = refit = None
        if held.any():
            held_out = _choose_held_out(predictor, windows, table, lengths, held)
            if settings.refit_epochs:
                refit = Refit(batches(lengths, settings.seed + REFIT), settings.refit_epochs)
        notes = _notes(settings, layout, lengths, held)
        if "test" in tables:  # raises errors before the training
            notes += [f"test: {note}" for note in predictor.index.unseen_words(tables["test"])]
            evaluation = Evaluation.find(predictor, tables["test"], table)
            if evaluation.unseen:
                notes.append("test: no series is in the training data; each is scored by itself")
        facts = {
            "train": name,
            "series": len(lengths),
            "numbers": int(lengths.sum()),
            "frequency": table.frequency.name,
            "horizon": layout.horizon,
            "context": layout.context,
            "segment": layout.segment,
            "windows": total,
        }
        train = batches(lengths - held, settings.seed)
        metrics: dict[str, Any] = {"model": {}, "baseline": {}, "others": []}
        return cls(predictor, table, train, held_out, evaluation, refit, facts, notes, metrics)

    def judge(self) -> Predictor:
        """Return the predictor with estimates from the validation data; add scores and charts."""
        predictor, metrics = self.predictor, self.metrics
        if self.held_out is None:
            return predictor
        evaluation, spans, _ = self.held_out
        windows = evaluation.windows
        predictor = predictor.with_estimates(share=estimates.learn_share(predictor, windows, spans))
        dependence = estimates.learn_dependence(predictor, windows, spans)
        predictor = predictor.with_estimates(dependence=dependence)
        rolled, scored = evaluation.forecast(predictor)
        _add_scores(metrics, "validation", scored)
        metrics["forecasts"] = chart_data(predictor, windows, rolled, scored, self.table)
        if predictor.settings.conformal:
            corrections, count = estimates.learn_corrections(predictor, windows, spans)
            predictor = predictor.with_estimates(corrections=corrections)
            metrics["calibration_windows"] = count
        # After the scores, because coverage is too high on the data that widening is learned from.
        widening = estimates.learn_widening(predictor, windows, spans)
        return predictor.with_estimates(widening=widening)

    def measure(self, predictor: Predictor) -> dict[str, Any]:
        """Return all scores, with those of the test data."""
        if self.evaluation is not None:
            _add_scores(self.metrics, "test", self.evaluation.forecast(predictor)[1])
        return self.metrics


def _choose_held_out(
    predictor: Predictor, windows: Windows, table: SeriesTable, lengths: Whole, held: Whole
) -> HeldOut:
    """Choose the windows in the last `held` steps (N,) of each series, one horizon apart."""
    settings, layout, horizon = predictor.settings, windows.layout, windows.layout.horizon
    # The last forecast ends at the end of the series.
    first, last = lengths - held, lengths - horizon
    if settings.hold_out == "series":
        first = first_origins(lengths, layout)
    spans = np.stack([first + (last - first) % horizon, last], 1)
    spans[held == 0, 1] = -1
    known = np.where(lengths > held, lengths - held, spans[:, 0])  # of a series held out completely
    errors = seasonal_errors(table, layout.targets, predictor.season, known.tolist())
    chosen = choose_scored(predictor, windows, table, spans)
    rows = max(1, min(256, STEPS // layout.steps))
    if settings.conformal:
        estimates.check_enough(predictor, windows, spans)
    batches = WindowBatches(windows, spans, rows, seed=None, stride=horizon)
    return HeldOut(Evaluation(windows, *chosen, errors), spans, batches)


def targets_of(settings: ForecasterSettings) -> int:
    """Return the number of targets of a series."""
    return 1 if settings.wide else len(settings.targets)


def find_held_out(settings: ForecasterSettings, table: SeriesTable) -> tuple[Whole, Whole]:
    """Return the length of each series (N,), and how many of its steps are held out (N,)."""
    lengths = np.array([observed_steps(one, targets_of(settings)) for one in table.series])
    return lengths, _held_out(settings, lengths, settings.horizon_of(table.frequency))


def encoded(
    settings: ForecasterSettings,
    tables: Tables,
    folder: Path | None,
    notes: list[str],
    *,
    show: bool,
) -> tuple[dict[str, SeriesTable], Inputs]:
    """Return tables with encoded texts and images, and what was learned of them.

    Args:
        settings: settings of the forecaster.
        tables: the data by part.
        folder: folder of the run to continue, whose inputs are read; None to learn the inputs.
        notes: messages for the user; this function adds more.
        show: whether to show progress on the terminal.

    Raises:
        DataError: a column has no item in the training part, or a file cannot be read.
    """
    if not settings.inputs:
        return dict(tables), {}
    train = tables["train"]
    if folder is None:
        lengths, held = find_held_out(settings, train)
        inputs = learn_inputs(settings, train, lengths - held, notes, show=show)
    else:
        inputs = load_inputs(settings, folder)
    first = encode_items(inputs, train)
    return {name: encode_items(inputs, one, first) for name, one in tables.items()}, inputs


def _begin(
    settings: ForecasterSettings, table: SeriesTable, known: Whole, build: Build, inputs: Inputs
) -> Predictor:
    """Return a predictor with random weights, from the first `known` steps of each series."""
    targets = targets_of(settings)
    series = [
        replace(one, values=one.values[:n])
        for one, n in zip(table.series, known.tolist(), strict=True)
    ]
    usual = int(np.median(known[known > 0])) if known.any() else 0
    index = index_of(settings, replace(table, series=series), targets, usual)
    layout = layout_of(settings, index)
    errors = seasonal_errors(table, targets, settings.season_of(table.frequency))
    history = history_of(table, index, layout, errors, inputs)
    return Predictor(build(layout), index, history, settings, layout, inputs)


def _notes(settings: ForecasterSettings, layout: Layout, lengths: Whole, held: Whole) -> list[str]:
    """Return notes on short series and on the validation data."""
    notes, many = [], int((held > 0).sum())
    short = int((lengths < layout.context + layout.horizon).sum())
    if short:
        notes.append(
            f"{short:,} of {len(lengths):,} series {are(short)} shorter than "
            f"context={layout.context} and horizon={layout.horizon} together; the missing steps "
            "are masked"
        )
    if many:
        notes.append(
            f"the end of each series is held out for validation, {np.median(held):,.0f} steps"
            if settings.hold_out == "end"
            else f"{many:,} of {len(lengths):,} series {are(many)} held out for validation"
        )
    return notes


def _check_counts(table: SeriesTable, targets: int) -> None:
    """Raise an ArgumentError for a target that is not a count."""
    for one in table.series:
        y = one.values[:, :targets]
        wrong = y[(y < 0) | (y != np.round(y)) & ~np.isnan(y)]
        if len(wrong):
            raise ArgumentError(
                f"output=negative_binomial needs counts, but {one.who} has {wrong[0]:g}; set "
                "another output"
            )


def _held_out(settings: ForecasterSettings, lengths: Whole, horizon: int) -> Whole:
    """Return the number of validation steps of each series; 0 for a series that is too short."""
    share = settings.validation_fraction
    if share == 0:
        return np.zeros_like(lengths)
    if settings.hold_out == "series":
        return _held_out_series(lengths, horizon, share, seed=settings.seed)
    held = np.maximum(horizon, (lengths * share).astype(np.int64))
    held[lengths - held < 2] = 0
    if not held.any():
        raise DataError(
            f"the longest series has {lengths.max()} numbers, too few to hold out a horizon of "
            f"{horizon}; set a smaller horizon, or validation_fraction=0 and monitor=last"
        )
    return held


def _held_out_series(lengths: Whole, horizon: int, share: float, *, seed: int) -> Whole:
    """Return the lengths of some series, drawn by the seed, and 0 for all others."""
    long = np.flatnonzero(lengths > horizon)
    if len(long) < 2:
        raise DataError(
            "hold_out=series needs at least two series that are longer than the horizon of "
            f"{horizon}, got {len(long)}; set hold_out=end"
        )
    count = min(len(long) - 1, max(1, round(share * len(long))))
    chosen = np.random.default_rng(seed).choice(long, count, replace=False)
    held = np.zeros_like(lengths)
    held[chosen] = lengths[chosen]
    return held


def _training_spans(lengths: Whole, layout: Layout) -> Whole:
    """Return the first and last training origin of each series (N, 2).

    A complete context comes before them and a complete horizon after them, except in short series.
    """
    last = np.maximum(lengths - layout.horizon, lengths // 2)
    first = np.minimum(layout.context, np.maximum(1, last // 2))
    return np.stack([first, np.minimum(last, lengths - 1)], 1)


def _add_scores(metrics: dict[str, Any], part: str, scored: Scored) -> None:
    """Add the scores of the model and of the baselines on a part of the data to the metrics."""
    ours, *baselines = scored.scores
    metrics["model"][part] = scored.scores[ours]
    listed = [metrics["baseline"], *metrics["others"]]
    if listed == [{}]:
        metrics["baseline"]["name"] = baselines[0]
        metrics["others"] += [{"name": name} for name in baselines[1:]]
        listed = [metrics["baseline"], *metrics["others"]]
    for one in listed:
        one[part] = scored.scores[one["name"]]
    if scored.notes:
        metrics["notes"] = list(dict.fromkeys([*metrics.get("notes", []), *scored.notes]))
