"""Time of the cells whose state is a linear recurrence of vectors, beside scans in torch.

    python benchmarks/linear_cells.py [--rounds 9]

Programs alternate in one process, in float32 on one thread, and CPU time is measured.  A ratio is
a peer's time divided by ours in the same round.  Results and gradients are first compared with
those in float64; if they differ, nothing is timed.

A training step is forward and backward of one layer, with gradients of its input and weights.  The
peers compute the same layer with products and functions of torch, and the recurrence by

- an associative scan, which combines pairs of steps recursively (Blelloch 1990), with a
  backward pass written by hand, which is faster than automatic differentiation;
- the scan in log-space of the minGRU paper (arXiv:2410.01201, appendix B), which needs positive
  states: its candidates are g(n) with g(n) = n + 0.5 for n >= 0 and sigmoid(n) otherwise.

Products with matrices are most of such a step, so the recurrence with its gates is also measured
without them: forward and backward, with gradients of the arguments of the gates.

A live step is one element of one row: ours by `elman.Stream`, the peer by the cell's equations in
torch.  Our GRU and LSTM are measured beside.  It writes benchmarks/results/linear_cells.json.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from linear_recurrence import BLOCK, LONG_ENOUGH, spread
from result import write_result
from torch import Tensor
from torch.nn import functional as F

import elman
from elman import kernels
from elman.kernels.gated_scan import GATES, Scan, run_gated_scan
from elman.recur.scan import plain_scan
from elman.recur.stack import Stack
from elman.train.memory import keep_freed_memory

CELLS = ("MinGRU", "MinLSTM", "LRU", "RGLRU")
SHAPES = [(32, 100, 128), (8, 512, 256), (1, 2048, 256), (16, 128, 64), (64, 64, 512), (4, 64, 32)]
STEP_SIZES = (64, 256, 512)
SCANS = ("associative scan", "log-space scan")
# Of the largest value: sums over thousands of steps in float32, and differences of such sums.
TOLERANCE = {"elman": 1e-3, "associative scan": 1e-3, "log-space scan": 5e-2}
Weights = dict[str, Tensor]
Run = Callable[[Tensor, Tensor], Tensor]


def combine(a: Tensor, b: Tensor) -> Tensor:
    """Return h (B, T, H) of h_t = a_t h_{t-1} + b_t: pairs of steps, then the steps between."""
    steps = b.shape[1]
    if steps == 1:
        return b
    first, second = slice(0, steps - 1, 2), slice(1, None, 2)
    odd = combine(
        a[:, first] * a[:, second], torch.addcmul(b[:, second], a[:, second], b[:, first])
    )
    h = torch.empty_like(b)
    h[:, 0], h[:, second] = b[:, 0], odd
    if steps > 2:
        torch.addcmul(b[:, 2::2], a[:, 2::2], odd[:, : (steps - 1) // 2], out=h[:, 2::2])
    return h


class AssociativeScan(torch.autograd.Function):
    """The scan and its backward pass, which is a scan from the end."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h = combine(a.expand(-1, b.shape[1], -1), b)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, d_h: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        factors = a.conj().resolve_conj().expand(-1, h.shape[1], -1)
        g = combine(factors.flip(1).roll(1, 1), d_h.flip(1)).flip(1)
        if a.shape[1] < h.shape[1]:
            return (g[:, 1:] * h[:, :-1].conj()).sum((0, 1), keepdim=True), g
        d_a = torch.empty_like(g)
        d_a[:, 0] = 0
        torch.mul(g[:, 1:], h[:, :-1], out=d_a[:, 1:])
        return d_a, g


def associative(a: Tensor, b: Tensor) -> Tensor:
    return AssociativeScan.apply(a, b)  # type: ignore[no-untyped-call, no-any-return]


def loop(a: Tensor, b: Tensor) -> Tensor:
    return plain_scan(a, b, None, None, False)[0]


