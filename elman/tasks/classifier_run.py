"""Training runs of a classifier: data, scores of the model and its baselines, model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from elman.encode.bags import LEVELS, Bag
from elman.errors import DataError
from elman.heads.forest import trees_of
from elman.heads.wide import Wide
from elman.manifest import CHECKPOINT
from elman.report.bag_of_words import majority
from elman.report.classes import (
    confusion,
    find_positive,
    fit_temperature,
    nll,
    probabilities,
    reliability,
    score_classes,
)
from elman.report.verdict import name_of
from elman.tasks.card import model_card, quoted
from elman.tasks.channel_inputs import often, reads_recordings
from elman.tasks.labelled_data import Examples, find_classes, notes_on, split, targets_of
from elman.tasks.parts import Parts, check_same, given_before, read_one, read_parts
from elman.tasks.recording_inputs import RecordingInputs
from elman.tasks.run import Job, go_on, start
from elman.tasks.text_inputs import TextInputs
from elman.train.chunks import ExampleBatches
from elman.train.fabric import build_fabric, on_first

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier

MISTAKES = 10  # in the report
FEW = 100  # examples; with fewer held-out ones the weights are not chosen by them
LARGEST = 30  # most classes of a confusion matrix in the report
CONFUSED = 15  # pairs of classes in the report, if there are more classes
SKEWED = 2 / 3  # share of the most frequent class from which accuracy does not suffice


def train_classifier(
    model: Classifier, given: Mapping[str, object], folder: Path | None, rejects: Path | None,
    *, show: bool,
) -> None:  # fmt: skip
    """Train a new model, see `Classifier.fit`."""
    fabric = build_fabric(model)
    kind = RecordingInputs if reads_recordings(model, given["train"]) else TextInputs

    def prepare() -> tuple[Parts[Examples], TextInputs | RecordingInputs]:
        parts = _read(model, kind, given, rejects)
        model._described = parts.described
        inputs = kind.learn(model, parts.data["train"], parts.notes)
        inputs.prepare(model, parts.notes)
        return parts, inputs

    parts, inputs = on_first(fabric, prepare)
    model._described = parts.described
    inputs.begin(model.build(inputs, len(model.classes)))
    start(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def resume_classifier(
    model: Classifier, described: dict[str, Any], folder: Path, *, show: bool
) -> None:
    """Continue a run, see `Estimator.resume`."""
    fabric = build_fabric(model)
    given, rejects = given_before(described)
    kind = RecordingInputs if reads_recordings(model, given["train"]) else TextInputs
    fresh = not (folder / CHECKPOINT).exists()  # from the beginning, with its weights

    def prepare() -> tuple[Parts[Examples], TextInputs | RecordingInputs]:
        parts = _read(model, kind, given, rejects)
        check_same(described, parts.described)
        inputs = kind.load(model, folder, fresh=fresh)
        if fresh:
            inputs.prepare(model, parts.notes)
        return parts, inputs

    parts, inputs = on_first(fabric, prepare)
    network = model.build(inputs, len(model.classes))
    if fresh:
        inputs.begin(network)
    go_on(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def _read(
    model: Classifier, kind: type[TextInputs] | type[RecordingInputs],
    given: Mapping[str, object], rejects: Path | None,
) -> Parts[Examples]:  # fmt: skip
    collect: Any = kind.collect  # takes the result of `look` of the same class
    parts = read_parts(
        given, rejects, lambda one: kind.look(model, one, lenient=rejects is not None),
        lambda source, bad, like: collect(model, source, bad, like and like.whole), "rows",
    )  # fmt: skip
    data, described = parts.data, parts.described
    described["inputs"] = kind.kind
    described["classes"] = classes = find_classes(data["train"], described["name"], given["train"])
    if "validation" not in data:
        share = model.validation_fraction
        groups = kind.groups(data["train"].items)
        data["train"], data["validation"] = split(
            data["train"], share, seed=model.seed, groups=groups
        )
        if groups is not None:
            parts.notes.append("spans overlap, so all spans of a recording are held out together")
        held = len(data["validation"])
        what = "rows" if kind is TextInputs else "recordings"
        parts.notes.append(
            f"{held:,} {what}, {share:.0%} of each class, are held out for validation"
        )
    # Beside a wide part, what a recurrence learns from few examples is trusted less.
    if kind is not TextInputs:
        described["trees"] = trees_of(several=model.several)
    described["share"] = round(len(data["train"]) / (len(data["train"]) + FEW), 4)
    others = {name: examples for name, examples in data.items() if name != "train"}
    parts.notes.extend(notes_on(data["train"], others, classes))
    return parts


def _job(model: Classifier, given: Parts[Examples], fabric: Fabric) -> Job:
    classes, parts = model.classes, given.data
    targets, unseen = {}, {}
    for name, part in parts.items():
        targets[name], unseen[name] = targets_of(part.labels, classes, several=model.several)
    if model.class_weights == "balanced":
        model.head.class_weights = _balanced(targets["train"], len(classes))
    if len(classes) == 2 and not model.several:
        model._described["positive"] = find_positive(targets["train"], classes)
    inputs = model.inputs
    _choose(model, parts, given.notes)
    encoded, owners = inputs.encode(model, parts["train"].items)
    bag = inputs.bag(model, parts["train"].items)
    beside = None
    wanted, of = targets["train"][torch.from_numpy(owners)], owners
    if bag is not None:
        groups = inputs.groups(parts["train"].items)
        if groups is not None:
            of = np.unique(groups, return_inverse=True)[1][owners]
        beside = _fit_wide(model, bag, wanted, torch.from_numpy(of))
    share = (fabric.global_rank, fabric.world_size)
    more: dict[str, Any] = {}
    if isinstance(inputs, RecordingInputs):
        more = {"times": often(model, len(encoded)), "change": inputs.change(model)}
        if more["times"] > 1:
            given.notes.append(f"each epoch reads the recordings {more['times']} times")
    train = ExampleBatches(
        encoded, wanted, model.batch_size, seed=model.seed, share=share, extra=beside, **more,
    )  # fmt: skip
    others = {name: examples for name, examples in parts.items() if name != "train"}
    given.notes.extend(inputs.notes_on(model, parts["train"], others, encoded))
    held, owners = inputs.encode(model, parts["validation"].items)
    # Labels that are not in the training data cannot be learned and have no loss.
    wanted = targets["validation"][torch.from_numpy(owners)]
    kept = np.arange(len(held))
    if not model.several:
        kept = kept[wanted.numpy() >= 0]
    if not len(kept):
        raise DataError(
            "no label of the validation data is in the training data; give other validation data"
        )
    beside = model._beside(parts["validation"].items)
    validation = ExampleBatches(
        [held[n] for n in kept], wanted[torch.from_numpy(kept)], max(64, model.batch_size),
        seed=None, extra=None if beside is None else beside[torch.from_numpy(kept)],
    )  # fmt: skip
    facts: dict[str, object] = {"train": given.described["name"]}
    facts |= {f"{name}_examples": len(part) for name, part in parts.items()}
    facts |= {"classes": len(classes), **inputs.facts()}
    return Job(
        train, validation, facts, "examples",
        measure=lambda: _measure(model, parts, targets, unseen), notes=given.notes,
    )  # fmt: skip


def _choose(model: Classifier, parts: dict[str, Examples], notes: list[str]) -> None:
    """Choose the settings that are None by the number of examples."""
    chosen = model._described
    if model.epochs is None:
        chosen["epochs"] = model.inputs.epochs(len(parts["train"]))
    if model.monitor is None:
        held = len(parts["validation"])
        waits = model.early_stopping or model.optimizer == "asgd" or model.schedule == "plateau"
        chosen["monitor"] = "last" if held < FEW and not waits else "loss"
        if chosen["monitor"] == "last":
            notes.append(
                f"{held} held-out examples are too few to choose weights by, so the last weights "
                "are kept; to choose by score set monitor"
            )


def _fit_wide(model: Classifier, bag: Bag, targets: Tensor, groups: Tensor) -> Tensor:
    """Fit the wide part; return the scores (N, K) of training rows from which the rest starts."""
    weights = torch.ones(len(targets), len(model.classes), dtype=torch.float32)
    if model.head.class_weights is not None:
        weights = weights * model.head.class_weights
    wide: Wide = model.head.wide
    levels = 1 if isinstance(model.inputs, TextInputs) else LEVELS
    return wide.fit(bag, targets, weights, groups, levels=levels)


def _calibration(model: Classifier, tested: bool) -> str:
    """Return a note on how probabilities were calibrated."""
    text = (
        f"Scores are divided by the temperature {model.temperature:.2f}, fitted on the validation "
        "data. The loss among the final scores is computed after that division, the losses of the "
        "training log are computed before it."
    )
    return text if tested else f"{text} ECE of the validation data is too low: give test data."


def _judges(targets: Tensor, classes: int) -> list[str]:
    """Return names of the scores by which a classifier with one label per row is judged."""
    if int(torch.bincount(targets).max()) < SKEWED * len(targets):
        return ["accuracy"]
    return ["AUC", "AUPRC"] if classes == 2 else ["accuracy", "F1_macro"]


def _balanced(targets: Tensor, classes: int) -> Tensor:
    """Return class weights (K) whose mean over the training examples is 1."""
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
    """Return scores of the model and its baselines on the same data, confusions and mistakes."""
    several, names = model.several, [name for name in ("validation", "test") if name in parts]
    score = partial(score_classes, several=several, positive=_positive(model))
    scores = {name: model.scores(parts[name].items) for name in names}
    fitted = fit_temperature(scores["validation"], targets["validation"], several=several)
    count = len(targets["validation"])
    fitted **= count / (count + FEW)  # with few examples it shrinks towards 1
    model._described["temperature"] = round(fitted, 4)
    ours = {
        name: _scores_of(model, scores[name], targets[name], unseen=unseen[name]) for name in names
    }
    known = {"name": "most frequent label"} | {
        name: score(
            majority(targets["train"], len(parts[name]), len(model.classes)), targets[name],
            unseen[name],
        )
        for name in names
    }  # fmt: skip
    metrics: dict[str, Any] = {
        "model": ours, "baseline": known, "notes": [_calibration(model, "test" in parts)]
    }  # fmt: skip
    if not several:
        metrics["judged_by"] = _judges(targets["train"], len(model.classes))
    if "positive" in model._described:
        metrics["positive"] = str(model.classes[_positive(model)])
    others = [
        {"name": name} | {part: score(p[part], targets[part], unseen[part]) for part in names}
        for name, p in model.inputs.baselines(model, parts, targets["train"], names)
    ]
    if others:
        metrics |= {"baseline": others[0], "others": [*others[1:], known]}
    last = names[-1]
    metrics |= _details(model, parts[last], scores[last], targets[last], last)
    return metrics


def _positive(model: Classifier) -> int:
    """Return the number of the class that AUPRC is computed for, if there are two."""
    return int(model._described.get("positive", 1))


def _scores_of(
    model: Classifier, scores: Tensor, targets: Tensor, *, unseen: Tensor
) -> dict[str, float]:
    several, temperature = model.several, model.temperature
    p = probabilities(scores, temperature, several=several)
    found = score_classes(p, targets, unseen, several=several, positive=_positive(model))
    if not several and not bool((targets >= 0).any()):
        return found
    return {"loss": nll(scores, targets, temperature, several=several), **found}


def _details(
    model: Classifier, examples: Examples, scores: Tensor, targets: Tensor, part: str
) -> dict[str, Any]:
    """Return tables and samples for the report."""
    classes = [str(label) for label in model.classes]
    p = probabilities(scores, model.temperature, several=model.several)
    details: dict[str, Any] = {"samples": [], "tables": []}
    if model.several:
        wrong = ((p > 0.5) != targets.bool()).any(1)
        confidence = torch.where(p > 0.5, p, 1 - p).amin(1)
    else:
        confidence, guess = p.max(1)
        wrong = guess != targets
        details["tables"].append(_confusions(guess, targets, classes, part))
        details["tables"].append(
            _calibration_table(p, targets, classes, part, positive=_positive(model))
        )
    order = torch.where(wrong, confidence, -1.0).argsort(descending=True, stable=True)
    for n in order[: min(MISTAKES, int(wrong.sum()))].tolist():
        found = [name for name, q in zip(classes, p[n].tolist(), strict=True) if q > 0.5]
        if not model.several:
            found = [classes[int(p[n].argmax())]]
        true = ", ".join(map(str, examples.labels[n])) or "none"
        place = Path(examples.places[n]).name  # without folders, as a report may be shared
        title = f"{place}: {true}, predicted {', '.join(found) or 'none'}"
        item = examples.items[n]
        if model.pooling == "attention" and isinstance(item, str):
            title += f"; largest weights: {', '.join(_weighed(model, item))}"
        title += f" ({float(confidence[n]):.0%})"
        details["samples"].append({"title": title, "text": model.inputs.sample(item)})
    return details


def _confusions(guess: Tensor, targets: Tensor, classes: list[str], part: str) -> dict[str, Any]:
    """Return the confusion matrix; with many classes, the most frequent mistakes."""
    if len(classes) <= LARGEST:
        counts = confusion(guess, targets, len(classes)).tolist()
        return {
            "title": f"Confusion, {part} data: rows are true labels, columns are predictions",
            "columns": classes,
            "rows": [[name, *row] for name, row in zip(classes, counts, strict=True)],
        }
    wrong = (guess != targets) & (targets >= 0)
    pairs = Counter(zip(targets[wrong].tolist(), guess[wrong].tolist(), strict=True))
    return {
        "title": f"Most frequent mistakes, {part} data",
        "columns": ["examples"],
        "rows": [
            [f"{classes[a]} predicted as {classes[b]}", count]
            for (a, b), count in pairs.most_common(CONFUSED)
        ],
    }


def _calibration_table(
    p: Tensor, targets: Tensor, classes: list[str], part: str, *, positive: int
) -> dict[str, Any]:
    what = f"p({classes[positive]})" if len(classes) == 2 else "p(prediction)"
    return {
        "title": f"Calibration, {part} data: predicted probability, and how often it is right",
        "columns": [what, "share", "examples"],
        "rows": [
            [f"{low:.1f} to {low + 0.1:.1f}", f"{mean:.3f}", f"{true:.3f}", count]
            for low, mean, true, count in reliability(p, targets, positive)
        ],
    }


def _weighed(model: Classifier, text: str) -> list[str]:
    """Return the five tokens with the largest attention weights."""
    weights = sorted(model.explain(text), key=lambda pair: -pair[1])
    return [token for token, _ in weights[:5]]


def score_labelled(
    model: Classifier, given: object, rejects: str | Path | None = None
) -> dict[str, Any]:
    """Return scores of labelled data, see `Classifier.evaluate`."""
    inputs = model.inputs
    rows: Any = inputs.look(model, given, lenient=rejects is not None)
    examples = read_one(
        rows, rejects, lambda rows, bad: inputs.collect(model, rows, bad, inputs.like)
    )
    targets, unseen = targets_of(examples.labels, model.classes, several=model.several)
    return _scores_of(model, model.scores(examples.items), targets, unseen=unseen)


def describe(model: Classifier, name: str) -> str:
    """Return the model card as Markdown."""
    labels = [str(label) for label in model.classes]
    shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    return model_card(
        model, name, title=model.inputs.title,
        made=f"{model.settled().cell.upper()}, {model.inputs.made}, labels: {shown}",
        columns={
            "accuracy": ("accuracy", "{:.1%}"), "F1 macro": ("F1_macro", "{:.3f}"),
            "AUROC": ("AUC", "{:.3f}"),
            quoted(name_of("AUPRC", model.metrics.get("positive", ""))): ("AUPRC", "{:.3f}"),
        },
        use=model.inputs.use,
        end=f"Expect useful predictions only for {model.inputs.kind} like the training data."
        f"{model.inputs.warning}",
    )  # fmt: skip
