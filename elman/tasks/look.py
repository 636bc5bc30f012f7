"""Preview how a task would read data: its rows, and the steps from the first one to scores.

Nothing is trained or written.  By default only the first rows of a large file are read.  LOOKS has
the function of each task.  This file does not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import DataError
from elman.read.audio_source import TIMES
from elman.read.columns import Table
from elman.read.file_source import FileSource
from elman.read.files import kind_of
from elman.read.recording_source import RecordingSource
from elman.read.rows import Rejects, Row, Rows
from elman.read.sentences import Sentences
from elman.read.tables import TABLES
from elman.tasks import Forecaster, LanguageModel, Translator
from elman.tasks.examples import ExampleTask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elman.encode.text import Vocabulary
    from elman.inputs.input import Input
    from elman.read.series import SeriesTable

FIRST = 1000  # rows, or documents of a text, that are read
FILES = 20  # tables of a folder that are read
LONG = 1 << 20  # characters of a text that are read


@dataclass
class Look:
    """The result of a look."""

    row: str  # description of a row
    columns: dict[str, str] = field(default_factory=dict)  # flag of each column, by name
    rows: int = 0  # number of rows that were read
    whole: bool = True  # whether these are all rows
    refused: list[tuple[str, str]] = field(default_factory=list)  # place and reason of bad rows
    answers: Counter[str] = field(default_factory=Counter)  # number of each label or tag
    notes: list[str] = field(default_factory=list)  # messages about what was detected
    cells: str = ""  # the first good row
    item: str = ""  # the item that the row becomes
    numbers: str = ""  # the numbers of the item that the network reads
    shape: str = ""  # the shape of a training batch, and the names of its axes
    vectors: str = ""  # what the recurrence of an untrained network reads
    scores: str = ""  # what an untrained network computes


class _Refused(Rejects):
    """Collects the rows that cannot be used."""

    def __init__(self, look: Look) -> None:
        super().__init__(None)
        self.look = look

    def add(self, place: str, error: DataError) -> None:
        """Keep the place and the reason."""
        self.look.refused.append((place, str(error).removeprefix(f"{place}: ")))


class _First:
    """Limits a source to its first rows and counts them; None for all rows."""

    def __init__(self, most: int | None) -> None:
        self.most, self.count, self.whole = most, 0, True
        self.rows: dict[str, tuple[object, ...]] = {}  # values of the first good rows, by place

    def of(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the first rows; a source can be read a second time to find a place."""
        for count, row in enumerate(islice(rows, self.most), 1):
            self.count = max(self.count, count)
            if len(self.rows) < FIRST and not isinstance(row.values, DataError):
                self.rows.setdefault(row.place, row.values)
            yield row
        self.whole = next(rows, None) is None

    def limit(self, source: Rows | Sentences | FileSource) -> Rows | Sentences | FileSource:
        """Limit a source to its first rows."""
        read = source.read
        source.read = lambda advance=None: self.of(read(advance))  # type: ignore[method-assign]
        return source

    def limit_table(self, table: Table) -> None:
        """Limit a table to its first rows."""
        rows = table.rows
        table.rows = lambda names: self.limit(rows(names))  # type: ignore


def look_at_text(model: LanguageModel, data: Path, _: None, most: int | None) -> Look:
    """Look at the text of a language model."""
    from elman.encode.text import choose_tokens
    from elman.inputs.text import build_vocabulary
    from elman.tasks.text_data import open_text

    unit = "row" if model.column else model.document
    look = Look(f"a document: a {unit}", _named(model, "column"))
    source = open_text(data, model)
    texts: list[str] = []
    size, begins = 0, True
    for text, ends in source.pieces():
        look.rows, begins = look.rows + begins, ends
        if len(texts) < FIRST and size < LONG:
            texts.append(text)
            size += len(text)
        elif most is not None:
            look.whole = False
            break
    look.notes, look.cells = source.notes, texts[0]
    look.shape = f"({model.batch_size}, {model.bptt or 'T'}): texts side by side, tokens"
    kind, why = (model.tokens, None) if model.tokens else choose_tokens(texts)
    look.notes += [] if why is None else [why]
    try:
        vocabulary = build_vocabulary(texts, model, kind)
    except DataError as error:
        look.notes.append(str(error))
        return look
    look.notes.append(_size_of(vocabulary))
    numbers = vocabulary.encode(texts[0][:LONG])
    look.numbers = _numbered(map(vocabulary.token, numbers), numbers, "tokens")
    return look


def _size_of(vocabulary: Vocabulary) -> str:
    return f"the vocabulary of these texts has {vocabulary.size:,} {vocabulary.tokens} tokens"


