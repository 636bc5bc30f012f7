"""Look at data as a task would read them: the rows that it takes, and how one becomes numbers.

Nothing is trained or written.  Of a large file only the first rows are read, unless all are wanted.
LOOKS has the function of each task.  This file does not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import DataError
from elman.read.columns import Table
from elman.read.recordings import Layout as ChannelLayout
from elman.read.recordings import is_blank
from elman.read.rows import Rejects, Row, Rows, text_of
from elman.read.sentences import Sentences
from elman.read.text import TextSource
from elman.settings import TextSettings, dialect_of
from elman.tasks.classifier import Classifier
from elman.tasks.forecaster import Forecaster
from elman.tasks.language_model import LanguageModel
from elman.tasks.tagger import Tagger
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

    def of(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the first rows; a source can be read again to find a place."""
        for count, row in enumerate(islice(rows, self.most), 1):
            self.count = max(self.count, count)
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


def look_at_labels(model: Classifier, data: Path, labels: Path | None, most: int | None) -> Look:
    """Look at the texts or the recordings of a classifier, and at their labels."""
    if model.channels or model.variable:
        layout = ChannelLayout(label=model.label, several=model.several)
        return _look_at_recordings(model, (data, labels), most, layout, each=False)
    source = Rows(
        data, [model.text, model.label], parallel=() if labels is None else (labels,),
        folders=True, encoding=model.encoding, lenient=True, delimiter=model.delimiter,
    )  # fmt: skip
    look = Look("a text and its label", {model.text: "--text", model.label: "--label"})

    def item(values: tuple[object, ...], place: str) -> str:
        text = text_of(values[0], place, model.text)
        if is_blank(values[1]):
            raise DataError(f"{place}: column {model.label!r} is empty, expected a label")
        if isinstance(values[1], list) and not model.several:
            raise DataError(f"{place}: column {model.label!r} is a list; set several=True")
        found = values[1] if isinstance(values[1], list) else [values[1]]
        if model.several and isinstance(values[1], str):
            found = values[1].split(model.separator)
        look.answers.update(str(one).strip() for one in found)
        return text

    texts = _read(source, look, most, item)
    look.item = texts[0]
    look.numbers = _tokens_of(model, look, texts, texts[0])
    look.shape = f"({model.batch_size}, T): texts, tokens of the longest one"
    return look


def look_at_pairs(model: Translator, data: Path, targets: Path | None, most: int | None) -> Look:
    """Look at the pairs of texts of a translator."""
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


def look_at_tags(model: Tagger, data: Path, tags: Path | None, most: int | None) -> Look:
    """Look at the sentences or the recordings of a tagger, and at their tags."""
    if model.channels or model.variable:
        layout = ChannelLayout(label=model.tags or "label", background=model.background)
        return _look_at_recordings(model, (data, tags), most, layout, each=True)
    from elman.encode.words import WordIndex

    source = Sentences(
        data, model.words, model.tags or "", parallel=tags, encoding=model.encoding, lenient=True,
        delimiter=model.delimiter,
    )  # fmt: skip
    columns = {model.words or "words": "--words", model.tags or "tags": "--tags"}
    look = Look("a sentence, with a tag for each word", {} if source.columns else columns)

    def item(values: tuple[Any, ...], _place: str) -> tuple[str, ...]:
        look.answers.update(map(str, values[1]))
        return tuple(map(str, values[0]))

    sentences = _read(source, look, most, item)
    index = WordIndex.build(
        sentences, lowercase=model.lowercase, min_count=model.min_count, size=model.vocabulary_size
    )
    look.notes.append(f"{len(index.words):,} words of these sentences are known")
    look.item = " ".join(sentences[0])
    look.numbers = f"words {_short(index.encode(sentences[0])[:, 0])}, and their characters"
    look.shape = f"({model.batch_size}, T): sentences, words of the longest one"
    return look


def _look_at_recordings(
    model: Classifier | Tagger, given: tuple[Path, Path | None], most: int | None,
    layout: ChannelLayout, *, each: bool,
) -> Look:  # fmt: skip
    """Look at recordings, and at the labels of them or with `each` of their steps."""
    from elman.encode.recordings import RecordingIndex
    from elman.read.recording_source import RecordingSource

    layout = replace(
        layout, channels=model.channels, static=model.static, variable=model.variable,
        value=model.value, unique_id=model.unique_id, ds=model.ds, ds_format=model.ds_format,
        encoding=model.encoding, rate=model.rate, dialect=dialect_of(model),
    )  # fmt: skip
    look = Look("a measurement" if model.variable else "a step of a recording")
    flags = {"unique_id": "--unique-id", "ds": "--ds", "variable": "--variable"}
    if model.variable:
        flags["value"] = "--value"
    look.columns = {str(getattr(model, name)): flag for name, flag in flags.items()}
    look.columns |= {layout.label: "--tags" if each else "--label"}
    look.columns |= dict.fromkeys(model.channels, "--channels")
    look.columns |= dict.fromkeys(model.static, "--static")
    source = RecordingSource(*given, layout, each=each, lenient=True)
    count = len(source.tables)
    tables = [_FirstTable(one, most) for one in source.tables[: None if most is None else FILES]]
    source.tables = [*tables]
    found = source.read(_Refused(look))
    look.rows = sum(one.first.count for one in tables)
    look.whole = len(tables) == count and all(one.first.whole for one in tables)
    if not look.whole:  # a recording can be in the rows that were not read
        labels = str(given[1])
        look.refused = [one for one in look.refused if not one[0].startswith(labels)]
    look.notes += found.notes
    for label in found.labels:
        look.answers.update(map(str, label if isinstance(label, list) else [label]))
    decays = model.cell == "grud"
    index = RecordingIndex.build(
        found, static=model.static, rate=model.rate, elapsed=model.elapsed or decays or None,
        decays=decays, strict=bool(model.channels),
    )  # fmt: skip
    one, array = found.items[0], index.encode(found.items[0])
    look.cells = _shown(dict(zip(found.channels, one.values[0].tolist(), strict=True)))
    look.item = (
        f"recording {one.unique_id!r}: {len(one)} steps, channels {', '.join(found.channels)}"
    )
    look.numbers = f"{_short(array[0])} for the first step"
    steps = "T" if model.window is None else str(model.window)
    look.shape = f"({model.batch_size}, {steps}, {array.shape[1]}): recordings, steps, features"
    return look


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
    "language-model": look_at_text, "classifier": look_at_labels, "tagger": look_at_tags,
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
