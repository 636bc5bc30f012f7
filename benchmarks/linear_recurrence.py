"""Training time of h_t = a_t * h_{t-1} + b_t: the kernel beside implementations in torch.

    python benchmarks/linear_recurrence.py [rounds]

Each program runs forward and backward in float32, alternating with the others in one process.  A
ratio is a peer's time divided by ours in the same round.  The gradients are first compared with
those in float64; if they differ, nothing is timed.

The peers are the scan in log-space of the minGRU paper (arXiv:2410.01201, appendix; Heinsen 2023,
arXiv:2311.06281), which is given log a and log b; a loop over steps that `unbind` separates
beforehand, as it should be written; and a loop that takes `a[:, t]` at every step, as it is often
written.  The gradient of the last loop fills a tensor of all steps at every step.

Freed memory is kept (elman/train/memory.py), as in Elman's training; all peers gain from it.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from result import write_result
from torch import Tensor

from elman import kernels
from elman.recur import linear_recurrence
from elman.train.memory import keep_freed_memory

GRID = list(itertools.product((1, 8, 32), (100, 1000), (64, 256, 1024)))
BLOCK = 0.002  # fewest seconds that a program runs in a round
LONG_ENOUGH = 3  # seconds after which a shape is finished, if it has three rounds
LONGEST = 5 * 10**8  # most numbers that the indexing loop may fill


def kernel(a: Tensor, b: Tensor) -> Tensor:
    return linear_recurrence(a, b)[0]


def log_scan(log_a: Tensor, log_b: Tensor) -> Tensor:
    total = log_a.cumsum(1)
    return (total + (log_b - total).logcumsumexp(1)).exp()


def loop(a: Tensor, b: Tensor) -> Tensor:
    h, steps = torch.zeros_like(b[:, 0]), []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        steps.append(h)
    return torch.stack(steps, 1)


def indexing_loop(a: Tensor, b: Tensor) -> Tensor:
    h, steps = torch.zeros_like(b[:, 0]), []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        steps.append(h)
    return torch.stack(steps, 1)


def programs(shape: tuple[int, int, int]) -> dict[str, Callable[[], list[Tensor]]]:
    """Compare the programs and return them by name; each returns h and gradients of a and b."""
    a, b, d_h = torch.rand(shape) * 0.9 + 0.1, torch.rand(shape) + 0.1, torch.randn(shape)
    given = [a.requires_grad_(), b.requires_grad_()]
    logs = [x.detach().log().requires_grad_() for x in given]

    def training(run: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], list[Tensor]]:
        def call() -> list[Tensor]:
            h = run(*inputs)
            return [h, *torch.autograd.grad(h, inputs, d_h)]

        return call

    found = {
        "elman": training(kernel, given),
        "log-space scan": training(log_scan, logs),
        "loop": training(loop, given),
    }
    if shape[1] * math.prod(shape) <= LONGEST:
        found["loop that indexes"] = training(indexing_loop, given)
    exact = [x.detach().double().requires_grad_() for x in given]
    h = loop(*exact)
    expected = [h, *torch.autograd.grad(h, exact, d_h.double())]
    for name, run in found.items():
        results = run()
        if name == "log-space scan":  # d log a = da / a
            results[1:] = [g / x for g, x in zip(results[1:], given, strict=True)]
        # Rounding adds up over all steps; in log-space sums over 1000 steps are rounded as well.
        bound = 1e-2 if name == "log-space scan" else 1e-5
        for x, y in zip(results, expected, strict=True):
            error = float((x - y).detach().abs().max() / y.detach().abs().max())
            assert error < bound, f"{name} at {shape} is off by {error:.1e}: nothing is timed"
    return found


def seconds(run: Callable[[], object], calls: int) -> float:
    if calls > 1:  # do not time the call that finds the caches full of another program's data
        run()
    began = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - began) / calls


def spread(values: list[float]) -> dict[str, object]:
    low, middle, high = (float(f"{v:.3g}") for v in np.quantile(values, [0.25, 0.5, 0.75]))
    return {"median": middle, "quartiles": [low, high]}


def main(rounds: int) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    keep_freed_memory()
    cells: dict[str, dict[str, object]] = {}
    ratios: dict[str, list[float]] = {}
    for shape in GRID:
        run = programs(shape)
        calls = {name: max(1, math.ceil(BLOCK / seconds(f, 1))) for name, f in run.items()}
        times: dict[str, list[float]] = {name: [] for name in run}
        for n in range(rounds):
            names = list(run)[n % len(run) :] + list(run)[: n % len(run)]
            for name in names:
                times[name].append(seconds(run[name], calls[name]))
            if n >= 2 and sum(sum(x) for x in times.values()) > LONG_ENOUGH:
                break
        cell: dict[str, object] = {"elman, ms": spread([1000 * x for x in times["elman"]])}
        for name in list(run)[1:]:
            pairs = zip(times[name], times["elman"], strict=True)
            cell[f"{name} / elman"] = spread([theirs / ours for theirs, ours in pairs])
            ratios.setdefault(name, []).append(cell[f"{name} / elman"]["median"])  # type: ignore[index]
        # Forward reads a, b and writes h; backward reads a, h, d_h and writes d_a, d_b.
        moved = 8 * 4 * math.prod(shape) / float(np.median(times["elman"])) / 1e9
        cells[str(shape)] = {**cell, "elman, GB/s": round(moved, 1)}
        print(shape, cells[str(shape)], flush=True)
    summary = {
        f"{name} / elman": {
            "geometric mean": round(math.exp(float(np.mean(np.log(values)))), 1),
            "worst": round(min(values), 1),
            "cells": len(values),
        }
        for name, values in ratios.items()
    }
    write_result(
        "linear_recurrence",
        {
            "what": "forward and backward of h_t = a_t h_{t-1} + b_t, (B, T, D), float32",
            "kernels": kernels.name(),
            "rounds": rounds,
            "all shapes": summary,
            "shapes": cells,
        },
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
