"""The recurrence that a task's settings describe."""

from __future__ import annotations

from typing import Any

from elman.recur import GRU, LSTM, RNN
from elman.tasks.settings import NetworkSettings


def build_core(
    settings: NetworkSettings, features: int, *, bidirectional: bool = False
) -> RNN | LSTM | GRU:
    """A recurrence, batch first, on vectors of so many features."""
    shared: dict[str, Any] = {
        "num_layers": settings.num_layers, "batch_first": True, "dropout": settings.dropout,
        "variational": settings.variational, "weight_dropout": settings.weight_dropout,
        "recurrent_dropout": settings.recurrent_dropout, "zoneout": settings.zoneout,
        "layer_norm": settings.layer_norm, "bidirectional": bidirectional,
    }  # fmt: skip
    if settings.cell == "lstm":
        return LSTM(features, settings.hidden_size, **shared, peephole=settings.peephole)
    return (GRU if settings.cell == "gru" else RNN)(features, settings.hidden_size, **shared)
