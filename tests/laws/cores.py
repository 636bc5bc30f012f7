"""Every core that `elman.recur` exports, with every option, for `test_recur.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import elman.recur
from elman.recur.stack import Stack
from elman.state import State, named_leaves

INPUT = 3

# Name -> class and constructor options. The sizes are odd on purpose.
CORES: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {}),
    "rnn relu, 2 layers": ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    "rnn of a caller's function": ("RNN", {"nonlinearity": torch.sin, "num_layers": 2}),
    "rnn layer norm": ("RNN", {"layer_norm": True}),
    "rnn layer norm without bias": ("RNN", {"layer_norm": True, "bias": False}),
    "rnn zoneout": ("RNN", {"zoneout": 0.2}),
    "rnn bidirectional": ("RNN", {"bidirectional": True, "num_layers": 2}),
    "lstm": ("LSTM", {}),
    "lstm without bias": ("LSTM", {"bias": False, "num_layers": 3}),
    "lstm projection": ("LSTM", {"proj_size": 2, "num_layers": 2}),
    "lstm peephole": ("LSTM", {"peephole": True, "num_layers": 2}),
    "lstm layer norm": ("LSTM", {"layer_norm": True}),
    "lstm everything": (
        "LSTM",
        {"layer_norm": True, "peephole": True, "proj_size": 2, "zoneout": (0.1, 0.3)},
    ),
    "lstm hidden size per layer": ("LSTM", {"hidden_size": [5, 7, 4]}),
    "gru hidden size per layer": ("GRU", {"hidden_size": [5, 7, 4]}),
    "lstm regularised": (
        "LSTM",
        {"dropout": 0.3, "variational": True, "weight_dropout": 0.4, "num_layers": 2},
    ),
    "lstm bidirectional": ("LSTM", {"bidirectional": True, "num_layers": 2}),
    "lstm bidirectional peephole": ("LSTM", {"bidirectional": True, "peephole": True}),
    "lstm bidirectional projection": ("LSTM", {"bidirectional": True, "proj_size": 2}),
    "gru": ("GRU", {}),
    "gru 3 layers": ("GRU", {"num_layers": 3, "dropout": 0.2}),
    "gru reset before": ("GRU", {"reset_after": False, "num_layers": 2}),
    "gru layer norm": ("GRU", {"layer_norm": True}),
    "gru reset before, layer norm": ("GRU", {"reset_after": False, "layer_norm": True}),
    "gru reset before, regularised": (
        "GRU",
        {
            "reset_after": False,
            "bias": False,
            "zoneout": 0.5,
            "recurrent_dropout": 0.3,
            "weight_dropout": 0.4,
        },
    ),
    "gru reset before, bidirectional": (
        "GRU",
        {"reset_after": False, "bidirectional": True, "hidden_size": [3, 5]},
    ),
    "gru zoneout": ("GRU", {"zoneout": 0.5, "recurrent_dropout": 0.3}),
    "minimal gru": ("MinGRU", {}),
    "minimal gru zoneout": ("MinGRU", {"zoneout": 0.3, "num_layers": 2, "dropout": 0.2}),
    "minimal gru bidirectional": ("MinGRU", {"bidirectional": True, "hidden_size": [3, 5]}),
    "minimal lstm": ("MinLSTM", {"num_layers": 2}),
    "minimal lstm bidirectional": ("MinLSTM", {"bidirectional": True}),
    "gated linear attention": ("GLA", {"num_layers": 2}),
    "gated linear attention, heads": ("GLA", {"hidden_size": [6, 4], "heads": 2}),
    "gated linear attention, bidirectional": ("GLA", {"bidirectional": True}),
    "mlstm": ("MLSTM", {"num_layers": 2}),
    "mlstm heads": ("MLSTM", {"hidden_size": [6, 4], "heads": 2}),
    "mlstm bidirectional": ("MLSTM", {"bidirectional": True}),
    "deltanet": ("DeltaNet", {}),
    "deltanet bidirectional": ("DeltaNet", {"bidirectional": True, "num_layers": 2}),
    "gated deltanet": ("GatedDeltaNet", {"num_layers": 2}),
    "gated deltanet heads": ("GatedDeltaNet", {"hidden_size": [6, 4], "heads": 2}),
    "gated deltanet bidirectional": ("GatedDeltaNet", {"bidirectional": True}),
    "mamba-2": ("Mamba2", {"num_layers": 2}),
    "mamba-2 heads": ("Mamba2", {"hidden_size": [6, 4], "heads": 2}),
    "mamba-2 bidirectional": ("Mamba2", {"bidirectional": True}),
    "lru": ("LRU", {}),
    "lru ring, 2 layers": (
        "LRU",
        {"num_layers": 2, "dropout": 0.2, "r_min": 0.4, "r_max": 0.9, "max_phase": 1.0},
    ),
    "lru bidirectional": ("LRU", {"bidirectional": True, "hidden_size": [3, 5]}),
    "rg-lru": ("RGLRU", {}),
    "rg-lru blocks, 2 layers": ("RGLRU", {"hidden_size": [12, 8], "dropout": 0.2}),
    "rg-lru bidirectional": ("RGLRU", {"bidirectional": True, "num_layers": 2}),
    "rg-lru bidirectional, hidden size per layer": (
        "RGLRU",
        {"bidirectional": True, "hidden_size": [3, 4]},
    ),
    "gru bidirectional": ("GRU", {"bidirectional": True, "hidden_size": [3, 5]}),
    "slstm": ("SLSTM", {}),
    "slstm 2 heads, 2 layers": ("SLSTM", {"heads": 2, "num_layers": 2}),
    "slstm hidden size per layer": ("SLSTM", {"hidden_size": [3, 5, 1], "heads": 2}),
    "slstm regularised": (
        "SLSTM",
        {"zoneout": 0.3, "recurrent_dropout": 0.3, "weight_dropout": 0.4, "num_layers": 2},
    ),
    "slstm bidirectional": ("SLSTM", {"bidirectional": True, "hidden_size": [3, 5]}),
    "long expressive memory": ("LEM", {}),
    "long expressive memory, short steps": ("LEM", {"dt": 0.3, "num_layers": 2}),
    "long expressive memory, regularised": (
        "LEM",
        {"zoneout": 0.3, "recurrent_dropout": 0.3, "weight_dropout": 0.4},
    ),
    "long expressive memory, bidirectional": (
        "LEM",
        {"bidirectional": True, "hidden_size": [3, 5]},
    ),
}
CAUSAL = [name for name, (_, options) in CORES.items() if not options.get("bidirectional")]
# Layers for uneven time: one layer, batch first, with 3 features: a value, its mask, and the time.
TIMED: dict[str, tuple[str, dict[str, object]]] = {
    "grud": ("GRUD", {}),
    "grud regularised": (
        "GRUD",
        {"zoneout": 0.3, "recurrent_dropout": 0.3, "weight_dropout": 0.4},
    ),
    "gruwe": ("GRUwE", {}),
    "gruwe regularised": (
        "GRUwE",
        {"zoneout": 0.3, "recurrent_dropout": 0.3, "weight_dropout": 0.4},
    ),
    "cfc": ("CfC", {}),
    "cfc regularised": (
        "CfC",
        {"backbone": 7, "zoneout": 0.3, "recurrent_dropout": 0.3, "weight_dropout": 0.4},
    ),
}


def build(name: str, *, dtype: torch.dtype = torch.float64, **changed: object) -> Stack:
    """Return a core with seeded weights, batch first, in evaluation mode."""
    torch.manual_seed(7)
    if name in TIMED:
        kind, options = TIMED[name]
        core = getattr(elman.recur, kind)(1, 5, **options).to(dtype)
    else:
        kind, options = CORES[name]
        arguments = {"hidden_size": 5, "batch_first": True, "dtype": dtype, **options, **changed}
        if "heads" in options:  # the hidden sizes are then those of a head
            sizes = np.multiply(arguments["hidden_size"], options["heads"]).tolist()
            arguments["hidden_size"] = sizes
        core = getattr(elman.recur, kind)(INPUT, **arguments)
    with torch.no_grad():  # gains of 1 and biases of 0 would hide mistakes
        for parameter in core.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return core.eval()


def leaves(state: State) -> list[torch.Tensor]:
    return [leaf for _, leaf in named_leaves(state)]


def random_state(core: Stack, rows: int) -> State:
    """Return a state of random numbers that the core can have."""
    _, state = core(torch.zeros(rows, 1, INPUT, dtype=next(core.parameters()).dtype))
    drawn = elman.state.map_state(torch.randn_like, state)
    if isinstance(core, elman.recur.SLSTM):  # its normaliser is at least 1, and above |c|
        h, c, n, m = drawn
        drawn = h, c, elman.state.map_state(lambda leaf: leaf.abs() + 5, n), m
    return drawn
