"""The contract of a cell: the equations of one recurrent layer in one direction.

    s_t = step(x_t, s_{t-1})        s is the state; its first leaf is the output of the layer

A cell has no weights of its own: it defines their shapes, and receives them as a dictionary of
tensors.  `Stack` (stack.py) holds the weights and turns any cell into layers, directions, padded
and packed batches, and dropout.  The rest of this contract is optional and makes a cell faster: a
part that is computed for all steps at once, a whole sequence, a kernel, a function of torch.

Zoneout keeps old values: s_t = s_t + k_t * (s_{t-1} - s_t), where k_t is a random mask of units
in training and its expectation otherwise (Krueger et al. 2016, arXiv:1606.01305).

Shape legend: T steps, B rows, F features, H hidden units, R features that a layer outputs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.kernels.cells import Constants
from elman.padded import time_mask

Leaves = tuple[Tensor, ...]
Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


class Kernel(NamedTuple):
    """The native kernel of a cell: its name in `elman.kernels.cells.CELLS`, and its weights."""

    name: str
    constants: Callable[[Weights], Constants]


class Masks(NamedTuple):
    """The random masks of one layer in one direction, drawn before the first step."""

    seen: Tensor | None  # (B, R): the mask of recurrent dropout, 0 or 1 / (1 - p) for each unit
    kept: tuple[Tensor | float, ...]  # for each leaf: k_t, (T, B, ...), or one number; 0 if off

    @property
    def zoneout(self) -> bool:
        """Whether zoneout keeps old values of any leaf."""
        return any(isinstance(share, Tensor) or share > 0 for share in self.kept)


class Cell(ABC):
    """The equations of one recurrent layer in one direction.

    A subclass defines `weight_shapes` and `step`, and `state_shapes` if its state is not one vector
    of H numbers.

    Example:
        >>> import torch
        >>> from elman.recur.cell import Cell
        >>> from elman.recur.stack import Stack
        >>> class Leaky(Cell):
        ...     def weight_shapes(self, features, hidden):
        ...         return {"weight": (hidden, features)}
        ...
        ...     def step(self, x, state, weights, *, seen):
        ...         return (0.9 * state[0] + x @ weights["weight"].t(),)
        >>> core = Stack(Leaky(), 3, 8, num_layers=2, bidirectional=True, batch_first=True)
        >>> y, h = core(torch.zeros(4, 10, 3), lengths=[10, 7, 0, 1])
        >>> y.shape, h.shape
        (torch.Size([4, 10, 16]), torch.Size([4, 4, 8]))
    """

    # Weights without weight decay: rates of forgetting, which it would move far from their start.
    undecayed: tuple[str, ...] = ()
    steps_alone = True  # whether a sequence of one element costs less by `step` than by `sequence`

    @abstractmethod
    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        """Return the shape of each weight by its name, for F input features and H hidden units.

        The parameters of layer 0 are called NAME_l0 and NAME_l0_reverse, as in torch.  Weight
        dropout applies to the weight with the name `weight_hh`.
        """

    @abstractmethod
    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Return the new state after one step; its first leaf is the output.

        Args:
            x: (B, F), one row of what `inputs` returned.
            state: the leaves of the previous state, (B, ...) each.
            weights: the weights by name.
            seen: the first leaf of the state after recurrent dropout (B, R), which the matrices
                multiply.  It is the first leaf itself if recurrent dropout is off.
        """

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shape of each leaf of the state for one row, by name; the output is first."""
        return {"h": (hidden,)}

    def begin(self, state: Leaves) -> Leaves:
        """Return the state in which a decoder starts, given its first leaf and zeros in the others.

        A cell that does not read its previous output copies the first leaf into a leaf that it
        reads.  Leaves are (..., B, H) and so on.
        """
        return state

    def reset(self, weights: Weights, hidden: int) -> None:
        """Draw initial weights from U(-1/sqrt(H), 1/sqrt(H)), in their order; gains are 1."""
        bound = 1 / math.sqrt(hidden)
        for name, weight in weights.items():
            if name.startswith("gain_"):
                nn.init.ones_(weight)
            else:
                nn.init.uniform_(weight, -bound, bound)

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the part of the steps of x (T, B, F) that needs no state, for all steps."""
        return x

    def sequence(
        self,
        x: Tensor,
        state: Leaves,
        weights: Weights,
        *,
        masks: Masks,
        lengths: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, Leaves]:
        """Run all steps, by default one after another.

        Args:
            x: (T, B, F), zero after the end of a row.
            state: the leaves (B, ...) before the first step.
            weights: the weights by name.
            masks: recurrent dropout and zoneout.
            lengths: integers (B,) in 0..T; None if all rows have T steps.
            reverse: run from the last step to the first.

        Returns:
            the outputs (T, B, R), zero after the end of a row, and the last state.
        """
        running = None
        if lengths is not None:
            running = time_mask(lengths.to(x.device), x.shape[0]).t()
        read = self.inputs(x, weights)
        outputs = [state[0]] * len(read)
        for t in reversed(range(len(read))) if reverse else range(len(read)):
            seen = state[0] if masks.seen is None else state[0] * masks.seen
            new = self.step(read[t], state, weights, seen=seen)
            new = tuple(
                _mix(a, old, k if isinstance(k, float) else k[t])
                for a, old, k in zip(new, state, masks.kept, strict=True)
            )
            outputs[t] = new[0]
            if running is not None:
                outputs[t] = _where(running[t], new[0], 0)
                new = tuple(_where(running[t], a, old) for a, old in zip(new, state, strict=True))
            state = new
        return torch.stack(outputs), state

    def kernel(self) -> Kernel | None:
        """Return the native kernel that computes exactly these equations, or None."""
        return None

    def torch_function(self) -> Callable[..., tuple[Tensor, ...]] | None:
        """Return torch's function for exactly these equations, such as `torch.lstm`, or None."""
        return None


def _mix(new: Tensor, old: Tensor, share: Tensor | float) -> Tensor:
    """Apply zoneout to one leaf of the state."""
    return new if isinstance(share, float) and share == 0 else new + share * (old - new)


def _where(rows: Tensor, new: Tensor, old: Tensor | float) -> Tensor:
    """Return `new` (B, ...) for the rows (B,) that are true, and `old` for the others."""
    return torch.where(rows.view(-1, *[1] * (new.dim() - 1)), new, old)
