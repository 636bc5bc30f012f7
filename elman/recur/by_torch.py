"""Run a stack with torch's own compiled functions: on a GPU, in float64, or without kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.recur.weights import Leaves

if TYPE_CHECKING:
    from elman.recur.stack import Stack


def run_torch(
    stack: Stack,
    x: Tensor,
    layers: list[Leaves],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, list[Leaves]]:
    """Run all layers on x: (T, B, D) with optional lengths, or packed (N, D) with batch sizes."""
    if lengths is not None:
        return _run_ragged(stack, x, layers, lengths, generator)
    return _run_whole(stack, x, batch_sizes, layers, generator)


def _run_ragged(
    stack: Stack,
    x: Tensor,
    layers: list[Leaves],
    lengths: Tensor,
    generator: torch.Generator | None,
) -> tuple[Tensor, list[Leaves]]:
    """Run rows in torch's packed form, longest row first, without the rows of length zero."""
    steps, rows = x.shape[:2]
    order = lengths.argsort(descending=True, stable=True)[: int((lengths > 0).sum())]
    order = order.to(x.device)
    y = x.new_zeros(steps, rows, stack.output_size)
    if len(order) == 0:
        return y, layers
    sorted_lengths = lengths.cpu()[order.cpu()]
    packed = pack_padded_sequence(x.index_select(1, order), sorted_lengths)
    part = [tuple(leaf.index_select(1, order) for leaf in leaves) for leaves in layers]
    data, part = _run_whole(stack, packed.data, packed.batch_sizes, part, generator)
    padded, _ = pad_packed_sequence(PackedSequence(data, packed.batch_sizes), total_length=steps)
    merged = [
        tuple(
            old.index_copy(1, order, new.to(old.dtype)) for old, new in zip(olds, news, strict=True)
        )
        for olds, news in zip(layers, part, strict=True)
    ]
    return y.to(padded.dtype).index_copy(1, order, padded), merged


def _run_whole(
    stack: Stack,
    x: Tensor,
    batch_sizes: Tensor | None,
    layers: list[Leaves],
    generator: torch.Generator | None,
) -> tuple[Tensor, list[Leaves]]:
    """Run all layers in one call where torch's own dropout between layers is sufficient."""
    between = stack.dropout if stack.training else 0.0
    ours = between > 0 and (stack.variational or generator is not None)
    whole = isinstance(stack.hidden_size, int) and not ours
    groups = [range(stack.num_layers)] if whole else [[k] for k in range(stack.num_layers)]
    results: list[Leaves] = []
    for group in groups:
        if group[0] > 0:
            x = stack.drop_between(x, batch_sizes, generator)
        weights = [
            stack.dropped_weights(layer, direction, generator)
            for layer in group
            for direction in range(stack.directions)
        ]
        leaves = tuple(torch.cat([layers[k][i] for k in group]) for i in range(stack.leaves))
        flat = [w for part in weights for w in part.for_torch()]
        x, *new = stack.torch_layers(
            x, batch_sizes, leaves, flat, len(group), between if whole else 0.0
        )
        # Under autocast torch may return a shorter format; a state keeps its own.
        kept = [leaf.to(old.dtype) for leaf, old in zip(new, leaves, strict=True)]
        split = [leaf.split(stack.directions) for leaf in kept]
        results += [tuple(leaf[k] for leaf in split) for k in range(len(group))]
    return x, results
