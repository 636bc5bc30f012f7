"""The settings of a language model.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.settings import TextSettings, check_fraction


@dataclass(kw_only=True)
class LanguageSettings(TextSettings):
    """Settings of a language model: its data, network and training."""

    tied: bool = False
    """Use the token vectors also as the weights of the output layer (weight tying)."""
    output_dropout: float | None = None
    """Dropout probability before the output layer; None for the value of dropout."""
    activation_penalty: float = 0.0
    """Weight of the mean squared output in the loss (activation regularisation, AR)."""
    temporal_penalty: float = 0.0
    """Weight of the mean squared change of the output in the loss (temporal AR, TAR)."""
    document: Literal["file", "line", "paragraph"] = "file"
    """Unit of plain text; the state is reset where a unit begins."""
    column: str | None = None
    """Column of the text in CSV, JSONL and Parquet files; each row is a document."""
    validation_fraction: float = 0.05
    """Share of the text that is held out if no validation text is given."""

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        self.check_text()
        check_fraction(self, "validation_fraction")
        if self.output_dropout is not None and not 0 <= self.output_dropout < 1:
            raise ArgumentError(f"output_dropout must be in [0, 1), got {self.output_dropout}")
        for name in ("activation_penalty", "temporal_penalty"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(f"{name} must be 0 or more, got {getattr(self, name)}")
        last = self.sizes[-1]
        if self.tied and self.embedding_size not in (None, last):
            raise ArgumentError(
                f"tied needs embedding_size equal to the last hidden size {last}, "
                f"got {self.embedding_size}"
            )
