"""The predictions of `elman predict` for files of audio or images, see `elman.tasks.predictions`.

This file does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from elman.arguments import check_whole
from elman.errors import ArgumentError, DataError
from elman.tasks import Classifier, Tagger, Transcriber, Translator
from elman.tasks.examples import ExampleTask
from elman.tasks.prediction import (
    Prediction,
    SearchOptions,
    check_best,
    check_pair,
    label_cell,
)

if TYPE_CHECKING:
    from elman.decode.transcript import Transcript

Items = TypeVar("Items", bound=ExampleTask)
SPAN = ("start", "end")  # columns of a span, in seconds
WORD = (*SPAN, "word", "confidence")  # columns of a word


def headers_of(model: ExampleTask, path: Path) -> list[tuple[Any, str]]:
    """Return items of which only headers are read, with the places where they were read.

    Args:
        model: a model of audio or images.
        path: a file, a folder or a manifest.

    Raises:
        DataError: a file cannot be read.
    """
    rows = model.rows(path, lenient=False).read()
    found = []
    for place, values in rows:
        if isinstance(values, DataError):
            raise values
        found.append((values[0], place))
    return found


@dataclass(kw_only=True)
class OfFiles(Prediction[Items]):
    """The base class of the options of predictions for files."""

    reads = "files"
    kinds: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".jsonl")

    def lines(self, model: Items, text: str) -> Iterator[str]:
        """Yield the predictions for a file, or for all of a folder or a manifest."""
        headers = headers_of(model, Path(text))
        for header, place in headers:
            for line in self._lines(model, model.input_.reader.item(header, place)):
                yield f"{header.label}: {line}" if len(headers) > 1 else line

    def _lines(self, model: Items, item: Any) -> Iterator[str]:
        raise NotImplementedError

    def header(self, kind: str, *, spans: bool) -> tuple[str, ...]:
        """Return the names of the columns; the start and the end of spans follow their paths."""
        line, path, *others = self.columns
        return line, path, *(SPAN if spans else ()), *others

    def rows(
        self, model: Items, items: list[Any], kind: str, *, spans: bool
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield a row for each item: its path, the start and the end of a span, its prediction."""
        found = self._answers(model, items, lists=kind == ".jsonl")
        for item, answer in zip(items, found, strict=True):
            yield [(item.path, *(item.span if spans else ()), *answer)]

    def _answers(self, model: Items, items: list[Any], *, lists: bool) -> Iterable[tuple[Any, ...]]:
        raise NotImplementedError


@dataclass(kw_only=True)
class FileLabels(OfFiles[Classifier]):
    """The labels of files."""

    columns = ("line", "path", "label", "probability")

    k: int = 5
    """Number of predictions for a text or a file."""

    def _lines(self, model: Classifier, item: Any) -> Iterator[str]:
        check_whole(self.k, "k", least=1)
        p = model.predict_proba([item])[0]
        for n in sorted(range(len(p)), key=lambda n: -p[n])[: self.k]:
            yield f"{p[n]:7.2%}  {model.classes[n]}"

    def _answers(
        self, model: Classifier, items: list[Any], *, lists: bool
    ) -> Iterator[tuple[Any, ...]]:
        for p in model.predict_proba(items):
            sure = min(max(q, 1 - q) for q in p) if model.several else p.max()
            yield label_cell(model, p, lists=lists), round(float(sure), 6)


@dataclass(kw_only=True)
class FileTexts(SearchOptions, OfFiles[Translator]):
    """The texts of files, by a translator."""

    columns = ("line", "path", "text")

    def _lines(self, model: Translator, item: Any) -> Iterator[str]:
        yield model.predict([item], search=self.search())[0]

    def _answers(self, model: Translator, items: list[Any], *, lists: bool) -> Iterable[tuple[str]]:
        return zip(model.predict(items, search=self.search()), strict=True)


@dataclass(kw_only=True)
class ImageTags(OfFiles[Tagger]):
    """The tags of images, one for each step or each image of a series."""

    kinds = (".jsonl",)
    columns = ("line", "path", "tags")

    def _lines(self, model: Tagger, item: Any) -> Iterator[str]:
        yield " ".join(model.predict([item])[0])

    def _answers(
        self, model: Tagger, items: list[Any], *, lists: bool
    ) -> Iterable[tuple[list[str]]]:
        return zip(model.predict(items), strict=True)


@dataclass(kw_only=True)
class AudioTags(OfFiles[Tagger]):
    """The tags of audio files, as spans of equal tags."""

    kinds = (".jsonl",)
    columns = ("line", "path", "spans")

    def _lines(self, model: Tagger, item: Any) -> Iterator[str]:
        for start, end, tag in self._spans(model, item):
            yield f"{start:9.2f} {end:9.2f}  {tag}"

    def _answers(
        self, model: Tagger, items: list[Any], *, lists: bool
    ) -> Iterator[tuple[list[tuple[float, float, str]]]]:
        for item in items:
            yield (self._spans(model, item),)

    def _spans(self, model: Tagger, item: Any) -> list[tuple[float, float, str]]:
        """Return start and end in the file and the tag of each span, without the background."""
        from elman.decode.events import events_of

        tags = model.predict([item])[0]
        frame, start = model.input_.seconds(item) / max(1, len(tags)), item.span[0]
        return [
            (round(start + one.begin * frame, 3), round(start + one.end * frame, 3), one.label)
            for one in events_of(tags, model.background)
        ]


