"""A sequence model: an encoder, a recurrent core and a head.

    x_t = encode(element_t),   h_t, state = core(x_t, state),   scores_t = head(h_t)

In training the core's output can have a dropout mask m and penalties (Merity, McCann and Socher
2017, arXiv:1708.01009):

    penalty = alpha * mean((m * h_t)^2) + beta * mean((h_t - h_{t-1})^2)
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.dropout import check_probability, dropout, locked_dropout
from elman.encode.encoder import Encoder
from elman.errors import ArgumentError
from elman.padded import Padded
from elman.recur.blocks import AnyCore
from elman.state import State


class Head(Protocol):
    """A module that turns states into scores and a loss."""

    def __call__(self, states: Tensor, /) -> Tensor:
        """Return scores for states (B, T, D), which some heads take as Padded."""

    def loss(self, states: Padded, targets: Tensor, /) -> tuple[Tensor, int]:
        """Return the loss summed over elements, and their number."""

    def score(self, states: Padded, targets: Tensor, /) -> dict[str, float]:
        """Return sums for `summary`."""

    def summary(self, sums: dict[str, float], /) -> dict[str, float]:
        """Return scores, given sums over batches."""


class Loss(NamedTuple):
    """The loss summed over the elements of a batch, a penalty to add to its mean, and the state."""

    total: Tensor
    elements: int
    penalty: Tensor | None
    state: State


class SequenceModel(nn.Module):
    """A model that encodes elements, runs a recurrence, and computes scores with a head.

    Args:
        encode: turns elements into vectors; None if the data are vectors already.
        core: any recurrence of `elman.recur`, batch first.
        head: turns states into scores and a loss.
        dropout: probability of dropping a feature of the core's output.
        variational: drop the same features at all steps of a row (locked).
        activation_penalty: alpha.
        temporal_penalty: beta.
        backward_steps: number of last steps of each row through which the gradient flows in
            training, which bounds the memory; None for all.
        skip: give the head the inputs along with the states (Graves 2013, arXiv:1308.0850).

    Example:
        >>> import torch, elman
        >>> from elman.model import SequenceModel
        >>> from elman.heads import ValueHead
        >>> from elman.padded import Padded
        >>> model = SequenceModel(None, elman.RNN(2, 8, batch_first=True), ValueHead(8, 1))
        >>> x, y = torch.zeros(4, 10, 2), torch.zeros(4, 10, 1)
        >>> loss = model.loss(Padded.full(x), y)
        >>> loss.elements, tuple(loss.state.shape)
        (40, (1, 4, 8))
    """

    def __init__(
        self,
        encode: Encoder | None,
        core: AnyCore,
        head: Head,
        *,
        dropout: float = 0.0,
        variational: bool = True,
        activation_penalty: float = 0.0,
        temporal_penalty: float = 0.0,
        backward_steps: int | None = None,
        skip: bool = False,
    ) -> None:
        super().__init__()
        if not core.batch_first:
            raise ArgumentError("core must be batch first: build it with batch_first=True")
        self.encode = encode
        self.core = core
        self.head = head
        self.dropout = check_probability("dropout", dropout)
        self.variational = variational
        self.activation_penalty = activation_penalty
        self.temporal_penalty = temporal_penalty
        if backward_steps is not None and skip:
            raise ArgumentError("backward_steps and skip cannot be combined")
        if backward_steps is not None and not core.causal:
            raise ArgumentError("backward_steps needs a core that reads forward only")
        self.backward_steps = backward_steps
        self.skip = skip

    def run(
        self, x: Padded, state: State | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Padded, State]:
        """Return the states (B, T, D) of the core for a batch, and the state after its last step.

        `extra` is passed on unchanged.
        """
        extra = x.extra
        if self.encode is not None:
            x = self.encode(x, generator=generator)
        k = self.backward_steps
        if self.training and k is not None and k < x.data.shape[1]:
            h, state = self._run_end(x, state, k, generator)
            return Padded(h, x.lengths, extra), state
        h, state = self.core(x.data, state, x.lengths, generator=generator)
        return Padded(torch.cat([h, x.data], 2) if self.skip else h, x.lengths, extra), state

    def _run_end(
        self, x: Padded, state: State | None, k: int, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """Run the core with a gradient through only the last k steps of each row."""
        before = (x.lengths - k).clamp(min=0)
        longest = int(before.max())
        with torch.no_grad():
            first, state = self.core(x.data[:, :longest], state, before, generator=generator)
        place = before.to(x.data.device).unsqueeze(1) + torch.arange(k, device=x.data.device)
        place = place.unsqueeze(2)
        last = x.data.gather(1, place.expand(-1, -1, x.data.shape[2]))
        h, state = self.core(last, state, x.lengths - before, generator=generator)
        whole = F.pad(first, (0, 0, 0, x.data.shape[1] - longest))
        return whole.scatter(1, place.expand(-1, -1, h.shape[2]), h), state

    def forward(self, x: Padded, state: State | None = None) -> tuple[Padded, State]:
        """Return scores (B, T, K) for every element, and the state."""
        h, state = self.run(x, state)
        return Padded(self.head(h.data), h.lengths), state

    def loss(
        self,
        x: Padded,
        targets: Tensor,
        state: State | None = None,
        *,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Loss:
        """Return the loss for targets (B, T, ...), with the penalties in training.

        `progress`, the completed share of the training, is not used here.
        """
        h, state = self.run(x, state, generator=generator)
        dropped, penalty = h, None
        if self.training:
            dropped = h._replace(data=self._drop(h.data, generator))
            penalty = self._penalty(h, dropped)
        total, elements = self.head.loss(dropped, targets)
        return Loss(total, elements, penalty, state)

    def score(
        self, x: Padded, targets: Tensor, state: State | None = None
    ) -> tuple[dict[str, float], State]:
        """Return sums for `head.summary`, and the state."""
        h, state = self.run(x, state)
        return self.head.score(h, targets), state

    def _drop(self, h: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.variational:
            return locked_dropout(h, self.dropout, time_dim=1, generator=generator)
        return dropout(h, self.dropout, generator=generator)

    def _penalty(self, h: Padded, dropped: Padded) -> Tensor | None:
        if not (self.activation_penalty or self.temporal_penalty):
            return None
        mask, features = h.mask().unsqueeze(2), h.data.shape[2]
        elements = mask.sum().clamp(min=1) * features
        penalty = self.activation_penalty * dropped.data.square().sum() / elements
        if self.temporal_penalty and h.data.shape[1] > 1:
            change = torch.where(mask[:, 1:], h.data[:, 1:] - h.data[:, :-1], 0)
            steps = mask[:, 1:].sum().clamp(min=1) * features
            penalty = penalty + self.temporal_penalty * change.square().sum() / steps
        return penalty
