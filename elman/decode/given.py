"""Words and phrases given at run time, in a file or as an argument, and the places of bad ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from elman.arguments import texts_of_argument
from elman.decode.characters import Spelling
from elman.decode.hypotheses import HIGHEST, is_boost
from elman.errors import ArgumentError, DataError
from elman.read.characters import ignore
from elman.read.split import some_of
from elman.read.text import text_lines

Given = Path | Mapping[str, float | None] | Iterable[str]
BOOST = f"a boost in 0..{HIGHEST:,} nats"


class Entry(NamedTuple):
    """A word or a phrase.

    Attributes:
        place: the line of a file, or the item of an argument.
        text: the word or the phrase, with single spaces.
    """

    place: str
    text: str


def words_given(given: Path | Iterable[str], spelling: Spelling) -> list[str]:
    """Return the different words of a file or a list, in order, as their spelling folds them.

    Args:
        given: a file with words between spaces and line ends, or the words.
        spelling: the characters of the tokens of a model.

    Raises:
        DataError: the file cannot be read, has no word, or has one that the tokens cannot write.
        ArgumentError: the argument is no list of such words.

    Example:
        >>> from elman.decode.characters import Spelling
        >>> from elman.decode.given import words_given
        >>> words_given(["on", "no"], Spelling(["n", "o"]))
        ['no', 'on']
        >>> words_given(["on", "not"], Spelling(["n", "o"]))
        Traceback (most recent call last):
        elman.errors.ArgumentError: words[1]: the tokens of the model cannot write 't' of 'not'; \
write it as in the training transcripts, or remove it
    """
    if isinstance(given, Path):
        entries = [Entry(place, word) for place, line in _lines(given) for word in line.split()]
    else:
        texts = texts_of_argument(given, "words")
        entries = [Entry(f"words[{n}]", text) for n, text in enumerate(texts)]
        for place, text in entries:
            if len(text.split()) != 1:
                raise ArgumentError(f"{place} must be one word without spaces, got {text!r}")
        entries = [Entry(place, text.strip()) for place, text in entries]
    _check(entries, spelling, given, "word")
    return sorted({spelling.fold(text) for _, text in entries})


def phrases_given(given: Given, spelling: Spelling, usual: float) -> dict[str, float]:
    """Return the phrases of a file, a list or a mapping, folded, and the boost of each.

    Args:
        given: a file with a phrase on each line, such as `Babbage`, or a phrase, a colon and its
            boost, such as `Ada Lovelace:4.5`; a list of phrases; or phrases and their boosts, None
            for the usual one.
        spelling: the characters of the tokens of a model.
        usual: boost of a phrase without one.

    Raises:
        DataError: the file cannot be read, has no phrase, has a line with a bad boost, or has one
            that the tokens cannot write.
        ArgumentError: the argument has such a phrase or such a boost.

    Example:
        >>> from elman.decode.characters import Spelling
        >>> from elman.decode.given import phrases_given
        >>> letters = Spelling([*"abdo", " "])
        >>> phrases_given(["ada"], letters, 3.0), phrases_given({"ada": 5, "bob": None}, letters, 3)
        ({'ada': 3.0}, {'ada': 5.0, 'bob': 3.0})
    """
    if isinstance(given, Path):
        pairs = [(place, *_phrase_of(line, place)) for place, line in _lines(given)]
    elif isinstance(given, Mapping):
        names = texts_of_argument(given, "phrases")
        pairs = [(f"phrases[{text!r}]", text, given[text]) for text in names]
        for place, _, boost in pairs:
            if boost is not None and not is_boost(boost):
                raise ArgumentError(f"{place} must be {BOOST}, or None, got {boost!r}")
    else:
        texts = texts_of_argument(given, "phrases")
        pairs = [(f"phrases[{n}]", text, None) for n, text in enumerate(texts)]
    entries = [Entry(place, " ".join(text.split())) for place, text, _ in pairs]
    _check(entries, spelling, given, "phrase")
    boosts = (usual if boost is None else boost for _, _, boost in pairs)
    pairs_of = zip(entries, boosts, strict=True)
    return {spelling.fold(one.text): float(boost) for one, boost in pairs_of}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line that is not blank."""
    for number, line in enumerate(text_lines(path, "utf-8", ignore), 1):
        if line.strip():
            yield f"{path}, line {number}", line


def _phrase_of(line: str, place: str) -> tuple[str, float | None]:
    """Return the phrase of a line, and its boost."""
    text, colon, number = line.rpartition(":")
    if not colon:
        return line, None
    try:
        boost = float(number)
    except ValueError:
        boost = -1.0
    if not text.strip() or not is_boost(boost):
        raise DataError(
            f"{place}: expected a phrase, or a phrase, a colon and {BOOST}, got {line!r:.80}; a "
            "phrase that has a colon needs a boost after it, such as note: this:3"
        )
    return text, boost


def _check(entries: Sequence[Entry], spelling: Spelling, given: object, noun: str) -> None:
    """Raise an error if there is no word, or if tokens cannot write some of the entries."""
    error = DataError if isinstance(given, Path) else ArgumentError
    if not entries and noun == "word":
        raise error("words: expected at least one word, got none")
    if (empty := next((place for place, text in entries if not text), None)) is not None:
        raise error(f"{empty}: is empty, expected a {noun}")
    bad = [(place, text, gaps) for place, text in entries if (gaps := spelling.gaps(text))]
    if bad:
        (place, text, gaps), *others = bad
        more = f" (likewise {some_of(one[0] for one in others)})" if others else ""
        shown = ", ".join(map(repr, gaps))
        whole = "" if gaps == [spelling.fold(text)] else f" of {text!r}"
        raise error(
            f"{place}: the tokens of the model cannot write {shown}{whole}{more}; write it as in "
            "the training transcripts, or remove it"
        )
