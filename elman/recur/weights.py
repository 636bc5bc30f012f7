"""The weights of one layer in one direction, their names, and the layout of a state."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.errors import ArgumentError, TensorError
from elman.state import State, named_leaves

Leaves = tuple[Tensor, ...]


class Weights(NamedTuple):
    """The weights of one layer in one direction; None where an option is off."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    hr: Tensor | None = None
    peephole: Tensor | None = None
    gain_ih: Tensor | None = None
    gain_hh: Tensor | None = None
    gain_c: Tensor | None = None
    bias_c: Tensor | None = None

    def for_torch(self) -> list[Tensor]:
        """Return the flat list of weights that `torch.lstm` and similar functions take."""
        return [w for w in (self.ih, self.hh, self.bias_ih, self.bias_hh, self.hr) if w is not None]


# The names of parameters without their `suffix`, in the order of Weights.
NAMES = (
    "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_peephole", "gain_ih",
    "gain_hh", "gain_c", "bias_c",
)  # fmt: skip


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


def weight_shapes(
    width: int, hidden: int, gates: int, *, bias: bool, proj_size: int, peephole: bool,
    layer_norm: bool, cell_state: bool,
) -> dict[str, tuple[int, ...]]:  # fmt: skip
    """Return the shapes of the weights of one layer in one direction, by name.

    Args:
        width: input features.
        hidden: H.
        gates: matrices side by side in weight_ih and weight_hh.
        bias: whether there are biases.
        proj_size: features of h after the projection; 0 for none.
        peephole: whether the gates depend on c.
        layer_norm: whether there are gains.
        cell_state: whether the state has a leaf c.
    """
    rows = gates * hidden
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (rows, width), "weight_hh": (rows, proj_size or hidden),
    }  # fmt: skip
    if bias:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    if proj_size:
        shapes["weight_hr"] = (proj_size, hidden)
    if peephole:
        shapes["weight_peephole"] = (3 * hidden,)
    if layer_norm:
        shapes |= {"gain_ih": (rows,), "gain_hh": (rows,)}
    if layer_norm and cell_state:
        shapes |= {"gain_c": (hidden,), "bias_c": (hidden,)} if bias else {"gain_c": (hidden,)}
    return shapes


def no_steps(module: nn.Module, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the empty output for T = 0; x and all weights get gradients of zero through it."""
    return x.new_zeros(shape) + sum((p.sum() for p in module.parameters()), x.sum())


def join_state(layers: list[Leaves], *, stacked: bool, single: bool) -> State:
    """Return the state that a call returns, from leaves (directions, B, H_l) of each layer.

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
    directions: int,
    widths: list[int],
    *,
    stacked: bool,
    single: bool,
) -> Leaves:
    """Check one leaf of a state and return it as tensors (directions, B, H_l) over layers.

    Args:
        part: (layers * directions, B, H) if `stacked`, else a tuple over layers.
        index: index of the leaf, for the error message.
        rows: B.
        directions: 1 or 2.
        widths: H_l of every layer.
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
        wanted = [(len(widths) * directions, rows, widths[0])]
    else:
        wanted = [(directions, rows, width) for width in widths]
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
