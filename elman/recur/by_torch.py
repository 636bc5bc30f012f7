"""Run layers with torch's own compiled functions: on a GPU, in float64, or without kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.recur.cell import Leaves
from elman.recur.layers import Layers

Function = Callable[..., tuple[Tensor, ...]]


def run_torch(
    function: Function,
    layers: Layers,
    x: Tensor,
    *,
    states: list[Leaves],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
) -> tuple[Tensor, list[Leaves]]:
    """Run all layers on x: (T, B, D) with optional lengths, or packed (N, D) with batch sizes."""
    if lengths is not None:
        return _run_ragged(function, layers, x, states=states, lengths=lengths)
    return _run_whole(function, layers, x, states=states, batch_sizes=batch_sizes)


def _run_ragged(
    function: Function, layers: Layers, x: Tensor, *, states: list[Leaves], lengths: Tensor
) -> tuple[Tensor, list[Leaves]]:
    """Run rows in torch's packed form, longest row first, without the rows of length zero."""
    steps, rows = x.shape[:2]
    order = lengths.argsort(descending=True, stable=True)[: int((lengths > 0).sum())]
    order = order.to(x.device)
    sorted_lengths = lengths.cpu()[order.cpu()]
    packed = pack_padded_sequence(x.index_select(1, order), sorted_lengths)
    part = [tuple(leaf.index_select(1, order) for leaf in leaves) for leaves in states]
    data, part = _run_whole(
        function, layers, packed.data, states=part, batch_sizes=packed.batch_sizes
    )
    padded, _ = pad_packed_sequence(PackedSequence(data, packed.batch_sizes), total_length=steps)
    merged = [
        tuple(
            old.index_copy(1, order, new.to(old.dtype)) for old, new in zip(olds, news, strict=True)
        )
        for olds, news in zip(states, part, strict=True)
    ]
    y = padded.new_zeros(steps, rows, padded.shape[2])
    return y.index_copy(1, order, padded), merged


def _run_whole(
    function: Function,
    layers: Layers,
    x: Tensor,
    *,
    states: list[Leaves],
    batch_sizes: Tensor | None,
) -> tuple[Tensor, list[Leaves]]:
    """Run all layers in one call where torch's own dropout between layers is sufficient."""
    count, directions = len(states), layers.directions
    ours = layers.dropout > 0 and (layers.variational or layers.generator is not None)
    whole = layers.equal and not ours
    groups = [range(count)] if whole else [[k] for k in range(count)]
    results: list[Leaves] = []
    for group in groups:
        if group[0] > 0:
            x = layers.between(x, batch_sizes)
        weights = [layers.dropped(one) for k in group for one in layers.weights[k]]
        leaves = tuple(torch.cat([states[k][i] for k in group]) for i in range(len(states[0])))
        flat = [weight for one in weights for weight in one.values()]
        settings = (
            "bias_ih" in weights[0],
            len(group),
            layers.dropout if whole else 0.0,
            layers.training,
            directions == 2,
        )
        x, *new = _call(function, x, batch_sizes, leaves=leaves, weights=flat, settings=settings)
        # Under autocast torch may return a shorter dtype; a state keeps its own dtype.
        kept = [leaf.to(old.dtype) for leaf, old in zip(new, leaves, strict=True)]
        split = [leaf.split(directions) for leaf in kept]
        results += [tuple(leaf[k] for leaf in split) for k in range(len(group))]
    return x, results


def _call(
    function: Function,
    x: Tensor,
    batch_sizes: Tensor | None,
    *,
    leaves: Leaves,
    weights: list[Tensor],
    settings: tuple[bool, int, float, bool, bool],
) -> tuple[Tensor, ...]:
    """Call a function of torch; return the output and the leaves of the state."""
    if len(leaves) > 1 and not _onednn_can(x):  # autocast would choose oneDNN, which raises
        leaves, weights = tuple(map(_shortened, leaves)), [*map(_shortened, weights)]
        with torch.autocast("cpu", enabled=False):
            return _call(
                function,
                _shortened(x),
                batch_sizes,
                leaves=leaves,
                weights=weights,
                settings=settings,
            )
    state = list(leaves) if len(leaves) > 1 else leaves[0]
    if batch_sizes is None:
        return function(x, state, weights, *settings, False)
    return function(x, batch_sizes, state, weights, *settings)


def _onednn_can(x: Tensor) -> bool:
    """Return whether oneDNN supports the LSTM that autocast would choose on a CPU."""
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return True
    short = torch.get_autocast_dtype("cpu") == torch.bfloat16
    return not short or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _shortened(x: Tensor) -> Tensor:
    """Return a float32 tensor as bfloat16, as autocast does."""
    return x.bfloat16() if x.dtype == torch.float32 else x
