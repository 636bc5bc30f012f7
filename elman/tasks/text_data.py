"""Texts to vocabulary and corpora, for tasks that read text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elman.encode.corpus import Corpus, tokenise
from elman.encode.text import Tokens, Vocabulary, choose_tokens
from elman.errors import DataError
from elman.read.split import Pieces, hold_out

if TYPE_CHECKING:
    from elman.tasks.language_model import LanguageModel, Text

SAMPLE = 200_000  # characters from which the kind of tokens is chosen
BLOCK = 1 << 24  # tokens looked at together
LARGE = 20_000_000  # bytes of text from which on reading it shows a progress bar


@dataclass(frozen=True)
class TextData:
    """Vocabulary and corpora of a run.

    `paths` and `keys` name the texts and identify their content, by part (train, validation,
    test); a part held out from the training text has no path of its own.  `notes` say what was
    decided on the way.
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
        """What a later session needs: the same texts again, and what `<eos>` means in them."""
        keys = {f"{part}_key": key for part, key in self.keys.items()}
        ends = sum(
            int((self.train.tokens[at : at + BLOCK] == self.vocabulary.end).sum())
            for at in range(0, len(self.train), BLOCK)
        )
        alone = len(self.train.starts) > 1 and ends == len(self.train.starts)
        return {"name": self.name, **self.paths, **keys, "end": "document" if alone else "line"}


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
    source = model._source(train)
    keys = {"train": source.fingerprint()}
    paths = {} if not source.files else {"train": str(Path(str(train)).resolve())}
    notes: list[str] = []
    given: dict[str, str] = {}  # names of the texts that are not the training text
    parts: dict[str, Callable[[], Pieces]] = {}
    if validation is None:
        share = model.validation_fraction
        parts["train"], parts["validation"] = hold_out(source, share, seed=model.seed)
        split = f":{share}:{model.seed}"
        keys["validation"] = keys["train"] + split + ":held"
        keys["train"] += split
        notes.append(f"{share:.0%} of the text is held out for validation")
    else:
        parts["train"] = source.pieces
    for part, text in (("validation", validation), ("test", test)):
        if text is not None:
            other = model._source(text)
            parts[part], keys[part] = other.pieces, other.fingerprint()
            given[part] = other.name
            if other.files:
                paths[part] = str(Path(str(text)).resolve())
    if vocabulary is None:
        kind, why = _tokens(model, parts["train"])
        if why is not None:
            notes.append(why)
        vocabulary = Vocabulary.build(
            lambda: (text for text, _ in parts["train"]()),
            tokens=kind, size=model.vocabulary_size, lowercase=model.lowercase,
            min_count=model.min_count, split_punctuation=model.split_punctuation,
        )  # fmt: skip
    corpora = {}
    for part, pieces in parts.items():
        large = show and source.total_bytes > LARGE
        with _bar(f"reading {part} text", source.total_bytes, large) as advance:
            corpora[part] = tokenise(pieces, vocabulary, key=keys[part], advance=advance)
    for part, name in given.items():
        check_known(corpora[part], vocabulary, name)
    return TextData(
        vocabulary, corpora["train"], corpora["validation"], corpora.get("test"),
        paths, keys, source.name, tuple(notes),
    )  # fmt: skip


def find_again(
    model: LanguageModel, data: dict[str, str], vocabulary: Vocabulary, *, show: bool = False
) -> TextData:
    """The same texts as in `TextData.describe`, in a later session.

    Raises:
        DataError: a text is gone or has changed.
    """
    if "train" not in data:
        raise DataError(
            "the model was trained on texts in memory, which are gone; "
            "train from a file to be able to go on later"
        )
    validation, test = data.get("validation"), data.get("test")
    found = prepare(model, data["train"], validation, test, vocabulary=vocabulary, show=show)
    for part, key in found.keys.items():
        if data.get(f"{part}_key") != key:
            raise DataError(
                f"{data.get(part, data['train'])}: has changed since the run began; "
                "put the old text back, or train anew with another out"
            )
    return found


def check_known(corpus: Corpus, vocabulary: Vocabulary, name: str) -> None:
    """Refuse a text of which not one token is known with a DataError: it would score nothing."""
    unknown, end = vocabulary.unknown, vocabulary.end
    if unknown is not None and np.isin(corpus.tokens, [unknown, end]).all():
        raise DataError(
            f"{name}: the training text holds none of its {vocabulary.tokens}s; "
            "give text of the same kind, language and encoding"
        )


def _tokens(model: LanguageModel, pieces: Callable[[], Pieces]) -> tuple[Tokens, str | None]:
    if model.tokens is not None:
        return model.tokens, None
    sample = ""
    for text, _ in pieces():
        sample += text[: SAMPLE - len(sample)] + "\n"
        if len(sample) >= SAMPLE:
            break
    return choose_tokens(sample)


@contextmanager
def _bar(title: str, total: int, shown: bool) -> Iterator[Callable[[int], None] | None]:
    """A progress bar for reading, on a terminal."""
    if not shown:
        yield None
        return
    import sys

    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(title, total=total)
        yield lambda count: progress.advance(bar, count)
