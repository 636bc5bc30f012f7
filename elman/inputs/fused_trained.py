"""Several inputs of one item after training: their numbers, their layers, their messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.cores import is_timed
from elman.encode.bags import NOTHING, Bag, join_bags
from elman.encode.encoder import Encoder
from elman.encode.fuse import Fuse, ReadMoments, ReadSequence, ReadValue
from elman.errors import ArgumentError
from elman.inputs.fused_baselines import fused_baselines
from elman.inputs.fused_files import FILES, MissingFiles, is_missing, notes_of
from elman.inputs.input import Guesses, Input, Probabilities, Reader
from elman.inputs.live import LiveInput
from elman.inputs.live_fused import Arriving, Clock, LiveFused, Moments
from elman.inputs.settings import InputSettings
from elman.manifest import INPUTS, start_manifest
from elman.padded import Joint
from elman.read.examples import Examples
from elman.read.recordings import Recording

if TYPE_CHECKING:
    from elman.encode.encoder import Change

UNITS = 8  # features of the vector of a value, at most hidden_size
DROPPED = 0.3  # default probability of dropping a whole input in training


def _place(part: Input) -> str:
    """Return the place of a value that is given to `stream`, for messages."""
    return f"stream: column {part.reader.column!r}" if part.reader.kind in FILES else "stream"


def starts_of(item: Any) -> float | None:
    """Return the first stamp of an item in seconds; None without stamps."""
    return item.starts if isinstance(item, Recording) else None


def _offset(clock: Clock, main: Any, own: Any) -> float:
    return clock.offset(starts_of(main), starts_of(own))


class Fused(Input):
    """Several inputs after training.

    Args:
        reader: the reader of the inputs.
        parts: the inputs; the first is the main input.
    """

    def __init__(self, reader: Reader, parts: Sequence[Input]) -> None:
        self.reader, self.parts, self.first = reader, list(parts), parts[0]
        self.features = sum(part.features for part in self.parts)
        self.step_seconds, self.channels = self.first.step_seconds, self.first.channels
        self.use = (f"model.predict(table)  # columns: {', '.join(map(repr, reader.columns))}",)

    def save(self, folder: Path) -> None:
        """Write each input to its own folder."""
        for n, part in enumerate(self.parts):
            inside = folder / INPUTS / str(n)
            inside.mkdir(parents=True, exist_ok=True)
            start_manifest(inside)
            part.save(inside)

    def encode(self, items: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the arrays of all inputs of each item; None for a missing input."""
        columns: list[list[Any]] = []
        for n, part in enumerate(self.parts):
            there = [item[n] for item in items if item[n] is not None]
            arrays = iter(part.encode(there) if there else ())
            columns.append([None if item[n] is None else next(arrays) for item in items])
            if (clock := self._clock(part)).ratio:
                columns[n] = [
                    None
                    if one is None or main is None
                    else Moments(one, len(main), clock.ratio, _offset(clock, item[0], item[n]))
                    for one, main, item in zip(columns[n], columns[0], items, strict=True)
                ]
        return [Joint(first, tuple(others)) for first, *others in zip(*columns, strict=True)]

    def _clock(self, part: Input) -> Clock:
        """Return the place of the steps of an input; it is read as a whole without early fusion."""
        early = self.reader.settings.fusion == "early" and part is not self.first
        even = early and not part.reader.static
        return Clock(self.first.step_seconds / part.step_seconds if even else 0, part.step_seconds)

    def layer(self, settings: InputSettings) -> tuple[Encoder, int]:
        """Return an encoder that joins the encoders of the inputs, and its features."""
        layers = (part.layer(part.reader.settings) for part in self.parts)
        encoders, sizes = zip(*layers, strict=True)
        most, read = min(UNITS, settings.sizes[0]), settings.sizes[0]
        readers: list[nn.Module] = []
        units = []
        for part, size in zip(self.parts[1:], sizes[1:], strict=True):
            if part.reader.static:
                readers.append(ReadValue(size, most))
                units.append(most)
            elif self._clock(part).ratio:
                readers.append(ReadMoments())
                units.append(size)
            else:
                attends = settings.fusion == "attention"
                reader = ReadSequence(size, read, sizes[0] if attends else None)
                readers.append(reader)
                units.append(reader.size)
        dropped = DROPPED if settings.drop_inputs is None else settings.drop_inputs
        whole = not settings.each_step or settings.group is not None  # a step is a whole row
        fuse = Fuse(
            encoders,
            sizes,
            readers,
            units,
            dropped=dropped,
            main_dropped=whole,
            main_plain=is_timed(settings.cell),
        )
        return fuse, fuse.size

    def start(self, layer: nn.Module) -> None:
        """Copy initial values, such as word vectors, into the encoders."""
        assert isinstance(layer, Fuse)
        for part, encoder in zip(self.parts, layer.encoders, strict=True):
            part.start(encoder)

    def change(self) -> Change | None:
        """Return the augmentation of all inputs."""
        changes = [part.change() for part in self.parts]
        if not any(changes):
            return None

        def changed(joint: Joint, draw: np.random.Generator) -> tuple[Any, NDArray[np.int64]]:
            places = np.arange(len(joint))
            arrays: list[Any] = []
            for n, (array, change) in enumerate(
                zip((joint.first, *joint.others), changes, strict=True)
            ):
                inner: Any = array.array if isinstance(array, Moments) else array
                if change is not None and inner is not None:
                    inner, moved = change(inner, draw)
                    places = places if n else moved
                if isinstance(array, Moments):
                    inner = array.changed(inner, len(arrays[0]))
                arrays.append(inner)
            return Joint(arrays[0], tuple(arrays[1:])), places

        return changed

    def steps(self, item: tuple[Any, ...]) -> NDArray[np.int64]:
        """Return the step to which each element of the main input belongs."""
        return np.zeros(0, np.int64) if item[0] is None else self.first.steps(item[0])

    def bag(self, items: Sequence[tuple[Any, ...]]) -> Bag | None:
        """Return the inputs of the wide part: those of each input."""
        bags, rows, sizes = [], [], []
        for n, part in enumerate(self.parts):
            there = [row for row, item in enumerate(items) if item[n] is not None]
            bag = part.bag([items[row][n] for row in there]) if there else NOTHING
            if part.features and bag is not None:
                bags.append(bag)
                rows.append(there)
                sizes.append(part.features)
        return join_bags(bags, rows, sizes, len(items)) if bags else None

    def live(self, static: Mapping[str, object]) -> LiveInput:
        """Return an item whose first input arrives element by element.

        Args:
            static: the other inputs, which are complete, by the names of their columns.  With early
                fusion, sequences that are not named arrive element by element, too.
        """
        names = self.reader.columns[1:]
        clocks = [self._clock(part) for part in self.parts[1:]]
        needed = {name for name, clock in zip(names, clocks, strict=True) if not clock.ratio}
        if not needed <= static.keys() <= set(names):
            shown = ", ".join(static) or "none"
            raise ArgumentError(
                f"stream needs the other inputs by name, None for a missing one: "
                f"{', '.join(names)}; got {shown}"
            )
        given: list[Any] = []
        others: list[Any] = []
        files = MissingFiles() if self.reader.settings.missing_files else None
        features, first = self.first.features, self.first.live({})
        for name, part, clock in zip(names, self.parts[1:], clocks, strict=True):
            cell, item = static.get(name), None
            if not is_missing(part.reader, cell, files):
                item = part.reader.item_given(cell, _place(part))
            given.append(item)
            if name in static:
                others.append(None if item is None else part.encode([item])[0])
            else:
                others.append(Arriving(part.live({}), first, clock, features))
            features += part.features
        bag = self.bag([(None, *given)])
        starts = [starts_of(one) for one in given]
        names = self.reader.columns
        return LiveFused(first, others, clocks, starts, bag, names, self.features)

    def epochs(self, count: int) -> int:
        """Return the default number of epochs for a number of examples."""
        return self.first.epochs(count)

    # Reports.

    def facts(self) -> dict[str, object]:
        """Return the sizes of the inputs, for the report."""
        facts: dict[str, object] = {}
        for name, part in zip(self.reader.columns, self.parts, strict=True):
            facts |= {f"{name}_{key}": value for key, value in part.facts().items()}
        return facts

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], arrays: Sequence[Any]
    ) -> list[str]:
        """Return the notes of each input, with the name of its column."""
        parts = dict(zip(self.reader.columns, self.parts, strict=True))
        return notes_of(parts, train, others, arrays)

    def elements(self, item: tuple[Any, ...]) -> list[str]:
        """Return the name of each step, which is that of the main input."""
        return [] if item[0] is None else self.first.elements(item[0])

    def show(self, item: tuple[Any, ...]) -> str:
        """Return the inputs of an item as lines, for the report."""
        rows = zip(self.reader.columns, self.parts, item, strict=True)
        return "\n".join(
            f"{name}: {'(missing)' if one is None else part.show(one)}" for name, part, one in rows
        )

    @property
    def wide(self) -> str:
        """The features of the wide part, for messages."""
        return ", ".join(part.wide for part in self.parts if part.features)

    @property
    def made(self) -> str:
        """A description of the inputs, for the model card."""
        pairs = zip(self.reader.columns, self.parts, strict=True)
        return "; ".join(f"{name}: {part.made}" for name, part in pairs)

    # Simpler models, for comparison.

    def sklearn_baselines(self, *, each: bool) -> str:
        """Return the names of the simpler models that need scikit-learn."""
        return self.first.sklearn_baselines(each=each)

    def label_baselines(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> list[Probabilities]:
        """Return the probabilities of simpler models of the inputs, together and one by one."""
        named = dict(zip(self.reader.columns, self.parts, strict=True))
        return fused_baselines(named, self.bag, train, targets, others, classes)

    def tag_baselines(
        self, train: Examples, targets: list[NDArray[np.int64]], others: Mapping[str, Examples]
    ) -> list[Guesses]:
        """Return the tags of simpler models of the first input."""
        parts = {name: part.column(0) for name, part in others.items()}
        return self.first.tag_baselines(train.column(0), targets, parts)
