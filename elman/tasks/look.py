"""Look at data as a task would read them: the rows that it takes, and how one becomes numbers.

Nothing is trained or written.  Of a large file only the first rows are read, unless all are wanted.
LOOKS has the function of each task.  This file does not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import DataError
from elman.read.columns import Table
from elman.read.rows import Rejects, Row, Rows, text_of
from elman.read.sentences import Sentences
from elman.settings import TextSettings
from elman.tasks import Classifier, Forecaster, LanguageModel, Tagger, Translator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elman.read.recording_source import RecordingSource

FIRST = 1000  # rows, or documents of a text, that are read
FILES = 20  # tables of a folder that are read
LONG = 1 << 20  # characters of a text that are read


@dataclass
class Look:
    """The result of a look."""

    row: str  # what a row is
    columns: dict[str, str] = field(default_factory=dict)  # the use of each, by its name
    rows: int = 0  # number of rows that were read
    whole: bool = True  # whether these are all rows
    refused: list[tuple[str, str]] = field(default_factory=list)  # place and reason of bad rows
    answers: Counter[str] = field(default_factory=Counter)  # number of each label or tag
    notes: list[str] = field(default_factory=list)  # what was detected
    cells: str = ""  # the first good row
    item: str = ""  # what is made of it
    numbers: str = ""  # the numbers that the network reads of it
    shape: str = ""  # the shape of a batch in training, and what its axes are


class _Refused(Rejects):
    """Collects the rows that cannot be used."""

    def __init__(self, look: Look) -> None:
        super().__init__(None)
        self.look = look

    def add(self, place: str, error: DataError) -> None:
        """Keep the place and the reason."""
        self.look.refused.append((place, str(error).removeprefix(f"{place}: ")))


class _First:
    """The first rows of a source, which it counts; None for all rows."""

    def __init__(self, most: int | None) -> None:
        self.most, self.count, self.whole = most, 0, True
        self.rows: dict[str, tuple[object, ...]] = {}  # values of the first good rows by place

    def of(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the first rows; a source can be read again to find a place."""
        for count, row in enumerate(islice(rows, self.most), 1):
            self.count = max(self.count, count)
            if len(self.rows) < FIRST and not isinstance(row.values, DataError):
                self.rows.setdefault(row.place, row.values)
            yield row
        self.whole = next(rows, None) is None

    def limit(self, source: Rows | Sentences) -> Rows | Sentences:
        """Let a source read its first rows only."""
        read = source.read
        source.read = lambda advance=None: self.of(read(advance))  # type: ignore[method-assign]
        return source

    def limit_table(self, table: Table) -> None:
        """Let a table read its first rows only."""
        rows = table.rows
        table.rows = lambda names: self.limit(rows(names))  # type: ignore


def look_at_text(model: LanguageModel, data: Path, _: None, most: int | None) -> Look:
    """Look at the text of a language model."""
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
    look.notes = source.notes
    look.cells = texts[0]
    look.numbers = _tokens_of(model, look, texts, texts[0])
    look.shape = f"({model.batch_size}, {model.bptt or 'T'}): texts side by side, tokens"
    return look


def look_at_pairs(model: Translator, data: Path, targets: Path | None, most: int | None) -> Look:
    """Look at the pairs of texts of a translator."""
    talks = model.kind == "dialogue" and targets is None
    columns = _named(model, *(("conversation",) if talks else ("source", "target")))
    source = Rows(
        data,
        list(columns),
        parallel=() if targets is None else (targets,),
        encoding=model.encoding,
        lenient=True,
        delimiter=model.delimiter,
    )
    look = Look("a conversation" if talks else "a source and its target", columns)
    if lines := talks and source.kind == "parallel":
        look.row = "a conversation, or one turn and a blank line after each conversation"

    def texts_of(values: tuple[object, ...], place: str) -> list[str]:
        if not talks:
            return [text_of(v, place, name) for v, name in zip(values, columns, strict=True)]
        if lines and not str(values[0]).strip():
            return []
        turns = values[0] if isinstance(values[0], list) else [values[0]]
        texts = [text_of(one, place, model.conversation) for one in turns]
        return [turn.strip() for text in texts for turn in text.split(model.separator)]

    pairs = _read(source, look, most, texts_of)
    texts = [text for pair in pairs for text in pair]
    look.item = f" {model.separator if talks else '->'} ".join(pairs[0])
    look.numbers = _tokens_of(model, look, texts, pairs[0][0])
    look.shape = f"({model.batch_size}, T): sources, tokens of the longest one"
    return look


def _tokens_of(model: TextSettings, look: Look, texts: list[str], text: str) -> str:
    """Return the tokens of a text, with a vocabulary of the texts that were read."""
    from elman.encode.text import Vocabulary, choose_tokens

    kind, why = (model.tokens, None) if model.tokens else choose_tokens(texts)
    look.notes += [] if why is None else [why]
    try:
        vocabulary = Vocabulary.build(
            lambda: texts,
            tokens=kind,
            size=model.vocabulary_size,
            min_count=model.min_count,
            lowercase=model.lowercase,
            split_punctuation=model.split_punctuation,
        )
    except DataError as error:
        look.notes.append(str(error))
        return "none, as there is no vocabulary"
    look.notes.append(f"the vocabulary of these texts has {vocabulary.size:,} {kind} tokens")
    numbers = vocabulary.encode(text[:LONG])
    shown = " ".join(f"{vocabulary.token(n)}={n}" for n in numbers[:12])
    return f"{len(numbers):,} tokens: {shown}"


