"""Texts: a vector for each token, and n-grams for the wide part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman.arguments import check_types, text_of_argument
from elman.encode.bags import Bag, NGrams
from elman.encode.embed import Embed
from elman.encode.text import Tokens, Vocabulary, choose_tokens, rare_share
from elman.encode.vectors import read_vectors
from elman.errors import ArgumentError, DataError
from elman.inputs.input import Array, Input, Probabilities, Reader
from elman.inputs.live import LiveInput, Step, check_no_time
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, pair
from elman.manifest import FEATURES, TOKENIZER, content_of
from elman.read.examples import Examples
from elman.read.files import is_path, kind_of
from elman.read.rows import Source, text_of
from elman.read.tables import TABLES
from elman.report.bag_of_words import bag_of_words
from elman.settings import TextSettings
from elman.state import MOST, State
from elman.train.checkpoint import check_tensors, load_tensors, save_tensors

EPOCHS, SEEN = (3, 10), 48_000  # minimum and maximum epochs; texts to read in all epochs together
WIDEST = 1 << 24  # maximum number of weights of the wide part
MANY = 1000  # classes above which a linear model takes more time than the recurrence
MOSTLY = 0.5  # share of rare words above which characters are better tokens
DROPPED = 0.3  # default dropout probability of the features of a token vector


class TextReader(Reader):
    """The reader of texts."""

    has_elements = False
    kind, noun, unit, row_is, named_by = "text", "texts", "tokens", "a text", ("text",)

    @classmethod
    def usual_column(cls, settings: InputSettings) -> str:
        """Return the column of the texts in a table."""
        return settings.text

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> Source:
        """Return a source of texts and their targets, see `Reader.open`."""
        paths = [one for one in pair(given) if is_path(one)]
        if len(paths) == 2 and all(kind_of(Path(path)) in TABLES for path in paths):
            raise ArgumentError(
                f"{paths[0]}: {self.noun} and {target.noun} must be in one table; two tables are "
                f"recordings and their {target.noun}, for which channels or variable must be set"
            )
        return super().open(given, target, labelled=labelled, lenient=lenient)

    def item(self, cell: Any, place: str) -> str:
        """Return a text that is not blank."""
        return text_of(cell, place, self.column)

    def item_given(self, cell: Any, place: str) -> str:
        """Return a text for a prediction, which can be empty."""
        return text_of_argument(cell, place)

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Text:
        """Build the vocabulary of the training texts, and the n-grams of the wide part."""
        settings, texts = self.settings, train.items
        kind, why = settings.tokens, None
        if kind is None:
            kind, why = choose_tokens(texts)
        if kind == "word":
            rare = rare_share(texts, settings.min_count, lowercase=settings.lowercase)
            if rare > MOSTLY:
                kind = settings.tokens or "character"
                why = (
                    f"{rare:.0%} of the words occur fewer than min_count={settings.min_count} times"
                )
                why += (
                    ": the model reads characters (set tokens to change this)"
                    if kind == "character"
                    else " and are all read as one unknown word; consider tokens=character"
                )
        vocabulary = build_vocabulary(texts, settings, kind)
        notes.extend([] if why is None else [why])
        return Text(self, vocabulary, self.ngrams(texts, classes))

    def ngrams(self, texts: Sequence[str], classes: int) -> NGrams | None:
        """Return the n-grams of the wide part; None without n-grams or for over MANY classes."""

        if not 0 < classes <= MANY:
            return None
        found = NGrams.build(texts, lowercase=self.settings.lowercase, most=WIDEST // classes)
        return found if len(found.known) else None

    def load(self, folder: Path) -> Text:
        """Return the texts of a model folder."""
        ngrams = None
        if (folder / FEATURES).exists():  # folders of Elman 0.1.0 can lack a wide part
            ngrams = _load_ngrams(folder / FEATURES)
        return Text(self, Vocabulary.load(folder / TOKENIZER), ngrams)


class Text(Input):
    """Texts after training.

    Args:
        reader: the reader of the texts.
        vocabulary: the tokens.
        ngrams: n-grams of the wide part; None for no wide part.
    """

    reader: TextReader
    vocabulary: Vocabulary
    use = ('model.predict(["..."])', 'model.predict_proba(["..."])')

    def __init__(
        self, reader: TextReader, vocabulary: Vocabulary, ngrams: NGrams | None = None
    ) -> None:
        self.reader, self.vocabulary, self.ngrams = reader, vocabulary, ngrams
        self.features = 0 if ngrams is None else len(ngrams.known)
        self._vectors: tuple[Tensor, Tensor] | None = None

    def save(self, folder: Path) -> None:
        """Write the vocabulary and the n-grams."""
        self.vocabulary.save(folder / TOKENIZER)
        if self.ngrams is not None:
            arrays = {"known": self.ngrams.known.view(np.int64), "weights": self.ngrams.weights}
            save_tensors(
                folder / FEATURES,
                {name: torch.from_numpy(one) for name, one in arrays.items()},
                {"lowercase": self.ngrams.lowercase, "characters": self.ngrams.characters},
            )

    def encode(self, items: Sequence[str]) -> list[Array]:
        """Return the token numbers (T,) of each text; a long text is cut to its two ends."""
        result: list[Array] = []
        most = self.reader.settings.max_tokens
        for at in range(0, len(items), 1000):
            for numbers in self.vocabulary.encode_batch(items[at : at + 1000]):
                if most is not None and len(numbers) > most:
                    head = (most + 1) // 2
                    numbers = numbers[:head] + numbers[len(numbers) - (most - head) :]
                result.append(np.array(numbers, dtype=np.int32))
        return result

    def layer(self, settings: InputSettings) -> tuple[Embed, int]:
        """Return the embedding layer with random weights, and its features."""

        dropped = DROPPED if settings.input_dropout is None else settings.input_dropout
        size, dropout = settings.vector_size, settings.embedding_dropout
        layer = Embed(self.vocabulary.size, size, dropout=dropout, input_dropout=dropped)
        return layer, size

    def prepare(self, notes: list[str]) -> dict[str, Any]:
        """Read the word vectors to start from, which determine the embedding size."""

        settings = self.reader.settings
        if settings.vectors is None:
            return {}
        vectors, found = self._vectors = read_vectors(Path(settings.vectors), self.vocabulary)
        if settings.embedding_size not in (None, vectors.shape[1]):
            raise ArgumentError(
                f"embedding_size={settings.embedding_size}: the vectors in {settings.vectors} have "
                f"{vectors.shape[1]} numbers"
            )
        notes.append(
            f"{int(found.sum()):,} of {self.vocabulary.size:,} tokens have a vector in "
            f"{Path(settings.vectors).name}"
        )
        return {"embedding_size": vectors.shape[1]}

    def start(self, layer: nn.Module) -> None:
        """Copy the word vectors into the layer."""

        if self._vectors is not None:
            vectors, found = self._vectors
            with torch.no_grad():
                layer.get_parameter("weight")[found] = vectors[found]

    def live(self, static: Mapping[str, object]) -> LiveInput:
        """Return a text that arrives piece by piece."""
        super().live(static)  # raises for static columns
        return LiveText(self)

    def bag(self, items: Sequence[str]) -> Bag | None:
        """Return the n-grams of texts for the wide part; None without one."""
        return None if self.ngrams is None else self.ngrams.encode(items)

    def epochs(self, count: int) -> int:
        """Return the default number of epochs for a number of texts."""
        least, most = EPOCHS
        return min(most, max(least, SEEN // count))

    @property
    def wide(self) -> str:
        """The features of the wide part, for messages."""
        characters = self.ngrams is not None and self.ngrams.characters
        kinds = "words, pairs of them" + (" and characters" if characters else "")
        return f"{self.features:,} n-grams ({kinds})"

    def facts(self) -> dict[str, object]:
        """Return the sizes of the input, for the report."""
        return {"vocabulary_size": self.vocabulary.size, "ngrams": self.features}

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], arrays: Sequence[Array]
    ) -> list[str]:
        """Return notes about repeated texts, and texts that are cut."""
        notes, most = [], self.reader.settings.max_tokens
        seen: dict[str, set[Any]] = {}
        for text, target in zip(train.items, train.targets, strict=True):
            seen.setdefault(text, set()).add(target)
        double, unequal = len(train) - len(seen), sum(len(some) > 1 for some in seen.values())
        if double:
            differ = f", {unequal:,} of them with different labels" if unequal else ""
            notes.append(f"repeated texts in the training data: {double:,}{differ}")
        for name, examples in others.items():
            both = sum(text in seen for text in examples.items)
            if both:
                notes.append(f"{name} texts that are also in the training data: {both:,}")
        long = sum(len(text) == most for text in arrays)
        if long:
            notes.append(
                f"texts with max_tokens={most} tokens or more: {long:,}; the middle of longer ones "
                "is not read"
            )
        return notes

    def sklearn_baselines(self, *, each: bool) -> str:
        """Return the name of the simpler model that needs scikit-learn."""
        return "" if each else "the bag of words"

    def elements(self, item: str) -> list[str]:
        """Return the tokens of a text that are read."""
        return [self.vocabulary.token(int(number)) for number in self.encode([item])[0]]

    def label_baselines(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> list[Probabilities]:
        """Return the probabilities of a bag-of-words model."""

        found = bag_of_words(
            train.items,
            targets,
            {name: part.items for name, part in others.items()},
            classes,
            tokens=self.vocabulary.tokens,
            lowercase=self.reader.settings.lowercase,
        )
        return [] if found is None else [found]

    @property
    def made(self) -> str:
        """A description of the input, for the model card."""
        tokens = f"a vocabulary of {self.vocabulary.size:,} {self.vocabulary.tokens} tokens"
        wide = f" and a linear model of {self.features:,} n-grams" if self.ngrams else ""
        return tokens + wide


class LiveText(LiveInput):
    """A text that arrives piece by piece; pieces are separated by blanks.

    Unlike in a batch, the text is not cut to `max_tokens`.

    Args:
        text: the input after training.
    """

    def __init__(self, text: Text) -> None:
        self._text, self._last, self._begun = text, "", False
        self._counts = np.zeros(text.features, dtype=np.int64)

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        last = np.frombuffer(self._last.encode(), dtype=np.uint8)
        arrays = (np.array([self._begun], dtype=np.int64), last, self._counts)
        return tuple(torch.from_numpy(array.copy()) for array in arrays)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        begun, last, counts = (leaf.numpy().copy() for leaf in state if isinstance(leaf, Tensor))
        try:
            self._last = last.tobytes().decode()
        except UnicodeDecodeError:
            begun[0] = -1
        possible = ((counts >= 0) & (counts < MOST)).all()
        if begun[0] not in (0, 1) or not possible or len(counts) != self._text.features:
            raise DataError("the state of the text is damaged: it has impossible values")
        self._begun, self._counts = bool(begun[0]), counts

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Read the next piece of the text."""
        check_no_time(at, "texts")
        piece = text_of_argument(element, "text")
        if not piece.strip():
            return None, None
        numbers = self._text.vocabulary.encode(f" {piece}" if self._begun else piece)
        self._begun, bag = True, None
        if self._text.ngrams is not None:
            self._last = self._text.ngrams.follow(self._counts, self._last, piece)
            bag = self._text.ngrams.bag(self._counts)
        return Step(np.array(numbers, dtype=np.int32), bag), None


