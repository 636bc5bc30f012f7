"""Training of projection and cross-entropy beside torch: time, and memory as the scores grow.

    python benchmarks/cross_entropy.py [rounds]

Elman's kernel and torch's `linear` and `cross_entropy` compute the loss and all gradients of the
same tensors, alternating in one process.  The results of both are first compared with float64; if
one differs by more than 1e-5 of the largest number, the cell is not timed.  Both run with the
setting of glibc that Elman's training makes (train/memory.py), so that torch does not pay for fresh
memory either, and once more without it.  The memory is the growth of the peak of a fresh process
during the call.
"""

from __future__ import annotations

import itertools
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from result import write_result
from torch import Tensor
from torch.nn import functional as F

from elman import kernels
from elman.kernels.cross_entropy import linear_cross_entropy
from elman.train.loop import keep_freed_memory

V_SIZES, N_SIZES, D_SIZES = (10_000, 50_000), (700, 2000, 4000), (128, 256, 650)
Programs = dict[str, Callable[[], list[Tensor]]]


def programs(N: int, D: int, V: int) -> tuple[Programs, list[Tensor]]:
    """Return training steps by name, which return mean loss and gradients, and their tensors."""
    torch.manual_seed(0)
    h = torch.randn(N, D, requires_grad=True)
    weight = (torch.randn(V, D) / math.sqrt(D)).requires_grad_()
    bias = torch.randn(V, requires_grad=True)
    targets = torch.randint(V, (N,))
    leaves = [h, weight, bias]

    def step(loss: Callable[[], Tensor]) -> list[Tensor]:
        for leaf in leaves:
            leaf.grad = None
        value = loss() / N
        value.backward()
        return [value.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    def torch_loss() -> Tensor:
        return F.cross_entropy(F.linear(h, weight, bias), targets, reduction="sum")

    def loss() -> Tensor:
        return linear_cross_entropy(h, weight, bias, targets)

    return {"elman": lambda: step(loss), "torch": lambda: step(torch_loss)}, [*leaves, targets]


def error(results: list[Tensor], tensors: list[Tensor]) -> float:
    """Return the largest difference from float64, relative to the largest number of its tensor."""
    *leaves, targets = tensors
    exact = [leaf.detach().double() for leaf in leaves]
    h, weight, bias = exact
    wanted = [torch.zeros((), dtype=torch.float64), *(torch.zeros_like(x) for x in exact)]
    for part in torch.arange(len(h)).split(500):
        scores = F.linear(h[part], weight, bias)
        wanted[0] += F.cross_entropy(scores, targets[part], reduction="sum")
        d_scores = scores.softmax(1)
        d_scores[torch.arange(len(part)), targets[part]] -= 1
        wanted[1][part] = d_scores @ weight
        wanted[2] += d_scores.t() @ h[part]
        wanted[3] += d_scores.sum(0)
    return max(
        float((found - x / len(h)).abs().max() / (x / len(h)).abs().max())
        for found, x in zip(results, wanted, strict=True)
    )


def cell(N: int, D: int, V: int, rounds: int) -> dict[str, object]:
    runs, tensors = programs(N, D, V)
    errors = {name: error(run(), tensors) for name, run in runs.items()}
    if not all(e <= 1e-5 for e in errors.values()):
        return {"refused": errors}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - began))
    ratio = np.array(times["torch"]) / np.array(times["elman"])
    low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
    return {
        "ms": {name: round(float(np.median(t)), 1) for name, t in times.items()},
        "ratio": {"median": round(middle, 2), "quartiles": [round(low, 2), round(high, 2)]},
        "error": {name: float(f"{e:.0e}") for name, e in errors.items()},
    }


def table(rounds: int, kept: bool) -> dict[str, object]:
    """Measure all cells, each in its own process."""
    cells = {}
    for V, N, D in itertools.product(V_SIZES, N_SIZES, D_SIZES):
        command = [sys.executable, __file__, "cell", *map(str, (N, D, V, rounds, int(kept)))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        cells[f"V {V}, N {N}, D {D}"] = json.loads(done.stdout)
        print(f"V {V}, N {N}, D {D}: {done.stdout}", end="", file=sys.stderr)
    ratios = [c["ratio"]["median"] for c in cells.values() if "ratio" in c]
    mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    return {"geometric mean": round(mean, 2), "worst": min(ratios), **cells}


def growth(name: str, N: int, V: int) -> float:
    """Return the MB by which a step raises the peak memory of this process."""
    small, _ = programs(64, 64, 64)
    small[name]()
    runs, _ = programs(N, 64, V)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs[name]()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def memory() -> dict[str, object]:
    sizes = [(1000, 10_000), (4000, 10_000), (16_000, 10_000), (4000, 50_000)]
    found: dict[str, object] = {}
    for N, V in sizes:
        row = {"scores": round(N * V * 4 / 2**20), "gradients": round((N + V) * 64 * 4 / 2**20)}
        for name in ("elman", "torch"):
            command = [sys.executable, __file__, "memory", name, str(N), str(V)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row[name] = round(float(done.stdout))
        found[f"V {V}, N {N}"] = row
    return found


def main(rounds: int) -> None:
    write_result(
        f"cross_entropy/{kernels.name()}",
        {
            "what": "projection and cross-entropy, float32, loss and all gradients, against torch",
            "kernels": kernels.name(),
            "time, freed memory kept": table(rounds, kept=True),
            "time, memory of glibc as it comes": table(rounds, kept=False),
            "MB at the peak, D 64": memory(),
            "rounds": rounds,
        },
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["cell"]:
        *size, kept = map(int, sys.argv[2:])
        if kept:
            keep_freed_memory()
        print(json.dumps(cell(*size)))
    elif sys.argv[1:2] == ["memory"]:
        print(growth(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
