"""Who is near: others of the same group at the same time, pooled to one vector a step.

    e_j = relu(W_2 relu(W_1 [p_j / 12, (v_j - v) / 2, v_j / 2, 1 / (|p_j| + a), log(|p_j| + b)]))
    o_t = max_j e_j

p_j is the place of neighbour j as seen from the one that is forecast, v_j its velocity and v that
of the one, in units of a usual step; o_t is 0 where nobody is near.

Source: pooling of places relative to one's own by a maximum: Gupta et al. 2018, "Social GAN"
(arXiv:1803.10892).  Different here: velocities and distances are read, too, only the nearest count,
and the pool is read by the recurrence at every step.

Shape legend: B windows, S steps, M neighbours, N rows of all series.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FEATURES = 7  # of a neighbour: place, velocity beside mine, velocity, whether it is there
NEAR, NEARER = 1.25, 0.4  # a and b
BLOCK = 512  # of those who are there at the same time, from whom distances are found at once
FAR, FAST = 12.0, 2.0  # usual steps of a neighbour's distance and velocity

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


def find_neighbours(
    y: Numbers, begins: Whole, starts: Sequence[int], groups: Sequence[float], count: int
) -> Whole:
    """Of each row (N, count) the rows of those nearest at the same time, -1 for none.

    A neighbour is of the same group, and there at this step and the one before.

    Args:
        y: (N, 2) places, of all series one after the other, NaN where there is none.
        begins: first row of each series.
        starts: when that is, in steps.
        groups: of the series.
        count: neighbours at most.

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
    """What is seen of neighbours (B, S, M * FEATURES), as places and velocities in units of y.

    Args:
        y: (N, 2) places.
        others: (N, M) from `find_neighbours`.
        rows: (B, S) of those that look.
        there: (B, S) whether one does.
        own: (B, S, 2) the velocity of each; who has none, NaN, sees nobody.
        turn: (B, 2, 2) matrices for all that is seen; None for none.
    """
    mine = np.where(there, rows, 0)
    near = others[mine]
    there = there & ~np.isnan(own).any(-1)
    seen = (near >= 0) & there[..., None]
    near = np.where(seen, near, 0)
    place, velocity = y[near] - y[mine][:, :, None], y[near] - y[near - 1]
    if turn is not None:
        place, velocity = place @ turn[:, None], velocity @ turn[:, None]
    beside = velocity - own[:, :, None]
    found = np.concatenate([place, beside, velocity, np.ones_like(place[..., :1])], 3)
    found[~seen] = 0
    return np.asarray(found.reshape(*rows.shape, -1))


def draw_turns(draw: np.random.Generator, rows: int) -> Numbers:
    """Matrices (rows, 2, 2) that turn by any angle, and mirror half of the time."""
    angle = draw.uniform(0, 2 * np.pi, rows)
    mirror = draw.choice([-1.0, 1.0], rows)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, s], 1), np.stack([-s * mirror, c * mirror], 1)], 1)


class NeighbourPool(nn.Module):
    """The nearest neighbours of a step to a vector.

    Args:
        unit: usual step.
        size: features of the vector.

    Example:
        >>> import torch
        >>> from elman.encode.neighbours import FEATURES, NeighbourPool
        >>> pool = NeighbourPool(0.5, 8)
        >>> found = pool(torch.zeros(4, 6, 3 * FEATURES))  # nobody is there
        >>> found.shape, found.sum().item()
        (torch.Size([4, 6, 8]), 0.0)
    """

    def __init__(self, unit: float, size: int) -> None:
        super().__init__()
        self.unit, self.size = unit, size
        self.first, self.second = nn.Linear(FEATURES + 1, size), nn.Linear(size, size)

    def forward(self, around: Tensor) -> Tensor:
        """(B, S, M * FEATURES) -> (B, S, size)."""
        around = around.unflatten(-1, (-1, FEATURES))
        seen, there = around[..., :-1] / self.unit, around[..., -1:]
        apart = seen[..., :2].norm(dim=-1, keepdim=True)
        place, velocity = seen[..., :2] / FAR, seen[..., 2:] / FAST
        read = torch.cat([place, velocity, 1 / (apart + NEAR), (apart + NEARER).log()], dim=-1)
        found = torch.relu(self.second(torch.relu(self.first(read)))) * there
        return found.amax(2)
