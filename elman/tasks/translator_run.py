"""Train and score a translator, compared with a baseline; attention maps and model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from elman.encode.embed import Embed
from elman.encode.text import Vocabulary, choose_tokens
from elman.encode.turns import join_turns, split_turns
from elman.errors import ArgumentError, DataError
from elman.manifest import TOKENIZER
from elman.read.columns import Table, column_of
from elman.read.files import is_path
from elman.read.frames import is_frame
from elman.read.rows import Rejects, Row, Rows, text_of
from elman.read.split import hold_out_rows
from elman.report.overlap import missing_scores, score_each, score_texts
from elman.seq2seq import NOTHING, Seq2Seq
from elman.seq2seq.recurrent import Recurrent
from elman.tasks.card import model_card
from elman.tasks.earlier import copy_weights, earlier_model
from elman.tasks.folder import SOURCE_TOKENIZER
from elman.tasks.parts import LOG, Parts, check_same, read_one, read_parts
from elman.tasks.run import Job, Request
from elman.train.chunks import ExampleBatches
from elman.train.evaluate import evaluate
from elman.train.fabric import on_first

if TYPE_CHECKING:
    from elman.tasks.language_model import LanguageModel
    from elman.tasks.translator import Translator

GENERATED = 2000  # maximum pairs of the validation data that are translated
SHOWN = 5  # pairs in the report
WORST = 5  # pairs in the report whose predictions are least like their references
LONG = 500  # maximum characters of a text in the report
LINES = 1000  # lines from which the format of a file of conversations is detected
PICTURES = 3  # attention maps in the report
WIDE = 40  # maximum tokens in an attention map
BASELINES = {
    "translation": "the source, copied",
    "summary": "the first words of the source",
    "dialogue": "the most frequent answer",
}


@dataclass
class Pairs:
    """Pairs of texts.

    Attributes:
        sources, targets: the texts.
        rows: number of the row of each pair; a conversation is a row with many pairs.
    """

    sources: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sources)

    def select(self, numbers: Sequence[int]) -> Pairs:
        """Return the pairs with these numbers."""
        columns = (self.sources, self.targets, self.rows)
        return Pairs(*([column[n] for n in numbers] for column in columns))  # type: ignore[arg-type]


def job(model: Translator, request: Request, fabric: Fabric) -> Job:
    """Read the data, build the network, and return the work of a training run."""

    def prepare() -> tuple[Parts[Pairs], tuple[Vocabulary, Vocabulary], LanguageModel | None]:
        parts = _read(model, request)
        if request.before is not None and request.folder is not None:
            names = (SOURCE_TOKENIZER, TOKENIZER)
            ours, theirs = (Vocabulary.load(request.folder / name) for name in names)
            parts.described = request.before
            return parts, (ours, theirs), earlier_model(model)[0] if request.begins else None
        earlier, decided = earlier_model(model)
        if earlier is not None:
            parts.described["decided"] = decided
            return parts, (earlier.vocabulary, earlier.vocabulary), earlier
        learn = parts.data["train"]
        if model.shared:
            ours = theirs = _vocabulary(model, [*learn.sources, *learn.targets])
        else:
            ours, theirs = _vocabulary(model, learn.sources), _vocabulary(model, learn.targets)
        return parts, (ours, theirs), None

    parts, vocabularies, earlier = on_first(fabric, prepare)
    model.described = parts.described
    model.build(*vocabularies)
    _copy_weights(model.network, earlier)
    return _job(model, parts, fabric)


def _copy_weights(network: Seq2Seq, earlier: LanguageModel | None) -> None:
    """Copy the weights of a language model to encoder and decoder."""
    if earlier is None:
        return
    coder, encode = network.coder, earlier.model.encode
    assert isinstance(coder, Recurrent)
    assert isinstance(encode, Embed)
    for core in (coder.encoder, coder.core):
        copy_weights(core, earlier.model.core)
    network.head.load_state_dict(earlier.model.head.state_dict())
    coder.embed_target.load_state_dict(encode.state_dict())  # last, as the head can share it


def _rows(model: Translator, given: object, *, lenient: bool = False) -> Rows:
    source, targets = given if isinstance(given, tuple) else (given, None)
    columns = [model.source, model.target]
    if is_frame(source) and targets is None:
        return Table(source).rows([model.conversation] if model.kind == "dialogue" else columns)
    source = column_of(source, model.source)
    if model.kind == "dialogue" and targets is None:
        columns = [model.conversation]
    elif targets is None and not is_path(source):
        raise ArgumentError("sources in a list need their targets: fit(sources, targets)")
    return Rows(
        source, columns, parallel=() if targets is None else (targets,), encoding=model.encoding,
        lenient=lenient, delimiter=model.delimiter,
    )  # fmt: skip


def _collect(model: Translator, rows: Rows, rejects: Rejects) -> Pairs:
    pairs = Pairs()
    for number, (place, values) in enumerate(_conversations(model, rows)):
        try:
            if isinstance(values, DataError):
                raise values
            found = _pairs_of(model, values, place)
        except DataError as error:
            rejects.add(place, error)
        else:
            pairs.sources += [source for source, _ in found]
            pairs.targets += [target for _, target in found]
            pairs.rows += [number] * len(found)
    if not pairs.sources:
        raise DataError(f"{rows.name}: has no pair of texts")
    return pairs


def _conversations(model: Translator, rows: Rows) -> Iterator[Row]:
    """Yield the rows, or the conversations of a file with one turn per line and blank lines."""
    found = rows.read()
    head = list(islice(found, LINES))
    texts = [row.values[0] for row in head if isinstance(row.values, tuple)]
    lines = len(rows.columns) == 1 and rows.kind == "parallel"
    if not lines or any(model.separator in str(text) for text in texts):
        yield from chain(head, found)
        return
    begin, turns, bad = "", list[object](), False
    for place, values in chain(head, found, [Row("", ("",))]):
        if isinstance(values, DataError):
            yield Row(place, values)
            bad = True
        elif str(values[0]).strip():
            begin = begin or place
            turns.append(values[0])
        else:
            if turns and not bad:
                yield Row(begin, (turns,))
            begin, turns, bad = "", [], False


def _pairs_of(model: Translator, values: tuple[object, ...], place: str) -> list[tuple[str, str]]:
    """Return source and target of a row; for a conversation one pair for each answer."""
    if len(values) == 2:
        source, target = values
        return [
            (
                model.source_of(text_of(source, place, model.source)),
                text_of(target, place, model.target),
            )
        ]
    (conversation,) = values
    if isinstance(conversation, list | tuple):
        turns = [text_of(turn, place, model.conversation).strip() for turn in conversation]
    else:
        turns = split_turns(text_of(conversation, place, model.conversation), model.separator)
    if len(turns) < 2:
        raise DataError(
            f"{place}: expected two or more turns, got {len(turns)}; write {model.separator!r} "
            "between them, or one per line and a blank line after the conversation; or set "
            "separator, or give targets"
        )
    return [(join_turns(turns[:n], model.history), turns[n]) for n in range(1, len(turns))]


def _read(model: Translator, request: Request) -> Parts[Pairs]:
    lenient = request.rejects is not None
    parts = read_parts(
        request.data, request.rejects, lambda one: _rows(model, one, lenient=lenient),
        lambda rows, bad, _: _collect(model, rows, bad), "rows",
    )  # fmt: skip
    data = parts.data
    if "validation" not in data:
        pairs, share = data["train"], model.validation_fraction
        which = np.unique(pairs.rows, return_inverse=True)[1]
        unit = "pairs" if which[-1] + 1 == len(pairs) else "conversations"
        train, held = hold_out_rows(int(which[-1]) + 1, share, seed=model.seed, unit=unit)
        data["train"], data["validation"] = (
            pairs.select(np.flatnonzero(np.isin(which, part)).tolist()) for part in (train, held)
        )
        parts.notes.append(f"{len(held):,} {unit}, {share:.0%}, are held out for validation")
    if len(data["validation"]) > GENERATED:
        parts.notes.append(
            f"only the first {GENERATED:,} pairs of the validation data are translated for the "
            "scores"
        )
    parts.notes += missing_scores(model.kind)
    if request.before is not None:
        check_same(request.before, parts.described)
    return parts


def _vocabulary(model: Translator, texts: list[str]) -> Vocabulary:
    kind = model.tokens or choose_tokens(texts)[0]
    return Vocabulary.build(
        lambda: texts, tokens=kind, size=model.vocabulary_size, min_count=model.min_count,
        lowercase=model.lowercase, split_punctuation=model.split_punctuation,
    )  # fmt: skip


def encode_sources(model: Translator, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return the token numbers of each source, cut to `max_tokens`, and an end token."""
    return _encode(texts, model.vocabularies[0], model.kept)


