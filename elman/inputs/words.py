"""Sentences: a vector for each word, from the word and from its characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.arguments import check_types, list_of_argument, text_of_argument
from elman.encode.words import WordEmbed, WordIndex
from elman.errors import ArgumentError
from elman.inputs.input import Array, Guesses, Input, Reader
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, pair
from elman.manifest import WORDS, content_of, read_json, write_json
from elman.read.columns import Table, column_of
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.frames import is_frame
from elman.read.rows import Source
from elman.read.sentences import Sentences, words_of

BASELINE = "most frequent tag of each word"
SIZE = 100  # default size of a word vector
DROPPED = 0.3  # default dropout probability of the features of a word vector


class WordReader(Reader):
    """The reader of sentences, which are lists of words."""

    kind, noun, unit, row_is, named_by = "words", "sentences", "words", "a sentence", ("words",)

    def __init__(self, settings: InputSettings, column: str | None = None) -> None:
        super().__init__(settings, column)
        self.named = column or settings.words  # None for the usual column of each kind of file

    @classmethod
    def usual_column(cls, settings: InputSettings) -> str:
        """Return the column of the sentences in a table."""
        return settings.words or "words"

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> Source:
        """Return a source of sentences and their tags, see `Reader.open`."""
        if not target.each:
            return super().open(given, target, labelled=labelled, lenient=lenient)
        source, tags = pair(given)
        if is_frame(source):
            whole = labelled and tags is None
            names = [self.column, *([target.name or target.noun] if whole else [])]
            source, *rest = Table(source).rows(names).lists
            tags = rest[0] if rest else tags
        if labelled and tags is None and not is_path(source):
            raise ArgumentError(
                f"sentences in a list need their {target.noun}: fit(sentences, {target.noun})"
            )
        settings = self.settings
        return Sentences(
            source,
            self.named,
            (target.name or "") if labelled else None,
            parallel=tags,
            encoding=settings.encoding,
            lenient=lenient,
            delimiter=settings.delimiter,
        )

    def item(self, cell: Any, place: str) -> tuple[str, ...]:
        """Return the words of a sentence: a list, or a text with blanks between them."""
        return words_of(cell, f"{place}: column {self.column!r}")

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[list[str]]:
        """Check the sentences that a user gives for a prediction, and return them."""
        found = list_of_argument(column_of(data, self.column), "sentence", "sentences")
        text = next((one for one in found if isinstance(one, str)), None)
        if text is not None:
            raise ArgumentError(
                f"a sentence must be a list of words, got {text[:40]!r}; use text.split()"
            )
        return [self.item_given(one, "a sentence") for one in found]

    def item_given(self, cell: Any, place: str) -> list[str]:
        """Return the words of a sentence for a prediction: a list, or the text of a cell."""
        words = cell.split() if isinstance(cell, str) else list_of_argument(cell, place, "words")
        return [text_of_argument(word, "a word") for word in words]

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Words:
        """Collect the words and characters of the training data."""

        index = WordIndex.build(
            train.items,
            lowercase=self.settings.lowercase,
            min_count=self.settings.min_count,
            size=self.settings.vocabulary_size,
        )
        return Words(self, index)

    def load(self, folder: Path) -> Words:
        """Return the sentences of a model folder."""

        values = read_json(folder / WORDS)
        with content_of(folder / WORDS):
            index = WordIndex(**values)
            check_types(index)
        return Words(self, index)


class Words(Input):
    """Sentences after training.

    Args:
        reader: the reader of the sentences.
        index: the known words and characters.
    """

    reader: WordReader
    use = ('model.predict([["The", "cat", "sat"]])',)

    def __init__(self, reader: WordReader, index: WordIndex) -> None:
        self.reader, self.index, self._known = reader, index, set(index.words)

    def save(self, folder: Path) -> None:
        """Write the words and characters."""
        index = asdict(self.index)
        write_json(folder / WORDS, {k: v for k, v in index.items() if not k.startswith("_")})

    def encode(self, items: Sequence[Sequence[str]]) -> list[Array]:
        """Return the numbers of words and characters (T, 1 + characters) of each sentence."""
        return [self.index.encode(sentence) for sentence in items]

    def layer(self, settings: InputSettings) -> tuple[WordEmbed, int]:
        """Return the embedding layer with random weights, and its features."""

        index = self.index
        layer = WordEmbed(
            len(index.words) + 2,
            len(index.characters) + 2,
            settings.embedding_size or SIZE,
            settings.character_size,
            dropout=settings.embedding_dropout,
            input_dropout=DROPPED if settings.input_dropout is None else settings.input_dropout,
        )
        return layer, layer.size

    def facts(self) -> dict[str, object]:
        """Return the sizes of the input, for the report."""
        return {"known_words": len(self.index.words)}

    def show(self, item: Sequence[str]) -> str:
        """Return the beginning of a sentence, for the report."""
        return " ".join(item)[:500]

    def show_tags(self, item: Sequence[str], true: Sequence[str], found: Sequence[str]) -> str:
        """Return a sentence in which wrong tags are marked, for the report."""
        triples = zip(item, true, found, strict=True)
        return " ".join(w if a == b else f"{w}[{a}, predicted {b}]" for w, a, b in triples)

    def elements(self, item: Sequence[str]) -> list[str]:
        """Return the words of a sentence."""
        return list(item)

    def is_known(self, item: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether training has seen each word often enough."""
        return np.array([self._fold(word) in self._known for word in item], dtype=bool)

    def tag_baselines(
        self, train: Examples, targets: list[NDArray[np.int64]], others: Mapping[str, Examples]
    ) -> list[Guesses]:
        """Return the most frequent tag of each word, or of all words if a word is unknown."""
        counts: dict[str, Counter[int]] = {"": Counter()}
        for sentence, numbers in zip(train.items, targets, strict=True):
            for word, number in zip(sentence, numbers.tolist(), strict=True):
                counts.setdefault(self._fold(word), Counter())[number] += 1
                counts[""][number] += 1
        frequent = {word: count.most_common(1)[0][0] for word, count in counts.items()}
        found = {
            name: [
                np.array([frequent.get(self._fold(word), frequent[""]) for word in sentence])
                for sentence in part.items
            ]
            for name, part in others.items()
        }
        return [(BASELINE, found)]

    def _fold(self, word: str) -> str:
        return word.lower() if self.reader.settings.lowercase else word

    @property
    def made(self) -> str:
        """A description of the input, for the model card."""
        return f"{len(self.index.words):,} words"
