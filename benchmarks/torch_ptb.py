"""A plain PyTorch script for the small Zaremba model, as people write it: the peer of speed.py.

It uses nothing of Elman except the token numbers that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Model(nn.Module):
    def __init__(self, vocabulary_size: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, 2)
        self.output = nn.Linear(hidden_size, vocabulary_size)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, state = self.lstm(self.embedding(x), state)
        return self.output(h.flatten(0, 1)), state


def steps(
    model: Model, tokens: Tensor, *, batch_size: int = 20, bptt: int = 20, rate: float = 20.0
) -> Iterator[float]:
    """Train one step at a time on a stream of tokens, and yield the loss of each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    length = len(tokens) // batch_size
    data = tokens[: length * batch_size].view(batch_size, length).t().contiguous()
    state = None
    model.train()
    for start in range(0, length - 1, bptt):
        stop = min(start + bptt, length - 1)
        x, target = data[start:stop], data[start + 1 : stop + 1].flatten()
        if state is not None:
            state = (state[0].detach(), state[1].detach())
        optimizer.zero_grad()
        scores, state = model(x, state)
        loss = nn.functional.cross_entropy(scores, target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        yield loss.item()
