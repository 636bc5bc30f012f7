"""A recurrence through time, one step after the other: the definition, and the plain path.

    s_t = step(gates_t, h_{t-1}, s_{t-1})

Zoneout keeps old values: s_t = s_t + k_t * (s_{t-1} - s_t), where k_t is a random choice of units
in training and their expectation otherwise (Krueger et al. 2016, arXiv:1606.01305).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from elman.dropout import keep_mask
from elman.recur.weights import Leaves, Weights

Step = Callable[[Tensor, Tensor, Leaves, Weights], Leaves]


def through_time(
    step: Step,
    gates_TBG: Tensor,
    state: Leaves,
    weights: Weights,
    *,
    running: Tensor | None,
    reverse: bool,
    recurrent_dropout: float,
    zoneout: Sequence[float],
    training: bool,
    generator: torch.Generator | None,
) -> tuple[Tensor, Leaves]:
    """One layer in one direction.

    Args:
        step: the equations of the cell.
        gates_TBG: what the inputs contribute to the gates.
        state: leaves (B, H); the first is h.
        weights: of the layer.
        running: boolean (T, B, 1), false behind the end of a row; None if all rows are T long.
        reverse: from the last step to the first.
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into the matrices.
        zoneout: for every leaf, the probability of keeping an old value.
        training: whether zoneout is random.
        generator: source of randomness.

    Returns:
        h at every step (T, B, H), zero where not running, and the last state.
    """
    steps = gates_TBG.shape[0]
    mask = None
    if recurrent_dropout:
        mask = keep_mask(state[0], state[0].shape, recurrent_dropout, generator=generator)
    kept = [
        _kept(rate, steps, leaf, training, generator)
        for rate, leaf in zip(zoneout, state, strict=True)
    ]
    outputs: list[Tensor] = [state[0]] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        seen = state[0] if mask is None else state[0] * mask
        new = step(gates_TBG[t], seen, state, weights)
        new = tuple(
            a if keep is None else a + keep[t] * (old - a)
            for a, old, keep in zip(new, state, kept, strict=True)
        )
        outputs[t] = new[0]
        if running is not None:
            outputs[t] = torch.where(running[t], new[0], 0)
            new = tuple(torch.where(running[t], a, old) for a, old in zip(new, state, strict=True))
        state = new
    return torch.stack(outputs), state


def _kept(
    rate: float, steps: int, leaf: Tensor, training: bool, generator: torch.Generator | None
) -> Tensor | None:
    if rate == 0:
        return None
    if not training:
        return leaf.new_full((steps, 1, 1), rate)
    return leaf.new_empty(steps, *leaf.shape).bernoulli_(rate, generator=generator)
