"""The settings of a next-word model: network and text.  No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.train.settings import TrainingSettings

PROBABILITIES = (
    "dropout", "output_dropout", "input_dropout", "embedding_dropout", "weight_dropout",
    "recurrent_dropout", "zoneout",
)  # fmt: skip


@dataclass(kw_only=True)
class LanguageSettings(TrainingSettings):
    """What a next-word model is made of, what it reads, and how it is trained."""

    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    """Recurrence: Elman's RNN, LSTM or GRU."""
    hidden_size: tuple[int, ...] | int = 256
    """Units of a layer, or one number for each layer."""
    num_layers: int = 1
    """Layers on top of each other."""
    embedding_size: int | None = None
    """Features of a token's vector; None for hidden_size."""
    tied: bool = False
    """Share the token vectors with the output layer."""
    dropout: float = 0.2
    """Probability of dropping a feature between layers, and before the output layer."""
    output_dropout: float | None = None
    """Another probability before the output layer; None for that of dropout."""
    variational: bool = True
    """Dropout keeps the same mask at all steps (locked)."""
    input_dropout: float = 0.0
    """Probability of dropping a feature of a token's vector, the same at all steps."""
    embedding_dropout: float = 0.0
    """Probability of leaving out a token of the vocabulary in a chunk."""
    weight_dropout: float = 0.0
    """Probability of dropping an entry of the recurrent matrices."""
    recurrent_dropout: float = 0.0
    """Probability of dropping a unit on its way back into its layer, the same at all steps."""
    zoneout: float = 0.0
    """Probability that a unit keeps its old value in a step."""
    layer_norm: bool = False
    """Normalise inside the cell."""
    peephole: bool = False
    """Let the gates of an LSTM see its memory."""
    activation_penalty: float = 0.0
    """Weight of the mean square of the outputs in the loss (AR)."""
    temporal_penalty: float = 0.0
    """Weight of the mean squared change of the outputs in the loss (TAR)."""

    tokens: Literal["word", "character", "byte", "bpe"] | None = None
    """What a token is; None for words, or characters if spaces make no words."""
    vocabulary_size: int | None = None
    """Tokens at most; None for 20,000 words or 8,000 BPE pieces."""
    min_count: int = 2
    """Words and characters that occur less often in the training text become <unk>."""
    lowercase: bool = False
    """Fold upper and lower case."""
    split_punctuation: bool = True
    """Punctuation marks are words of their own; off for text that is already tokenised."""
    document: Literal["file", "line", "paragraph"] = "file"
    """What stands by itself in plain text: the state starts anew with every document."""
    column: str | None = None
    """Column with the text in CSV, JSONL and Parquet files, a document a row."""
    encoding: str = "utf-8"
    """Character encoding of the files."""
    validation_fraction: float = 0.05
    """Share of the text held out when no validation text is given."""

    def check(self) -> None:
        """Refuse settings that cannot work with an ArgumentError."""
        self.check_training()
        if self.cell not in ("rnn", "lstm", "gru"):
            raise ArgumentError(f"cell must be rnn, lstm or gru, got {self.cell!r}")
        if self.tokens not in ("word", "character", "byte", "bpe", None):
            raise ArgumentError(f"tokens must be word, character, byte or bpe, got {self.tokens!r}")
        if self.peephole and self.cell != "lstm":
            raise ArgumentError(f"peephole needs cell=lstm, got cell={self.cell}")
        if not 0 < self.validation_fraction < 1:
            raise ArgumentError(
                f"validation_fraction must be in (0, 1), got {self.validation_fraction}"
            )
        sizes = (self.hidden_size,) if isinstance(self.hidden_size, int) else self.hidden_size
        if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ArgumentError(f"hidden_size must be at least 1, got {self.hidden_size}")
        for name in ("num_layers", "embedding_size", "min_count", "vocabulary_size"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ArgumentError(f"{name} must be at least 1, got {number}")
        for name in PROBABILITIES:
            value = getattr(self, name)
            if not (0 <= value < 1 if value is not None else name == "output_dropout"):
                raise ArgumentError(f"{name} must be in [0, 1), got {value}")
        for name in ("activation_penalty", "temporal_penalty"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.seed >= 2**53:  # the loop makes 64 bits of a thousand times this
            raise ArgumentError(f"seed must be below 2**53, got {self.seed}")
        last = sizes[-1]
        if self.tied and self.embedding_size not in (None, last):
            raise ArgumentError(
                f"tied needs embedding_size equal to the last hidden size {last}, "
                f"got {self.embedding_size}"
            )
