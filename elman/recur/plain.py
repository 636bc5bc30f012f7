"""Run a recurrence in plain torch, one step after another: the definition of every layer."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from elman.padded import time_mask
from elman.recur.cell import Cell, Leaves, Weights
from elman.recur.layers import Layers, through_layers
from elman.recur.record import active_recorder


def run_plain(
    layers: Layers, x: Tensor, states: list[Leaves], lengths: Tensor | None
) -> tuple[Tensor, list[Leaves]]:
    """Run all layers on x (T, B, D) with optional lengths, by `Cell.sequence`."""
    if lengths is not None:  # padding can be NaN, and 0 * NaN would reach a weight
        running = time_mask(lengths.to(x.device), x.shape[0]).t().unsqueeze(2)
        x = torch.where(running, x, 0)

    def run(
        x: Tensor, state: Leaves, weights: Weights, _layer: int, direction: int
    ) -> tuple[Tensor, Leaves]:
        masks = layers.masks(x.shape[0], state)
        alone = layers.cell.steps_alone or active_recorder() is not None
        # In shorter types, `sequence` computes some parts in float32.
        one = x.shape[0] == 1 and lengths is None and alone and _is_wide(x)
        sequence = partial(Cell.sequence, layers.cell) if one else layers.cell.sequence
        return sequence(x, state, weights, masks=masks, lengths=lengths, reverse=direction == 1)

    return through_layers(layers, x, states, run)


def _is_wide(x: Tensor) -> bool:
    """Return whether all functions compute in the type of x, which is float32 or float64."""
    wide = x.dtype in (torch.float32, torch.float64)
    return wide and not torch.is_autocast_enabled(x.device.type)
