"""A forecaster's run: its series, what is held out of them, forecasts, and card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning_fabric import Fabric

from elman.decode.conformal import least
from elman.encode.index import SeriesIndex
from elman.encode.windows import Layout, Windows
from elman.errors import ArgumentError, DataError, FolderError
from elman.optional import need
from elman.read.frequency import Frequency
from elman.read.series import SeriesTable
from elman.report.forecasts import Scored
from elman.tasks.card import model_card
from elman.tasks.folder import SERIES, read_json
from elman.tasks.forecaster_baselines import missing_baselines
from elman.tasks.forecaster_calibration import calibrate, learn_dependence, learn_widening
from elman.tasks.forecaster_pictures import pictures
from elman.tasks.forecaster_scores import (
    SCORED,
    STEPS,
    Whole,
    choose,
    roll,
    score,
    scored_futures,
    scored_windows,
)
from elman.tasks.forecaster_use import (
    behind_training,
    first_origins,
    look,
    score_behind,
    windows_of,
)
from elman.tasks.history import history_of, observed, seasonal_errors
from elman.tasks.parts import Parts, check_same, given_before, read_parts
from elman.tasks.run import Job, go_on, start
from elman.train.chunks import Refit
from elman.train.fabric import build_fabric, on_first
from elman.train.windows import WindowBatches

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster

LEAST, MOST = 2_000, 20_000  # windows of an epoch, if nothing else is set
REFIT = 1 << 20  # added to the seed, so that a refit draws other windows
FEW = 100  # windows that a calibration should have


def train_forecaster(
    model: Forecaster, given: Mapping[str, Any], folder: Path | None, rejects: Path | None,
    *, show: bool,
) -> None:  # fmt: skip
    """Fit a fresh model, see `Forecaster.fit`."""
    fabric = build_fabric(model)
    parts = on_first(fabric, lambda: _read(model, given, rejects))
    model._described = parts.described
    start(model, _job(model, parts, fabric, folder), folder, fabric=fabric, show=show)


def resume_forecaster(
    model: Forecaster, described: dict[str, Any], folder: Path, *, show: bool
) -> None:
    """Go on with a run, see `Estimator.resume`.

    Raises:
        FolderError: version 0.1.0 began it.
    """
    if (folder / SERIES).exists() and "unit" not in read_json(folder / SERIES):
        raise FolderError(
            f"{folder}: was begun by version 0.1.0, which scaled series otherwise; load it to use "
            "it, or train anew"
        )
    fabric = build_fabric(model)

    def prepare() -> Parts[SeriesTable]:
        parts = _read(model, *given_before(described))
        check_same(described, parts.described)
        return parts

    parts = on_first(fabric, prepare)
    go_on(model, _job(model, parts, fabric, folder), folder, fabric=fabric, show=show)


def _read(model: Forecaster, given: Mapping[str, Any], rejects: Path | None) -> Parts[SeriesTable]:
    if model.decoder == "direct" and model.kind_of_output in ("student_t", "negative_binomial"):
        need("scipy", f"output={model.kind_of_output}")  # before the training, not after it
    parts = read_parts(
        given, rejects, lambda one: look(model, one, lenient=rejects is not None),  # type: ignore[arg-type]
        # The frequency and the words of the training data hold for all.
        lambda source, bad, like: source.read(bad, like), "rows and series",
    )  # fmt: skip
    for name, table in parts.data.items():
        parts.notes += [note if name == "train" else f"{name}: {note}" for note in table.notes]
    parts.notes += missing_baselines(model)
    return parts


def _job(model: Forecaster, given: Parts[SeriesTable], fabric: Fabric, folder: Path | None) -> Job:
    table, notes = given.data["train"], given.notes
    targets = 1 if model.wide else len(model.targets)
    if model.kind_of_output == "negative_binomial":
        _check_counts(table, targets)
    lengths = np.array([observed(one, targets) for one in table.series])
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
            f"{held_out.max()} are held out; with horizon={horizon} that is too short to learn from"
        )
    batches = WindowBatches(
        windows, spans, model.batch_size, seed=model.seed,
        count=model.windows or min(max(total, LEAST), MOST), ends=known,
        share=(fabric.global_rank, fabric.world_size),
    )  # fmt: skip
    short = int((lengths < layout.context + horizon).sum())
    if short:
        notes.append(
            f"shorter than context={layout.context} and horizon={horizon} together: {short:,} of "
            f"{len(lengths):,} series; what is missing in front is masked"
        )
    held = behind = None
    if held_out.any():
        names = [one.unique_id for one in table.series]
        held = _Held.choose(model, windows, lengths, held_out, names)
        many = int((held_out > 0).sum())
        notes.append(
            f"the end of each series is held out for validation, {np.median(held_out):,.0f} steps"
            if model.hold_out == "end"
            else f"held out for validation: {many:,} of {len(lengths):,} series"
        )
    if "test" in given.data:  # whether it can be scored is said before the training
        behind = behind_training(model, given.data["test"], table, model.history.errors)
        if behind.fresh:
            notes.append("test: training has seen none of its series; each is scored by itself")
    facts = {
        "train": given.described["name"], "series": len(lengths), "numbers": int(lengths.sum()),
        "frequency": table.frequency.name, "horizon": horizon, "context": layout.context,
        "segment": layout.segment, "windows": total,
    }  # fmt: skip

    metrics: dict[str, Any] = {"model": {}, "baseline": {}, "others": []}

    def judge() -> None:
        model._history = replace(model.history, corrections=None, dependence=None, widening=None)
        if held is not None:
            held.measure(model, table, known, metrics)
            if folder is not None:
                model._save_parts(folder)

    def measure() -> dict[str, Any]:
        if behind is not None:
            _add(metrics, "test", score_behind(model, behind))
        return metrics

    validation = None if held is None else held.batches
    refit = None
    if validation is not None and model.refit_epochs:
        rest = WindowBatches(
            windows, _training_spans(lengths, layout), model.batch_size, seed=model.seed + REFIT,
            count=batches.count, ends=lengths, share=(fabric.global_rank, fabric.world_size),
        )  # fmt: skip
        refit = Refit(rest, model.refit_epochs)
    return Job(
        batches, validation, facts, "numbers", measure=measure, judge=judge, refit=refit,
        notes=notes,
    )  # fmt: skip


def _learn_from(model: Forecaster, table: SeriesTable, targets: int, known: Whole) -> Windows:
    """Build the network by what may be learned from; all windows of the training data."""
    series = [
        replace(one, values=one.values[:n])
        for one, n in zip(table.series, known.tolist(), strict=True)
    ]
    index = SeriesIndex.build(
        replace(table, series=series), table.columns[:targets], past=model.past,
        future=model.future, static=model.static, per_series=model.per_series,
        with_calendar=model.calendar, scaling=model.scaling,
        context=model.window_of(table.frequency)[0], plane=model.plane,
    )  # fmt: skip
    model.build(index)
    errors = seasonal_errors(table, targets, model.seasonal)
    model._history = history_of(table, index, model.layout, errors)
    return windows_of(model, table)


@dataclass(frozen=True)
class _Held:
    """The windows that are held out for validation.

    Attributes:
        windows: of the training data.
        spans: (N, 2) first and last origin of each series, a horizon after the other.
        which, origins: of the windows that are scored.
        batches: for the loss.
    """

    windows: Windows
    spans: Whole
    which: Whole
    origins: Whole
    batches: WindowBatches

    @classmethod
    def choose(
        cls, model: Forecaster, windows: Windows, lengths: Whole, held: Whole, names: list[str]
    ) -> _Held:
        """The last `held` steps of each series, or the windows of those that are held out whole.

        Raises:
            DataError: they have no number, or too few for conformal quantiles.
        """
        horizon, layout = model.ahead, windows.layout
        # The last horizon ends where the series does.
        first, last = lengths - held, lengths - horizon
        if model.hold_out == "series":
            first = first_origins(lengths, layout)
        spans = np.stack([first + (last - first) % horizon, last], 1)
        spans[held == 0, 1] = -1
        which, origins = choose(windows, spans, horizon, scored_windows(model), names)
        rows = max(1, min(256, STEPS // layout.steps))
        batches = WindowBatches(windows, spans, rows, seed=None, stride=horizon)
        if model.conformal:
            _check_enough(model, windows, spans)
        return cls(windows, spans, which, origins, batches)

    def measure(
        self, model: Forecaster, table: SeriesTable, known: Whole, metrics: dict[str, Any]
    ) -> None:
        """Add scores and pictures; correct the model's quantiles, if it is to be conformal."""
        known = np.where(known > 0, known, self.spans[:, 0])  # of a whole series, the first
        errors = seasonal_errors(table, self.windows.layout.targets, model.seasonal, known.tolist())
        dependence = learn_dependence(model, self.windows, self.spans)
        widening = learn_widening(model, self.windows, self.spans)
        model._history = replace(model.history, dependence=dependence, widening=widening)
        drawn = scored_futures(model)
        rolled = roll(model, self.windows, self.which, self.origins, futures=drawn)
        scored = score(model, self.windows, rolled, errors)
        _add(metrics, "validation", scored)
        metrics["forecasts"] = pictures(model, self.windows, rolled, scored, table)
        if model.conformal:
            corrections, count = calibrate(model, self.windows, self.spans)
            model._history = replace(model.history, corrections=corrections)
            metrics["calibrated by windows"] = count


