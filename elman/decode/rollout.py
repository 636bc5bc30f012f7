"""Draw futures step by step: each step is drawn given the previous ones.

    y_i ~ p_i,   p_{i+1}, state = step(x_{i+1}(y_1 .. y_i), state)

Source: Salinas, Flunkert and Gasthaus 2017, "DeepAR" (arXiv:1704.04110).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

S = TypeVar("S")


def rollout(
    step: Callable[[Tensor, S], tuple[Tensor, S]],
    found: Tensor,
    state: S,
    *,
    draw: Callable[[Tensor], Tensor],
    read: Callable[[int, list[Tensor]], Tensor],
    steps: int,
) -> Tensor:
    """Draw futures (N, steps, K).

    Args:
        step: maps an input (N, 1, D) and a state to parameters of the next step, and the state.
        found: parameters of the first step.
        state: state after the context.
        draw: draws numbers (N, K) given parameters.
        read: returns the input of a step (from 1), given the numbers that were drawn before it.
        steps: number of steps.

    Example:
        >>> import torch
        >>> from elman.decode.rollout import rollout
        >>> double = rollout(
        ...     lambda x, state: (2 * x[:, 0], state), torch.ones(1, 1), None,
        ...     draw=lambda found: found, read=lambda step, drawn: drawn[-1][:, None], steps=4,
        ... )
        >>> double.flatten().tolist()
        [1.0, 2.0, 4.0, 8.0]
    """
    drawn: list[Tensor] = []
    for number in range(1, steps + 1):
        drawn.append(draw(found))
        if number < steps:
            found, state = step(read(number, drawn), state)
    return torch.stack(drawn, 1)
