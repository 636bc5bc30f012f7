"""Dropout in the forms that recurrent networks need.

    element    y = x * m,      m ~ Bernoulli(1 - p) / (1 - p), drawn for every element
    locked     one m (B, 1, D) for a whole sequence: "variational" dropout
    weights    a mask over a matrix, drawn once per call: DropConnect

Sources: Hinton et al. 2012 (arXiv:1207.0580); Gal and Ghahramani 2016 (arXiv:1512.05287);
Wan et al. 2013 and Merity et al. 2017 (arXiv:1708.02182) for weights.

Random numbers come from the given generator, or from torch's default one, as in torch.nn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from elman.errors import ArgumentError

STEPS = 2**16  # resolution of a probability


def check_probability(name: str, value: float) -> float:
    """Return the value if it is in [0, 1), else raise an ArgumentError."""
    if not 0 <= value < 1:
        raise ArgumentError(f"{name} must be a probability in [0, 1), got {value}")
    return float(value)


def choose(
    shape: Sequence[int],
    p: float,
    *,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return a boolean tensor, true with probability p, rounded to a positive multiple of 1/STEPS.

    All elements are independent.
    """
    # The 64 bits of one random number serve four elements: the generator runs on one core, and
    # separate numbers take three times as long.
    count = math.prod(shape)
    words = torch.empty(-(-count // 4), dtype=torch.int64, device=device)
    numbers = words.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]
    return numbers.view(tuple(shape)) <= _steps(p) - 1 - STEPS // 2


def _steps(p: float) -> int:
    return min(max(round(p * STEPS), 1), STEPS)


def keep_mask(
    like: Tensor, shape: Sequence[int], p: float, *, generator: torch.Generator | None = None
) -> Tensor:
    """Return a mask of 0 (with probability p) and 1 / (1 - p), with dtype and device of `like`.

    p is rounded as in `choose`, in the divisor too.
    """
    kept = choose(shape, 1 - p, device=like.device, generator=generator)
    return kept.to(like.dtype).mul_(STEPS / _steps(1 - p))


def dropout(x: Tensor, p: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Apply dropout to single elements, with torch's generator if none is given."""
    if p == 0:
        return x
    if generator is None:
        return F.dropout(x, p)
    return x * keep_mask(x, x.shape, p, generator=generator)


def locked_dropout(
    x: Tensor, p: float, *, time_dim: int, generator: torch.Generator | None = None
) -> Tensor:
    """Drop the same features at all steps of a sequence.

    Example:
        >>> import torch
        >>> from elman.dropout import locked_dropout
        >>> y = locked_dropout(torch.ones(2, 5, 8), 0.5, time_dim=1)
        >>> bool((y == y[:, :1]).all())
        True
    """
    if p == 0:
        return x
    shape = list(x.shape)
    shape[time_dim] = 1
    return x * keep_mask(x, shape, p, generator=generator)
