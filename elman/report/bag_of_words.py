"""Baselines of a classifier of texts: the most frequent label, and a bag of words.

The features are words and pairs of adjacent words, or n-grams of 1 to 5 characters if the model
reads characters or bytes (1 to 3 for more than MANY characters), weighted by tf-idf.  They are the
inputs of one of these models of scikit-learn (an extra):

    logistic regression   with C = 10
    class centroids       cosine similarity of a row and the mean row of each class, used if the
                          regression would have more than MOST coefficients
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
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

MOST = 20_000_000  # coefficients of a logistic regression
MANY = 5_000_000  # characters of the training texts
SHARPNESS = 20.0  # factor of the cosines before the softmax
LARGE = 1000  # training texts, from which features of only one text are dropped

Found = tuple[str, dict[str, Tensor]]


def majority(targets: Tensor, rows: int, classes: int) -> Tensor:
    """Return probabilities (rows, K): the frequency of each label in targets (N) or (N, K)."""
    if targets.dim() == 2:
        return targets.float().mean(0).expand(rows, -1)
    counts = Counter(targets.tolist())
    share = torch.tensor([counts[k] for k in range(classes)], dtype=torch.float32)
    return (share / share.sum()).expand(rows, -1)


def bag_of_words(
    texts: Sequence[str],
    targets: Tensor,
    others: Mapping[str, Sequence[str]],
    classes: int,
    *,
    tokens: str,
    lowercase: bool,
) -> Found | None:
    """Return the name of the baseline, and its probabilities (N, K) for other texts by name.

    The result is None without scikit-learn, or if no text has a word.

    Args:
        texts: training texts.
        targets: classes (N), or zeros and ones (N, K).
        others: texts to predict, by name.
        classes: K.
        tokens: the model's kind of tokens: word, character, byte or bpe.
        lowercase: whether the model reads texts in lower case.
    """
    if find("sklearn") is None:
        return None
    features, name = _features(tokens, texts, lowercase=lowercase)
    x = _fit(features, texts)
    if x is None:
        return None
    inputs = {part: features.transform(some) for part, some in others.items()}
    if targets.dim() == 2:
        return f"logistic regression on {name}", _each_label(x, targets, inputs)
    if classes > 2 and classes * x.shape[1] > MOST:
        return f"class centroids of {name}", _by_centroids(x, targets, inputs, classes)
    return f"logistic regression on {name}", _by_regression(x, targets, inputs, classes)


def _features(tokens: str, texts: Sequence[str], *, lowercase: bool) -> tuple[TfidfVectorizer, str]:
    """Return the vectorizer that turns texts into features, and a name for the features."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    kind: dict[str, Any] = {"token_pattern": r"\w+|[^\w\s]", "ngram_range": (1, 2)}
    name = "words and pairs of them"
    if tokens in ("character", "byte"):
        longest = 5 if sum(map(len, texts)) <= MANY else 3
        kind = {"analyzer": "char", "ngram_range": (1, longest)}
        name = f"n-grams of 1 to {longest} characters"
    return TfidfVectorizer(**kind, lowercase=lowercase, sublinear_tf=True, dtype=np.float32), name


def _fit(features: TfidfVectorizer, texts: Sequence[str]) -> csr_matrix | None:
    """Fit the vectorizer, and return features (N, F) of the texts; None if no text has a word.

    With many texts, features of only one text are dropped, if most texts keep other features.
    """
    for least in (2, 1) if len(texts) >= LARGE else (1,):
        try:
            x = features.set_params(min_df=least).fit_transform(texts)
        except ValueError:  # there are no features at all
            continue
        if least == 1 or 2 * np.count_nonzero(x.getnnz(1)) > len(texts):
            return x
    return None


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
    """Fit one regression for each label; return probabilities (N, K) by name."""
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
