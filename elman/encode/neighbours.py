"""Neighbours: other series of the same group at the same time, pooled into one vector per step.

    e_j = relu(W_2 relu(W_1 [p_j / 12, (v_j - v) / 2, v_j / 2, 1 / (|p_j| + a), log(|p_j| + b)]))
    o_t = max_j e_j

p_j is the position of neighbour j relative to the series that is forecast, v_j is its velocity, and
v is the velocity of the series, all in units of a usual step.  o_t is 0 without neighbours.

Source: Gupta et al. 2018, "Social GAN" (arXiv:1803.10892), who pool relative positions by a
maximum.  Here, velocities and distances are inputs too, only the nearest neighbours are used, and
the recurrence reads the pool at every step.

Shape legend: B windows, S steps, M neighbours, N rows of all series.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FEATURES = 7  # of a neighbour: position, relative velocity, velocity, whether it exists
NEAR, NEARER = 1.25, 0.4  # a and b
BLOCK = 512  # rows of one time for which distances are computed at once
FAR, FAST = 12.0, 2.0  # units of a neighbour's distance and velocity, in usual steps

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


def find_neighbours(
    y: Numbers, begins: Whole, starts: Sequence[int], groups: Sequence[float], count: int
) -> Whole:
    """Find the rows (N, count) of the nearest neighbours of each row at its time, -1 for none.

    A neighbour is in the same group, and has a position at this step and the previous one.

    Args:
        y: (N, 2) positions of all series, concatenated; NaN for missing ones.
        begins: first row of each series.
        starts: time of the first row of each series, in steps.
        groups: group of each series.
        count: maximum number of neighbours.

    Example:
        >>> import numpy as np
        >>> from elman.encode.neighbours import find_neighbours
        >>> y = np.array([[0.0, 0], [0, 1], [5, 0], [5, 1], [9, 0], [9, 1]])
        >>> begins = np.array([0, 2, 4])
        >>> find_neighbours(y, begins, [0, 0, 0], [0, 0, 0], 1)[:, 0].tolist()
        [-1, 3, -1, 5, -1, 3]
        >>> find_neighbours(y, begins, [0, 0, 1], [0, 0, 0], 1)[:, 0].tolist()
        [-1, 3, -1, 1, -1, -1]
    """
    lengths = np.diff(np.append(begins, len(y)))
    row = np.arange(len(y))
    within = row - np.repeat(begins, lengths)
    known = np.asarray(~np.isnan(y).any(1))
    there = known & np.append(False, known[:-1]) & (within > 0)
    when = np.repeat(np.asarray(starts), lengths) + within
    group = np.repeat(np.asarray(groups), lengths)
    found = np.full((len(y), count), -1, dtype=np.int64)
    rows = row[there]
    rows = rows[np.lexsort((when[rows], group[rows]))]
    breaks = np.flatnonzero((np.diff(when[rows]) != 0) | (np.diff(group[rows]) != 0)) + 1
    for same in np.split(rows, breaks):
        if len(same) < 2:
            continue
        for first in range(0, len(same), BLOCK):
            here = same[first : first + BLOCK]
            apart = np.linalg.norm(y[here, None] - y[same], axis=2)
            apart[here[:, None] == same] = np.inf
            order = apart.argsort(1, kind="stable")[:, : min(count, len(same) - 1)]
            found[here, : order.shape[1]] = same[order]
    return found


def look_around(
    y: Numbers,
    others: Whole,
    rows: Whole,
    there: NDArray[np.bool_],
    own: Numbers,
    turn: Numbers | None,
) -> Numbers:
    """Return features (B, S, M * FEATURES) of neighbours: positions and velocities in units of y.

    Args:
        y: (N, 2) positions.
        others: (N, M) from `find_neighbours`.
        rows: (B, S) rows whose neighbours are wanted.
        there: (B, S) whether the row exists.
        own: (B, S, 2) velocity of each row; a row with NaN has no neighbours.
        turn: (B, 2, 2) matrices that rotate all positions; None for no rotation.
    """
    mine = np.where(there, rows, 0)
    near = others[mine]
    there = there & ~np.isnan(own).any(-1)
    seen = (near >= 0) & there[..., None]
    near = np.where(seen, near, 0)
    place, velocity = y[near] - y[mine][:, :, None], y[near] - y[near - 1]
    if turn is not None:
        place, velocity = place @ turn[:, None], velocity @ turn[:, None]
    relative = velocity - own[:, :, None]
    found = np.concatenate([place, relative, velocity, np.ones_like(place[..., :1])], 3)
    found[~seen] = 0
    return np.asarray(found.reshape(*rows.shape, -1))


def draw_turns(draw: np.random.Generator, rows: int) -> Numbers:
    """Draw matrices (rows, 2, 2) that rotate by a random angle and reflect half of the time."""
    angle = draw.uniform(0, 2 * np.pi, rows)
    mirror = draw.choice([-1.0, 1.0], rows)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, s], 1), np.stack([-s * mirror, c * mirror], 1)], 1)


class NeighbourPool(nn.Module):
    """A layer that pools the nearest neighbours of a step into one vector.

    Args:
        unit: size of a usual step.
        size: features of the vector.

    Example:
        >>> import torch
        >>> from elman.encode.neighbours import FEATURES, NeighbourPool
        >>> pool = NeighbourPool(0.5, 8)
        >>> found = pool(torch.zeros(4, 6, 3 * FEATURES))  # no neighbours
        >>> found.shape, found.sum().item()
        (torch.Size([4, 6, 8]), 0.0)
    """

    def __init__(self, unit: float, size: int) -> None:
        super().__init__()
        self.unit, self.size = unit, size
        self.first, self.second = nn.Linear(FEATURES + 1, size), nn.Linear(size, size)

    def forward(self, around: Tensor) -> Tensor:
        """Pool features: (B, S, M * FEATURES) -> (B, S, size)."""
        around = around.unflatten(-1, (-1, FEATURES))
        seen, there = around[..., :-1] / self.unit, around[..., -1:]
        apart = seen[..., :2].norm(dim=-1, keepdim=True)
        place, velocity = seen[..., :2] / FAR, seen[..., 2:] / FAST
        read = torch.cat([place, velocity, 1 / (apart + NEAR), (apart + NEARER).log()], dim=-1)
        found = torch.relu(self.second(torch.relu(self.first(read)))) * there
        return found.amax(2)
