"""The interface of encoders, which turn elements into vectors."""

from __future__ import annotations

from typing import Protocol

import torch

from elman.padded import Padded


class Encoder(Protocol):
    """A module that turns elements into vectors."""

    def __call__(self, x: Padded, /, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T, D) for elements (B, T, ...)."""
