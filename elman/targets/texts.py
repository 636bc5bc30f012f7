"""Texts: tokens that a decoder generates one after another, with attention to the input.

p(y | x) = prod_t p(y_t | y_<t, attention over the encoder's states of x)
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from elman.decode.beam import Found, Search
from elman.decode.consensus import Consensus, most_agreed
from elman.decode.sample import Sampling
from elman.encode.text import Vocabulary, stream_text
from elman.errors import ArgumentError
from elman.heads import TokenHead
from elman.inputs.input import Input, Reader
from elman.inputs.target_column import TargetColumn
from elman.inputs.text import build_vocabulary, notes_on_cut
from elman.manifest import TOKENIZER
from elman.model import Head
from elman.padded import Padded, pad_arrays
from elman.read.examples import Examples
from elman.read.rows import text_of
from elman.read.split import hold_out_rows
from elman.report.overlap import missing_scores, score_each, score_texts
from elman.seq2seq import NOTHING, Place, Seq2Seq
from elman.seq2seq.write import write_best, write_random
from elman.targets.target import HELD_OUT, Prepared, Target, held_out_note
from elman.targets.text_settings import TranslatorSettings
from elman.train.evaluate import evaluate

LOG = logging.getLogger("elman")  # the command line shows it
BEAMS, DRAWN = 256, 1024  # maximum sequences in a beam search (rows * beams) and in sampling
GENERATED = 2000  # maximum pairs of the validation data that are translated
SHOWN = 5  # pairs in the report
WORST = 5  # pairs in the report whose predictions are least like their references
LONG = 500  # maximum characters of a text in the report
PICTURES = 3  # attention maps in the report
WIDE = 40  # maximum tokens in an attention map
BASELINES = {
    "translation": "the source, copied",
    "summary": "the first words of the source",
    "dialogue": "the most frequent answer",
}
FREQUENT = "the most frequent target"  # the baseline of inputs that are not texts


class Texts(Target[Seq2Seq]):
    """The texts of a trained model.

    Args:
        settings: settings of the texts.
        longest: number of tokens of the longest training target, with its end.
    """

    noun, named_by = "targets", "target"
    vocabulary: Vocabulary  # set by `start` or `load`

    def __init__(self, settings: TranslatorSettings, longest: int = 1) -> None:
        self.settings, self.longest = settings, longest

    # Reading.

    @classmethod
    def column(cls, settings: TranslatorSettings) -> TargetColumn:
        """Return the column of the targets."""
        return TargetColumn(settings.target, "targets")

    @classmethod
    def of_cell(
        cls,
        cell: Any,
        place: str,
        settings: TranslatorSettings,
        *,
        written: bool,  # noqa: ARG003
    ) -> str:
        """Return the text of a cell."""
        return text_of(cell, place, settings.target)

    # Learning.

    @classmethod
    def learn(
        cls,
        train: Examples,  # noqa: ARG003
        name: str,  # noqa: ARG003
        given: object,  # noqa: ARG003
        settings: TranslatorSettings,
    ) -> Texts:
        """Return targets without a vocabulary; `start` builds it without the held-out data."""
        return cls(settings)

    def hold_out(
        self, examples: Examples, reader: Reader, notes: list[str]
    ) -> tuple[Examples, Examples]:
        """Hold out rows; the pairs of a conversation stay together, and so do overlapping spans."""
        share, number = self.settings.validation_fraction, dict[str, int]()
        groups = reader.groups(examples.items) or examples.places
        rows = [number.setdefault(group, len(number)) for group in groups]
        unit = "pairs" if len(number) == len(rows) else reader.noun
        train, held = hold_out_rows(len(number), share, seed=self.settings.seed, unit=unit)
        notes.append(held_out_note(len(held), unit, f"{share:.0%}"))
        first, second = (np.flatnonzero(np.isin(rows, part)).tolist() for part in (train, held))
        return examples.select(first), examples.select(second)

    def start(self, train: Examples, input: Input) -> None:
        """Build the vocabulary, or share that of the input."""
        if self.settings.shared:
            assert input.vocabulary is not None
            self.vocabulary = input.vocabulary
        else:
            self.vocabulary = build_vocabulary(train.targets, self.settings)

    def described(self) -> dict[str, Any]:
        """Return the length of the longest target."""
        return {"longest": self.longest}

    @classmethod
    def restore(cls, described: Mapping[str, Any], settings: TranslatorSettings) -> Texts:
        """Return the texts of a saved model, whose vocabulary `load` reads."""
        longest = described.get("longest", 1)
        if not (isinstance(longest, int) and longest >= 1):
            raise ArgumentError(f"longest must be at least 1, got {longest!r}")
        return cls(settings, longest)

    def save(self, folder: Path) -> None:
        """Write the vocabulary."""
        self.vocabulary.save(folder / TOKENIZER)

    def load(self, folder: Path) -> None:
        """Read the vocabulary."""
        self.vocabulary = Vocabulary.load(folder / TOKENIZER)

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], reader: Reader
    ) -> list[str]:
        """Return notes about scores that are not computed."""
        notes = missing_scores(self.settings.kind)
        if len(others["validation"]) <= GENERATED:
            return notes
        part = f"only the first {GENERATED:,} pairs of the validation data"
        return [f"{part} are translated for the scores", *notes]

    def facts(self) -> dict[str, object]:
        """Return the size of the vocabulary, for the report."""
        return {"target_vocabulary": self.vocabulary.size}

    def unit(self, reader: Reader) -> str:
        """Return the unit over which the loss is averaged, for messages."""
        return "tokens"

    def counted(self, reader: Reader) -> str:
        """Return the unit of `count`, for the report."""
        return "pairs"

    def count(self, examples: Examples) -> int:
        """Return the number of pairs."""
        return len(examples)

    # The network.

    def head(self, size: int, input: Input, tied: nn.Parameter | None = None) -> TokenHead:
        """Return the layer that computes scores of tokens; it shares the token vectors `tied`."""
        return TokenHead(size, self.vocabulary.size, tied=tied)

    def training(self, input: Input, examples: Examples, head: Head, notes: list[str]) -> Prepared:
        """Return the encoded inputs, and the tokens of their targets."""
        found = self.validation(input, examples, head)
        self.longest = max(map(len, found.targets))
        notes += notes_on_cut("targets", list(found.targets), self.settings.max_tokens)
        return found

    def validation(self, input: Input, examples: Examples, head: Head) -> Prepared:
        """Return the encoded inputs, and the tokens of their targets."""
        targets = self.vocabulary.encode_ended(examples.targets, slice(self.settings.max_tokens))
        return Prepared(input.encode(examples.items), targets, padding=NOTHING)

    # Use.

    def predict(
        self,
        network: Seq2Seq,
        input: Input,
        items: Sequence[Any],
        *,
        search: Search | Consensus | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> list[str]:
        """Return a text for each item, see `Translator.predict`."""
        theirs = self.vocabulary
        if sampling is not None:
            drawn = self._draw(network, input, items, sampling, 1, seed)
            return [theirs.decode(tokens) for (tokens,) in drawn]
        if search is None and self.settings.consensus is not None:
            search = Consensus(samples=self.settings.consensus)
        if not isinstance(search, Consensus):
            return [best[0][0] for best in self.n_best(network, input, items, search or Search())]
        options, count = Sampling(temperature=search.temperature), search.samples
        texts = []
        for some in self._draw(network, input, items, options, count, search.seed):
            candidates = [theirs.decode(tokens) for tokens in some]
            spaced = theirs.tokens in ("word", "bpe")
            words = [one.lower().split() if spaced else list(one) for one in candidates]
            texts.append(candidates[most_agreed(words)])
        return texts

    def n_best(
        self, network: Seq2Seq, input: Input, items: Sequence[Any], search: Search
    ) -> list[list[tuple[str, float]]]:
        """Return the most likely texts of each item, with their log-probabilities."""
        found = self.search(network, input, items, search)
        return [
            [(self.text_of(input, item, one), one.log_p) for one in best]
            for item, best in zip(items, found, strict=True)
        ]

    def text_of(self, input: Input, item: Any, found: Found) -> str:
        """Return the text of tokens; the source word with the most attention replaces `<unk>`."""
        theirs, tokens = self.vocabulary, list(found.tokens)
        if theirs.unknown is None or theirs.unknown not in tokens or found.attention is None:
            return theirs.decode(tokens)
        pieces, words = input.pieces(item) or [""], []
        for place in (n for n, token in enumerate(tokens) if token == theirs.unknown):
            words.append(pieces[int(found.attention[place, : len(pieces)].argmax())])
        return "".join(stream_text(theirs, tokens, words))

    @torch.inference_mode()
    def search(
        self, network: Seq2Seq, input: Input, items: Sequence[Any], search: Search
    ) -> list[list[Found]]:
        """Return the results of a beam search for each item: tokens and attention."""
        result: list[list[Found]] = [[] for _ in items]
        for chosen, source in _groups(network, input, items, BEAMS // search.beam):
            start, lengths = network.read(source), source.lengths.tolist()
            found = self.search_from(network, input, start, lengths, search)
            for n, best in zip(chosen, found, strict=True):
                result[n] = best
        return result

    def search_from(
        self, network: Seq2Seq, input: Input, start: Place, lengths: list[int], search: Search
    ) -> list[list[Found]]:
        """Return the results of a beam search from `start`, after items of these lengths."""
        end, unknown = self.vocabulary.end, self.vocabulary.unknown
        copied = network.coder.attends and input.vocabulary is not None
        banned = () if unknown is None or copied else (unknown,)
        return write_best(
            network,
            start,
            self._longest(input, lengths),
            search=search,
            sources=lengths,
            end=end,
            banned=banned,
        )

    @torch.inference_mode()
    def _draw(
        self,
        network: Seq2Seq,
        input: Input,
        items: Sequence[Any],
        sampling: Sampling,
        count: int,
        seed: int,
    ) -> list[list[list[int]]]:
        """Draw `count` targets of each item, as tokens."""
        result: list[list[list[int]]] = [[] for _ in items]
        end, unknown = self.vocabulary.end, self.vocabulary.unknown
        banned = () if unknown is None else (unknown,)
        generator = torch.Generator().manual_seed(seed)
        for chosen, source in _groups(network, input, items, DRAWN // count):
            drawn = write_random(
                network,
                network.read(source),
                self._longest(input, source.lengths.tolist()),
                count=count,
                sampling=sampling,
                generator=generator,
                end=end,
                banned=banned,
            )
            for n, tokens in zip(chosen, drawn, strict=True):
                result[n] = tokens
        return result

    def _longest(self, input: Input, lengths: list[int]) -> list[int]:
        """Return the maximum length of each target; for translations it depends on the source."""
        if self.settings.kind == "translation" and input.vocabulary is not None:
            return [2 * length + 10 for length in lengths]
        return [self.longest] * len(lengths)

    # Scores.

    def evaluate(self, network: Seq2Seq, input: Input, examples: Examples) -> dict[str, Any]:
        """Return the perplexity, and scores of the predictions that fit the kind."""
        found = self.predict(network, input, examples.items)
        for note in missing_scores(self.settings.kind):
            LOG.info(note)
        scores = self._perplexity(network, input, examples)
        return {**scores, **self._overlap(input, found, examples.targets)}

    def _perplexity(self, network: Seq2Seq, input: Input, part: Examples) -> dict[str, float]:
        batches = self.validation(input, part, network.head).batches(self.settings.batch_size)
        scores = evaluate(network, batches)
        return {**scores, "tokens": int(scores["tokens"])}

    def _overlap(
        self, input: Input, found: Sequence[str], targets: Sequence[str]
    ) -> dict[str, Any]:
        lowercase = (input.reader if self.settings.shared else self).settings.lowercase
        scores = score_texts(found, targets, self.settings.kind, lowercase=lowercase)
        return {**scores, "pairs": len(targets)}

    def measure(
        self, network: Seq2Seq, input: Input, parts: Mapping[str, Examples]
    ) -> dict[str, Any]:
        """Return scores of the model and the baseline on the same pairs, and samples."""
        name = FREQUENT if input.vocabulary is None else BASELINES[self.settings.kind]
        metrics: dict[str, Any] = {"model": {}, "baseline": {"name": name}}
        for name in HELD_OUT:
            if name not in parts:
                continue
            part = parts[name]
            if name == "validation":
                part = part.select(range(min(GENERATED, len(part))))
            found = self.predict(network, input, part.items)
            metrics["model"][name] = {
                **self._perplexity(network, input, parts[name]),
                **self._overlap(input, found, part.targets),
            }
            guesses = self._baseline(input, parts["train"].targets, part.items)
            metrics["baseline"][name] = self._overlap(input, guesses, part.targets)
            metrics["samples"] = self._samples(input, part, found)
            metrics["attention"] = self._pictures(network, input, part.items[:PICTURES])
        return metrics

    def _baseline(self, input: Input, train: Sequence[str], items: Sequence[Any]) -> list[str]:
        if input.vocabulary is None or self.settings.kind == "dialogue":
            return [Counter(train).most_common(1)[0][0]] * len(items)
        if self.settings.kind == "translation":
            return list(items)
        length = int(np.median([len(text.split()) for text in train]))
        return [" ".join(text.split()[:length]) for text in items]

    def _samples(self, input: Input, part: Examples, found: Sequence[str]) -> list[dict[str, str]]:
        """Return samples: the first pairs, and those that are least like their references."""
        order, kind = list(range(min(SHOWN, len(part)))), self.settings.kind
        scores = None if kind == "dialogue" else score_each(found, part.targets, kind)
        if scores is not None:
            order += sorted(range(SHOWN, len(part)), key=lambda n: scores[n])[:WORST]
        return [
            {
                "title": f"{'' if n < SHOWN else 'One of the worst: '}{input.show(part.items[n])}",
                "text": f"{found[n]}\n(reference: {part.targets[n][:LONG]})",
            }
            for n in order
        ]

    def _pictures(
        self, network: Seq2Seq, input: Input, items: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Return attention maps: a row of weights for each token that a beam search finds."""
        theirs, pictures = self.vocabulary, []
        for item, (found, *_) in zip(
            items, self.search(network, input, items, Search()), strict=True
        ):
            columns = input.elements(item)[:WIDE]
            if found.attention is None or not columns:
                continue
            written = [*found.tokens, theirs.end][:WIDE]
            weights = found.attention[: len(written), : len(columns)].tolist()
            rows = [
                [theirs.token(number), *(round(weight, 3) for weight in row)]
                for number, row in zip(written, weights, strict=True)
            ]
            title = theirs.decode(found.tokens)
            pictures.append({"title": title, "columns": columns, "rows": rows})
        return pictures


def _groups(
    network: Seq2Seq, input: Input, items: Sequence[Any], rows: int
) -> Iterator[tuple[list[int], Padded]]:
    """Yield groups of items of similar length: their numbers, and a batch."""
    encoded, rows = input.encode(items), max(1, rows)
    order = sorted(range(len(items)), key=lambda n: len(encoded[n]))
    network.eval()
    for at in range(0, len(order), rows):
        chosen = order[at : at + rows]
        yield chosen, pad_arrays([encoded[n] for n in chosen])
