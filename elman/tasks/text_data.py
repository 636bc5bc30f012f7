"""Read the texts of a language model: vocabulary and corpora."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from elman.encode.corpus import Corpus, tokenise
from elman.encode.text import Tokens, Vocabulary, choose_tokens
from elman.errors import DataError
from elman.read.split import Pieces, hold_out
from elman.report.progress import reading_bar
from elman.tasks.folder import find_data
from elman.tasks.parts import NAMES

if TYPE_CHECKING:
    from elman.tasks.language_model import LanguageModel, Text

HELD = ":held"  # end of the key of a text that was held out from the training text


@dataclass(frozen=True)
class TextData:
    """Vocabulary and corpora of a run.

    Attributes:
        vocabulary: the tokens.
        train, validation, test: the parts as token numbers.
        paths: path of each part; a part held out from the training text has none.
        keys: hash of the content of each part.
        name: name of the training text.
        notes: messages for the user.
    """

    vocabulary: Vocabulary
    train: Corpus
    validation: Corpus
    test: Corpus | None
    paths: dict[str, str]
    keys: dict[str, str]
    name: str
    notes: tuple[str, ...]

    def describe(self) -> dict[str, str]:
        """Return what is needed to resume a run: the texts, and what `<eos>` means in them."""
        keys = {f"{part}_key": key for part, key in self.keys.items()}
        ends, documents = self.train.count(self.vocabulary.end), len(self.train.starts)
        alone = documents > 1 and ends == documents
        return {"name": self.name, **self.paths, **keys, "end": "document" if alone else "line"}


class Part(NamedTuple):
    """A text of a run.

    Attributes:
        read: returns the pieces of the text.
        key: hash of the content.
        name: name for messages.
        path: path of the file or folder; None for a text in memory.
        total_bytes: size of the files.
        given: whether the user gave it, and it was not held out from the training text.
    """

    read: Callable[..., Pieces]
    key: str
    name: str
    path: str | None
    total_bytes: int
    given: bool


def prepare(
    model: LanguageModel,
    train: Text,
    validation: Text | None,
    test: Text | None,
    *,
    vocabulary: Vocabulary | None = None,
    show: bool = False,
) -> TextData:
    """Read, split and tokenise the texts; learn the vocabulary from the training part."""
    parts, notes = _parts(model, train, validation, test)
    learn = parts["train"]
    if vocabulary is None:
        kind, why = _tokens(model, learn.read)
        notes += [] if why is None else [why]
        with reading_bar("learning the vocabulary", learn.total_bytes, show=show) as advance:
            vocabulary = Vocabulary.build(
                lambda: (text for text, _ in learn.read(advance)),
                tokens=kind, size=model.vocabulary_size, lowercase=model.lowercase,
                min_count=model.min_count, split_punctuation=model.split_punctuation,
            )  # fmt: skip
    corpora = {}
    for name, part in parts.items():
        corpora[name] = _corpus(part, vocabulary, show=show)
        if part.given:
            check_known(corpora[name], vocabulary, part.name)
    return TextData(
        vocabulary, corpora["train"], corpora["validation"], corpora.get("test"),
        {name: part.path for name, part in parts.items() if part.path},
        {name: part.key for name, part in parts.items()}, learn.name, tuple(notes),
    )  # fmt: skip


def find_again(
    model: LanguageModel, data: dict[str, str], vocabulary: Vocabulary, *, show: bool = False
) -> TextData:
    """Read the texts of a run again, to resume it.

    Args:
        model: the language model.
        data: the result of `TextData.describe`.
        vocabulary: the vocabulary of the run.
        show: whether to show progress.

    Raises:
        DataError: a text is missing or has changed.
    """
    for name in NAMES:
        if not data.get(f"{name}_key", HELD).endswith(HELD) and name not in data:
            raise DataError(
                f"the {name} text was given in memory and is gone; a run can only be resumed if "
                "its texts are files"
            )
    paths = {name: find_data(data[name], name) for name in NAMES if name in data}
    found = prepare(
        model, paths["train"], paths.get("validation"), paths.get("test"), vocabulary=vocabulary,
        show=show,
    )  # fmt: skip
    for name, key in found.keys.items():
        _check_same(data | paths, name, key)
    return found


def find_training(
    model: LanguageModel, data: dict[str, str], vocabulary: Vocabulary
) -> Corpus | None:
    """Return the training text of a run, if it still exists and has not changed; else None."""
    if "train" not in data:
        return None
    try:
        parts, _ = _parts(model, data["train"], data.get("validation"), None)
        _check_same(data, "train", parts["train"].key)
        return _corpus(parts["train"], vocabulary)
    except DataError:
        return None


def _check_same(data: dict[str, str], name: str, key: str) -> None:
    if data.get(f"{name}_key") != key:
        raise DataError(
            f"{data.get(name, data['train'])}: has changed since the run began; "
            "put the old text back, or train again with another out"
        )


def _parts(
    model: LanguageModel, train: Text, validation: Text | None, test: Text | None
) -> tuple[dict[str, Part], list[str]]:
    """Return the texts of a run by name, and messages about them."""
    parts: dict[str, Part] = {}
    for name, text in (("train", train), ("validation", validation), ("test", test)):
        if text is not None:
            source = model._source(text)
            path = str(Path(os.fspath(text)).resolve()) if source.files else None  # type: ignore[arg-type]
            parts[name] = Part(
                source.pieces, source.fingerprint(), source.name, path, source.total_bytes,
                name != "train",
            )  # fmt: skip
    notes = model._source(train).notes
    if validation is not None:
        return parts, notes
    full, share = parts["train"], model.validation_fraction
    read, read_held = hold_out(model._source(train), share, seed=model.seed)
    key = f"{full.key}:{share}:{model.seed}"
    parts["train"] = full._replace(read=read, key=key)
    parts["validation"] = full._replace(read=read_held, key=key + HELD, path=None)
    return parts, [*notes, f"{share:.0%} of the text is held out for validation"]


def _corpus(part: Part, vocabulary: Vocabulary, *, show: bool = False) -> Corpus:
    with reading_bar(f"reading {part.name}", part.total_bytes, show=show) as advance:
        return tokenise(lambda: part.read(advance), vocabulary, key=part.key)


def check_known(corpus: Corpus, vocabulary: Vocabulary, name: str) -> None:
    """Raise a DataError if no token of a text is in the vocabulary."""
    unknown = vocabulary.unknown
    if unknown is not None and corpus.count(unknown, vocabulary.end) == len(corpus):
        raise DataError(
            f"{name}: none of its {vocabulary.tokens} tokens is in the vocabulary of the training "
            "text; give text of the same kind, language and encoding"
        )


def _tokens(model: LanguageModel, pieces: Callable[[], Pieces]) -> tuple[Tokens, str | None]:
    if model.tokens is not None:
        return model.tokens, None
    return choose_tokens(text for text, _ in pieces())
