"""The layers of one call: a cell, its weights and the dropout, without the module that holds them.

The three ways of computing (by_kernel.py, by_torch.py, plain.py) take a `Layers`.  Depth and
directions are written here once: layer l reads the outputs of layer l - 1, and direction 1 reads
the sequence from its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from elman.dropout import choose, dropout, keep_mask, locked_dropout
from elman.recur.cell import Cell, Leaves, Masks, Weights

# Runs one layer in one direction: (x, state, weights, layer, direction) -> (outputs, state).
RunOne = Callable[[Tensor, Leaves, Weights, int, int], tuple[Tensor, Leaves]]


class Layers(NamedTuple):
    """The cell, weights and dropout of all layers in one call.

    Args:
        cell: the equations.
        weights: the weights by layer and direction.
        equal: whether all layers have the same hidden size.
        training: whether zoneout draws masks instead of using their expectation.
        dropout: probability of dropping an output between two layers; 0 outside of training.
        variational: `dropout` keeps one mask for a whole sequence.
        weight_dropout: probability of dropping an entry of `weight_hh`; 0 outside of training.
        recurrent_dropout: probability of dropping a unit of `seen`; 0 outside of training.
        zoneout: probability that a unit keeps its old value, for each leaf of the state.
        generator: random generator of all dropout; None for torch's default.
    """

    cell: Cell
    weights: list[list[Weights]]
    equal: bool
    training: bool
    dropout: float
    variational: bool
    weight_dropout: float
    recurrent_dropout: float
    zoneout: tuple[float, ...]
    generator: torch.Generator | None

    @property
    def directions(self) -> int:
        """1, or 2 if the layers also read the sequence from its end."""
        return len(self.weights[0])

    def dropped(self, weights: Weights) -> Weights:
        """Return the weights of one layer in one direction after weight dropout."""
        if not self.weight_dropout:
            return weights
        hh = dropout(weights["weight_hh"], self.weight_dropout, generator=self.generator)
        return {**weights, "weight_hh": hh}

    def between(self, x: Tensor, batch_sizes: Tensor | list[int] | None) -> Tensor:
        """Apply dropout to the output of a layer, (T, B, R) or packed with batch sizes."""
        p, generator = self.dropout, self.generator
        if not self.variational or p == 0:
            return dropout(x, p, generator=generator)
        if batch_sizes is None:
            return locked_dropout(x, p, time_dim=0, generator=generator)
        mask = keep_mask(x, (int(batch_sizes[0]), x.shape[1]), p, generator=generator)
        rows = torch.cat([torch.arange(int(n), device=x.device) for n in batch_sizes])
        return x * mask[rows]

    def masks(self, steps: int, state: Leaves) -> Masks:
        """Draw the masks of recurrent dropout and zoneout for one layer in one direction."""
        seen = None
        if self.recurrent_dropout:
            seen = keep_mask(
                state[0], state[0].shape, self.recurrent_dropout, generator=self.generator
            )
        kept: list[Tensor | float] = []
        for rate, leaf in zip(self.zoneout, state, strict=True):
            if rate and self.training:
                shape = (steps, *leaf.shape)
                chosen = choose(shape, rate, device=leaf.device, generator=self.generator)
                kept.append(chosen.to(leaf.dtype))
            else:
                kept.append(rate)
        return Masks(seen, tuple(kept))


def through_layers(
    layers: Layers,
    x: Tensor,
    states: list[Leaves],
    run: RunOne,
    *,
    batch_sizes: Tensor | list[int] | None = None,
    whole: bool = False,
) -> tuple[Tensor, list[Leaves]]:
    """Run all layers and directions.

    Args:
        layers: cell, weights and dropout.
        x: (T, B, D), or packed (N, D) with batch sizes.
        states: leaves (directions, B, ...) of each layer.
        run: runs one layer in one direction, with leaves (B, ...).
        batch_sizes: the batch sizes of packed data.
        whole: give `run` leaves (1, B, ...) of the only direction instead: an index would add a
            node to the graph.
    """
    results: list[Leaves] = []
    for k, state in enumerate(states):
        if k > 0:
            x = layers.between(x, batch_sizes)
        outputs, ends = [], []
        for direction, weights in enumerate(layers.weights[k]):
            start = state if whole else tuple([leaf[direction] for leaf in state])
            y, end = run(x, start, layers.dropped(weights), k, direction)
            outputs.append(y)
            ends.append(end)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if whole:
            results.append(ends[0])
        elif len(ends) == 1:  # a view instead of a copy
            results.append(tuple(leaf.unsqueeze(0) for leaf in ends[0]))
        else:
            results.append(tuple(torch.stack(leaf) for leaf in zip(*ends, strict=True)))
    return x, results
