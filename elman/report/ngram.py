"""Interpolated modified Kneser-Ney n-grams, the baseline of every language model.

For a context h (the k - 1 tokens before w) and h' (h without its oldest token), order k gives

    p_k(w | h) = (c(h w) - D(c(h w))) / C(h)  +  g(h) p_{k-1}(w | h')        if C(h) > 0
    p_k(w | h) = p_{k-1}(w | h')                                             otherwise
    p_0(w)     = 1 / V

    C(h) = sum_w c(h w)          g(h) = sum_w D(c(h w)) / C(h)
    D(0) = 0     D(1) = Y     D(2) = 2 - 3 Y n3 / n2     D(3+) = 3 - 4 Y n4 / n3
    Y = n1 / (n1 + 2 n2)         n_i = number of n-grams of order k with c = i

c is the count at the highest order, and at lower orders the continuation count: the number of
different tokens to the left of the n-gram, where the start of the stream counts as one more token.
Hence every n-gram of the training stream has c >= 1. The sum of p_k over w is 1.

Source: S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for language
modeling", Computer Speech and Language 13 (1999), 359-394, section 3; the counts of lower orders
are those of R. Kneser and H. Ney, ICASSP 1995.
Differences: the tokens are one stream, so contexts cross the ends of sentences. If one of n1..n4
is 0 or the estimate of a D is not above 0, as in very small or very dense data, that order has the
discounts 1/2, 1 and 3/2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.decode.kneser_ney import discounts
from elman.errors import ArgumentError


@dataclass(frozen=True)
class _Level:
    """One order of the model; an n-gram's id is the index of its key, and -1 if it is unseen.

    The last entry of each array is for unseen n-grams, so -1 needs no special case.
    """

    keys: NDArray[np.int64]  # sorted: id of the first k - 1 tokens * V + last token
    shares: NDArray[np.float64]  # (c - D) / C of each n-gram
    backoffs: NDArray[np.float64]  # g of each context, by the context's id one order below


class KneserNey:
    """N-gram language model over a stream of token ids; order 5 has contexts of 4 tokens.

    Raises ArgumentError if `order` is below 1.

    >>> model = KneserNey(order=2).fit(np.array([0, 1, 0]), vocabulary_size=3)
    >>> np.exp(model.log_probs(np.array([0, 1]))).round(4).tolist()
    [0.6667]
    """

    def __init__(self, order: int = 5) -> None:
        if order < 1:
            raise ArgumentError(f"order must be 1 or more, got {order}; 5 is the usual choice")
        self.order = order
        self.vocabulary_size = 0
        self._levels: list[_Level] = []

    def fit(self, tokens: NDArray[np.integer], vocabulary_size: int) -> "KneserNey":
        """Count the n-grams of `tokens` (N,), ids in 0..vocabulary_size-1, and return the model.

        Raises ArgumentError if `tokens` is empty, not 1-D, not of integers or contains an id out
        of range.

        >>> KneserNey(order=3).fit(np.array([0, 1, 0, 2]), vocabulary_size=4).vocabulary_size
        4
        """
        if vocabulary_size < 1:
            raise ArgumentError(
                f"vocabulary_size must be 1 or more, got {vocabulary_size}; pass the number of ids"
            )
        stream = _read(tokens, vocabulary_size)
        levels: list[_Level] = []
        context_count = 1
        keys, _, ids = _rank(np.zeros_like(stream), stream, vocabulary_size)
        for k in range(1, self.order):
            longer_keys, first, longer_ids = _rank(ids[:-1], stream[k:], vocabulary_size)
            # Each n-gram of the next order gives its suffix one left neighbour. Occurrence j of
            # order k + 1 ends where occurrence j + 1 of order k does; 0 is the stream's start.
            occurrences = np.concatenate((ids[:1], ids[first + 1]))
            counts = np.bincount(occurrences, minlength=len(keys))
            levels.append(_smooth(keys, counts, context_count, vocabulary_size))
            context_count = len(keys)
            keys, ids = longer_keys, longer_ids
        counts = np.bincount(ids, minlength=len(keys))
        levels.append(_smooth(keys, counts, context_count, vocabulary_size))
        self._levels, self.vocabulary_size = levels, vocabulary_size
        return self

    def log_probs(self, tokens: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return log p of each token (N,) after the first, given up to order - 1 tokens before it.

        The result (N - 1,) is in nats. Raises ArgumentError as `fit` does, and if the model is not
        fitted.

        >>> model = KneserNey(order=2).fit(np.array([0, 1, 0]), vocabulary_size=3)
        >>> np.exp(model.log_probs(np.array([0, 0, 2]))).round(4).tolist()
        [0.25, 0.0833]
        """
        if not self._levels:
            raise ArgumentError("the model is not fitted: call fit first")
        stream = _read(tokens, self.vocabulary_size)
        probabilities = np.full(len(stream), 1.0 / self.vocabulary_size)
        contexts = np.zeros_like(stream)
        for k, level in enumerate(self._levels, start=1):
            # An unseen context (-1) gives a negative key, which no n-gram has.
            wanted = contexts * self.vocabulary_size + stream[k - 1 :]
            ids = np.searchsorted(level.keys, wanted).astype(np.int64, copy=False)
            ids[level.keys[ids] != wanted] = -1
            lower = probabilities[k - 1 :]
            probabilities[k - 1 :] = level.shares[ids] + level.backoffs[contexts] * lower
            contexts = ids[:-1]
        log_probs: NDArray[np.float64] = np.log(probabilities[1:])
        return log_probs

    def perplexity(self, tokens: NDArray[np.integer]) -> float:
        """Return the perplexity of all tokens (N,) after the first: exp of the mean of -log p.

        Raises ArgumentError as `log_probs` does, and if there are fewer than two tokens.

        >>> model = KneserNey(order=2).fit(np.array([0, 1, 0]), vocabulary_size=3)
        >>> round(model.perplexity(np.array([0, 1])), 4)
        1.5
        """
        log_probs = self.log_probs(tokens)
        if not len(log_probs):
            raise ArgumentError(
                "tokens has 1 token, but perplexity needs at least 2: the first is only context"
            )
        return float(np.exp(-log_probs.mean()))


