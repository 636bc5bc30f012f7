"""Numbers and categories: inputs of a single step, such as an age or a colour.

A number x is encoded piecewise linearly (arXiv:2203.05556): its step has, for each bin j of the
training data with the edges b_j < b_(j+1),

    clip((x - b_j) / (b_(j+1) - b_j), 0, 1)

and its standard score, so that a layer can weigh parts of the range, and an outlier changes little.
A category is an element of the set of the training values.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.bags import SHARE, Bag
from elman.encode.embed import Embed
from elman.encode.encoder import Encoder
from elman.encode.series import SeriesEmbed
from elman.errors import ArgumentError, DataError
from elman.inputs.input import Array, Input, Probabilities, Reader
from elman.inputs.live import LiveInput
from elman.inputs.settings import InputSettings
from elman.manifest import SERIES, WORDS, content_of, read_json, write_json
from elman.read.dialect import named_like, number_in
from elman.read.examples import Examples
from elman.report.window_statistics import by_forest, by_regression

BINS = 16  # maximum number of bins of a number
FAR = 10.0  # largest standard score
LARGEST = 1e30  # of numbers, so that their squares are finite
FREQUENT, MOST = 50, 20_000  # categories and rows that simpler models read
SIZE = 16  # features of a category


class ValueReader(Reader):
    """The reader of single values, one in each row."""

    static, has_elements, folders = True, False, False
    unit = "values"

    def length(self, item: Any) -> int:
        """Return 1: an item has one step."""
        return 1


class NumberReader(ValueReader):
    """The reader of numbers."""

    kind, noun, row_is = "number", "numbers", "a number"

    def item(self, cell: Any, place: str) -> float:
        """Return a finite number."""
        number = number_in(cell, self.settings.decimal)
        if not abs(number) <= LARGEST:
            wanted = "a number" if np.isnan(number) else f"a number of at most {LARGEST:g}"
            shown = f"{str(cell)[:40]!r}"
            raise DataError(f"{place}: column {self.column!r}: expected {wanted}, got {shown}")
        return float(number)

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Number:
        """Return the bins of the training numbers, and their mean and deviation."""
        numbers = np.array(train.items, dtype=np.float64)
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)))
        mean, deviation = float(numbers.mean()), float(numbers.std())
        if len(edges) < 2 or not deviation > 0:
            raise DataError(
                f"column {self.column!r}: is {numbers[0]:g} in all training rows, so a model "
                "cannot learn from it; set inputs without it"
            )
        return Number(self, edges.tolist(), mean, deviation, wide=classes > 0)

    def load(self, folder: Path) -> Number:
        """Return the numbers of a model folder."""
        values = read_json(folder / SERIES)
        with content_of(folder / SERIES):
            edges, mean, deviation = values["edges"], values["mean"], values["deviation"]
            edges = [float(one) for one in edges]
            wide = bool(values["wide"])
            found = Number(self, edges, float(mean), float(deviation), wide=wide)
            if len(edges) < 2 or not (np.diff(found.edges) > 0).all() or not found.deviation > 0:
                raise ValueError("edges must increase, and the deviation must be positive")
        return found


class Value(Input):
    """Single values after training."""

    def steps(self, item: Any) -> NDArray[np.int64]:
        """Return the only step."""
        return np.arange(1)

    def live(self, static: Mapping[str, object]) -> LiveInput:
        """Raise an error: a value has no elements that arrive one by one."""
        raise ArgumentError(
            f"{self.reader.noun} are single values, which cannot be read live; use predict"
        )

    def label_baselines(
        self, train: Examples, targets: Tensor, others: Mapping[str, Examples], classes: int
    ) -> list[Probabilities]:
        """Return the probabilities of simpler models of the values."""
        parts = {name: in_tuples(part) for name, part in others.items()}
        return value_baselines([self], in_tuples(train), targets, parts, classes)

    @abstractmethod
    def table(self, items: Sequence[Any]) -> NDArray[np.float64]:
        """Return a table (N, C) of items, which can be None, for simpler models."""


class Number(Value):
    """Numbers after training.

    Args:
        reader: the reader of the numbers.
        edges: the edges of the bins, increasing.
        mean, deviation: of the training numbers.
        wide: whether the wide part reads the bin.
    """

    reader: NumberReader

    def __init__(
        self,
        reader: NumberReader,
        edges: Sequence[float],
        mean: float,
        deviation: float,
        *,
        wide: bool,
    ) -> None:
        self.reader, self.edges = reader, np.array(edges)
        self.mean, self.deviation = mean, deviation
        self.features = len(edges) - 1 if wide else 0

    def save(self, folder: Path) -> None:
        """Write the bins, the mean and the deviation."""
        values = {"edges": self.edges.tolist(), "mean": self.mean, "deviation": self.deviation}
        write_json(folder / SERIES, {**values, "wide": self.features > 0})

    def encode(self, items: Sequence[float]) -> list[Array]:
        """Return the features (1, bins + 1) of each number."""
        x = np.array(items, dtype=np.float64)[:, None]
        parts = ((x - self.edges[:-1]) / np.diff(self.edges)).clip(0, 1)
        score = ((x - self.mean) / self.deviation).clip(-FAR, FAR)
        return list(np.concatenate([parts, score], 1).astype(np.float32)[:, None])

    def layer(self, settings: InputSettings) -> tuple[Encoder, int]:
        """Return a layer that changes nothing, and the number of features."""
        return SeriesEmbed(len(self.edges), []), len(self.edges)

    def bag(self, items: Sequence[float]) -> Bag | None:
        """Return the bin of each number, for the wide part."""
        bins = np.searchsorted(self.edges[1:-1], np.array(items, dtype=np.float64), side="right")
        return one_feature(bins) if self.features else None

    @property
    def wide(self) -> str:
        """The features of the wide part, for messages."""
        return f"{self.features} ranges of {self.reader.column}"

    def facts(self) -> dict[str, object]:
        """Return the range of the training numbers, for the report."""
        return {"range": f"{self.edges[0]:g}..{self.edges[-1]:g}"}

    def show(self, item: float) -> str:
        """Return a number as text."""
        return f"{item:g}"

    def table(self, items: Sequence[float | None]) -> NDArray[np.float64]:
        """Return a table (N, 1) for simpler models, with NaN for missing numbers."""
        return np.array([[np.nan if one is None else one] for one in items], dtype=np.float64)


class CategoryReader(ValueReader):
    """The reader of categories, which are short texts or codes."""

    kind, noun, row_is = "category", "categories", "a category"

    def item(self, cell: Any, place: str) -> str:
        """Return the text of a category."""
        if not isinstance(cell, str | int | float | np.generic) or not str(cell).strip():
            raise DataError(f"{place}: column {self.column!r}: expected a category, got {cell!r}")
        return named_like(cell)

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> Category:
        """Return the categories of the training data."""
        counts = Counter(train.items)
        if len(counts) < 2:
            raise DataError(
                f"column {self.column!r}: is {train.items[0]!r} in all training rows, so a model "
                "cannot learn from it; set inputs without it"
            )
        if len(counts) > max(10, len(train.items) / 2):
            notes.append(
                f"column {self.column!r} has {len(counts):,} different categories in "
                f"{len(train.items):,} rows, so most of them cannot be learned"
            )
        return Category(self, [name for name, _ in counts.most_common()], wide=classes > 0)

    def load(self, folder: Path) -> Category:
        """Return the categories of a model folder."""
        values = read_json(folder / WORDS)
        with content_of(folder / WORDS):
            names = values["categories"]
            if not (names and all(isinstance(name, str) for name in names)):
                raise ValueError("categories must be texts")
            return Category(self, names, wide=bool(values["wide"]))


class Category(Value):
    """Categories after training; one that is not in the training data is a missing value.

    Args:
        reader: the reader of the categories.
        names: the categories, the most frequent first.
        wide: whether the wide part reads them.
    """

    reader: CategoryReader

    def __init__(self, reader: CategoryReader, names: Sequence[str], *, wide: bool) -> None:
        self.reader, self.names = reader, list(names)
        self.features = len(self.names) if wide else 0
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def save(self, folder: Path) -> None:
        """Write the categories."""
        write_json(folder / WORDS, {"categories": self.names, "wide": self.features > 0})

    def encode(self, items: Sequence[str]) -> list[Array]:
        """Return the number (1,) of each category; an array (0,) if it is unknown."""
        return [
            np.array([self._numbers[one]] if one in self._numbers else [], dtype=np.int64)
            for one in items
        ]

    def layer(self, settings: InputSettings) -> tuple[Encoder, int]:
        """Return the embedding layer with random weights, and its features."""
        return Embed(len(self.names), SIZE), SIZE

    def bag(self, items: Sequence[str]) -> Bag | None:
        """Return each category, for the wide part; an unknown one has no feature."""
        numbers = np.array([self._numbers.get(one, -1) for one in items], dtype=np.int64)
        return one_feature(numbers) if self.features else None

    @property
    def wide(self) -> str:
        """The features of the wide part, for messages."""
        return f"{self.features:,} values of {self.reader.column}"

    def facts(self) -> dict[str, object]:
        """Return the number of categories, for the report."""
        return {"categories": len(self.names)}

    def table(self, items: Sequence[str | None]) -> NDArray[np.float64]:
        """Return a table (N, K) of zeros and ones for simpler models: the frequent categories."""
        found = np.zeros((len(items), min(FREQUENT, len(self.names))))
        for row, name in enumerate(items):
            number = FREQUENT if name is None else self._numbers.get(name, FREQUENT)
            if number < FREQUENT:
                found[row, number] = 1
        return found


def value_baselines(
    inputs: Sequence[Value],
    train: Examples,
    targets: Tensor,
    others: Mapping[str, Examples],
    classes: int,
) -> list[Probabilities]:
    """Return the probabilities of two models of numbers and categories; an item is a tuple."""

    def columns(part: Examples) -> Any:
        tables = [one.table([item[n] for item in part.items]) for n, one in enumerate(inputs)]
        return [], np.concatenate(tables, 1), np.arange(len(part))

    train, targets = train.select(range(min(MOST, len(train)))), targets[:MOST]
    known, parts = columns(train), {name: columns(part) for name, part in others.items()}
    names = "numbers and categories"
    found = [
        fit(known, targets, parts, classes, features=_fixed, title=f"{model} on {names}")
        for fit, model in ((by_forest, "random forest"), (by_regression, "logistic regression"))
    ]
    return [one for one in found if one is not None]


def one_feature(numbers: NDArray[np.int64]) -> Bag:
    """Return a bag with one feature in each row; none where the number is negative."""
    there = numbers >= 0
    kept = torch.from_numpy(numbers[there])
    starts = torch.from_numpy(there.cumsum() - there)
    return Bag(kept, torch.full((len(kept),), SHARE), starts)


def in_tuples(part: Examples) -> Examples:
    """Return examples of a single value, each in a tuple."""
    return replace(part, items=[(item,) for item in part.items])


def _fixed(windows: Any) -> NDArray[np.float64]:
    """Return the table of a part."""
    return np.asarray(windows[1])
