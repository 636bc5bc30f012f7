"""One kind of input: how it is read, what training learns from it, and its numbers and layer.

    cell of a table -> item -> array (T, ...) -> Padded -> vectors (B, T, D)

A kind is one file in this folder and a line in `elman.inputs.kinds`.  It does not depend on tasks
or targets.  `Reader.item`, `Reader.learn`, `Reader.load`, `Input.save`, `Input.encode` and
`Input.layer` must be defined; the other methods have defaults, for items that are read from one
cell of a table.

Shape legend: T steps of an item, N items, D features, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from elman.arguments import list_of_argument
from elman.errors import ArgumentError, DataError
from elman.inputs.live import LiveInput, Step, check_no_time
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.read.columns import Table, column_of
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.frames import is_frame
from elman.read.rows import Rejects, Rows, Source

if TYPE_CHECKING:
    from torch import Tensor, nn

    from elman.encode.bags import Bag
    from elman.encode.encoder import Change, Encoder
    from elman.encode.text import Vocabulary
    from elman.state import State

Array = NDArray[Any]
Probabilities = tuple[str, Mapping[str, "Tensor"]]  # name of a baseline, (N, K) by part of the data
Guesses = tuple[str, Mapping[str, list[NDArray[np.int64]]]]  # a class for each step of each item


class Reader(ABC):
    """The reader of one kind of input.

    Args:
        settings: settings of the input and of its layer.
        column: column of the items in a table; None for the usual one of the kind.
    """

    kind: ClassVar[str]  # its name in the setting `inputs` and in config.json
    noun: ClassVar[str]  # plural of the items, for messages
    unit: str = "steps"  # plural of their elements
    has_elements: ClassVar[bool] = True  # whether each element can have a target
    static: ClassVar[bool] = False  # whether an item is a single value
    row_is: ClassVar[str] = "an item"  # description of a row of a table
    folders: ClassVar[bool] = True  # whether a folder of folders is a source, see `Rows`
    named_by: ClassVar[tuple[str, ...]] = ("inputs",)  # settings that name columns
    least: ClassVar[int] = 0  # minimum examples of an epoch, if `examples` is not set
    windows: ClassVar[int | None] = None  # default steps of a window for tags; None for no windows
    folder: Path = Path()  # to which relative paths in cells refer
    show: bool = False  # whether to show progress on the terminal

    def __init__(self, settings: InputSettings, column: str | None = None) -> None:
        self.settings = settings
        self.columns: tuple[str, ...] = (column or self.usual_column(settings),)

    @classmethod
    def usual_column(cls, settings: InputSettings) -> str:  # noqa: ARG003
        """Return the column of the items in a table."""
        return cls.kind

    @property
    def naming(self) -> InputSettings:
        """The settings that name columns, see `named_by`."""
        return self.settings

    @property
    def column(self) -> str:
        """The column of the items in a table."""
        return self.columns[0]

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> Source:
        """Return a source of items and, if `labelled`, of their targets.

        Args:
            given: a path, a list, a frame, or a pair of items and targets.
            target: the column of the targets.
            labelled: whether targets are read.
            lenient: whether bytes that are not text are an error of their row, not of the file.

        Raises:
            ArgumentError: the data cannot be read in this form, or have no targets.
        """
        source, targets = pair(given)
        self.refer(Path(source).parent if is_path(source) else Path())
        names = [self.column, target.name or target.noun][: 1 + labelled]
        if is_frame(source) and targets is None:
            return Table(source).rows(names)
        source = column_of(source, self.column)
        if labelled and targets is None and not is_path(source):
            raise ArgumentError(
                f"{self.noun} in a list need their {target.noun}: fit({self.noun}, {target.noun})"
            )
        return Rows(
            source,
            names,
            parallel=() if targets is None else (target.values(targets),),
            folders=self.folders,
            encoding=self.settings.encoding,
            lenient=lenient,
            delimiter=self.settings.delimiter,
        )

    def read(
        self,
        source: Any,
        target: TargetColumn,
        target_of: TargetOf,
        rejects: Rejects,
        like: Input | Examples | None = None,
    ) -> Examples:
        """Return all examples of a source that `open` returned; bad rows go to `rejects`.

        Args:
            source: the source.
            target: the column of the targets.
            target_of: returns the target of a cell.
            rejects: collects bad rows.
            like: the training data or the trained input, whose form other data must have.

        Raises:
            DataError: there is no example.
        """
        examples = Examples()
        self.refer(folder_of(source))  # other parts can be in other folders
        for place, values in source.read():
            try:
                if isinstance(values, DataError):
                    raise values
                item, answer = self.row(values, place), target_of(values[-1], place)
                if isinstance(answer, tuple) and target.each and len(answer) != self.length(item):
                    raise DataError(
                        f"{place}: has {self.length(item)} {self.unit} and {len(answer)} "
                        f"{target.noun}; expected the same number of both"
                    )
            except DataError as error:
                rejects.add(place, error)
            else:
                examples.add(item, answer, place)
        return self.checked(examples, source.name, target)

    def checked(self, examples: Examples, name: str, target: TargetColumn) -> Examples:
        """Return the examples of a source; raise a DataError if there are none."""
        if not examples.items:
            raise DataError(
                f"{name}: has no {self.noun} with {target.noun} that can be used; add at least one"
            )
        return examples

    def length(self, item: Any) -> int:
        """Return the number of elements of an item."""
        return len(item)

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[Any]:
        """Check the items that a user gives for a prediction, and return them.

        Args:
            data: the items, in a form that `open` reads.
            like: the input after training.
            target: the column of the targets, which can be absent.
        """
        found = list_of_argument(column_of(data, self.column), self.column, self.noun)
        return [self.item_given(one, f"{self.column} {n}") for n, one in enumerate(found)]

    def item_given(self, cell: Any, place: str) -> Any:
        """Check the cell that a user gives for a prediction, and return its item."""
        return self.item(cell, place)

    def contents(
        self, items: Sequence[Any], places: Sequence[str], like: Input | Examples | None
    ) -> list[Any]:
        """Return items with the content of their files, or a DataError in place of an item."""
        return list(items)

    def notes_on_files(self) -> list[str]:
        """Return notes about files that were missing since `open` was called."""
        return []

    def row(self, values: Sequence[Any], place: str, *, given: bool = False) -> Any:
        """Return the item of a row, whose first values are the columns of the input.

        If it is `given` for a prediction, it is checked by `item_given`.
        """
        return (self.item_given if given else self.item)(values[0], place)

    def refer(self, folder: Path) -> None:
        """Set the folder to which relative paths in cells refer."""
        self.folder = folder

    @abstractmethod
    def item(self, cell: Any, place: str) -> Any:
        """Return the item of a cell; raise a DataError with the place if it is not an item."""

    @abstractmethod
    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Input:
        """Return the input, learned from the training data.

        Args:
            train: the training data.
            notes: messages for the user; this method adds more.
            classes: classes of a wide part; 0 for no wide part.
        """

    @abstractmethod
    def load(self, folder: Path) -> Input:
        """Return the input that `Input.save` wrote to a folder."""

    def groups(self, items: Sequence[Any]) -> list[str] | None:
        """Return the group of each item, if groups must be held out together; otherwise None."""
        return None

    def cut(self, item: Any, first: int, last: int) -> Any:
        """Return the steps from `first` up to `last`; None if items cannot be cut."""
        return None

    def window(self, *, each: bool) -> int | None:
        """Return the steps of a window, given whether each has a target; None without windows."""
        if self.windows is None:
            return None
        return self.settings.window or (self.windows if each else None)

    def times(self, count: int) -> int:
        """Return how many times an epoch reads `count` examples."""
        if self.least and self.settings.examples is not None:
            return max(1, round(self.settings.examples / count))
        return max(1, -(-self.least // count))


def folder_of(source: Source) -> Path:
    """Return the folder to which relative paths in the cells of a source refer."""
    root: Path | None = getattr(source, "root", None)  # of a folder of tables
    if root is not None:
        return root.parent
    return source.files[0].parent if source.files else Path()


class LiveElements(LiveInput):
    """Elements that are encoded independently of each other, one step each."""

    def __init__(self, learned: Input) -> None:
        self.learned = learned

    @property
    def state(self) -> State:
        """Return an empty state."""
        return ()

    def restore(self, state: State) -> None:
        """Do nothing: there is no state."""

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Return the step of an element."""
        check_no_time(at, self.learned.reader.noun)
        item = self.learned.reader.item_given([element], "element")
        return Step(self.learned.encode([item])[0]), None


