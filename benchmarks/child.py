"""A training program in its own process, for programs.py: it runs as its user would run it.

    python benchmarks/child.py FOLDER

FOLDER contains spec.json and arrays.npz.  Each line of standard input is a number of steps; the
answer is a line [seconds, result of the last step] as JSON.  Between two requests the process is
stopped, so that threads that spin while they wait take no time from other programs.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[np.ndarray, np.ndarray], float]
Arrays = dict[str, np.ndarray]
LSTM_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def by_torch(spec: dict[str, Any], arrays: Arrays) -> Step:
    """Return a step in PyTorch as people write it, or the same step with Elman's modules."""
    import torch
    from torch import Tensor, nn

    torch.set_num_threads(spec["threads"])
    weights = {name: torch.from_numpy(value) for name, value in arrays.items()}
    lstm = _lstm(spec, weights)
    parameters = list(lstm.parameters())
    if spec["program"] == "layer":
        optimizer = torch.optim.SGD(parameters, lr=spec["rate"])

        def loss_of(x: Tensor, y: Tensor) -> Tensor:
            return nn.functional.mse_loss(lstm(x)[0], y)
    else:
        score, more = _ends(spec, weights)
        parameters += more
        # Elman also trains with torch's fused Adam; docs/architecture.md gives the reason.
        fused = {"fused": True} if spec["by"] in ("torch fused", "elman") else {}
        optimizer = torch.optim.Adam(parameters, lr=spec["rate"], eps=1e-7, **fused)

        def loss_of(x: Tensor, y: Tensor) -> Tensor:
            return score(lstm, x, y)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        optimizer.zero_grad()
        loss = loss_of(torch.from_numpy(x), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _lstm(spec: dict[str, Any], weights: dict[str, Any]) -> Any:
    from torch import nn

    import elman

    make = elman.LSTM if spec["by"] == "elman" else nn.LSTM
    lstm = make(spec["H"], spec["H"], batch_first=True)
    lstm.load_state_dict({name: weights[name] for name in LSTM_NAMES})
    return lstm


def _ends(spec: dict[str, Any], weights: dict[str, Any]) -> tuple[Callable[..., Any], list[Any]]:
    """Return the loss with embedding and softmax of the last state, and their parameters."""
    import torch
    from torch import nn

    from elman.encode.embed import Embed
    from elman.heads import TokenHead
    from elman.padded import Padded

    V, H = weights["embedding"].shape
    ours = spec["by"] == "elman"
    embed: nn.Module = Embed(V, H) if ours else nn.Embedding(V, H)
    head: nn.Module = TokenHead(H, V) if ours else nn.Linear(H, V)
    with torch.no_grad():
        embed.weight.copy_(weights["embedding"])
        head.weight.copy_(weights["output"])
        head.bias.zero_()

    def score(lstm: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if not ours:
            return nn.functional.cross_entropy(head(lstm(embed(x))[0][:, -1]), y)
        h = lstm(embed(Padded.full(x)).data)[0][:, -1:]
        total, count = head.loss(Padded.full(h), y.unsqueeze(1))
        return total / count

    return score, [*embed.parameters(), *head.parameters()]


def by_keras(spec: dict[str, Any], arrays: Arrays) -> Step:
    """Return a step in Keras; `train_on_batch` was not slower than `fit`."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(spec["threads"])
    ih, hh, b_ih, b_hh = (arrays[name] for name in LSTM_NAMES)
    cell = [ih.T, hh.T, b_ih + b_hh]
    if spec["program"] == "layer":
        layers = [
            keras.Input((spec["T"], spec["H"])),
            keras.layers.LSTM(spec["H"], return_sequences=True),
        ]
        model = keras.Sequential(layers)
        model.set_weights(cell)
        model.compile(keras.optimizers.SGD(spec["rate"]), "mse")
    else:
        embedding, output = arrays["embedding"], arrays["output"]
        V, H = embedding.shape
        model = keras.Sequential(
            [
                keras.Input((spec["T"],), dtype="int32"),
                keras.layers.Embedding(V, H),
                keras.layers.LSTM(H),
                keras.layers.Dense(V, activation="softmax"),
            ]
        )
        model.set_weights([embedding, *cell, output.T, np.zeros(V, dtype=np.float32)])
        model.compile(keras.optimizers.Adam(spec["rate"]), "sparse_categorical_crossentropy")
    return lambda x, y: float(model.train_on_batch(x, y))


def by_onnx(spec: dict[str, Any], arrays: Arrays) -> Callable[..., Any]:
    """Return a step in onnxruntime, which returns the function that reads h."""
    from one_step import onnx_step

    return onnx_step(spec["cell"], arrays, spec["H"], spec["threads"])


def main(folder: Path) -> None:
    if sys.platform == "linux":  # a stopped process would outlive a killed parent
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print must not be among the answers
    spec = json.loads((folder / "spec.json").read_text())
    if spec["threads"] == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with np.load(folder / "arrays.npz") as file:
        arrays = dict(file)
    xs, ys = arrays.pop("x"), arrays.pop("y")
    if spec["by"] == "keras" and xs.dtype == np.int64:
        xs, ys = xs.astype(np.int32), ys.astype(np.int32)
    step = {"keras": by_keras, "onnx": by_onnx}.get(spec["by"], by_torch)(spec, arrays)
    done = 0
    for line in sys.stdin:
        count = int(line)
        if count > 1 and spec["by"] == "onnx":  # do not time the step that wakes the threads
            step(xs, ys)
        began = time.perf_counter()
        for _ in range(count):
            given = step(xs[done % len(xs)], ys[done % len(ys)])
            done += 1
        taken = time.perf_counter() - began
        answers.write(f"{json.dumps([taken, given if isinstance(given, float) else given()])}\n")
        answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
