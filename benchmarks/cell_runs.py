"""Training runs and timings for cells.py: models of equal size, in one process with one thread.

A model is what `--cell CELL --block --num-layers 2` builds for tasks: an embedding, two blocks and
a linear output layer.  The hidden size makes the number of parameters as equal as possible.
Without `--block` the two layers follow each other directly.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch
from cell_tests import Batch, Test
from torch import Tensor

import elman
from elman.cores import CORES
from elman.encode.embed import Embed
from elman.heads import TokenHead, ValueHead
from elman.model import SequenceModel
from elman.padded import Padded
from elman.settings import NetworkSettings
from elman.tasks.network import build_core

CELLS = tuple(name for name, core in CORES.items() if not core.timed)
LAYERS = 2
WARMUP = 50  # steps in which the learning rate rises
SOLVED = 1e-5  # mean loss of the last `RECENT` steps at which a run of classes ends early
RECENT = 100
VALIDATION, TEST = 1, 2  # seeds of the data; those of training are from 1,000 on
SCORED = 128  # sequences of the validation and of the test data
PART = 16  # sequences that are scored at once
SHAPES = [(64, 256), (128, 256), (256, 256), (128, 1024)]  # hidden sizes and steps that are timed
ROWS = 16  # sequences of a timed training step
LEAST = 0.02  # fewest seconds of a timed block
ROUNDS = 7

Facts = dict[str, object]


def settings_of_core(cell: str, hidden: int, *, block: bool, layers: int) -> NetworkSettings:
    return NetworkSettings(
        cell=cell,  # type: ignore[arg-type]
        hidden_size=hidden,
        num_layers=layers,
        block=block,
        dropout=0.0,
    )


def build(test: Test, cell: str, hidden: int, *, block: bool) -> SequenceModel:
    """Return the model of a test with new weights."""
    core = build_core(
        settings_of_core(cell, hidden, block=block, layers=LAYERS), hidden if test.tokens else 2
    )
    encode = Embed(test.tokens, hidden) if test.tokens else None
    head = TokenHead(hidden, test.classes) if test.classes else ValueHead(hidden, 1)
    return SequenceModel(encode, core, head)


def count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def nearest_size(parameters: int, make: Callable[[int], torch.nn.Module]) -> int:
    """Return the hidden size whose model has the nearest number of parameters."""
    best, size = (math.inf, 0), 0
    while True:
        size += 1
        with torch.device("meta"):
            found = count(make(size))
        best = min(best, (abs(found - parameters), size))
        if found > parameters:
            return best[1]


def loss_of(model: SequenceModel, batch: Batch) -> Tensor:
    """Return the mean loss of the answers asked for, in nats or as a squared error."""
    states, _ = model.run(Padded.full(batch.x))
    asked = Padded.full(states.data[batch.asked].unsqueeze(0))
    targets = batch.targets[batch.asked].unsqueeze(0)
    if isinstance(model.head, ValueHead):
        targets = targets.unsqueeze(2)
    total, number = model.head.loss(asked, targets)
    return total / number


@torch.no_grad()
def score(model: SequenceModel, test: Test, seed: int, steps: int) -> tuple[float, Tensor, Tensor]:
    """Return the mean loss, and for each step the sum of the scores and the number of answers.

    The score of an answer is 1 if it is right and 0 otherwise, or its squared error.
    """
    model.eval()
    draw = torch.Generator().manual_seed(seed)
    losses, found, answers = [], torch.zeros(steps), torch.zeros(steps)
    for _ in range(SCORED // PART):
        batch = test.draw(draw, PART, steps)
        losses.append(float(loss_of(model, batch)))
        scores = model(Padded.full(batch.x))[0].data
        if test.classes:
            right = (scores.argmax(2) == batch.targets).float()
        else:
            right = (scores.squeeze(2) - batch.targets).square()
        found += torch.where(batch.asked, right, 0).sum(0)
        answers += batch.asked.sum(0)
    model.train()
    return sum(losses) / len(losses), found, answers


def by_length(test: Test, found: Tensor, answers: Tensor) -> dict[str, float]:
    """Return the mean score of prefixes as long as in training, and of three longer ranges."""
    bounds = [0, test.steps, 2 * test.steps, 4 * test.steps, test.test_steps]
    return {
        f"{low + 1} to {high}": round(float(found[low:high].sum() / answers[low:high].sum()), 4)
        for low, high in pairwise(bounds)
        if low < high
    }


def train(
    test: Test, cell: str, *, block: bool, rate: float, seed: int, minutes: float
) -> tuple[SequenceModel, Facts]:
    """Train a model for some minutes of processor time, or until the task is solved.

    The learning rate rises over the first steps and then falls to 0 along a cosine of the time.
    Every batch is new.
    """
    hidden = nearest_size(test.parameters, lambda size: build(test, cell, size, block=block))
    torch.manual_seed(seed)
    model = build(test, cell, hidden, block=block).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    draw = torch.Generator().manual_seed(1000 + seed)
    steps, used, budget = 0, 0.0, 60 * minutes
    recent: deque[float] = deque([math.inf], maxlen=RECENT)
    while used < budget and not (test.classes and sum(recent) / len(recent) < SOLVED):
        began = time.process_time()
        for group in optimizer.param_groups:
            falling = (1 + math.cos(math.pi * used / budget)) / 2
            group["lr"] = rate * min(1, (steps + 1) / WARMUP) * falling
        loss = loss_of(model, test.draw(draw, test.rows, test.steps))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.item())
        steps += 1
        used += time.process_time() - began
        if not math.isfinite(recent[-1]):
            break
    return model, {
        "cell": cell,
        "block": block,
        "rate": rate,
        "seed": seed,
        "hidden_size": hidden,
        "parameters": count(model),
        "steps": steps,
        "seconds": round(used, 1),
    }


def sweep(test: Test, cell: str, *, block: bool, rate: float, minutes: float) -> Facts:
    """Return the validation loss of a short run, None if it is not a number."""
    model, facts = train(test, cell, block=block, rate=rate, seed=0, minutes=minutes)
    loss = score(model, test, VALIDATION, test.steps)[0]
    return {**facts, "sweep": True, "validation": loss if math.isfinite(loss) else None}


def run(test: Test, cell: str, *, block: bool, rate: float, seed: int, minutes: float) -> Facts:
    """Return the scores of a run on validation data of the training length, and on test data."""
    model, facts = train(test, cell, block=block, rate=rate, seed=seed, minutes=minutes)
    loss = score(model, test, VALIDATION, test.steps)[0]
    _, found, answers = score(model, test, TEST, test.test_steps)
    first = max(0, test.counts_from - 1)
    result = float(found[first:].sum() / answers[first:].sum())
    fine = math.isfinite(loss) and math.isfinite(result)
    return {
        **facts,
        "validation": loss if fine else None,
        "score": float(f"{result:.4g}") if fine else test.chance,
        **({} if fine else {"diverged": True}),
        **({"by length": by_length(test, found, answers)} if test.counts_from else {}),
    }


def seconds(call: Callable[[], object], calls: int) -> float:
    """Return the processor seconds of a call."""
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls


def timed(programs: dict[str, Callable[[], object]], tokens: int) -> dict[str, float]:
    """Return microseconds a token by cell: medians of rounds in which all cells alternate."""
    calls = {name: max(1, math.ceil(LEAST / seconds(call, 2))) for name, call in programs.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, call in programs.items():
            times[name].append(seconds(call, calls[name]))
    return {name: float(f"{1e6 * median(t) / tokens:.3g}") for name, t in times.items()}


def training_step(cell: str, hidden: int, steps: int) -> Callable[[], object]:
    """Return a forward and backward pass of one layer without a block."""
    core = build_core(settings_of_core(cell, hidden, block=False, layers=1), hidden).train()
    x = torch.randn(ROWS, steps, hidden, requires_grad=True)
    weights, d_y = [x, *core.parameters()], torch.randn(ROWS, steps, hidden)
    return lambda: torch.autograd.grad(core(x)[0], weights, d_y)


def live_step(cell: str, hidden: int) -> Callable[[], object]:
    """Return one step of a live session of one layer."""
    core = build_core(settings_of_core(cell, hidden, block=False, layers=1), hidden).eval()
    stream, x = elman.Stream(core), torch.randn(1, hidden)
    return lambda: stream(x)


def speed(cells: tuple[str, ...] = CELLS) -> list[Facts]:
    """Return microseconds a token of each cell, in training and live."""
    found: dict[str, Facts] = {cell: {"cell": cell} for cell in cells}
    for hidden, steps in SHAPES:
        programs = {cell: training_step(cell, hidden, steps) for cell in cells}
        for cell, value in timed(programs, ROWS * steps).items():
            found[cell][f"training, H {hidden}, T {steps}"] = value
    for hidden in sorted({hidden for hidden, _ in SHAPES}):
        for cell, value in timed({c: live_step(c, hidden) for c in cells}, 1).items():
            found[cell][f"live, H {hidden}"] = value
    return list(found.values())