def _encode(texts: Sequence[str], vocabulary: Vocabulary, kept: slice) -> list[NDArray[np.int64]]:
    result = []
    for at in range(0, len(texts), 1000):
        for numbers in vocabulary.encode_batch(texts[at : at + 1000]):
            result.append(np.array([*numbers[kept], vocabulary.end], dtype=np.int64))
    return result


def _batches(
    model: Translator, pairs: Pairs, rows: int, seed: int | None, share: tuple[int, int] = (0, 1)
) -> ExampleBatches:
    targets = _encode(pairs.targets, model.vocabularies[1], slice(model.max_tokens))
    sources = encode_sources(model, pairs.sources)
    return ExampleBatches(sources, targets, rows, seed=seed, share=share, padding=NOTHING)


def _job(model: Translator, given: Parts[Pairs], fabric: Fabric) -> Job:
    parts = given.data
    share = (fabric.global_rank, fabric.world_size)
    ours, theirs = model.vocabularies
    train = _batches(model, parts["train"], model.batch_size, model.seed, share)
    model.described["longest"] = max(map(len, train.targets))
    facts: dict[str, object] = {"train": model.described["name"]}
    facts |= {f"{name}_pairs": len(part) for name, part in parts.items()}
    facts |= {"source_vocabulary": ours.size, "target_vocabulary": theirs.size}
    held = _batches(model, parts["validation"], max(64, model.batch_size), None)
    for name, texts in (("sources", train.sequences), ("targets", train.targets)):
        long = sum(len(tokens) > model.max_tokens for tokens in texts)
        if long:
            given.notes.append(
                f"{name} with max_tokens={model.max_tokens} tokens or more: {long:,}; the rest of "
                "longer ones is not read"
            )
    return Job(
        train, held, facts, "tokens",
        measure=lambda: _measure(model, parts), notes=given.notes,
    )  # fmt: skip


