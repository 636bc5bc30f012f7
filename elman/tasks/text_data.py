"""Read the texts of a language model: vocabulary and corpora."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elman.arguments import list_of_argument
from elman.encode.corpus import Corpus, tokenise
from elman.encode.text import Tokens, Vocabulary, choose_tokens
from elman.errors import ArgumentError, DataError
from elman.manifest import TOKENIZER
from elman.read.columns import column_of
from elman.read.files import data_path, is_path, kind_of
from elman.read.frames import is_frame
from elman.read.split import Pieces, hold_out
from elman.read.tables import TABLES
from elman.read.text import TextSource
from elman.report.progress import reading_bar
from elman.tasks.folder import find_data, short_path
from elman.tasks.language_settings import LanguageSettings
from elman.tasks.parts import LOG, NAMES

if TYPE_CHECKING:
    from elman.tasks.run import Request

Text = str | Path | Sequence[str]
HELD = ":held"  # end of the key of a text that was held out from the training text


def open_text(text: Any, settings: LanguageSettings, *, any_kind: bool = False) -> TextSource:
    """Return a source of a text.

    Args:
        text: a path, a list of texts, or a data frame.
        settings: `column`, `document`, `encoding` and `delimiter`.
        any_kind: whether plain text is allowed even if `column` is set.

    Raises:
        ArgumentError: a data frame is given without `column`, or `text` is none of these.
    """
    if is_frame(text):
        if settings.column is None:
            raise ArgumentError("column must name the column of the text in a data frame")
        text = [str(one) for one in column_of(text, settings.column)]
    if not is_path(text):
        return TextSource(list_of_argument(text, "text", "texts"))
    path, column = data_path(text), settings.column
    if any_kind and path.is_file() and kind_of(path) not in TABLES:
        column = None
    return TextSource(
        path,
        document=settings.document,
        column=column,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
    )


def read_corpus(text: Any, settings: LanguageSettings, vocabulary: Vocabulary) -> Corpus:
    """Return a text that is scored, as token numbers, and log notes about it.

    Raises:
        DataError: the text cannot be read, or no token of it is in the vocabulary.
    """
    source = open_text(text, settings, any_kind=True)
    corpus = tokenise(source.pieces, vocabulary, key=source.fingerprint())
    check_known(corpus, vocabulary, source.name)
    for note in source.notes:
        LOG.info(note)
    return corpus


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
        """Return what a resumed run needs: the texts, and what `<eos>` ends (lines, documents)."""
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
        given: whether it is a separate text that the user gave, not the training text or a part.
    """

    read: Callable[..., Pieces]
    key: str
    name: str
    path: str | None
    total_bytes: int
    given: bool


def read_texts(settings: LanguageSettings, request: Request) -> TextData:
    """Read the texts of a run: a new one, or one that continues with the same texts.

    Raises:
        DataError: a text has changed since the run began.
    """
    if request.before is None or request.folder is None:
        return prepare(settings, request.data, show=request.show)
    vocabulary = Vocabulary.load(request.folder / TOKENIZER)
    data = prepare(settings, request.data, vocabulary=vocabulary, show=request.show)
    for name, key in data.keys.items():
        _check_same(request.before, name, key)
    return data


def prepare(
    settings: LanguageSettings,
    data: Mapping[str, object],
    *,
    vocabulary: Vocabulary | None = None,
    show: bool = False,
) -> TextData:
    """Read, split and tokenise the texts; learn the vocabulary from the training part."""
    parts, notes = _parts(settings, data)
    learn = parts["train"]
    if vocabulary is None:
        kind, why = _tokens(settings, learn.read)
        notes += [] if why is None else [why]
        with reading_bar("learning the vocabulary", learn.total_bytes, show=show) as advance:
            vocabulary = Vocabulary.build(
                lambda: (text for text, _ in learn.read(advance)),
                tokens=kind,
                size=settings.vocabulary_size,
                lowercase=settings.lowercase,
                min_count=settings.min_count,
                split_punctuation=settings.split_punctuation,
            )
    corpora = {}
    for name, part in parts.items():
        corpora[name] = _corpus(part, vocabulary, show=show)
        if part.given:
            check_known(corpora[name], vocabulary, part.name)
    return TextData(
        vocabulary,
        corpora["train"],
        corpora["validation"],
        corpora.get("test"),
        {name: part.path for name, part in parts.items() if part.path},
        {name: part.key for name, part in parts.items()},
        learn.name,
        tuple(notes),
    )


def find_texts(before: Mapping[str, str]) -> dict[str, object]:
    """Return the paths of the texts of a run by part, to resume it.

    Args:
        before: the result of `TextData.describe`.

    Raises:
        DataError: a text is missing.
    """
    for name in NAMES:
        if not before.get(f"{name}_key", HELD).endswith(HELD) and name not in before:
            raise DataError(
                f"the {name} text was given in memory and is gone; a run can only be resumed if "
                "its texts are files"
            )
    given = {name: before[name] for name in NAMES if name in before}
    for name, path in given.items():
        if not isinstance(path, str):
            raise DataError(f"data.{name} in the config must be a path, got {path!r}")
    return {name: find_data(path, name) for name, path in given.items()}


def find_training(
    settings: LanguageSettings, before: Mapping[str, str], vocabulary: Vocabulary
) -> Corpus | None:
    """Return the training text of a run, if it still exists and has not changed; otherwise None."""
    if "train" not in before:
        return None
    try:
        data = {name: before[name] for name in ("train", "validation") if name in before}
        parts, _ = _parts(settings, data)
        _check_same(before, "train", parts["train"].key)
        return _corpus(parts["train"], vocabulary)
    except DataError:
        return None


def _check_same(before: Mapping[str, str], name: str, key: str) -> None:
    if before.get(f"{name}_key") != key:
        raise DataError(
            f"{short_path(before.get(name, before['train']))}: has changed since the run began; "
            "put the old text back, or train again with another out"
        )


def _parts(
    settings: LanguageSettings, data: Mapping[str, object]
) -> tuple[dict[str, Part], list[str]]:
    """Return the texts of a run by name, and messages about them."""
    parts: dict[str, Part] = {}
    for name, text in data.items():
        if text is not None:
            source = open_text(text, settings)
            path = str(Path(os.fspath(text)).resolve()) if source.files else None  # type: ignore[call-overload]
            parts[name] = Part(
                source.pieces,
                source.fingerprint(),
                source.name,
                path,
                source.total_bytes,
                name != "train",
            )
    train = open_text(data["train"], settings)
    if "validation" in parts:
        return parts, train.notes
    full, share = parts["train"], settings.validation_fraction
    read, read_held = hold_out(train, share, seed=settings.seed)
    key = f"{full.key}:{share}:{settings.seed}"
    parts["train"] = full._replace(read=read, key=key)
    parts["validation"] = full._replace(read=read_held, key=key + HELD, path=None)
    return parts, [*train.notes, f"{share:.0%} of the text is held out for validation"]


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


def _tokens(settings: LanguageSettings, pieces: Callable[[], Pieces]) -> tuple[Tokens, str | None]:
    if settings.tokens is not None:
        return settings.tokens, None
    return choose_tokens(text for text, _ in pieces())
