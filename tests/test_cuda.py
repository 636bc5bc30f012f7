"""Results on a GPU equal those on the CPU. Without a GPU, all tests of this file are skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elman
from elman.state import map_state

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CORES: dict[str, Callable[[], Any]] = {
    "rnn": lambda: elman.RNN(15, 33, batch_first=True),
    "lstm": lambda: elman.LSTM(15, 33, num_layers=2, batch_first=True),
    "projected": lambda: elman.LSTM(15, 33, proj_size=9, batch_first=True),
    "normed": lambda: elman.LSTM(15, 33, batch_first=True, layer_norm=True),
    "both ways": lambda: elman.GRU(15, 33, bidirectional=True, batch_first=True),
    "slstm": lambda: elman.SLSTM(15, 33, heads=3, num_layers=2, batch_first=True),
    "long expressive memory": lambda: elman.LEM(15, 33, batch_first=True),
    "grud": lambda: elman.GRUD(7, 33),
    "gruwe": lambda: elman.GRUwE(7, 33),
    "cfc": lambda: elman.CfC(7, 33),
}


@pytest.mark.parametrize("make", CORES.values(), ids=CORES)
def test_a_core_gives_the_same_outputs_and_gradients_as_on_the_cpu(make: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    weights, x = make().double().state_dict(), torch.rand(7, 40, 15, dtype=torch.float64)
    lengths = torch.tensor([40, 0, 3, 40, 17, 39, 1])
    found: list[list[Tensor]] = []
    for device in ("cpu", "cuda"):
        core = make().double()
        core.load_state_dict(weights)
        core.to(device)
        read = x.clone().to(device).requires_grad_()
        y, state = core(read, None, lengths)
        leaves: list[Tensor] = []
        map_state(lambda leaf, kept=leaves: kept.append(leaf) or leaf, state)
        sum((leaf.square().sum() for leaf in leaves), y.square().sum()).backward()
        gradients = [read.grad, *(p.grad for p in core.parameters())]
        found.append([t.detach().cpu() for t in [y, *leaves, *gradients]])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_a_model_trained_on_a_gpu_predicts_the_same_after_loading(tmp_path: Path) -> None:
    pytest.importorskip("utilsforecast")
    season = [1.0, 3.0, 2.0, 7.0]
    model = elman.Forecaster(
        horizon=4, season=4, hidden_size=24, epochs=8, learning_rate=0.02, device="cuda"
    ).fit(season * 60)
    np.testing.assert_allclose(model.predict().median[0, :, 0], season, atol=0.5)
    model.save(tmp_path / "run")
    again = elman.load(tmp_path / "run")
    assert isinstance(again, elman.Forecaster)
    assert np.array_equal(again.predict().median, model.predict().median)
    assert np.isfinite(again.stream().push(1.0).mean).all()