def look_at_items(model: ExampleTask, data: Path, targets: Path | None, most: int | None) -> Look:
    """Look at the items of a task, and at their labels, tags or texts."""
    from elman.inputs.declared import read_declared
    from elman.inputs.kinds import find_kinds
    from elman.tasks.look_network import vectors_and_scores

    kinds = find_kinds(model, (data, targets), model.usual_input)
    reader = model._reader(kinds)
    kind = model._target_kind()
    column = kind.column(model)
    source: Any = reader.open((data, targets), column, lenient=True)
    inputs = ((read_declared(one).column, one) for one in model.inputs or kinds)
    columns = {column: f"--input {one}" for column, one in inputs if column}
    if len(kinds) > 1 or not columns:
        columns |= _named(reader.naming, *reader.named_by)
    look = Look(f"{reader.row_is}, with {column.noun} for {reader.noun}", columns)
    named = source.layout.label if isinstance(source, RecordingSource) else column.noun
    look.columns[column.name or named] = f"--{kind.named_by}"
    times = source.more if isinstance(source, FileSource) else ()
    look.columns |= dict.fromkeys(times if targets is None else TIMES, "a part")
    firsts = _limit(source, most)
    try:
        examples = kind.read(reader, source, model, _Refused(look), None)
    except DataError as error:
        if not look.refused:
            raise
        place, reason = look.refused[0]
        raise DataError(f"{place}: {reason}; no row can be used") from error
    look.rows = sum(first.count for first in firsts)
    look.whole = all(first.whole for first in firsts)
    if not look.whole:  # a label can belong to a recording that was not read
        labels = str(targets)
        look.refused = [one for one in look.refused if not one[0].startswith(labels)]
    last = examples.places.count(examples.places[0]) - 1  # a conversation has several items
    item, text = examples.items[last], examples.targets[last]
    if not isinstance(text, str):
        look.answers.update(str(one) for some in examples.targets for one in some)
    look.notes += [] if examples.recordings else source.notes
    if seen := firsts[0].rows.get(examples.places[0], ()):
        # The main input comes first in a row that is read, and can be any column of the table.
        names: Any = source.columns if isinstance(source, Rows) else look.columns
        names = names if len(names) >= len(seen) else range(len(seen))
        look.cells = _shown(map(str, names), seen)
    steps = reader.window(each=column.each) or "T"
    try:
        learned = reader.learn(examples, look.notes)
    except DataError as error:  # such as too few different tokens
        look.notes.append(str(error))
        return look
    look.item = learned.show(item).replace("\n", "; ") + (
        f" -> {text}" if isinstance(text, str) else ""
    )
    if learned.vocabulary is not None:
        look.notes.append(_size_of(learned.vocabulary))
    sizes = f"({model.batch_size}"
    (array,) = learned.encode([item])
    found = _numbers_of(learned, item, array, sizes, str(steps))
    look.numbers, look.shape = ("\n".join(lines) for lines in zip(*found, strict=True))
    if model.vectors is not None or getattr(model, "start_from", None) is not None:
        return look  # the size of the vectors is in a file
    try:
        target = kind.learn(examples, source.name, (data, targets), model)
        target.start(examples, learned)
    except DataError as error:  # such as a single label
        look.notes.append(str(error))
        return look
    look.vectors, look.scores = vectors_and_scores(model, learned, target, array)
    return look


def _numbers_of(
    learned: Input, item: Any, array: Any, sizes: str, steps: str, name: str = ""
) -> list[tuple[str, str]]:
    """Return the numbers of an item, and the shape of a batch, for each of its inputs.

    Args:
        learned: the input after training.
        item: the item, or None if it is missing.
        array: the array of the item.
        sizes: the first sizes of a batch, as the beginning of a text.
        steps: number of steps of a batch.
        name: name of the input, if there are several.
    """
    from elman.inputs.fused_trained import Fused
    from elman.inputs.nested import Groups
    from elman.padded import Delayed

    reader, title = learned.reader, f"{name}: " if name else ""
    if isinstance(learned, Groups):
        return _numbers_of(learned.inner, item[0], array.rows[0], f"{sizes}, rows", "T", name)
    if isinstance(learned, Fused):
        parts = zip(reader.columns, learned.parts, item, (array.first, *array.others), strict=True)
        return [
            line
            for column, part, one, some in parts
            for line in _numbers_of(
                part, one, some, sizes, steps if part is learned.first else "T", column
            )
        ]
    if array is None:
        return [(f"{title}missing", f"{title}missing")]
    array = array.read() if isinstance(array, Delayed) else array
    if elements := learned.elements(item):
        numbers = _numbered(elements, array if array.ndim == 1 else array[:, 0], reader.unit)
    else:
        first = array[0] if array.ndim > 1 and len(array) else array
        numbers = f"{_short(first)} for the first of the {reader.unit}"
    steps = "1" if reader.static else steps
    each = ", numbers of each" if array.ndim > 1 else ""
    shape = ", ".join([sizes, steps, *map(str, array.shape[1:])])
    return [(f"{title}{numbers}", f"{title}{shape}): {reader.noun}, {reader.unit}{each}")]


