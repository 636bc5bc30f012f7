"""The interface of encoders, which turn elements into vectors, and of random changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.padded import Padded

# Returns a random variation of an array, and for each of its steps the index of the original step.
Change = Callable[[Any, np.random.Generator], tuple[NDArray[Any], NDArray[np.int64]]]


class Encoder(Protocol):
    """A module that turns elements into vectors."""

    def __call__(self, x: Padded, /, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors (B, T, D) for elements (B, T, ...)."""


def unread(*modules: nn.Module) -> Tensor:
    """Return 0 as a function of the weights of modules that a batch does not need.

    Their gradients are then 0 instead of None.  Processes that train one model add the gradients of
    their batches, and need a gradient of each weight.

    Example:
        >>> import torch
        >>> from elman.encode.encoder import unread
        >>> layer = torch.nn.Linear(2, 1)
        >>> (torch.ones(3) + unread(layer)).sum().backward()
        >>> layer.weight.grad
        tensor([[0., 0.]])
    """
    weights = [one for module in modules for one in module.parameters() if one.requires_grad]
    return torch.zeros(()) if not weights else 0 * torch.stack([one.sum() for one in weights]).sum()
