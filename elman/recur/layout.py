"""The layout of the state that a call of a stack takes and returns, and its split into layers.

A leaf of a state is (layers * directions, B, ...) if all layers have the same hidden size, as in
torch; otherwise it is a tuple with one tensor (directions, B, ...) for each layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from elman.errors import ArgumentError, TensorError
from elman.recur.cell import Leaves, Shapes
from elman.state import State, named_leaves


class Layout(NamedTuple):
    """The layout of a state.

    Args:
        owner: name of the module, for messages.
        shapes: the shape of each leaf for one row, by name, for each layer.
        directions: 1 or 2.
        stacked: whether a leaf is one tensor for all layers.
    """

    owner: str
    shapes: list[Shapes]
    directions: int
    stacked: bool

    def zeros(self, like: Tensor, rows: int) -> list[Leaves]:
        """Return zeros (directions, B, ...) for each layer, with the dtype and device of `like`."""
        return [
            tuple([like.new_zeros(self.directions, rows, *shape) for shape in shapes.values()])
            for shapes in self.shapes
        ]

    def split(self, state: State, x: Tensor, *, single: bool) -> list[Leaves]:
        """Check a state and return its leaves (directions, B, ...) for each layer.

        Args:
            state: the state, as a call returned it.
            x: (T, B, D), the input that it must fit.
            single: whether the batch dimension is missing.

        Raises:
            ArgumentError: a shape does not fit.
            TensorError: a dtype or device does not fit.
        """
        names = list(self.shapes[0])
        parts = (state,) if len(names) == 1 else state
        if isinstance(parts, Tensor) or len(parts) != len(names):
            raise ArgumentError(
                f"state of {self.owner} must be a tuple of {len(names)} ({', '.join(names)}), "
                f"got {type(state).__name__}"
            )
        _check_kind(parts, x)
        by_leaf = [
            self._split_leaf(part, index, x.shape[1], single=single)
            for index, part in enumerate(parts)
        ]
        return [tuple(leaf[k] for leaf in by_leaf) for k in range(len(self.shapes))]

    def _split_leaf(self, part: State, index: int, rows: int, *, single: bool) -> Leaves:
        """Check one leaf and return it as a tensor (directions, B, ...) for each layer."""
        leaves = (part,) if isinstance(part, Tensor) else part
        tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
        if len(tensors) != len(leaves):
            raise ArgumentError(
                "state is nested too deeply: each leaf must be a tensor, or a tuple of one tensor "
                "per layer"
            )
        if single:
            tensors = tuple(leaf.unsqueeze(1) for leaf in tensors)
        shapes = [list(shapes.values())[index] for shapes in self.shapes]
        wanted = [(self.directions, rows, *shape) for shape in shapes]
        if self.stacked:
            wanted = [(len(shapes) * self.directions, rows, *shapes[0])]
        found = [tuple(leaf.shape) for leaf in tensors]
        if found != wanted:
            raise ArgumentError(f"state leaf {index} must have shape {wanted}, got {found}")
        return tensors[0].split(self.directions) if self.stacked else tensors

    def join(self, layers: list[Leaves], *, single: bool = False) -> State:
        """Return the state that a call returns, from leaves (directions, B, ...) of each layer.

        Args:
            layers: leaves of each layer.
            single: whether to remove the batch dimension.
        """
        if single:
            layers = [tuple(leaf.squeeze(1) for leaf in leaves) for leaves in layers]
        if len(layers) == 1 and self.stacked:
            return layers[0][0] if len(layers[0]) == 1 else layers[0]
        joined: list[State] = []
        for leaves in zip(*layers, strict=True):
            if self.stacked:
                joined.append(leaves[0] if len(leaves) == 1 else torch.cat(leaves))
            else:
                joined.append(leaves)
        return joined[0] if len(joined) == 1 else tuple(joined)

    def begin(self, first: State, start: Callable[[Leaves], Leaves]) -> State:
        """Return a state with the given first leaf.

        Args:
            first: the first leaf, as a call returns it.
            start: returns the leaves of a layer, given the first leaf and zeros in the others.
        """
        if isinstance(first, Tensor):
            first = first.split(self.directions)
        given = [leaf for _, leaf in named_leaves(first)]  # one for each layer
        zeros = self.zeros(given[0], given[0].shape[1])
        return self.join(
            [start((leaf, *rest[1:])) for leaf, rest in zip(given, zeros, strict=True)]
        )

    def last(self, state: State) -> Tensor:
        """Return the first leaf of the last layer of a state, (B, directions * R)."""
        leaf = state if len(self.shapes[0]) == 1 else state[0]
        if not isinstance(leaf, Tensor):  # each layer has its own hidden size
            leaf = leaf[-1]
        assert isinstance(leaf, Tensor)
        return leaf[-self.directions :].transpose(0, 1).flatten(1)


def _check_kind(state: State, x: Tensor) -> None:
    """Raise an error unless a state fits the dtype and device of x; autocast takes short dtypes."""
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
