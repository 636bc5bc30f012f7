"""Settings that several tasks share.  This file does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from elman.arguments import check_whole
from elman.cores import CORES, AnyCell, CoreSettings, check_honoured
from elman.errors import ArgumentError
from elman.read.dialect import Dialect
from elman.train.settings import TrainingSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Settings that have an effect only with a value of another one; None for any value that is set.
PAIRS: tuple[tuple[str, str, object], ...] = (
    ("halve_after", "schedule", "halve"),
    ("plateau_patience", "schedule", "plateau"),
    ("average_after", "optimizer", "asgd"),
    ("value", "variable", None),
    ("patch_size", "scan", "patches"),
    ("separator", "several", True),
    ("false_alarms_per_hour", "keywords", None),
    ("ctc_weight", "decoder", "transducer"),
    ("predictor_size", "decoder", "transducer"),
    ("joint_size", "decoder", "transducer"),
    ("separator", "kind", "dialogue"),
    ("conversation", "kind", "dialogue"),
    ("history", "kind", "dialogue"),
)
PROBABILITIES = (
    "dropout",
    "input_dropout",
    "embedding_dropout",
    "weight_dropout",
    "recurrent_dropout",
    "zoneout",
)


@dataclass(kw_only=True)
class TableSettings:
    """The format of the values in tables."""

    decimal: Literal[".", ","] | None = None
    """Decimal mark of numbers; None to detect it in files whose delimiter is not a comma."""
    missing: tuple[str, ...] = ()
    """Codes for missing values, such as -1; age=-1 is a code in the column age only."""
    categorical: tuple[str, ...] = ()
    """Columns to read as categories, even if their values look like numbers."""
    numeric: tuple[str, ...] = ()
    """Columns to read as numbers, even if their values look like codes, such as 007 or 1E5."""

    def check_columns(self, numbers: Sequence[str], others: Sequence[str | None]) -> None:
        """Raise an ArgumentError if a setting names a column that is not read or must be numeric.

        Args:
            numbers: columns that are read as numbers.
            others: other columns that are read.
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
            raise ArgumentError(f"categorical names {words[0]!r}, whose values must be numbers")


