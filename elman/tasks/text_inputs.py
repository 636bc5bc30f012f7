"""The texts of a classifier: read rows, encode them as tokens, initialise vectors, baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.arguments import check_types
from elman.encode.bags import Bag, NGrams
from elman.encode.embed import Embed
from elman.encode.text import Vocabulary, choose_tokens, rare_share
from elman.encode.vectors import read_vectors
from elman.errors import ArgumentError, DataError
from elman.manifest import content_of
from elman.model import SequenceModel
from elman.optional import absent
from elman.read.columns import Table, column_of
from elman.read.files import is_path, kind_of
from elman.read.frames import is_frame
from elman.read.rows import Rejects, Rows, text_of
from elman.read.tables import TABLES
from elman.recur.stack import Stack
from elman.report.bag_of_words import bag_of_words
from elman.tasks.estimator import checked_texts
from elman.tasks.folder import FEATURES, TOKENIZER
from elman.tasks.labelled_data import Examples, columns_set, labels_of
from elman.tasks.network import copy_weights, earlier_model
from elman.train.checkpoint import check_tensors, load_tensors, save_tensors

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier
    from elman.tasks.language_model import LanguageModel

EPOCHS, SEEN = (3, 10), 48_000  # minimum and maximum epochs; texts to read in all epochs together
WIDEST = 1 << 24  # maximum number of weights of the wide part
MANY = 1000  # classes above which a linear model takes more time than the recurrence
MOSTLY = 0.5  # share of rare words above which characters are better tokens
SHOWN = 500  # maximum characters of a text in the report
DROPPED = 0.3  # default dropout probability of the features of a token vector


class TextInputs:
    """The texts that a classifier reads.

    Args:
        vocabulary: the tokens.
        earlier: language model to start from; None for none.
        ngrams: n-grams of the wide part; None for no wide part.
    """

    channels = 0
    title = "a classifier of texts"
    kind = "texts"
    like, warning = None, ""
    use = ('model.predict(["..."])', 'model.predict_proba(["..."])')

    def __init__(
        self, vocabulary: Vocabulary, earlier: LanguageModel | None = None,
        ngrams: NGrams | None = None,
    ) -> None:  # fmt: skip
        self.vocabulary, self.earlier, self.ngrams = vocabulary, earlier, ngrams
        self.vectors: tuple[Tensor, Tensor] | None = None
        self.max_tokens: int | None = None

    @staticmethod
    def look(model: Classifier, given: Any, *, lenient: bool = False) -> Rows:
        """Open rows of text and label, given as a path, two paths, two lists or a frame.

        Raises:
            ArgumentError: a list of texts has no labels.
        """
        source, labels = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        if is_frame(source) and labels is None:
            return Table(source).rows([model.text, model.label])
        source = column_of(source, model.text)
        parallel = () if labels is None else (columns_set(labels, several=model.several),)
        paths = [one for one in (source, labels) if is_path(one)]
        if len(paths) == 2 and all(kind_of(Path(path)) in TABLES for path in paths):
            raise ArgumentError(
                f"{source}: texts and labels must be in one table; two tables are recordings and "
                "their labels, for which channels or variable must be set"
            )
        if not parallel and not is_path(source):
            raise ArgumentError("texts in a list need their labels: fit(texts, labels)")
        return Rows(
            source, [model.text, model.label], parallel=parallel, folders=True,
            encoding=model.encoding, lenient=lenient, delimiter=model.delimiter,
        )  # fmt: skip

    @staticmethod
    def collect(model: Classifier, rows: Rows, rejects: Rejects, _like: object = None) -> Examples:
        """Read all rows that have a text and a label; the others are given to `rejects`."""
        examples = Examples()
        for place, values in rows.read():
            try:
                if isinstance(values, DataError):
                    raise values
                text = text_of(values[0], place, model.text)
                labels = labels_of(values[1], place, model, written=rows.kind != "lists")
            except DataError as error:
                rejects.add(place, error)
            else:
                examples.add(text, labels, place)
        if not examples.items:
            raise DataError(f"{rows.name}: no row has a text and a label")
        return examples

    @staticmethod
    def groups(_texts: list[str]) -> None:
        """Return None: texts have no groups that must be held out together."""

    @classmethod
    def learn(cls, model: Classifier, train: Examples, notes: list[str]) -> TextInputs:
        """Build the vocabulary from the training data, or take that of the model to start from."""
        if model.cell == "grud":
            raise ArgumentError("cell=grud is for recordings, which have times; got texts")
        earlier, ngrams = earlier_model(model), None
        if model.wide and len(model.classes) <= MANY:
            most = WIDEST // len(model.classes)
            found = NGrams.build(train.items, lowercase=model.lowercase, most=most)
            ngrams = found if len(found.known) else None
        if earlier is not None:
            return cls(earlier.vocabulary, earlier, ngrams)
        kind, why = model.tokens, None
        if kind is None:
            kind, why = choose_tokens(train.items)
        if kind == "word":
            rare = rare_share(train.items, model.min_count, lowercase=model.lowercase)
            if rare > MOSTLY:
                why = f"{rare:.0%} of the words occur fewer than min_count={model.min_count} times"
                kind = model.tokens or "character"
                why += (
                    ": the model reads characters (set tokens to change this)"
                    if kind == "character"
                    else " and are all read as one unknown word; consider tokens=character"
                )  # fmt: skip
        vocabulary = Vocabulary.build(
            lambda: train.items, tokens=kind, size=model.vocabulary_size,
            min_count=model.min_count, lowercase=model.lowercase,
            split_punctuation=model.split_punctuation,
        )  # fmt: skip
        notes.extend([] if why is None else [why])
        return cls(vocabulary, None, ngrams)

    @classmethod
    def load(cls, model: Classifier, folder: Path, *, fresh: bool = False) -> TextInputs:
        """Read the inputs from a folder; `fresh` if the training starts from the beginning."""
        ngrams = None
        if (folder / FEATURES).exists():  # folders of Elman 0.1.0 have no wide part
            ngrams = _load_ngrams(folder / FEATURES)
        model.wide = ngrams is not None
        earlier = earlier_model(model) if fresh else None
        return cls(Vocabulary.load(folder / TOKENIZER), earlier, ngrams)

    def save(self, folder: Path) -> None:
        """Write the inputs to a folder."""
        self.vocabulary.save(folder / TOKENIZER)
        if self.ngrams is not None:
            arrays = {"known": self.ngrams.known.view(np.int64), "weights": self.ngrams.weights}
            save_tensors(
                folder / FEATURES, {name: torch.from_numpy(one) for name, one in arrays.items()},
                {"lowercase": self.ngrams.lowercase, "characters": self.ngrams.characters},
            )  # fmt: skip

    @staticmethod
    def epochs(texts: int) -> int:
        """Return the default number of epochs for a number of texts.

        Example:
            >>> from elman.tasks.text_inputs import TextInputs
            >>> [TextInputs.epochs(n) for n in (500, 8_000, 25_000)]
            [10, 6, 3]
        """
        least, most = EPOCHS
        return min(most, max(least, SEEN // texts))

    @property
    def features(self) -> int:
        """The number of features of the wide part; 0 without one."""
        return 0 if self.ngrams is None else len(self.ngrams.known)

    def bag(self, _model: Classifier, texts: Sequence[Any]) -> Bag | None:
        """Return the n-grams of texts for the wide part; None without one."""
        return None if self.ngrams is None else self.ngrams.encode(texts)

    def prepare(self, model: Classifier, notes: list[str]) -> None:
        """Read the word vectors to start from, which decide the embedding size."""
        if model.vectors is None:
            return
        vectors, found = read_vectors(Path(model.vectors), self.vocabulary)
        if model.embedding_size not in (None, vectors.shape[1]):
            raise ArgumentError(
                f"embedding_size={model.embedding_size}: the vectors in {model.vectors} have "
                f"{vectors.shape[1]} numbers"
            )
        model._described["decided"] = {"embedding_size": vectors.shape[1]}
        notes.append(
            f"{int(found.sum()):,} of {self.vocabulary.size:,} tokens have a vector in "
            f"{Path(model.vectors).name}"
        )
        self.vectors = vectors, found

    def embed(self, model: Classifier) -> tuple[Embed, int]:
        """Return the embedding layer with random weights, and its number of features."""
        features = model.embedding_size or model.sizes[0]
        dropped = DROPPED if model.input_dropout is None else model.input_dropout
        layer = Embed(
            self.vocabulary.size, features, dropout=model.embedding_dropout, input_dropout=dropped
        )
        return layer, features

    def begin(self, network: SequenceModel) -> None:
        """Copy word vectors or the weights of a language model into the network."""
        assert isinstance(network.encode, Embed)
        with torch.no_grad():
            if self.vectors is not None:
                vectors, found = self.vectors
                network.encode.weight[found] = vectors[found]
            if self.earlier is not None and self.earlier.model.encode is not None:
                network.encode.load_state_dict(self.earlier.model.encode.state_dict())
                assert isinstance(network.core, Stack)
                copy_weights(network.core, self.earlier.model.core)

    def encode(
        self, model: Classifier, texts: Sequence[Any]
    ) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
        """Return the token numbers of each text (of a long one its two ends), and its index."""
        result, most = [], model.max_tokens
        for at in range(0, len(texts), 1000):
            for numbers in self.vocabulary.encode_batch(texts[at : at + 1000]):
                if most is not None and len(numbers) > most:
                    head = (most + 1) // 2
                    numbers = numbers[:head] + numbers[len(numbers) - (most - head) :]
                result.append(np.array(numbers, dtype=np.int32))
        return result, np.arange(len(result))

    def given(self, model: Classifier, texts: Any) -> list[Any]:
        """Return the texts that a user gives to predict, checked."""
        return checked_texts(column_of(texts, model.text))

    def facts(self) -> dict[str, object]:
        """Return the sizes of the inputs, for the report."""
        return {"vocabulary_size": self.vocabulary.size, "ngrams": self.features}

    def notes_on(
        self, model: Classifier, train: Examples, others: dict[str, Examples],
        encoded: Iterable[NDArray[Any]],
    ) -> list[str]:  # fmt: skip
        """Return notes about repeated texts and texts that are cut."""
        notes = []
        if self.ngrams is not None:
            kinds = "words, pairs of them" + (" and characters" if self.ngrams.characters else "")
            notes.append(
                f"training starts with a linear model of {self.features:,} n-grams ({kinds}); set "
                "wide=False to train the recurrence alone"
            )
        seen: dict[str, set[Any]] = {}
        for text, labels in zip(train.items, train.labels, strict=True):
            seen.setdefault(text, set()).add(labels)
        double, unequal = len(train) - len(seen), sum(len(labels) > 1 for labels in seen.values())
        if double:
            differ = f", {unequal:,} of them with different labels" if unequal else ""
            notes.append(f"repeated texts in the training data: {double:,}{differ}")
        for name, examples in others.items():
            both = sum(text in seen for text in examples.items)
            if both:
                notes.append(f"texts of the {name} data that are training data, too: {both:,}")
        long = sum(len(text) == model.max_tokens for text in encoded)
        if long:
            notes.append(
                f"texts with max_tokens={model.max_tokens} tokens or more: {long:,}; the middle of "
                "longer ones is not read"
            )
        return notes + absent("sklearn", "the bag of words")

    def baselines(
        self, model: Classifier, parts: dict[str, Examples], targets: Tensor, names: Sequence[str]
    ) -> list[tuple[str, dict[str, Tensor]]]:
        """Return the probabilities of a bag-of-words model, by part of the data."""
        found = bag_of_words(
            parts["train"].items, targets, {name: parts[name].items for name in names},
            len(model.classes), tokens=self.vocabulary.tokens, lowercase=model.settled().lowercase,
        )  # fmt: skip
        return [] if found is None else [found]

    def sample(self, text: str) -> str:
        """Return the beginning of a text, for the report."""
        return text[:SHOWN]

    @property
    def made(self) -> str:
        """A description of the inputs, for the model card."""
        tokens = f"a vocabulary of {self.vocabulary.size:,} {self.vocabulary.tokens} tokens"
        wide = f" and a linear model of {self.features:,} n-grams" if self.ngrams else ""
        return tokens + wide


def _load_ngrams(path: Path) -> NGrams:
    """Return the n-grams that `TextInputs.save` wrote; raise a FolderError if they are damaged."""
    tensors, facts = load_tensors(path)
    with content_of(path):
        count = len(tensors["known"])
        expected = {
            "known": torch.zeros(count, dtype=torch.int64),
            "weights": torch.zeros(count, dtype=torch.float32),
        }
        check_tensors(path, tensors, expected)
        ngrams = NGrams(
            tensors["known"].numpy().view(np.uint64), tensors["weights"].numpy(),
            facts["lowercase"], facts["characters"],  # type: ignore[arg-type]
        )  # fmt: skip
        check_types(ngrams)
        ngrams.check()
    return ngrams
