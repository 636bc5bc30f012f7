"""Augment recordings with noise, random scales and random speed.  This file does not import torch.

    jitter    x + e                for each number, e ~ N(0, jitter), in deviations of the channel
    rescale   x * (1 + e)          for each channel, e ~ N(0, rescale), around its mean
    warp      x(tau(t))            tau' = exp(e), e ~ N(0, warp) at some points, linear between

Source: Um et al. 2017 (arXiv:1706.00527).  There, warping keeps the length; here it does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KNOTS = 4  # points of a recording at which its speed is drawn

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Augment:
    """The strength of each augmentation; 0 for none.

    Attributes:
        channels: number of leading columns that are augmented.
        jitter, rescale, warp: standard deviations of e.

    Example:
        >>> import numpy as np
        >>> from elman.encode.augment import Augment
        >>> change = Augment(1, warp=0.3)
        >>> x, places = change(np.arange(10, dtype=np.float32)[:, None], np.random.default_rng(0))
        >>> len(x) == len(places), bool((np.diff(places) >= 0).all())
        (True, True)
    """

    channels: int
    jitter: float = 0.0
    rescale: float = 0.0
    warp: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.jitter or self.rescale or self.warp)

    def __call__(self, x: Floats, draw: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        """Return a variation (T', F) of a recording (T, F), and the original step of each step."""
        places = np.arange(len(x))
        if self.warp and len(x) > 1:
            x, places = self._warped(x, draw)
        else:
            x = x.copy()
        numbers = x[:, : self.channels]
        if self.rescale:
            numbers *= 1 + self.rescale * draw.standard_normal(self.channels, dtype=np.float32)
        if self.jitter:
            numbers += self.jitter * draw.standard_normal(numbers.shape, dtype=np.float32)
        return x, places

    def _warped(self, x: Floats, draw: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        last = len(x) - 1
        pace = np.exp(self.warp * draw.standard_normal(KNOTS))
        speed = np.interp(np.linspace(0, KNOTS - 1, len(x)), np.arange(KNOTS), pace)
        # The times at which the steps are passed; the new steps are interpolated between them.
        passed = np.append(0, np.cumsum(2 / (speed[1:] + speed[:-1])))
        at = np.interp(
            np.linspace(0, passed[-1], max(2, round(passed[-1]) + 1)), passed, range(len(x))
        )
        low = np.minimum(at.astype(np.int64), last - 1)
        share = (at - low).astype(np.float32)[:, None]
        nearest = np.rint(at).astype(np.int64)
        whole = x[nearest]
        c = self.channels
        whole[:, :c] = x[low, :c] + share * (x[low + 1, :c] - x[low, :c])
        return whole, nearest
