"""The baselines of a classifier: the most frequent label, and logistic regression on words.

Bag of words: a row's words and pairs of neighbours, weighted by tf-idf, into logistic regression
with C = 10 (scikit-learn, an extra); what a careful user has in ten lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

NAME = "logistic regression on words and pairs of them"


def majority(targets: Tensor, rows: int, classes: int) -> Tensor:
    """Probabilities (rows, K) that know only how frequent each label is: of (N) or (N, K)."""
    if targets.dim() == 2:
        return targets.float().mean(0).expand(rows, -1)
    counts = Counter(targets.tolist())
    share = torch.tensor([counts[k] for k in range(classes)], dtype=torch.float32)
    return (share / share.sum()).expand(rows, -1)


def bag_of_words(
    texts: Sequence[str], targets: Tensor, others: dict[str, Sequence[str]], classes: int,
    *, lowercase: bool,
) -> dict[str, Tensor] | None:  # fmt: skip
    """Probabilities (N, K) for other texts by name; None without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None
    words = TfidfVectorizer(
        token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), lowercase=lowercase, sublinear_tf=True,
        min_df=2 if len(texts) >= 1000 else 1, dtype=np.float32,
    )  # fmt: skip
    try:
        x = words.fit_transform(texts)
    except ValueError:  # no text has a word
        return None
    inputs = {name: words.transform(some) for name, some in others.items()}

    result = {
        name: torch.zeros(some.shape[0], max(2, classes), dtype=torch.float32)
        for name, some in inputs.items()
    }

    def fit(wanted: np.ndarray) -> dict[str, Tensor]:
        model = LogisticRegression(C=10.0, max_iter=200).fit(x, wanted)
        for name, some in inputs.items():
            result[name][:, model.classes_] = torch.from_numpy(model.predict_proba(some)).float()
        return result

    if targets.dim() == 1:
        return fit(targets.numpy())
    each = {name: torch.zeros(len(p), classes, dtype=torch.float32) for name, p in result.items()}
    for k, column in enumerate(targets.long().numpy().T):
        constant = column.min() == column.max()
        shares = None if constant else fit(column)  # of zeros and ones
        for name, p in each.items():
            p[:, k] = float(column[0]) if shares is None else shares[name][:, 1]
    return each