def build_vocabulary(
    texts: Sequence[str], settings: TextSettings, kind: Tokens | None = None
) -> Vocabulary:
    """Return the vocabulary of texts, with tokens of a kind; None for the kind of the settings."""
    return Vocabulary.build(
        lambda: texts,
        tokens=kind or settings.tokens or choose_tokens(texts)[0],
        size=settings.vocabulary_size,
        min_count=settings.min_count,
        lowercase=settings.lowercase,
        split_punctuation=settings.split_punctuation,
    )


def notes_on_cut(noun: str, arrays: Sequence[Array], most: int) -> list[str]:
    """Return a note on texts that are cut to `most` tokens; their arrays have an end token."""
    long = sum(len(tokens) > most for tokens in arrays)
    rest = "the rest of longer ones is not read"
    return [f"{noun} with max_tokens={most} tokens or more: {long:,}; {rest}"] if long else []


def _load_ngrams(path: Path) -> NGrams:
    """Return the n-grams that `Text.save` wrote; raise a FolderError if they are damaged."""

    tensors, facts = load_tensors(path)
    with content_of(path):
        count = len(tensors["known"])
        expected = {
            "known": torch.zeros(count, dtype=torch.int64),
            "weights": torch.zeros(count, dtype=torch.float32),
        }
        check_tensors(path, tensors, expected)
        ngrams = NGrams(
            tensors["known"].numpy().view(np.uint64),
            tensors["weights"].numpy(),
            facts["lowercase"],  # type: ignore[arg-type]
            facts["characters"],  # type: ignore[arg-type]
        )
        check_types(ngrams)
        ngrams.check()
    return ngrams
