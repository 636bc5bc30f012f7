"""A stack by the native kernels: one call for each layer and direction.

Rows of different lengths are packed, longest first, before the first layer, stay so between the
layers, and are padded again by the last: rows that have ended cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from elman.kernels.operator import run_in_graph
from elman.kernels.recurrence import Constants, Ragged, Run, run_layer
from elman.padded import time_mask
from elman.recur.plain import draw_masks
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
    """All layers of x: (T, B, D), perhaps with lengths, or packed (N, D) with batch sizes."""
    ragged: Ragged | None = None
    if batch_sizes is not None:
        ragged, steps = (
            Ragged(batch_sizes.cumsum(0) - batch_sizes, batch_sizes, None),
            len(batch_sizes),
        )
    else:
        steps = x.shape[0]
        if lengths is not None:
            ragged, rows = _sort(lengths.cpu(), *x.shape[:2])
            x = _Take.apply(x, rows)  # type: ignore[no-untyped-call]
    active = None if ragged is None else ragged.active
    bf16, kept = stack.computes_in_bfloat16(x), layers[0][0].dtype
    layers = [tuple(leaf.float() for leaf in leaves) for leaves in layers]
    results: list[Leaves] = []
    for k in range(stack.num_layers):
        if k > 0:
            x = stack.drop_between(x, active, generator)
        outputs, ends = [], []
        for direction in range(stack.directions):
            weights = stack.dropped_weights(k, direction, generator)
            state = tuple(leaf[direction] for leaf in layers[k])
            masks = draw_masks(stack, steps, state, generator)
            run = Run(
                str(stack.kernel()),
                direction == 1,
                steps,
                ragged,
                padded=lengths is not None and k == stack.num_layers - 1,
                mask=masks.seen,
                keep_h=masks.kept[0],
                keep_c=masks.kept[-1],
                bf16=bf16,
            )
            inputs, constants = stack.for_kernel(x, weights)
            if bf16:  # sums and states are float32
                rest = (None if w is None else w.float() for w in constants[1:])
                constants = Constants(constants.ih, *rest)  # type: ignore[arg-type]
            if torch.compiler.is_compiling() and ragged is None:
                y, end = run_in_graph(run, inputs, state, constants)
            else:
                y, end = run_layer(run, inputs, state, constants)
            outputs.append(y.bfloat16() if bf16 else y)
            ends.append(tuple(leaf.to(kept) for leaf in end))
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if len(ends) == 1:
            results.append(tuple(leaf.unsqueeze(0) for leaf in ends[0]))
        else:
            results.append(tuple(torch.stack(leaf) for leaf in zip(*ends, strict=True)))
    return x, results


def _sort(lengths: Tensor, steps: int, rows: int) -> tuple[Ragged, Tensor]:
    """Rows in order of length, and where the packed rows are in the (T * B) of the caller."""
    lengths, order = lengths.to(torch.int64).sort(descending=True, stable=True)
    running = time_mask(lengths, steps).t()
    active = running.sum(1)
    index = (torch.arange(steps).unsqueeze(1) * rows + order)[running]
    return Ragged(active.cumsum(0) - active, active, order), index


class _Take(torch.autograd.Function):
    """Rows of (T, B, D) by their index in (T * B), each at most once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        steps, batch = x.shape[:2]
        if x.stride(0) < x.stride(1):  # batch first in memory
            rows = rows % batch * steps + rows // batch
            x = x.transpose(0, 1)
        return x.reshape(-1, x.shape[2]).index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        x = gradient.new_zeros(ctx.shape[0] * ctx.shape[1], ctx.shape[2])
        return x.index_copy(0, rows, gradient).view(ctx.shape), None
