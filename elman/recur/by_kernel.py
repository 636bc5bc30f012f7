"""Run a stack with the native kernels, one call for each layer and direction.

Rows of different lengths are packed, longest first, before the first layer, stay packed between
the layers, and are padded again by the last layer, so rows that have ended cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from elman.kernels.autograd import computes_in_bfloat16
from elman.kernels.cells import Run
from elman.kernels.layer import run_layer
from elman.kernels.operator import run_in_graph
from elman.kernels.ragged import Ragged, pack
from elman.recur.plain import Masks, draw_masks
from elman.recur.weights import Leaves

if TYPE_CHECKING:
    from elman.recur.stack import Stack


def run_kernels(
    stack: Stack,
    x: Tensor,
    layers: list[Leaves],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, list[Leaves]]:
    """Run all layers on x: (T, B, D) with optional lengths, or packed (N, D) with batch sizes."""
    ragged, steps = None, x.shape[0]
    if batch_sizes is not None:
        ragged, steps = Ragged.packed(batch_sizes, x.shape[0]), len(batch_sizes)
    elif lengths is not None:
        ragged = Ragged.sort(lengths, steps)
        x = pack(x, ragged)
    kernel, bf16 = str(stack.kernel()), computes_in_bfloat16(x)
    in_graph = torch.compiler.is_compiling() and ragged is None
    random = stack.training and (stack.recurrent_dropout > 0 or any(stack.zoneout))
    # The state of a single direction is used unindexed: an index would add a node to the graph.
    whole = not (stack.bidirectional or in_graph or random)
    masks = Masks(None, stack.zoneout)
    results: list[Leaves] = []
    for k in range(stack.num_layers):
        if k > 0:
            x = stack.drop_between(x, None if ragged is None else ragged.batch_sizes, generator)
        outputs, ends = [], []
        for direction in range(stack.directions):
            weights = stack.dropped_weights(k, direction, generator)
            state = layers[k] if whole else tuple(leaf[direction] for leaf in layers[k])
            if random:
                masks = draw_masks(stack, steps, tuple(leaf.float() for leaf in state), generator)
            run = Run(
                kernel,
                direction == 1,
                steps,
                ragged,
                lengths is not None and k == stack.num_layers - 1,
                masks.seen,
                masks.kept[0],
                masks.kept[-1],
                bf16,
            )
            run_it = run_in_graph if in_graph else run_layer
            y, end = run_it(run, x, state, stack.for_kernel(weights))
            outputs.append(y)
            ends.append(end)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if whole:
            results.append(ends[0])
        else:
            results.append(tuple(torch.stack(leaf) for leaf in zip(*ends, strict=True)))
    return x, results