def _read(tokens: NDArray[np.integer], vocabulary_size: int) -> NDArray[np.int64]:
    """Check the ids and return them in memory as int64."""
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise ArgumentError(
            f"tokens must be a 1-D array of integers, got {tokens.ndim}-D {tokens.dtype}; "
            "pass one stream of token ids"
        )
    if not len(tokens):
        raise ArgumentError("tokens is empty, expected at least one token id; check the source")
    stream = np.array(tokens, dtype=np.int64)
    wrong = (stream < 0) | (stream >= vocabulary_size)
    if wrong.any():
        position = int(wrong.argmax())
        raise ArgumentError(
            f"tokens must be in 0..vocabulary_size-1={vocabulary_size - 1}, "
            f"got {tokens[position]} at position {position}; map rare tokens to an unknown id"
        )
    return stream


def _rank(
    contexts: NDArray[np.int64], last: NDArray[np.int64], vocabulary_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return sorted keys of the n-grams (context, last), the first occurrence, and all ids."""
    keys, first, ids = np.unique(
        contexts * vocabulary_size + last, return_index=True, return_inverse=True
    )
    return keys, first.astype(np.int64, copy=False), ids.astype(np.int64, copy=False)


def _smooth(
    keys: NDArray[np.int64], counts: NDArray[np.int64], context_count: int, vocabulary_size: int
) -> _Level:
    """Return the discounted shares of one order, and the weights of the next lower order."""
    contexts = keys // vocabulary_size
    held = discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=context_count)
    held_back = np.bincount(contexts, weights=held, minlength=context_count)
    backoffs = np.ones(context_count + 1)
    # A context that occurs only at the end of the stream has total 0 and keeps the weight 1.
    np.divide(held_back, totals, out=backoffs[:-1], where=totals > 0)
    return _Level(
        keys=np.append(keys, np.iinfo(np.int64).max),
        shares=np.append((counts - held) / totals[contexts], 0.0),
        backoffs=backoffs,
    )