def look_at_pairs(model: Translator, data: Path, targets: Path | None, most: int | None) -> Look:
    """Look at the items of a translator and their texts."""
    from elman.encode.turns import TURN

    look = look_at_items(model, data, targets, most)
    look.item = look.item.replace(TURN, model.separator)
    if model.kind == "dialogue" and targets is None:
        lines = "" if kind_of(data) in TABLES else ", or one turn and a blank line after each"
        look.row = f"a conversation{lines}"
    return look


def _limit(
    source: Rows | Sentences | FileSource | RecordingSource, most: int | None
) -> list[_First]:
    """Limit a source to its first rows, and return the counters."""
    if isinstance(source, Rows | Sentences | FileSource):
        first = _First(most)
        first.limit(source)
        return [first]
    firsts = [_First(most) for _ in source.tables]
    for first, table in zip(firsts, source.tables, strict=True):
        first.limit_table(table)
    if most is not None:
        source.tables = source.tables[:FILES]
        for first in firsts[FILES:]:
            first.whole = False
    return firsts


def _numbered(names: Iterable[str], numbers: Sequence[int] | NDArray[Any], unit: str) -> str:
    """Return the number of steps, and the names and numbers of the first ones."""
    pairs = (f"{name}={number}" for name, number in zip(names, numbers, strict=False))
    return f"{len(numbers):,} {unit}: {' '.join(islice(pairs, 12))}"


def look_at_series(model: Forecaster, data: Path, _: None, most: int | None) -> Look:
    """Look at the series of a forecaster."""
    from elman.forecast.predictor import index_of, layout_of

    source = model._source((data, None), lenient=True)
    look = Look("one time of all series" if model.wide else "one time of a series")
    look.columns = _named(model, "unique_id", "ds", "targets", "past", "future", "static")
    pairs = zip(model.declared, model.inputs, strict=True)
    look.columns |= {str(one.column): f"--input {text}" for one, text in pairs}
    if model.wide:
        look.columns |= dict.fromkeys(source.targets, "--targets")
    first = _First(most)
    first.limit_table(source.table)
    table = source.read(_Refused(look))
    look.rows, look.whole = first.count, first.whole
    look.notes += table.notes
    lengths = sorted(len(one.values) for one in table.series)
    targets = len(table.columns) - len(source.covariates)
    index = index_of(model, table, targets, lengths[len(lengths) // 2])
    layout, season = layout_of(model, index), model.season_of(table.frequency)
    one, record = table.series[0], index.encode(table, table.series[0])
    look.cells = _shown(
        table.columns,
        [_word(table, *pair) for pair in zip(table.columns, one.values[0].tolist(), strict=True)],
    )
    look.item = (
        f"series {one.unique_id!r} from {table.shown(one.start)}: {len(one.values):,} steps of "
        f"{table.frequency}, in seasons of {season}; {len(table.series):,} series in all"
    )
    look.numbers = (
        f"y {_short(record.y[:, 0])}, known in advance {_short(record.known[:1].ravel())}"
    )
    look.shape = (
        f"({model.batch_size}, {layout.steps}, {layout.width}): windows of {layout.context} times "
        f"with {layout.horizon} to predict, steps of {layout.segment}, features"
    )
    return look


def _word(table: SeriesTable, column: str, value: float) -> object:
    """Return the word that a number stands for in a column of words; otherwise the number."""
    words = table.categories.get(column)
    return value if words is None or isnan(value) else words[int(value)]


LOOKS: dict[str, Callable[[Any, Path, Any, int | None], Look]] = {
    "language-model": look_at_text,
    "classifier": look_at_items,
    "tagger": look_at_items,
    "translator": look_at_pairs,
    "transcriber": look_at_items,
    "forecaster": look_at_series,
}


def _named(settings: object, *names: str) -> dict[str, str]:
    """Return the columns that settings name, with their flags."""
    found = {}
    for name in names:
        named = getattr(settings, name) or ()
        for column in (named,) if isinstance(named, str) else named:
            found[column] = f"--{name.replace('_', '-')}"
    return found


def _shown(names: Iterable[str], cells: Sequence[object]) -> str:
    pairs = zip(names, cells, strict=False)
    return "  ".join(f"{name}={str(value)[:60]}" for name, value in pairs)


def _short(numbers: NDArray[Any]) -> str:
    some = ", ".join(f"{one:.4g}" for one in numbers[:8].tolist())
    return f"[{some}{', ...' if len(numbers) > 8 else ''}]"
