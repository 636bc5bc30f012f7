"""What a classifier or a tagger reads, if it is recordings: rows to arrays, windows, baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.augment import Augment
from elman.encode.recordings import NEVER, RecordingIndex, windows_of
from elman.encode.series import SeriesEmbed
from elman.errors import ArgumentError, DataError, FolderError
from elman.model import SequenceModel
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Layout, Recording, Recordings, is_arrays
from elman.read.rows import Rejects
from elman.report.window_statistics import Windows, by_forest, by_regression
from elman.tasks.folder import SERIES, read_json, write_json
from elman.tasks.labelled_data import Examples, columns_set, labels_of

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier
    from elman.tasks.tagger import Tagger

LEAST = 2000  # examples of an epoch, if nothing else is set


def reads_recordings(model: Classifier | Tagger, source: Any = None) -> bool:
    """Whether that is what a model, or what it is given, is about."""
    return (
        bool(model.channels or model.variable)
        or model._described.get("inputs") == "recordings"
        or is_arrays(source)
    )


class RecordingInputs:
    """Recordings.

    Args:
        index: what training has seen of them.
    """

    title = "a classifier of recordings"
    warning = (
        " Where its answers affect people, such as patients or drivers, people must decide: it was "
        "tested on the data above and on no others, and is no medical device and no safety device."
    )
    kind = "recordings"
    use = ("model.predict([array])  # (T, channels)", "live = model.stream(); live.push([...])")

    def __init__(self, index: RecordingIndex) -> None:
        self.index = index

    # Reading.

    @staticmethod
    def look(
        model: Classifier | Tagger, given: Any, *, lenient: bool = False, labelled: bool = True
    ) -> RecordingSource:
        """Recordings and labels from what a user gives: a source, or a source and labels.

        Raises:
            ArgumentError: arrays without labels, if these are needed.
        """
        source, labels = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        if isinstance(source, list | tuple) and not is_arrays(source):
            source = [np.asarray(one) for one in source]  # lists of numbers
        if labels is None and labelled and is_arrays(source):
            raise ArgumentError("arrays need their labels: fit(arrays, labels)")
        each = model.task == "tagger"
        if is_arrays(source) and not each:
            labels = columns_set(labels, several=bool(getattr(model, "several", False)))
        return RecordingSource(
            source, labels, layout_of(model), each=each, labelled=labelled, lenient=lenient
        )

    @staticmethod
    def collect(
        model: Classifier, source: RecordingSource, rejects: Rejects, like: Examples | None = None
    ) -> Examples:
        """All recordings that have a label; the others go to `rejects`."""
        found = read_like(source, rejects, like.facts["channels"] if like else ())
        examples = Examples(facts={"channels": found.channels, "found": found})
        for one, label, place in zip(found.items, found.labels, found.places, strict=True):
            try:
                labels = labels_of(label, place, model)
            except DataError as error:
                rejects.add(place, error)
            else:
                examples.add(one, labels, place)
        if not examples.items:
            raise DataError(f"{source.name}: no recording has a label; expected many")
        return examples

    @classmethod
    def learn(cls, model: Classifier, train: Examples, notes: list[str]) -> RecordingInputs:
        """Channels and units of the training data."""
        found: Recordings = train.facts["found"]
        notes.extend(found.notes)
        return cls(learn_index(model, replace(found, items=train.items), notes))

    @classmethod
    def load(cls, _model: Classifier | Tagger, folder: Path, *, fresh: bool = False) -> Any:  # noqa: ARG003
        """From a folder; the weights begin the same way in any case."""
        return cls(load_index(folder))

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.index.channels)

    def save(self, folder: Path) -> None:
        """Write them to a folder."""
        write_json(folder / SERIES, asdict(self.index))

    def given(self, model: Classifier | Tagger, items: Any) -> list[Recording]:
        """What a user asks of: arrays, a table, or a pair of a table and one of spans."""
        if isinstance(items, list) and all(isinstance(one, Recording) for one in items):
            return items
        source = self.look(model, items, labelled=False)
        return self.read(source, Rejects(None)).items

    def read(self, source: RecordingSource, rejects: Rejects) -> Recordings:
        """Recordings of the channels of the training."""
        return self.timed(read_like(source, rejects, tuple(self.index.channels)))

    def timed(self, found: Recordings) -> Recordings:
        """Rows without stamps are usual steps apart, as live; of a training without, all are."""
        if self.index.timed and not found.timed:
            step = self.index.step
        elif found.timed and not self.index.timed:
            step = 1.0
        else:
            return found
        rows = [step * np.arange(len(one), dtype=np.float64) for one in found.items]
        items = [replace(one, times=t) for one, t in zip(found.items, rows, strict=True)]
        return replace(found, items=items)

    @staticmethod
    def groups(items: Sequence[Recording]) -> list[str] | None:
        """Of spans that overlap the names of their recordings, which are held out as a whole."""
        last: dict[str, Any] = {}
        for one in sorted(items, key=lambda one: (one.unique_id, one.begin)):
            if one.unique_id in last and one.begin <= last[one.unique_id]:
                return [one.unique_id for one in items]
            last[one.unique_id] = one.stamps[-1] if len(one) else one.begin
        return None

    # To numbers.

    def prepare(self, model: Classifier | Tagger, notes: list[str]) -> None:
        """Refuse what only texts have."""
        for name in ("vectors", "start_from"):
            if getattr(model, name, None) is not None:
                raise ArgumentError(f"{name} is for texts, not for recordings")

    def embed(self, model: Classifier | Tagger) -> tuple[SeriesEmbed, int]:
        """The layer that reads steps, with fresh weights, and its features."""
        layer = SeriesEmbed(
            self.index.features, [], size=model.embedding_size,
            input_dropout=model.input_dropout or 0.0,
        )  # fmt: skip
        return layer, layer.size

    def begin(self, network: SequenceModel) -> None:
        """There is nothing to start from."""

    def encode(
        self, model: Classifier | Tagger, items: Sequence[Recording]
    ) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
        """Arrays (T, F) of recordings or of their windows, and of which each is."""
        arrays, owners = [], []
        for n, one in enumerate(items):
            whole = self.index.encode(one)
            for begin, end in windows_of(len(whole), model.window, model.overlap):
                arrays.append(whole[begin:end])
                owners.append(n)
        return arrays, np.array(owners, dtype=np.int64)

    def change(self, model: Classifier | Tagger) -> Augment | None:
        """What training changes of an array."""
        augment = Augment(len(self.index.channels), model.jitter, model.rescale, model.warp)
        return augment if augment else None

    # To people.

    def facts(self) -> dict[str, object]:
        """For the report."""
        index = self.index
        facts: dict[str, object] = {"channels": len(index.channels), "features": index.features}
        if index.rate is not None:
            facts["rate"] = f"{index.rate:g} steps a second"
        return facts

    def notes_on(
        self, model: Classifier | Tagger, train: Examples, others: dict[str, Examples],
        encoded: Iterable[NDArray[Any]],
    ) -> list[str]:  # fmt: skip
        """What a user should know of the recordings."""
        lengths = sorted(map(len, encoded))
        what = "windows" if model.window else "recordings"
        return [
            f"{len(lengths):,} {what} of {lengths[0]:,} to {lengths[-1]:,} steps, the median has "
            f"{lengths[len(lengths) // 2]:,}"
        ]

    def baselines(
        self, model: Classifier, parts: dict[str, Examples], targets: Tensor, names: Sequence[str]
    ) -> list[tuple[str, dict[str, Tensor]]]:
        """Probabilities of other models, by name and part of the data."""
        train = self.windows(model, parts["train"].items)
        others = {name: self.windows(model, parts[name].items) for name in names}
        found = []
        for fit in (by_forest, by_regression):
            one = fit(train, targets, others, len(model.classes))
            if one is not None:
                found.append(one)
        return found

    def windows(self, model: Classifier, items: Sequence[Recording]) -> Windows:
        """Channels of windows, their static columns, and of which recording each is."""
        arrays, fixed, owners = [], [], []
        for n, one in enumerate(items):
            whole = self.index.resampled(one)
            for begin, end in windows_of(len(whole), model.window, model.overlap):
                arrays.append(whole.values[begin:end])
                fixed.append(self.index.fixed(one.static))
                owners.append(n)
        return arrays, np.array(fixed), np.array(owners)

    def sample(self, one: Recording) -> str:
        """For the report."""
        means = np.nanmean(np.where(np.isnan(one.values).all(0), 0, one.values), axis=0)
        shown = ", ".join(
            f"{name} {mean:.4g}" for name, mean in zip(self.index.channels, means, strict=True)
        )
        return f"{one.unique_id}: {len(one):,} steps; means: {shown}"

    @property
    def made(self) -> str:
        """For the model card."""
        index = self.index
        static = f"; static: {', '.join(index.static)}" if index.static else ""
        return f"channels: {', '.join(index.channels)}{static}"


def layout_of(model: Classifier | Tagger) -> Layout:
    """How columns are named."""
    return Layout(
        tuple(model.channels), tuple(model.static),
        str(getattr(model, "label", None) or getattr(model, "tags", None) or "label"),
        model.variable, model.value, model.unique_id, model.ds, model.ds_format,
        str(getattr(model, "background", "none")), model.encoding,
        bool(getattr(model, "several", False)),
    )  # fmt: skip


def read_like(source: RecordingSource, rejects: Rejects, channels: tuple[str, ...]) -> Recordings:
    """All recordings, of the channels of the training if there are some."""
    if channels:
        source.layout = replace(source.layout, channels=channels)
    return source.read(rejects)


def learn_index(model: Classifier | Tagger, found: Recordings, notes: list[str]) -> RecordingIndex:
    """What training sees, and how it is told."""
    decays = model.cell == "grud"
    index = RecordingIndex.build(
        found, static=model.static, rate=model.rate, elapsed=model.elapsed or decays or None,
        decays=decays, strict=bool(model.channels or not model.variable),
    )  # fmt: skip
    never = [name for name in index.channels if index.units[name][1] == NEVER]
    if never:
        notes.append(f"variables of held-out data only, which say nothing: {', '.join(never)}")
    if index.gappy:
        shown = ", ".join(index.gappy[:5])
        more = f" and {len(index.gappy) - 5} more" if len(index.gappy) > 5 else ""
        notes.append(f"values are missing of {shown}{more}; they are masked")
    if index.tails:
        notes.append(f"channels with a long tail, read as logarithms: {', '.join(index.tails)}")
    if index.elapsed and model.elapsed is None:
        notes.append(
            f"steps are mostly {index.step:g} s apart, but not evenly: the time between is read"
        )
    return index


def load_index(folder: Path) -> RecordingIndex:
    """What `save` wrote; FolderError if it is damaged."""
    try:
        return RecordingIndex(**read_json(folder / SERIES))
    except TypeError as error:
        raise FolderError(f"{folder / SERIES}: is damaged ({error})") from error


def often(model: Classifier | Tagger, count: int) -> int:
    """How often an epoch goes through so many examples."""
    if model.examples is not None:
        return max(1, round(model.examples / count))
    return max(1, -(-LEAST // count))
