"""Settings of a model that predicts texts.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.cores import CORES, AnyCell
from elman.errors import ArgumentError
from elman.inputs.settings import SourceSettings
from elman.settings import check_counts


@dataclass(kw_only=True)
class TranslatorSettings(SourceSettings):
    """Settings of a translator: its data, network and training."""

    cell: AnyCell | Literal["transformer"] = "lstm"  # type: ignore[assignment]
    """Kind of recurrent layer, or transformer (torch's own layers) for comparison."""
    hidden_size: tuple[int, ...] | int = 256
    """Number of hidden units of each layer of the encoder (in each direction) and the decoder;
    several numbers for layers of different sizes. For a transformer, the number of features."""
    embedding_size: int | None = None
    """Size of the token vectors; None for hidden_size. For recordings, the size of a layer that
    reads the channels; None for no such layer."""
    tokens: Literal["word", "character", "byte", "bpe"] | None = "bpe"
    """Kind of token; None for words, or characters if the text has no spaces between words."""
    lowercase: bool = False
    """Convert text to lower case."""
    dropout: float = 0.2
    """Dropout probability between the layers and before the output layer."""
    input_dropout: float = 0.0
    """Dropout probability of the features of token vectors, the same features at all steps."""
    bidirectional: bool = True
    """Read the source in both directions."""
    bptt: int | None = None
    """Must be None: the gradient of a translator flows through whole pairs."""
    attention: Literal["additive", "dot", "multiplicative", "multi-head"] | None = "multiplicative"
    """Kind of attention from the decoder to the source; None for a decoder that sees only the last
    state of the encoder."""
    heads: int = 4
    """Number of heads of multi-head attention and of a transformer."""
    input_feeding: bool = False
    """Let the decoder also read its previous output (before the output layer); slower."""
    tied: bool = False
    """Use the target's token vectors also as the weights of the output layer (weight tying)."""
    label_smoothing: float = 0.1
    """Share of the target probability that is spread evenly over all tokens."""
    copying: bool = False
    """Let the decoder copy tokens of the source; needs shared."""
    coverage: float = 0.0
    """Weight of a penalty for repeated attention to the same place of the source; above 0, the
    attention also reads its previous weights, which is slower."""
    scheduled_sampling: float = 0.0
    """Share of the target tokens that the decoder reads from its own predictions at the end of
    training; the share rises from 0."""
    consensus: int | None = None
    """Number of samples from which predict returns the one most similar to the others, for example
    for summaries; None for a beam search."""
    start_from: str | None = None
    """Folder of a language model that provides the vocabulary, and the initial token vectors,
    recurrent layers and output layer."""
    target: str = "target"
    """Column of the target in a table."""
    validation_fraction: float = 0.05
    """Share of the pairs that is held out if no validation data are given."""

    @property
    def _cells(self) -> tuple[str, ...]:
        """The recurrent cells, and the transformer."""
        return (*(name for name in super()._cells if not CORES[name].timed), "transformer")

    @property
    def vector_size(self) -> int:
        """The number of features of a token vector; with `tied`, that of the output layer."""
        return self.embedding_size or self.sizes[-1 if self.tied else 0]

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        self.check_input(self.target)
        check_counts(self, "heads", "history", "consensus")
        for name in ("label_smoothing", "scheduled_sampling"):
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.coverage < float("inf"):
            raise ArgumentError(f"coverage must be 0 or more, got {self.coverage}")
        if not self.separator.strip():
            raise ArgumentError("separator must be text that is not blank")
        for name in ("input_feeding", "copying", "coverage"):
            if getattr(self, name) and self.attention is None:
                raise ArgumentError(f"{name} needs attention")
        if self.copying and not self.shared:
            raise ArgumentError("copying needs shared: one vocabulary for source and target")
        if self.start_from is not None and not self.shared:
            raise ArgumentError("start_from needs shared: one vocabulary, of the language model")
        if self.start_from is not None and self.input_feeding:
            raise ArgumentError("start_from and input_feeding cannot be combined")
        if self.cell == "transformer":
            self._check_transformer()
        if self.bptt is not None:
            raise ArgumentError("bptt is for long texts; a translator learns whole pairs")
        if self.tied and self.embedding_size not in (None, self.sizes[-1]):
            raise ArgumentError(
                f"tied needs embedding_size equal to the last hidden size {self.sizes[-1]}, "
                f"got {self.embedding_size}"
            )

    def _check_transformer(self) -> None:
        names = (
            "input_feeding",
            "copying",
            "coverage",
            "start_from",
            "weight_dropout",
            "recurrent_dropout",
            "zoneout",
            "layer_norm",
        )
        for name in names:
            if getattr(self, name):
                raise ArgumentError(f"{name} is for recurrences, not for cell=transformer")
        if self.attention != "multiplicative" or not self.bidirectional:
            raise ArgumentError(
                "cell=transformer has its own attention in both directions: do not set attention "
                "or bidirectional"
            )
        if len(self.sizes) > 1 or self.sizes[0] % (2 * self.heads):
            raise ArgumentError(
                f"a transformer needs one hidden_size, a multiple of 2 * heads={2 * self.heads}, "
                f"got {self.hidden_size}"
            )
        if self.embedding_size not in (None, self.sizes[0]):
            raise ArgumentError(
                f"a transformer needs embedding_size equal to hidden_size={self.sizes[0]}, got "
                f"{self.embedding_size}"
            )
