"""Look at data as a task would read them: the rows that it takes, and how one becomes numbers.

Nothing is trained or written.  Of a large file only the first rows are read, unless all are wanted.
LOOKS has the function of each task.  This file does not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import DataError
from elman.read.columns import Table
from elman.read.rows import Rejects, Row, Rows, text_of
from elman.read.sentences import Sentences
from elman.read.text import TextSource
from elman.settings import TextSettings, dialect_of
from elman.tasks.examples import ExampleTask
from elman.tasks.forecaster import Forecaster
from elman.tasks.language_model import LanguageModel
from elman.tasks.translator import Translator

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST = 1000  # rows, or documents of a text, that are read
FILES = 20  # tables of a folder that are read
LONG = 1 << 20  # characters of a text that are read


@dataclass
class Look:
    """The result of a look.

    Attributes:
        row: what a row is.
        columns: what each column is used for, by the name of the column.
        rows: number of rows that were read.
        whole: whether these are all rows.
        refused: place and reason of each row that cannot be used.
        answers: number of each label, tag or target, if they are few.
        notes: messages about what was detected.
        cells: the first good row.
        item: what is made of it.
        numbers: the numbers that the network reads of it.
        shape: the shape of a batch in training, and what its axes are.
    """

    row: str
    columns: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    whole: bool = True
    refused: list[tuple[str, str]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    cells: str = ""
    item: str = ""
    numbers: str = ""
    shape: str = ""


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


class _FirstTable(Table):
    """A table of which only the first rows are read."""

    def __init__(self, other: Table, most: int | None) -> None:
        vars(self).update(vars(other))
        self.first = _First(most)

    def rows(self, names: Sequence[str]) -> Rows:
        """Return the first rows of some columns."""
        found = super().rows(names)
        read = found.read
        found.read = lambda advance=None: self.first.of(read(advance))  # type: ignore[method-assign]
        return found


def look_at_text(model: LanguageModel, data: Path, _: None, most: int | None) -> Look:
    """Look at the text of a language model."""
    unit = "row" if model.column else model.document
    look = Look(f"a document: a {unit}", {model.column: "--column"} if model.column else {})
    source = TextSource(
        data, document=model.document, column=model.column, encoding=model.encoding,
        delimiter=model.delimiter,
    )  # fmt: skip
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
    """Look at the pairs of texts of a translator, or at items of another kind and their texts."""
    if model.input or model.channels or model.variable:
        return look_at_items(model, data, targets, most)
    columns = {model.source: "--source", model.target: "--target"}
    if talks := model.kind == "dialogue" and targets is None:
        columns = {model.conversation: "--conversation"}
    source = Rows(
        data, list(columns), parallel=() if targets is None else (targets,),
        encoding=model.encoding, lenient=True, delimiter=model.delimiter,
    )  # fmt: skip
    look = Look("a conversation" if talks else "a source and its target", columns)
    if lines := talks and source.kind == "parallel":
        look.row = "a conversation, or one turn and a blank line after each conversation"

    def item(values: tuple[object, ...], place: str) -> list[str]:
        if not talks:
            return [text_of(v, place, name) for v, name in zip(values, columns, strict=True)]
        if lines and not str(values[0]).strip():
            return []
        turns = values[0] if isinstance(values[0], list) else [values[0]]
        texts = [text_of(one, place, model.conversation) for one in turns]
        return [turn.strip() for text in texts for turn in text.split(model.separator)]

    pairs = [one for one in _read(source, look, most, item) if one]
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
            lambda: texts, tokens=kind, size=model.vocabulary_size, min_count=model.min_count,
            lowercase=model.lowercase, split_punctuation=model.split_punctuation,
        )  # fmt: skip
    except DataError as error:
        look.notes.append(str(error))
        return "none, as there is no vocabulary"
    look.notes.append(f"the vocabulary of these texts has {vocabulary.size:,} {kind} tokens")
    numbers = vocabulary.encode(text[:LONG])
    shown = " ".join(f"{vocabulary.token(n)}={n}" for n in numbers[:12])
    return f"{len(numbers):,} tokens: {shown}"


def look_at_items(model: ExampleTask, data: Path, targets: Path | None, most: int | None) -> Look:
    """Look at the items of a task, and at their labels, tags or texts."""
    from elman.inputs.kinds import find_kinds, reader_of
    from elman.padded import Joint

    reader = reader_of(model, find_kinds(model, (data, targets), model.usual_input))
    kind = model._target_kind()
    column = kind.column(model)
    source: Any = reader.open((data, targets), column, lenient=True)
    look = Look(f"{reader.row_is}, with {column.noun} of the {reader.noun}")
    for setting in () if model.input else reader.named_by:
        named = getattr(model, setting)
        names = (named,) if isinstance(named, str) else named or ()
        look.columns |= dict.fromkeys(names, f"--{setting.replace('_', '-')}")
    look.columns |= dict.fromkeys(reader.columns if model.input else (), "--input")
    look.columns[column.name or column.noun] = f"--{kind.named_by}"
    firsts = _read_first(source, most)
    try:
        examples = kind.read(reader, source, model, _Refused(look), None)
    except DataError as error:
        if not look.refused:
            raise
        place, reason = look.refused[0]
        raise DataError(f"{place}: {reason}; no row can be used") from error
    look.rows = sum(first.count for first in firsts)
    look.whole = all(first.whole for first in firsts)
    if not look.whole:  # a recording can be in the rows that were not read
        labels = str(targets)
        look.refused = [one for one in look.refused if not one[0].startswith(labels)]
    for some in examples.targets:
        look.answers.update([some] if isinstance(some, str) else map(str, some))
    look.notes += [] if examples.recordings else source.notes
    seen = firsts[0].rows.get(examples.places[0], ())
    if seen:
        names = look.columns if len(look.columns) == len(seen) else range(len(seen))
        look.cells = _shown(dict(zip(map(str, names), seen, strict=True)))
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


def _read_first(source: Any, most: int | None) -> list[_First]:
    """Let a source give its first rows only, and return what counts them."""
    from elman.read.recording_source import RecordingSource

    if isinstance(source, RecordingSource):
        tables = [_FirstTable(one, most) for one in source.tables]
        source.tables = [*tables[: None if most is None else FILES]]
        firsts = [table.first for table in tables]
        for first in firsts[len(source.tables) :]:
            first.whole = False
        return firsts
    first, read = _First(most), source.read
    source.read = lambda advance=None: first.of(read(advance))
    return [first]


def _numbers_of(names: list[str], array: NDArray[Any], unit: str) -> str:
    """Return the beginning of an array, with the name of each step if it has one."""
    if not names:
        return f"{_short(array[0] if array.ndim > 1 else array)} for the first of the {unit}"
    column = array if array.ndim == 1 else array[:, 0]
    pairs = zip(names[:12], column.tolist(), strict=False)
    return f"{len(array):,} {unit}: {' '.join(f'{name}={number}' for name, number in pairs)}"


def look_at_series(model: Forecaster, data: Path, _: None, most: int | None) -> Look:
    """Look at the series of a forecaster."""
    from elman.encode.index import SeriesIndex
    from elman.encode.layout import Layout
    from elman.read.series import SeriesSource

    named = (*model.past, *model.future, *model.static, *filter(None, [model.group]))
    source = SeriesSource(
        data, model.targets, tuple(dict.fromkeys(named)), unique_id=model.unique_id, ds=model.ds,
        wide=model.wide, freq=model.freq, ds_format=model.ds_format, zone=model.zone,
        closed=model.closed == "found", encoding=model.encoding, lenient=True,
        dialect=dialect_of(model),
    )  # fmt: skip
    look = Look("one time of all series" if model.wide else "one time of a series")
    look.columns = {model.unique_id: "--unique-id", model.ds: "--ds"}
    for name in ("targets", "past", "future", "static"):
        look.columns |= dict.fromkeys(getattr(model, name), f"--{name}")
    if model.wide:
        look.columns |= dict.fromkeys(source.targets, "--targets")
    source.table = first = _FirstTable(source.table, most)
    table = source.read(_Refused(look))
    look.rows, look.whole = first.first.count, first.first.whole
    look.notes += table.notes
    targets = len(table.columns) - len(source.covariates)
    horizon = model.horizon_of(table.frequency)
    season = model.season_of(table.frequency)
    lengths = sorted(len(one.values) for one in table.series)
    context, segment = model.window_of(table.frequency, lengths[len(lengths) // 2])
    index = SeriesIndex.build(
        table, table.columns[:targets], past=model.past, future=model.future, static=model.static,
        per_series=model.per_series, with_calendar=model.calendar, scaling=model.scaling,
        context=context, plane=model.plane,
    )  # fmt: skip
    sizes = index.sizes
    lags = model.lags if model.lags is not None else (season,) if season > 1 else ()
    layout = Layout(
        context, horizon, segment, sizes["targets"], sizes["past"], sizes["known"],
        sizes["static"], tuple(index.categories),
        lags=tuple(lag for lag in lags if lag > 0), feedback=model.decoder == "autoregressive",
        neighbours=model.neighbours,
    )  # fmt: skip
    one, record = table.series[0], index.encode(table, table.series[0])
    look.cells = _shown(dict(zip(table.columns, one.values[0].tolist(), strict=True)))
    look.item = (
        f"series {one.unique_id!r} from {table.shown(one.start)}: {len(one.values):,} steps of "
        f"{table.frequency}, in seasons of {season}; {len(table.series):,} series in all"
    )
    look.numbers = (
        f"y {_short(record.y[:, 0])}, known in advance {_short(record.known[:1].ravel())}"
    )
    width = layout.numbers + layout.around + len(layout.categories)
    look.shape = (
        f"({model.batch_size}, {layout.steps}, {width}): windows of {context} times with {horizon} "
        f"to predict, steps of {segment}, features"
    )
    return look


LOOKS: dict[str, Callable[[Any, Path, Any, int | None], Look]] = {
    "language-model": look_at_text, "classifier": look_at_items, "tagger": look_at_items,
    "translator": look_at_pairs, "forecaster": look_at_series,
}  # fmt: skip


def _read(
    source: Rows | Sentences, look: Look, most: int | None,
    item: Callable[[tuple[Any, ...], str], Any],
) -> list[Any]:  # fmt: skip
    """Read rows, and return the first items; raise a DataError if there is none."""
    kept: list[Any] = []
    first = _First(most)
    for place, values in first.of(source.read()):
        try:
            if isinstance(values, DataError):
                raise values
            found = item(values, place)
        except DataError as error:
            _Refused(look).add(place, error)
            continue
        if not kept:
            names = list(look.columns) or [str(n) for n in range(len(values))]
            look.cells = _shown(dict(zip(names, values, strict=True)))
        if len(kept) < FIRST:
            kept.append(found)
    look.notes += source.notes
    look.rows, look.whole = first.count, first.whole
    if not kept:
        place, reason = look.refused[0] if look.refused else (source.name, "has no row")
        raise DataError(f"{place}: {reason}; no row can be used")
    return kept


def _shown(cells: Mapping[str, object]) -> str:
    return "  ".join(f"{name}={str(value)[:60]}" for name, value in cells.items())


def _short(numbers: NDArray[Any]) -> str:
    some = ", ".join(f"{one:.4g}" for one in numbers[:8].tolist())
    return f"[{some}{', ...' if len(numbers) > 8 else ''}]"
