"""The gradient by time lag, for every cell that tasks offer."""

from __future__ import annotations

import pytest
import torch

from elman.cores import CORES
from elman.heads import ValueHead
from elman.model import SequenceModel
from elman.padded import Padded
from elman.report.reach import describe_reach
from elman.settings import NetworkSettings
from elman.tasks.network import build_core
from elman.train.reach import gradient_by_lag

CHANNELS, HIDDEN, ROWS, STEPS = 2, 8, 3, 12
WAYS = [(c, block) for c, core in CORES.items() for block in (False, True)[: 2 - core.timed]]


def inputs_of(cell: str) -> tuple[torch.Tensor, int]:
    """Return inputs (B, T, F), and the number of channels of a recording."""
    torch.manual_seed(1)
    x = torch.randn(ROWS, STEPS, 2 * CHANNELS + 1)
    if not CORES[cell].timed:
        return x, 0
    x[..., CHANNELS:-1] = (x[..., CHANNELS:-1] > 0).float()  # whether a value was measured
    x[..., -1].abs_()  # the time since the step before
    return x, CHANNELS


def build(cell: str, *, block: bool) -> SequenceModel:
    torch.manual_seed(0)
    settings = NetworkSettings(cell=cell, hidden_size=HIDDEN, num_layers=1 + block, block=block)
    x, channels = inputs_of(cell)
    core = build_core(settings, x.shape[2], channels=channels)
    return SequenceModel(None, core, ValueHead(core.output_size, 1))


@pytest.mark.parametrize(("cell", "block"), WAYS)
def test_the_gradient_by_lag_is_that_of_steps_with_carried_state(cell: str, block: bool) -> None:
    model, (x, _) = build(cell, block=block), inputs_of(cell)
    targets = torch.randn(ROWS, STEPS, 1)
    norms = gradient_by_lag(model, Padded.full(x), targets)
    assert model.training

    model.eval()
    steps, state = [step.requires_grad_() for step in x.split(1, dim=1)], None
    for step in steps:
        y, state = model.core(step, state)
    (model.head(y) - targets[:, -1:]).square().sum().backward()
    expected = [float(step.grad.norm(dim=2).mean()) for step in reversed(steps)]
    assert max(expected) > 0
    # Float32 rounds to 6e-8; over 12 steps errors stay far below 1e-4 of the largest norm.
    assert norms == pytest.approx(expected, rel=1e-3, abs=1e-4 * max(expected))
    assert describe_reach(norms).startswith("The gradient ")
