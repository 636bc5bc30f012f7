"""Long memory: which recurrent layers can count ones, and which cannot.

    python examples/long_memory.py

The network reads bits and tells, after each one, whether the number of ones so far is odd (their
parity).  It learns from sequences of 40 bits and is then tested on 256:

    x_t in {0, 1},    y_t = (x_1 + ... + x_t) mod 2

This needs one bit of memory that every 1 turns over.  The gates of a minimal GRU depend on the
input only, and its state moves by a share between 0 and 1 towards a new value: the effect of the
past can shrink, but never turn over, so no weights compute the parity of long sequences.  The gates
of an LSTM also depend on its state, and so its next state can be the opposite of the last one.  A
linear recurrence can do it as well if the past may be multiplied by a negative number:
`elman.GatedDeltaNet` multiplies it by 1 - beta, with beta between 0 and 2
(Grazzi et al. 2024, arXiv:2411.12537).
"""

from __future__ import annotations

import torch

import elman
from elman.encode.embed import Embed
from elman.heads import TokenHead
from elman.model import SequenceModel
from elman.padded import Padded
from elman.recur.stack import Stack

SIZE = 32


def draw(rows: int, steps: int, seed: int) -> tuple[Padded, torch.Tensor]:
    """Return random bits and their parities, (B, T) each."""
    bits = torch.randint(2, (rows, steps), generator=torch.Generator().manual_seed(seed))
    return Padded.full(bits), bits.cumsum(1) % 2


def run(layer: Stack, steps: int = 400) -> list[float]:
    """Train, and return the shares of right answers after 1-40, 41-128 and 129-256 bits."""
    model = SequenceModel(Embed(2, SIZE), layer, TokenHead(SIZE, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(steps):
        loss = model.loss(*draw(64, 40, seed=step))
        optimizer.zero_grad()
        (loss.total / loss.elements).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    bits, parities = draw(200, 256, seed=steps)
    with torch.no_grad():
        scores, _ = model(bits)
    right = (scores.data.argmax(2) == parities).float().mean(0)
    return [float(part.mean()) for part in right.split([40, 88, 128])]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("share of right answers after    1-40   41-128  129-256 bits")
    for name in ("MinGRU", "LSTM"):
        torch.manual_seed(0)
        layer = getattr(elman, name)(SIZE, SIZE, batch_first=True)
        found = "   ".join(f"{share:6.3f}" for share in run(layer))
        print(f"{name:28}  {found}", flush=True)
    print("The gates of MinGRU do not read the state, so nothing in it can turn over.")
