"""Training a language model from its texts to its folder: data, loop, scores, card, report."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric

import elman
from elman.atomic import write_atomic
from elman.encode.corpus import Corpus, tokenise
from elman.encode.text import Vocabulary
from elman.errors import DivergenceError, FolderError, Stopped
from elman.read.text import TextSource
from elman.report.journal import Journal
from elman.report.ngram import KneserNey
from elman.report.page import write_report
from elman.report.progress import Progress
from elman.tasks.folder import (
    CARD,
    CONFIG,
    METRICS,
    TOKENIZER,
    start_folder,
    write_config,
    write_json,
)
from elman.tasks.text_data import TextData, check_known, find_again, find_training, prepare
from elman.train.checkpoint import load_tensors
from elman.train.chunks import Batches, DocumentBatches, StreamBatches
from elman.train.evaluate import evaluate
from elman.train.fabric import build_fabric
from elman.train.loop import CHECKPOINT, WEIGHTS, fit
from elman.train.reach import gradient_by_lag

if TYPE_CHECKING:
    from elman.tasks.language_model import LanguageModel, Text

ORDER = 5  # of the n-gram baseline
BASELINE_TOKENS = 5_000_000  # of the training text that the baseline reads at most
LAGS = 200  # steps back over which the reach of the gradient is measured
SCORED_TOKENS = 1024  # of a chunk when scoring


def train_text(
    model: LanguageModel,
    train: Text,
    validation: Text | None,
    test: Text | None,
    folder: Path | None,
    *,
    show: bool,
) -> None:
    """Fit a fresh model, see `LanguageModel.fit`."""
    fabric = build_fabric(model)
    with fabric.rank_zero_first():
        data = prepare(model, train, validation, test, show=show)
    model.build(data.vocabulary)
    # Before the folder is touched: a text may be too short, and an old model is to stay then.
    batches = _batches(model, data, fabric)
    if folder is not None and fabric.is_global_zero:
        start_folder(folder, model._config(data))
        data.vocabulary.save(folder / TOKENIZER)
    fabric.barrier()
    _run(model, data, batches, fabric=fabric, folder=folder, resume=False, show=show)


def resume_text(model: LanguageModel, config: dict[str, Any], folder: Path, *, show: bool) -> None:
    """Go on with a run, see `LanguageModel.resume`."""
    if (folder / METRICS).exists() and not (folder / CHECKPOINT).exists():
        raise FolderError(f"{folder}: has no {CHECKPOINT}, so its training cannot go on")
    vocabulary = Vocabulary.load(folder / TOKENIZER)
    fabric = build_fabric(model)
    with fabric.rank_zero_first():
        data = find_again(model, config["data"], vocabulary, show=show)
    model.build(vocabulary)
    batches = _batches(model, data, fabric)
    if (folder / CHECKPOINT).exists():
        _check_run(model, folder)
    if fabric.is_global_zero:
        write_config(folder, model._config(data))
    _run(model, data, batches, fabric=fabric, folder=folder, resume=True, show=show)


def _check_run(model: LanguageModel, folder: Path) -> None:
    """Refuse a checkpoint that is damaged or of another model, before anything is changed."""
    expected = {name: weight.shape for name, weight in model.model.state_dict().items()}
    for file, prefix in ((CHECKPOINT, "model."), (WEIGHTS, "")):
        tensors, facts = load_tensors(folder / file)
        found = {
            n.removeprefix(prefix): t.shape for n, t in tensors.items() if n.startswith(prefix)
        }
        if found != expected:
            raise FolderError(f"{folder / file}: is not of the model that {CONFIG} describes")
        position = facts.get("position")
        if isinstance(position, dict) and not position["best_step"]:
            return  # before the first validation there are no weights


def _run(
    model: LanguageModel,
    data: TextData,
    batches: tuple[Batches, Batches],
    *,
    fabric: Fabric,
    folder: Path | None,
    resume: bool,
    show: bool,
) -> None:
    train, validation = batches
    model._described = data.describe()
    first = fabric.is_global_zero
    journal = Journal(folder / "run.jsonl") if folder is not None and first else None
    display = Progress() if show and first else None
    try:
        if display is not None:
            for note in data.notes:
                display.show({"event": "note", "text": note})
        start = _start_record(model, data, fabric, len(train))
        if journal is not None and folder is not None:
            if not (folder / CHECKPOINT).exists():  # stopped before the first one: from the start
                journal.truncate(0)
            if journal.position == 0:
                journal.write(start)
        if display is not None:
            display.show(start)
        outcome = fit(
            model.model, train, validation, model, fabric=fabric, folder=folder, resume=resume,
            journal=journal, show=display.show if display else None,
        )  # fmt: skip
        model._data = data
        model.model.to("cpu")
        if outcome.signal is not None:
            step = outcome.position.step
            if folder is not None and first:  # of fewer epochs, if the run was finished before
                (folder / METRICS).unlink(missing_ok=True)
            saved = f"; go on with: elman resume {folder}" if folder else ""
            raise Stopped(f"stopped after step {step}{saved}", outcome.signal)
        if first:
            model.metrics = _measure(model, data)
            if journal is not None:
                journal.write({"event": "reach", "norms": _reach(model, data)})
    except DivergenceError:
        model.model.to("cpu")
        if folder is not None and first:
            write_report(folder)
        raise
    finally:
        if journal is not None:
            journal.close()
        if display is not None:
            display.close()
    if folder is not None and first:
        write_json(folder / METRICS, model.metrics)
        write_card(model, folder)
        write_report(folder)


def _batches(model: LanguageModel, data: TextData, fabric: Fabric) -> tuple[Batches, Batches]:
    share = (fabric.global_rank, fabric.world_size)
    train: Batches
    if model.bptt is None:
        train = DocumentBatches(data.train, model.batch_size, seed=model.seed, share=share)
    else:
        train = StreamBatches(
            data.train, model.batch_size, model.bptt, seed=model.seed, share=share
        )
    # One long text is validated in rows side by side, which is quick and nearly exact; the
    # scores at the end are exact.
    exact = len(data.validation.starts) > 1
    return train, _scored(data.validation, model.batch_size, exact=exact)


def _scored(corpus: Corpus, rows: int, *, exact: bool) -> StreamBatches:
    """Batches for scoring; how long their chunks are changes no score, only speed and memory."""
    if exact and len(corpus.starts) == 1:
        rows = 1
    steps = min(max(1, SCORED_TOKENS // rows), len(corpus))
    return StreamBatches(corpus, rows, steps, exact=exact)


def _start_record(
    model: LanguageModel, data: TextData, fabric: Fabric, batches: int
) -> dict[str, object]:
    sizes = {
        f"{part}_tokens": len(corpus)
        for part, corpus in (("train", data.train), ("validation", data.validation))
    }
    return {
        "event": "start",
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "task": "language-model",
        "parameters": sum(p.numel() for p in model.model.parameters()),
        "device": str(fabric.device),
        "precision": model.precision,
        "seed": model.seed,
        "versions": {"elman": elman.__version__, "torch": torch.__version__},
        "settings": {name: value for name, value in asdict(model).items() if value is not None},
        "data": {"train": data.name, **sizes, "vocabulary_size": data.vocabulary.size},
        "epochs": model.epochs,
        "steps_per_epoch": -(-batches // model.accumulate),
        "unit": "tokens",
    }


def score_corpus(model: LanguageModel, corpus: Corpus) -> dict[str, Any]:
    """Exact scores of a corpus: no prediction misses a part of its past."""
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
    """Scores of the model and the baseline on the same texts, and a sample."""
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
        "samples": [{"title": "From nothing (temperature 0.8, top-p 0.95)", "text": text.strip()}],
    }


def _reach(model: LanguageModel, data: TextData) -> list[float]:
    tokens = len(data.validation)
    steps = min(LAGS, tokens)
    rows = max(1, min(16, tokens // steps))
    chunk = next(StreamBatches(data.validation, rows, steps, independent=False).epoch(1))
    return gradient_by_lag(model.model, chunk.inputs, chunk.targets)


def score_text(model: LanguageModel, source: TextSource) -> dict[str, Any]:
    """Score a text beside the baseline, see `LanguageModel.evaluate`."""
    corpus = tokenise(source.pieces, model.vocabulary, key=source.fingerprint())
    check_known(corpus, model.vocabulary, source.name)
    scores = score_corpus(model, corpus)
    train = _training_corpus(model)
    if train is not None:
        baseline = _baseline(train, model.vocabulary.size)
        scores["baseline"] = _score_baseline(baseline, corpus)
    return scores


def _training_corpus(model: LanguageModel) -> Corpus | None:
    """The text that the model was trained on, if it is still there as it was."""
    if model._data is not None:
        return model._data.train
    return find_training(model, model._described, model.vocabulary)


def write_card(model: LanguageModel, folder: Path) -> None:
    """Write the model card, README.md."""
    described = model._described
    network = model.model
    parameters = sum(p.numel() for p in network.parameters())
    layers = network.core.num_layers
    rows = [
        f"| {who} | {part} | {scores['perplexity']:.2f} |"
        for who, name in (("this model", "model"), (_baseline_name(model), "baseline"))
        for part, scores in model.metrics.get(name, {}).items()
        if isinstance(scores, dict)
    ]
    name = folder.name
    sizes = model.hidden_size if isinstance(model.hidden_size, int) else list(model.hidden_size)
    lines = [
        f"# {name}: a next-word model",
        "",
        f"Trained by Elman {elman.__version__} on {described.get('name', 'texts')}: "
        f"{model.cell.upper()}, {layers} layer(s) of {sizes}, {parameters:,} parameters, "
        f"a vocabulary of {model.vocabulary.size:,} {model.vocabulary.tokens} tokens.",
        "",
        "| | text | perplexity |",
        "|---|---|---|",
        *rows,
        "",
        "Lower is better. A perplexity counts in tokens of this vocabulary; it compares only with "
        "models of the same tokens.",
        "",
        "```python",
        "import elman",
        f"model = elman.load({name!r})",
        'model.predict("...")',
        'model.generate("...")',
        "```",
        "",
        "It repeats what its training text says, true or not, and knows nothing else.",
        "",
    ]
    write_atomic(folder / CARD, "\n".join(lines))


def _baseline_name(model: LanguageModel) -> str:
    return str(model.metrics.get("baseline", {}).get("name", "baseline"))
