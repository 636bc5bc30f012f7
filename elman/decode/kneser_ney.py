"""Interpolated modified Kneser-Ney n-gram models of sentences, written in ARPA format.

The equations are those of `elman.report.ngram`, with three differences.  An n-gram lies inside of
one sentence, between `<s>` and `</s>`.  N-grams that begin with `<s>`, which never has a word to
its left, keep their counts at every order.  p_0 is uniform over all words, `</s>` and `<unk>`.

The file has the interpolated probabilities of the n-grams of the training data, and g(h) as the
backoff weight of h.  Hence the sum of p(w | h) over all words, `</s>` and `<unk>` is 1.

Source: Chen and Goodman 1999, see `elman.report.ngram`; Heafield et al. 2013, "Scalable Modified
Kneser-Ney Language Model Estimation", ACL, section 3.

Shape legend: S tokens of all sentences, M different n-grams of an order.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from elman.atomic import write_atomic
from elman.decode.ngram_file import BEGIN, END, LOWEST, UNKNOWN
from elman.decode.prefixes import Integers
from elman.decode.scorers import Floats
from elman.errors import ArgumentError, DataError
from elman.read.files import is_packed

UNSEEN, FIRST, LAST = 0, 1, 2  # numbers of <unk>, <s> and </s>
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order.

    Attributes:
        context: (M,) number of the n-gram of the words before the last; 0 at order 1.
        word: (M,) last word.
        suffix: (M,) number of the n-gram without its first word; 0 at order 1.
        counts: (M,) occurrences, or continuations.
    """

    context: Integers
    word: Integers
    suffix: Integers
    counts: Integers


def write_arpa(
    texts: Iterable[str], path: str | Path, *, order: int = 3, min_count: int = 1
) -> None:
    """Write an n-gram model of texts, such as the transcripts of a training set.

    Args:
        texts: sentences, whose words are separated by white space.
        path: the file; it is packed if its name ends with .gz.
        order: the number of words of the longest n-grams.
        min_count: rarer words are read as `<unk>`.

    Raises:
        ArgumentError: `order` or `min_count` is below 1.
        DataError: there is no word, or a word has the name of a special token.
        FolderError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "lm.arpa"
        >>> write_arpa(["to be or not to be"], path, order=2)
        >>> path.read_text().splitlines()[:3]
        ['\\\\data\\\\', 'ngram 1=7', 'ngram 2=6']
    """
    if order < 1:
        raise ArgumentError(f"order must be at least 1, got {order}; 3 is usual")
    if min_count < 1:
        raise ArgumentError(f"min_count must be at least 1, got {min_count}")
    path = Path(path)
    words, stream, begins = _numbers(texts, min_count)
    orders = _count(stream, begins, order, vocabulary=len(words))
    text = "\n".join(_lines(orders, words)) + "\n"
    write_atomic(path, gzip.compress(text.encode(), mtime=0) if is_packed(path) else text)


def _numbers(texts: Iterable[str], min_count: int) -> tuple[list[str], Integers, Integers]:
    """Return the words, the sentences (S,) as numbers, and the first index (S,) of each's own."""
    sentences = [words for words in (text.split() for text in texts) if words]
    counts = Counter(chain.from_iterable(sentences))
    special = next((word for word in (BEGIN, END, *UNKNOWN) if word in counts), None)
    if not sentences or special is not None:
        got = "none" if special is None else f"{special!r}, which is a special token"
        raise DataError(f"a language model needs texts with words, got {got}")
    words = [UNKNOWN[0], BEGIN, END, *sorted(w for w, n in counts.items() if n >= min_count)]
    number = {word: n for n, word in enumerate(words)}
    stream: list[int] = []
    begins: list[int] = []
    for sentence in sentences:
        begins.extend(repeat(len(stream), len(sentence) + 2))
        stream += [FIRST, *(number.get(word, UNSEEN) for word in sentence), LAST]
    return words, np.array(stream, dtype=np.int64), np.array(begins, dtype=np.int64)


