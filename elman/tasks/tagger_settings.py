"""The settings of a tagger.  No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.tasks.recording_settings import RecordingSettings, check_grud
from elman.tasks.settings import NetworkSettings, check_counts, check_fraction


@dataclass(kw_only=True)
class TaggerSettings(RecordingSettings, NetworkSettings):
    """What a tagger is made of, what it reads, and how it is trained."""

    cell: Literal["rnn", "lstm", "gru", "grud"] = "lstm"  # type: ignore[assignment]
    """Recurrence: Elman's RNN, LSTM, GRU, or of recordings GRU-D, which decays with time."""
    hidden_size: tuple[int, ...] | int = 128
    """Units of a layer and direction, or one number for each layer."""
    embedding_size: int | None = None
    """Features of a word's vector, None for 100; of a layer on a step's channels, None for none."""
    dropout: float = 0.5
    """Probability of dropping a feature between layers, and before the output layer."""
    input_dropout: float | None = None  # type: ignore[assignment]
    """Probability of dropping a feature of a step, the same at all; None for 0.3 of a word's."""
    monitor: Literal["loss", "accuracy", "last"] = "accuracy"
    """Score of the validation that chooses the weights to keep, ties by loss; or just the last."""
    bptt: int | None = None
    """Not for sentences: the gradient goes through the whole, of recordings through a window."""
    bidirectional: bool = True
    """Read from the end as well; without, words or steps can be tagged live as they come."""
    chain: bool = False
    """Neighbouring tags depend on each other (a linear-chain CRF)."""
    character_size: int = 32
    """Features of a character and units that read a word's characters; 0 for words only."""
    words: str | None = None
    """Column of the words: a name in a table or CoNLL-U, or a number from 0."""
    tags: str | None = None
    """Column of the tags; None for upos of CoNLL-U, else the last; of recordings for label."""
    background: str = "none"
    """Tag of the steps of a recording that are no event."""
    lowercase: bool = True
    """Words are the same in upper and lower case; their characters are not."""
    min_count: int = 2
    """Words that occur less often in the training data become unknown ones."""
    vocabulary_size: int | None = None
    """Words at most; None for all."""
    encoding: str = "utf-8"
    """Character encoding of the files."""
    validation_fraction: float = 0.1
    """Share of sentences or recordings, or of their ends, held out without validation data."""

    def check(self) -> None:
        """Refuse settings that cannot work with an ArgumentError."""
        self.check_network()
        check_fraction(self, "validation_fraction")
        self.check_recordings(self.tags or "label", decays=self.cell == "grud")
        if self.cell == "grud":
            check_grud(self, bidirectional=self.bidirectional)
        check_counts(self, "min_count", "vocabulary_size")
        if self.character_size < 0:
            raise ArgumentError(f"character_size must be at least 0, got {self.character_size}")
        if self.bptt is not None:
            raise ArgumentError("bptt is for long texts; sentences are learned whole")
