"""Long expressive memory against its equations in NumPy, and its time step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import elman
from elman.errors import ArgumentError

H, F, T = 5, 3, 7


@pytest.mark.parametrize("dt", [1.0, 0.2])
def test_outputs_equal_the_equations(dt: float) -> None:
    torch.manual_seed(0)
    core = elman.LEM(F, H, dt=dt, batch_first=True, dtype=torch.float64)
    x = torch.randn(2, T, F, dtype=torch.float64)
    start = torch.randn(2, 1, 2, H, dtype=torch.float64)
    out, (last_y, last_z) = core(x, (start[0], start[1]))
    names = ("weight_ih", "weight_hh", "bias")
    weights = [core.weights(0)[name].detach().numpy() for name in names]
    W_a, W_d, W_z, W_y = weights[0].reshape(4, H, F)
    U_a, U_d, U_z, U_y = weights[1].reshape(4, H, H)
    b_a, b_d, b_z, b_y = weights[2].reshape(4, H)
    for row in range(2):
        y, z = start[:, 0, row].numpy()
        for t, x_t in enumerate(x[row].numpy()):
            a = dt / (1 + np.exp(-(W_a @ x_t + U_a @ y + b_a)))
            d = dt / (1 + np.exp(-(W_d @ x_t + U_d @ y + b_d)))
            z = (1 - a) * z + a * np.tanh(W_z @ x_t + U_z @ y + b_z)
            y = (1 - d) * y + d * np.tanh(W_y @ x_t + U_y @ z + b_y)
            np.testing.assert_allclose(out[row, t].detach().numpy(), y, rtol=0, atol=1e-12)
        np.testing.assert_allclose(last_y[0, row].detach().numpy(), y, rtol=0, atol=1e-12)
        np.testing.assert_allclose(last_z[0, row].detach().numpy(), z, rtol=0, atol=1e-12)


def test_states_change_little_with_a_short_time_step() -> None:
    torch.manual_seed(0)
    core = elman.LEM(F, H, dt=1e-3, batch_first=True)
    start = torch.rand(2, 1, 4, H)
    _, end = core(torch.randn(4, 10, F), (start[0], start[1]))
    for old, new in zip(start, end, strict=True):
        # A step changes a state by at most dt * (|tanh| + |state|) < 2 dt.
        assert float((new - old).abs().max().detach()) < 10 * 2e-3


@pytest.mark.parametrize("dt", [0.0, -1.0, float("inf"), float("nan")])
def test_a_time_step_that_is_not_positive_is_refused(dt: float) -> None:
    with pytest.raises(ArgumentError, match=f"dt must be a positive number, got {dt}"):
        elman.LEM(F, H, dt=dt)
