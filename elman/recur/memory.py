"""Cells whose state is a matrix for each head, see `elman.recur.matrix`.

A cell of this kind defines what its memory reads from W x_t: queries, keys, values, decay and
strength, and a gate of the output.  A whole sequence is then one call of `matrix_recurrence`.  The
output is that of each head divided by its root mean square, times a gain and the gate, times W_y.

Shape legend: T steps, B rows, F features, H hidden units, N heads, K features of a key, V features
of a value; K = V = H / N.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.kernels.products import linear
from elman.recur.cell import Cell, Leaves, Masks, Shapes, Weights
from elman.recur.convolve import convolve
from elman.recur.linear import last_outputs
from elman.recur.matrix import matrix_recurrence, step_of
from elman.recur.weights import count_heads

EPSILON = 1e-6  # added to the mean square
TAPS = 4  # weights of the convolution of a feature
SOONEST, LATEST = 0.001, 0.1  # range of a step of time before training
DECAY = (1.0, 16.0)  # range of the decay in a unit of time before training


class Read(NamedTuple):
    """The inputs of a memory, (..., N, K or V), for one step or all steps."""

    q: Tensor
    k: Tensor
    v: Tensor
    decay: Tensor | None = None  # (..., N) or (..., N, K)
    beta: Tensor | None = None  # (..., N)
    gate: Tensor | None = None  # (..., H), of the output


@dataclass(frozen=True)
class MatrixCell(Cell):
    """A cell with a matrix for each head.

    Args:
        heads: number of heads; None for heads of 64 units if 64 divides H, otherwise for one.
    """

    heads: int | None = None
    delta = False  # whether the memory first removes what it holds for a key

    @abstractmethod
    def read(self, parts: Sequence[Tensor], weights: Weights, hidden: int) -> Read:
        """Return the inputs of the memory for one or all steps of W x_t, in parts (..., D)."""

    def size(self, hidden: int) -> int:
        """Return the number of features of a head."""
        return hidden // count_heads(hidden, self.heads)

    def by_head(self, x: Tensor, hidden: int) -> Tensor:
        """Return x (..., H) as (..., N, H / N)."""
        found: Tensor = x.unflatten(-1, (-1, self.size(hidden)))
        return found

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of the output and of the matrices."""
        size = self.size(hidden)
        return {"y": (hidden,), "memory": (hidden // size, size, size)}

    def begin(self, state: Leaves) -> Leaves:
        """Return the state in which a decoder starts: the first key holds the first leaf."""
        first, memory, *rest = state
        memory = memory.clone()
        memory[..., 0, :] = first.unflatten(-1, (memory.shape[-3], -1))
        return first, memory, *rest

    def inputs(self, x: Tensor, weights: Weights) -> Tensor:
        """Return W x_t of all steps."""
        return linear(x, weights["weight"])

    def mixed(
        self,
        x: Tensor,
        rest: Sequence[Tensor],
        weights: Weights,
        lengths: Tensor | None,
        *,
        reverse: bool,
    ) -> tuple[Sequence[Tensor], Leaves]:
        """Return the parts (T, B, ...) of W x_t that `read` reads, possibly mixed over time.

        Args:
            x: (T, B, F).
            rest: the leaves of the state after the first two.
            weights: the weights by name.
            lengths: integers (B,) in 0..T; None if all rows have T steps.
            reverse: run from the last step to the first.

        Returns:
            the parts, and the new leaves.
        """
        return (self.inputs(x, weights),), ()

    def output(self, out: Tensor, read: Read, weights: Weights) -> Tensor:
        """Return y (..., H) for what was read from the memory, (..., N, V)."""
        y = (unit(out) * weights["gain"]).flatten(-2)
        return linear(y if read.gate is None else y * read.gate, weights["weight_out"])

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step: read from the memory after it was updated."""
        return self._step((x,), state, weights)

    def _step(self, parts: Sequence[Tensor], state: Leaves, weights: Weights) -> Leaves:
        last, memory = state
        read = self.read(parts, weights, last.shape[1])
        out, memory = step_of(*read[:5], memory, delta=self.delta)
        return self.output(out, read, weights), memory

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
        """Run all steps by `matrix_recurrence`."""
        last, memory, *rest = state
        parts, more = self.mixed(x, rest, weights, lengths, reverse=reverse)
        read = self.read(parts, weights, last.shape[1])
        q, k, v = (t.transpose(0, 1) for t in (read.q, read.k, read.v))
        decay, beta = (None if t is None else t.transpose(0, 1) for t in (read.decay, read.beta))
        out, memory = matrix_recurrence(
            q, k, v, decay, beta, memory, lengths, delta=self.delta, reverse=reverse
        )
        y = self.output(out.transpose(0, 1), read, weights)
        last = last_outputs(y, last, lengths, reverse=reverse)
        return y, (last, memory.to(last.dtype), *more)


class ConvolvedCell(MatrixCell):
    """A cell that mixes its queries, keys and values with those of the last three steps.

    The first 3 H features of W x_t pass through a causal convolution of each feature, whose weights
    are `weight_conv` (3 H, 4) and optionally `bias_conv` (3 H).
    """

    def state_shapes(self, hidden: int) -> Shapes:
        """Return the shapes of the output, of the matrices, and of the last three inputs."""
        return {**super().state_shapes(hidden), "tail": (TAPS - 1, 3 * hidden)}

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        """Compute one step: convolve, and then read from the memory after it was updated."""
        last, memory, tail = state
        u, rest = x.split([tail.shape[2], x.shape[1] - tail.shape[2]], 1)
        (u,), end = convolve(u[None], weights["weight_conv"], weights.get("bias_conv"), tail)
        return *self._step((u, rest), (last, memory), weights), end.to(tail.dtype)

    def mixed(
        self,
        x: Tensor,
        rest: Sequence[Tensor],
        weights: Weights,
        lengths: Tensor | None,
        *,
        reverse: bool,
    ) -> tuple[Sequence[Tensor], Leaves]:
        """Return the convolved part of W x_t and its other part, and the tail."""
        (tail,), matrix = rest, weights["weight"]
        first, second = matrix.split([tail.shape[2], len(matrix) - tail.shape[2]])
        u, end = convolve(
            linear(x, first),
            weights["weight_conv"],
            weights.get("bias_conv"),
            tail,
            lengths,
            reverse=reverse,
        )
        return (u, linear(x, second)), (end.to(tail.dtype),)


def unit(x: Tensor) -> Tensor:
    """Return x divided by the root mean square of its last dimension."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)).to(x.dtype)


def reset_convolved(weights: Weights) -> None:
    """Draw the matrices and the convolution from U(-1/sqrt(n), 1/sqrt(n)), for n inputs."""
    for name in ("weight", "weight_out", "weight_conv"):
        bound = 1 / math.sqrt(weights[name].shape[1])
        nn.init.uniform_(weights[name], -bound, bound)


@torch.no_grad()
def reset_decay(log_decay: Tensor, bias: Tensor) -> None:
    """Draw the decay of each head in a unit of time, and the bias of its steps of time.

    exp(log_decay) is between 1 and 16, and softplus(bias) between 0.001 and 0.1, uniform in its
    logarithm.
    """
    log_decay.uniform_(*DECAY).log_()
    step = torch.empty_like(bias).uniform_(math.log(SOONEST), math.log(LATEST)).exp_()
    bias.copy_(step + torch.log(-torch.expm1(-step)))
