"""The training run of a forecaster: data, validation part, scores and model card.

Shape legend: H steps ahead, K targets, N series.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning_fabric import Fabric

from elman.encode.index import SeriesIndex
from elman.encode.layout import Layout
from elman.encode.windows import Windows
from elman.errors import ArgumentError, DataError, FolderError
from elman.manifest import SERIES, read_json
from elman.optional import need
from elman.read.frequency import Frequency
from elman.read.series import SeriesTable
from elman.report.forecasts import Scored
from elman.report.verdict import name_of
from elman.tasks.card import model_card
from elman.tasks.forecaster_baselines import missing_baselines
from elman.tasks.forecaster_calibration import (
    calibrate,
    check_enough,
    learn_dependence,
    learn_share,
    learn_widening,
)
from elman.tasks.forecaster_pictures import chart_data
from elman.tasks.forecaster_scores import (
    STEPS,
    Whole,
    choose,
    roll,
    score,
    scored_futures,
    scored_windows,
)
from elman.tasks.forecaster_use import (
    find_evaluation,
    first_origins,
    score_evaluation,
    source_of,
    windows_of,
)
from elman.tasks.history import history_of, observed_steps, seasonal_errors
from elman.tasks.parts import Parts, check_same, given_before, read_parts
from elman.tasks.run import Job, go_on, start
from elman.train.chunks import Refit
from elman.train.fabric import build_fabric, on_first
from elman.train.windows import WindowBatches

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster

LEAST, MOST = 2_000, 20_000  # range of the number of windows in an epoch, unless it is set
REFIT = 1 << 20  # is added to the seed, so that the refit draws other windows
FEW = 100  # minimum number of windows for a reliable calibration


def train_forecaster(
    model: Forecaster, given: Mapping[str, Any], folder: Path | None, rejects: Path | None,
    *, show: bool,
) -> None:  # fmt: skip
    """Train a new model, see `Forecaster.fit`."""
    fabric = build_fabric(model)
    parts = on_first(fabric, lambda: _read(model, given, rejects))
    model._described = parts.described
    start(model, _job(model, parts, fabric, folder), folder, fabric=fabric, show=show)


def resume_forecaster(
    model: Forecaster, described: dict[str, Any], folder: Path, *, show: bool
) -> None:
    """Continue a run, see `Estimator.resume`.

    Raises:
        FolderError: the run was begun by version 0.1.0.
    """
    if (folder / SERIES).exists() and "unit" not in read_json(folder / SERIES):
        raise FolderError(
            f"{folder}: was begun by version 0.1.0, which scaled series differently; load the "
            "model to use it, or train again"
        )
    fabric = build_fabric(model)

    def prepare() -> Parts[SeriesTable]:
        parts = _read(model, *given_before(described))
        check_same(described, parts.described)
        return parts

    parts = on_first(fabric, prepare)
    go_on(model, _job(model, parts, fabric, folder), folder, fabric=fabric, show=show)


def _read(model: Forecaster, given: Mapping[str, Any], rejects: Path | None) -> Parts[SeriesTable]:
    """Read the training and test data, with notes on them."""
    if model.decoder == "direct" and model.kind_of_output in ("student_t", "negative_binomial"):
        need("scipy", f"output={model.kind_of_output}")  # before the training, not after it
    parts = read_parts(
        given, rejects, lambda one: source_of(model, one, lenient=rejects is not None),  # type: ignore[arg-type]
        # The frequency and the words of the training data apply to the test data.
        lambda source, bad, like: source.read(bad, like), "rows and series",
    )  # fmt: skip
    for name, table in parts.data.items():
        parts.notes += [note if name == "train" else f"{name}: {note}" for note in table.notes]
    parts.notes += missing_baselines(model)
    return parts


def _job(model: Forecaster, given: Parts[SeriesTable], fabric: Fabric, folder: Path | None) -> Job:
    """Prepare the data and the functions of a training run."""
    table, notes = given.data["train"], given.notes
    targets = 1 if model.wide else len(model.targets)
    if model.kind_of_output == "negative_binomial":
        _check_counts(table, targets)
    lengths = np.array([observed_steps(one, targets) for one in table.series])
    horizon = model.horizon_of(table.frequency)
    held_out = _held_out(model, lengths, horizon)
    known = lengths - held_out
    windows = _learn_from(model, table, targets, known)
    layout = windows.layout
    spans = _training_spans(known, layout)
    total = int((spans[:, 1] - spans[:, 0] + 1).clip(min=0).sum())
    if not total:
        raise DataError(
            f"{given.described['name']}: its longest series has {lengths.max()} numbers, of which "
            f"{held_out.max()} are held out; that is too few to train with horizon={horizon}"
        )
    count = model.windows or min(max(total, LEAST), MOST)
    batches = _batches(model, windows, spans, known, count, fabric, seed=model.seed)
    validation = evaluation = refit = None
    if held_out.any():
        names = [one.unique_id for one in table.series]
        validation = _HeldOut.choose(model, windows, lengths, held_out, names)
    notes += _notes(model, layout, lengths, held_out)
    if "test" in given.data:  # raises errors before the training
        notes += [f"test: {note}" for note in model.index.unseen_words(given.data["test"])]
        evaluation = find_evaluation(model, given.data["test"], table, model.history.errors)
        if evaluation.unseen:
            notes.append("test: no series is in the training data; each is scored by itself")
    facts = {
        "train": given.described["name"], "series": len(lengths), "numbers": int(lengths.sum()),
        "frequency": table.frequency.name, "horizon": horizon, "context": layout.context,
        "segment": layout.segment, "windows": total,
    }  # fmt: skip
    metrics: dict[str, Any] = {"model": {}, "baseline": {}, "others": []}

    def judge() -> None:
        model._history = model.history.without_estimates()
        if validation is not None:
            validation.measure(model, table, known, metrics)
            if folder is not None:
                model._save_parts(folder)

    def measure() -> dict[str, Any]:
        if evaluation is not None:
            _add_scores(metrics, "test", score_evaluation(model, evaluation))
        return metrics

    if validation is not None and model.refit_epochs:
        spans, seed = _training_spans(lengths, layout), model.seed + REFIT
        rest = _batches(model, windows, spans, lengths, count, fabric, seed=seed)
        refit = Refit(rest, model.refit_epochs)
    return Job(
        batches, None if validation is None else validation.batches, facts, "numbers",
        measure=measure, judge=judge, refit=refit, notes=notes,
    )  # fmt: skip


def _batches(
    model: Forecaster, windows: Windows, spans: Whole, ends: Whole, count: int, fabric: Fabric,
    *, seed: int,
) -> WindowBatches:  # fmt: skip
    """Return training batches of `count` windows within spans (N, 2), which read until `ends`."""
    share = (fabric.global_rank, fabric.world_size)
    return WindowBatches(
        windows, spans, model.batch_size, seed=seed, count=count, ends=ends, share=share
    )


def _notes(model: Forecaster, layout: Layout, lengths: Whole, held_out: Whole) -> list[str]:
    """Return notes on short series and on the validation data."""
    notes = []
    short = int((lengths < layout.context + layout.horizon).sum())
    if short:
        notes.append(
            f"{short:,} of {len(lengths):,} series are shorter than context={layout.context} and "
            f"horizon={layout.horizon} together; the missing steps are masked"
        )
    if held_out.any():
        many = int((held_out > 0).sum())
        steps = np.median(held_out)
        notes.append(
            f"the end of each series is held out for validation, {steps:,.0f} steps"
            if model.hold_out == "end"
            else f"{many:,} of {len(lengths):,} series are held out for validation"
        )
    return notes


def _learn_from(model: Forecaster, table: SeriesTable, targets: int, known: Whole) -> Windows:
    """Build the network from the first `known` steps of each series; return all windows."""
    series = [
        replace(one, values=one.values[:n])
        for one, n in zip(table.series, known.tolist(), strict=True)
    ]
    usual = int(np.median(known[known > 0])) if known.any() else 0
    index = SeriesIndex.build(
        replace(table, series=series), table.columns[:targets], past=model.past,
        future=model.future, static=model.static, per_series=model.per_series,
        with_calendar=model.calendar, scaling=model.scaling,
        context=model.window_of(table.frequency, usual)[0], plane=model.plane,
    )  # fmt: skip
    model.build(index)
    errors = seasonal_errors(table, targets, model.seasonal)
    model._history = history_of(table, index, model.layout, errors)
    return windows_of(model, table)


@dataclass(frozen=True)
class _HeldOut:
    """The windows that are held out for validation.

    Attributes:
        windows: all windows of the training data.
        spans: (N, 2) first and last origin of each series; origins are one horizon apart.
        which, origins: series and origins of the windows to score.
        batches: batches for the validation loss.
    """

    windows: Windows
    spans: Whole
    which: Whole
    origins: Whole
    batches: WindowBatches

    @classmethod
    def choose(
        cls, model: Forecaster, windows: Windows, lengths: Whole, held: Whole, names: list[str]
    ) -> _HeldOut:
        """Choose the windows in the last `held` steps (N,) of each series.

        Raises:
            DataError: these have no numbers, or too few for conformal quantiles.
        """
        horizon, layout = model.ahead, windows.layout
        # The last forecast ends at the end of the series.
        first, last = lengths - held, lengths - horizon
        if model.hold_out == "series":
            first = first_origins(lengths, layout)
        spans = np.stack([first + (last - first) % horizon, last], 1)
        spans[held == 0, 1] = -1
        which, origins = choose(windows, spans, horizon, scored_windows(model), names)
        rows = max(1, min(256, STEPS // layout.steps))
        batches = WindowBatches(windows, spans, rows, seed=None, stride=horizon)
        if model.conformal:
            check_enough(model, windows, spans)
        return cls(windows, spans, which, origins, batches)

    def measure(
        self, model: Forecaster, table: SeriesTable, known: Whole, metrics: dict[str, Any]
    ) -> None:
        """Add scores and charts to the metrics; store estimates for the intervals in the model."""
        known = np.where(known > 0, known, self.spans[:, 0])  # for a series held out completely
        errors = seasonal_errors(table, self.windows.layout.targets, model.seasonal, known.tolist())
        model._history = replace(model.history, share=learn_share(model, self.windows, self.spans))
        dependence = learn_dependence(model, self.windows, self.spans)
        model._history = replace(model.history, dependence=dependence)
        drawn = scored_futures(model)
        rolled = roll(model, self.windows, self.which, self.origins, futures=drawn)
        scored = score(model, self.windows, rolled, errors)
        _add_scores(metrics, "validation", scored)
        metrics["forecasts"] = chart_data(model, self.windows, rolled, scored, table)
        if model.conformal:
            corrections, count = calibrate(model, self.windows, self.spans)
            model._history = replace(model.history, corrections=corrections)
            metrics["calibration_windows"] = count
        # After the scores: on the data that it is learned from, an interval holds too often.
        widening = learn_widening(model, self.windows, self.spans)
        model._history = replace(model.history, widening=widening)


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


def _held_out(model: Forecaster, lengths: Whole, horizon: int) -> Whole:
    """Return the number of validation steps of each series; 0 for a series that is too short."""
    share = model.validation_fraction
    if share == 0:
        return np.zeros_like(lengths)
    if model.hold_out == "series":
        return _held_out_series(lengths, horizon, share, model.seed)
    held = np.maximum(horizon, (lengths * share).astype(np.int64))
    held[lengths - held < 2] = 0
    if not held.any():
        raise DataError(
            f"the longest series has {lengths.max()} numbers, too few to hold out a horizon of "
            f"{horizon}; set a smaller horizon, or validation_fraction=0 and monitor=last"
        )
    return held


def _held_out_series(lengths: Whole, horizon: int, share: float, seed: int) -> Whole:
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


def describe(model: Forecaster, name: str) -> str:
    """Return the model card as Markdown."""
    layout = model.layout
    segment = f", {layout.segment} steps at a time" if layout.segment > 1 else ""
    count = model.metrics.get("calibration_windows")
    notes = [] if count is None else [
        f"The quantiles were corrected on {count:,} windows of the validation data"
        + (", which are few." if count < FEW else ".")
    ]  # fmt: skip
    frequency = Frequency.named(model.index.frequency).name
    of = "" if frequency == "step" else f" of {frequency}"
    if (share := model.history.share) is not None:
        season = " and the mean change within a season" if share[0] > 1 else ""
        notes.append(
            f"Each forecast has a share of {share[1]:.0%} of the last number{season}; on the "
            "validation windows the network alone was not clearly better."
        )
    columns = {"MASE": ("MASE", "{:.3f}"), "ND": ("ND", "{:.4f}"), "wQL": ("wQL", "{:.4f}")}
    if layout.plane:
        scores: dict[str, Any] = next(iter(model.metrics.get("model", {}).values()), {})
        best = (name for name in scores if name.startswith("best_of"))
        columns = {name_of(score): (score, "{:.4g}") for score in ("ADE", "FDE", *best)}
    return model_card(
        model, name, title="a forecaster",
        made=f"{model.cell.upper()}, {model.decoder}, {layout.horizon} steps{of} from the last "
        f"{layout.context}{segment}",
        columns=columns,
        use=[f"model.predict({'table' if model.future else ''}).columns()"],
        notes=notes,
        end="The forecasts are reliable only if the future is like the data of the training.",
    )  # fmt: skip
