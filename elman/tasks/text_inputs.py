"""What a classifier reads, if it is texts: rows to tokens, a start for their vectors, baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.bags import Bag, NGrams
from elman.encode.embed import Embed
from elman.encode.text import Vocabulary, choose_tokens, rare_share
from elman.encode.vectors import read_vectors
from elman.errors import ArgumentError, DataError, FolderError
from elman.model import SequenceModel
from elman.optional import absent
from elman.read.columns import Table, column_of, is_frame
from elman.read.files import is_path, kind_of
from elman.read.rows import Rejects, Rows, text_of
from elman.read.tables import TABLES
from elman.recur.stack import Stack
from elman.report.bag_of_words import bag_of_words
from elman.tasks.estimator import checked_texts
from elman.tasks.folder import FEATURES, TOKENIZER
from elman.tasks.labelled_data import Examples, columns_set, labels_of
from elman.tasks.network import begin_as, earlier_model
from elman.train.checkpoint import load_tensors, save_tensors

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier
    from elman.tasks.language_model import LanguageModel

EPOCHS, SEEN = (3, 10), 48_000  # passes over the texts, at least and at most; texts in all
WIDEST = 1 << 24  # weights of the wide part at most
MANY = 1000  # classes; with more a linear model takes more time than the recurrence
MOSTLY = 0.5  # of the words: if so many are rare, characters say more
SHOWN = 500  # characters of a text in the report
DROPPED = 0.3  # of the features of a token's vector, if nothing else is set


class TextInputs:
    """Texts.

    Args:
        vocabulary: their tokens.
        earlier: the language model to start from.
        ngrams: what the wide part knows; None without one.
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
        """Rows of text and label from what a user gives: a path, two paths, or two lists.

        Raises:
            ArgumentError: lists without labels.
        """
        source, labels = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        if is_frame(source) and labels is None:
            return Table(source).rows([model.text, model.label])
        source = column_of(source, model.text)
        beside = () if labels is None else (columns_set(labels, several=model.several),)
        paths = [one for one in (source, labels) if is_path(one)]
        if len(paths) == 2 and all(kind_of(Path(path)) in TABLES for path in paths):
            raise ArgumentError(
                f"{source}: two tables are recordings and their labels: name the columns of the "
                "numbers by channels, or what a row measures by variable; texts take one table"
            )
        if not beside and not is_path(source):
            raise ArgumentError("texts in a list need their labels: fit(texts, labels)")
        return Rows(
            source, [model.text, model.label], beside=beside, folders=True,
            encoding=model.encoding, lenient=lenient, delimiter=model.delimiter,
        )  # fmt: skip

    @staticmethod
    def collect(model: Classifier, rows: Rows, rejects: Rejects, _like: object = None) -> Examples:
        """All rows that have a text and a label; the others go to `rejects`."""
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
            raise DataError(f"{rows.name}: no row has a text and a label; expected many")
        return examples

    @staticmethod
    def groups(_texts: list[str]) -> None:
        """Texts are held out one by one."""

    @classmethod
    def learn(cls, model: Classifier, train: Examples, notes: list[str]) -> TextInputs:
        """The vocabulary of the training data, or of the model to start from."""
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
                    ": the model reads characters (choose with tokens)" if kind == "character"
                    else " and are one unknown word to the model: set tokens=character"
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
        """From a folder; `fresh` if the network is still to be given its first weights."""
        ngrams = None
        if (folder / FEATURES).exists():  # folders of Elman 0.1.0 have none, and no wide part
            tensors, facts = load_tensors(folder / FEATURES)
            try:
                ngrams = NGrams(
                    tensors["known"].numpy().view(np.uint64), tensors["weights"].numpy(),
                    bool(facts["lowercase"]), bool(facts["characters"]),
                )  # fmt: skip
            except KeyError as error:
                raise FolderError(f"{folder / FEATURES}: is damaged, it has no {error}") from None
        model.wide = ngrams is not None
        earlier = earlier_model(model) if fresh else None
        return cls(Vocabulary.load(folder / TOKENIZER), earlier, ngrams)

    def save(self, folder: Path) -> None:
        """Write them to a folder."""
        self.vocabulary.save(folder / TOKENIZER)
        if self.ngrams is not None:
            arrays = {"known": self.ngrams.known.view(np.int64), "weights": self.ngrams.weights}
            save_tensors(
                folder / FEATURES, {name: torch.from_numpy(one) for name, one in arrays.items()},
                {"lowercase": self.ngrams.lowercase, "characters": self.ngrams.characters},
            )  # fmt: skip

    @staticmethod
    def epochs(texts: int) -> int:
        """How often training goes through so many, if nothing is set: few are soon known by heart.

        Example:
            >>> from elman.tasks.text_inputs import TextInputs
            >>> [TextInputs.epochs(n) for n in (500, 8_000, 25_000)]
            [10, 6, 3]
        """
        least, most = EPOCHS
        return min(most, max(least, SEEN // texts))

    @property
    def features(self) -> int:
        """Of the wide part; 0 without one."""
        return 0 if self.ngrams is None else len(self.ngrams.known)

    def bag(self, _model: Classifier, texts: Sequence[Any]) -> Bag | None:
        """What the wide part reads; None without one."""
        return None if self.ngrams is None else self.ngrams.encode(texts)

    def prepare(self, model: Classifier, notes: list[str]) -> None:
        """Read the vectors to start from, which decide a size."""
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
        """The layer that reads tokens, with fresh weights, and its features."""
        features = model.embedding_size or model.sizes[0]
        dropped = DROPPED if model.input_dropout is None else model.input_dropout
        layer = Embed(
            self.vocabulary.size, features, dropout=model.embedding_dropout, input_dropout=dropped
        )
        return layer, features

    def begin(self, network: SequenceModel) -> None:
        """Put in what is there to start from."""
        assert isinstance(network.encode, Embed)
        with torch.no_grad():
            if self.vectors is not None:
                vectors, found = self.vectors
                network.encode.weight[found] = vectors[found]
            if self.earlier is not None and self.earlier.model.encode is not None:
                network.encode.load_state_dict(self.earlier.model.encode.state_dict())
                assert isinstance(network.core, Stack)
                begin_as(network.core, self.earlier.model.core)

    def encode(
        self, model: Classifier, texts: Sequence[Any]
    ) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
        """Token numbers of each text, or of its two ends if it is too long, and of which."""
        result, most = [], model.max_tokens
        for at in range(0, len(texts), 1000):
            for numbers in self.vocabulary.encode_batch(texts[at : at + 1000]):
                if most is not None and len(numbers) > most:
                    head = (most + 1) // 2
                    numbers = numbers[:head] + numbers[len(numbers) - (most - head) :]
                result.append(np.array(numbers, dtype=np.int32))
        return result, np.arange(len(result))

    def given(self, model: Classifier, texts: Any) -> list[Any]:
        """What a user asks of, checked."""
        return checked_texts(column_of(texts, model.text))

    def facts(self) -> dict[str, object]:
        """For the report."""
        return {"vocabulary_size": self.vocabulary.size, "ngrams": self.features}

    def notes_on(
        self, model: Classifier, train: Examples, others: dict[str, Examples],
        encoded: Iterable[NDArray[Any]],
    ) -> list[str]:  # fmt: skip
        """What a user should know of the texts: doubles, and what is cut."""
        notes = []
        if self.ngrams is not None:
            kinds = "words, pairs of them" + (" and characters" if self.ngrams.characters else "")
            notes.append(
                f"training starts from a linear model of {self.features:,} n-grams ({kinds}); "
                "wide=False for the recurrence alone"
            )
        seen: dict[str, set[Any]] = {}
        for text, labels in zip(train.items, train.labels, strict=True):
            seen.setdefault(text, set()).add(labels)
        double, torn = len(train) - len(seen), sum(len(labels) > 1 for labels in seen.values())
        if double:
            differ = f", {torn} of them with different labels" if torn else ""
            notes.append(f"{double} texts of the training data are there before{differ}")
        for name, examples in others.items():
            both = sum(text in seen for text in examples.items)
            if both:
                notes.append(f"{both} texts of the {name} data are in the training data, too")
        long = sum(len(text) == model.max_tokens for text in encoded)
        if long:
            notes.append(
                f"{long:,} texts have max_tokens={model.max_tokens} tokens or more; of longer ones "
                "the first and the last half of so many are read"
            )
        return notes + absent("sklearn", "the bag of words")

    def baselines(
        self, model: Classifier, parts: dict[str, Examples], targets: Tensor, names: Sequence[str]
    ) -> list[tuple[str, dict[str, Tensor]]]:
        """Probabilities of other models, by name and part of the data."""
        found = bag_of_words(
            parts["train"].items, targets, {name: parts[name].items for name in names},
            len(model.classes), tokens=self.vocabulary.tokens, lowercase=model.settled().lowercase,
        )  # fmt: skip
        return [] if found is None else [found]

    def sample(self, text: str) -> str:
        """For the report."""
        return text[:SHOWN]

    @property
    def made(self) -> str:
        """For the model card."""
        tokens = f"a vocabulary of {self.vocabulary.size:,} {self.vocabulary.tokens} tokens"
        wide = f" beside a linear model of {self.features:,} n-grams" if self.ngrams else ""
        return tokens + wide
