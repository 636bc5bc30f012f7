"""Run layers with the native kernels, one call for each layer and direction.

Rows of different lengths are packed, longest first, before the first layer, stay packed between
the layers, and are padded again by the last layer, so rows that have ended cost nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elman.kernels.autograd import computes_in_bfloat16
from elman.kernels.cells import Run
from elman.kernels.layer import run_layer
from elman.kernels.operator import run_in_graph
from elman.kernels.ragged import Ragged, pack
from elman.recur.cell import Kernel, Leaves, Masks, Weights
from elman.recur.layers import Layers, through_layers


def run_kernels(
    kernel: Kernel,
    layers: Layers,
    x: Tensor,
    *,
    states: list[Leaves],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
) -> tuple[Tensor, list[Leaves]]:
    """Run all layers on x: (T, B, D) with optional lengths, or packed (N, D) with batch sizes."""
    ragged, steps = None, x.shape[0]
    if batch_sizes is not None:
        ragged, steps = Ragged.packed(batch_sizes, x.shape[0]), len(batch_sizes)
    elif lengths is not None:
        ragged = Ragged.sort(lengths, steps)
        x = pack(x, ragged)
    bf16 = computes_in_bfloat16(x)
    in_graph = torch.compiler.is_compiling() and ragged is None
    run_it = run_in_graph if in_graph else run_layer
    zoned = layers.training and any(layers.zoneout)
    random = layers.recurrent_dropout > 0 or zoned
    fixed, last = Masks(None, layers.zoneout), len(states) - 1

    def run(
        x: Tensor, state: Leaves, weights: Weights, layer: int, direction: int
    ) -> tuple[Tensor, Leaves]:
        masks = layers.masks(steps, tuple(leaf.float() for leaf in state)) if random else fixed
        how = Run(
            kernel.name,
            direction == 1,
            steps,
            ragged,
            lengths is not None and layer == last,
            masks.seen,
            masks.kept[0],
            masks.kept[-1],
            bf16,
        )
        return run_it(how, x, state, kernel.constants(weights))

    return through_layers(
        layers,
        x,
        states,
        run,
        batch_sizes=None if ragged is None else ragged.batch_sizes,
        whole=not (layers.directions == 2 or in_graph or random),
    )
