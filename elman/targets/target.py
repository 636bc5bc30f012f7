"""One kind of target: how it is read and learned, which head predicts it, and how it is scored.

    item -> Input -> network -> states -> head -> prediction

A kind is one file in this folder.  It does not depend on the kind of input: it uses only the
interface in `elman.inputs.input`.

Shape legend: N items, T steps, F numbers of a step, D features of a state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.recordings import windows_of
from elman.inputs.input import Array, Input, Reader
from elman.inputs.target_column import TargetColumn
from elman.model import Head, SequenceModel
from elman.padded import Composite, Padded
from elman.read.examples import Examples
from elman.read.rows import Rejects
from elman.read.split import some_of
from elman.report.terminal import are, counted
from elman.seq2seq import Seq2Seq
from elman.train.chunks import ExampleBatches

HELD_OUT = ("validation", "test")  # parts of the data that are scored, in this order
ROWS = 64  # minimum number of rows of a batch for prediction


class Prepared(NamedTuple):
    """Examples in the form of batches.

    Attributes:
        arrays: numbers (T, F) of items or of their windows.
        targets: (N,) or (N, K), or (T,) for each array.
        extra: scores (N, K) of the wide part, or (T, K) for each array; None without one.
        padding: pads targets that have their own lengths, see `ExampleBatches`.
    """

    arrays: list[Any]
    targets: Tensor | list[NDArray[Any]]
    extra: Tensor | Sequence[Tensor] | None = None
    padding: int | None = None

    def batches(self, rows: int) -> ExampleBatches:
        """Return batches in the order of their lengths, of `rows` examples but at least ROWS."""
        arrays, targets, extra, padding = self
        size = max(ROWS, rows)
        return ExampleBatches(arrays, targets, size, seed=None, extra=extra, padding=padding)


Network = TypeVar("Network", SequenceModel, Seq2Seq)


class Target(ABC, Generic[Network]):
    """One kind of target after training; Network is the class of the network that predicts it."""

    noun: ClassVar[str]  # plural of the targets, for messages
    named_by: ClassVar[str]  # the setting that names their column
    classes_of_wide: int = 0  # classes of a wide part, see `elman.heads.wide`; 0 for none

    # Reading.

    @classmethod
    @abstractmethod
    def column(cls, settings: Any) -> TargetColumn:
        """Return the column of the targets."""

    @classmethod
    @abstractmethod
    def of_cell(cls, cell: Any, place: str, settings: Any, *, written: bool) -> Any:
        """Check the cell of a target, and return the target.

        Args:
            cell: the value that was read.
            place: where it was read, for messages.
            settings: settings of the target.
            written: whether the value comes from a file.

        Raises:
            DataError: the value is not a target.
        """

    @classmethod
    def read(
        cls,
        reader: Reader,
        source: Any,
        settings: Any,
        rejects: Rejects,
        like: Input | Examples | None,
    ) -> Examples:
        """Return the examples of a source, see `Reader.read`."""
        written = bool(source.files)
        return reader.read(
            source,
            cls.column(settings),
            lambda cell, place: cls.of_cell(cell, place, settings, written=written),
            rejects,
            like,
        )

    # Learning.

    @classmethod
    @abstractmethod
    def learn(cls, train: Examples, name: str, given: object, settings: Any) -> Target[Network]:
        """Return the target, learned from the training data.

        Args:
            train: the training data, before a part is held out.
            name: name of the data, for messages.
            given: the data as given to `fit`.
            settings: settings of the target.

        Raises:
            DataError: there are fewer than two different targets.
        """

    @abstractmethod
    def hold_out(
        self, examples: Examples, reader: Reader, notes: list[str]
    ) -> tuple[Examples, Examples]:
        """Return a training and a validation part; add a note."""

    def start(self, train: Examples, input: Input) -> None:
        """Choose the sizes of the head from the training data."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Return the facts from which `restore` rebuilds the target, for JSON."""

    @classmethod
    @abstractmethod
    def restore(cls, described: Mapping[str, Any], settings: Any) -> Target[Network]:
        """Return the target with these facts; raise an ArgumentError for impossible values."""

    def save(self, folder: Path) -> None:
        """Write what `described` does not contain to a folder."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""

    @abstractmethod
    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], reader: Reader
    ) -> list[str]:
        """Return notes about the targets for the user."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """Return the sizes of the target, for the report."""

    def unit(self, reader: Reader) -> str:
        """Return the unit over which the loss is averaged, for messages."""
        return "examples"

    def counted(self, reader: Reader) -> str:
        """Return the unit of `count`, for the report."""
        return self.unit(reader)

    @abstractmethod
    def count(self, examples: Examples) -> int:
        """Return the number of targets."""

    # The network.

    @abstractmethod
    def head(self, size: int, input: Input) -> Head:
        """Return the untrained layer from states of `size` features to scores and loss."""

    @abstractmethod
    def training(self, input: Input, examples: Examples, head: Head, notes: list[str]) -> Prepared:
        """Return the training examples as arrays and targets; fit the wide part, if any."""

    @abstractmethod
    def validation(self, input: Input, examples: Examples, head: Head) -> Prepared:
        """Return the validation examples as arrays and targets."""

    @abstractmethod
    def measure(
        self, network: Network, input: Input, parts: Mapping[str, Examples]
    ) -> dict[str, Any]:
        """Return scores of the model and of simpler models, with tables and samples."""

    @abstractmethod
    def evaluate(self, network: Network, input: Input, examples: Examples) -> dict[str, Any]:
        """Return the scores of a trained model."""


AnyTarget = Target[SequenceModel] | Target[Seq2Seq]


def held_out_note(count: int, unit: str, share: str) -> str:
    """Return the note about examples that are held out.

    Example:
        >>> from elman.targets.target import held_out_note
        >>> held_out_note(1, "audio clips", "10%")
        '1 audio clip, 10%, is held out for validation'
    """
    return f"{counted(count, unit)}, {share}, {are(count)} held out for validation"


def cut_windows(
    arrays: Sequence[Array], size: int | None, overlap: float
) -> tuple[list[tuple[int, int, int]], NDArray[np.int64]]:
    """Return the array number, begin and end of each window, and the array numbers alone (N,).

    Example:
        >>> import numpy as np
        >>> from elman.targets.target import cut_windows
        >>> cut_windows([np.zeros(3), np.zeros(6)], 4, 0.5)[0]
        [(0, 0, 3), (1, 0, 4), (1, 2, 6)]
    """
    spans = [
        (n, begin, end)
        for n, one in enumerate(arrays)
        for begin, end in windows_of(len(one), size, overlap)
    ]
    return spans, np.array([n for n, _, _ in spans], dtype=np.int64)


def part_of(array: Array | Composite, begin: int, end: int) -> Array | Composite:
    """Return some steps of an array; of several inputs, only the first is cut."""
    if (begin, end) == (0, len(array)):
        return array
    return array.part(begin, end) if isinstance(array, Composite) else array[begin:end]


def states_of(
    network: SequenceModel,
    arrays: list[Any],
    rows: int,
    extra: Tensor | Sequence[Tensor] | None = None,
) -> Iterator[tuple[Tensor, Padded]]:
    """Yield the indices and states (B, T, D) of arrays, in batches of similar lengths."""
    network.eval()
    batches = ExampleBatches(
        arrays, torch.arange(len(arrays)), max(ROWS, rows), seed=None, extra=extra
    )
    with torch.inference_mode():
        for chunk in batches.epoch(1) if arrays else ():
            yield chunk.targets, network.run(chunk.inputs)[0]


def unknown_targets(
    noun: str, others: Mapping[str, Examples], known: set[str], named: Any = str
) -> list[str]:
    """Return notes about targets that are not in the training data."""
    notes = []
    for name, examples in others.items():
        found = {str(one) for some in examples.targets for one in some if named(one) not in known}
        if found:
            notes.append(
                f"{noun} of the {name} data that are not in the training data: {some_of(found)}"
            )
    return notes
