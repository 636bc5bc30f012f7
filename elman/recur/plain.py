"""Run a recurrence in plain torch, one step after another: the definition of every layer.

    s_t = step(gates_t, h_{t-1}, s_{t-1})

Zoneout keeps old values: s_t = s_t + k_t * (s_{t-1} - s_t), where k_t is a random mask of units
in training and its expectation otherwise (Krueger et al. 2016, arXiv:1606.01305).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from elman.dropout import choose, keep_mask
from elman.padded import time_mask
from elman.recur.weights import Leaves, Weights

if TYPE_CHECKING:
    from elman.recur.stack import Stack

Step = Callable[[Tensor, Tensor, Leaves, Weights], Leaves]


class Masks(NamedTuple):
    """The random masks of one layer in one direction, drawn before the first step."""

    seen: Tensor | None  # (B, R): 0 or 1 / (1 - p) for every unit of h on its way to the matrices
    kept: tuple[Tensor | float, ...]  # for each leaf: k_t, (T, B, H), or one number; 0 if off


def draw_masks(stack: Stack, steps: int, state: Leaves, generator: torch.Generator | None) -> Masks:
    """Draw the masks of recurrent dropout and zoneout for one layer in one direction."""
    seen = None
    if stack.training and stack.recurrent_dropout:
        seen = keep_mask(state[0], state[0].shape, stack.recurrent_dropout, generator=generator)
    kept: list[Tensor | float] = []
    for rate, leaf in zip(stack.zoneout, state, strict=True):
        if rate and stack.training:
            shape = (steps, *leaf.shape)
            chosen = choose(shape, rate, device=leaf.device, generator=generator)
            kept.append(chosen.to(leaf.dtype))
        else:
            kept.append(rate)
    return Masks(seen, tuple(kept))


def run_plain(
    stack: Stack,
    x: Tensor,
    layers: list[Leaves],
    lengths: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, list[Leaves]]:
    """Run the definition on x (T, B, D): every layer, direction and step in turn."""
    running: Tensor | None = None
    if lengths is not None:
        running = time_mask(lengths.to(x.device), x.shape[0]).t().unsqueeze(2)
        x = torch.where(running, x, 0)  # padding can be NaN, and 0 * NaN would reach a weight
    results: list[Leaves] = []
    for k in range(stack.num_layers):
        if k > 0:
            x = stack.drop_between(x, None, generator)
        outputs, ends = [], []
        for direction in range(stack.directions):
            weights = stack.dropped_weights(k, direction, generator)
            state = tuple(leaf[direction] for leaf in layers[k])
            y, end = through_time(
                stack.step,
                stack.input_gates(x, weights),
                state,
                weights,
                draw_masks(stack, x.shape[0], state, generator),
                running=running,
                reverse=direction == 1,
            )
            outputs.append(y)
            ends.append(end)
        x = torch.cat(outputs, dim=2)
        results.append(tuple(torch.stack(leaf) for leaf in zip(*ends, strict=True)))
    return x, results


def through_time(
    step: Step,
    gates_TBG: Tensor,
    state: Leaves,
    weights: Weights,
    masks: Masks,
    *,
    running: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Leaves]:
    """Run one layer in one direction.

    Args:
        step: the equations of the cell.
        gates_TBG: the contribution of the inputs to the gates.
        state: leaves (B, H); the first is h.
        weights: of the layer.
        masks: recurrent dropout and zoneout.
        running: boolean (T, B, 1), false after the end of a row; None if all rows are T long.
        reverse: run from the last step to the first.

    Returns:
        h at every step (T, B, H), zero after the end of a row, and the last state.
    """
    steps = gates_TBG.shape[0]
    outputs: list[Tensor] = [state[0]] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        seen = state[0] if masks.seen is None else state[0] * masks.seen
        new = step(gates_TBG[t], seen, state, weights)
        new = tuple(
            _mix(a, old, k if isinstance(k, float) else k[t])
            for a, old, k in zip(new, state, masks.kept, strict=True)
        )
        outputs[t] = new[0]
        if running is not None:
            outputs[t] = torch.where(running[t], new[0], 0)
            new = tuple(torch.where(running[t], a, old) for a, old in zip(new, state, strict=True))
        state = new
    return torch.stack(outputs), state


def _mix(new: Tensor, old: Tensor, share: Tensor | float) -> Tensor:
    """Apply zoneout to one leaf of the state."""
    return new if isinstance(share, float) and share == 0 else new + share * (old - new)
