"""A forecaster's run: its series, what is held out of them, forecasts, scores, and card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from elman.encode.index import SeriesIndex
from elman.encode.windows import Layout, Windows
from elman.errors import DataError, FolderError
from elman.read.series import Series, SeriesSource, SeriesTable
from elman.read.stamps import Frequency
from elman.report.forecasts import Guess, baselines, check_scorer, score_forecasts
from elman.tasks.card import model_card
from elman.tasks.forecasts import Forecasts
from elman.tasks.parts import Parts, check_same, given_before, read_parts
from elman.tasks.run import Job, check_can_go_on, go_on, start
from elman.train.checkpoint import load_tensors, save_tensors
from elman.train.fabric import build_fabric
from elman.train.windows import WindowBatches

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster

SCORED = 10_000  # windows that are scored at most, the last ones

Spans = NDArray[np.int64]  # (N, 2) first and last origin of each series


def look(model: Forecaster, given: tuple[Any, Any], *, lenient: bool = False) -> SeriesSource:
    """At series in the form that the settings say; a trained model knows the frequency."""
    frequency = model._index.frequency if model._index is not None else model.freq
    return SeriesSource(
        given[0], model.targets, (*model.past, *model.future, *model.static),
        unique_id=model.unique_id, ds=model.ds, wide=model.wide, freq=frequency,
        ds_format=model.ds_format, encoding=model.encoding, lenient=lenient,
    )  # fmt: skip


def train_forecaster(
    model: Forecaster, given: Mapping[str, Any], folder: Path | None, rejects: Path | None,
    *, show: bool,
) -> None:  # fmt: skip
    """Fit a fresh model, see `Forecaster.fit`."""
    check_scorer()
    fabric = build_fabric(model)
    parts = _read(model, given, rejects)
    model._described = parts.described
    start(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def resume_forecaster(
    model: Forecaster, config: dict[str, Any], folder: Path, *, show: bool
) -> None:
    """Go on with a run, see `Estimator.resume`."""
    check_can_go_on(folder)
    check_scorer()
    fabric = build_fabric(model)
    parts = _read(model, *given_before(config["data"]))
    check_same(config["data"], parts.described)
    go_on(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def _read(model: Forecaster, given: Mapping[str, Any], rejects: Path | None) -> Parts[SeriesTable]:
    parts = read_parts(
        given, rejects, lambda one: look(model, one, lenient=rejects is not None),  # type: ignore[arg-type]
        lambda source, bad: source.read(bad), "rows and series",
    )  # fmt: skip
    for name, table in parts.data.items():
        parts.notes += [note if name == "train" else f"{name}: {note}" for note in table.notes]
    return parts


def _job(model: Forecaster, given: Parts[SeriesTable], fabric: Fabric) -> Job:
    table, notes = given.data["train"], given.notes
    frequency = table.frequency
    horizon = model.horizon_of(frequency)
    lengths = np.array([_observed(model, one) for one in table.series])
    held = _held_out(model, lengths, horizon)
    learn = replace(
        table,
        series=[
            replace(one, values=one.values[:n])
            for one, n in zip(table.series, lengths - held, strict=True)
        ],
    )
    targets = table.columns[: 1 if model.wide else len(model.targets)]
    index = SeriesIndex.build(
        learn, targets, past=model.past, future=model.future, static=model.static,
        per_series=model.per_series, with_calendar=model.calendar,
    )  # fmt: skip
    model.build(index)
    layout = model.layout
    model._history = _end_of(table, lengths, layout)
    train = Windows([index.encode(learn, one, more=layout.horizon) for one in learn.series], layout)
    spans = _training_spans(train.lengths, layout)
    share = (fabric.global_rank, fabric.world_size)
    batches = WindowBatches(
        train, spans, model.batch_size, seed=model.seed, count=model.windows, share=share
    )
    if not batches.total:
        raise DataError(
            f"{given.described['name']}: its longest series has {lengths.max()} numbers, of which "
            f"{held.max()} are held out; with horizon={horizon} that is too short to learn from"
        )
    short = int((lengths < layout.context + layout.horizon).sum())
    if short:
        notes.append(
            f"shorter than context={layout.context} and horizon={horizon} together: {short:,} of "
            f"{len(lengths):,} series; what is missing in front is masked"
        )
    validation, whole = None, table
    if held.any():
        notes.append(
            f"the end of each series is held out for validation, {int(np.median(held)):,} steps"
        )
        windows = Windows([index.encode(table, one) for one in table.series], layout)
        ends = np.stack([lengths - held, np.where(held > 0, lengths - horizon, -1)], 1)
        validation = WindowBatches(windows, ends, 256, seed=None, stride=horizon)
    facts = {
        "train": given.described["name"], "series": len(lengths), "numbers": int(lengths.sum()),
        "frequency": str(frequency), "horizon": horizon, "context": layout.context,
        "segment": layout.segment, "windows": batches.total,
    }  # fmt: skip

    def measure() -> dict[str, Any]:
        metrics: dict[str, Any] = {"model": {}, "baseline": {}, "others": []}
        if validation is not None:
            _add(metrics, "validation", _score(model, whole, lengths - held, learn))
        if "test" in given.data:
            both, known = _behind(model, table, given.data["test"])
            _add(metrics, "test", _score(model, both, known, table))
        return metrics

    return Job(batches, validation, facts, "numbers", measure=measure, notes=notes)


def _observed(model: Forecaster, one: Series) -> int:
    """Steps of a series until the last with a target."""
    targets = one.values[:, : 1 if model.wide else len(model.targets)]
    return int(np.flatnonzero(~np.isnan(targets).all(1))[-1]) + 1


def _held_out(model: Forecaster, lengths: NDArray[np.int64], horizon: int) -> NDArray[np.int64]:
    """Steps at the end of each series that are for validation; none of one that is too short."""
    share = model.validation_fraction
    if share == 0:
        return np.zeros_like(lengths)
    held = np.maximum(horizon, (lengths * share).astype(np.int64))
    held[lengths - held < 2] = 0
    if not held.any():
        raise DataError(
            f"the longest series has {lengths.max()} numbers, too few to hold out a horizon of "
            f"{horizon}; set a smaller horizon, or validation_fraction=0 and monitor=last"
        )
    return held


def _training_spans(lengths: NDArray[np.int64], layout: Layout) -> Spans:
    """Origins with a whole context in front and a whole horizon behind, or what there is."""
    last = np.maximum(lengths - layout.horizon, lengths // 2)
    first = np.minimum(layout.context, np.maximum(1, last // 2))
    return np.stack([first, np.minimum(last, lengths - 1)], 1)


def _end_of(table: SeriesTable, lengths: NDArray[np.int64], layout: Layout) -> SeriesTable:
    """The rows that a forecast at the end reads, and those behind."""
    kept, frequency = [], table.frequency
    for one, length in zip(table.series, lengths.tolist(), strict=True):
        first = max(0, length - layout.context - max(layout.lags, default=0))
        begin = one.start
        if first:
            begin = frequency.after(np.array([one.start]), first)[-1]
        kept.append(Series(one.unique_id, begin, one.values[first:]))
    return replace(table, series=kept, notes=[])


def forecast(model: Forecaster, table: SeriesTable) -> Forecasts:
    """What comes behind series, see `Forecaster.predict`."""
    layout, frequency = model.layout, table.frequency
    records = [model.index.encode(table, one, more=layout.horizon) for one in table.series]
    windows = Windows(records, layout)
    lengths = windows.lengths
    for one, length in zip(table.series, lengths.tolist(), strict=True):
        if model.future and len(one.values) < length + layout.horizon:
            raise DataError(
                f"{_who(one)} must say {', '.join(model.future)} of {layout.horizon} steps behind "
                f"its last number, got {len(one.values) - length}; add rows without a target"
            )
    parts = list(model.say(windows, np.arange(len(records)), lengths))
    stamps = [
        frequency.after(np.array([one.start]), length - 1 + layout.horizon)[-layout.horizon :]
        for one, length in zip(table.series, lengths.tolist(), strict=True)
    ]
    mean, quantiles = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Forecasts(
        [one.unique_id for one in table.series], np.stack(stamps), model.index.targets,
        mean, quantiles, model.quantiles,
    )  # fmt: skip


def score_series(model: Forecaster, table: SeriesTable) -> dict[str, Any]:
    """Scores of what came behind the training data, see `Forecaster.evaluate`."""
    check_scorer()
    both, known = _behind(model, model.history, table)
    return _score(model, both, known, model.history)["this model"]


def _behind(
    model: Forecaster, before: SeriesTable, table: SeriesTable
) -> tuple[SeriesTable, NDArray[np.int64]]:
    """Series with what came before them, and how many steps that is."""
    earlier = {one.unique_id: one for one in before.series}
    frequency, joined, known = table.frequency, [], []
    for one in table.series:
        if one.unique_id not in earlier:
            raise DataError(f"{_who(one)}: training has not seen it, so nothing is known before it")
        old = earlier[one.unique_id]
        steps = _observed(model, old)
        place = int(frequency.places(np.array([old.start, one.start]))[1])
        if place < 0 or place + len(one.values) <= steps:
            raise DataError(
                f"{_who(one)}: begins at {one.start} and has {len(one.values):,} steps; expected "
                "those behind the training data"
            )
        whole = np.full((place + len(one.values), one.values.shape[1]), np.nan)
        whole[: min(len(old.values), len(whole))] = old.values[: len(whole)]
        whole[max(place, steps) :] = one.values[max(place, steps) - place :]
        joined.append(Series(one.unique_id, old.start, whole))
        known.append(steps)
    return replace(table, series=joined), np.array(known)


def _score(
    model: Forecaster, table: SeriesTable, known: NDArray[np.int64], train: SeriesTable
) -> dict[str, dict[str, Any]]:
    """Scores of forecasts from `known` steps of each series on, a horizon after the other."""
    layout, index = model.layout, model.index
    windows = Windows(
        [index.encode(table, one, more=layout.horizon) for one in table.series], layout
    )
    spans = np.stack([known, windows.lengths - 1], 1)
    batches = WindowBatches(windows, spans, 1, seed=None, stride=layout.horizon)
    numbers = np.arange(max(0, batches.total - SCORED), batches.total)
    which, origins = batches.find(numbers)
    parts = list(model.say(windows, which, origins))
    mean, quantiles = (np.concatenate(part) for part in zip(*parts, strict=True))
    place = (windows.begins[which] + origins)[:, None] + np.arange(layout.horizon)
    y = windows.y[place]
    middle = model.quantiles.index(0.5)
    guesses = {"this model": Guess(
        quantiles[..., middle].ravel(), mean.ravel(), quantiles.reshape(-1, len(model.quantiles))
    )}  # fmt: skip
    season = model.season_of(table.frequency)
    seen = [
        _last(windows, n, origin, k, layout, season)
        for n, origin in zip(which.tolist(), origins.tolist(), strict=True)
        for k in range(layout.targets)
    ]
    for name, values in baselines(seen, layout.horizon, season).items():
        point = values.reshape(len(which), layout.targets, -1).transpose(0, 2, 1).ravel()
        guesses[name] = Guess(point, point)
    targets = index.targets
    names = [
        one.unique_id if len(targets) == 1 else f"{one.unique_id} {target}".strip()
        for one in table.series for target in targets
    ]  # fmt: skip
    of_rows = which[:, None, None] * len(targets) + np.arange(len(targets))
    rows = np.broadcast_to(of_rows, (len(which), layout.horizon, len(targets))).ravel()
    seen_in_training = {one.unique_id: one for one in train.series}
    return score_forecasts(
        [names[n] for n in rows], y.ravel(), guesses, levels=model.quantiles, season=season,
        train={
            names[n * len(targets) + k]: seen_in_training[one.unique_id].values[:, k]
            for n, one in enumerate(table.series) for k in range(len(targets))
        },
    )  # fmt: skip


def _last(
    windows: Windows, n: int, origin: int, target: int, layout: Layout, season: int
) -> NDArray[np.float64]:
    """What a baseline sees of a series: as much as the model, or a season more."""
    first = windows.begins[n] + max(0, origin - max(layout.context, 2 * season))
    while True:
        values = windows.y[first : windows.begins[n] + origin, target]
        if not np.isnan(values).all() or first <= windows.begins[n]:
            break
        first = windows.begins[n]
    return np.where(np.isnan(values).all(), 0.0, values)


def _add(metrics: dict[str, Any], part: str, scores: dict[str, dict[str, Any]]) -> None:
    """The model's scores, those of its first baseline, and of the others."""
    ours, first, *others = scores
    metrics["model"][part] = scores[ours]
    metrics["baseline"] |= {"name": first, part: scores[first]}
    for n, name in enumerate(others):
        if n == len(metrics["others"]):
            metrics["others"].append({"name": name})
        metrics["others"][n][part] = scores[name]