@dataclass(kw_only=True)
class SpeechOptions:
    """The settings of the search of a transcriber."""

    beam: int | None = None
    """Sequences that are kept at a time; 1 is greedy. None for 8, or k if it is larger."""
    language_model: Path | None = None
    """Speech: folder of a language model of Elman, or an n-gram file (ARPA)."""
    lm_weight: float | None = None
    """Speech: weight of the language model; None for 0.5."""
    word_bonus: float = 0.0
    """Speech: added for each word, against too short texts; 1 is usual with a language model."""
    phrases: Path | None = None
    """Speech: file with a phrase on each line that becomes more likely, such as a name; a number
    after a colon is its boost."""
    boost: float | None = None
    """Speech: boost of phrases without a number, in nats for each word; None for 3."""
    words: Path | None = None
    """Speech: file with the only words that can be recognised."""

    def __post_init__(self) -> None:
        check_pair("lm_weight", self.lm_weight, "language_model", self.language_model)
        check_pair("boost", self.boost, "phrases", self.phrases)
        self.given()  # raises for invalid settings before a model is loaded

    def given(self, best: int = 1) -> dict[str, Any]:
        """Return the arguments of `Transcriber.transcribe` and `stream`, for a number of results.

        Raises:
            ArgumentError: a value is out of its range.
        """
        from elman.decode.hypotheses import SpeechSearch

        check_best(best, self.beam)
        found = {name: getattr(self, name) for name in ("language_model", "phrases", "words")}
        weights: dict[str, Any] = {"lm_weight": self.lm_weight, "boost": self.boost}
        found["search"] = SpeechSearch(
            beam=max(8, best) if self.beam is None else self.beam,
            n_best=best,
            word_bonus=self.word_bonus,
            **{name: value for name, value in weights.items() if value is not None},
        )
        return found


@dataclass(kw_only=True)
class Transcripts(SpeechOptions, OfFiles[Transcriber]):
    """The transcripts of files."""

    columns = ("line", "path", "text", "confidence")

    k: int | None = None
    """Number of predictions for a text; None for 1, without its probability."""
    times: bool = False
    """Speech: write each word with its start and end in seconds and its confidence."""
    subtitles: Literal["srt", "vtt"] | None = None
    """Speech: write subtitles of this kind to the folder --out, a file for each recording."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k is not None:
            check_whole(self.k, "k", least=1)
            self.given(self.k)

    def lines(self, model: Transcriber, text: str) -> Iterator[str]:
        """Yield the transcripts of a file, or of all of a folder or a manifest."""
        if self.k is not None and self.times:
            raise ArgumentError("times are those of the best transcript; omit k")
        found = model.transcribe(Path(text), **self.given(self.k or 1))
        headers = headers_of(model, Path(text))
        for (header, _), best in zip(headers, found, strict=True):
            for line in self._shown(best, header):
                yield f"{header.label}: {line}" if len(headers) > 1 else line

    def _shown(self, best: list[Transcript], item: Any) -> Iterator[str]:
        """Yield the best transcripts of an item, or the words of the best one."""
        if self.times:
            for start, end, word, confidence in words_in_file(best[0], item):
                yield f"{start:9.2f} {end:9.2f} {confidence:7.1%}  {word}"
            return
        for one in best:
            yield one.text if self.k is None else f"{one.score:8.2f}  {one.text}"

    def header(self, kind: str, *, spans: bool) -> tuple[str, ...]:
        """Return the names of the columns, which with times are those of words."""
        if self.times and kind != ".jsonl":
            return ("line", "path", *WORD)
        return super().header(kind, spans=spans) + (("words",) if self.times else ())

    def rows(
        self, model: Transcriber, items: list[Any], kind: str, *, spans: bool
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield a row for each item; with times, a row for each of its words, except in JSONL."""
        if not self.times or kind == ".jsonl":
            yield from super().rows(model, items, kind, spans=spans)
            return
        found = model.transcribe(items, **self.given())
        for item, best in zip(items, found, strict=True):
            yield [(item.path, *word) for word in words_in_file(best[0], item)]

    def _answers(
        self, model: Transcriber, items: list[Any], *, lists: bool
    ) -> Iterator[tuple[Any, ...]]:
        for item, best in zip(items, model.transcribe(items, **self.given()), strict=True):
            words = [dict(zip(WORD, one, strict=True)) for one in words_in_file(best[0], item)]
            yield best[0].text, best[0].confidence, *([words] if self.times else ())


def words_in_file(found: Transcript, item: Any) -> Iterator[tuple[float, float, str, float]]:
    """Yield start and end of each word in the file of an item, in seconds, text and confidence."""
    begin = getattr(item, "span", (0.0, 0.0))[0]  # pictures have none
    for word in found.words:
        start, end = round(begin + word.start, 3), round(begin + word.end, 3)
        yield start, end, word.text, word.confidence
