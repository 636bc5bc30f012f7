"""Items whose steps are rows of a table, each of which is a sequence or has several inputs itself.

    conversation  utterance            sentiment        a text is read for each step
    video         words  voice  face   sentiment        several inputs are read for each step

A conversation is all rows with the same value in the column `group`, in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.encode.bags import Bag
from elman.encode.encoder import Encoder
from elman.encode.nest import Nest
from elman.errors import ArgumentError, DataError
from elman.inputs.fused import FusedReader
from elman.inputs.fused_files import files_among
from elman.inputs.input import Guesses, Input, Probabilities, Reader, folder_of
from elman.inputs.live import LiveInput
from elman.inputs.live_nested import LiveRows
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.manifest import INPUTS, check_parts, start_manifest
from elman.padded import Nested
from elman.read.columns import Table
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.frames import is_frame
from elman.read.recordings import is_blank
from elman.read.rows import Rejects, Rows, Source

if TYPE_CHECKING:
    from elman.encode.encoder import Change

SHOWN = 8  # rows of an item in the report


class Group(list[Any]):
    """The items of the rows of one group.

    Attributes:
        name: value of the column `group`.
        place: where the first row was read.
        targets: cells of the targets, if there are any.
    """

    def __init__(self, name: str, place: str) -> None:
        super().__init__()
        self.name, self.place = name, place
        self.targets: list[Any] = []

    def add(self, item: Any, target: Any) -> None:
        """Add a row."""
        self.append(item)
        self.targets.append(target)


class NestedReader(Reader):
    """The reader of groups of rows.

    Args:
        inner: the reader of a row; its setting `group` is a column.
    """

    kind, noun, unit, row_is, least = "groups", "groups", "rows", "a step", 500

    def __init__(self, inner: Reader) -> None:
        super().__init__(inner.settings)
        assert inner.settings.group is not None
        self.inner, self.group = inner, inner.settings.group
        self.columns = inner.columns
        self.named_by = (*inner.named_by, "group")  # type: ignore[misc]

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> Source:
        """Return a source of the columns, the groups and the targets, see `Reader.open`."""
        source, targets = pair(given)
        if targets is not None or not (is_path(source) or is_frame(source)):
            raise ArgumentError(
                f"group={self.group} needs a table with the columns {self.group} and "
                f"{', '.join(self.columns)}"
                + (f", and its {target.noun} in a column" if labelled else "")
            )
        self.inner.refer(Path(source).parent if is_path(source) else Path())
        names = [*self.columns, self.group, *([target.name or target.noun] if labelled else [])]
        if not is_path(source):
            return Table(source).rows(names)
        rows = Rows(
            source,
            names,
            encoding=self.settings.encoding,
            lenient=lenient,
            delimiter=self.settings.delimiter,
        )
        inner = self.inner
        if labelled:
            parts = inner.parts.values() if isinstance(inner, FusedReader) else [inner]
            rows.file_columns = files_among(parts)
        if isinstance(inner, FusedReader):
            inner.check_files(rows)
        return rows

    def read(
        self,
        source: Any,
        target: TargetColumn,
        target_of: TargetOf,
        rejects: Rejects,
        like: Input | Examples | None = None,
    ) -> Examples:
        """Return all groups of a source, see `Reader.read`."""
        examples = Examples()
        self.inner.refer(folder_of(source))
        if isinstance(like, Examples):
            like = in_rows(like)
        elif isinstance(like, Groups):
            like = like.inner
        for item in self._groups(source, rejects, labelled=True, like=like):
            try:
                cell = item.targets if target.each else self._one_of(item, target)
                examples.add(item, target_of(cell, item.place), item.place)
            except DataError as error:
                rejects.add(item.place, error)
        return self.checked(examples, source.name, target)

    def _groups(
        self,
        source: Rows,
        rejects: Rejects,
        *,
        labelled: bool,
        like: Input | Examples | None = None,
    ) -> list[Group]:
        """Return the groups in the order of their first rows.

        Args:
            source: the rows.
            rejects: collects bad rows.
            labelled: whether there are targets; otherwise the rows are for predictions.
            like: the training rows or the trained input of a row.
        """
        rows: list[tuple[str, str, Any]] = []  # place, name of the group, target
        items: list[Any] = []
        width = len(self.columns)
        for place, values in source.read():
            try:
                if isinstance(values, DataError):
                    raise values
                name = values[width]
                if is_blank(name):
                    raise DataError(f"{place}: column {self.group!r} is empty; name the group")
                if labelled and is_blank(values[-1]):
                    raise DataError(f"{place}: the column of the targets is empty; fill it")
                items.append(self.inner.row(values[:width], place, given=not labelled))
            except DataError as error:
                rejects.add(place, error)
            else:
                rows.append((place, str(name), values[-1]))
        if labelled and items:
            items = self.inner.contents(items, [place for place, _, _ in rows], like)
        found: dict[str, Group] = {}
        for (place, name, target), item in zip(rows, items, strict=True):
            if isinstance(item, DataError):
                rejects.add(place, item)
            else:
                found.setdefault(name, Group(name, place)).add(item, target)
        return list(found.values())

    def _one_of(self, item: Group, target: TargetColumn) -> Any:
        """Return the target that all rows of a group have."""
        first = item.targets[0]
        other = next((one for one in item.targets if str(one) != str(first)), first)
        if str(other) != str(first):
            raise DataError(
                f"{item.place}: the {target.noun} of group {item.name!r} change from {first!r} to "
                f"{other!r}; give all rows of a group the same, or train a tagger, which has a "
                "target for each row"
            )
        return first

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[Group]:
        """Return the groups of a table without targets; groups are returned unchanged."""
        if isinstance(data, list) and data and all(isinstance(one, Group) for one in data):
            return data
        source = self.open(data, target, labelled=False)
        assert isinstance(source, Rows)
        return self._groups(source, Rejects(None), labelled=False)

    def notes_on_files(self) -> list[str]:
        """Return notes about files that were missing since `open` was called."""
        return self.inner.notes_on_files()

    def item(self, cell: Any, place: str) -> Any:
        """Raise an error: a group is several rows."""
        raise DataError(f"{place}: a group has several rows, so it cannot be in one cell")

    def item_given(self, cell: Any, place: str) -> Any:
        """Return the item of the next row of a live session, as a list of one."""
        (element,) = cell
        names = self.columns
        wanted = f"{place}: expected a dict with {', '.join(names)}"
        if isinstance(element, Mapping):
            if set(element) != set(names):
                raise DataError(f"{wanted}, got {', '.join(map(str, element)) or 'an empty one'}")
        elif len(names) > 1:
            raise DataError(f"{wanted}, got {element!r:.80}")
        values = [element[name] for name in names] if isinstance(element, Mapping) else [element]
        return [self.inner.row(values, place, given=True)]

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Groups:
        """Return the inputs of the rows, learned from all training rows."""
        return Groups(self, self.inner.learn(in_rows(train), notes, classes=classes))

    def load(self, folder: Path) -> Groups:
        """Return the groups of a model folder."""
        check_parts(folder / INPUTS)
        return Groups(self, self.inner.load(folder / INPUTS))


class Groups(Input):
    """Groups of rows after training.

    Args:
        reader: the reader of the groups.
        inner: the input of a row.
    """

    reader: NestedReader
    element = "row"

    def __init__(self, reader: NestedReader, inner: Input) -> None:
        self.reader, self.inner = reader, inner
        self.features = inner.features if inner.levels == 1 else 0
        columns = ", ".join(map(repr, (reader.group, *reader.columns)))
        self.use = (f"model.predict(table)  # columns: {columns}",)

    def save(self, folder: Path) -> None:
        """Write the input of a row."""
        inside = folder / INPUTS
        inside.mkdir(parents=True, exist_ok=True)
        start_manifest(inside)
        self.inner.save(inside)

    def encode(self, items: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the arrays of the rows of each group."""
        rows = iter(self.inner.encode([row for item in items for row in item]))
        return [Nested([next(rows) for _ in item]) for item in items]

    def layer(self, settings: InputSettings) -> tuple[Encoder, int]:
        """Return the encoder of groups, with random weights, and its features."""
        inner, size = self.inner.layer(settings)
        nest = Nest(inner, size, max(1, settings.sizes[0] // 4))
        return nest, nest.size

    def start(self, layer: nn.Module) -> None:
        """Copy initial values, such as word vectors, into the encoder of rows."""
        assert isinstance(layer, Nest)
        self.inner.start(layer.inner)

    def prepare(self, notes: list[str]) -> dict[str, Any]:
        """Read the values for `start`."""
        return self.inner.prepare(notes)

    def change(self) -> Change | None:
        """Return the augmentation of each row."""
        change = self.inner.change()
        if change is None:
            return None

        def changed(item: Nested, draw: np.random.Generator) -> tuple[Any, NDArray[np.int64]]:
            return Nested([change(row, draw)[0] for row in item.rows]), np.arange(len(item))

        return changed

    def bag(self, items: Sequence[Sequence[Any]]) -> Bag | None:
        """Return the mean inputs of the wide part over the rows of each group."""
        bag = self.step_bag(items)
        if bag is None:
            return None
        counts = np.array([len(item) for item in items])
        firsts = np.cumsum(counts) - counts
        ends = np.append(bag.starts.numpy(), len(bag.numbers))
        shares = np.repeat(np.repeat(1 / counts, counts), np.diff(ends)).astype(np.float32)
        return Bag(bag.numbers, bag.values * Tensor(shares), bag.starts[firsts])

    def step_bag(self, items: Sequence[Sequence[Any]]) -> Bag | None:
        """Return the inputs of the wide part for each row of all groups; None without one."""
        return self.inner.bag([row for item in items for row in item]) if self.features else None

    def live(self, static: Mapping[str, object]) -> LiveInput:
        """Return a group whose rows arrive one by one, with the bag of each or of all so far."""
        if static:
            raise ArgumentError(
                f"groups have no static columns, got {', '.join(static)}; give all columns of a "
                "row to push"
            )
        return LiveRows(self, self.inner, self.features, each=self.reader.settings.each_step)

    def epochs(self, count: int) -> int:
        """Return the default number of epochs for a number of examples."""
        return self.inner.epochs(count)

    # Reports.

    def facts(self) -> dict[str, object]:
        """Return the sizes of the input of a row, for the report."""
        return self.inner.facts()

    def show(self, item: Sequence[Any]) -> str:
        """Return the first rows of a group, for the report."""
        lines = [self.inner.show(row).replace("\n", "; ") for row in item[:SHOWN]]
        more = [f"and {len(item) - SHOWN} more rows"] if len(item) > SHOWN else []
        return "\n".join(lines + more)

    def show_tags(self, item: Any, true: Sequence[str], found: Sequence[str]) -> str:
        """Return the rows of a group with their true and predicted tags, for the report."""
        rows = zip(item[:SHOWN], true, found, strict=False)
        return "\n".join(
            f"{self.inner.show(row)}: {tag}" + ("" if tag == other else f", predicted {other}")
            for row, tag, other in rows
        )

    @property
    def wide(self) -> str:
        """The features of the wide part, for messages."""
        return self.inner.wide

    @property
    def made(self) -> str:
        """A description of the input, for the model card."""
        return f"rows of each {self.reader.group}: {self.inner.made}"

    def sklearn_baselines(self, *, each: bool) -> str:
        """Return the names of the simpler models that need scikit-learn."""
        return self.inner.sklearn_baselines(each=False)

    def label_baselines(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> list[Probabilities]:
        """Return the mean probabilities of simpler models over the rows of each group."""
        counts = torch.tensor([len(item) for item in train.items])
        of_rows = targets.repeat_interleave(counts, 0)
        return [
            (
                f"{title}, mean of rows",
                {name: torch.stack([rows.mean(0) for rows in some]) for name, some in p.items()},
            )
            for title, p in self._of_rows(train, of_rows, others, classes)
        ]

    def tag_baselines(
        self, train: Examples, targets: list[NDArray[np.int64]], others: Mapping[str, Examples]
    ) -> list[Guesses]:
        """Return the tags of simpler models that read each row alone."""
        wanted = torch.from_numpy(np.concatenate(targets))
        return [
            (
                f"{title}, each row alone",
                {name: [rows.argmax(1).numpy() for rows in some] for name, some in p.items()},
            )
            for title, p in self._of_rows(train, wanted, others, int(wanted.max()) + 1)
        ]

    def _of_rows(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> Iterator[tuple[str, dict[str, Sequence[Tensor]]]]:
        """Yield what simpler models of a row predict for the rows of each group, with its name."""
        parts = {name: in_rows(part) for name, part in others.items()}
        counts = {name: [len(item) for item in part.items] for name, part in others.items()}
        for title, p in self.inner.label_baselines(in_rows(train), targets, parts, classes):
            yield title, {name: p[name].split(some) for name, some in counts.items()}


def in_rows(groups: Examples) -> Examples:
    """Return an example for each row of groups, with the target of its group."""
    found = Examples()
    for item, target, place in zip(groups.items, groups.targets, groups.places, strict=True):
        for row in item:
            found.add(row, target, place)
    return found
