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

import torch
from torch import nn
from torch.optim import Optimizer

from elman.train.settings import TrainingSettings

NEVER = 1e12  # a step at which averaging starts that no run reaches


def build_optimizer(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> Optimizer:
    """The optimiser of the settings, fused where torch has it so."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, fused=True)
    # With t0 out of reach the average is the weights themselves; `start_averaging` sets it.
    return torch.optim.ASGD(parameters, lr=rate, lambd=0.0, t0=NEVER, weight_decay=decay)


def use_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Make the next step with this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    for state in optimizer.state.values():
        if "eta" in state:  # of ASGD, which else goes by the rate of the step before
            state["eta"].fill_(rate)


def start_averaging(optimizer: Optimizer, step: int) -> None:
    """Average the weights that follow `step`, the number of steps done."""
    for group in optimizer.param_groups:
        group["t0"] = float(step - 1)  # torch uses the factor that the step before computed


def is_averaging(optimizer: Optimizer) -> bool:
    """Whether averaging has begun."""
    return bool(optimizer.param_groups[0].get("t0", NEVER) < NEVER)


@torch.no_grad()
def follow(optimizer: Optimizer, decay: float, step: int) -> None:
    """Move the averages towards the weights behind a step (from 1); gradients are still there.

        average = d average + (1 - d) weights,   d = min(decay, (1 + step) / (10 + step))

    With d small at first the weights of the beginning are soon forgotten.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if "average" in state:
                state["average"].lerp_(parameter, share)
            elif parameter.grad is not None:  # else Adam would take the state for its own
                state["average"] = parameter.detach().clone()


@contextlib.contextmanager
def averaged_weights(optimizer: Optimizer) -> Iterator[None]:
    """Put the averaged weights into the model, if there are any, and the others back at the end."""
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
    """The learning rate of a step (from 0) in an epoch (from 1).

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
