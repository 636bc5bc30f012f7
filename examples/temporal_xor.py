"""Sequence regression, the first experiment of Elman 1990: XOR in time.

    python examples/temporal_xor.py

A sequence is two random bits, their exclusive or, and so on: 1 0 1  0 0 0  1 1 0 ...  The network
reads the bits one by one and predicts the next one, with the squared error averaged over all time
steps:

    h_t = tanh(W_hh h_{t-1} + W_xh x_t + b_h),    y_t = sigmoid(W_hy h_t + b_y)

The error can fall only at every third step, where the last two bits determine the next.  At the
others the lowest possible error is 0.25, the variance of a coin.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from elman import RNN
from elman.heads import ValueHead
from elman.model import SequenceModel
from elman.padded import Padded
from elman.train.chunks import Chunk
from elman.train.loop import fit
from elman.train.settings import TrainingSettings


class TemporalXor:
    """Batches of 32 sequences of 31 bits; inputs are bits 0..29, targets 1..30."""

    rows = 32

    def __len__(self) -> int:
        return 40

    def epoch(self, number: int, start: int = 0) -> Iterator[Chunk]:
        for batch in range(start, len(self)):
            draw = torch.Generator().manual_seed(1000 * number + batch)
            bits = torch.randint(2, (self.rows, 11, 2), generator=draw)
            triples = torch.cat([bits, bits.sum(2, keepdim=True) % 2], dim=2)
            sequence = triples.flatten(1).float().unsqueeze(2)[:, :31]
            yield Chunk(Padded.full(sequence[:, :-1]), sequence[:, 1:])


def run(epochs: int = 20) -> list[float]:
    """Train, and return the mean squared error of the predictions after each bit of a triple."""
    torch.manual_seed(0)
    core = RNN(input_size=1, hidden_size=16, batch_first=True)
    model = SequenceModel(None, core, ValueHead(16, 1, g=torch.sigmoid))
    settings = TrainingSettings(epochs=epochs, learning_rate=0.01, device="cpu")
    fit(model, TemporalXor(), TemporalXor(), settings)
    test = next(TemporalXor().epoch(epochs + 1))
    with torch.no_grad():
        predicted, _ = model(test.inputs)
    error = (predicted.data - test.targets).square().mean(dim=(0, 2))
    return [float(error[first::3].mean()) for first in range(3)]


if __name__ == "__main__":
    second, xor, first = run()
    print(f"mean squared error: first bit {first:.3f}, second {second:.3f}, their XOR {xor:.3f}")
