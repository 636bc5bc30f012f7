"""Predictions and generated texts, as a command asks a trained model for them.

Each class below belongs to a kind of model.  Its fields are the options of the predictions of this
kind, which the command line offers as flags; PREDICTIONS and GENERATIONS name the classes.
This file does not import torch.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from elman.arguments import check_whole
from elman.errors import ArgumentError
from elman.report.terminal import one_line
from elman.tasks.classifier import Classifier
from elman.tasks.folder import read_config
from elman.tasks.forecaster import Forecaster
from elman.tasks.language_model import LanguageModel
from elman.tasks.tagger import Tagger
from elman.tasks.task import Task
from elman.tasks.translator import Translator

if TYPE_CHECKING:
    from elman.decode.beam import Search
    from elman.decode.sample import Sampling

Model = TypeVar("Model", bound=Task)
Table = dict[str, list[Any]]
Answer = tuple[Table, Callable[..., None]]  # columns, and what writes them to a path
LOG = logging.getLogger("elman")  # the command line shows it


@dataclass(kw_only=True)
class Prediction(Generic[Model]):
    """The options of the predictions of a kind of model, here none."""

    reads: ClassVar[str] = "texts"  # or recordings or series, which are read from a table

    def lines(self, model: Model, text: str) -> Iterator[str]:
        """Yield the predictions for a text as lines for the terminal."""
        raise NotImplementedError

    def answer(self, model: Model, file: Path | None) -> Answer:
        """Return the predictions for a table."""
        raise NotImplementedError

    def search(self) -> Search | None:
        """Return the settings of the search; None for the default ones of the model."""
        return None


@dataclass(kw_only=True)
class NextWords(Prediction[LanguageModel]):
    """The next words after a text."""

    k: int = 5
    """Number of predictions for a text."""

    def lines(self, model: LanguageModel, text: str) -> Iterator[str]:
        """Yield a word and its probability on each line."""
        tell_unknown(model, text)
        for token, probability in model.predict(text, k=self.k):
            yield f"{probability:7.2%}  {token if token.strip() else repr(token)}"


@dataclass(kw_only=True)
class Labels(Prediction[Classifier]):
    """The labels of a text."""

    k: int = 5
    """Number of predictions for a text."""

    def lines(self, model: Classifier, text: str) -> Iterator[str]:
        """Yield a label and its probability on each line."""
        check_text(model, text, self.k)
        p = model.predict_proba([text])[0]
        for n in sorted(range(len(p)), key=lambda n: -p[n])[: self.k]:
            yield f"{p[n]:7.2%}  {model.classes[n]}"


@dataclass(kw_only=True)
class Tags(Prediction[Tagger]):
    """The tags of the words of a text."""

    def lines(self, model: Tagger, text: str) -> Iterator[str]:
        """Yield a tag and its word on each line."""
        check_text(model, text)
        words = text.split()
        for word, tag in zip(words, model.predict([words])[0], strict=True):
            yield f"{tag:8s} {word}"


@dataclass(kw_only=True)
class Translations(Prediction[Translator]):
    """The translations of a text."""

    k: int | None = None
    """Number of predictions for a text; None for 1, without its probability."""
    beam: int | None = None
    """Sequences that are kept at a time; 1 is greedy. None for 5, or k if it is larger."""
    length_penalty: float = 1.0
    """0 for the likeliest sequence; larger values prefer longer ones."""
    coverage_penalty: float = 0.0
    """Above 0: prefer translations that attend to the entire source."""
    no_repeat: int | None = None
    """Length of n-grams that must not occur twice."""

    def lines(self, model: Translator, text: str) -> Iterator[str]:
        """Yield a translation on each line, after its log-probability if `k` is given."""
        check_reads_text(model)
        check_text(model, text, self.k)
        search = self.search()
        if search is None:
            yield model.predict([text])[0]
            return
        for translation, log_p in model.n_best([text], search)[0]:
            yield f"{log_p:8.2f}  {translation}" if self.k is not None else translation

    def search(self) -> Search | None:
        """Return the search for the k best translations; None for the default of the model."""
        from elman.decode.beam import Search

        if self == Translations():
            return None
        best = self.k or 1
        return Search(
            beam=max(5, best) if self.beam is None else self.beam,
            length_penalty=self.length_penalty, coverage_penalty=self.coverage_penalty,
            no_repeat=self.no_repeat, n_best=best,
        )  # fmt: skip


@dataclass(kw_only=True)
class FutureSteps(Prediction[Forecaster]):
    """The next steps of series."""

    reads = "series"

    level: tuple[float, ...] = ()
    """Intervals that contain the number with this probability, in percent. Without it 80 and 95."""
    futures: int = 0
    """Possible courses to draw, one column for each."""

    def __post_init__(self) -> None:
        from elman.forecast.forecasts import check_level

        check_level(self.level)

    def answer(self, model: Forecaster, file: Path | None) -> Answer:
        """Return the forecasts after the series in the file, or after the training data."""
        found, level = model.predict(file, futures=self.futures), self.level or None
        for note in found.notes:
            LOG.info(note)
        return found.columns(level), partial(found.write, level=level)


@dataclass(kw_only=True)
class OfRecordings(Prediction[Model]):
    """The options of all predictions for recordings."""

    reads = "recordings"

    spans: Path | None = None
    """A table of spans (unique_id, start, end) to predict for, instead of entire recordings; or a
    table with the columns that do not change within a recording."""

    def answer(self, model: Model, file: Path | None) -> Answer:
        """Return a row for each recording, span, step or event."""
        from elman.report.write_table import write_table

        table = self._table(model, file if self.spans is None else (file, self.spans))
        return table, partial(write_table, table=table)

    def _table(self, model: Model, data: object) -> Table:
        raise NotImplementedError


@dataclass(kw_only=True)
class RecordingLabels(OfRecordings[Classifier]):
    """The labels of recordings."""

    def _table(self, model: Classifier, data: object) -> Table:
        from elman.tasks.recording_tables import label_table

        return label_table(model, data)


@dataclass(kw_only=True)
class RecordingTags(OfRecordings[Tagger]):
    """The tags of the steps of recordings, or their events."""

    events: bool = False
    """Predict events with begin and end, instead of a tag for every step."""
    on: float = 0.6
    """Events: probability at which an event begins."""
    off: float = 0.4
    """Events: probability below which it ends."""
    shortest: int = 1
    """Events: smallest number of steps."""

    def _table(self, model: Tagger, data: object) -> Table:
        from elman.tasks.recording_tables import event_table, tag_table

        how: dict[str, Any] = {"on": self.on, "off": self.off, "shortest": self.shortest}
        if self.events:
            return event_table(model, data, **how)
        if how != {"on": 0.6, "off": 0.4, "shortest": 1}:
            raise ArgumentError("--on, --off and --shortest are for --events")
        return tag_table(model, data)


@dataclass(kw_only=True)
class Generation(Generic[Model]):
    """The settings for drawing words."""

    temperature: float = 1.0
    """Below 1, likely words are preferred; 0 always takes the likeliest word."""
    top_k: int | None = None
    """Draw only from the k likeliest words."""
    top_p: float | None = None
    """Draw only from the likeliest words that together reach this probability."""
    min_p: float | None = None
    """Draw only from words at least this fraction as likely as the likeliest one."""
    repetition_penalty: float = 1.0
    """Above 1: avoid words that occurred before."""
    seed: int = 0
    """Seed of the random numbers; equal seeds give equal texts."""
    samples: int = 1
    """Number of texts."""

    def __post_init__(self) -> None:
        check_whole(self.samples, "samples", least=1)

    def pieces(self, model: Model, text: str) -> Iterator[str]:
        """Yield the generated texts in pieces, each when it is drawn."""
        raise NotImplementedError

    def sampling(self) -> Sampling:
        """Return the settings of sampling; raise an ArgumentError for those that cannot work."""
        from elman.decode.sample import Sampling

        return Sampling(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )  # fmt: skip


@dataclass(kw_only=True)
class Continuations(Generation[LanguageModel]):
    """Continuations of a text."""

    max_new_tokens: int = 100
    """Largest number of tokens of a continuation."""
    stop: tuple[str, ...] = ()
    """End a continuation before this string; can be given several times."""

    def pieces(self, model: LanguageModel, text: str) -> Iterator[str]:
        """Yield the text and each of its continuations."""
        tell_unknown(model, text)
        for number in range(self.samples):
            yield from self._continue(model, text, self.seed + number)
            yield "\n\n" if number + 1 < self.samples else "\n"

    def _continue(self, model: LanguageModel, text: str, seed: int) -> Iterator[str]:
        from elman.encode.text import glued

        pieces = model.generate_live(
            text, sampling=self.sampling(), max_new_tokens=self.max_new_tokens, stop=self.stop,
            seed=seed,
        )  # fmt: skip
        first = next(pieces, "")  # before anything is yielded, as the settings may be refused
        words = model.vocabulary.tokens == "word" and text
        if words and not glued(text[-1], first, model.vocabulary.split_punctuation):
            first = f" {first}"
        return itertools.chain([text, first], pieces)


@dataclass(kw_only=True)
class RandomTranslations(Generation[Translator]):
    """Translations of a text that are drawn at random."""

    def pieces(self, model: Translator, text: str) -> Iterator[str]:
        """Yield a translation on each line."""
        check_reads_text(model)
        for seed in range(self.seed, self.seed + self.samples):
            found = model.predict([text], sampling=self.sampling(), seed=seed)
            yield one_line(found[0]) + "\n"


# By the name of a task, and of what it reads where that makes a difference.
PREDICTIONS: dict[str, type[Prediction[Any]]] = {
    "language-model": NextWords, "classifier": Labels, "tagger": Tags,
    "translator": Translations, "forecaster": FutureSteps,
    "classifier of recordings": RecordingLabels, "tagger of recordings": RecordingTags,
}  # fmt: skip
GENERATIONS: dict[str, type[Generation[Any]]] = {
    "language-model": Continuations, "translator": RandomTranslations,
}  # fmt: skip


def kind_of(folder: Path) -> str:
    """Return the name of the kind of model in a folder, as in PREDICTIONS.

    Raises:
        FolderError: the folder holds no model.
    """
    config = read_config(folder)
    kinds = config["data"].get("inputs")
    name = f"{config['task']} of {kinds[0] if isinstance(kinds, list) and kinds else kinds}"
    return name if name in PREDICTIONS else str(config["task"])


def check_text(model: Task, text: str, k: int | None = None) -> None:
    """Raise an ArgumentError for a text without words, or a number of predictions below 1."""
    if not text.strip():
        raise ArgumentError(f"the text is empty; a {model.task} needs words")
    if k is not None:
        check_whole(k, "k", least=1)


def check_reads_text(model: Translator) -> None:
    """Raise an ArgumentError for a translator of other items than texts."""
    if model.inputs.vocabulary is None:
        noun = model.inputs.reader.noun
        raise ArgumentError(f"this translator reads {noun}, not a TEXT; predict them in Python")


def tell_unknown(model: LanguageModel, text: str) -> None:
    """Log the words of a text that are not in the vocabulary of a model."""
    vocabulary = model.vocabulary
    if vocabulary.unknown is None:
        return
    encoding = vocabulary.tokenizer.encode(text, add_special_tokens=False)
    words = [
        text[start:end]
        for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        if number == vocabulary.unknown
    ]
    if words:
        LOG.info("not in the vocabulary: %s", ", ".join(dict.fromkeys(words)))