def save_history(path: Path, table: SeriesTable) -> None:
    """Write the end of the training data."""
    kind = np.int64 if table.frequency.unit == "step" else "datetime64[us]"
    starts = np.array([one.start for one in table.series]).astype(kind).astype(np.int64)
    tensors = {
        "values": torch.from_numpy(np.concatenate([one.values for one in table.series])),
        "lengths": torch.tensor([len(one.values) for one in table.series]),
        "starts": torch.from_numpy(starts),
    }
    facts: dict[str, Any] = {
        "names": [one.unique_id for one in table.series], "columns": list(table.columns),
        "categories": table.categories, "frequency": str(table.frequency),
    }  # fmt: skip
    save_tensors(path, tensors, facts)


def load_history(path: Path) -> SeriesTable:
    """What `save_history` wrote.

    Raises:
        FolderError: it is damaged.
    """
    tensors, read = load_tensors(path)
    facts: dict[str, Any] = dict(read)
    try:
        frequency = Frequency.named(facts["frequency"])
        kind = np.int64 if frequency.unit == "step" else "datetime64[us]"
        starts = tensors["starts"].numpy().astype(kind)
        values = torch.split(tensors["values"], tensors["lengths"].tolist())
        series = [
            Series(name, begin, part.numpy().copy())
            for name, begin, part in zip(facts["names"], starts, values, strict=True)
        ]
        columns, categories = tuple(facts["columns"]), facts["categories"]
        return SeriesTable(series, columns, categories, frequency, [])
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{path}: is damaged ({error})") from error


def _who(one: Series) -> str:
    return f"series {one.unique_id!r}" if one.unique_id else "the series"


def describe(model: Forecaster, name: str) -> str:
    """The model card, Markdown."""
    layout = model.layout
    segment = f", {layout.segment} steps at a time" if layout.segment > 1 else ""
    return model_card(
        model, name, title="what comes next",
        made=f"{model.cell.upper()}, {model.decoder}, {layout.horizon} steps of "
        f"{model.index.frequency} from the last {layout.context}{segment}",
        columns={"MASE": ("MASE", "{:.3f}"), "ND": ("ND", "{:.4f}"), "wQL": ("wQL", "{:.4f}")},
        use=["model.predict().columns()"],
        end="It says what is likely if the time to come is like the past that it was trained on.",
    )  # fmt: skip
