"""Attention: what of a source a decoder looks at, step by step.

    a_st = softmax_t(e_st),   context_s = sum_t a_st v_t

    additive        e_st = v . tanh(W q_s + U h_t)
    dot             e_st = q_s . h_t
    multiplicative  e_st = q_s . W h_t
    multi-head      several of W_q q_s . W_k h_t / sqrt(d) side by side, each with values W_v h_t

Sources: Bahdanau, Cho and Bengio 2014 (arXiv:1409.0473) for the first; Luong, Pham and Manning 2015
(arXiv:1508.04025) for the next two; Vaswani et al. 2017 (arXiv:1706.03762) for the last.

What depends on the source alone is computed once (`Memory`).  A source without elements has a
context of zeros.

Shape legend: B rows, S steps of the decoder, T of the source, Q features of a query, M of the
source.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from elman.errors import ArgumentError
from elman.padded import Padded, masked_softmax

Kind = Literal["additive", "dot", "multiplicative", "multi-head"]
KINDS = ("additive", "dot", "multiplicative", "multi-head")


class Memory(NamedTuple):
    """A source as attention sees it.

    Attributes:
        keys: (B, T, Q).
        values: (B, T, M).
        mask: boolean (B, T), true where there is an element.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor

    def rows(self, which: Tensor) -> Memory:
        """Rows by index, any number of times: for beams."""
        return Memory(*(part.index_select(0, which) for part in self))


class Attention(nn.Module):
    """Attention of one kind.

    Args:
        query_size: Q.
        memory_size: M.
        kind: see the top of the file.
        heads: of multi-head.

    Raises:
        ArgumentError: the sizes do not fit the kind.

    Example:
        >>> import torch
        >>> from elman.attend import Attention
        >>> from elman.padded import Padded, masked_softmax
        >>> attend = Attention(6, 4, "additive")
        >>> memory = attend.remember(Padded(torch.zeros(2, 5, 4), torch.tensor([5, 2])))
        >>> context, weights = attend(torch.zeros(2, 3, 6), memory)
        >>> context.shape, weights[1, 0].tolist()
        (torch.Size([2, 3, 4]), [0.5, 0.5, 0.0, 0.0, 0.0])
    """

    def __init__(
        self, query_size: int, memory_size: int, kind: Kind = "multiplicative", *, heads: int = 4
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ArgumentError(f"attention must be one of {', '.join(KINDS)}, got {kind!r}")
        if kind == "dot" and query_size != memory_size:
            raise ArgumentError(
                f"attention=dot needs states of one size in encoder and decoder, got {memory_size} "
                f"and {query_size}; choose multiplicative"
            )
        if kind == "multi-head" and (query_size % heads or memory_size % heads):
            raise ArgumentError(
                f"heads={heads} must divide the sizes {query_size} and {memory_size}"
            )
        self.kind, self.heads = kind, heads
        if kind != "dot":
            self.key = nn.Linear(memory_size, query_size, bias=kind == "additive")
        if kind in ("additive", "multi-head"):
            self.query = nn.Linear(query_size, query_size, bias=False)
        if kind == "additive":
            self.energy = nn.Parameter(torch.empty(query_size).uniform_(-0.1, 0.1))
        if kind == "multi-head":
            self.value = nn.Linear(memory_size, memory_size)
            self.join = nn.Linear(memory_size, memory_size)

    def remember(self, states: Padded) -> Memory:
        """What of the source can be computed before the first query."""
        h = states.cleared()
        keys = h if self.kind == "dot" else self.key(h)
        return Memory(keys, self.value(h) if self.kind == "multi-head" else h, states.mask())

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Contexts (B, S, M) and weights (B, S, T) of queries (B, S, Q)."""
        if self.kind == "multi-head":
            return self._by_heads(query, memory)
        if self.kind == "additive":
            sums = self.query(query).unsqueeze(2) + memory.keys.unsqueeze(1)
            scores = torch.tanh(sums) @ self.energy
        else:
            scores = query @ memory.keys.transpose(1, 2)
        weights = masked_softmax(scores, memory.mask.unsqueeze(1))
        return weights.to(memory.values.dtype) @ memory.values, weights

    def _by_heads(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        q, k, v = (
            x.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(query), memory.keys, memory.values)
        )
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        weights = masked_softmax(scores, memory.mask[:, None, None])
        context: Tensor = self.join((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))
        there = memory.mask.any(1)[:, None, None]
        return torch.where(there, context, 0), weights.mean(1)
