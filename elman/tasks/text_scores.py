"""Score a language model on texts, and an n-gram model of the training text as its baseline."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman.encode.corpus import Corpus
from elman.encode.text import Vocabulary
from elman.model import SequenceModel
from elman.report.ngram import KneserNey
from elman.tasks.text_data import TextData
from elman.train.chunks import StreamBatches
from elman.train.evaluate import evaluate
from elman.train.reach import gradient_by_lag

ORDER = 5  # order of the n-gram baseline
BASELINE_TOKENS = 5_000_000  # maximum tokens of the training text that the baseline reads
LAGS = 200  # steps over which the norm of the gradient is measured
SCORED_TOKENS = 1024  # tokens of a chunk in scoring


def scored_batches(corpus: Corpus, rows: int, *, exact: bool) -> StreamBatches:
    """Return batches for scoring; the length of their chunks affects only speed and memory.

    Args:
        corpus: the text.
        rows: number of parallel rows.
        exact: whether a single document is read in one row, so that every prediction sees its past.
    """
    if exact and len(corpus.starts) == 1:
        rows = 1
    steps = min(max(1, SCORED_TOKENS // rows), len(corpus))
    return StreamBatches(corpus, rows, steps, exact=exact)


def score_corpus(
    network: SequenceModel, vocabulary: Vocabulary, corpus: Corpus, rows: int
) -> dict[str, Any]:
    """Return exact scores of a corpus: every prediction sees all of its past."""
    scores: dict[str, Any] = evaluate(network, scored_batches(corpus, rows, exact=True))
    scores["tokens"] = int(scores["tokens"])
    if vocabulary.unknown is not None:
        scores["unknown"] = corpus.count(vocabulary.unknown) / len(corpus)
    return scores


def score_baseline(train: Corpus, size: int, *corpora: Corpus) -> list[dict[str, float]]:
    """Return the scores that an n-gram model of the training text reaches on each corpus.

    Args:
        train: the training text.
        size: number of tokens in the vocabulary.
        corpora: the texts to score.
    """
    baseline, scores = KneserNey(ORDER).fit(train.tokens[:BASELINE_TOKENS], size), []
    for corpus in corpora:
        tokens = np.append(np.int64(corpus.end), corpus.tokens.astype(np.int64))
        log_probs = baseline.log_probs(tokens)
        loss = -float(log_probs.mean())
        scores.append({"loss": loss, "perplexity": float(np.exp(loss)), "tokens": len(log_probs)})
    return scores


def measure(network: SequenceModel, data: TextData, rows: int) -> dict[str, Any]:
    """Return scores of the model and of the baseline on the same texts."""
    parts = {"validation": data.validation} | ({"test": data.test} if data.test else {})
    name = f"interpolated Kneser-Ney {ORDER}-gram"
    if len(data.train) > BASELINE_TOKENS:
        name += f" of the first {BASELINE_TOKENS:,} tokens"
    found = score_baseline(data.train, data.vocabulary.size, *parts.values())
    return {
        "model": {
            part: score_corpus(network, data.vocabulary, corpus, rows)
            for part, corpus in parts.items()
        },
        "baseline": {"name": name, **dict(zip(parts, found, strict=True))},
    }


def measure_reach(network: SequenceModel, corpus: Corpus) -> list[float]:
    """Return the norm of the gradient by the number of steps that it has flowed back."""
    tokens = len(corpus)
    steps = min(LAGS, tokens)
    rows = max(1, min(16, tokens // steps))
    chunk = next(StreamBatches(corpus, rows, steps, independent=False).epoch(1))
    return gradient_by_lag(network, chunk.inputs, chunk.targets)