def _check_counts(table: SeriesTable, targets: int) -> None:
    for one in table.series:
        y = one.values[:, :targets]
        wrong = y[(y < 0) | (y != np.round(y)) & ~np.isnan(y)]
        if len(wrong):
            raise ArgumentError(
                f"output=negative_binomial counts, but {one.who} has {wrong[0]:g}; set another"
            )


def _check_enough(model: Forecaster, windows: Windows, spans: Whole) -> None:
    """Refuse quantiles that the validation data are too few to say with a DataError."""
    wanted = least(model.levels)
    there = ~np.isnan(windows.truth(*choose(windows, spans, 1, SCORED)))
    found = int(there.sum((0, 1)).min())
    if found < wanted:
        raise DataError(
            f"conformal: the outermost of the quantiles needs {wanted} numbers of validation, got "
            f"{found}; raise validation_fraction, or leave out outer quantiles"
        )


def _held_out(model: Forecaster, lengths: Whole, horizon: int) -> Whole:
    """Steps of each series that are for validation, at its end or all; none of a short one."""
    share = model.validation_fraction
    if share == 0:
        return np.zeros_like(lengths)
    if model.hold_out == "series":
        return _whole_series(lengths, horizon, share, model.seed)
    held = np.maximum(horizon, (lengths * share).astype(np.int64))
    held[lengths - held < 2] = 0
    if not held.any():
        raise DataError(
            f"the longest series has {lengths.max()} numbers, too few to hold out a horizon of "
            f"{horizon}; set a smaller horizon, or validation_fraction=0 and monitor=last"
        )
    return held


