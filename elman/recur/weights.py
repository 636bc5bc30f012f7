"""The shapes and names of the weights of a layer, and the layout of a state."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.errors import ArgumentError, TensorError
from elman.recur.cell import Leaves, Shapes
from elman.state import State, named_leaves


def normalise(a: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
    """Apply layer normalisation to the last dimension (Ba et al. 2016, arXiv:1607.06450)."""
    return F.layer_norm(a, (a.shape[-1],), gain, bias)


def suffix(layer: int, direction: int) -> str:
    """Return the end of a parameter's name, as in torch: `l0`, `l0_reverse`, `l1`."""
    return f"l{layer}" + ("_reverse" if direction else "")


def count_layers(input_size: int, hidden_size: int | tuple[int, ...], num_layers: int) -> int:
    """Return the number of layers.

    Raises:
        ArgumentError: a size is below 1, or `hidden_size` has another number of layers.
    """
    sizes = hidden_size if isinstance(hidden_size, tuple) else (hidden_size,)
    if isinstance(hidden_size, tuple):
        if num_layers not in (1, len(sizes)):
            raise ArgumentError(
                f"num_layers={num_layers} but hidden_size names {len(sizes)} layers: {sizes}"
            )
        num_layers = len(sizes)
    if num_layers < 1 or input_size < 1 or min(sizes) < 1:
        raise ArgumentError(
            "input_size, hidden_size and num_layers must be at least 1, "
            f"got {input_size}, {hidden_size}, {num_layers}"
        )
    return num_layers


def gate_shapes(
    gates: int, features: int, hidden: int, *, outputs: int, bias: bool, layer_norm: bool
) -> Shapes:
    """Return the shapes of the matrices, biases and gains of gates that lie side by side.

    Args:
        gates: the number of gates.
        features: F, input features.
        hidden: H, units.
        outputs: R, features of h, which weight_hh multiplies.
        bias: whether there are biases.
        layer_norm: whether there are gains.
    """
    rows = gates * hidden
    shapes: Shapes = {"weight_ih": (rows, features), "weight_hh": (rows, outputs)}
    if bias:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    if layer_norm:
        shapes |= {"gain_ih": (rows,), "gain_hh": (rows,)}
    return shapes


def no_steps(module: nn.Module, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the empty output for T = 0; x and all weights get gradients of zero through it."""
    return x.new_zeros(shape) + sum((p.sum() for p in module.parameters()), x.sum())


def join_state(layers: list[Leaves], *, stacked: bool, single: bool) -> State:
    """Return the state that a call returns, from leaves (directions, B, ...) of each layer.

    Args:
        layers: leaves of each layer.
        stacked: whether all layers are one tensor.
        single: whether to remove the batch dimension.
    """
    if single:
        layers = [tuple(leaf.squeeze(1) for leaf in leaves) for leaves in layers]
    if len(layers) == 1 and stacked:
        return layers[0][0] if len(layers[0]) == 1 else layers[0]
    joined: list[State] = []
    for leaves in zip(*layers, strict=True):
        if stacked:
            joined.append(leaves[0] if len(leaves) == 1 else torch.cat(leaves))
        else:
            joined.append(leaves)
    return joined[0] if len(joined) == 1 else tuple(joined)


def split_leaf(
    part: State,
    index: int,
    rows: int,
    *,
    directions: int,
    shapes: list[tuple[int, ...]],
    stacked: bool,
    single: bool,
) -> Leaves:
    """Check one leaf of a state and return it as tensors (directions, B, ...) over layers.

    Args:
        part: (layers * directions, B, ...) if `stacked`, else a tuple over layers.
        index: index of the leaf, for the error message.
        rows: B.
        directions: 1 or 2.
        shapes: shape of the leaf for one row, in every layer.
        stacked: whether all layers are one tensor.
        single: whether the batch dimension is missing.
    """
    leaves = (part,) if isinstance(part, Tensor) else part
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    if len(tensors) != len(leaves):
        raise ArgumentError("state is nested too deeply: each leaf is a tensor, or one per layer")
    if single:
        tensors = tuple(leaf.unsqueeze(1) for leaf in tensors)
    if stacked:
        wanted = [(len(shapes) * directions, rows, *shapes[0])]
    else:
        wanted = [(directions, rows, *shape) for shape in shapes]
    found = [tuple(leaf.shape) for leaf in tensors]
    if found != wanted:
        raise ArgumentError(f"state leaf {index} must have shape {wanted}, got {found}")
    return tensors[0].split(directions) if stacked else tensors


def check_kind(state: State, x: Tensor) -> None:
    """Refuse a state of another dtype or device than x; autocast takes all short dtypes."""
    taken: tuple[torch.dtype, ...] = (x.dtype,)
    if torch.is_autocast_enabled(x.device.type):
        taken = (torch.float32, torch.bfloat16, torch.float16)
    for part in state:
        if not isinstance(part, Tensor | tuple | list):
            raise ArgumentError(f"state must hold tensors, got {type(part).__name__}")
    for _, leaf in named_leaves(state):
        if leaf.dtype not in taken or leaf.device != x.device:
            raise TensorError(
                f"state must be {x.dtype} on {x.device}, as x is, got {leaf.dtype} on "
                f"{leaf.device}: convert it with .to(x)"
            )