def look_at_items(
    model: Classifier | Tagger, data: Path, targets: Path | None, most: int | None
) -> Look:
    """Look at the items of a classifier or a tagger, and at their labels or tags."""
    from elman.inputs.kinds import find_kinds, reader_of
    from elman.padded import Joint

    reader = reader_of(model, find_kinds(model, (data, targets), model.usual_input))
    kind = model._target_kind()
    column = kind.column(model)
    source: Any = reader.open((data, targets), column, lenient=True)
    columns = dict.fromkeys(reader.columns, "--input")
    columns = columns if model.input else _named(model, *reader.named_by)
    look = Look(f"{reader.row_is}, with {column.noun} of the {reader.noun}", columns)
    look.columns[column.name or column.noun] = f"--{kind.named_by}"
    firsts = _limit(source, most)
    try:
        examples = kind.read(reader, source, model, _Refused(look), None)
    except DataError as error:
        raise _unusable(look) or error from None
    look.rows = sum(first.count for first in firsts)
    look.whole = all(first.whole for first in firsts)
    if not look.whole:  # a recording can be in the rows that were not read
        labels = str(targets)
        look.refused = [one for one in look.refused if not one[0].startswith(labels)]
    look.answers.update(str(one) for some in examples.targets for one in some)
    look.notes += [] if examples.recordings else source.notes
    if seen := firsts[0].rows.get(examples.places[0], ()):
        names = look.columns if len(look.columns) == len(seen) else range(len(seen))
        look.cells = _shown(map(str, names), seen)
    steps = reader.window(each=column.each) or "T"
    try:
        learned, item = reader.learn(examples, look.notes), examples.items[0]
    except DataError as error:  # such as too few different tokens
        look.notes.append(str(error))
        return look
    array = learned.encode([item])[0]
    array = array.first if isinstance(array, Joint) else array
    look.item = learned.show(item)
    look.numbers = _numbers_of(learned.elements(item), array, reader.unit)
    sizes = ", ".join(map(str, (model.batch_size, steps, *array.shape[1:])))
    look.shape = f"({sizes}): {reader.noun}, {reader.unit}, and numbers of each"
    return look


def _limit(source: Rows | Sentences | RecordingSource, most: int | None) -> list[_First]:
    """Let a source read its first rows only, and return what counts them."""
    if isinstance(source, Rows | Sentences):
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


def _numbers_of(names: list[str], array: NDArray[Any], unit: str) -> str:
    """Return the beginning of an array, with the name of each step if it has one."""
    if not names:
        return f"{_short(array[0] if array.ndim > 1 else array)} for the first of the {unit}"
    column = array if array.ndim == 1 else array[:, 0]
    pairs = zip(names[:12], column.tolist(), strict=False)
    return f"{len(array):,} {unit}: {' '.join(f'{name}={number}' for name, number in pairs)}"


def look_at_series(model: Forecaster, data: Path, _: None, most: int | None) -> Look:
    """Look at the series of a forecaster."""
    from elman.forecast.predictor import index_of, layout_of

    source = model._source((data, None), lenient=True)
    look = Look("one time of all series" if model.wide else "one time of a series")
    look.columns = _named(model, "unique_id", "ds", "targets", "past", "future", "static")
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
    look.cells = _shown(table.columns, one.values[0].tolist())
    look.item = (
        f"series {one.unique_id!r} from {table.shown(one.start)}: {len(one.values):,} steps of "
        f"{table.frequency}, in seasons of {season}; {len(table.series):,} series in all"
    )
    look.numbers = (
        f"y {_short(record.y[:, 0])}, known in advance {_short(record.known[:1].ravel())}"
    )
    width = layout.numbers + layout.around + len(layout.categories)
    look.shape = (
        f"({model.batch_size}, {layout.steps}, {width}): windows of {layout.context} times with "
        f"{layout.horizon} to predict, steps of {layout.segment}, features"
    )
    return look


LOOKS: dict[str, Callable[[Any, Path, Any, int | None], Look]] = {
    "language-model": look_at_text,
    "classifier": look_at_items,
    "tagger": look_at_items,
    "translator": look_at_pairs,
    "forecaster": look_at_series,
}


def _read(
    source: Rows,
    look: Look,
    most: int | None,
    texts_of: Callable[[tuple[object, ...], str], list[str]],
) -> list[list[str]]:
    """Read rows, and return the texts of the first good ones; raise a DataError without one."""
    kept: list[list[str]] = []
    first, refused = _First(most), _Refused(look)
    for place, values in first.of(source.read()):
        try:
            if isinstance(values, DataError):
                raise values
            texts = texts_of(values, place)
        except DataError as error:
            refused.add(place, error)
            continue
        if texts and not kept:
            look.cells = _shown(look.columns, values)
        if texts and len(kept) < FIRST:
            kept.append(texts)
    look.notes += source.notes
    look.rows, look.whole = first.count, first.whole
    if not kept:
        raise _unusable(look) or DataError(f"{source.name}: has no row; no row can be used")
    return kept


def _unusable(look: Look) -> DataError | None:
    """Return the error if all rows were refused."""
    for place, reason in look.refused:
        return DataError(f"{place}: {reason}; no row can be used")
    return None


def _named(settings: object, *names: str) -> dict[str, str]:
    """Return the columns that settings name, with their flags."""
    found = {}
    for name in names:
        named = getattr(settings, name) or ()
        for column in (named,) if isinstance(named, str) else named:
            found[column] = f"--{name.replace('_', '-')}"
    return found


def _shown(names: Iterable[str], cells: Sequence[object]) -> str:
    pairs = zip(names, cells, strict=True)
    return "  ".join(f"{name}={str(value)[:60]}" for name, value in pairs)


def _short(numbers: NDArray[Any]) -> str:
    some = ", ".join(f"{one:.4g}" for one in numbers[:8].tolist())
    return f"[{some}{', ...' if len(numbers) > 8 else ''}]"
