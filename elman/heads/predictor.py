"""The prediction network of a transducer: vectors of the tokens so far.

    recurrent:  p_u = h_u,  h_u = cell(E[y_u], h_{u-1})
    stateless:  p_u = sum_i A_i E[y_{u-i}] + a,  i = 0..k-1:  only the last k tokens

Before the first token both see the embedding of the blank, y_0.

Sources: Graves 2012 (arXiv:1211.3711); Ghodsi et al. 2020, "RNN-transducer with stateless
prediction network", ICASSP.

Shape legend: N hypotheses or rows, U tokens, S features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elman.recur.gru import GRU
from elman.state import State


class RecurrentPredictor(nn.Module):
    """A GRU over all tokens so far.

    Args:
        vocabulary_size: the number of tokens; the blank is the token after them.
        size: S.

    Example:
        >>> import torch
        >>> from elman.heads.predictor import RecurrentPredictor
        >>> predictor = RecurrentPredictor(9, 4)
        >>> predictor(torch.tensor([[1, 2, 3]]), torch.tensor([3])).shape
        torch.Size([1, 4, 4])
    """

    def __init__(self, vocabulary_size: int, size: int) -> None:
        super().__init__()
        self.blank = vocabulary_size
        self.embed = nn.Embedding(vocabulary_size + 1, size)
        self.core = GRU(size, size, batch_first=True)

    def forward(self, targets: Tensor, tokens: Tensor) -> Tensor:
        """Return vectors (N, U + 1, S) before each of the targets (N, U), and after the last."""
        read = F.pad(targets, (1, 0), value=self.blank)
        h: Tensor = self.core(self.embed(read), None, tokens + 1)[0]
        return h

    def begin(self, n: int) -> tuple[Tensor, State]:
        """Return the vectors (n, S) before the first token, and the state."""
        return self._step(torch.full((n,), self.blank, device=self.embed.weight.device), None)

    def advance(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the vectors (N, S) after tokens (N,), and the state."""
        return self._step(tokens, state)

    def _step(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        h, state = self.core(self.embed(tokens).unsqueeze(1), state)
        return h[:, 0], state


class StatelessPredictor(nn.Module):
    """A convolution over the last k tokens.

    Args:
        vocabulary_size: the number of tokens; the blank is the token after them.
        size: S.
        context: k.

    Example:
        >>> import torch
        >>> from elman.heads.predictor import StatelessPredictor
        >>> predictor = StatelessPredictor(9, 4, 2)
        >>> predictor(torch.tensor([[1, 2, 3]]), torch.tensor([3])).shape
        torch.Size([1, 4, 4])
    """

    def __init__(self, vocabulary_size: int, size: int, context: int) -> None:
        super().__init__()
        self.blank, self.context = vocabulary_size, context
        self.embed = nn.Embedding(vocabulary_size + 1, size)
        self.convolve = nn.Conv1d(size, size, context)

    def forward(self, targets: Tensor, _tokens: Tensor) -> Tensor:
        """Return vectors (N, U + 1, S) before each of the targets (N, U), and after the last."""
        read = F.pad(targets, (self.context, 0), value=self.blank)
        h: Tensor = self.convolve(self.embed(read).transpose(1, 2)).transpose(1, 2)
        return h

    def begin(self, n: int) -> tuple[Tensor, State]:
        """Return the vectors (n, S) before the first token, and the state: k - 1 tokens."""
        blanks = torch.full((self.context, n), self.blank, device=self.embed.weight.device)
        return self.advance(blanks[0], blanks[1:])

    def advance(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the vectors (N, S) after tokens (N,), and the state."""
        assert isinstance(state, Tensor)
        read = torch.cat([state, tokens.unsqueeze(0)])  # (k, N)
        h: Tensor = self.convolve(self.embed(read).permute(1, 2, 0)).squeeze(2)
        return h, read[1:]
