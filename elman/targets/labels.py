"""Labels: one class or any number of classes for each item, with calibrated probabilities.

    p(label | x) = softmax(s / temperature),   s = W pool(h_1 .. h_T) + b

`elman.heads.labels` defines the head.

Shape legend: N items, K classes, M labels that are not in the training data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.arguments import check_names, check_whole
from elman.encode.labels import balanced_weights, label_numbers
from elman.errors import ArgumentError, DataError
from elman.heads.forest import trees_of
from elman.heads.labels import LabelHead
from elman.heads.wide import check_share, share_of
from elman.inputs.input import Input, Reader
from elman.inputs.target_column import TargetColumn
from elman.model import Head, SequenceModel
from elman.optional import absent
from elman.padded import pad_arrays
from elman.read.examples import Examples
from elman.read.labels import Label, alike, labels_of, packed_label, unpacked_label
from elman.read.split import hold_out_labels, some_of
from elman.report.bag_of_words import majority
from elman.report.classes import (
    calibration_note,
    calibration_table,
    confusion_table,
    find_positive,
    fit_temperature,
    judged_by,
    mistakes,
    nll,
    probabilities,
    score_classes,
)
from elman.settings import dialect_of
from elman.targets.label_settings import LabelSettings
from elman.targets.target import (
    HELD_OUT,
    Prepared,
    Target,
    cut_windows,
    held_out_note,
    part_of,
    states_of,
    unknown_targets,
)

RARE = 5  # examples; classes with fewer are reported
MISTAKES = 10  # mistakes in the report


@dataclass
class Labels(Target[SequenceModel]):
    """The labels of a trained model.

    Args:
        settings: settings of the labels.
        classes: labels of the training data, in the order of the scores.
        share: factor of the network's scores if there is a wide part, see `LabelHead`.
        trees: trees of the forest in a wide part.
        temperature: divisor of the scores, fitted on the validation data.
        positive: with two classes, the one that AUPRC is computed for; otherwise None.
    """

    settings: LabelSettings
    classes: list[Label]
    share: float = 1.0
    trees: int = 0
    temperature: float = 1.0
    positive: int | None = None

    noun, named_by = "labels", "label"

    def __post_init__(self) -> None:
        self.several = self.settings.several
        self.classes_of_wide = len(self.classes) if self.settings.wide else 0

    # Reading.

    @classmethod
    def column(cls, settings: LabelSettings) -> TargetColumn:
        """Return the column of the labels."""
        return TargetColumn(settings.label, "labels", several=settings.several)

    @classmethod
    def of_cell(
        cls, cell: Any, place: str, settings: LabelSettings, *, written: bool
    ) -> tuple[Label, ...]:
        """Return the label of a cell, or its labels."""
        dialect = dialect_of(settings)
        separator = settings.separator if settings.several else None
        return labels_of(
            cell, place, settings.label, dialect=dialect, written=written, separator=separator
        )

    # Learning.

    @classmethod
    def learn(cls, train: Examples, name: str, given: object, settings: LabelSettings) -> Labels:
        """Return all labels of the training data, sorted, and those of all columns of a matrix."""
        found = set().union(*train.targets)
        shape: tuple[int, ...] = getattr(given[1], "shape", ()) if isinstance(given, tuple) else ()
        found |= set(range(shape[1] if len(shape) > 1 else 0))
        kinds = {type(label) for label in found}
        try:
            classes: list[Label] = sorted(found, key=None if len(kinds) == 1 else str)
        except TypeError:  # values without an order, such as those of an Enum
            classes = sorted(found, key=str)
        if len(classes) < 2:
            shown = repr(classes[0]) if classes else "no label"
            raise DataError(f"{name}: all rows have {shown}; at least 2 classes are needed")
        if len({str(label) for label in classes}) < len(classes):
            raise DataError(
                f"{name}: labels of different types look alike "
                f"({', '.join(map(repr, classes[:6]))}); convert all of them to text or all to "
                "numbers"
            )
        return cls(settings, classes)

    def hold_out(
        self, examples: Examples, reader: Reader, notes: list[str]
    ) -> tuple[Examples, Examples]:
        """Hold out the same share of every label."""
        share, seed = self.settings.validation_fraction, self.settings.seed
        groups = reader.groups(examples.items)
        train, held = hold_out_labels(examples.targets, share, seed=seed, groups=groups)
        if groups is not None:
            notes.append("spans overlap, so all spans of a recording are held out together")
        notes.append(held_out_note(len(held), reader.noun, f"{share:.0%} of each class"))
        return examples.select(train), examples.select(held)

    def described(self) -> dict[str, Any]:
        """Return the facts from which `restore` rebuilds the labels."""
        facts: dict[str, Any] = {
            "classes": [packed_label(label) for label in self.classes],
            "share": self.share,
            "trees": self.trees,
            "temperature": self.temperature,
        }
        return facts if self.positive is None else facts | {"positive": self.positive}

    @classmethod
    def restore(cls, described: Mapping[str, Any], settings: LabelSettings) -> Labels:
        """Return the labels of a saved model; models of older versions have fewer facts."""
        check_names("classes", described.get("classes"))
        share, trees = check_share(described.get("share", 1.0)), described.get("trees", 0)
        check_whole(trees, "trees", least=0)
        temperature = described.get("temperature", 1.0)
        if not (isinstance(temperature, int | float) and 0 < temperature < float("inf")):
            raise ArgumentError(f"temperature must be a positive number, got {temperature!r}")
        positive = described.get("positive")
        if positive not in (None, 0, 1):
            raise ArgumentError(f"positive must be 0 or 1, got {positive!r}")
        classes = [unpacked_label(label) for label in described["classes"]]
        return cls(settings, classes, share, trees, float(temperature), positive)

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], reader: Reader
    ) -> list[str]:
        """Return notes about labels that are rare, or that are not in the training data."""
        notes = []
        counts = Counter(label for labels in train.targets for label in labels)
        single = [str(label) for label in self.classes if counts[label] == 1]
        if single:
            notes.append(f"labels with only one row, which cannot be held out: {some_of(single)}")
        rare = [f"{label} ({counts[label]})" for label in self.classes if 1 < counts[label] < RARE]
        if rare:
            notes.append(f"labels with few examples: {some_of(rare)}")
        return notes + unknown_targets("labels", others, set(map(alike, self.classes)), alike)

    def facts(self) -> dict[str, object]:
        """Return the number of classes, for the report."""
        return {"classes": len(self.classes)}

    def count(self, examples: Examples) -> int:
        """Return the number of examples."""
        return len(examples)

    # The network.

    def head(self, size: int, input: Input) -> LabelHead:
        """Return the layer that pools states and computes the scores."""
        settings = self.settings
        return LabelHead(
            size,
            len(self.classes),
            pooling=settings.pooling,
            bidirectional=settings.bidirectional,
            several=self.several,
            label_smoothing=settings.label_smoothing,
            features=input.features,
            trees=self.trees if input.features else 0,
            share=self.share if input.features else 1.0,
        )

    def start(self, train: Examples, input: Input) -> None:
        """Choose the share of the network, and the number of trees of the wide part."""
        self.share = share_of(len(train))
        self.trees = trees_of(several=self.several) if input.levels > 1 else 0

    def training(self, input: Input, examples: Examples, head: Head, notes: list[str]) -> Prepared:
        """Return windows and their classes, after fitting the wide part."""
        assert isinstance(head, LabelHead)
        targets, _ = self.numbers(examples.targets)
        if self.settings.class_weights == "balanced":
            head.class_weights = balanced_weights(targets, len(self.classes))
        if len(self.classes) == 2 and not self.several:
            self.positive = find_positive(targets, self.classes)
        arrays, owners = self._windows(input, examples.items)
        wanted = targets[torch.from_numpy(owners)]
        bag, extra = input.bag(examples.items), None
        if bag is not None:
            assert head.wide is not None
            groups, of = input.reader.groups(examples.items), owners
            if groups is not None:
                of = np.unique(groups, return_inverse=True)[1][owners]
            weights = head.class_weights
            if weights is None:
                weights = torch.ones(len(self.classes), dtype=torch.float32)
            weights = weights.repeat(len(owners), 1)
            groups_of = torch.from_numpy(of)
            extra = head.wide.fit(bag, wanted, weights, groups_of, levels=input.levels)
            forest = " and a random forest" if head.wide.forest is not None else ""
            notes.append(
                f"training starts from a linear model of {input.wide}{forest}; set wide=False to "
                "train the recurrence alone"
            )
        names = input.sklearn_baselines(each=False)
        notes += absent("sklearn", names) if names else []
        return Prepared(arrays, wanted, extra)

    def validation(self, input: Input, examples: Examples, head: Head) -> Prepared:
        """Return windows and their classes; labels unknown in training do not count in the loss."""
        targets, _ = self.numbers(examples.targets)
        arrays, owners = self._windows(input, examples.items)
        wanted = targets[torch.from_numpy(owners)]
        kept = np.arange(len(arrays)) if self.several else np.flatnonzero(wanted >= 0)
        if not len(kept):
            raise DataError(
                "no validation label is in the training data; give other validation data"
            )
        extra, of = self._extra(input, examples.items, head), torch.from_numpy(kept)
        return Prepared([arrays[n] for n in kept], wanted[of], None if extra is None else extra[of])

    def _windows(self, input: Input, items: Sequence[Any]) -> tuple[list[Any], NDArray[np.int64]]:
        """Return the arrays of items or their windows, and the item of each."""
        arrays = input.encode(items)
        size = input.reader.window(each=False)
        spans, owners = cut_windows(arrays, size, input.reader.settings.overlap)
        return [part_of(arrays[n], begin, end) for n, begin, end in spans], owners

    def _extra(self, input: Input, items: Sequence[Any], head: Head) -> Tensor | None:
        """Return the scores of the wide part, a row for each window; None without one."""
        if (bag := input.bag(items)) is None:
            return None
        assert isinstance(head, LabelHead)
        assert head.wide is not None
        found: Tensor = head.wide(bag)
        return found

    def numbers(self, labels: Sequence[tuple[Label, ...]]) -> tuple[Tensor, Tensor]:
        """Return labels as numbers, see `elman.encode.labels.label_numbers`."""
        return label_numbers(labels, self.classes, several=self.several)

    # Use.

    def scores(self, network: SequenceModel, input: Input, items: Sequence[Any]) -> Tensor:
        """Return scores (N, K) before the softmax, float32, averaged over windows."""
        arrays, owners = self._windows(input, items)
        result = torch.empty(len(arrays), len(self.classes), dtype=torch.float32)
        if not arrays:
            return result
        head = network.head
        assert isinstance(head, LabelHead)
        extra = self._extra(input, items, head)
        for rows, states in states_of(network, arrays, self.settings.batch_size, extra):
            with torch.inference_mode():
                result[rows] = head(states)
        of = torch.from_numpy(owners)
        count = torch.bincount(of)
        if len(count) == len(result):
            return result
        total = result.new_zeros(len(count), result.shape[1]).index_add_(0, of, result)
        return total / count[:, None]

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return calibrated probabilities (N, K)."""
        return probabilities(scores, self.temperature, several=self.several)

    def attention(self, network: SequenceModel, input: Input, item: Any) -> list[tuple[str, float]]:
        """Return the elements of an item with their attention weights, which sum to 1."""
        names, array = input.elements(item), input.encode([item])[0]
        if not names:
            raise ArgumentError(f"explain needs texts, this model reads {input.reader.noun}")
        assert isinstance(network.head, LabelHead)
        with torch.inference_mode():
            states, _ = network.run(pad_arrays([array]))
            weights = network.head.attention(states)[0].tolist()
        return list(zip(names, weights, strict=True))

    # Scores.

    def evaluate(self, network: SequenceModel, input: Input, examples: Examples) -> dict[str, Any]:
        """Return the scores of labelled examples."""
        targets, unseen = self.numbers(examples.targets)
        return self._scores(self.scores(network, input, examples.items), targets, unseen)

    def _scores(self, scores: Tensor, targets: Tensor, unseen: Tensor) -> dict[str, float]:
        found = self._score(self.probabilities(scores), targets, unseen)
        if not self.several and not bool((targets >= 0).any()):
            return found
        return {"loss": nll(scores, targets, self.temperature, several=self.several), **found}

    def _score(self, p: Tensor, targets: Tensor, unseen: Tensor) -> dict[str, float]:
        positive = 1 if self.positive is None else self.positive
        return score_classes(p, targets, unseen, several=self.several, positive=positive)

    def measure(
        self, network: SequenceModel, input: Input, parts: Mapping[str, Examples]
    ) -> dict[str, Any]:
        """Fit the temperature; return scores of the model and of simpler ones, and mistakes."""
        others = {name: parts[name] for name in HELD_OUT if name in parts}
        numbers = {name: self.numbers(part.targets) for name, part in parts.items()}
        train, held = numbers["train"][0], numbers["validation"][0]
        scores = {name: self.scores(network, input, part.items) for name, part in others.items()}
        fitted = fit_temperature(scores["validation"], held, several=self.several)
        fitted **= share_of(len(held))  # with few examples it shrinks towards 1
        self.temperature = round(fitted, 4)
        note = calibration_note(self.temperature, tested="test" in parts)
        ours = {name: self._scores(scores[name], *numbers[name]) for name in others}
        count = len(self.classes)
        frequent = {name: majority(train, len(part), count) for name, part in others.items()}
        known = input.label_baselines(parts["train"], train, others, count)
        found = [*known, ("most frequent label", frequent)]
        baseline, *more = (
            {"name": title} | {name: self._score(p[name], *numbers[name]) for name in others}
            for title, p in found
        )
        metrics: dict[str, Any] = {"model": ours, "baseline": baseline, "notes": [note]}
        if more:
            metrics["others"] = more
        if not self.several:
            metrics["judged_by"] = judged_by(train, count)
        if self.positive is not None:
            metrics["positive"] = str(self.classes[self.positive])
        last = list(others)[-1]
        return metrics | self._details(network, input, others[last], scores[last], last)

    def _details(
        self, network: SequenceModel, input: Input, examples: Examples, scores: Tensor, part: str
    ) -> dict[str, Any]:
        """Return tables and samples for the report."""
        classes = [str(label) for label in self.classes]
        p, targets = self.probabilities(scores), self.numbers(examples.targets)[0]
        tables: list[dict[str, Any]] = []
        if not self.several:
            guess, positive = p.argmax(1), 1 if self.positive is None else self.positive
            tables.append(confusion_table(guess, targets, classes, part))
            tables.append(calibration_table(p, targets, classes, part, positive=positive))
        samples = []
        for n, confidence in mistakes(p, targets, MISTAKES):
            item = examples.items[n]
            true = ", ".join(map(str, examples.targets[n])) or "none"
            place = Path(examples.places[n]).name  # without folders, as a report may be shared
            title = f"{place}: {true}, predicted {', '.join(map(str, self.chosen(p[n]))) or 'none'}"
            if self.settings.pooling == "attention" and (names := input.elements(item)):
                weights = sorted(self.attention(network, input, item), key=lambda one: -one[1])
                names = [name for name, _ in weights[:5]]
                title += f"; largest weights: {', '.join(names)}"
            title += f" ({confidence:.0%})"
            samples.append({"title": title, "text": input.show(item)})
        return {"samples": samples, "tables": tables}

    def chosen(self, p: Tensor) -> list[Label]:
        """Return the labels that are predicted, given probabilities (K)."""
        if not self.several:
            return [self.classes[int(p.argmax())]]
        return [label for label, q in zip(self.classes, p.tolist(), strict=True) if q > 0.5]