def _count(stream: Integers, begins: Integers, highest: int, *, vocabulary: int) -> list[_Order]:
    """Return the n-grams of the orders 1, 2, ..., and their counts."""
    words, zeros = np.arange(vocabulary), np.zeros(vocabulary, dtype=np.int64)
    orders = [_Order(zeros, words, zeros, np.bincount(stream, minlength=vocabulary))]
    begun = words == FIRST  # n-grams that begin with <s>
    ids, places = stream, np.arange(len(stream))  # n-gram that ends at each place
    for k in range(2, highest + 1):
        places = places[places - begins[places] >= k - 1]
        keys, first, longer, counts = np.unique(
            ids[places - 1] * vocabulary + stream[places],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        ends = places[first]
        longest = _Order(keys // vocabulary, keys % vocabulary, ids[ends], counts)
        continued = np.bincount(longest.suffix, minlength=len(begun))
        orders[-1] = replace(orders[-1], counts=np.where(begun, orders[-1].counts, continued))
        orders.append(longest)
        begun = begins[ends] == ends - (k - 1)
        ids = np.full(len(stream), -1)
        ids[places] = longer
    orders[0].counts[FIRST] = 0  # never predicted
    return orders


def _estimates(orders: list[_Order]) -> Iterator[tuple[Floats, Floats]]:
    """Yield p (M,) of the n-grams of each order, and the backoff weights of their contexts."""
    lower = np.full(len(orders[0].word), 1 / (len(orders[0].word) - 1))
    contexts = 1
    for one in orders:
        held = discounts(one.counts)[np.minimum(one.counts, 3)]
        totals = np.bincount(one.context, weights=one.counts, minlength=contexts)
        backoff = np.ones(contexts)  # a context that is only seen at an end has no other weight
        np.divide(
            np.bincount(one.context, weights=held, minlength=contexts),
            totals,
            out=backoff,
            where=totals > 0,
        )
        share = (one.counts - held) / totals[one.context]
        lower = share + backoff[one.context] * lower[one.suffix]
        contexts = len(one.word)
        yield lower, backoff


def _lines(orders: list[_Order], words: list[str]) -> Iterator[str]:
    """Yield the lines of the file."""
    yield "\\data\\"
    yield from (f"ngram {k}={len(one.word)}" for k, one in enumerate(orders, 1))
    estimates = list(_estimates(orders))
    texts = [""]
    for k, (one, (p, _)) in enumerate(zip(orders, estimates, strict=True), 1):
        pairs = zip(one.context.tolist(), one.word.tolist(), strict=True)
        texts = [
            f"{texts[context]} {words[word]}" if k > 1 else words[word] for context, word in pairs
        ]
        log_p = np.log10(p)
        if k == 1:
            log_p[FIRST] = LOWEST
        yield f"\n\\{k}-grams:"
        if k == len(orders):
            rows = zip(log_p.tolist(), texts, strict=True)
            yield from (f"{value:.7f}\t{text}" for value, text in rows)
        else:
            weights = np.log10(estimates[k][1]).tolist()
            full = zip(log_p.tolist(), texts, weights, strict=True)
            yield from (f"{value:.7f}\t{text}\t{weight:.7f}" for value, text, weight in full)
    yield "\n\\end\\"


def discounts(counts: Integers) -> Floats:
    """Return D for the counts 0, 1, 2 and 3 or more, from the frequencies of the counts.

    Example:
        >>> import numpy as np
        >>> from elman.decode.kneser_ney import discounts
        >>> discounts(np.array([1, 1, 1, 1, 2, 2, 3, 4])).tolist()
        [0.0, 0.5, 1.25, 1.0]
    """
    n1, n2, n3, n4 = np.bincount(counts[counts < 5], minlength=5)[1:].tolist()
    estimate = FALLBACK_DISCOUNTS
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        d1, d2, d3 = y, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        # A discount of 0 or less would leave no probability for unseen tokens.
        if min(d2, d3) > 0:
            estimate = (d1, d2, d3)
    return np.array((0.0, *estimate))
