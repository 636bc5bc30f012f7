"""The predictions of the command `elman predict`.

Each class below or in `elman.tasks.file_predictions` belongs to a kind of model.  Its fields are
the options of the predictions of this kind, which become flags on the command line.  Its methods
predict for a text, for the rows of a file or for a table.  PREDICTIONS lists the classes.

This file does not import torch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from elman.arguments import check_whole
from elman.errors import ArgumentError
from elman.tasks import Classifier, Forecaster, LanguageModel, Tagger, Transcriber, Translator
from elman.tasks.examples import ExampleTask
from elman.tasks.file_predictions import (
    AudioTags,
    FileLabels,
    FileTexts,
    ImageTags,
    SpeechOptions,
    Transcripts,
)
from elman.tasks.prediction import Answer, Prediction, SearchOptions, Table, check_pair, label_cell

Items = TypeVar("Items", bound=ExampleTask)
LOG = logging.getLogger("elman")  # the command line shows it


@dataclass(kw_only=True)
class NextWords(Prediction[LanguageModel]):
    """The next words after a text."""

    k: int = 5
    """Number of predictions for a text."""

    def lines(self, model: LanguageModel, text: str) -> Iterator[str]:
        """Yield a word and its probability on each line."""
        log_unknown(model, text)
        for token, probability in model.predict(text, k=self.k):
            yield f"{probability:7.2%}  {token if token.strip() else repr(token)}"


@dataclass(kw_only=True)
class Adapting:
    """The options with which a language model is scored while it adapts to the text."""

    adapt: tuple[str, ...] = ()
    """Also score the model while it adapts to the text: "dynamic" changes the weights, "cache"
    remembers what followed similar states; repeat it for both. Settings follow after commas:
    dynamic,learning_rate=1e-4,segment=20."""
    tune_on: Path | None = None
    """A validation text, on which the settings of adapt are chosen."""

    def __post_init__(self) -> None:
        check_pair("tune_on", self.tune_on, "adapt", self.adapt or None)
        if self.adapt:
            from elman.tasks.adaptation import settings_of

            settings_of(self.adapt)  # raises for invalid settings before a model is loaded

    def given(self) -> dict[str, Any]:
        """Return the arguments of `LanguageModel.evaluate`."""
        return {"adapt": self.adapt or None, "tune_on": self.tune_on}


@dataclass(kw_only=True)
class Labels(Prediction[Classifier]):
    """The labels of a text."""

    kinds = (".csv", ".tsv", ".jsonl")
    columns = ("line", "label", "probability")

    k: int = 5
    """Number of predictions for a text."""

    def lines(self, model: Classifier, text: str) -> Iterator[str]:
        """Yield a label and its probability on each line."""
        check_text(model, text, self.k)
        p = model.predict_proba([text])[0]
        for n in sorted(range(len(p)), key=lambda n: -p[n])[: self.k]:
            yield f"{p[n]:7.2%}  {model.classes[n]}"

    def answers(self, model: Classifier, items: list[Any], kind: str) -> Iterator[tuple[Any, ...]]:
        """Yield the label or labels of each item, and the lowest probability among them."""
        for p in model.predict_proba(items):
            sure = min(max(q, 1 - q) for q in p) if model.several else p.max()
            yield label_cell(model, p, lists=kind == ".jsonl"), round(float(sure), 6)


@dataclass(kw_only=True)
class Tags(Prediction[Tagger]):
    """The tags of the words of a text."""

    kinds = (".conll", ".jsonl")
    columns = ("line", "words", "tags")

    def lines(self, model: Tagger, text: str) -> Iterator[str]:
        """Yield a tag and its word on each line."""
        check_text(model, text)
        words = text.split()
        for word, tag in zip(words, model.predict([words])[0], strict=True):
            yield f"{tag:8s} {word}"

    def answers(self, model: Tagger, items: list[Any], kind: str) -> Iterable[tuple[Any, ...]]:
        """Return the words and the tags of each sentence."""
        several = len(model.input_.reader.columns) > 1  # the words are in the first one
        words = [item[0] for item in items] if several else items
        return zip(words, model.predict(items), strict=True)


@dataclass(kw_only=True)
class Translations(SearchOptions, Prediction[Translator]):
    """The translations of a text."""

    kinds = (".txt", ".csv", ".tsv", ".jsonl")
    columns = ("line", "text")

    k: int | None = None
    """Number of predictions for a text; None for 1, without its probability."""

    def __post_init__(self) -> None:
        self.search(self.k)  # raises for invalid settings before a model is loaded

    def lines(self, model: Translator, text: str) -> Iterator[str]:
        """Yield a translation on each line, after its log-probability if `k` is given."""
        check_text(model, text, self.k)
        check_reads_text(model)
        if (search := self.search(self.k)) is None:
            yield model.predict([text])[0]
            return
        for translation, log_p in model.n_best([text], search)[0]:
            yield f"{log_p:8.2f}  {translation}" if self.k is not None else translation

    def answers(self, model: Translator, items: list[str], kind: str) -> Iterable[tuple[str]]:
        """Return the best translation of each source."""
        return zip(model.predict(items, search=self.search()), strict=True)


@dataclass(kw_only=True)
class FutureSteps(Prediction[Forecaster]):
    """The next steps of series."""

    reads = "series"

    level: tuple[float, ...] = ()
    """Probability of an interval, in percent; may be repeated. Without it 80 and 95."""
    futures: int = 0
    """Number of sampled futures; each is a column of the table."""

    def __post_init__(self) -> None:
        from elman.forecast.forecasts import check_level

        check_level(self.level)

    def table(self, model: Forecaster, file: Path | None) -> Answer:
        """Return the forecasts after the series in the file, or after the training data."""
        found, level = model.predict(file, futures=self.futures), self.level or None
        for note in found.notes:
            LOG.info(note)
        return found.columns(level), partial(found.write, level=level)


@dataclass(kw_only=True)
class OfRecordings(Prediction[Items]):
    """The options of all predictions for recordings."""

    reads = "recordings"

    spans: Path | None = None
    """A table of spans (unique_id, start, end) to predict for, instead of entire recordings; or a
    table with the columns that do not change within a recording."""

    def table(self, model: Items, file: Path | None) -> Answer:
        """Return a row for each recording, span, step or event."""
        from elman.report.write_table import write_table

        table = self._table(model, file if self.spans is None else (file, self.spans))
        return table, partial(write_table, table=table)

    def _table(self, model: Items, data: object) -> Table:
        raise NotImplementedError

    def _spans(self, model: Items, items: list[Any]) -> Table:
        """Return the name of each recording, and its start and end (after the last step)."""
        from elman.inputs.fused_rows import recorded_of, recordings_among

        learned = recorded_of(model.input_)
        items = recordings_among(items)
        table: Table = {learned.reader.settings.unique_id: [one.name for one in items]}
        if any(map(len, items)):
            step = learned.index.step
            ends = [one.stamp(one.times[-1] + step) if len(one) else one.begin for one in items]
            spans = [one.moments([one.begin, end]) for one, end in zip(items, ends, strict=True)]
            table["start"], table["end"] = map(list, zip(*spans, strict=True))
        return table


@dataclass(kw_only=True)
class RecordingLabels(OfRecordings[Classifier]):
    """The labels of recordings."""

    def _table(self, model: Classifier, data: object) -> Table:
        """Return the recordings or spans, their labels, and the probability of each label."""
        items = model.items(data)
        p = model.predict_proba(items)
        table = self._spans(model, items)
        table[model.label] = [label_cell(model, row) for row in p]
        columns = zip(model.classes, p.T, strict=True)
        return table | {f"p({name})": [round(float(one), 6) for one in q] for name, q in columns}


@dataclass(kw_only=True)
class RecordingTexts(SearchOptions, OfRecordings[Translator]):
    """The texts of recordings."""

    def _table(self, model: Translator, data: object) -> Table:
        """Return the recordings or spans, and the text of each."""
        items = model.items(data)
        texts = model.predict(items, search=self.search())
        return self._spans(model, items) | {model.target: texts}


@dataclass(kw_only=True)
class RecordingTranscripts(SpeechOptions, OfRecordings[Transcriber]):
    """The transcripts of recordings, such as the text of handwriting."""

    def _table(self, model: Transcriber, data: object) -> Table:
        """Return the recordings or spans, the transcript of each, and its confidence."""
        items = model.items(data)
        found = [best[0] for best in model.transcribe(items, **self.given())]
        texts = [one.text for one in found]
        confidences = [one.confidence for one in found]
        return self._spans(model, items) | {model.text: texts, "confidence": confidences}


@dataclass(kw_only=True)
class RecordingTags(OfRecordings[Tagger]):
    """The tags of the steps of recordings, or their events."""

    events: bool = False
    """Predict events with begin and end, instead of a tag for every step."""
    on: float = 0.6
    """Events: probability at which an event begins."""
    off: float = 0.4
    """Events: probability below which an event ends."""
    shortest: int = 1
    """Events: minimum number of steps of an event."""

    def _table(self, model: Tagger, data: object) -> Table:
        """Return a row for each event, or for each step."""
        from elman.inputs.fused_rows import recorded_of, recordings_among

        read = recorded_of(model.input_).reader.settings
        name, tags = read.unique_id, model.tags or "label"
        how: dict[str, Any] = {"on": self.on, "off": self.off, "shortest": self.shortest}
        if self.events:
            found, columns = model.events(data, **how), (name, tags, "start", "end", "probability")
            return {column: [event[n] for event in found] for n, column in enumerate(columns)}
        if how != {"on": 0.6, "off": 0.4, "shortest": 1}:
            raise ArgumentError("--on, --off and --shortest are for --events")
        items = model.items(data)
        recordings = recordings_among(items)
        return {
            name: [one.name for one in recordings for _ in range(len(one))],
            read.ds: [stamp for one in recordings for stamp in one.moments(one.stamps)],
            tags: [tag for some in model.predict(items) for tag in some],
        }


@dataclass(kw_only=True)
class OfGroups(Prediction[Items]):
    """The base of predictions for groups of rows."""

    reads = "groups"

    def table(self, model: Items, file: Path | None) -> Answer:
        """Return a row for each group, or for each row."""
        from elman.report.write_table import write_table

        table = self._table(model, model.items(file))
        return table, partial(write_table, table=table)

    def _table(self, model: Items, items: list[Any]) -> Table:
        raise NotImplementedError


@dataclass(kw_only=True)
class GroupLabels(OfGroups[Classifier]):
    """The labels of groups."""

    def _table(self, model: Classifier, items: list[Any]) -> Table:
        """Return the groups, their labels, and the probability of each label."""
        p = model.predict_proba(items)
        table: Table = {str(model.group): [one.name for one in items]}
        table[model.label] = [label_cell(model, row) for row in p]
        columns = zip(model.classes, p.T, strict=True)
        return table | {f"p({name})": [round(float(one), 6) for one in q] for name, q in columns}


@dataclass(kw_only=True)
class GroupTags(OfGroups[Tagger]):
    """The tags of the rows of groups."""

    def _table(self, model: Tagger, items: list[Any]) -> Table:
        """Return the group and the tag of each row, group by group."""
        return {
            str(model.group): [one.name for one in items for _ in one],
            model.tags or "tags": [tag for some in model.predict(items) for tag in some],
        }


@dataclass(kw_only=True)
class GroupTexts(SearchOptions, OfGroups[Translator]):
    """The texts of groups."""

    def _table(self, model: Translator, items: list[Any]) -> Table:
        """Return the groups, and the text of each."""
        texts = model.predict(items, search=self.search())
        return {str(model.group): [one.name for one in items], model.target: texts}


# Keys are the names of the tasks, with the kind of input where it changes the options.
PREDICTIONS: dict[str, type[Prediction[Any]]] = {
    "language-model": NextWords,
    "classifier": Labels,
    "tagger": Tags,
    "translator": Translations,
    "forecaster": FutureSteps,
    "classifier of recordings": RecordingLabels,
    "tagger of recordings": RecordingTags,
    "translator of recordings": RecordingTexts,
    "classifier of groups": GroupLabels,
    "tagger of groups": GroupTags,
    "translator of groups": GroupTexts,
    "classifier of audio": FileLabels,
    "tagger of audio": AudioTags,
    "translator of audio": FileTexts,
    "classifier of images": FileLabels,
    "tagger of images": ImageTags,
    "translator of images": FileTexts,
    "transcriber of recordings": RecordingTranscripts,
    "transcriber": Transcripts,
}
# The options with which models are scored, by the same names.
EVALUATIONS: dict[str, type[SpeechOptions | Adapting]] = {
    "language-model": Adapting,
    "transcriber of recordings": SpeechOptions,
    "transcriber": SpeechOptions,
}


def check_text(model: ExampleTask, text: str, k: int | None = None) -> None:
    """Raise an ArgumentError for a blank text, k below 1, or a model that reads several columns."""
    if not text.strip():
        raise ArgumentError(f"the text is empty; a {model.task} needs words")
    if k is not None:
        check_whole(k, "k", least=1)
    columns = model.input_.reader.columns
    if len(columns) > 1:
        raise ArgumentError(
            f"this {model.task} reads the columns {', '.join(columns)}, not a single text; give a "
            "table with them with --file, and a file for the predictions with --out"
        )


def check_reads_text(model: Translator) -> None:
    """Raise an ArgumentError if a translator does not read texts."""
    if model.input_.vocabulary is None:
        noun = model.input_.reader.noun
        raise ArgumentError(
            f"this translator reads {noun}, not a TEXT; give a table of them to elman predict with "
            "--file, and a file for the predictions with --out"
        )


def log_unknown(model: LanguageModel, text: str) -> None:
    """Log the words of a text that are not in the vocabulary of a model."""
    if words := model.vocabulary.unknown_words(text):
        LOG.info("not in the vocabulary: %s", ", ".join(dict.fromkeys(words)))
