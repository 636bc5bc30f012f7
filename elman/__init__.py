"""Elman: recurrent sequence models on PyTorch.

Data flow from left to right through the folders:

    read -> encode -> recur -> heads -> decode -> report

Files become records (`read`), columns of the records become vectors (B, T, D) (`encode`), a
recurrence turns the vectors into states (`recur`), states become scores and a loss (`heads`),
scores become sequences (`decode`), and results are reported (`report`).  `train` repeats this over
batches, `tasks` combine the parts for a task, and `live` runs a model one element at a time.

The names below are loaded when they are first used, so that `import elman` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from elman.version import __version__

__all__ = [
    "GLA",
    "GRU",
    "GRUD",
    "LEM",
    "LRU",
    "LSTM",
    "MLSTM",
    "RGLRU",
    "RNN",
    "SLSTM",
    "Audio",
    "Category",
    "CfC",
    "Classifier",
    "DeltaNet",
    "DynamicEvaluation",
    "Forecaster",
    "GRUwE",
    "GatedDeltaNet",
    "Image",
    "LanguageModel",
    "Mamba2",
    "MinGRU",
    "MinLSTM",
    "NeuralCache",
    "Number",
    "Recordings",
    "Stream",
    "Tagger",
    "Text",
    "Transcriber",
    "Translator",
    "Words",
    "__version__",
    "load",
]

if TYPE_CHECKING:
    from elman.decode.cache import NeuralCache
    from elman.inputs.descriptions import (
        Audio,
        Category,
        Image,
        Number,
        Recordings,
        Text,
        Words,
    )
    from elman.recur import (
        GLA,
        GRU,
        GRUD,
        LEM,
        LRU,
        LSTM,
        MLSTM,
        RGLRU,
        RNN,
        SLSTM,
        CfC,
        DeltaNet,
        GatedDeltaNet,
        GRUwE,
        Mamba2,
        MinGRU,
        MinLSTM,
    )
    from elman.recur.stream import Stream
    from elman.tasks import (
        Classifier,
        Forecaster,
        LanguageModel,
        Tagger,
        Transcriber,
        Translator,
        load,
    )
    from elman.train.dynamic import DynamicEvaluation

_ROOMS = {
    "RNN": "recur",
    "LSTM": "recur",
    "GRU": "recur",
    "GRUD": "recur",
    "GLA": "recur",
    "DeltaNet": "recur",
    "GatedDeltaNet": "recur",
    "MLSTM": "recur",
    "Mamba2": "recur",
    "MinGRU": "recur",
    "MinLSTM": "recur",
    "LRU": "recur",
    "RGLRU": "recur",
    "GRUwE": "recur",
    "CfC": "recur",
    "SLSTM": "recur",
    "LEM": "recur",
    "Stream": "recur.stream",
    "DynamicEvaluation": "train.dynamic",
    "NeuralCache": "decode.cache",
    "Classifier": "tasks",
    "Forecaster": "tasks",
    "LanguageModel": "tasks",
    "Tagger": "tasks",
    "Transcriber": "tasks",
    "Translator": "tasks",
    "load": "tasks",
    "Audio": "inputs.descriptions",
    "Category": "inputs.descriptions",
    "Image": "inputs.descriptions",
    "Number": "inputs.descriptions",
    "Recordings": "inputs.descriptions",
    "Text": "inputs.descriptions",
    "Words": "inputs.descriptions",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'elman' has no attribute {name!r}")
    return getattr(importlib.import_module(f"elman.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
