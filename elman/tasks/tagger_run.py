"""Train and score a tagger, compared with a baseline; and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_fabric import Fabric

from elman.errors import DataError
from elman.tasks.card import model_card
from elman.tasks.channel_inputs import reads_recordings
from elman.tasks.parts import Parts, check_same, given_before, read_one, read_parts
from elman.tasks.run import Job, go_on, start
from elman.tasks.sentence_inputs import SentenceInputs
from elman.tasks.step_inputs import StepInputs
from elman.tasks.tagged import Guesses, Tagged
from elman.train.chunks import ExampleBatches
from elman.train.fabric import build_fabric, on_first

if TYPE_CHECKING:
    from elman.tasks.tagger import Tagger

CONFUSED = 15  # pairs of confused tags in the report


def train_tagger(
    model: Tagger, given: Mapping[str, object], folder: Path | None, rejects: Path | None,
    *, show: bool,
) -> None:  # fmt: skip
    """Train a new model, see `Tagger.fit`."""
    fabric = build_fabric(model)
    kind = StepInputs if reads_recordings(model, given["train"]) else SentenceInputs

    def prepare() -> tuple[Parts[Tagged], SentenceInputs | StepInputs]:
        parts = _read(model, kind, given, rejects)
        return parts, kind.learn(model, parts.data["train"], parts.notes)

    parts, inputs = on_first(fabric, prepare)
    model._described = parts.described
    model.build(inputs, len(model.tag_names))
    start(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def resume_tagger(model: Tagger, described: dict[str, Any], folder: Path, *, show: bool) -> None:
    """Continue a run, see `Estimator.resume`."""
    fabric = build_fabric(model)
    given, rejects = given_before(described)
    kind = StepInputs if reads_recordings(model, given["train"]) else SentenceInputs

    def prepare() -> Parts[Tagged]:
        parts = _read(model, kind, given, rejects)
        check_same(described, parts.described)
        return parts

    parts = on_first(fabric, prepare)
    model._build_from(folder)
    go_on(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def _read(
    model: Tagger, kind: type[SentenceInputs] | type[StepInputs], given: Mapping[str, object],
    rejects: Path | None,
) -> Parts[Tagged]:  # fmt: skip
    collect: Any = kind.collect  # takes a source from `look` of the same kind
    parts = read_parts(
        given, rejects, lambda one: kind.look(model, one, lenient=rejects is not None),
        lambda source, bad, like: collect(model, source, bad, like and like.whole), kind.kind,
    )  # fmt: skip
    data, described = parts.data, parts.described
    described["inputs"] = kind.kind
    described["tags"] = names = sorted({tag for tags in data["train"].tags for tag in tags})
    if len(names) < 2:
        raise DataError(f"{described['name']}: the tags are {names}; at least 2 are needed")
    if kind is StepInputs and model.background not in names:
        parts.notes.append(
            f"no step has the tag {model.background!r} (background): every run of a tag is an event"
        )
    if "validation" not in data:
        data["train"], data["validation"], note = kind.hold_out(model, data["train"])
        parts.notes.append(note)
    for name, some in data.items():
        unknown = {tag for tags in some.tags for tag in tags} - set(names)
        if unknown:
            shown = ", ".join(sorted(unknown)[:10])
            parts.notes.append(
                f"tags of the {name} data that are not in the training data: {shown}"
            )
    return parts


def _job(model: Tagger, given: Parts[Tagged], fabric: Fabric) -> Job:
    parts, inputs = given.data, model.inputs
    share = (fabric.global_rank, fabric.world_size)
    arrays, targets, more = inputs.training(model, parts["train"], given.notes)
    train = ExampleBatches(arrays, targets, model.batch_size, seed=model.seed, share=share, **more)
    arrays, targets, _ = inputs.training(model, parts["validation"], [])
    validation = ExampleBatches(arrays, targets, max(64, model.batch_size), seed=None)
    counts = {f"{name}_{inputs.unit}": part.elements for name, part in parts.items()}
    facts = {"train": model._described["name"], **counts, "tags": len(model.tag_names)}
    facts |= inputs.facts()
    return Job(
        train, validation, facts, inputs.unit, measure=lambda: _measure(model, parts),
        notes=given.notes,
    )  # fmt: skip


def _measure(model: Tagger, parts: dict[str, Tagged]) -> dict[str, Any]:
    names = [name for name in ("validation", "test") if name in parts]
    ours: dict[str, Any] = {}
    found: Guesses = []
    for name in names:
        found = model.predict(parts[name].items)
        ours[name] = model.inputs.scores(model, parts[name], found)
    others: list[dict[str, Any]] = [
        {"name": title} | {
            name: model.inputs.scores(model, parts[name], guesses[name]) for name in names
        }
        for title, guesses in model.inputs.baselines(model, parts, names)
    ]  # fmt: skip
    metrics: dict[str, Any] = {"model": ours, "baseline": others[0]}
    if others[1:]:
        metrics["others"] = others[1:]
    return metrics | _details(model, parts[names[-1]], found, names[-1])


def _details(model: Tagger, part: Tagged, found: Guesses, name: str) -> dict[str, Any]:
    """Return the most frequent mistakes, and the sequences with the most mistakes."""
    wrong = [
        (-sum(a != b for a, b in zip(true, guess, strict=True)), n)
        for n, (true, guess) in enumerate(zip(part.tags, found, strict=True))
    ]
    pairs = part.confused(found).most_common(CONFUSED)
    rows = [[f"{a}, predicted as {b}", count] for (a, b), count in pairs]
    samples = [
        {
            "title": f"wrong tags in one of the {model.inputs.kind}: {-mistakes}",
            "text": model.inputs.sample(part.items[n], part.tags[n], found[n]),
        }
        for mistakes, n in sorted(wrong)[:5]
        if mistakes
    ]
    title = f"Most frequent mistakes, {name} data"
    table = {"title": title, "columns": [model.inputs.unit], "rows": rows}
    return {"tables": [table] if rows else [], "samples": samples}


def score_tagged(model: Tagger, given: object, rejects: str | Path | None = None) -> dict[str, Any]:
    """Return scores of tagged data, see `Tagger.evaluate`."""
    inputs = model.inputs
    source: Any = inputs.look(model, given, lenient=rejects is not None)
    part = read_one(source, rejects, lambda one, bad: inputs.collect(model, one, bad, inputs.like))
    return inputs.scores(model, part, model.predict(part.items))


def describe(model: Tagger, name: str) -> str:
    """Return the model card as Markdown."""
    inputs = model.inputs
    columns = {"accuracy": ("accuracy", "{:.2%}"), "F1 of spans": ("F1", "{:.3f}")}
    if isinstance(inputs, StepInputs):
        columns = {"accuracy": ("accuracy", "{:.2%}"), "F1 of events": ("event_F1", "{:.3f}")}
    return model_card(
        model, name, title=inputs.title,
        made=f"{model.cell.upper()}, {inputs.made}, tags: {', '.join(model.tag_names[:40])}",
        columns=columns, use=inputs.use,
        end=f"The model can only be expected to work on {inputs.kind} like those of its training."
        f"{inputs.warning}",
    )  # fmt: skip
