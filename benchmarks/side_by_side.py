"""Programs that compute the same thing, compared and then timed in alternation.

A case is one cell of a table: our program, its peers, and a comparison of their results, which is
made first.  If results differ, the cell is refused and not timed.  In a round every program runs
for at least 2 ms (20 ms for one step of a stream, whose matrices are in the cache as long as it
runs), and the next round begins with another program.  A ratio is a peer's time divided by ours in
the same round, so that a slow minute of the machine affects both.

Cells are kept in results/partial.jsonl as they are measured, so that a long grid can be run in
pieces.  A cell is measured again when a file in MEASURED, a version or the processor has changed.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from result import processor
from torch import Tensor

from elman import kernels

HERE = Path(__file__).parent
PARTIAL = HERE / "results" / "partial.jsonl"
MEASURED = [
    "csrc/*",
    "elman/kernels/*.py",
    "elman/recur/*.py",
    "elman/heads/*.py",
    "elman/encode/embed.py",
    "elman/dropout.py",
    *(
        f"benchmarks/{name}.py"
        for name in ("side_by_side", "recurrences", "loops", "one_step", "programs", "child")
    ),
]
FEWEST, MOST = 5, 41  # rounds
BUSY = 0.05  # share of all cores that other processes may use while a cell is timed


class MismatchError(Exception):
    """The results of two programs differ."""


class AbsentError(Exception):
    """A peer is not installed."""


@dataclass
class Case:
    """One cell.

    Args:
        ours: our program.
        peers: programs that do the same, by name.
        parity: compares the results; raises MismatchError, or returns the largest relative error.
        beside: programs timed in the same rounds that are not peers (a matrix product).
        steps: steps in one call of a program.
        operations: operations of one call of our program, relative to those of `beside`.
        close: frees the resources of the case.
        absent: peers that are not installed.
        block: fewest seconds that a program runs in a round.
        warm: seconds that it runs in a round before it is timed.
        rest: seconds to wait after a program whose threads keep spinning for a while, if the next
            program has other threads.
    """

    ours: Callable[[], object]
    peers: dict[str, Callable[[], object]]
    parity: Callable[[], float]
    beside: dict[str, Callable[[], object]] = field(default_factory=dict)
    steps: int = 1
    operations: float = 0.0
    close: Callable[[], None] = lambda: None
    absent: list[str] = field(default_factory=list)
    block: float = 0.002
    warm: float = 0.0
    rest: float = 0.0


def differ(
    name: str, ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float
) -> float:
    """Return the largest relative error; raise a MismatchError if it is above the tolerance.

    Errors are relative to the largest value of their tensor.
    """
    worst = 0.0
    for key, wanted in theirs.items():
        found, wanted = ours[key].detach().float(), wanted.detach().float()
        if found.shape != wanted.shape:
            raise MismatchError(f"{name}: {key} has shape {found.shape}, not {wanted.shape}")
        scale = max(float(wanted.abs().max()), 1e-30)
        error = float((found - wanted).abs().max()) / scale
        if not error <= tolerance:
            raise MismatchError(f"{name}: {key} differs by {error:.1e} of its largest value")
        worst = max(worst, error)
    return worst


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Compare, then time for about these seconds, or longer with more than two programs."""
    try:
        error = case.parity()
    except MismatchError as mismatch:
        return {"refused": str(mismatch)}
    programs = {"elman": case.ours, **case.peers, **case.beside}
    calls = {name: _calls(run, case) for name, run in programs.items()}
    tries = []
    for _ in range(2):  # again if other processes used the cores
        before = _work()
        times = _turns(programs, calls, seconds, case)
        after = _work()
        others = max(0.0, (after[0] - before[0]) / (after[1] - before[1]))
        tries.append((others, times))
        if others < BUSY:
            break
    others, times = min(tries, key=lambda one: one[0])
    return {**_summary(case, times, error), "others": round(others, 3)}


