"""The settings of a classifier.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.tasks.recording_settings import RecordingSettings
from elman.tasks.settings import TextSettings, check_counts, check_fraction


@dataclass(kw_only=True)
class ClassifierSettings(RecordingSettings, TextSettings):
    """Settings of the network, the data and the training of a classifier."""

    cell: Literal["rnn", "lstm", "gru", "grud"] = "lstm"  # type: ignore[assignment]
    """Recurrence: Elman's RNN, LSTM, GRU, or for recordings GRU-D, which decays with time."""
    hidden_size: tuple[int, ...] | int = 128
    """Units of each layer and direction, or one number for each layer."""
    dropout: float = 0.5
    """Probability of dropping a feature between layers, and before the output layer."""
    input_dropout: float | None = None  # type: ignore[assignment]
    """Probability of dropping an input feature, the same at all steps; None for 0.3 for texts and 0
    for recordings."""
    lowercase: bool = True
    """Convert text to lower case."""
    epochs: int | None = None  # type: ignore[assignment]
    """Passes over the training data; None for 3 to 10 by the number of texts, 10 for recordings."""
    schedule: Literal["constant", "cosine", "halve", "plateau"] = "cosine"
    """Learning rate over time: constant, cosine to zero, halved every epoch, or at plateaus."""
    wide: bool = True
    """Start training from a linear model of n-grams of texts, or of statistics of recordings."""
    learning_rate: float = 0.001
    """Highest step size."""
    monitor: Literal["loss", "accuracy", "last"] | None = None  # type: ignore[assignment]
    """Validation score that chooses the weights to keep, ties by loss; last keeps the last ones.
    None for loss, or last if fewer than 100 examples are held out."""
    bptt: int | None = None
    """Last steps through which the gradient flows; None for the whole text or recording."""
    bidirectional: bool = True
    """Read backwards as well, from the end to the beginning."""
    pooling: Literal["last", "mean", "max", "concat", "attention"] = "max"
    """How the states of all steps become one vector; concat is last, mean and max together."""
    skip: bool = False
    """Pool the inputs of the recurrence along with its states."""
    text: str = "text"
    """Name of the column with the text."""
    label: str = "label"
    """Name of the column with the label."""
    several: bool = False
    """Each text or recording has any number of labels instead of one."""
    separator: str = ","
    """Text between the labels of a row in a file, with `several`."""
    class_weights: Literal["balanced"] | None = None
    """Weights of the classes in the loss; balanced gives all classes the same total weight."""
    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over all classes."""
    vectors: str | None = None
    """File of word vectors to start from: a word and its numbers on each line; may be .gz."""
    start_from: str | None = None
    """Folder of a language model whose vocabulary, vectors and (forward) recurrence training starts
    from."""
    max_tokens: int | None = 1000
    """Most tokens of a text to read; of a longer text its two ends are read. None for no limit."""
    validation_fraction: float = 0.1
    """Share of each class that is held out if no validation data are given."""

    def check(self) -> None:
        """Refuse settings that cannot work with an ArgumentError."""
        self.check_text()
        self.check_recordings(self.label, decays=self.cell == "grud")
        check_fraction(self, "validation_fraction")
        check_counts(self, "max_tokens")
        if not 0 <= self.label_smoothing < 1:
            raise ArgumentError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.skip and self.bidirectional and self.pooling in ("last", "concat"):
            raise ArgumentError(
                f"skip needs bidirectional=False with pooling={self.pooling}: inputs have no "
                "backward direction"
            )
        if self.bptt is not None and self.skip:
            raise ArgumentError("bptt and skip cannot be combined")
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
