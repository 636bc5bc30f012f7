"""Training speed on the small Zaremba model: the loop of Elman beside a plain PyTorch script.

    python benchmarks/speed.py [rounds]

Both train the same model (2 layers of 200, batch 20, 20 steps, SGD, clipping, 10,000 tokens) on the
same stream of random tokens, in one process, in alternating blocks of 40 steps; the time of a block
is the median of its steps.  The losses of the first steps are compared first; if they differ,
nothing is timed.  The script runs in two ways: alternating with Elman and with its memory setting
(train/memory.py), and in its own process with the default memory of glibc, as its user would run
it.

The overhead of the loop is the time of a step beyond forward, backward, clipping and the optimiser,
which are timed inside the same steps.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from result import write_result
from torch_ptb import Model, steps

from elman import LSTM, kernels
from elman.encode.corpus import Corpus
from elman.encode.embed import Embed
from elman.heads import TokenHead
from elman.model import SequenceModel
from elman.train import loop
from elman.train.chunks import Chunk, StreamBatches
from elman.train.fabric import build_fabric
from elman.train.settings import TrainingSettings

V, H, BLOCK = 10_000, 200, 40
SETTINGS = TrainingSettings(
    epochs=1,
    batch_size=20,
    bptt=20,
    optimizer="sgd",
    learning_rate=20.0,
    clip_norm=0.25,
    device="cpu",
)


def random_tokens() -> np.ndarray:
    draw = np.random.default_rng(0)
    return (draw.zipf(1.3, 600_019) % V).astype(np.uint16)  # rows of 30,000 for both


def ours(
    tokens: np.ndarray, weights: dict[str, torch.Tensor]
) -> tuple[Iterator[float], list[float]]:
    """Return Elman's loop as a generator of losses, and each step's share of time in torch."""
    model = SequenceModel(Embed(V, H), LSTM(H, H, 2, batch_first=True), TokenHead(H, V))
    model.load_state_dict(weights)
    corpus = Corpus(tokens[1:], np.zeros(1, dtype=np.int64), int(tokens[0]))
    batches = StreamBatches(corpus, 20, 20)
    engine = loop._Loop(model, batches, None, SETTINGS, build_fabric(SETTINGS), None, None, None)
    inside: list[float] = []

    def timed(function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **options: object) -> object:
            began = time.perf_counter()
            result = function(*args, **options)
            inside[-1] += time.perf_counter() - began
            return result

        return run

    engine.wrapped.loss = timed(engine.wrapped.loss)  # type: ignore[method-assign]
    engine.fabric.backward = timed(engine.fabric.backward)  # type: ignore[method-assign]
    engine.fabric.clip_gradients = timed(engine.fabric.clip_gradients)  # type: ignore[method-assign]
    engine.wrapped_optimizer.step = timed(engine.wrapped_optimizer.step)  # type: ignore[method-assign]

    def run() -> Iterator[float]:
        model.train()
        chunks: Iterator[Chunk] = batches.epoch(1)
        while True:
            inside.append(0.0)
            began = time.perf_counter()
            chunk = next(chunks, None)
            if chunk is None:
                return
            before = engine._window.total, engine._window.elements
            engine._forward_backward(chunk, step_follows=True)
            loss = (engine._window.total - before[0]) / (engine._window.elements - before[1])
            engine.position.batch += 1
            engine._step()
            engine._record_step()
            inside[-1] /= time.perf_counter() - began
            yield loss

    return run(), inside


def theirs(tokens: np.ndarray) -> tuple[Iterator[float], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = Model(V, H)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.1, 0.1)
    names = {
        "embedding.weight": "encode.weight",
        "output.weight": "head.weight",
        "output.bias": "head.bias",
    }
    weights = {
        names.get(name, name.replace("lstm.", "core.")): value.clone()
        for name, value in model.state_dict().items()
    }
    return steps(model, torch.from_numpy(tokens.astype(np.int64))), weights


def block(run: Iterator[float]) -> float:
    """Return the median milliseconds per step of a block."""
    times = []
    for _ in range(BLOCK):
        began = time.perf_counter()
        next(run)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def spread(values: list[float]) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": round(middle, 2), "quartiles": [round(low, 2), round(high, 2)]}


def alone() -> None:
    """Run the plain script by itself, for `speed.py alone`."""
    run, _ = theirs(random_tokens())
    block(run)
    print(json.dumps([block(run) for _ in range(3)]))


def main(rounds: int) -> None:
    tokens = random_tokens()
    plain, weights = theirs(tokens)
    loop.keep_freed_memory()
    run, inside = ours(tokens, weights)
    pairs = list(zip(itertools.islice(run, 10), itertools.islice(plain, 10), strict=True))
    worst = max(abs(a - b) / b for a, b in pairs)
    assert worst < 1e-4, f"the losses of the first steps differ by {worst:.1e}: nothing is timed"
    ratios, tuned, script, elman_ms = [], [], [], []
    for _ in range(rounds):
        untouched = subprocess.run(
            [sys.executable, __file__, "alone"], capture_output=True, text=True, check=True
        )
        a, b = block(run), block(plain)
        c = statistics.median(json.loads(untouched.stdout))
        elman_ms.append(a)
        tuned.append(b)
        script.append(c)
        ratios.append((b / a, c / a))
    write_result(
        f"speed/{kernels.name()}",
        {
            "what": "ms a training step, PTB small (2x200, batch 20, 20 steps, V 10,000), float32",
            "largest relative difference of the first 10 losses": float(f"{worst:.1e}"),
            "elman": spread(elman_ms),
            "plain PyTorch script": spread(script),
            "plain PyTorch script with Elman's memory setting": spread(tuned),
            "ratio script / elman": spread([c for _, c in ratios]),
            "ratio script with the setting / elman": spread([b for b, _ in ratios]),
            "loop overhead, percent of a step": spread(
                [100 * (1 - part) for part in inside[10:-1]]
            ),
            "rounds": rounds,
        },
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["alone"]:
        alone()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