@dataclass(kw_only=True)
class NetworkSettings(CoreSettings, TrainingSettings):
    """Settings of a recurrent network and of its training."""

    cell: AnyCell = "lstm"
    """Kind of recurrent layer: rnn (Elman), lstm, gru, slstm or lem; mingru, minlstm, lru or rglru,
    which are linear in their state; deltanet, gated-deltanet, gla, mamba2 or mlstm, whose memory is
    a matrix."""
    hidden_size: tuple[int, ...] | int = 256
    """Number of hidden units of each layer; several numbers for layers of different sizes."""
    num_layers: int = 1
    """Number of recurrent layers."""
    embedding_size: int | None = None
    """Size of the token vectors (embeddings); None for hidden_size."""
    dropout: float = 0.2
    """Dropout probability between the layers and before the output layer."""
    variational: bool = True
    """Drop the same features at all steps of a sequence (variational dropout)."""
    input_dropout: float = 0.0
    """Dropout probability of the features of token vectors, the same features at all steps."""
    embedding_dropout: float = 0.0
    """Probability of dropping a token of the vocabulary everywhere in a chunk."""
    weight_dropout: float = 0.0
    """Dropout probability of the entries of the recurrent weight matrices (DropConnect)."""
    recurrent_dropout: float = 0.0
    """Dropout probability of the hidden state that a layer reads, the same units at all steps."""
    zoneout: float = 0.0
    """Probability that a hidden unit keeps its previous value in a step."""
    layer_norm: bool = False
    """Use layer normalisation inside the cell."""
    peephole: bool = False
    """Let the gates of an LSTM read its cell state (peephole connections)."""
    block: bool = False
    """Put each layer in a block with layer normalisation, a residual connection and a gated
    feed-forward network, as deep models of linear recurrences have them."""
    cell_heads: int | None = None
    """Number of heads of a layer whose memory is a matrix, or of slstm; None for heads of 64
    units."""
    delimiter: str | None = None
    """Delimiter of the fields in CSV and TSV files; None to detect it."""

    def check_network(self) -> None:
        """Raise an ArgumentError for values that cannot work."""
        self.check_training()
        dialect_of(self).check()
        if self._cell not in self._cells:
            raise ArgumentError(f"cell must be one of {', '.join(self._cells)}, got {self.cell!r}")
        sizes = self.sizes
        if not sizes or min(sizes) < 1:
            raise ArgumentError(f"hidden_size must be at least 1, got {self.hidden_size}")
        check_counts(self, "num_layers", "embedding_size", "cell_heads")
        if self.block and len(set(sizes)) > 1:
            raise ArgumentError(f"block needs layers of one size, got hidden_size={sizes}")
        heads = self.cell_heads or 1
        if odd := [size for size in sizes if size % heads]:
            raise ArgumentError(f"hidden_size={odd[0]} must be a multiple of cell_heads={heads}")
        if self._cell in CORES:
            several = sizes if len(sizes) > 1 else None
            check_honoured(self._cell, {**vars(self), "hidden_size": several})
        for name in PROBABILITIES:
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ArgumentError(f"{name} must be in [0, 1), got {value!r}")
        if self.seed >= 2**53:  # 1000 times the seed must fit in 64 bits
            raise ArgumentError(f"seed must be below 2**53, got {self.seed}")

    @property
    def _cell(self) -> str:
        """The kind of recurrent layer."""
        return self.cell

    @property
    def _cells(self) -> tuple[str, ...]:
        """The cells that this task offers."""
        return tuple(name for name, core in CORES.items() if not core.timed)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers in hidden_size: one for each layer, or a single one for all layers."""
        sizes = self.hidden_size
        return tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)


@dataclass(kw_only=True)
class TextSettings(NetworkSettings):
    """Settings of a model that reads text."""

    tokens: Literal["word", "character", "byte", "bpe"] | None = None
    """Kind of token; None for words, or characters if the text has no spaces between words."""
    vocabulary_size: int | None = None
    """Maximum number of tokens in the vocabulary; None for 20,000 words or 8,000 BPE pieces."""
    min_count: int = 2
    """Words and characters that occur fewer times in the training text become <unk>."""
    lowercase: bool = False
    """Convert text to lower case."""
    split_punctuation: bool = True
    """Make punctuation marks separate words; turn it off for text that is already tokenised."""
    encoding: str = "utf-8"
    """Character encoding of the files."""

    def check_text(self) -> None:
        """Raise an ArgumentError for values that cannot work."""
        self.check_network()
        check_counts(self, "min_count", "vocabulary_size")


def dialect_of(settings: NetworkSettings) -> Dialect:
    """Return the format of the values in tables according to the settings."""
    if not isinstance(settings, TableSettings):
        return Dialect(settings.delimiter)
    return Dialect(
        settings.delimiter,
        settings.decimal,
        settings.missing,
        settings.categorical,
        settings.numeric,
    )


def check_pairs(settings: DataclassInstance) -> None:
    """Raise an ArgumentError for a setting that has no effect without a value of another one.

    It is called before a training, and not for a stored model.

    Example:
        >>> from elman.settings import check_pairs
        >>> from elman.train.settings import TrainingSettings
        >>> check_pairs(TrainingSettings(halve_after=2))
        Traceback (most recent call last):
        elman.errors.ArgumentError: halve_after has no effect without schedule=halve; set it, or \
omit halve_after
    """
    usual = {field.name: field.default for field in fields(settings)}
    for name, other, wanted in PAIRS:
        if not {name, other} <= usual.keys() or getattr(settings, name) == usual[name]:
            continue
        value = getattr(settings, other)
        if value != wanted if wanted is not None else not value:
            needed = other if wanted is None else f"{other}={wanted}"
            raise ArgumentError(f"{name} has no effect without {needed}; set it, or omit {name}")


def check_counts(settings: object, *names: str) -> None:
    """Raise an ArgumentError unless the settings are whole numbers of at least 1, or None."""
    for name in names:
        if (number := getattr(settings, name)) is not None:
            check_whole(number, name, least=1)


def check_fraction(settings: object, name: str) -> None:
    """Raise an ArgumentError unless a setting is between 0 and 1."""
    if not 0 < getattr(settings, name) < 1:
        raise ArgumentError(f"{name} must be in (0, 1), got {getattr(settings, name)}")