def gated(x: Tensor, w: Weights) -> Tensor:
    return F.linear(x, w["weight"], w["bias"])


def min_gru(scan: Run, gates: Tensor, new: Callable[[Tensor], Tensor] = lambda n: n) -> Tensor:
    update, n = gates.chunk(2, -1)
    return scan(torch.sigmoid(-update), torch.sigmoid(update) * new(n))


def min_lstm(scan: Run, gates: Tensor, new: Callable[[Tensor], Tensor] = lambda n: n) -> Tensor:
    forget, take, n = gates.chunk(3, -1)
    ratio = F.softplus(-take) - F.softplus(-forget)
    return scan(torch.sigmoid(ratio), torch.sigmoid(-ratio) * new(n))


def positive(x: Tensor) -> Tensor:
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def in_logs(log_a: Tensor, log_b: Tensor) -> Tensor:
    total = log_a.cumsum(1)
    return (total + (log_b - total).logcumsumexp(1)).exp()


def log_positive(x: Tensor) -> Tensor:
    return torch.where(x >= 0, (F.relu(x) + 0.5).log(), -F.softplus(-x))


def min_gru_in_logs(gates: Tensor) -> Tensor:
    update, new = gates.chunk(2, -1)
    return in_logs(-F.softplus(update), -F.softplus(-update) + log_positive(new))


def min_lstm_in_logs(gates: Tensor) -> Tensor:
    forget, take, new = gates.chunk(3, -1)
    ratio = F.softplus(-take) - F.softplus(-forget)
    return in_logs(-F.softplus(-ratio), -F.softplus(ratio) + log_positive(new))


def lru(scan: Run, x: Tensor, w: Weights) -> Tensor:
    radius, phase = torch.exp(-w["nu_log"].exp()), w["theta_log"].exp()
    factors = torch.polar(radius, phase)[None, None]
    scaled = w["weight_in"] * w["gamma_log"].exp().repeat_interleave(2)[:, None]
    read = F.linear(x, scaled)
    s = torch.view_as_real(scan(factors, torch.view_as_complex(read.unflatten(-1, (-1, 2)))))
    return F.linear(s.flatten(-2), w["weight_out"]) + F.linear(x, w["weight_skip"])


def rg_lru(scan: Run, x: Tensor, w: Weights) -> Tensor:
    u, conv = F.linear(x, w["weight_in"]), w["weight_conv"][:, None]
    c = F.conv1d(F.pad(u.mT, (3, 0)), conv, w["bias_conv"], groups=u.shape[-1]).mT
    blocks = c.unflatten(-1, w["weight_gates"].shape[1:3])
    gates = torch.einsum("...gv,kguv->k...gu", blocks, w["weight_gates"]).flatten(-2)
    r, i = (torch.sigmoid(gates[k] + w["bias_gates"][k]) for k in (0, 1))
    log_a = -8 * F.softplus(w["decay"]) * r
    h = scan(log_a.exp(), torch.sqrt(-torch.expm1(2 * log_a)) * (i * c))
    return F.linear(h * F.gelu(F.linear(x, w["weight_gelu"], w["bias_gelu"])), w["weight_out"])


# The layers with any scan, and in logarithms.
LAYERS: dict[str, Callable[[Run, Tensor, Weights], Tensor]] = {
    "MinGRU": lambda scan, x, w: min_gru(scan, gated(x, w)),
    "MinLSTM": lambda scan, x, w: min_lstm(scan, gated(x, w)),
    "LRU": lru,
    "RGLRU": rg_lru,
}
# The name of the native scan, the gates with any scan, and in logarithms.
GATED = {
    "MinGRU": ("min_gru", min_gru, min_gru_in_logs),
    "MinLSTM": ("min_lstm", min_lstm, min_lstm_in_logs),
}


def core_of(name: str, hidden: int) -> Stack:
    core = getattr(elman, name)(hidden, hidden, batch_first=True)
    assert isinstance(core, Stack)
    return core


