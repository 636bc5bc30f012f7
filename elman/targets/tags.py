"""Tags: one class of each element of an item, independently or as a chain; spans and events.

    p(tag_t | x) = softmax(W h_t + b)_tag,   or a linear-chain CRF over h_1 .. h_T
    (see `elman.heads.tags`)

Shape legend: N items, T elements of an item, K tags.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.arguments import check_names
from elman.decode.events import events_of
from elman.errors import DataError
from elman.heads.tags import IGNORED, TagHead
from elman.heads.wide import Wide, check_share, share_of
from elman.inputs.input import Array, Input, Reader
from elman.inputs.target_column import TargetColumn
from elman.model import Head, SequenceModel
from elman.optional import absent
from elman.read.examples import Examples
from elman.read.sentences import words_of
from elman.read.split import hold_out_rows
from elman.report.events import score_events
from elman.report.spans import has_spans, score_spans
from elman.report.terminal import are
from elman.targets.tag_settings import TagSettings
from elman.targets.target import (
    HELD_OUT,
    Prepared,
    Target,
    cut_windows,
    part_of,
    states_of,
    unknown_targets,
)

CONFUSED = 15  # pairs of confused tags in the report
SAMPLES = 5  # items in the report
FREQUENT = "most frequent tag"

Tagged = Sequence[Sequence[str]]


class Tags(Target[SequenceModel]):
    """The tags of a trained model.

    Args:
        settings: settings of the tags.
        names: tags of the training data, in the order of the scores.
        share: factor of the network's scores if there is a wide part, see `TagHead`.
    """

    noun, named_by = "tags", "tags"

    def __init__(self, settings: TagSettings, names: list[str], share: float = 1.0) -> None:
        self.settings, self.names, self.share = settings, names, share
        wide = settings.wide and settings.group is not None
        self.classes_of_wide = len(names) if wide else 0

    # Reading.

    @classmethod
    def column(cls, settings: TagSettings) -> TargetColumn:
        """Return the column of the tags."""
        return TargetColumn(settings.tags, "tags", each=True, background=settings.background)

    @classmethod
    def of_cell(
        cls,
        cell: Any,
        place: str,
        settings: TagSettings,  # noqa: ARG003
        *,
        written: bool,  # noqa: ARG003
    ) -> tuple[str, ...]:
        """Return the tags of a cell: a list, or a text with blanks between them."""
        if cell is None:
            raise DataError(
                f"{place}: has no tags; name the column of tags, or give a table of labels"
            )
        return tuple(map(str, cell)) if isinstance(cell, list | tuple) else words_of(cell, place)

    # Learning.

    @classmethod
    def learn(cls, train: Examples, name: str, given: object, settings: TagSettings) -> Tags:  # noqa: ARG003
        """Return all tags of the training data in order."""
        names = sorted({tag for tags in train.targets for tag in tags})
        if len(names) < 2:
            raise DataError(f"{name}: the tags are {names}; at least 2 are needed")
        return cls(settings, names)

    def hold_out(
        self, examples: Examples, reader: Reader, notes: list[str]
    ) -> tuple[Examples, Examples]:
        """Hold out items; if there are few and items can be cut, the end of each of them."""
        share, count = self.settings.validation_fraction, len(examples)
        cut = [reader.cut(one, 0, len(one)) for one in examples.items[:1]] != [None]
        if int(count * share) or not cut:
            train, held = hold_out_rows(count, share, seed=self.settings.seed, unit=reader.noun)
            some = f"{len(held):,} of {count:,} {reader.noun} {are(len(held))}"
            notes.append(f"{some} held out for validation")
            return examples.select(train), examples.select(held)
        lengths = list(map(len, examples.items))
        cuts = [length - int(length * share) for length in lengths]
        if cuts == lengths:
            raise DataError(
                f"{count} {reader.noun} of {sum(lengths)} {reader.unit} are too few to hold out "
                f"validation_fraction={share}; give more, or validation data"
            )
        notes.append(f"the last {share:.0%} of all {reader.noun} are held out for validation")
        parts = [
            Examples(
                [reader.cut(one, *span) for one, span in zip(examples.items, spans, strict=True)],
                [tags[slice(*span)] for tags, span in zip(examples.targets, spans, strict=True)],
                examples.places,
                examples.recordings,
            )
            for spans in ([(0, at) for at in cuts], list(zip(cuts, lengths, strict=True)))
        ]
        return parts[0], parts[1]

    def described(self) -> dict[str, Any]:
        """Return the facts from which `restore` rebuilds the tags."""
        return {"tags": self.names, "share": self.share}

    @classmethod
    def restore(cls, described: Mapping[str, Any], settings: TagSettings) -> Tags:
        """Return the tags of a saved model."""
        check_names("tags", described.get("tags"))
        return cls(settings, list(described["tags"]), check_share(described.get("share", 1.0)))

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], reader: Reader
    ) -> list[str]:
        """Return notes about tags that are not in the training data, and about the background."""
        notes, background = [], self.settings.background
        if reader.windows is not None and background not in self.names:
            notes.append(
                f"no step has the tag {background!r} (background): every run of a tag is an event"
            )
        return notes + unknown_targets("tags", others, set(self.names))

    def facts(self) -> dict[str, object]:
        """Return the number of tags, for the report."""
        return {"tags": len(self.names)}

    def unit(self, reader: Reader) -> str:
        """Return the name of the elements that are counted, for messages."""
        return reader.unit

    def count(self, examples: Examples) -> int:
        """Return the number of elements."""
        return sum(map(len, examples.targets))

    def numbers(self, tagged: Tagged) -> list[NDArray[np.int64]]:
        """Return the number of each tag (T,) of each item, IGNORED for an unknown tag."""
        number = {tag: n for n, tag in enumerate(self.names)}
        return [
            np.array([number.get(tag, IGNORED) for tag in tags], dtype=np.int64) for tags in tagged
        ]

    # The network.

    def head(self, size: int, input: Input) -> TagHead:
        """Return the layer that computes a score for each tag at each step."""
        features = input.features if self.classes_of_wide else 0
        return TagHead(
            size,
            len(self.names),
            chain=self.settings.chain,
            features=features,
            share=self.share if features else 1.0,
        )

    def start(self, train: Examples, input: Input) -> None:
        """Choose the share of the network."""
        self.share = share_of(self.count(train))

    def training(self, input: Input, examples: Examples, head: Head, notes: list[str]) -> Prepared:
        """Return windows and the numbers of their tags, after fitting the wide part."""
        names = input.sklearn_baselines(each=True)
        notes += absent("sklearn", names) if names else []
        ready, wide = self._prepared(input, examples), wide_of(head)
        if wide is None:
            return ready
        bag, lengths = input.step_bag(examples.items), list(map(len, examples.items))
        assert bag is not None
        wanted = torch.from_numpy(np.concatenate(ready.targets))
        weights = torch.ones(len(wanted), len(self.names), dtype=torch.float32)
        of_item = torch.repeat_interleave(torch.tensor(lengths))
        scores = wide.fit(bag, wanted, weights, of_item)
        notes.append(
            f"training starts from a linear model of {input.wide} of each row; set wide=False to "
            "train the recurrence alone"
        )
        return ready._replace(extra=scores.split(lengths))

    def validation(self, input: Input, examples: Examples, head: Head) -> Prepared:
        """Return windows and the numbers of their tags."""
        ready = self._prepared(input, examples)
        return ready._replace(extra=self._extra(input, examples.items, head))

    def _prepared(self, input: Input, examples: Examples) -> Prepared:
        arrays = input.encode(examples.items)
        size = input.reader.window(each=True)
        spans, _ = cut_windows(arrays, size, input.reader.settings.overlap)
        numbers = [
            _of_steps(input.steps(item), some, len(array))
            for item, some, array in zip(
                examples.items, self.numbers(examples.targets), arrays, strict=True
            )
        ]
        return Prepared(
            [part_of(arrays[n], begin, end) for n, begin, end in spans],
            [numbers[n][begin:end] for n, begin, end in spans],
        )

    def _extra(self, input: Input, items: Sequence[Any], head: Head) -> Sequence[Tensor] | None:
        """Return the scores (T, K) of the wide part for each item; None without one."""
        wide = wide_of(head)
        bag = input.step_bag(items) if items else None
        if wide is None or bag is None:
            return None
        scores: Tensor = wide(bag)
        return list(scores.split(list(map(len, items))))

    # Use.

    def predict(
        self, network: SequenceModel, input: Input, items: Sequence[Any]
    ) -> list[list[str]]:
        """Return the tag of each element of each item."""
        result: list[list[str]] = [[] for _ in items]
        head = network.head
        assert isinstance(head, TagHead)
        arrays, extra = input.encode(items), self._extra(input, items, head)
        for rows, states in states_of(network, arrays, self.settings.batch_size, extra):
            if not states.data.shape[1]:
                continue
            best = head.best(states).tolist()
            for n, row, length in zip(rows.tolist(), best, states.lengths.tolist(), strict=True):
                tags = [self.names[k] for k in row[:length]]
                result[n] = [tags[step] for step in input.steps(items[n]).tolist()]
        return result

    def probabilities(
        self, network: SequenceModel, input: Input, items: Sequence[Any]
    ) -> list[Array]:
        """Return the probabilities (T, K) of the tags at each step of the array of each item."""
        result: list[Array] = [np.zeros((0, len(self.names))) for _ in items]
        head = network.head
        assert isinstance(head, TagHead)
        arrays, extra = input.encode(items), self._extra(input, items, head)
        for rows, states in states_of(network, arrays, self.settings.batch_size, extra):
            p = head.scores(states).softmax(2).numpy()
            for n, row, length in zip(rows.tolist(), p, states.lengths.tolist(), strict=True):
                result[n] = row[:length]
        return result

    # Scores.

    def evaluate(self, network: SequenceModel, input: Input, examples: Examples) -> dict[str, Any]:
        """Return the scores of tagged examples."""
        return self.score(input, examples, self.predict(network, input, examples.items))

    def score(self, input: Input, examples: Examples, found: Tagged) -> dict[str, float]:
        """Return the accuracy, F1 over tags, and scores of unknown words, spans and events."""
        right, true, predicted = Counter[str](), Counter[str](), Counter[str]()
        new = new_right = 0
        for item, a, b in zip(examples.items, examples.targets, found, strict=True):
            true.update(a)
            predicted.update(b)
            equal = [x == y for x, y in zip(a, b, strict=True)]
            right.update(x for x, same in zip(a, equal, strict=True) if same)
            known = input.is_known(item)
            if known is not None:
                new += int((~known).sum())
                new_right += int(np.array(equal, dtype=bool)[~known].sum())
        total = sum(true.values())
        scores: dict[str, float] = {"accuracy": sum(right.values()) / max(1, total)}
        if new:
            scores["accuracy_of_unknown_words"] = new_right / new
        # As in scikit-learn, every tag that occurs or is predicted counts, including tags that are
        # not in the training data.
        f1 = [2 * right[tag] / (true[tag] + predicted[tag]) for tag in {*true, *predicted}]
        scores["F1_macro"] = math.fsum(f1) / max(1, len(f1))
        if has_spans(self.names):
            scores |= score_spans(examples.targets, found)
        background = self.settings.background
        if background in self.names:
            wanted = [events_of(tags, background) for tags in examples.targets]
            scores |= score_events(wanted, [events_of(tags, background) for tags in found])
        scores[input.reader.unit] = total
        return scores

    def measure(
        self, network: SequenceModel, input: Input, parts: Mapping[str, Examples]
    ) -> dict[str, Any]:
        """Return the scores of the model and of simpler models, and the most frequent mistakes."""
        others = {name: parts[name] for name in HELD_OUT if name in parts}
        found = {name: self.predict(network, input, part.items) for name, part in others.items()}
        train = parts["train"]
        guesses = input.tag_baselines(train, self.numbers(train.targets), others)
        if not guesses:
            counts = Counter(tag for tags in train.targets for tag in tags)
            often = self.names.index(counts.most_common(1)[0][0])
            guesses = [
                (
                    FREQUENT,
                    {
                        name: [np.full(len(tags), often) for tags in part.targets]
                        for name, part in others.items()
                    },
                )
            ]
        baseline, *more = (
            {"name": title}
            | {name: self.score(input, others[name], self._named(some[name])) for name in others}
            for title, some in guesses
        )
        ours = {name: self.score(input, part, found[name]) for name, part in others.items()}
        metrics: dict[str, Any] = {"model": ours, "baseline": baseline}
        if more:
            metrics["others"] = more
        last = list(others)[-1]
        return metrics | self._details(input, others[last], found[last], last)

    def _named(self, guesses: Sequence[NDArray[np.int64]]) -> list[list[str]]:
        return [[self.names[number] for number in row.tolist()] for row in guesses]

    def _details(self, input: Input, part: Examples, found: Tagged, name: str) -> dict[str, Any]:
        """Return the most frequent mistakes, and the items with the most mistakes."""
        pairs: Counter[tuple[str, str]] = Counter()
        wrong = []
        for n, (true, guess) in enumerate(zip(part.targets, found, strict=True)):
            differ = [(a, b) for a, b in zip(true, guess, strict=True) if a != b]
            pairs.update(differ)
            wrong.append((-len(differ), n))
        reader = input.reader
        rows = [[f"{a}, predicted as {b}", count] for (a, b), count in pairs.most_common(CONFUSED)]
        samples = [
            {
                "title": f"wrong tags in one of the {reader.noun}: {-mistakes}",
                "text": input.show_tags(part.items[n], part.targets[n], found[n]),
            }
            for mistakes, n in sorted(wrong)[:SAMPLES]
            if mistakes
        ]
        title = f"Most frequent mistakes, {name} data"
        table = {"title": title, "columns": [reader.unit], "rows": rows}
        return {"tables": [table] if rows else [], "samples": samples}


def wide_of(head: Head) -> Wide | None:
    """Return the wide part of a head; None without one."""
    assert isinstance(head, TagHead)
    return head.wide


def _of_steps(
    steps: NDArray[np.int64], numbers: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return the tag of each step's last element; the previous tag if a step has no element."""
    if not len(steps):
        return numbers
    last = np.searchsorted(steps, np.arange(count), side="right") - 1
    return np.asarray(numbers[last])
