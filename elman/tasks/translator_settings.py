"""The settings of a translator.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.settings import TextSettings, check_counts, check_fraction


@dataclass(kw_only=True)
class TranslatorSettings(TextSettings):
    """Settings of a translator: its data, network and training."""

    kind: Literal["translation", "summary", "dialogue"] = "translation"
    """Task, which decides the scores and the baseline; a dialogue is read as a list of turns."""
    cell: Literal["rnn", "lstm", "gru", "transformer"] = "lstm"  # type: ignore[assignment]
    """Kind of recurrent layer, or transformer (torch's own layers) as a comparison."""
    hidden_size: tuple[int, ...] | int = 256
    """Number of hidden units of each layer of encoder (in each direction) and decoder; several
    numbers for layers of different sizes; for a transformer the number of features."""
    tokens: Literal["word", "character", "byte", "bpe"] | None = "bpe"
    """Kind of token; None for words, or characters if the text has no spaces between words."""
    bptt: int | None = None
    """Not used by translators, must be None: the gradient goes through whole pairs."""
    bidirectional: bool = True
    """Read the source in both directions."""
    attention: Literal["additive", "dot", "multiplicative", "multi-head"] | None = "multiplicative"
    """Kind of attention from the decoder to the source; None for a decoder that sees only the last
    state of the encoder."""
    heads: int = 4
    """Number of heads of multi-head attention and of a transformer."""
    input_feeding: bool = False
    """Let the decoder read its previous output (before the output layer), too; slower."""
    shared: bool = False
    """Use one vocabulary and one set of token vectors for source and target."""
    tied: bool = False
    """Use the target's token vectors as weights of the output layer, too."""
    label_smoothing: float = 0.1
    """Share of the target probability that is spread evenly over all tokens."""
    copying: bool = False
    """Let the decoder copy tokens of the source; needs shared."""
    coverage: float = 0.0
    """Weight of a penalty for attention to the same place of the source again; above 0 the
    attention also reads where it has been, which is slower."""
    scheduled_sampling: float = 0.0
    """Share of the target tokens that the decoder reads from its own predictions at the end of
    training; the share rises from 0."""
    consensus: int | None = None
    """Number of samples of which predict returns the one most similar to the others, good for
    summaries; None for a beam search."""
    start_from: str | None = None
    """Folder of a language model whose vocabulary, token vectors, recurrent layers and output layer
    are the initial ones."""
    source: str = "source"
    """Column of the source in a table."""
    target: str = "target"
    """Column of the target in a table."""
    conversation: str = "conversation"
    """Dialogue: column of the conversation in a table, as a list of turns or as one text."""
    separator: str = "__eou__"
    """Dialogue: separator of the turns in a text."""
    history: int = 3
    """Dialogue: number of previous turns that are read before an answer."""
    max_tokens: int = 200
    """Maximum number of tokens read from a source (in a dialogue the last ones) and a target."""
    validation_fraction: float = 0.05
    """Share of the pairs that is held out if no validation data are given."""

    @property
    def _cells(self) -> tuple[str, ...]:
        """The recurrent cells, and the transformer."""
        return (*super()._cells, "transformer")

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        self.check_text()
        check_fraction(self, "validation_fraction")
        check_counts(self, "max_tokens", "heads", "history", "consensus")
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
            "input_feeding", "copying", "coverage", "start_from", "weight_dropout",
            "recurrent_dropout", "zoneout", "layer_norm",
        )  # fmt: skip
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
