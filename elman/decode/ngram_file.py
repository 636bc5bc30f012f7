r"""N-gram language models in ARPA format.

    \data\
    ngram 1=3
    ngram 2=2

    \1-grams:
    -0.30103  the  -0.2
    ...
    \end\

A line has log10 p(last word | words before it), the words, and, below the highest order, log10 of
the backoff weight b of the words (0 if it is missing).  For a context h, and h' without its oldest
word (Katz 1987, "Estimation of probabilities from sparse data", IEEE Transactions on Acoustics,
Speech, and Signal Processing 35(3)):

    p(w | h) = the stored value          if h w is stored
    p(w | h) = b(h) p(w | h')            otherwise

N-grams are stored by hashes of 64 bits in sorted arrays: 24 bytes each, at any order.

Shape legend: M n-grams of an order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elman.decode.scorers import Floats
from elman.errors import DataError
from elman.read.characters import ignore
from elman.read.text import text_lines

BEGIN, END = "<s>", "</s>"
UNKNOWN = ("<unk>", "<UNK>")
LOWEST = -99.0  # log10 of a probability of 0, as usual in these files
FACTOR, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1
CACHED = 1 << 17  # scores kept, so that words of several hypotheses are searched once


def _hash(words: Iterable[int]) -> int:
    key = 0
    for word in words:
        key = (key * FACTOR + word + 1) & MASK
    return key


def _hashes(columns: Iterable[NDArray[np.uint64]], count: int) -> NDArray[np.uint64]:
    """Return `_hash` of many n-grams, whose words are columns (M,)."""
    keys = np.zeros(count, dtype=np.uint64)
    for column in columns:
        keys = keys * np.uint64(FACTOR) + column + np.uint64(1)
    return keys


@dataclass(frozen=True)
class Level:
    """The n-grams of one order.

    Attributes:
        keys: (M,) sorted hashes.
        log_p, backoff: (M,) natural logarithms.
    """

    keys: NDArray[np.uint64]
    log_p: Floats
    backoff: Floats

    def find(self, words: Sequence[int]) -> int | None:
        """Return the index of an n-gram; None if it is not stored."""
        key = np.uint64(_hash(words))
        at = int(self.keys.searchsorted(key))
        return at if at < len(self.keys) and self.keys[at] == key else None


class NgramModel:
    """An n-gram model of words, for `WordScorer`; a state is the tuple of the last words.

    Args:
        words: numbers of the words.
        levels: n-grams of the orders 1, 2, ...
        unknown: log p of unknown words if there is no `<unk>`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.decode.kneser_ney import write_arpa
        >>> from elman.decode.ngram_file import read_arpa
        >>> path = Path(tempfile.mkdtemp()) / "lm.arpa"
        >>> write_arpa(["the cat sat", "the cat ran"], path, order=2)
        >>> model = read_arpa(path)
        >>> model.score([model.begin()], ["the"])[0] > model.score([model.begin()], ["cat"])[0]
        True
    """

    def __init__(
        self, words: dict[str, int], levels: Sequence[Level], *, unknown: float = -14.0
    ) -> None:
        self.words, self.levels, self.unknown = words, list(levels), unknown
        self._unknown = next((words[word] for word in UNKNOWN if word in words), -1)
        self._cache: dict[tuple[tuple[int, ...], int], float] = {}

    @property
    def order(self) -> int:
        """Return the number of words of the longest n-grams."""
        return len(self.levels)

    def begin(self) -> tuple[int, ...]:
        """Return the state at the beginning of a sentence."""
        return self._shortened((self.words.get(BEGIN, -1),))

    def score(self, states: Sequence[tuple[int, ...]], words: Sequence[str]) -> list[float]:
        """Return log p of one word after each state (N)."""
        pairs = zip(states, words, strict=True)
        return [self._log_p(state, self.words.get(word, self._unknown)) for state, word in pairs]

    def advance(
        self, states: Sequence[tuple[int, ...]], words: Sequence[str]
    ) -> list[tuple[int, ...]]:
        """Return the states (N) after one more word each."""
        pairs = zip(states, words, strict=True)
        numbers = self.words
        return [self._shortened((*s, numbers.get(w, self._unknown))) for s, w in pairs]

    def finish(self, states: Sequence[tuple[int, ...]]) -> list[float]:
        """Return log p of the end of the sentence after each state (N); 0 without `</s>`."""
        end = self.words.get(END)
        return [0.0 if end is None else self._log_p(state, end) for state in states]

    def _shortened(self, context: tuple[int, ...]) -> tuple[int, ...]:
        return context[max(0, len(context) - self.order + 1) :]

    def _log_p(self, context: tuple[int, ...], word: int) -> float:
        if word < 0:
            return self.unknown
        found = self._cache.get((context, word))
        if found is None:
            if len(self._cache) >= CACHED:
                self._cache.clear()
            found = self._cache[context, word] = self._search(context, word)
        return found

    def _search(self, context: tuple[int, ...], word: int) -> float:
        total = 0.0
        for begin in range(len(context) + 1):
            history = context[begin:]
            at = self.levels[len(history)].find((*history, word))
            if at is not None:
                return total + float(self.levels[len(history)].log_p[at])
            if history and (at := self.levels[len(history) - 1].find(history)) is not None:
                total += float(self.levels[len(history) - 1].backoff[at])
        raise AssertionError("every word is a 1-gram")


def read_arpa(path: Path, *, unknown: float = -14.0) -> NgramModel:
    """Read an n-gram model; a file whose name ends with .gz is unpacked.

    Args:
        path: the file.
        unknown: natural log-probability of unknown words if the file has no `<unk>`.

    Raises:
        DataError: the file cannot be read, or is damaged, with its line.
    """
    lines = _Lines(path)
    counts = _read_counts(lines)
    words: dict[str, int] = {}
    levels = []
    for order, count in enumerate(counts, 1):
        lines.expect(f"\\{order}-grams:")
        levels.append(_read_level(lines, words, order, count=count, highest=order == len(counts)))
    lines.expect("\\end\\")
    return NgramModel(words, levels, unknown=unknown)


class _Lines:
    """The lines of a file that are not blank, with their numbers."""

    def __init__(self, path: Path) -> None:
        self.path, self.number, self.line = path, 0, ""
        self._lines = iter(text_lines(path, "utf-8", ignore))

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            self.line = line.strip(" \t\r")
            if self.line:
                yield self.line
        self.line = ""

    def error(self, expected: str) -> DataError:
        """Return an error at this line."""
        got = f"line {self.number}: {self.line!r:.80}" if self.line else "the end of the file"
        return DataError(
            f"{self.path}, {got}: expected {expected}; the n-gram file is damaged or not in ARPA "
            "format: write or download it again"
        )

    def expect(self, heading: str) -> None:
        """Raise a DataError unless the current line is a heading."""
        if self.line != heading:
            raise self.error(heading)


def _read_counts(lines: _Lines) -> list[int]:
    """Read the number of n-grams of each order, up to the heading of the first."""
    for line in lines:
        if line == "\\data\\":
            break
    lines.expect("\\data\\")
    counts: list[int] = []
    for line in lines:
        if line.startswith("\\"):
            break
        match = re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", line)
        if match is None or int(match[1]) != len(counts) + 1:
            raise lines.error(f"'ngram {len(counts) + 1}=' and a count")
        counts.append(int(match[2]))
    if not counts:
        raise lines.error("'ngram 1=' and a count")
    return counts


def _read_level(
    lines: _Lines, words: dict[str, int], order: int, *, count: int, highest: bool
) -> Level:
    """Read the n-grams of an order, up to the next heading; add the words of order 1."""
    numbers: list[int] = []
    log_p: list[float] = []
    backoff: list[float] = []
    for line in lines:
        if line.startswith("\\"):
            break
        fields = line.replace("\t", " ").split(" ")
        if "" in fields:
            fields = [field for field in fields if field]
        if len(fields) not in (order + 1, order + 2):
            raise lines.error(f"a probability, {order} words and perhaps a backoff weight")
        if order == 1 and words.setdefault(fields[1], len(words)) != len(log_p):
            raise lines.error("a word that is not there yet")
        try:
            numbers += [words[word] for word in fields[1 : order + 1]]
        except KeyError as error:
            raise lines.error(f"words that have a 1-gram, without {error}") from None
        log_p.append(_number(lines, fields[0], "a log-probability of 0 or less", most=0.0))
        weight = fields[order + 1] if len(fields) > order + 1 and not highest else "0"
        backoff.append(_number(lines, weight, "a finite backoff weight", most=float("inf")))
    if len(log_p) != count:
        raise lines.error(
            f"{count} {order}-grams, as the head of the file has it, got {len(log_p)}"
        )
    keys = _hashes(np.array(numbers, dtype=np.uint64).reshape(-1, order).T, count)
    place = keys.argsort()
    keys = keys[place]
    if (keys[1:] == keys[:-1]).any():
        raise lines.error(f"each of the {order}-grams above once")
    scale = log(10)
    return Level(keys, scale * np.array(log_p)[place], scale * np.array(backoff)[place])


def _number(lines: _Lines, text: str, expected: str, *, most: float) -> float:
    """Return a number of a line; raise a DataError if it is not one or not in range."""
    try:
        value = float(text)
    except ValueError:
        raise lines.error(expected) from None
    if value == -float("inf"):
        return LOWEST
    if not (isfinite(value) and value <= most):
        raise lines.error(expected)
    return value
