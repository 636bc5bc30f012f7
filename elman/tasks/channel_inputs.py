"""Inputs that a classifier and a tagger of recordings share: how channels are read and encoded."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.encode.augment import Augment
from elman.encode.recordings import RecordingIndex
from elman.encode.scale import NEVER
from elman.encode.series import SeriesEmbed
from elman.errors import ArgumentError, FolderError
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Layout, Recording, Recordings, is_arrays
from elman.read.rows import Rejects
from elman.tasks.folder import SERIES, read_index, write_json
from elman.tasks.labelled_data import columns_set
from elman.tasks.parts import LOG
from elman.tasks.settings import dialect_of

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier
    from elman.tasks.tagger import Tagger

LEAST = 2000  # fewest examples of an epoch, if `examples` is not set


def reads_recordings(model: Classifier | Tagger, given: Any = None) -> bool:
    """Return whether a model reads recordings, given its data: a source, or (source, labels)."""
    source = given[0] if isinstance(given, tuple) else given
    return (
        bool(model.channels or model.variable)
        or model._described.get("inputs") == "recordings"
        or is_arrays(source)
    )


class ChannelInputs:
    """Recordings, which are channels over time.

    Args:
        index: statistics of the channels in the training data.
    """

    kind = "recordings"
    warning = (
        " If predictions affect people, such as patients or drivers, a person must decide: the "
        "model was tested only on the data above. It is not a medical device and not a safety "
        "device."
    )
    use = ("model.predict([array])  # (T, channels)", "live = model.stream(); live.push([...])")

    def __init__(self, index: RecordingIndex) -> None:
        self.index = index

    @staticmethod
    def look(
        model: Classifier | Tagger, given: Any, *, lenient: bool = False, labelled: bool = True
    ) -> RecordingSource:
        """Return a source of recordings and labels, given a source or (source, labels).

        Raises:
            ArgumentError: arrays have no labels although labels are needed.
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

    @classmethod
    def load(cls, model: Classifier | Tagger, folder: Path, *, fresh: bool = False) -> Any:  # noqa: ARG003
        """Load the inputs from a folder; `fresh` makes no difference."""
        index = load_index(folder)
        if tuple(index.static) != model.static:
            raise FolderError(
                f"{folder / SERIES}: its static columns are {index.static}, but config.json has "
                f"{list(model.static)}; put the right file back"
            )
        return cls(index)

    @property
    def channels(self) -> int:
        """The number of channels."""
        return len(self.index.channels)

    def save(self, folder: Path) -> None:
        """Write the inputs to a folder."""
        write_json(folder / SERIES, asdict(self.index))

    def given(self, model: Classifier | Tagger, items: Any) -> list[Recording]:
        """Return recordings for prediction, given arrays, a table, or a table and its spans."""
        if isinstance(items, list) and all(isinstance(one, Recording) for one in items):
            return items
        source = self.look(model, items, labelled=False)
        found = read_like(source, Rejects(None), self.like)
        for note in found.notes:
            LOG.info(note)
        return found.items

    @property
    def like(self) -> RecordingIndex:
        """The index by which other data are read."""
        return self.index

    def embed(self, model: Classifier | Tagger) -> tuple[SeriesEmbed, int]:
        """Return the layer that reads steps, with new weights, and its number of features."""
        layer = SeriesEmbed(
            self.index.features, [], size=model.embedding_size,
            input_dropout=model.input_dropout or 0.0,
        )  # fmt: skip
        return layer, layer.size

    def change(self, model: Classifier | Tagger) -> Augment | None:
        """Return the augmentation of training arrays; None without one."""
        augment = Augment(len(self.index.channels), model.jitter, model.rescale, model.warp)
        return augment if augment else None

    def facts(self) -> dict[str, object]:
        """Return facts about the inputs for the report."""
        index = self.index
        facts: dict[str, object] = {"channels": len(index.channels), "features": index.features}
        if index.rate is not None:
            facts["rate"] = f"{index.rate:g} steps per second"
        return facts

    @property
    def made(self) -> str:
        """The description of the inputs for the model card."""
        index = self.index
        static = f"; static: {', '.join(index.static)}" if index.static else ""
        return f"channels: {', '.join(index.channels)}{static}"


def layout_of(model: Classifier | Tagger) -> Layout:
    """Return the names of the columns."""
    return Layout(
        tuple(model.channels), tuple(model.static),
        str(getattr(model, "label", None) or getattr(model, "tags", None) or "label"),
        model.variable, model.value, model.unique_id, model.ds, model.ds_format,
        str(getattr(model, "background", "none")), model.encoding,
        bool(getattr(model, "several", False)), model.rate, dialect=dialect_of(model),
    )  # fmt: skip


def read_like(
    source: RecordingSource, rejects: Rejects, like: Recordings | RecordingIndex | None
) -> Recordings:
    """Return all recordings of a source, with the channels and stamps of the training data.

    If only one of the two has stamps, rows are evenly spaced, as they are live without `at`.
    """
    if like is None:
        return source.read(rejects)
    source.layout = replace(source.layout, channels=tuple(like.channels), unit=like.unit)
    found = source.read(rejects)
    if found.timed == like.timed:
        return found
    step = like.step if like.timed else 1.0
    rows = [step * np.arange(len(one), dtype=np.float64) for one in found.items]
    items = [replace(one, times=t) for one, t in zip(found.items, rows, strict=True)]
    return replace(found, items=items, timed=like.timed)


def learn_index(model: Classifier | Tagger, found: Recordings, notes: list[str]) -> RecordingIndex:
    """Return the index of the training data; add what a user should know to the notes."""
    notes.extend(found.notes)
    decays = model.cell == "grud"
    index = RecordingIndex.build(
        found, static=model.static, rate=model.rate, elapsed=model.elapsed or decays or None,
        decays=decays, strict=bool(model.channels or not model.variable),
    )  # fmt: skip
    never = [name for name in index.channels if index.units[name][1] == NEVER]
    if never:
        notes.append(
            f"channels that never change in the training data are not read: {', '.join(never)}"
        )
    if index.gappy:
        shown = ", ".join(index.gappy[:5])
        more = f" and {len(index.gappy) - 5} more" if len(index.gappy) > 5 else ""
        notes.append(f"{shown}{more}: values are missing; a mask is read along with the channels")
    if index.tails:
        notes.append(f"channels with a long tail are read as logarithms: {', '.join(index.tails)}")
    if index.elapsed and model.elapsed is None:
        notes.append(
            f"steps are uneven, mostly {index.step:g} s apart, so the time between them is read"
        )
    return index


def load_index(folder: Path) -> RecordingIndex:
    """Return the index that `save` wrote; FolderError if it is damaged."""
    return read_index(folder / SERIES, RecordingIndex)


def often(model: Classifier | Tagger, count: int) -> int:
    """Return how many times an epoch reads `count` examples."""
    if model.examples is not None:
        return max(1, round(model.examples / count))
    return max(1, -(-LEAST // count))
