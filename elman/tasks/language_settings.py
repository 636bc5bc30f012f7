"""The settings of a next-word model.  No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.errors import ArgumentError
from elman.tasks.settings import TextSettings, check_fraction


@dataclass(kw_only=True)
class LanguageSettings(TextSettings):
    """What a next-word model is made of, what it reads, and how it is trained."""

    tied: bool = False
    """Share the token vectors with the output layer."""
    output_dropout: float | None = None
    """Another probability before the output layer; None for that of dropout."""
    activation_penalty: float = 0.0
    """Weight of the mean square of the outputs in the loss (AR)."""
    temporal_penalty: float = 0.0
    """Weight of the mean squared change of the outputs in the loss (TAR)."""
    document: Literal["file", "line", "paragraph"] = "file"
    """What stands by itself in plain text: the state starts anew with every document."""
    column: str | None = None
    """Column with the text in CSV, JSONL and Parquet files, a document a row."""
    validation_fraction: float = 0.05
    """Share of the text held out when no validation text is given."""

    def check(self) -> None:
        """Refuse settings that cannot work with an ArgumentError."""
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
