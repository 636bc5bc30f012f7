"""Bags of sparse features: n-grams of a text, or levels that statistics of a recording exceed.

N-grams are words, pairs of adjacent words, and up to five characters of a word.

    value of n-gram g in a text = (1 + log count) * log((1 + N) / (1 + N_g) + 1),

then each of the two kinds, words and characters, is divided by its L2 norm.  N_g of the N training
texts contain g.  Characters are taken from a word with a blank on both sides, so that beginnings
and ends of words have separate n-grams.  An n-gram is identified by a hash of 64 bits: the n-grams
of the training data are a sorted array of hashes, without strings.

A statistic u of a recording has a level, the number of k = 1..15 with u > q_k, where q_k are
quantiles of the training recordings at k / 16.  The feature of this level has the value SHARE.  The
unit of u therefore does not matter, and a linear model of the features can be any sum of step
functions of the statistics.

Source of n-grams: the features of Joulin et al. 2016 (arXiv:1607.01759) with the weights of tf-idf.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WORD = re.compile(r"\w+|[^\w\s]")
LONGEST = 5  # characters of an n-gram
WORDS_ONLY = 1 << 22  # characters of all texts; with more, n-grams of characters cost too much
SMALL = 1000  # texts; with fewer every n-gram counts, with more those in at least two texts
BLOCK = 1 << 22  # hashes that are held before they are counted
P = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
INVERSE = np.uint64(pow(int(P), -1, 1 << 64))
MIX = np.uint64(0xBF58476D1CE4E5B9)
LEVELS, SHARE = 16, 0.3
LOWEST = -1e300
KIND = np.uint64(1)  # the bit of a hash that is set for characters

Hashes = NDArray[np.uint64]


class Bag(NamedTuple):
    """Sparse features of B rows; row b has numbers[starts[b]:starts[b + 1]], with their values.

    Attributes:
        numbers: (M) int64.
        values: (M) float32.
        starts: (B) int64.
    """

    numbers: Tensor
    values: Tensor
    starts: Tensor


NOTHING = Bag(torch.zeros(0).long(), torch.zeros(0).float(), torch.zeros(0).long())  # no rows


def join_bags(
    bags: Sequence[Bag], rows: Sequence[Sequence[int]], sizes: Sequence[int], count: int
) -> Bag:
    """Return bags of several inputs as one bag of `count` rows.

    Args:
        bags: the bag of each input.
        rows: for each bag, the row of the result to which each of its rows belongs.
        sizes: number of features of each input; their numbers follow each other.
        count: B.

    Example:
        >>> import torch
        >>> from elman.encode.bags import Bag, join_bags
        >>> one = Bag(torch.tensor([0, 1, 1]), torch.ones(3), torch.tensor([0, 2]))
        >>> two = Bag(torch.tensor([0]), torch.ones(1), torch.tensor([0]))
        >>> whole = join_bags([one, two], [[0, 2], [0]], [2, 5], 3)
        >>> whole.numbers.tolist(), whole.starts.tolist()
        ([0, 1, 2, 1], [0, 3, 3])
    """
    owners, numbers = [], []
    first = np.cumsum([0, *sizes])
    for bag, some, offset in zip(bags, rows, first[:-1].tolist(), strict=True):
        lengths = np.diff(np.append(bag.starts.numpy(), len(bag.numbers)))
        owners.append(np.repeat(np.array(some, dtype=np.int64), lengths))
        numbers.append(bag.numbers.numpy() + offset)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    starts = np.append(0, np.bincount(owner, minlength=count).cumsum()[:-1])
    return Bag(
        torch.from_numpy(np.concatenate(numbers)[order]),
        torch.cat([bag.values for bag in bags])[torch.from_numpy(order)],
        torch.from_numpy(starts),
    )


@dataclass
class Levels:
    """Quantiles of statistics.

    Args:
        edges: (S, LEVELS - 1), ascending for each statistic; repeated quantiles are NaN.

    Example:
        >>> import numpy as np
        >>> from elman.encode.bags import Levels
        >>> levels = Levels.build(np.array([[0.0, 5], [1, 5], [2, 5], [3, 5]]))
        >>> levels.encode(np.array([[-1.0, 5], [9, 6], [np.nan, 5]])).numbers.tolist()
        [0, 16, 15, 17, 0, 16]
    """

    edges: NDArray[np.float64]

    @property
    def features(self) -> int:
        """The number of features."""
        return LEVELS * len(self.edges)

    @classmethod
    def build(cls, rows: NDArray[np.float64]) -> Levels:
        """Compute the quantiles of training rows (N, S); NaN is below all other values."""
        rows = np.where(np.isnan(rows), LOWEST, rows)
        edges = np.quantile(rows, np.arange(1, LEVELS) / LEVELS, axis=0).T
        edges[:, 1:][np.diff(edges) <= 0] = np.nan
        return cls(edges)

    def check(self) -> None:
        """Raise a ValueError unless the quantiles are finite and ascending."""
        edges = self.edges
        if edges.dtype != np.float64 or edges.ndim != 2 or edges.shape[1] != LEVELS - 1:
            raise ValueError(
                f"edges must be float64 (S, {LEVELS - 1}), got {edges.dtype} {edges.shape}"
            )
        falls = (edges[:, 1:] <= np.fmax.accumulate(edges, axis=1)[:, :-1]).any()
        if falls or np.isinf(edges).any() or np.isnan(edges[:, 0]).any():
            raise ValueError("edges must be finite and ascending")

    def encode(self, rows: NDArray[np.float64]) -> Bag:
        """Return the level of each statistic of each row (N, S)."""
        rows = np.where(np.isnan(rows), LOWEST, rows)
        numbers = np.zeros(rows.shape, dtype=np.int64)
        for number, row in zip(numbers, rows, strict=True):
            number[:] = (row[:, None] > self.edges).sum(1)
        numbers += LEVELS * np.arange(len(self.edges))
        return Bag(
            torch.from_numpy(numbers.flatten()),
            torch.full((numbers.size,), SHARE, dtype=torch.float32),
            torch.arange(len(rows)) * len(self.edges),
        )


@dataclass
class NGrams:
    """The n-grams of the training data.

    Args:
        known: sorted hashes of the n-grams.
        weights: log((1 + N) / (1 + N_g) + 1) of each.
        lowercase: whether to convert text to lower case.
        characters: whether n-grams of characters are included.
    """

    known: Hashes
    weights: NDArray[np.float32]
    lowercase: bool = True
    characters: bool = True

    @classmethod
    def build(cls, texts: Sequence[str], *, lowercase: bool, most: int) -> NGrams:
        """Collect the n-grams of texts, at most `most`: those that occur in the most texts.

        Example:
            >>> from elman.encode.bags import NGrams
            >>> known = NGrams.build(["a b", "b"], lowercase=True, most=100)
            >>> len(known.known)  # a, b, a b; as characters a, b, with blanks
            11
            >>> known.encode(["b c", ""]).starts.tolist()
            [0, 5]
        """
        characters = sum(map(len, texts)) <= WORDS_ONLY
        known, counts = _count(texts, lowercase=lowercase, characters=characters)
        often = counts >= (2 if len(texts) >= SMALL else 1)
        known, counts = known[often], counts[often]
        if len(known) > most:
            kept = np.sort(np.argsort(-counts, kind="stable")[:most])
            known, counts = known[kept], counts[kept]
        weights = np.log((1 + len(texts)) / (1 + counts) + 1)
        return cls(known, weights.astype(np.float32), lowercase, characters)

    def check(self) -> None:
        """Raise a ValueError unless the n-grams are sorted and have weights above 0."""
        if (self.known[1:] <= self.known[:-1]).any():
            raise ValueError("known must be hashes in ascending order")
        if not (self.weights > 0).all():
            raise ValueError("weights must be above 0")

    def encode(self, texts: Sequence[str]) -> Bag:
        """Return the known n-grams of each text."""
        rows = [self._encode(text) for text in texts]
        counts = np.array([0, *(len(numbers) for numbers, _ in rows)])
        nothing = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        numbers, values = (np.concatenate(parts) for parts in zip(nothing, *rows, strict=True))
        starts = counts.cumsum()[:-1]
        return Bag(torch.from_numpy(numbers), torch.from_numpy(values), torch.from_numpy(starts))

    def follow(self, counts: NDArray[np.int64], last: str, piece: str) -> str:
        """Add the n-grams of the next piece of a text to its counts, in place.

        Args:
            counts: how often each known n-gram occurred so far.
            last: the last token with a word, with which the piece forms a pair; "" for none.
            piece: the next piece, which a blank separates from the text so far.

        Returns:
            The last token with a word, for the next call.
        """
        for text, sign in ((last, -1), (f"{last} {piece}", 1)):
            at, times = self._count(text)
            counts[at] += sign * times
        return next((one for one in reversed(piece.split()) if WORD.search(one)), last)

    def bag(self, counts: NDArray[np.int64]) -> Bag:
        """Return the n-grams that occurred, as one row, given the counts of `follow`."""
        at = counts.nonzero()[0]
        start = torch.zeros(1, dtype=torch.int64)
        return Bag(torch.from_numpy(at), torch.from_numpy(self._values(at, counts[at])), start)

    def _encode(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        at, counts = self._count(text)
        return at, self._values(at, counts)

    def _count(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of the known n-grams of a text, and how often each occurs."""
        hashes, counts = _hashes(text, lowercase=self.lowercase, characters=self.characters)
        at = np.searchsorted(self.known, hashes)
        at[at == len(self.known)] = 0
        there = self.known[at] == hashes
        return at[there], counts[there]

    def _values(self, at: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values of known n-grams, given how often each occurs."""
        kinds = self.known[at] & KIND
        values = (1 + np.log(counts)) * self.weights[at]
        for kind in (0, 1):
            these = kinds == kind
            values[these] /= np.sqrt((values[these] ** 2).sum()) + 1e-12
        return np.asarray(values.astype(np.float32))


def _count(
    texts: Iterable[str], *, lowercase: bool, characters: bool
) -> tuple[Hashes, NDArray[np.int64]]:
    """Return the distinct n-grams of texts, sorted, and the number of texts that contain each."""
    known, counts = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    waiting = iter(texts)
    while True:
        found, held = [known[:0]], 0
        for text in waiting:
            found.append(_hashes(text, lowercase=lowercase, characters=characters)[0])
            held += len(found[-1])
            if held > BLOCK:
                break
        if not held:
            return known, counts
        fresh, more = np.unique(np.concatenate(found), return_counts=True)
        known, place = np.unique(np.concatenate([known, fresh]), return_inverse=True)
        both = np.zeros(len(known), dtype=np.int64)
        np.add.at(both, place, np.concatenate([counts, more]))
        counts = both


def _hashes(text: str, *, lowercase: bool, characters: bool) -> tuple[Hashes, NDArray[np.int64]]:
    """Return hashes of the n-grams of a text, even for words, odd for characters, and counts.

    The sum of c_i P^i over a substring, divided by P^(its first index), does not depend on the
    position of the substring; sums over all substrings are differences of one running sum.
    """
    text = " ".join(["", *(text.lower() if lowercase else text).split(), ""])
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    powers, inverses = _powers(max(4096, 1 << len(codes).bit_length()))
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.cumsum((codes.astype(np.uint64) + np.uint64(1)) * powers[: len(codes)], out=sums[1:])
    spans = np.array([match.span() for match in WORD.finditer(text)], np.int64).reshape(-1, 2)
    words = _mixed((sums[spans[:, 1]] - sums[spans[:, 0]]) * inverses[spans[:, 0]])
    pairs = _mixed(words[:-1] * P + words[1:])
    found = [np.concatenate([words, pairs]) & ~KIND]
    if characters:
        blank = codes == ord(" ")
        blanks = np.concatenate([[0], np.cumsum(blank)])
        for n in range(1, min(LONGEST, len(codes)) + 1):
            begins = np.arange(len(codes) - n + 1)
            if n == 1:
                begins = begins[~blank]
            else:  # blanks are only at the ends
                begins = begins[blanks[begins + n - 1] == blanks[begins + 1]]
            spelled = (sums[begins + n] - sums[begins]) * inverses[begins]
            found.append(_mixed(spelled + np.uint64(n)) | KIND)
    return np.unique(np.concatenate(found), return_counts=True)


@lru_cache(maxsize=4)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """Return P^0 .. P^(count - 1), and their inverses."""
    powers, inverses = (
        np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count - 1, p)]))
        for p in (P, INVERSE)
    )
    return powers, inverses


def _mixed(x: Hashes) -> Hashes:
    """Mix the hashes so that each bit depends on all bits."""
    x = (x ^ (x >> np.uint64(31))) * MIX
    return np.asarray(x ^ (x >> np.uint64(29)))
