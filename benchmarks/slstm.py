"""Time of a training step of the sLSTM, beside its equations in torch, our LSTM and our GRU.

    python benchmarks/slstm.py [--rounds 9]

Programs alternate in one process, in float32 on one thread, and CPU time is measured.  A ratio is
a peer's time divided by ours in the same round.  A step is forward and backward of one layer, with
gradients of its input and weights, which are first compared with those in float64.  It writes
benchmarks/results/slstm.json.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from linear_cells import compare, core_of, measure, training
from result import write_result
from torch import Tensor

from elman import kernels
from elman.recur.cell import Cell, Masks, Weights
from elman.recur.stack import Stack
from elman.train.memory import keep_freed_memory

SHAPES = [(32, 100, 128), (8, 512, 256), (1, 512, 256), (16, 128, 64), (64, 64, 512), (4, 64, 32)]
PEERS = ("loop in torch", "LSTM", "GRU")


def loop(core: Stack, x: Tensor, weights: Weights) -> Tensor:
    """Return y (B, T, H) by the definition, one step after another."""
    zeros = x.new_zeros(len(x), core.output_size)
    y, _ = Cell.sequence(
        core.cell,
        x.transpose(0, 1),
        (zeros,) * 4,
        weights,
        masks=Masks(None, (0.0,) * 4),
        lengths=None,
        reverse=False,
    )
    return y.transpose(0, 1)


def programs(shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """Compare the programs and return them by name."""
    hidden = shape[2]
    core, x, d_y = core_of("SLSTM", hidden), torch.randn(shape), torch.randn(shape)
    with torch.no_grad():  # R starts at 0
        core.weights(0)["weight_hh"].normal_(std=0.1)
    exact = core_of("SLSTM", hidden).double()
    exact.load_state_dict(core.state_dict())
    run = {
        "elman": training(lambda x, _: core(x)[0], core, x, d_y),
        PEERS[0]: training(lambda x, w: loop(core, x, w), core, x, d_y),
    }
    wanted = training(lambda x, w: loop(exact, x, w), exact, x.double(), d_y.double())()
    for program, call in run.items():
        compare("elman", f"{program} {shape}", call(), wanted)
    for beside in PEERS[1:]:
        other = core_of(beside, hidden)
        run[beside] = training(lambda x, _, other=other: other(x)[0], other, x, d_y)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    cells: dict[str, dict[str, Any]] = {}
    for shape in SHAPES:
        cells[str(shape)] = measure(programs(shape), given.rounds, "ms")
        print(shape, cells[str(shape)], flush=True)
    summary = {}
    for peer in PEERS:
        ratios = [cell[f"{peer} / elman"]["median"] for cell in cells.values()]
        mean = math.exp(float(np.mean(np.log(ratios))))
        summary[f"{peer} / elman"] = {
            "geometric mean": round(mean, 2),
            "worst": round(min(ratios), 2),
        }
    write_result(
        "slstm",
        {
            "what": "a training step of an sLSTM layer with a head for each 64 units, float32, CPU "
            "time; shapes are (B, T, H), and the input has H features",
            "kernels": kernels.name(),
            "rounds": given.rounds,
            "all sizes": summary,
            "shapes": cells,
        },
    )


if __name__ == "__main__":
    main()
