"""Several inputs of one item, such as a text and a list of words, each in a column of a table.

The first input determines the steps.  The wide part and the simpler models read only this input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.encode.bags import Bag
from elman.encode.encoder import Encoder
from elman.encode.fuse import Fuse
from elman.errors import ArgumentError, DataError
from elman.inputs.input import Array, Guesses, Input, Probabilities, Reader, TargetColumn, pair
from elman.inputs.live import LiveInput, Step
from elman.inputs.settings import InputSettings
from elman.manifest import INPUTS, check_parts, start_manifest
from elman.padded import Joint, row_of
from elman.read.columns import Table
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.frames import is_frame
from elman.read.rows import Rows, Source
from elman.state import State, hash_of

UNITS = 32  # units of the layer that reads an input other than the first


class FusedReader(Reader):
    """The reader of several inputs, each in a column.

    Args:
        settings: settings of the inputs.
        parts: readers by the names of their columns; the first determines the steps.
    """

    kind, noun = "fused", "rows"

    def __init__(self, settings: InputSettings, parts: Mapping[str, Reader]) -> None:
        super().__init__(settings)
        self.parts, self.columns = dict(parts), tuple(parts)
        self.first = next(iter(self.parts.values()))
        self.unit = self.first.unit

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> Source:
        """Return a source of the columns and the targets, see `Reader.open`."""
        source, targets = pair(given)
        names = [*self.columns, *([target.name or target.noun] if labelled else [])]
        if is_path(source):
            if targets is not None:
                raise ArgumentError("several inputs must be in one table, with their targets")
            for part in self.parts.values():
                part.folder = Path(source).parent
            return Rows(
                source,
                names,
                encoding=self.settings.encoding,
                lenient=lenient,
                delimiter=self.settings.delimiter,
            )
        if not is_frame(source):
            raise ArgumentError(
                f"several inputs must be a table or a dict with the columns "
                f"{', '.join(self.columns)}, got {type(source).__name__}"
            )
        if targets is None:
            return Table(source).rows(names)
        first, *others = Table(source).rows(self.columns).lists
        return Rows(first, names, parallel=[*others, target.values(targets)])

    def row(self, values: Sequence[Any], place: str) -> tuple[Any, ...]:
        """Return the item of each column."""
        pairs = zip(self.parts.values(), values, strict=False)
        return tuple(part.item(cell, place) for part, cell in pairs)

    def item(self, cell: Any, place: str) -> Any:
        """Raise an error: several inputs are in several columns."""
        raise DataError(f"{place}: expected the columns {', '.join(self.columns)}")

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[tuple[Any, ...]]:
        """Return the items of a table without targets; items are returned unchanged."""
        count = len(self.columns)
        if isinstance(data, list) and all(
            isinstance(one, tuple) and len(one) == count for one in data
        ):
            return data
        source = self.open(data, target, labelled=False)
        assert isinstance(source, Rows)
        found = []
        for place, values in source.read():
            if isinstance(values, DataError):
                raise values
            cells = zip(self.parts.values(), values, strict=False)
            found.append(tuple(part.item_given(cell, place) for part, cell in cells))
        return found

    def length(self, item: tuple[Any, ...]) -> int:
        """Return the number of elements of the first input."""
        return self.first.length(item[0])

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Fused:
        """Return the inputs, learned from the training data."""
        return Fused(
            self,
            [
                part.learn(column(train, n), notes, classes=0 if n else classes)
                for n, part in enumerate(self.parts.values())
            ],
        )

    def load(self, folder: Path) -> Fused:
        """Return the inputs of a model folder."""
        parts = []
        for n, part in enumerate(self.parts.values()):
            check_parts(folder / INPUTS / str(n))
            parts.append(part.load(folder / INPUTS / str(n)))
        return Fused(self, parts)


class Fused(Input):
    """Several inputs after training.

    Args:
        reader: the reader of the inputs.
        parts: the inputs; the first determines the steps.
    """

    reader: FusedReader

    def __init__(self, reader: FusedReader, parts: Sequence[Input]) -> None:
        self.reader, self.parts, self.first = reader, list(parts), parts[0]
        self.features = self.first.features
        self.use = (f"model.predict(table)  # columns: {', '.join(map(repr, reader.columns))}",)

    def save(self, folder: Path) -> None:
        """Write each input to its own folder."""
        for n, part in enumerate(self.parts):
            inside = folder / INPUTS / str(n)
            inside.mkdir(parents=True, exist_ok=True)
            start_manifest(inside)
            part.save(inside)

    def encode(self, items: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the arrays of all inputs of each item."""
        arrays = [part.encode([item[n] for item in items]) for n, part in enumerate(self.parts)]
        return [Joint(first, tuple(others)) for first, *others in zip(*arrays, strict=True)]

    def layer(self, settings: InputSettings) -> tuple[Encoder, int]:
        """Return an encoder that joins the encoders of the inputs, and its features."""
        encoders, sizes = zip(*(part.layer(settings) for part in self.parts), strict=True)
        fuse = Fuse(encoders, sizes, units=UNITS)
        return fuse, fuse.size

    def start(self, layer: nn.Module) -> None:
        """Copy initial values, such as word vectors, into the encoders."""
        assert isinstance(layer, Fuse)
        for part, encoder in zip(self.parts, layer.encoders, strict=True):
            part.start(encoder)

    def steps(self, item: tuple[Any, ...]) -> NDArray[np.int64]:
        """Return the step to which each element of the first input belongs."""
        return self.first.steps(item[0])

    def bag(self, items: Sequence[tuple[Any, ...]]) -> Bag | None:
        """Return the inputs of the wide part, which reads the first input."""
        return self.first.bag([item[0] for item in items])

    def live(self, static: Mapping[str, object]) -> LiveInput:
        """Return an item whose first input arrives element by element.

        Args:
            static: the other inputs, which are complete, by the names of their columns.
        """
        names = self.reader.columns[1:]
        if static.keys() != set(names):
            shown = ", ".join(static) or "none"
            raise ArgumentError(f"stream needs the inputs {', '.join(names)}, got {shown}")
        others = tuple(
            part.encode([part.reader.item_given(static[name], name)])[0]
            for name, part in zip(names, self.parts[1:], strict=True)
        )
        return LiveFused(self.first.live({}), others)

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

    def elements(self, item: tuple[Any, ...]) -> list[str]:
        """Return the name of each step, which is that of the first input."""
        return self.first.elements(item[0])

    def show(self, item: tuple[Any, ...]) -> str:
        """Return the inputs of an item as lines, for the report."""
        rows = zip(self.reader.columns, self.parts, item, strict=True)
        return "\n".join(f"{name}: {part.show(one)}" for name, part, one in rows)

    @property
    def wide(self) -> str:
        """The features of the wide part, for messages."""
        return self.first.wide

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
        """Return the probabilities of simpler models of the first input."""
        parts = {name: column(part, 0) for name, part in others.items()}
        return self.first.label_baselines(column(train, 0), targets, parts, classes)

    def tag_baselines(
        self, train: Examples, targets: list[NDArray[np.int64]], others: Mapping[str, Examples]
    ) -> list[Guesses]:
        """Return the tags of simpler models of the first input."""
        parts = {name: column(part, 0) for name, part in others.items()}
        return self.first.tag_baselines(column(train, 0), targets, parts)


class LiveFused(LiveInput):
    """An item of several inputs; the first arrives element by element, the others are complete."""

    def __init__(self, first: LiveInput, others: tuple[Array, ...]) -> None:
        self._first, self._others = first, others

    @property
    def key(self) -> str:  # type: ignore[override]
        """A hash of the other inputs."""
        return hash_of(self._first.key, *(row_of(one).tolist() for one in self._others))

    @property
    def state(self) -> State:
        """Return a copy of the state of the first input."""
        return self._first.state

    def restore(self, state: State) -> None:
        """Continue from a state of the first input."""
        self._first.restore(state)

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Read the next element of the first input."""
        complete, draft = self._first.push(element, at)
        return self._joined(complete), self._joined(draft)

    def finish(self) -> Step | None:
        """Return the steps that are complete because no element follows."""
        return self._joined(self._first.finish())

    def _joined(self, step: Step | None) -> Step | None:
        if step is None:
            return None
        assert not isinstance(step.array, Joint)
        return step._replace(array=Joint(step.array, self._others))


def column(examples: Examples, number: int) -> Examples:
    """Return examples that have only one of their inputs."""
    return replace(examples, items=[item[number] for item in examples.items])
