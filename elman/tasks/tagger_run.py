"""A tagger's run: its data, scores beside the most frequent tag of each word, and card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from elman.encode.words import WordIndex
from elman.errors import ArgumentError, DataError
from elman.heads.tags import IGNORED
from elman.read.rows import Rejects
from elman.read.sentences import Sentences
from elman.report.spans import has_spans, score_spans
from elman.tasks.card import model_card
from elman.tasks.parts import Parts, check_same, given_before, hold_out, read_one, read_parts
from elman.tasks.run import Job, check_can_go_on, go_on, start
from elman.train.chunks import ExampleBatches
from elman.train.fabric import build_fabric

if TYPE_CHECKING:
    from elman.tasks.tagger import Tagger

NAME = "most frequent tag of each word"
CONFUSED = 15  # pairs of tags in the report


@dataclass(frozen=True)
class Tagged:
    """Sentences and their tags."""

    sentences: list[tuple[str, ...]]
    tags: list[tuple[str, ...]]

    def select(self, numbers: Sequence[int]) -> Tagged:
        """Some of them."""
        return Tagged([self.sentences[n] for n in numbers], [self.tags[n] for n in numbers])


def train_tagger(
    model: Tagger, given: Mapping[str, object], folder: Path | None, rejects: Path | None,
    *, show: bool,
) -> None:  # fmt: skip
    """Fit a fresh model, see `Tagger.fit`."""
    fabric = build_fabric(model)
    parts = _read(model, given, rejects)
    model._described = parts.described
    index = WordIndex.build(
        parts.data["train"].sentences, lowercase=model.lowercase, min_count=model.min_count,
        size=model.vocabulary_size,
    )  # fmt: skip
    model.build(index, len(model.tag_names))
    start(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def resume_tagger(model: Tagger, config: dict[str, Any], folder: Path, *, show: bool) -> None:
    """Go on with a run, see `Estimator.resume`."""
    check_can_go_on(folder)
    fabric = build_fabric(model)
    parts = _read(model, *given_before(config["data"]))
    check_same(config["data"], parts.described)
    model._build_from(folder)
    go_on(model, _job(model, parts, fabric), folder, fabric=fabric, show=show)


def _open(model: Tagger, given: object, *, lenient: bool = False) -> Sentences:
    source, beside = given if isinstance(given, tuple) else (given, None)
    if beside is None and not isinstance(source, str | Path):
        raise ArgumentError("sentences in a list need their tags: fit(sentences, tags)")
    return Sentences(
        source, model.words, model.tags or "", beside=beside, encoding=model.encoding,
        lenient=lenient,
    )  # fmt: skip


def _read(model: Tagger, given: Mapping[str, object], rejects: Path | None) -> Parts[Tagged]:
    parts = read_parts(
        given, rejects, lambda one: _open(model, one, lenient=rejects is not None), _collect,
        "sentences",
    )  # fmt: skip
    data, described = parts.data, parts.described
    described["tags"] = names = sorted({tag for tags in data["train"].tags for tag in tags})
    if len(names) < 2:
        raise DataError(f"{described['name']}: tags are {names}; at least 2 are needed")
    if "validation" not in data:
        whole, share = data["train"], model.validation_fraction
        train, held = hold_out(len(whole.sentences), share, seed=model.seed, unit="sentences")
        data["train"], data["validation"] = whole.select(train), whole.select(held)
        parts.notes.append(f"{share:.0%} of the sentences are held out for validation")
    for name, some in data.items():
        strange = {tag for tags in some.tags for tag in tags} - set(names)
        if strange:
            shown = ", ".join(sorted(strange)[:10])
            parts.notes.append(f"tags of the {name} data that training has not: {shown}")
    return parts


def _collect(source: Sentences, rejects: Rejects) -> Tagged:
    sentences, tags = [], []
    for place, values in source.read():
        if isinstance(values, DataError):
            rejects.add(place, values)
        else:
            sentences.append(tuple(map(str, values[0])))  # type: ignore[call-overload]
            tags.append(tuple(map(str, values[1])))  # type: ignore[call-overload]
    if not sentences:
        raise DataError(f"{source.name}: has no sentence; expected many")
    return Tagged(sentences, tags)


def _job(model: Tagger, given: Parts[Tagged], fabric: Fabric) -> Job:
    parts = given.data
    number = {tag: n for n, tag in enumerate(model.tag_names)}

    def batches(name: str, rows: int, seed: int | None, share: tuple[int, int]) -> ExampleBatches:
        part = parts[name]
        inputs = [model.index.encode(sentence) for sentence in part.sentences]
        targets: list[NDArray[np.int64]] = [
            np.array([number.get(tag, IGNORED) for tag in tags], dtype=np.int64)
            for tags in part.tags
        ]
        return ExampleBatches(inputs, targets, rows, seed=seed, share=share)

    share = (fabric.global_rank, fabric.world_size)
    words = {f"{name}_words": sum(map(len, part.sentences)) for name, part in parts.items()}
    facts = {"train": model._described["name"], **words, "tags": len(number)}
    facts |= {"known_words": len(model.index.words)}
    return Job(
        batches("train", model.batch_size, model.seed, share),
        batches("validation", max(64, model.batch_size), None, (0, 1)),
        facts, "words", measure=lambda: _measure(model, parts), notes=given.notes,
    )  # fmt: skip


def _measure(model: Tagger, parts: dict[str, Tagged]) -> dict[str, Any]:
    names = [name for name in ("validation", "test") if name in parts]
    frequent = _most_frequent(model, parts["train"])
    ours: dict[str, Any] = {}
    baseline: dict[str, Any] = {"name": NAME}
    found: list[list[str]] = []
    for name in names:
        part = parts[name]
        found = model.predict(part.sentences)
        ours[name] = _scores(model, part, found)
        guesses = [
            [frequent.get(_fold(model, word), frequent[""]) for word in sentence]
            for sentence in part.sentences
        ]
        baseline[name] = _scores(model, part, guesses)
    return {"model": ours, "baseline": baseline, **_details(parts[names[-1]], found, names[-1])}


def _fold(model: Tagger, word: str) -> str:
    return word.lower() if model.lowercase else word


def _most_frequent(model: Tagger, train: Tagged) -> dict[str, str]:
    """The tag of each word that it has most often; at "" that of all words."""
    counts: dict[str, Counter[str]] = {"": Counter()}
    for sentence, tags in zip(train.sentences, train.tags, strict=True):
        for word, tag in zip(sentence, tags, strict=True):
            counts.setdefault(_fold(model, word), Counter())[tag] += 1
            counts[""][tag] += 1
    return {word: count.most_common(1)[0][0] for word, count in counts.items()}


def _scores(model: Tagger, part: Tagged, found: Sequence[Sequence[str]]) -> dict[str, float]:
    known = set(model.index.words)
    right = words = new_right = new = 0
    for sentence, true, guessed in zip(part.sentences, part.tags, found, strict=True):
        for word, a, b in zip(sentence, true, guessed, strict=True):
            words, right = words + 1, right + (a == b)
            if _fold(model, word) not in known:
                new, new_right = new + 1, new_right + (a == b)
    scores: dict[str, float] = {"accuracy": right / max(1, words)}
    if new:
        scores["accuracy of unknown words"] = new_right / new
    if has_spans(model.tag_names):
        scores |= score_spans(part.tags, found)
    scores["words"] = words
    return scores


def _details(part: Tagged, found: Sequence[Sequence[str]], name: str) -> dict[str, Any]:
    """What was taken for what, and sentences with the most mistakes."""
    pairs: Counter[tuple[str, str]] = Counter()
    wrong: list[tuple[int, int]] = []
    for n, (true, guessed) in enumerate(zip(part.tags, found, strict=True)):
        differ = [(a, b) for a, b in zip(true, guessed, strict=True) if a != b]
        pairs.update(differ)
        wrong.append((-len(differ), n))
    rows = [[f"{a} taken for {b}", count] for (a, b), count in pairs.most_common(CONFUSED)]
    samples = []
    for mistakes, n in sorted(wrong)[:5]:
        if mistakes:
            triples = zip(part.sentences[n], part.tags[n], found[n], strict=True)
            text = " ".join(w if a == b else f"{w}[{a}, guessed {b}]" for w, a, b in triples)
            samples.append({"title": f"{-mistakes} mistakes in a sentence", "text": text})
    table = {"title": f"Most frequent mistakes, {name} data", "columns": ["words"], "rows": rows}
    return {"tables": [table] if rows else [], "samples": samples}


def score_tagged(model: Tagger, given: object, rejects: str | Path | None = None) -> dict[str, Any]:
    """Scores of tagged sentences, see `Tagger.evaluate`."""
    part = read_one(_open(model, given, lenient=rejects is not None), rejects, _collect)
    return _scores(model, part, model.predict(part.sentences))


def describe(model: Tagger, name: str) -> str:
    """The model card, Markdown."""
    return model_card(
        model, name, title="a tag for every word",
        made=f"{model.cell.upper()}, {len(model.index.words):,} words, tags: "
        f"{', '.join(model.tag_names[:40])}",
        columns={"accuracy": ("accuracy", "{:.2%}"), "F1 of spans": ("F1", "{:.3f}")},
        use=['model.predict([["The", "cat", "sat"]])'],
        end="It knows sentences like those it was trained on, and guesses at all others.",
    )  # fmt: skip
