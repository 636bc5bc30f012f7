"""The shapes and names of the weights of a layer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from elman.errors import ArgumentError
from elman.recur.cell import Shapes

HEAD = 64  # usual number of units of a head
OPTIONS: dict[str, object] = {  # shown by repr if they have another value
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "proj_size": 0,
    "variational": False,
    "layer_norm": False,
    "weight_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "peephole": False,
}


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


def count_heads(hidden: int, heads: int | None) -> int:
    """Return the number of heads of a layer with H units.

    Args:
        hidden: H.
        heads: the number, which must divide H; None for heads of 64 units if 64 divides H, and
            otherwise for one head.

    Raises:
        ArgumentError: H is not a multiple of the number.

    Example:
        >>> from elman.recur.weights import count_heads
        >>> count_heads(256, None), count_heads(100, None), count_heads(100, 5)
        (4, 1, 5)
    """
    if heads is None:
        return hidden // HEAD if hidden % HEAD == 0 else 1
    if heads < 1 or hidden % heads:
        raise ArgumentError(
            f"hidden_size={hidden} must be a multiple of heads={heads}; set another number, or None"
        )
    return heads


def no_steps(module: nn.Module, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the empty output for T = 0; x and all weights get gradients of zero through it."""
    return x.new_zeros(shape) + sum((p.sum() for p in module.parameters()), x.sum())