def training(
    layer: Callable[[Tensor, Weights], Tensor], core: Stack, x: Tensor, d_y: Tensor
) -> Any:
    """Return a function that returns y and the gradients of x and the weights."""
    x = x.clone().requires_grad_()

    def call() -> list[Tensor]:
        weights = core.weights(0)
        y = layer(x, weights)
        return [y, *torch.autograd.grad(y, [x, *weights.values()], d_y)]

    return call


def programs(name: str, shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """Compare the programs and return them by name."""
    hidden = shape[2]
    core, x, d_y = core_of(name, hidden), torch.randn(shape), torch.randn(shape)
    exact = core_of(name, hidden).double()
    exact.load_state_dict(core.state_dict())
    layer = LAYERS[name]
    run = {
        "elman": training(lambda x, _: core(x)[0], core, x, d_y),
        SCANS[0]: training(lambda x, w: layer(associative, x, w), core, x, d_y),
    }
    wanted = dict.fromkeys(run, lambda x, w: layer(loop, x, w))
    if name in GATED:
        _, slow, fast = GATED[name]
        run[SCANS[1]] = training(lambda x, w: fast(gated(x, w)), core, x, d_y)
        wanted[SCANS[1]] = lambda x, w: slow(loop, gated(x, w), positive)
    for program, call in run.items():
        exact_call = training(wanted[program], exact, x.double(), d_y.double())
        compare(program, f"{name} {shape}", call(), exact_call())
    for beside in ("GRU", "LSTM"):
        other = core_of(beside, hidden)
        run[beside] = training(lambda x, _, other=other: other(x)[0], other, x, d_y)
    return run


def compare(program: str, where: str, found: list[Tensor], exact: list[Tensor]) -> None:
    for ours, true in zip(found, exact, strict=True):
        error = float((ours - true).detach().abs().max() / true.detach().abs().max())
        assert error < TOLERANCE[program], f"{program}, {where}: off by {error:.1e}"


def scans(name: str, shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """Compare recurrences with their gates, without products, and return them by name."""
    cell, torch_gates, fast = GATED[name]
    width = GATES[cell] * shape[2]
    # A new layer has gates of about this size; with larger ones the logarithms lose all digits.
    given = [0.5 * torch.randn(*shape[:2], width), 0.1 * torch.randn(width)]
    d_y = torch.randn(shape)

    def native(gates: Tensor, bias: Tensor) -> Tensor:
        state = gates.new_zeros(shape[0], shape[2])
        return run_gated_scan(Scan(cell), gates.transpose(0, 1), bias, state)[0].transpose(0, 1)

    def call(layer: Callable[[Tensor, Tensor], Tensor], kind: torch.dtype) -> Any:
        leaves = [x.to(kind, copy=True).requires_grad_() for x in given]

        def run() -> list[Tensor]:
            y = layer(*leaves)
            # Keeping the graph keeps the gates, which the native scan overwrites otherwise.
            return [y, *torch.autograd.grad(y, leaves, d_y.to(kind), retain_graph=True)]

        return run

    layers: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "elman": native,
        SCANS[0]: lambda gates, bias: torch_gates(associative, gates + bias),
        SCANS[1]: lambda gates, bias: fast(gates + bias),
    }
    run = {program: call(layer, torch.float32) for program, layer in layers.items()}
    for program, f in run.items():
        new = positive if program == SCANS[1] else lambda n: n
        exact = call(
            lambda gates, bias, new=new: torch_gates(loop, gates + bias, new), torch.float64
        )
        compare(program, f"gates and scan of {name} {shape}", f(), exact())
    return run


def steps(name: str, hidden: int) -> dict[str, Callable[[], object]]:
    """Compare live steps and return them by name."""
    core, x = core_of(name, hidden).eval(), torch.randn(1, hidden)
    cell, weights = core.cell, core.weights(0)
    zeros = [torch.zeros(1, *shape) for shape in cell.state_shapes(hidden).values()]

    def in_torch() -> Callable[[], Tensor]:
        state: tuple[Tensor, ...] = tuple(zeros)

        def step() -> Tensor:
            nonlocal state
            with torch.inference_mode():
                state = cell.step(cell.inputs(x, weights), state, weights, seen=state[0])
            return state[0]

        return step

    def live(core: Stack) -> Callable[[], Tensor]:
        stream = elman.Stream(core)
        return lambda: stream(x)

    ours, theirs = live(core), in_torch()
    for _ in range(8):
        torch.testing.assert_close(ours(), theirs(), rtol=1e-5, atol=1e-5)
    others = {beside: live(core_of(beside, hidden)) for beside in ("GRU", "LSTM")}
    return {"elman": live(core), "step in torch": in_torch(), **others}


def seconds(run: Callable[[], object], calls: int) -> float:
    if calls > 1:  # do not time the call that finds the caches full of another program's data
        run()
    began = time.process_time()
    for _ in range(calls):
        run()
    return (time.process_time() - began) / calls


def measure(run: dict[str, Callable[[], object]], rounds: int, unit: str) -> dict[str, object]:
    """Return the time of each program, and the ratios of the others to ours."""
    scale = {"ms": 1e3, "us": 1e6}[unit]
    calls = {name: max(1, math.ceil(BLOCK / seconds(f, 2))) for name, f in run.items()}
    times: dict[str, list[float]] = {name: [] for name in run}
    for n in range(rounds):
        for name in list(run)[n % len(run) :] + list(run)[: n % len(run)]:
            times[name].append(seconds(run[name], calls[name]))
        if n >= 4 and sum(sum(x) for x in times.values()) > LONG_ENOUGH:
            break
    cell: dict[str, object] = {
        f"{name}, {unit}": spread([scale * x for x in found]) for name, found in times.items()
    }
    for name in list(run)[1:]:
        pairs = zip(times[name], times["elman"], strict=True)
        cell[f"{name} / elman"] = spread([theirs / ours for theirs, ours in pairs])
    return cell


def summary(cells: dict[str, dict[str, Any]]) -> dict[str, object]:
    """Return the geometric mean and the worst ratio of each peer over all sizes, for each cell."""
    found: dict[str, object] = {}
    for name in CELLS:
        for peer in (*SCANS, "step in torch", "GRU", "LSTM"):
            for kind in ("training", "gates and scan", "live step"):
                ratios = [
                    cell[f"{peer} / elman"]["median"]
                    for what, cell in cells.items()
                    if what.startswith(f"{name}, {kind}") and f"{peer} / elman" in cell
                ]
                if ratios:
                    mean = math.exp(float(np.mean(np.log(ratios))))
                    found[f"{name}, {kind}, {peer} / elman"] = {
                        "geometric mean": round(mean, 2),
                        "worst": round(min(ratios), 2),
                    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    cells: dict[str, dict[str, Any]] = {}
    for name in CELLS:
        for shape in SHAPES:
            cells[f"{name}, training, {shape}"] = measure(programs(name, shape), given.rounds, "ms")
            if name in GATED:
                cell = measure(scans(name, shape), given.rounds, "ms")
                cells[f"{name}, gates and scan, {shape}"] = cell
        for hidden in STEP_SIZES:
            cells[f"{name}, live step, H {hidden}"] = measure(
                steps(name, hidden), given.rounds, "us"
            )
    write_result(
        "linear_cells",
        {
            "what": "layers whose state is a linear recurrence of vectors, float32, CPU time; "
            "shapes are (B, T, H), and the input has H features",
            "kernels": kernels.name(),
            "rounds": given.rounds,
            "all sizes": summary(cells),
            "shapes": cells,
        },
    )


if __name__ == "__main__":
    main()