class Input(ABC):
    """One kind of input after training: its numbers, its layer, its messages."""

    reader: Reader
    numbers: int = 0  # numbers F of a step, for kinds with windows
    channels: int = 0  # channels of numbers, which cells such as GRU-D read
    features: int = 0  # inputs of the wide part; 0 without one
    vocabulary: Vocabulary | None = None  # the tokens of texts; None for other kinds
    levels: ClassVar[int] = 1  # levels of each statistic among the features; 1 for other features
    step_seconds: float = 1.0  # seconds from one step to the next, if it is known
    warning: ClassVar[str] = ""  # for the model card
    use: tuple[str, ...] = ("model.predict([...])",)  # lines of Python for the model card
    element: str = ""  # what a live session reads, for the model card; "" to omit live use

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the input to a folder."""

    # Encoding.

    @abstractmethod
    def encode(self, items: Sequence[Any]) -> list[Array]:
        """Return the numbers (T, ...) of each item."""

    @abstractmethod
    def layer(self, settings: InputSettings) -> tuple[Encoder, int]:
        """Return the untrained layer from Padded numbers to Padded vectors, and its features D."""

    def start(self, layer: nn.Module) -> None:  # noqa: B027 - most kinds have none
        """Copy initial values, such as word vectors, into the layer."""

    def prepare(self, notes: list[str]) -> dict[str, Any]:
        """Read the values for `start`; return the settings that they determine."""
        return {}

    def steps(self, item: Any) -> NDArray[np.int64]:
        """Return the step of the array of `encode` to which each element of an item belongs."""
        return np.arange(len(item))

    def states(self, count: int) -> int:
        """Return the number of vectors that the layer makes of `count` numbers."""
        return count

    def change(self) -> Change | None:
        """Return the augmentation of training arrays; None without one."""
        return None

    def bag(self, items: Sequence[Any]) -> Bag | None:
        """Return the inputs of the wide part, a row for each item or window; None without one."""
        return None

    def step_bag(self, items: Sequence[Any]) -> Bag | None:
        """Return the inputs of the wide part, a row for each step; None without one."""
        return None

    def live(self, static: Mapping[str, object]) -> LiveInput:
        """Return an item that arrives element by element.

        Args:
            static: values that do not change within the item, by name.

        Raises:
            ArgumentError: this kind of input has no such values.
        """
        if static:
            raise ArgumentError(
                f"{self.reader.noun} have no static columns, got {', '.join(static)}"
            )
        return LiveElements(self)

    def epochs(self, count: int) -> int:
        """Return the default number of epochs for a number of examples."""
        return 10

    # Reports.

    def facts(self) -> dict[str, object]:
        """Return the sizes of the input, for the report."""
        return {}

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], arrays: Sequence[Array]
    ) -> list[str]:
        """Return notes about the data; `arrays` are the encoded training items or windows."""
        return []

    def show(self, item: Any) -> str:
        """Return an item as text, for the report."""
        return str(item)[:500]

    def show_tags(self, item: Any, true: Sequence[str], found: Sequence[str]) -> str:
        """Return an item with its true and predicted tags, for the report."""
        return f"{self.show(item)}\ntrue: {' '.join(true)}\npredicted: {' '.join(found)}"

    def seconds(self, item: Any) -> float:
        """Return the duration of an item in seconds; 0 if it is not known."""
        return 0.0

    def elements(self, item: Any) -> list[str]:
        """Return the name of each step of the array of an item, such as a token; [] for none."""
        return []

    def pieces(self, item: Any) -> list[str]:
        """Return the text of each step of the array of an item; [] if there is no vocabulary."""
        return []

    def is_known(self, item: Any) -> NDArray[np.bool_] | None:
        """Return whether training has seen each element of an item; None if this does not apply."""
        return None

    @property
    def made(self) -> str:
        """A description of the input, for the model card."""
        return self.reader.noun

    @property
    def wide(self) -> str:
        """The features of the wide part, for messages."""
        return f"{self.features:,} features"

    def sklearn_baselines(self, *, each: bool) -> str:
        """Return the names of the simpler models that need scikit-learn; "" for none.

        Args:
            each: whether there is a target for each element of an item.
        """
        return ""

    def label_baselines(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> list[Probabilities]:
        """Return the probabilities of simpler models, given targets (N) or (N, K)."""
        return []

    def tag_baselines(
        self, train: Examples, targets: list[NDArray[np.int64]], others: Mapping[str, Examples]
    ) -> list[Guesses]:
        """Return the tags that simpler models predict, given a target for each element."""
        return []