def _turns(
    programs: dict[str, Callable[[], object]], calls: dict[str, int], seconds: float, case: Case
) -> dict[str, list[float]]:
    """Return the seconds per call of each program in every round."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    names = list(programs)
    seconds *= max(1, len(names) / 2)
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    for n in range(MOST):
        spent = time.perf_counter() - began
        # Three rounds are enough if a round takes very long.
        if spent > seconds and n >= (3 if spent > 4 * seconds else FEWEST):
            break
        for k in range(len(names)):
            name = names[(n + k) % len(names)]
            times[name].append(_block(programs[name], calls[name], case.warm))
            time.sleep(case.rest)
    gc.enable()
    return times


def _work() -> tuple[float, float]:
    """Return the seconds of work of all other processes so far, and the seconds of all cores."""
    all_of_it = psutil.cpu_times()
    me = psutil.Process()
    ours = sum(sum(p.cpu_times()[:2]) for p in [me, *me.children(recursive=True)])
    quiet = all_of_it.idle + getattr(all_of_it, "iowait", 0.0)
    # The time of guests is also counted in user.
    total = sum(all_of_it) - getattr(all_of_it, "guest", 0) - getattr(all_of_it, "guest_nice", 0)
    return total - quiet - ours, total


def _calls(run: Callable[[], object], case: Case) -> int:
    run()
    taken = _block(run, 1)
    time.sleep(case.rest)
    return max(1, math.ceil(case.block / taken))


def _block(run: Callable[[], object], calls: int, warm: float = 0.0) -> float:
    until = time.perf_counter() + warm
    if hasattr(run, "seconds"):  # it runs in another process, which measures the time
        while time.perf_counter() < until:
            run.seconds(calls)
        return float(run.seconds(calls))
    if calls > 1:  # do not time the call that finds the caches full of another program's data
        run()
    while time.perf_counter() < until:
        run()
    began = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - began) / calls


def _summary(case: Case, times: dict[str, list[float]], error: float) -> dict[str, Any]:
    ours = np.array(times["elman"])
    cell: dict[str, Any] = {"ms": {}, "ratio": {}, "rounds": len(ours), "error": _round(error)}
    for name, values in times.items():
        cell["ms"][name] = _quartiles(1000 * np.array(values) / case.steps)
    for name in case.peers:
        cell["ratio"][name] = _quartiles(np.array(times[name]) / ours)
    for name in case.beside:  # the matrix product: the share of its speed that we reach
        cell["share"] = _quartiles(np.array(times[name]) / ours * case.operations)
    if case.absent:
        cell["absent"] = case.absent
    return cell


def _quartiles(values: np.ndarray) -> list[float]:
    """Return the median, and the first and third quartile."""
    return [_round(v) for v in np.quantile(values, [0.5, 0.25, 0.75])]


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def fingerprint() -> str:
    """Return a hash of everything that is measured: the sources, and the versions of the peers."""
    total = hashlib.sha256()
    for pattern in MEASURED:
        for path in sorted(HERE.parent.glob(pattern)):
            if path.is_file():
                total.update(path.read_bytes())
    total.update(json.dumps([peer_versions(), processor(), kernels.name()]).encode())
    return total.hexdigest()[:12]


def peer_versions() -> dict[str, str]:
    """Return the versions of the packages that are compared, or "not installed"."""
    from importlib import metadata

    found = {}
    for name in ("torch", "keras", "tensorflow", "jax", "onnx", "onnxruntime"):
        for package in (name, f"{name}-cpu"):
            try:
                found[name] = metadata.version(package)
                break
            except metadata.PackageNotFoundError:
                found[name] = "not installed"
    return found


class Store:
    """Cells measured so far, by row and shape."""

    def __init__(self) -> None:
        self.code = fingerprint()
        self.cells: dict[tuple[str, str], dict[str, Any]] = {}
        lines = PARTIAL.read_text().splitlines() if PARTIAL.exists() else []
        for line in lines:
            cell = json.loads(line)
            if cell["code"] == self.code:
                self.cells[cell["row"], cell["shape"]] = cell

    def add(self, row: str, shape: str, cell: dict[str, Any]) -> None:
        cell = {"row": row, "shape": shape, **cell, "code": self.code}
        self.cells[row, shape] = cell
        PARTIAL.parent.mkdir(exist_ok=True)
        with PARTIAL.open("a") as file:
            file.write(json.dumps(cell) + "\n")


Cells = list[tuple[str, str, Callable[[], Case]]]


def run_cells(cells: Cells, store: Store, seconds: float, budget: float) -> bool:
    """Measure missing cells until the budget in seconds is spent; return whether none is left."""
    began, longest = time.perf_counter(), 0.0
    missing = [cell for cell in cells if cell[:2] not in store.cells]
    for n, (row, shape, build) in enumerate(missing):
        start = time.perf_counter()
        if start - began + longest / 2 > budget:
            print(f"{len(missing) - n} of {len(cells)} cells left; run this again to continue")
            return False
        result = _one(build, seconds)
        store.add(row, shape, result)
        longest = max(longest, time.perf_counter() - start)
        ratios = {name: ratio[0] for name, ratio in result.get("ratio", {}).items()}
        print(f"{row}, {shape}: {ratios or result}", flush=True)
    return True


def _one(build: Callable[[], Case], seconds: float) -> dict[str, Any]:
    """Measure a cell; one that fails is refused like one whose results differ."""
    torch.manual_seed(0)
    try:
        case = build()
    except AbsentError as absent:
        return {"absent": [str(absent)]}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    try:
        return measure(case, seconds)
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    finally:
        gc.enable()
        case.close()
