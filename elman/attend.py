"""Attention: a weighted mean of the source at each step of a decoder.

    a_st = softmax_t(e_st),   context_s = sum_t a_st v_t

    additive        e_st = v . tanh(W q_s + U h_t)
    dot             e_st = q_s . h_t
    multiplicative  e_st = q_s . W h_t
    multi-head      several of W_q q_s . W_k h_t / sqrt(d) side by side, each with values W_v h_t

With coverage, the score also depends on the attention that an element received in previous steps:
the following term is added to U h_t, h_t, W h_t or W_k h_t.

    w_c sum_{r < s} a_rt            (the mean over heads, if there are several)

Sources: additive, Bahdanau, Cho and Bengio 2014 (arXiv:1409.0473); dot and multiplicative, Luong,
Pham and Manning 2015 (arXiv:1508.04025); multi-head, Vaswani et al. 2017 (arXiv:1706.03762);
coverage, with additive attention, See, Liu and Manning 2017 (arXiv:1704.04368).

Everything that depends on the source alone is computed once (`Memory`).  A source without elements
has a context of zeros.

Shape legend: B rows, H heads, S steps of the decoder, T steps of the source, Q features of a query,
M features of the source.
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
    """A source, prepared for attention.

    Attributes:
        keys: (B, T, Q).
        values: (B, T, M).
        mask: boolean (B, T), true where there is an element.
        seen: (B, T) sum of the weights of each element so far; None without coverage.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor
    seen: Tensor | None = None

    def rows(self, which: Tensor) -> Memory:
        """Return rows by index, which can repeat, for beam search."""
        keys, values, mask = (part.index_select(0, which) for part in self[:3])
        seen = None if self.seen is None else self.seen.index_select(0, which)
        return Memory(keys, values, mask, seen)


class Attention(nn.Module):
    """Attention of one kind.

    Args:
        query_size: Q.
        memory_size: M.
        kind: the scores to use.
        heads: number of heads of multi-head attention.
        coverage: the scores depend on the weights of previous steps, so steps run one by one.

    Raises:
        ArgumentError: the sizes do not fit the kind.

    Example:
        >>> import torch
        >>> from elman.attend import Attention
        >>> from elman.padded import Padded
        >>> attend = Attention(6, 4, "additive")
        >>> memory = attend.remember(Padded(torch.zeros(2, 5, 4), torch.tensor([5, 2])))
        >>> context, weights, memory = attend(torch.zeros(2, 3, 6), memory)
        >>> context.shape, weights[1, 0].tolist()
        (torch.Size([2, 3, 4]), [0.5, 0.5, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        kind: Kind = "multiplicative",
        *,
        heads: int = 4,
        coverage: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ArgumentError(f"attention must be one of {', '.join(KINDS)}, got {kind!r}")
        if kind == "dot" and query_size != memory_size:
            raise ArgumentError(
                "attention=dot needs states of the same size in encoder and decoder, got "
                f"{memory_size} and {query_size}; choose multiplicative"
            )
        if kind == "multi-head" and (query_size % heads or memory_size % heads):
            raise ArgumentError(
                f"heads={heads} must divide the sizes {query_size} and {memory_size}"
            )
        self.kind, self.heads = kind, heads if kind == "multi-head" else 1
        self.scale = math.sqrt(query_size // heads) if kind == "multi-head" else 1.0
        if kind != "dot":
            self.key = nn.Linear(memory_size, query_size, bias=kind == "additive")
        if kind in ("additive", "multi-head"):
            self.query = nn.Linear(query_size, query_size, bias=False)
        if kind == "additive":
            self.energy = nn.Parameter(torch.empty(query_size).uniform_(-0.1, 0.1))
        if kind == "multi-head":
            self.value = nn.Linear(memory_size, memory_size)
            self.join = nn.Linear(memory_size, memory_size)
        self.cover = nn.Parameter(torch.zeros(query_size)) if coverage else None

    def remember(self, states: Padded) -> Memory:
        """Return everything that can be computed from the source before the first query."""
        h = states.cleared()
        keys = h if self.kind == "dot" else self.key(h)
        values = self.value(h) if self.kind == "multi-head" else h
        seen = None if self.cover is None else h.new_zeros(h.shape[:2], dtype=torch.float32)
        return Memory(keys, values, states.mask(), seen)

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """Return contexts (B, S, M), weights (B, S, T) and the memory, for queries (B, S, Q)."""
        q = self.query(query) if self.kind in ("additive", "multi-head") else query
        mask, seen = memory.mask[:, None, None], memory.seen
        if seen is None or self.cover is None:
            weights = masked_softmax(self._scores(q, memory.keys), mask)
        else:
            steps = []
            for t in range(q.shape[1]):
                keys = memory.keys + seen.unsqueeze(2) * self.cover
                looked = masked_softmax(self._scores(q[:, t : t + 1], keys), mask)
                seen = seen + looked.mean(1)[:, 0]
                steps.append(looked)
            weights = torch.cat([seen.new_zeros(len(q), self.heads, 0, mask.shape[3]), *steps], 2)
        values = self._heads(memory.values)
        context = (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)
        if self.kind == "multi-head":
            context = torch.where(memory.mask.any(1)[:, None, None], self.join(context), 0)
        return context, weights.mean(1), memory._replace(seen=seen)

    def _scores(self, q: Tensor, keys: Tensor) -> Tensor:
        """Return the scores e (B, H, S, T)."""
        if self.kind == "additive":
            scores: Tensor = torch.tanh(q.unsqueeze(2) + keys.unsqueeze(1)) @ self.energy
            return scores.unsqueeze(1)
        return self._heads(q) @ self._heads(keys).transpose(2, 3) / self.scale

    def _heads(self, x: Tensor) -> Tensor:
        """Reshape (B, T, H * n) to (B, H, T, n)."""
        heads: Tensor = x.unflatten(2, (self.heads, -1))
        return heads.transpose(1, 2)
