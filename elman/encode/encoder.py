"""The interface of encoders, which turn elements into vectors, and of random changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from elman.padded import Padded

# Returns a random variation of an array, and for each of its steps the index of the original step.
Change = Callable[[Any, np.random.Generator], tuple[NDArray[Any], NDArray[np.int64]]]


class Encoder(Protocol):
    """A module that turns elements into vectors."""

    def __call__(self, x: Padded, /, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T, D) for elements (B, T, ...)."""
