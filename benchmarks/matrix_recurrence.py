"""Time of the recurrence of a matrix state: the kernel beside implementations in torch.

    python benchmarks/matrix_recurrence.py [--rounds 9] [--threads 1]

Programs alternate in one process, in float32.  A ratio is a peer's time divided by ours in the same
round.  Results and gradients are first compared with those in float64; if they differ, nothing is
timed.

The recurrences are the gated delta rule, with one decay for each head, and linear attention with
one decay for each head.  The peers are the loop over steps, and the chunked form in torch: chunks
of 64 steps as products of matrices, with the inverse of a triangular matrix for the delta rule
(arXiv:2412.06464, section 3.3).  It writes benchmarks/results/matrix_recurrence.json.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import torch
from linear_recurrence import BLOCK, LONG_ENOUGH, seconds, spread
from result import write_result
from torch import Tensor
from torch.nn import functional as F

from elman import kernels
from elman.recur.matrix import matrix_recurrence, plain_matrix_scan
from elman.train.memory import keep_freed_memory

SHAPES = [(1, 512, 4, 64), (1, 2048, 8, 64), (8, 256, 4, 64), (32, 100, 4, 32), (4, 512, 2, 128)]
CHUNK = 64
Run = Callable[..., Tensor]


def kernel(q: Tensor, k: Tensor, v: Tensor, a: Tensor, beta: Tensor | None = None) -> Tensor:
    return matrix_recurrence(q, k, v, a, beta, delta=beta is not None)[0]


def loop(q: Tensor, k: Tensor, v: Tensor, a: Tensor, beta: Tensor | None = None) -> Tensor:
    delta = beta is not None
    return plain_matrix_scan(q, k, v, a, beta, None, None, delta=delta, reverse=False)[0]


def chunked(q: Tensor, k: Tensor, v: Tensor, a: Tensor, beta: Tensor | None = None) -> Tensor:
    """Return y (B, T, N, V): steps of a chunk at once, chunks one after another."""
    steps = q.shape[1]
    missing = -steps % CHUNK
    parts = [a.log(), q, k, v] if beta is None else [a.log(), q, k, v, beta]
    cut = []
    for x in parts:  # (chunks, B, N, CHUNK, ...)
        padded = F.pad(x, [0, 0] * (x.dim() - 2) + [0, missing])
        cut.append(padded.unflatten(1, (-1, CHUNK)).movedim(3, 2).movedim(1, 0))
    log_a, q, k, v, *rest = cut
    g = log_a.cumsum(-1)
    # The upper half would overflow.
    ratio = (g.unsqueeze(-1) - g.unsqueeze(-2)).tril().exp().tril()
    ahead, behind = g.exp().unsqueeze(-1), (g[..., -1:] - g).exp().unsqueeze(-1)
    inside = (q @ k.mT) * ratio
    if rest:
        b = rest[0].unsqueeze(-1)
        lower = (b * (k @ k.mT) * ratio).tril(-1) + torch.eye(CHUNK, dtype=q.dtype)
        both = torch.cat([b * v, b * k * ahead], -1)
        new, read = torch.linalg.solve_triangular(lower, both, upper=False).split(
            [v.shape[-1], k.shape[-1]], -1
        )
    else:
        new, read = v, torch.zeros_like(k)
    S = torch.zeros(*k.shape[1:3], k.shape[-1], v.shape[-1], dtype=q.dtype)
    outputs = []
    for n in range(len(q)):
        u = new[n] - read[n] @ S if rest else new[n]
        outputs.append((q[n] * ahead[n]) @ S + inside[n] @ u)
        S = ahead[n][..., -1:, :] * S + (k[n] * behind[n]).mT @ u
    y = torch.stack(outputs, 1)  # (B, chunks, N, CHUNK, V)
    return y.movedim(2, 3).flatten(1, 2)[:, :steps]


def programs(
    shape: tuple[int, int, int, int], *, delta: bool
) -> dict[str, dict[str, Callable[[], list[Tensor]]]]:
    """Compare the programs and return them by name, without and with gradients."""
    rows, steps, heads, size = shape
    full = (rows, steps, heads, size)
    given = [
        torch.randn(full) / size**0.5,
        F.normalize(torch.randn(full), dim=-1),
        torch.randn(full),
        0.9 + 0.1 * torch.rand(full[:3]),
    ]
    given += [2 * torch.rand(full[:3])] if delta else []
    d_y = torch.randn(full)

    def forward(run: Run, inputs: list[Tensor]) -> Callable[[], list[Tensor]]:
        def call() -> list[Tensor]:
            with torch.no_grad():
                return [run(*inputs)]

        return call

    def training(run: Run, inputs: list[Tensor]) -> Callable[[], list[Tensor]]:
        leaves = [x.clone().requires_grad_() for x in inputs]

        def call() -> list[Tensor]:
            y = run(*leaves)
            return [y, *torch.autograd.grad(y, leaves, d_y.to(y.dtype))]

        return call

    peers: dict[str, Run] = {"elman": kernel, "chunks": chunked, "loop": loop}
    exact = training(loop, [x.double() for x in given])()
    for name, run in peers.items():
        for x, y in zip(training(run, given)(), exact, strict=True):
            error = float((x - y).detach().abs().max() / y.detach().abs().max())
            assert error < 1e-3, f"{name} at {shape} is off by {error:.1e}: nothing is timed"
    return {
        "forward": {name: forward(run, given) for name, run in peers.items()},
        "forward and backward": {name: training(run, given) for name, run in peers.items()},
    }


def measure(
    run: dict[str, Callable[[], list[Tensor]]], rounds: int, tokens: int
) -> dict[str, object]:
    """Return our time for a token and the ratios of the peers."""
    calls = {name: max(1, math.ceil(BLOCK / seconds(f, 1))) for name, f in run.items()}
    times: dict[str, list[float]] = {name: [] for name in run}
    for n in range(rounds):
        names = list(run)[n % len(run) :] + list(run)[: n % len(run)]
        for name in names:
            times[name].append(seconds(run[name], calls[name]))
        if n >= 2 and sum(sum(x) for x in times.values()) > LONG_ENOUGH:
            break
    cell: dict[str, object] = {
        "elman, us a token": spread([1e6 * x / tokens for x in times["elman"]])
    }
    for name in list(run)[1:]:
        pairs = zip(times[name], times["elman"], strict=True)
        cell[f"{name} / elman"] = spread([theirs / ours for theirs, ours in pairs])
    return cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    cells: dict[str, dict[str, object]] = {}
    for delta in (True, False):
        title = "gated delta rule" if delta else "linear attention with decay"
        for shape in SHAPES:
            found = programs(shape, delta=delta)
            for kind, run in found.items():
                cell = measure(run, given.rounds, shape[0] * shape[1])
                cells[f"{title}, {shape}, {kind}"] = cell
                print(title, shape, kind, cell, flush=True)
    summary = {}
    for kind in ("forward", "forward and backward"):
        for peer in ("chunks", "loop"):
            medians = [
                cell[f"{peer} / elman"]["median"]  # type: ignore[index]
                for name, cell in cells.items()
                if name.endswith(f"), {kind}")
            ]
            summary[f"{peer} / elman, {kind}"] = {
                "geometric mean": round(math.exp(float(np.mean(np.log(medians)))), 1),
                "worst": round(min(medians), 1),
            }
    write_result(
        "matrix_recurrence",
        {
            "what": "recurrences of a matrix state, float32; shapes are (B, T, heads, features of "
            "a key and of a value)",
            "kernels": kernels.name(),
            "threads": given.threads,
            "rounds": given.rounds,
            "all shapes": summary,
            "shapes": cells,
        },
    )


if __name__ == "__main__":
    main()
