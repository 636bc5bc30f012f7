"""Settings of a model that predicts labels.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.cores import AnyCell, AnyTimedCell
from elman.errors import ArgumentError
from elman.inputs.settings import InputSettings


@dataclass(kw_only=True)
class LabelSettings(InputSettings):
    """Settings of the network, the data and the training of a classifier."""

    epochs: int | None = None  # type: ignore[assignment]
    """Passes over the training data; None for 3 to 10 depending on the number of texts, or 10 for
    other inputs."""
    schedule: Literal["constant", "cosine", "halve", "plateau"] = "cosine"
    """Learning rate over time: constant, cosine to zero, halved every epoch, or at plateaus."""
    wide: bool = True
    """Start training from a linear model of n-grams of texts, or of statistics of recordings."""
    cell: AnyCell | AnyTimedCell | None = None  # type: ignore[assignment]
    """Kind of recurrent layer: rnn (Elman), lstm, gru, slstm or lem; mingru, minlstm, lru or rglru,
    which are linear in their state; deltanet, gated-deltanet, gla, mamba2 or mlstm, whose memory is
    a matrix; for recordings also grud, gruwe or cfc, whose states change with time. None for gru if
    images are read pixel by pixel, otherwise lstm."""
    learning_rate: float | None = None  # type: ignore[assignment]
    """Highest learning rate; None for 0.006 if images are read pixel by pixel, otherwise 0.001."""
    monitor: Literal["loss", "accuracy", "last"] | None = None  # type: ignore[assignment]
    """Validation score that selects the weights to keep, ties by loss; last keeps the last ones.
    None for loss, or last if fewer than 100 examples are held out."""
    pooling: Literal["last", "mean", "max", "concat", "attention"] = "max"
    """How the states of all steps become one vector; concat is last, mean and max together."""
    label: str = "label"
    """Column with the label."""
    several: bool = False
    """Each item can have any number of labels instead of one."""
    separator: str = ","
    """Text between the labels of a row in a file, with `several`."""
    class_weights: Literal["balanced"] | None = None
    """Weights of the classes in the loss; balanced gives all classes the same total weight."""
    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over all classes."""
    start_from: str | None = None
    """Folder of a language model that provides the vocabulary, and the initial token vectors and
    (forward) recurrence."""
    validation_fraction: float = 0.1
    """Share of each class that is held out if no validation data are given."""
    keywords: tuple[str, ...] = ()
    """Audio: labels that are spotted in running sound, such as wake words."""
    false_alarms_per_hour: float | None = None
    """Audio: largest number of false alarms in an hour of validation data at the threshold that is
    chosen for the keywords; None for 1."""

    @property
    def _cell(self) -> str:
        """The kind of recurrent layer, which replaces None."""
        return self.cell or ("gru" if self._by_pixels else "lstm")

    @property
    def _rate(self) -> float:
        """The highest learning rate, which replaces None."""
        return self.learning_rate or (0.006 if self._by_pixels else 0.001)

    @property
    def _by_pixels(self) -> bool:
        """Whether the only input is images that are read pixel by pixel."""
        names = [one.column for one in self.declared] or [None]
        return len(names) == 1 and self.of_input(names[0]).scan == "pixels"

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        self.check_input(self.label)
        if not 0 <= self.label_smoothing < 1:
            raise ArgumentError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.skip and self.bidirectional and self.pooling in ("last", "concat"):
            raise ArgumentError(
                f"skip needs bidirectional=False with pooling={self.pooling}: inputs have no "
                "backward direction"
            )
        if self.bptt is not None and self.bidirectional:
            raise ArgumentError(
                "bptt needs bidirectional=False: a text that is also read backwards has no last "
                "steps; to bound the memory set max_tokens instead"
            )
        if self.start_from is not None and self.vectors is not None:
            raise ArgumentError(
                "start_from and vectors cannot be combined: both set the vectors of tokens"
            )
        if self.several and not self.separator:
            raise ArgumentError("separator must not be empty")
        if len(set(self.keywords)) < len(self.keywords):
            raise ArgumentError(f"keywords must be different, got {', '.join(self.keywords)}")
        if not 0 <= (self.false_alarms_per_hour or 0) < float("inf"):
            raise ArgumentError(
                f"false_alarms_per_hour must be at least 0, got {self.false_alarms_per_hour}"
            )
