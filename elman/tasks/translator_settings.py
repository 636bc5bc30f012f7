"""The settings of a translator: sequence to sequence of text.  No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.tasks.settings import TextSettings, check_counts, check_fraction


@dataclass(kw_only=True)
class TranslatorSettings(TextSettings):
    """What a translator is made of, what it reads, and how it is trained."""

    kind: Literal["translation", "summary", "dialogue"] = "translation"
    """What is learned: decides scores and baseline; a dialogue is read as turns."""

    cell: Literal["rnn", "lstm", "gru", "transformer"] = "lstm"  # type: ignore[assignment]
    """Recurrence of encoder and decoder, or transformer (torch's own layers) to compare with."""
    hidden_size: tuple[int, ...] | int = 256
    """Units of a layer of encoder (each direction) and decoder; of a transformer, features."""
    tokens: Literal["word", "character", "byte", "bpe"] | None = "bpe"
    """What a token is; None for words, or characters if spaces make no words."""
    bptt: int | None = None
    """Not for sentences: the gradient goes through the whole."""
    bidirectional: bool = True
    """The encoder reads from the end as well."""
    attention: Literal["additive", "dot", "multiplicative", "multi-head"] | None = "multiplicative"
    """How the decoder looks at the source; None for a decoder that knows only its end."""
    heads: int = 4
    """Of multi-head attention, and of a transformer."""
    input_feeding: bool = False
    """The decoder reads what it said before the output layer; slower."""
    shared: bool = False
    """One vocabulary and one set of vectors for source and target."""
    tied: bool = False
    """Share the target's vectors with the output layer."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all tokens."""
    copying: bool = False
    """Tokens of the source may be copied; needs shared."""
    coverage: float = 0.0
    """What it costs to look at a place of the source again; attention then knows where; slower."""
    scheduled_sampling: float = 0.0
    """Share of a target that is read as the model would say it, at the end; it grows from 0."""
    consensus: int | None = None
    """Samples of which the one most like all is said, good for summaries; None to search a beam."""
    start_from: str | None = None
    """Folder of a language model: its vocabulary, vectors, recurrence and output are a start."""
    source: str = "source"
    """Column of a table with the source."""
    target: str = "target"
    """Column of a table with the target."""
    conversation: str = "conversation"
    """Kind dialogue: column of a table with a conversation, a list of turns or a text of them."""
    separator: str = "__eou__"
    """Kind dialogue: what stands between the turns in a text."""
    history: int = 3
    """Kind dialogue: turns before an answer that are read."""
    max_tokens: int = 200
    """Tokens that are read of a source (of a dialogue the last ones) or a target."""
    validation_fraction: float = 0.05
    """Share of the pairs held out when no validation data are given."""

    def check(self) -> None:
        """Refuse settings that cannot work with an ArgumentError."""
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
            raise ArgumentError("start_from: with input_feeding the decoder is no language model")
        if self.cell == "transformer":
            self._check_transformer()
        if self.bptt is not None:
            raise ArgumentError("bptt is for long texts; pairs are learned whole")
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
                "cell=transformer attends and reads in its own way: leave attention and "
                "bidirectional as they are"
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
