"""The sentences of a tagger: read and encode words and characters, baseline, scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from elman.arguments import check_types, list_of_argument, text_of_argument
from elman.encode.words import WordEmbed, WordIndex
from elman.errors import ArgumentError, DataError
from elman.manifest import content_of
from elman.read.columns import Table, column_of
from elman.read.files import is_path
from elman.read.frames import is_frame
from elman.read.rows import Rejects
from elman.read.sentences import Sentences
from elman.report.spans import has_spans, score_spans
from elman.tasks.folder import WORDS, read_json, write_json
from elman.tasks.parts import hold_out
from elman.tasks.tagged import Guesses, Tagged

if TYPE_CHECKING:
    from elman.tasks.tagger import Tagger

NAME = "most frequent tag of each word"
SIZE = 100  # default size of a word vector
DROPPED = 0.3  # default dropout probability of the features of a word vector


class SentenceInputs:
    """The sentences that a tagger reads.

    Args:
        index: the words and characters.
    """

    kind, unit, channels = "sentences", "words", 0
    title = "a tag for every word"
    like, warning = None, ""
    use = ('model.predict([["The", "cat", "sat"]])',)

    def __init__(self, index: WordIndex) -> None:
        self.index = index

    @staticmethod
    def look(model: Tagger, given: Any, *, lenient: bool = False) -> Sentences:
        """Open sentences and tags, given as one source, or as a source and its tags."""
        source, tags = given if isinstance(given, tuple) else (given, None)
        if is_frame(source):
            names = [model.words or "words", *([model.tags or "tags"] if tags is None else [])]
            source, *rest = Table(source).rows(names).lists
            tags = rest[0] if rest else tags
        if tags is None and not is_path(source):
            raise ArgumentError("sentences in a list need their tags: fit(sentences, tags)")
        return Sentences(
            source, model.words, model.tags or "", parallel=tags, encoding=model.encoding,
            lenient=lenient, delimiter=model.delimiter,
        )  # fmt: skip

    @staticmethod
    def collect(
        _model: Tagger, source: Sentences, rejects: Rejects, _like: object = None
    ) -> Tagged:
        """Read all sentences; those that cannot be read are given to `rejects`."""
        sentences: list[Any] = []
        tags: list[Sequence[str]] = []
        for place, values in source.read():
            if isinstance(values, DataError):
                rejects.add(place, values)
            else:
                sentences.append(tuple(map(str, values[0])))  # type: ignore[call-overload]
                tags.append(tuple(map(str, values[1])))  # type: ignore[call-overload]
        if not sentences:
            raise DataError(f"{source.name}: has no sentence")
        return Tagged(sentences, tags)

    @staticmethod
    def hold_out(model: Tagger, data: Tagged) -> tuple[Tagged, Tagged, str]:
        """Split the data into training and validation data; return a note, too."""
        share = model.validation_fraction
        train, held = hold_out(len(data.items), share, seed=model.seed, unit="sentences")
        note = f"{share:.0%} of the sentences are held out for validation"
        return data.select(train), data.select(held), note

    @classmethod
    def learn(cls, model: Tagger, train: Tagged, _notes: list[str]) -> SentenceInputs:
        """Collect the words and characters of the training data."""
        if model.cell == "grud":
            raise ArgumentError("cell=grud is for recordings, which have times; got sentences")
        index = WordIndex.build(
            train.items, lowercase=model.lowercase, min_count=model.min_count,
            size=model.vocabulary_size,
        )  # fmt: skip
        return cls(index)

    @classmethod
    def load(cls, _model: Tagger, folder: Path) -> SentenceInputs:
        """Read the inputs from a folder."""
        values = read_json(folder / WORDS)
        with content_of(folder / WORDS):
            index = WordIndex(**values)
            check_types(index)
        return cls(index)

    def save(self, folder: Path) -> None:
        """Write the inputs to a folder."""
        index = asdict(self.index)
        write_json(folder / WORDS, {k: v for k, v in index.items() if not k.startswith("_")})

    def embed(self, model: Tagger) -> tuple[WordEmbed, int]:
        """Return the embedding layer with random weights, and its number of features."""
        index = self.index
        layer = WordEmbed(
            len(index.words) + 2, len(index.characters) + 2,
            model.embedding_size or SIZE, model.character_size,
            dropout=model.embedding_dropout,
            input_dropout=DROPPED if model.input_dropout is None else model.input_dropout,
        )  # fmt: skip
        return layer, layer.size

    def given(self, model: Tagger, sentences: Any) -> list[Any]:
        """Return the sentences that a user gives to predict, checked."""
        found = []
        sentences = column_of(sentences, model.words or "words")
        for sentence in list_of_argument(sentences, "sentence", "sentences"):
            if isinstance(sentence, str):
                raise ArgumentError(
                    f"a sentence must be a list of words, got {sentence[:40]!r}; use text.split()"
                )
            words = list_of_argument(sentence, "a sentence", "words")
            found.append([text_of_argument(word, "a word") for word in words])
        return found

    def encode(self, items: Sequence[Any]) -> list[NDArray[Any]]:
        """Return the numbers of words and characters of each sentence."""
        return [self.index.encode(sentence) for sentence in items]

    def training(
        self, model: Tagger, part: Tagged, _notes: list[str]
    ) -> tuple[list[NDArray[Any]], list[Any], dict[str, Any]]:
        """Return encoded sentences, the numbers of their tags, and more arguments of batches."""
        return self.encode(part.items), list(part.numbers(model.tag_names)), {}

    def facts(self) -> dict[str, object]:
        """Return the sizes of the inputs, for the report."""
        return {"known_words": len(self.index.words)}

    def baselines(
        self, model: Tagger, parts: dict[str, Tagged], names: Sequence[str]
    ) -> list[tuple[str, dict[str, Guesses]]]:
        """Return the tags that the baseline predicts, by part of the data."""
        counts: dict[str, Counter[str]] = {"": Counter()}
        train = parts["train"]
        for sentence, tags in zip(train.items, train.tags, strict=True):
            for word, tag in zip(sentence, tags, strict=True):
                counts.setdefault(_fold(model, word), Counter())[tag] += 1
                counts[""][tag] += 1
        frequent = {word: count.most_common(1)[0][0] for word, count in counts.items()}
        found = {
            name: [
                [frequent.get(_fold(model, word), frequent[""]) for word in sentence]
                for sentence in parts[name].items
            ]
            for name in names
        }
        return [(NAME, found)]

    def scores(self, model: Tagger, part: Tagged, found: Guesses) -> dict[str, float]:
        """Return the accuracy, also of unknown words, and the scores of spans."""
        known = set(self.index.words)
        new_right = new = 0
        for sentence, true, guessed in zip(part.items, part.tags, found, strict=True):
            for word, a, b in zip(sentence, true, guessed, strict=True):
                if _fold(model, word) not in known:
                    new, new_right = new + 1, new_right + (a == b)
        scores: dict[str, float] = {"accuracy": part.accuracy(found)}
        if new:
            scores["accuracy_of_unknown_words"] = new_right / new
        if has_spans(model.tag_names):
            scores |= score_spans(part.tags, found)
        scores["words"] = part.elements
        return scores

    def sample(self, item: Any, tags: Sequence[str], found: Sequence[str]) -> str:
        """Return a sentence in which wrong tags are marked, for the report."""
        triples = zip(item, tags, found, strict=True)
        return " ".join(w if a == b else f"{w}[{a}, guessed {b}]" for w, a, b in triples)

    @property
    def made(self) -> str:
        """A description of the inputs, for the model card."""
        return f"{len(self.index.words):,} words"


def _fold(model: Tagger, word: str) -> str:
    return word.lower() if model.lowercase else word
