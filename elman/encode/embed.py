"""Embed token numbers as vectors: (B, T) int64 -> (B, T, D).

    x_t = m_t * E[token_t]

E is (V, D).  In training, embedding dropout drops whole tokens: a row of E is zero for all its
occurrences in a call.  Input dropout drops the same features at all steps of a row (locked).
Sources: Gal and Ghahramani 2016 (arXiv:1512.05287); Merity et al. 2017 (arXiv:1708.02182).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.dropout import check_probability, keep_mask, locked_dropout
from elman.padded import Padded


class Embed(nn.Module):
    """A table of vectors of tokens.

    Args:
        vocabulary_size: V.
        size: D, features of a vector.
        dropout: probability of dropping a token.
        input_dropout: probability of dropping a feature, the same at all steps.

    Example:
        >>> import torch
        >>> from elman.encode.embed import Embed
        >>> from elman.padded import Padded
        >>> Embed(10, 4)(Padded.full(torch.tensor([[1, 2, 3]]))).data.shape
        torch.Size([1, 3, 4])
    """

    def __init__(
        self, vocabulary_size: int, size: int, *, dropout: float = 0.0, input_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary_size, size).uniform_(-0.1, 0.1))
        self.dropout = check_probability("embedding_dropout", dropout)
        self.input_dropout = check_probability("input_dropout", input_dropout)

    def forward(self, tokens: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return the vectors of the tokens."""
        x: Tensor = F.embedding(tokens.data, self.weight)
        if self.training and self.dropout:
            rows = keep_mask(self.weight, (len(self.weight), 1), self.dropout, generator=generator)
            x = x * F.embedding(tokens.data, rows)
        if self.training:
            x = locked_dropout(x, self.input_dropout, time_dim=1, generator=generator)
        return Padded(x, tokens.lengths)
