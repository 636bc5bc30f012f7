"""Settings that tasks share: the network, and what is read of texts.  No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from elman.arguments import check_whole
from elman.errors import ArgumentError
from elman.read.dialect import Dialect
from elman.train.settings import TrainingSettings

PROBABILITIES = (
    "dropout", "input_dropout", "embedding_dropout", "weight_dropout", "recurrent_dropout",
    "zoneout",
)  # fmt: skip


@dataclass(kw_only=True)
class TableSettings:
    """How the values of tables are written; of texts and arrays it does not matter."""

    decimal: Literal[".", ","] | None = None
    """Decimal mark of the numbers; None to detect it where no comma separates the fields."""
    missing: tuple[str, ...] = ()
    """Codes for missing values, such as -1; or age=-1 for those of one column."""
    categorical: tuple[str, ...] = ()
    """Columns whose values are words, even if they look like numbers."""
    numeric: tuple[str, ...] = ()
    """Columns whose values are numbers, even if they look like codes, such as 007 or 1E5."""

    def check_columns(self, numbers: Sequence[str], others: Sequence[str | None]) -> None:
        """Refuse names of columns that are not read, and words where only numbers can be.

        Args:
            numbers: columns that are read as numbers.
            others: more columns that are read.
        """
        read = [*numbers, *filter(None, others)]
        missing = [name for name, equals, _ in (e.partition("=") for e in self.missing) if equals]
        named = {"categorical": self.categorical, "numeric": self.numeric, "missing": missing}
        for setting, columns in named.items():
            for column in columns:
                if column and column not in read:
                    raise ArgumentError(
                        f"{setting} names the column {column!r}, which is not read; expected one "
                        f"of {', '.join(read)}"
                    )
        if words := sorted(set(numbers) & set(self.categorical)):
            raise ArgumentError(f"categorical names {words[0]!r}, which has to be numbers")


@dataclass(kw_only=True)
class NetworkSettings(TrainingSettings):
    """A recurrence on vectors of tokens, and how it is trained."""

    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    """Recurrence: Elman's RNN, LSTM or GRU."""
    hidden_size: tuple[int, ...] | int = 256
    """Units of a layer, or one number for each layer."""
    num_layers: int = 1
    """Layers on top of each other."""
    embedding_size: int | None = None
    """Features of a token's vector; None for hidden_size."""
    dropout: float = 0.2
    """Probability of dropping a feature between layers, and before the output layer."""
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
    delimiter: str | None = None
    """Character between the fields of CSV and TSV files; None to detect it."""

    def check_network(self) -> None:
        """Refuse values that cannot work with an ArgumentError."""
        self.check_training()
        dialect_of(self).check()
        if self.peephole and self.cell != "lstm":
            raise ArgumentError(f"peephole needs cell=lstm, got cell={self.cell}")
        sizes = self.sizes
        if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ArgumentError(f"hidden_size must be at least 1, got {self.hidden_size}")
        check_counts(self, "num_layers", "embedding_size")
        for name in PROBABILITIES:
            value = getattr(self, name)
            if value is None and name == "input_dropout":
                continue
            if not (isinstance(value, int | float) and 0 <= value < 1):
                raise ArgumentError(f"{name} must be in [0, 1), got {value!r}")
        if self.seed >= 2**53:  # the loop makes 64 bits of a thousand times this
            raise ArgumentError(f"seed must be below 2**53, got {self.seed}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of every layer that hidden_size names."""
        sizes = self.hidden_size
        return tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)


@dataclass(kw_only=True)
class TextSettings(NetworkSettings):
    """The same for texts."""

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
    encoding: str = "utf-8"
    """Character encoding of the files."""

    def check_text(self) -> None:
        """Refuse values that cannot work with an ArgumentError."""
        self.check_network()
        check_counts(self, "min_count", "vocabulary_size")


def dialect_of(settings: NetworkSettings) -> Dialect:
    """How the values of tables are written, by the settings."""
    if not isinstance(settings, TableSettings):
        return Dialect(settings.delimiter)
    return Dialect(
        settings.delimiter, settings.decimal, settings.missing, settings.categorical,
        settings.numeric,
    )  # fmt: skip


def check_counts(settings: object, *names: str) -> None:
    """Refuse what is no whole number of at least 1 with an ArgumentError; None is fine."""
    for name in names:
        if (number := getattr(settings, name)) is not None:
            check_whole(number, name, least=1)


def check_fraction(settings: object, name: str) -> None:
    """Refuse a share that is not between 0 and 1 with an ArgumentError."""
    if not 0 < getattr(settings, name) < 1:
        raise ArgumentError(f"{name} must be in (0, 1), got {getattr(settings, name)}")
