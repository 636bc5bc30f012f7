"""Optimisers, the learning rate over time, and averaged weights.

Averaged SGD (Polyak and Juditsky 1992) starts when validation stalls, "non-monotonically
triggered": Merity, Keskar and Socher 2017 (arXiv:1708.02182).  Moving averages under any other
optimiser: Tarvainen and Valpola 2017 (arXiv:1703.01780).  Cosine schedule: Loshchilov and Hutter
2016 (arXiv:1608.03983), without restarts.  Halving after an epoch: Zaremba, Sutskever and Vinyals
2014 (arXiv:1409.2329).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from itertools import product

import torch
from torch import nn
from torch.optim import Optimizer

from elman.recur.stack import Stack
from elman.train.settings import TrainingSettings

NEVER = 1e12  # a step that no run reaches


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    settings: TrainingSettings,
    undecayed: Iterable[nn.Parameter] = (),
) -> Optimizer:
    """Build the optimiser of the settings, fused where torch has a fused version.

    Args:
        parameters: all parameters.
        settings: the kind of optimiser, the learning rate and the weight decay.
        undecayed: those of the parameters that have no weight decay.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    apart = {id(parameter) for parameter in undecayed}
    if apart and decay:
        every = list(parameters)
        kept = [p for p in every if id(p) in apart]
        others = [p for p in every if id(p) not in apart]
        parameters = [{"params": others}, {"params": kept, "weight_decay": 0.0}]  # type: ignore
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, fused=True)
    # With t0 out of reach the average equals the weights; `start_averaging` sets t0.
    return torch.optim.ASGD(parameters, lr=rate, lambd=0.0, t0=NEVER, weight_decay=decay)


def find_undecayed(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of recurrent layers that their cells exclude from weight decay."""
    found: list[nn.Parameter] = []
    for core in model.modules():
        if isinstance(core, Stack):
            for layer, direction in product(range(core.num_layers), range(core.directions)):
                weights = core.weights(layer, direction)
                found += [weights[name] for name in core.cell.undecayed if name in weights]  # type: ignore[misc]
    return found


def use_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    for state in optimizer.state.values():
        if "eta" in state:  # ASGD would use the rate of the previous step
            state["eta"].fill_(rate)


def start_averaging(optimizer: Optimizer, step: int) -> None:
    """Start averaging the weights after `step` completed steps."""
    for group in optimizer.param_groups:
        group["t0"] = float(step - 1)  # torch uses the factor from the previous step


def is_averaging(optimizer: Optimizer) -> bool:
    """Return whether averaging has started."""
    return bool(optimizer.param_groups[0].get("t0", NEVER) < NEVER)


def forget_averages(optimizer: Optimizer) -> None:
    """Delete the averages of the weights: moving averages start anew, and ASGD stops averaging."""
    for group in optimizer.param_groups:
        if "t0" in group:
            group["t0"] = NEVER
    for state in optimizer.state.values():
        state.pop("average", None)


@torch.no_grad()
def follow(optimizer: Optimizer, decay: float, step: int) -> None:
    """Update the moving averages after a step (from 1), before the gradients are cleared.

        average = d average + (1 - d) weights,   d = min(decay, (1 + step) / (10 + step))

    A small d at first makes the average forget the initial weights quickly.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if "average" in state:
                state["average"].lerp_(parameter, share)
            elif parameter.grad is not None:  # else Adam would skip its own set-up
                state["average"] = parameter.detach().clone()


@contextlib.contextmanager
def averaged_weights(optimizer: Optimizer) -> Iterator[None]:
    """Use the averaged weights inside the context, if there are any, then restore the others."""
    name = "ax" if is_averaging(optimizer) else "average"
    averages = [(p, state[name]) for p, state in optimizer.state.items() if name in state]
    parameters = [parameter for parameter, _ in averages]
    kept = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, average in averages:
            parameter.copy_(average)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


def learning_rate(
    settings: TrainingSettings, *, step: int, epoch: int, total_steps: int, reductions: int
) -> float:
    """Return the learning rate of a step (from 0) in an epoch (from 1).

    Example:
        >>> from elman.train.optim import learning_rate
        >>> from elman.train.settings import TrainingSettings
        >>> halve = TrainingSettings(learning_rate=1.0, schedule="halve", halve_after=4)
        >>> [learning_rate(halve, step=0, epoch=e, total_steps=9, reductions=0) for e in (4, 5, 6)]
        [1.0, 0.5, 0.25]
    """
    rate = settings.learning_rate
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "cosine":
        span = max(1, total_steps - settings.warmup_steps)
        done = min(1.0, (step - settings.warmup_steps) / span)
        return rate * 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "halve":
        return float(rate * 0.5 ** max(0, epoch - settings.halve_after))
    if settings.schedule == "plateau":
        return float(rate * 0.5**reductions)
    return rate
