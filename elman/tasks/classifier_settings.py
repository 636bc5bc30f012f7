"""The settings of a classifier.  No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.tasks.recording_settings import RecordingSettings, check_grud
from elman.tasks.settings import TextSettings, check_counts, check_fraction


@dataclass(kw_only=True)
class ClassifierSettings(RecordingSettings, TextSettings):
    """What a classifier is made of, what it reads, and how it is trained."""

    cell: Literal["rnn", "lstm", "gru", "grud"] = "lstm"  # type: ignore[assignment]
    """Recurrence: Elman's RNN, LSTM, GRU, or of recordings GRU-D, which decays with time."""
    hidden_size: tuple[int, ...] | int = 128
    """Units of a layer and direction, or one number for each layer."""
    dropout: float = 0.5
    """Probability of dropping a feature between layers, and before the output layer."""
    input_dropout: float | None = None  # type: ignore[assignment]
    """Probability of dropping a feature of a step, the same at all; None for 0.3 of a token's."""
    lowercase: bool = True
    """Fold upper and lower case."""
    epochs: int | None = None  # type: ignore[assignment]
    """Passes over the training data; None for 3 to 10 by the number of texts, 10 of recordings."""
    schedule: Literal["constant", "cosine", "halve", "plateau"] = "cosine"
    """Learning rate over time: constant, cosine to zero, halved every epoch, or at plateaus."""
    wide: bool = True
    """Begin with a linear model beside the recurrence: of n-grams of a text, or of statistics of a
    recording that is read whole and in both directions."""
    learning_rate: float = 0.001
    """Step size, at its highest."""
    monitor: Literal["loss", "accuracy", "last"] | None = None  # type: ignore[assignment]
    """Score of the validation that chooses the weights to keep, ties by loss; or just the last.
    None for the loss, or the last if fewer than 100 examples are held out: those cannot choose."""
    bptt: int | None = None
    """Steps from the end that the gradient goes back; None for the whole text or recording."""
    bidirectional: bool = True
    """Read from the end as well."""
    pooling: Literal["last", "mean", "max", "concat", "attention"] = "max"
    """How the states become one vector; concat is last, mean and max together."""
    skip: bool = False
    """Pool what is read at each step beside the states."""
    text: str = "text"
    """Column of a table with the text."""
    label: str = "label"
    """Column of a table with the label."""
    several: bool = False
    """A text or recording may have any number of labels."""
    separator: str = ","
    """What stands between its labels in a file."""
    class_weights: Literal["balanced"] | None = None
    """balanced: rare classes count as much as frequent ones."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    vectors: str | None = None
    """File of word vectors to start from: a word and its numbers a line, .gz too."""
    start_from: str | None = None
    """Folder of a language model: its vocabulary, vectors and recurrence (forward) are a start."""
    max_tokens: int | None = 1000
    """Tokens that are read of a text; of a longer one its two ends. None for all."""
    validation_fraction: float = 0.1
    """Share of each class held out when no validation data are given."""

    def check(self) -> None:
        """Refuse settings that cannot work with an ArgumentError."""
        self.check_text()
        self.check_recordings(self.label, decays=self.cell == "grud")
        if self.cell == "grud":
            check_grud(self, bidirectional=self.bidirectional)
        check_fraction(self, "validation_fraction")
        check_counts(self, "max_tokens")
        if not 0 <= self.label_smoothing < 1:
            raise ArgumentError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.skip and self.bidirectional and self.pooling in ("last", "concat"):
            raise ArgumentError(
                f"skip needs bidirectional=False with pooling={self.pooling}: what is read at a "
                "step has no other direction"
            )
        if self.bptt is not None and self.skip:
            raise ArgumentError("bptt and skip do not go together")
        if self.bptt is not None and self.bidirectional:
            raise ArgumentError(
                "bptt needs bidirectional=False: a text read from its end has no last steps; "
                "without bptt, max_tokens bounds the memory"
            )
        if self.start_from is not None and self.vectors is not None:
            raise ArgumentError("start_from and vectors cannot both give the tokens' vectors")
        if self.several and not self.separator:
            raise ArgumentError("separator must not be empty")
