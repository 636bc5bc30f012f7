"""Baselines of a classifier of texts: the most frequent label, and a bag of words.

The bag of words has words and pairs of adjacent words, or n-grams of 1 to 5 characters if the model
reads characters or bytes (1 to 3 if the texts have more than MANY characters), weighted by tf-idf.
It needs scikit-learn, an optional library.

    logistic regression   with C = 10
    class centroids       the cosine of a row and the mean of the rows of a class, if the regression
                          would have more than MOST coefficients
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from elman.optional import find

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

MOST = 20_000_000  # most coefficients of a logistic regression
MANY = 5_000_000  # characters of the training texts; with more, n-grams are shorter
SHARPNESS = 20.0  # factor of the cosines in the probabilities of centroids

Found = tuple[str, dict[str, Tensor]]


def majority(targets: Tensor, rows: int, classes: int) -> Tensor:
    """Return the frequencies of the labels in targets (N) or (N, K) as probabilities (rows, K)."""
    if targets.dim() == 2:
        return targets.float().mean(0).expand(rows, -1)
    counts = Counter(targets.tolist())
    share = torch.tensor([counts[k] for k in range(classes)], dtype=torch.float32)
    return (share / share.sum()).expand(rows, -1)


def bag_of_words(
    texts: Sequence[str], targets: Tensor, others: Mapping[str, Sequence[str]], classes: int,
    *, tokens: str, lowercase: bool,
) -> Found | None:  # fmt: skip
    """Return the name of the baseline and its probabilities (N, K) for other texts, by name.

    Args:
        texts: training texts.
        targets: classes (N), or zeros and ones (N, K).
        others: other texts by name.
        classes: number of classes K.
        tokens: kind of tokens that the model reads: word, character, byte or bpe.
        lowercase: whether to convert texts to lower case.

    Returns:
        None if scikit-learn is not installed, or no text has a word.
    """
    if find("sklearn") is None:
        return None
    features, name = _features(tokens, texts, lowercase=lowercase)
    try:
        x = features.fit_transform(texts)
    except ValueError:  # no text has a word
        return None
    inputs = {part: features.transform(some) for part, some in others.items()}
    if targets.dim() == 2:
        return f"logistic regression on {name}", _each_label(x, targets, inputs)
    if classes > 2 and classes * x.shape[1] > MOST:
        return f"class centroids of {name}", _by_centroids(x, targets, inputs, classes)
    return f"logistic regression on {name}", _by_regression(x, targets, inputs, classes)


def _features(tokens: str, texts: Sequence[str], *, lowercase: bool) -> tuple[TfidfVectorizer, str]:
    """Return the vectoriser of texts, and the name of its features."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    kind: dict[str, Any] = {"token_pattern": r"\w+|[^\w\s]", "ngram_range": (1, 2)}
    name = "words and pairs of them"
    if tokens in ("character", "byte"):
        longest = 5 if sum(map(len, texts)) <= MANY else 3
        kind = {"analyzer": "char", "ngram_range": (1, longest)}
        name = f"n-grams of 1 to {longest} characters"
    least = 2 if len(texts) >= 1000 else 1
    return TfidfVectorizer(
        **kind, lowercase=lowercase, sublinear_tf=True, min_df=least, dtype=np.float32
    ), name


def _by_regression(
    x: Any, targets: Tensor, inputs: Mapping[str, Any], classes: int
) -> dict[str, Tensor]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, max_iter=200).fit(x, targets.numpy())
    found = {}
    for part, some in inputs.items():
        found[part] = torch.zeros(some.shape[0], max(2, classes), dtype=torch.float32)
        found[part][:, model.classes_] = torch.from_numpy(model.predict_proba(some)).float()
    return found


def _each_label(x: Any, targets: Tensor, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return probabilities of one regression per label."""
    found = {
        part: torch.zeros(some.shape[0], targets.shape[1], dtype=torch.float32)
        for part, some in inputs.items()
    }
    for k, column in enumerate(targets.long().T):
        constant = column.min() == column.max()
        shares = None if constant else _by_regression(x, column, inputs, 2)
        for part, p in found.items():
            p[:, k] = column[0] if shares is None else shares[part][:, 1]
    return found


def _by_centroids(
    x: Any, targets: Tensor, inputs: Mapping[str, Any], classes: int
) -> dict[str, Tensor]:
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    rows = np.arange(len(targets))
    members = csr_matrix(
        (np.ones(len(rows), dtype=np.float32), (targets.numpy(), rows)), (classes, len(rows))
    )
    centroids = normalize(members @ x)
    return {
        part: torch.from_numpy((some @ centroids.T).toarray()).mul_(SHARPNESS).softmax(1)
        for part, some in inputs.items()
    }
