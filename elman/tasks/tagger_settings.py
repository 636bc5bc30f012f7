"""The settings of a tagger.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.tasks.recording_settings import RecordingSettings
from elman.tasks.settings import NetworkSettings, check_counts, check_fraction


@dataclass(kw_only=True)
class TaggerSettings(RecordingSettings, NetworkSettings):
    """Settings of a tagger: its data, network and training."""

    cell: Literal["rnn", "lstm", "gru", "grud"] = "lstm"  # type: ignore[assignment]
    """Kind of recurrent layer: rnn, lstm, gru, or for recordings grud, which decays with time."""
    hidden_size: tuple[int, ...] | int = 128
    """Number of hidden units of each layer and direction; several numbers for layers of different
    sizes."""
    embedding_size: int | None = None
    """Size of the word vectors, None for 100; for recordings the size of a layer that reads the
    channels, None for no such layer."""
    dropout: float = 0.5
    """Dropout probability between the layers and before the output layer."""
    input_dropout: float | None = None  # type: ignore[assignment]
    """Dropout probability of the input features, the same features at all steps; None for 0.3 for
    words and 0 for recordings."""
    monitor: Literal["loss", "accuracy", "last"] = "accuracy"
    """Validation score that selects the weights to keep, ties by loss; last keeps the last ones."""
    bptt: int | None = None
    """Not used by taggers, must be None: the gradient goes through whole sentences or windows."""
    bidirectional: bool = True
    """Read in both directions; turn it off to tag words or steps live, as they arrive."""
    chain: bool = False
    """Model the dependence between neighbouring tags with a linear-chain CRF."""
    character_size: int = 32
    """Size of the character vectors, and of the LSTM that reads them; 0 to read words only."""
    words: str | None = None
    """Column of the words: a name in a table or CoNLL-U, else a number from 0; None for the column
    words of a table, form of CoNLL-U, else the first."""
    tags: str | None = None
    """Column of the tags; None for the column tags of a table, upos of CoNLL-U, label of
    recordings, else the last."""
    background: str = "none"
    """Tag of the steps of a recording that belong to no event."""
    lowercase: bool = True
    """Ignore the case of words; their characters are still read with their case."""
    min_count: int = 2
    """Words that occur fewer times in the training data are treated as unknown words."""
    vocabulary_size: int | None = None
    """Maximum number of known words; None for no limit."""
    encoding: str = "utf-8"
    """Character encoding of the files."""
    validation_fraction: float = 0.1
    """Share of the sentences or recordings that is held out if no validation data are given; if the
    recordings are too few, this share of the end of each."""

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        self.check_network()
        check_fraction(self, "validation_fraction")
        self.check_recordings(self.tags or "label", decays=self.cell == "grud")
        check_counts(self, "min_count", "vocabulary_size")
        if self.character_size < 0:
            raise ArgumentError(f"character_size must be at least 0, got {self.character_size}")
        if self.bptt is not None:
            raise ArgumentError("bptt is for long texts; taggers learn whole sentences or windows")
