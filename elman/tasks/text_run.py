"""Train and score a language model, compared with an n-gram model; and its model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning_fabric import Fabric

from elman.encode.corpus import Corpus, tokenise
from elman.encode.text import Vocabulary
from elman.manifest import TOKENIZER
from elman.read.text import TextSource
from elman.report.ngram import KneserNey
from elman.tasks.card import model_card
from elman.tasks.parts import LOG
from elman.tasks.run import Job, go_on, start
from elman.tasks.text_data import TextData, check_known, find_again, find_training, prepare
from elman.train.chunks import Batches, DocumentBatches, StreamBatches
from elman.train.evaluate import evaluate
from elman.train.fabric import build_fabric, on_first
from elman.train.reach import gradient_by_lag

if TYPE_CHECKING:
    from elman.tasks.language_model import LanguageModel, Text

ORDER = 5  # order of the n-gram baseline
BASELINE_TOKENS = 5_000_000  # maximum tokens of the training text that the baseline reads
LAGS = 200  # steps over which the norm of the gradient is measured
SCORED_TOKENS = 1024  # tokens of a chunk in scoring


def train_text(
    model: LanguageModel,
    train: Text,
    validation: Text | None,
    test: Text | None,
    folder: Path | None,
    *,
    show: bool,
) -> None:
    """Train a new model, see `LanguageModel.fit`."""
    fabric = build_fabric(model)
    data = on_first(fabric, lambda: prepare(model, train, validation, test, show=show))
    model.build(data.vocabulary)
    start(model, _job(model, data, fabric), folder, fabric=fabric, show=show)
    model._data = data


def resume_text(
    model: LanguageModel, described: dict[str, Any], folder: Path, *, show: bool
) -> None:
    """Continue a run, see `LanguageModel.resume`."""
    fabric = build_fabric(model)

    def find() -> TextData:
        vocabulary = Vocabulary.load(folder / TOKENIZER)
        return find_again(model, described, vocabulary, show=show)

    data = on_first(fabric, find)
    model.build(data.vocabulary)
    go_on(model, _job(model, data, fabric), folder, fabric=fabric, show=show)
    model._data = data


def _job(model: LanguageModel, data: TextData, fabric: Fabric) -> Job:
    train, validation = _batches(model, data, fabric)
    model._described = data.describe()
    sizes = {
        f"{part}_tokens": len(corpus)
        for part, corpus in (("train", data.train), ("validation", data.validation))
    }
    return Job(
        train, validation,
        {"train": data.name, **sizes, "vocabulary_size": data.vocabulary.size}, "tokens",
        measure=lambda: _measure(model, data), notes=data.notes,
        records=lambda: [{"event": "reach", "norms": _reach(model, data)}],
    )  # fmt: skip


def _batches(model: LanguageModel, data: TextData, fabric: Fabric) -> tuple[Batches, Batches]:
    share = (fabric.global_rank, fabric.world_size)
    train: Batches
    if model.bptt is None:
        train = DocumentBatches(data.train, model.batch_size, seed=model.seed, share=share)
    else:
        train = StreamBatches(
            data.train, model.batch_size, model.bptt, seed=model.seed, share=share
        )
    # One long text is validated in parallel rows, which is fast and nearly exact; the scores at
    # the end are exact.
    exact = len(data.validation.starts) > 1
    return train, _scored(data.validation, model.batch_size, exact=exact)


def _scored(corpus: Corpus, rows: int, *, exact: bool) -> StreamBatches:
    """Return batches for scoring; the length of their chunks affects only speed and memory."""
    if exact and len(corpus.starts) == 1:
        rows = 1
    steps = min(max(1, SCORED_TOKENS // rows), len(corpus))
    return StreamBatches(corpus, rows, steps, exact=exact)


def score_corpus(model: LanguageModel, corpus: Corpus) -> dict[str, Any]:
    """Return exact scores of a corpus: every prediction sees all of its past."""
    batches = _scored(corpus, model.batch_size, exact=True)
    scores: dict[str, Any] = evaluate(model.model, batches)
    scores["tokens"] = int(scores["tokens"])
    unknown = model.vocabulary.unknown
    if unknown is not None:
        scores["unknown"] = corpus.count(unknown) / len(corpus)
    return scores


def _baseline(train: Corpus, size: int) -> KneserNey:
    return KneserNey(ORDER).fit(train.tokens[:BASELINE_TOKENS], size)


def _score_baseline(baseline: KneserNey, corpus: Corpus) -> dict[str, float]:
    tokens = np.append(np.int64(corpus.end), corpus.tokens.astype(np.int64))
    log_probs = baseline.log_probs(tokens)
    loss = -float(log_probs.mean())
    return {"loss": loss, "perplexity": float(np.exp(loss)), "tokens": len(log_probs)}


def _measure(model: LanguageModel, data: TextData) -> dict[str, Any]:
    """Return scores of the model and the baseline on the same texts, and a sample."""
    parts = {"validation": data.validation} | ({"test": data.test} if data.test else {})
    baseline = _baseline(data.train, data.vocabulary.size)
    name = f"interpolated Kneser-Ney {ORDER}-gram"
    if len(data.train) > BASELINE_TOKENS:
        name += f" of the first {BASELINE_TOKENS:,} tokens"
    text = model.generate(max_new_tokens=100, temperature=0.8, top_p=0.95, seed=model.seed)[0]
    return {
        "model": {part: score_corpus(model, corpus) for part, corpus in parts.items()},
        "baseline": {
            "name": name,
            **{part: _score_baseline(baseline, corpus) for part, corpus in parts.items()},
        },
        "samples": [
            {"title": "Without a prompt (temperature 0.8, top-p 0.95)", "text": text.strip()}
        ],
    }


def _reach(model: LanguageModel, data: TextData) -> list[float]:
    tokens = len(data.validation)
    steps = min(LAGS, tokens)
    rows = max(1, min(16, tokens // steps))
    chunk = next(StreamBatches(data.validation, rows, steps, independent=False).epoch(1))
    return gradient_by_lag(model.model, chunk.inputs, chunk.targets)


def score_text(model: LanguageModel, source: TextSource) -> dict[str, Any]:
    """Score a text with the model and the baseline, see `LanguageModel.evaluate`."""
    corpus = tokenise(source.pieces, model.vocabulary, key=source.fingerprint())
    check_known(corpus, model.vocabulary, source.name)
    for note in source.notes:
        LOG.info(note)
    scores = score_corpus(model, corpus)
    train = _training_corpus(model)
    if train is not None:
        baseline = _baseline(train, model.vocabulary.size)
        scores["baseline"] = _score_baseline(baseline, corpus)
    return scores


def _training_corpus(model: LanguageModel) -> Corpus | None:
    """Return the training text of the model, if it still exists and has not changed."""
    if model._data is not None:
        return model._data.train
    return find_training(model, model._described, model.vocabulary)


def describe(model: LanguageModel, name: str) -> str:
    """Return the model card as Markdown."""
    sizes = model.hidden_size if isinstance(model.hidden_size, int) else list(model.hidden_size)
    return model_card(
        model, name, title="a language model",
        made=f"{model.cell.upper()}, layers: {model.model.core.num_layers}, hidden size: {sizes}, "
        f"a vocabulary of {model.vocabulary.size:,} {model.vocabulary.tokens} tokens",
        columns={"perplexity": ("perplexity", "{:.2f}")},
        notes=[
            "Lower is better. Perplexities can only be compared between models with the same "
            "tokens."
        ],
        use=['model.predict("...")', 'model.generate("...")'],
        end="The model imitates its training text, which can be wrong, and knows nothing else.",
    )  # fmt: skip
