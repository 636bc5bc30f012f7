"""The cores on a GPU: comparison of results with the CPU, and of time with torch.nn.

    python benchmarks/gpu.py

Every core runs forward and backward on both devices with ragged rows, in float32 without TF32.  If
numbers differ by more than 1e-4 of the largest number, nothing is timed.  A ratio is the time of
torch.nn divided by ours, forward and backward, alternating: median and quartiles of 31 rounds.
Ragged rows are packed for torch.nn, and its time includes the packing.  It writes
benchmarks/results/gpu.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from result import write_result
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import elman
from elman.state import map_state

LENGTHS = torch.tensor([40, 0, 3, 40, 17, 39, 1])
CORES: dict[str, Callable[[], Any]] = {
    "RNN": lambda: elman.RNN(15, 33, batch_first=True),
    "LSTM": lambda: elman.LSTM(15, 33, num_layers=2, batch_first=True),
    "LSTM with projections": lambda: elman.LSTM(15, 33, proj_size=9, batch_first=True),
    "LSTM with layer norm": lambda: elman.LSTM(15, 33, batch_first=True, layer_norm=True),
    "GRU, both directions": lambda: elman.GRU(15, 33, bidirectional=True, batch_first=True),
    "GRU-D": lambda: elman.GRUD(7, 33),
}
SHAPES = ((32, 100, 256), (64, 200, 512))  # B, T, H
ROUNDS = 31


def difference(make: Callable[[], Any]) -> float:
    """Return the largest relative difference of outputs, state and gradients of CPU and GPU."""
    torch.manual_seed(0)
    weights, x = make().state_dict(), torch.rand(len(LENGTHS), 40, 15)
    found: list[list[Tensor]] = []
    for device in ("cpu", "cuda"):
        core = make()
        core.load_state_dict(weights)
        core.to(device)
        read = x.clone().to(device).requires_grad_()
        y, state = core(read, None, LENGTHS)
        leaves: list[Tensor] = []
        map_state(lambda leaf, kept=leaves: kept.append(leaf) or leaf, state)
        sum((leaf.square().sum() for leaf in leaves), y.square().sum()).backward()
        gradients = [read.grad, *(p.grad for p in core.parameters())]
        found.append([t.detach().cpu() for t in [y, *leaves, *gradients]])
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*found, strict=True))


def ratio(cell: str, shape: tuple[int, int, int], *, ragged: bool) -> dict[str, Any]:
    """Return the time of torch.nn divided by ours."""
    rows, steps, size = shape
    ours, theirs = (
        getattr(module, cell)(size, size, batch_first=True).cuda() for module in (elman, nn)
    )
    x = torch.randn(rows, steps, size, device="cuda", requires_grad=True)
    lengths = torch.randint(1, steps + 1, (rows,), generator=torch.Generator().manual_seed(0))

    def run_ours() -> Tensor:
        y: Tensor = ours(x, None, lengths if ragged else None)[0]
        return y

    def run_theirs() -> Tensor:
        if not ragged:
            y: Tensor = theirs(x)[0]
            return y
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=steps)[0]

    def seconds(run: Callable[[], Tensor]) -> float:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        run().sum().backward()
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    for run in (run_ours, run_theirs):
        seconds(run)
    ratios = [seconds(run_theirs) / seconds(run_ours) for _ in range(ROUNDS)]
    low, middle, high = (round(x, 2) for x in statistics.quantiles(ratios, n=4))
    return {"median": middle, "quartiles": [low, high]}


def main() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    differences = {name: difference(make) for name, make in CORES.items()}
    facts: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "largest difference": differences,
    }
    if max(differences.values()) < 1e-4:
        facts["torch.nn by elman"] = {
            f"{cell} B {b} T {t} H {h} {'ragged' if ragged else 'padded'}": ratio(
                cell, (b, t, h), ragged=ragged
            )
            for cell in ("LSTM", "GRU")
            for b, t, h in SHAPES
            for ragged in (False, True)
        }
    write_result("gpu", facts)


if __name__ == "__main__":
    main()