def _measure(model: Translator, parts: dict[str, Pairs]) -> dict[str, Any]:
    """Return scores of the model and the baseline on the same pairs, and samples."""
    metrics: dict[str, Any] = {"model": {}, "baseline": {"name": BASELINES[model.kind]}}
    for name in ("validation", "test"):
        if name not in parts:
            continue
        part = parts[name]
        if name == "validation":
            part = part.select(range(min(GENERATED, len(part))))
        texts = model.predict(part.sources)
        metrics["model"][name] = {**_perplexity(model, parts[name]), **_overlap(model, texts, part)}
        guesses = _baseline(model, parts["train"], part)
        metrics["baseline"][name] = _overlap(model, guesses, part)
        metrics |= {
            "samples": _samples(model, part, texts),
            "attention": _pictures(model, part.sources[:PICTURES]),
        }
    return metrics


def _samples(model: Translator, pairs: Pairs, found: Sequence[str]) -> list[dict[str, str]]:
    """Return samples: the first pairs, and those that are least like their references."""
    order = list(range(min(SHOWN, len(pairs))))
    scores = None if model.kind == "dialogue" else score_each(found, pairs.targets, model.kind)
    if scores is not None:
        order += sorted(range(SHOWN, len(pairs)), key=lambda n: scores[n])[:WORST]
    return [
        {
            "title": f"{'' if n < SHOWN else 'One of the worst: '}{pairs.sources[n][:LONG]}",
            "text": f"{found[n]}\n(reference: {pairs.targets[n][:LONG]})",
        }
        for n in order
    ]


def _pictures(model: Translator, sources: Sequence[str]) -> list[dict[str, Any]]:
    """Return attention maps: a row of weights for each token that a beam search finds."""
    ours, theirs = model.vocabularies
    pictures = []
    best = [found[0] for found in model.search(sources)]
    for numbers, found in zip(encode_sources(model, sources), best, strict=True):
        if found.attention is None:
            continue
        read, written = numbers[:WIDE].tolist(), [*found.tokens, theirs.end][:WIDE]
        weights = found.attention[: len(written), : len(read)].tolist()
        pictures.append(
            {
                "title": theirs.decode(found.tokens),
                "columns": [ours.token(number) for number in read],
                "rows": [
                    [theirs.token(number), *(round(weight, 3) for weight in row)]
                    for number, row in zip(written, weights, strict=True)
                ],
            }
        )
    return pictures


def _perplexity(model: Translator, pairs: Pairs) -> dict[str, float]:
    scores = evaluate(model.model, _batches(model, pairs, max(64, model.batch_size), None))
    return {**scores, "tokens": int(scores["tokens"])}


def _overlap(model: Translator, found: Sequence[str], pairs: Pairs) -> dict[str, Any]:
    scores = score_texts(found, pairs.targets, model.kind, lowercase=model.settled().lowercase)
    return {**scores, "pairs": len(pairs)}


def _baseline(model: Translator, train: Pairs, pairs: Pairs) -> list[str]:
    if model.kind == "translation":
        return pairs.sources
    if model.kind == "dialogue":
        return [Counter(train.targets).most_common(1)[0][0]] * len(pairs)
    length = int(np.median([len(text.split()) for text in train.targets]))
    return [" ".join(text.split()[:length]) for text in pairs.sources]


def score_pairs(
    model: Translator, given: object, rejects: str | Path | None = None
) -> dict[str, Any]:
    """Return scores of pairs, see `Translator.evaluate`."""
    rows = _rows(model, given, lenient=rejects is not None)
    pairs = read_one(rows, rejects, lambda rows, bad: _collect(model, rows, bad))
    found = model.predict(pairs.sources)
    for note in missing_scores(model.kind):
        LOG.info(note)
    return {**_perplexity(model, pairs), **_overlap(model, found, pairs)}


def describe(model: Translator, name: str) -> str:
    """Return the model card as Markdown."""
    main = {"translation": "BLEU", "summary": "ROUGE-L", "dialogue": "BLEU-2"}[model.kind]
    ours, theirs = model.vocabularies
    cell = "Transformer"
    if model.cell != "transformer":
        cell = f"{model.settled().cell.upper()}, attention {model.attention or 'none'}"
    return model_card(
        model, name, title=f"text to text ({model.kind})",
        made=f"{cell}, vocabularies of {ours.size:,} and {theirs.size:,} {theirs.tokens} tokens",
        columns={main: (main, "{:.1f}")}, use=['model.predict(["..."])'],
        end="The model writes what is likely given its training pairs, which can be wrong.",
    )  # fmt: skip