def _whole_series(lengths: Whole, horizon: int, share: float, seed: int) -> Whole:
    """The lengths of some series, drawn by the seed, 0 of all others."""
    long = np.flatnonzero(lengths > horizon)
    if len(long) < 2:
        raise DataError(
            f"hold_out=series needs two series or more that are longer than the horizon of "
            f"{horizon}, got {len(long)}; set hold_out=end"
        )
    count = min(len(long) - 1, max(1, round(share * len(long))))
    chosen = np.random.default_rng(seed).choice(long, count, replace=False)
    held = np.zeros_like(lengths)
    held[chosen] = lengths[chosen]
    return held


def _training_spans(lengths: Whole, layout: Layout) -> Whole:
    """Origins with a whole context in front and a whole horizon behind, or what there is."""
    last = np.maximum(lengths - layout.horizon, lengths // 2)
    first = np.minimum(layout.context, np.maximum(1, last // 2))
    return np.stack([first, np.minimum(last, lengths - 1)], 1)


def _add(metrics: dict[str, Any], part: str, scored: Scored) -> None:
    """The model's scores, those of its best baseline, and of the others."""
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
    """The model card, Markdown."""
    layout = model.layout
    segment = f", {layout.segment} steps at a time" if layout.segment > 1 else ""
    count = model.metrics.get("calibrated by windows")
    notes = [] if count is None else [
        f"The quantiles are moved so that they hold on {count:,} windows of the validation data"
        + ("; that is few." if count < FEW else ".")
    ]  # fmt: skip
    frequency = Frequency.named(model.index.frequency).name
    of = "" if frequency == "step" else f" of {frequency}"
    columns = {"MASE": ("MASE", "{:.3f}"), "ND": ("ND", "{:.4f}"), "wQL": ("wQL", "{:.4f}")}
    if layout.plane:
        scores: dict[str, Any] = next(iter(model.metrics.get("model", {}).values()), {})
        best = (name for name in scores if name.startswith("best of"))
        columns = {score: (score, "{:.4g}") for score in ("ADE", "FDE", *best)}
    return model_card(
        model, name, title="what comes next",
        made=f"{model.cell.upper()}, {model.decoder}, {layout.horizon} steps{of} from the last "
        f"{layout.context}{segment}",
        columns=columns,
        use=[f"model.predict({'table' if model.future else ''}).columns()"],
        notes=notes,
        end="It says what is likely if the time to come is like the past that it was trained on.",
    )  # fmt: skip
