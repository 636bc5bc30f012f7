"""The state of a search as tensors, and its checks.

Shape legend: M tokens of all alignments, S sums of a hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elman.decode.prefixes import Beam
from elman.decode.scorers import Floats
from elman.errors import DataError
from elman.state import MOST

ROUNDING = 1e-3  # the part of a frame by which a sum can exceed 0, as its log-probabilities can


class SearchState(NamedTuple):
    """The state of a search.

    Attributes:
        before, token, time, log_p: (M,) tokens of the alignments, see `Beam.stored`.
        last: (beam,) last token of each hypothesis.
        sums: (beam, S) log-probabilities of each hypothesis, -inf after the last hypothesis.
        frames: (1,) number of frames.
    """

    before: Tensor
    token: Tensor
    time: Tensor
    log_p: Tensor
    last: Tensor
    sums: Tensor
    frames: Tensor

    @classmethod
    def of(cls, beam: Beam, sums: Tensor, frames: int) -> SearchState:
        """Return the state of hypotheses, their log-probabilities and the number of frames."""
        before, token, time, log_p, last = map(torch.from_numpy, beam.stored)
        return cls(before, token, time, log_p, last, sums, torch.tensor([frames]))


def padded_sums(sums: Sequence[Floats], beam: int) -> Tensor:
    """Return S arrays (N,) of log-probabilities as a tensor (beam, S), with -inf after the end."""
    table = torch.full((beam, len(sums)), -torch.inf, dtype=torch.float64)
    table[: len(sums[0])] = torch.from_numpy(np.stack(sums, 1))
    return table


def read_state(state: tuple[Tensor, ...], beam: Beam) -> tuple[list[Floats], int]:
    """Restore the hypotheses of a state; return their S log-probabilities (N,) and the frames.

    Raises:
        DataError: the values are impossible.
    """
    before, token, time, log_p, last, sums, frames = state
    count = int(frames[0])
    lengths = {len(part) for part in (before, token, time, log_p)}
    if len(lengths) != 1 or not 0 <= count < MOST or bool((time >= count).any()):
        raise DataError(
            f"a stored search is damaged: it has {count} frames and alignments of "
            f"{sorted(lengths)} tokens, the last at frame {int(time.max()) if len(time) else None}"
        )
    found = last != -2
    values = sums[found]
    possible = (values <= ROUNDING * (count + 1)) & (values < torch.inf)  # false for NaN too
    if not bool(possible.all() and (values > -torch.inf).any(1).all()):
        raise DataError(
            "a stored search is damaged: the log-probabilities of its hypotheses are not all 0 or "
            "less, or one has none"
        )
    arrays = [before, token, time, log_p, last]
    beam.restore(*(part.numpy() for part in arrays))
    return [column.numpy().copy() for column in values.unbind(1)], count
