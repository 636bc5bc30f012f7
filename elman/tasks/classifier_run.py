"""A classifier's run: its data, scores beside a bag of words, and card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from elman.encode.embed import Embed
from elman.encode.text import Vocabulary, choose_tokens
from elman.encode.vectors import read_vectors
from elman.errors import ArgumentError, DataError
from elman.report.bag_of_words import NAME, bag_of_words, majority
from elman.report.classes import confusion, fit_temperature, nll, probabilities, score_classes
from elman.tasks.card import model_card
from elman.tasks.folder import TOKENIZER
from elman.tasks.labelled_data import (
    Examples,
    encode_texts,
    find_classes,
    labelled_rows,
    notes_on,
    read_examples,
    split,
    targets_of,
)
from elman.tasks.network import begin_as, earlier_model
from elman.tasks.parts import Parts, check_same, given_before, read_one, read_parts
from elman.tasks.run import Job, check_can_go_on, go_on, start
from elman.train.checkpoint import CHECKPOINT
from elman.train.chunks import ExampleBatches
from elman.train.fabric import build_fabric

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier
    from elman.tasks.language_model import LanguageModel

MISTAKES, SHOWN = 10, 500  # of them in the report, and characters of each
LARGEST = 30  # classes of a confusion matrix in the report


def train_classifier(
    model: Classifier, given: Mapping[str, object], folder: Path | None, rejects: Path | None,
    *, show: bool,
) -> None:  # fmt: skip
    """Fit a fresh model, see `Classifier.fit`."""
    fabric = build_fabric(model)
    parts = _read(model, given, rejects)
    model._described = parts.described
    earlier = earlier_model(model)
    if earlier is not None:
        vocabulary = earlier.vocabulary
    else:
        vocabulary, notes = _vocabulary(model, parts.data["train"].texts)
        parts.notes.extend(notes)
    _build(model, vocabulary, parts, earlier)
    start(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def resume_classifier(
    model: Classifier, config: dict[str, Any], folder: Path, *, show: bool
) -> None:
    """Go on with a run, see `Estimator.resume`."""
    check_can_go_on(folder)
    fabric = build_fabric(model)
    parts = _read(model, *given_before(config["data"]))
    check_same(config["data"], parts.described)
    vocabulary = Vocabulary.load(folder / TOKENIZER)
    if (folder / CHECKPOINT).exists():
        model.build(vocabulary, len(model.classes))
    else:  # from the beginning, with the weights that it began with
        _build(model, vocabulary, parts, earlier_model(model))
    go_on(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def _read(model: Classifier, given: Mapping[str, object], rejects: Path | None) -> Parts[Examples]:
    parts = read_parts(
        given, rejects,
        lambda one: labelled_rows(model, one, lenient=rejects is not None),
        lambda rows, bad: read_examples(rows, model, bad), "rows",
    )  # fmt: skip
    data, described = parts.data, parts.described
    described["classes"] = classes = find_classes(data["train"], described["name"], given["train"])
    if "validation" not in data:
        share = model.validation_fraction
        data["train"], data["validation"] = split(data["train"], share, seed=model.seed)
        held = len(data["validation"])
        parts.notes.append(f"{held:,} rows, {share:.0%} of each class, are held out for validation")
    others = {name: examples for name, examples in data.items() if name != "train"}
    parts.notes.extend(notes_on(data["train"], others, classes))
    return parts


def _vocabulary(model: Classifier, texts: list[str]) -> tuple[Vocabulary, list[str]]:
    kind, why = model.tokens, None
    if kind is None:
        kind, why = choose_tokens(texts)
    vocabulary = Vocabulary.build(
        lambda: texts, tokens=kind, size=model.vocabulary_size, min_count=model.min_count,
        lowercase=model.lowercase, split_punctuation=model.split_punctuation,
    )  # fmt: skip
    return vocabulary, [] if why is None else [why]


def _build(
    model: Classifier, vocabulary: Vocabulary, given: Parts[Examples], earlier: LanguageModel | None
) -> None:
    """The network, with what is there to start from."""
    vectors = found = None
    if model.vectors is not None:
        vectors, found = read_vectors(Path(model.vectors), vocabulary)
        if model.embedding_size not in (None, vectors.shape[1]):
            raise ArgumentError(
                f"embedding_size={model.embedding_size}: the vectors in {model.vectors} have "
                f"{vectors.shape[1]} numbers"
            )
        model._described["decided"] = {"embedding_size": vectors.shape[1]}
        given.notes.append(
            f"{int(found.sum()):,} of {vocabulary.size:,} tokens have a vector in {model.vectors}"
        )
    network = model.build(vocabulary, len(model.classes))
    assert isinstance(network.encode, Embed)
    with torch.no_grad():
        if vectors is not None and found is not None:
            network.encode.weight[found] = vectors[found]
        if earlier is not None and earlier.model.encode is not None:
            network.encode.load_state_dict(earlier.model.encode.state_dict())
            begin_as(network.core, earlier.model.core)


def _job(model: Classifier, given: Parts[Examples], fabric: Fabric) -> Job:
    classes, parts = model.classes, given.data
    targets, unseen = {}, {}
    for name, part in parts.items():
        targets[name], unseen[name] = targets_of(part.labels, classes, several=model.several)
    if model.class_weights == "balanced":
        model.head.class_weights = _balanced(targets["train"], len(classes))
    encoded = {
        name: encode_texts(parts[name].texts, model.vocabulary, model.max_tokens)
        for name in ("train", "validation")
    }
    share = (fabric.global_rank, fabric.world_size)
    train = ExampleBatches(
        encoded["train"], targets["train"], model.batch_size, seed=model.seed, share=share
    )
    # Labels that training has not cannot be learned, and have no loss.
    kept = np.arange(len(parts["validation"]))
    if not model.several:
        kept = kept[targets["validation"].numpy() >= 0]
    if not len(kept):
        raise DataError("no label of the validation data is one of the training data")
    validation = ExampleBatches(
        [encoded["validation"][n] for n in kept], targets["validation"][torch.from_numpy(kept)],
        max(64, model.batch_size), seed=None,
    )  # fmt: skip
    facts: dict[str, object] = {"train": given.described["name"]}
    facts |= {f"{name}_examples": len(part) for name, part in parts.items()}
    facts |= {"classes": len(classes), "vocabulary_size": model.vocabulary.size}
    long = sum(len(text) == model.max_tokens for text in encoded["train"])
    if long:
        given.notes.append(
            f"{long:,} texts have max_tokens={model.max_tokens} tokens or more; of longer ones the "
            "first and the last half of so many are read"
        )
    return Job(
        train, validation, facts, "examples",
        measure=lambda: _measure(model, parts, targets, unseen), notes=given.notes,
        records=lambda: [{"event": "note", "text": _calibration(model, "test" in parts)}],
    )  # fmt: skip


def _calibration(model: Classifier, tested: bool) -> str:
    """How probabilities were calibrated."""
    text = f"scores are divided by {model.temperature:.2f}, fitted on the validation data"
    return text if tested else f"{text}, whose own ECE it makes look small: give test data"


def _balanced(targets: Tensor, classes: int) -> Tensor:
    """Weights (K) whose mean over the training examples is 1."""
    if targets.dim() == 2:
        counts = targets.sum(0).clamp(min=1)
        weights = 1 / counts
        return weights / weights.mean()
    counts = torch.bincount(targets, minlength=classes).clamp(min=1)
    return len(targets) / (classes * counts.float())


def _measure(
    model: Classifier, parts: dict[str, Examples], targets: dict[str, Tensor],
    unseen: dict[str, Tensor],
) -> dict[str, Any]:  # fmt: skip
    """Scores of the model and the baselines on the same texts, confusions and mistakes."""
    several, names = model.several, [name for name in ("validation", "test") if name in parts]
    scores = {name: model.scores(parts[name].texts) for name in names}
    fitted = fit_temperature(scores["validation"], targets["validation"], several=several)
    model._described["temperature"] = round(fitted, 4)
    ours = {
        name: _scores_of(
            scores[name], targets[name], unseen[name], model.temperature, several=several
        )
        for name in names
    }
    known = {"name": "most frequent label"} | {
        name: score_classes(
            majority(targets["train"], len(parts[name]), len(model.classes)), targets[name],
            unseen[name], several=several,
        )
        for name in names
    }  # fmt: skip
    words = bag_of_words(
        parts["train"].texts, targets["train"], {name: parts[name].texts for name in names},
        len(model.classes), lowercase=model.settled().lowercase,
    )  # fmt: skip
    metrics: dict[str, Any] = {"model": ours, "baseline": known}
    if words is not None:
        metrics["baseline"] = {"name": NAME} | {
            name: score_classes(words[name], targets[name], unseen[name], several=several)
            for name in names
        }
        metrics["others"] = [known]
    last = names[-1]
    metrics |= _details(model, parts[last], scores[last], targets[last], last)
    return metrics


def _scores_of(
    scores: Tensor, targets: Tensor, unseen: Tensor, temperature: float, *, several: bool
) -> dict[str, float]:
    p = probabilities(scores, temperature, several=several)
    found = score_classes(p, targets, unseen, several=several)
    if not several and not bool((targets >= 0).any()):
        return found
    return {"loss": nll(scores, targets, temperature, several=several), **found}


def _details(
    model: Classifier, examples: Examples, scores: Tensor, targets: Tensor, part: str
) -> dict[str, Any]:
    """Tables and samples for the report."""
    classes = [str(label) for label in model.classes]
    p = probabilities(scores, model.temperature, several=model.several)
    details: dict[str, Any] = {"samples": [], "tables": []}
    if model.several:
        wrong = ((p > 0.5) != targets.bool()).any(1)
        confidence = torch.where(p > 0.5, p, 1 - p).amin(1)
    else:
        confidence, guess = p.max(1)
        wrong = guess != targets
        if len(classes) <= LARGEST:
            counts = confusion(guess, targets, len(classes)).tolist()
            details["tables"].append(
                {
                    "title": f"Confusion, {part} data: rows are true labels, columns are guesses",
                    "columns": classes,
                    "rows": [[name, *row] for name, row in zip(classes, counts, strict=True)],
                }
            )
    order = torch.where(wrong, confidence, -1.0).argsort(descending=True, stable=True)
    for n in order[: min(MISTAKES, int(wrong.sum()))].tolist():
        found = [name for name, q in zip(classes, p[n].tolist(), strict=True) if q > 0.5]
        if not model.several:
            found = [classes[int(p[n].argmax())]]
        true = ", ".join(map(str, examples.labels[n])) or "none"
        title = f"{examples.places[n]}: {true}, guessed {', '.join(found) or 'none'}"
        text = examples.texts[n]
        if model.pooling == "attention":
            title += f"; weighed most: {', '.join(_weighed(model, text))}"
        title += f" ({float(confidence[n]):.0%})"
        details["samples"].append({"title": title, "text": text[:SHOWN]})
    return details


def _weighed(model: Classifier, text: str) -> list[str]:
    """The five tokens that count most."""
    weights = sorted(model.explain(text), key=lambda pair: -pair[1])
    return [token for token, _ in weights[:5]]


def score_labelled(
    model: Classifier, given: object, rejects: str | Path | None = None
) -> dict[str, Any]:
    """Scores of labelled texts, see `Classifier.evaluate`."""
    rows = labelled_rows(model, given, lenient=rejects is not None)
    examples = read_one(rows, rejects, lambda rows, bad: read_examples(rows, model, bad))
    targets = targets_of(examples.labels, model.classes, several=model.several)
    scores = model.scores(examples.texts)
    return _scores_of(scores, *targets, model.temperature, several=model.several)


def describe(model: Classifier, name: str) -> str:
    """The model card, Markdown."""
    labels = [str(label) for label in model.classes]
    shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    return model_card(
        model, name, title="a classifier of texts",
        made=f"{model.settled().cell.upper()}, a vocabulary of {model.vocabulary.size:,} "
        f"{model.vocabulary.tokens} tokens, labels: {shown}",
        columns={"accuracy": ("accuracy", "{:.1%}"), "F1 macro": ("F1 macro", "{:.3f}")},
        notes=[
            "Probabilities are calibrated on the validation data (temperature "
            f"{model.temperature:.2f})."
        ],
        use=['model.predict(["..."])', 'model.predict_proba(["..."])'],
        end="It knows texts like those it was trained on, and guesses at all others.",
    )  # fmt: skip
