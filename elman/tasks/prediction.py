"""The base of the options of predictions, and what several kinds of predictions share.

This file does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from elman.errors import ArgumentError
from elman.tasks import Classifier
from elman.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from elman.decode.beam import Search

Model = TypeVar("Model", bound=Task)
Table = dict[str, list[Any]]
Answer = tuple[Table, Callable[..., None]]  # columns, and the function that writes them to a path


@dataclass(kw_only=True)
class Prediction(Generic[Model]):
    """The base class of the options of predictions, without any option."""

    reads: ClassVar[str] = "texts"  # or files; or recordings or series, read from a table
    kinds: ClassVar[tuple[str, ...]] = ()  # suffixes of files with a prediction for each row
    columns: ClassVar[tuple[str, ...]] = ("line",)  # of these files

    def lines(self, model: Model, text: str) -> Iterator[str]:
        """Yield the predictions for a text as lines for the terminal."""
        raise NotImplementedError

    def header(self, kind: str, *, spans: bool) -> tuple[str, ...]:
        """Return the names of the columns of a file of this kind.

        Args:
            kind: the suffix of the file.
            spans: whether the items are spans of files.
        """
        return self.columns

    def rows(
        self, model: Model, items: list[Any], kind: str, *, spans: bool
    ) -> Iterable[list[tuple[Any, ...]]]:
        """Return the rows of each item, with the values after `line`."""
        return ([answer] for answer in self.answers(model, items, kind))

    def answers(self, model: Model, items: list[Any], kind: str) -> Iterable[tuple[Any, ...]]:
        """Return the prediction for each item: the values after `line` in a file of this kind."""
        raise NotImplementedError

    def table(self, model: Model, file: Path | None) -> Answer:
        """Return the predictions for a table."""
        raise NotImplementedError


@dataclass(kw_only=True)
class SearchOptions:
    """The settings of a beam search."""

    beam: int | None = None
    """Sequences that are kept at a time; 1 is greedy. None for 5, or k if it is larger."""
    length_penalty: float = 1.0
    """0 for the likeliest sequence; larger values prefer longer ones."""
    coverage_penalty: float = 0.0
    """Above 0: prefer translations that attend to the entire source."""
    no_repeat: int | None = None
    """Length of n-grams that must not occur twice."""

    def search(self, best: int | None = None) -> Search | None:
        """Return the settings for a number of results; None for the default of the model."""
        from elman.decode.beam import Search

        check_best(best or 1, self.beam)
        if self.beam == 1 and (self.length_penalty != 1 or self.coverage_penalty):
            raise ArgumentError(
                "length_penalty and coverage_penalty choose between several sequences, and beam=1 "
                "keeps one; omit them, or set beam to 2 or more"
            )
        given = {one.name: getattr(self, one.name) for one in fields(SearchOptions)}
        if best is None and given == {one.name: one.default for one in fields(SearchOptions)}:
            return None
        best = best or 1
        given["beam"] = max(5, best) if self.beam is None else self.beam
        return Search(**given, n_best=best)


def check_best(best: int, beam: int | None) -> None:
    """Raise an ArgumentError if a beam keeps fewer sequences than are wanted; None is enough."""
    if beam is not None and 1 <= beam < best:
        raise ArgumentError(f"k={best} needs a beam of at least {best}, got beam={beam}")


def check_pair(name: str, value: object, other: str, needed: object) -> None:
    """Raise an ArgumentError for an option that has no effect without another one.

    Example:
        >>> from elman.tasks.prediction import check_pair
        >>> check_pair("boost", 4.0, "phrases", None)
        Traceback (most recent call last):
        elman.errors.ArgumentError: --boost has no effect without --phrases; add it, or omit --boost
    """
    if value is not None and needed is None:
        flag, wanted = (f"--{one.replace('_', '-')}" for one in (name, other))
        raise ArgumentError(f"{flag} has no effect without {wanted}; add it, or omit {flag}")


def label_cell(model: Classifier, p: NDArray[np.float32], *, lists: bool = False) -> Any:
    """Return the label for a row of probabilities (K,), as the cell of a table.

    Several labels become a list, or one text with the separator between them.
    """
    from elman.read.labels import join_labels, shown_label

    if not model.several:
        return shown_label(model.classes[int(p.argmax())])
    chosen = [shown_label(one) for one, q in zip(model.classes, p, strict=True) if q > 0.5]
    return chosen if lists else join_labels(chosen, model.separator)
