"""Settings of a model that predicts tags.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from elman.errors import ArgumentError
from elman.inputs.settings import InputSettings


@dataclass(kw_only=True)
class TagSettings(InputSettings):
    """Settings of the network, the data and the training of a tagger."""

    each_step: ClassVar[bool] = True

    monitor: Literal["loss", "accuracy", "last"] = "accuracy"
    """Validation score that selects the weights to keep, ties by loss; last keeps the last ones."""
    wide: bool = True
    """Groups: start training from a linear model that reads each row alone."""
    bptt: int | None = None
    """Must be None: the gradient of a tagger flows through whole sentences or windows."""
    chain: bool = False
    """Model the dependence between neighbouring tags with a linear-chain CRF."""
    tags: str | None = None
    """Column of the tags; None for tags in a table, upos in CoNLL-U, label for recordings, and
    otherwise the last column."""
    background: str = "none"
    """Tag of the steps of a recording that belong to no event."""
    validation_fraction: float = 0.1
    """Share of the sentences or recordings that is held out if no validation data are given; with
    too few recordings, this share of the end of each."""

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        self.check_input(self.tags or "label")
        if self.bptt is not None:
            raise ArgumentError("bptt is for long texts; taggers learn whole sentences or windows")
