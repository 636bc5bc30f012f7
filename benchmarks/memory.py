"""Memory does not grow with the length of the text: training at 1 M and 10 M tokens, and a stream.

    python benchmarks/memory.py

It reads, tokenises and trains one epoch (LSTM of 32, bptt 35, batch 100) on each text, and pushes a
million tokens through a live session.  Each runs in its own process, whose memory is read from the
system.  The n-gram baseline of `fit` is not included: its memory grows with the text, up to the
number of tokens at which it stops reading (`tasks/text_scores.py`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from result import write_result

WORDS = 2000


def write_text(path: Path, tokens: int) -> None:
    draw = np.random.default_rng(0)
    with path.open("w") as file:
        for _ in range(tokens // 100_000):
            words = draw.zipf(1.3, (5_000, 19)) % WORDS
            file.writelines(" ".join(f"w{w}" for w in line) + "\n" for line in words)


def train(text: str, tokens: int) -> dict[str, float]:
    from elman import LanguageModel
    from elman.tasks.text_data import prepare
    from elman.train.chunks import StreamBatches
    from elman.train.fabric import build_fabric
    from elman.train.loop import fit

    model = LanguageModel(hidden_size=32, epochs=1, batch_size=100, bptt=35, device="cpu")
    fabric = build_fabric(model)
    began = _peak()
    data = prepare(model, {"train": text})
    read = _peak()
    network = model.build(data.vocabulary)
    train, held = StreamBatches(data.train, 100, 35), StreamBatches(data.validation, 100, 35)
    fit(network, train, held, model, fabric=fabric)
    return {
        "tokens": tokens,
        "peak_mb_before": round(began),
        "peak_mb_after_reading": round(read),
        "peak_mb_after_training": round(_peak()),
    }


def read(text: str, tokens: int) -> dict[str, float]:
    """Measure reading of a longer text: the groups in which a short text is read are not full."""
    from elman import LanguageModel
    from elman.tasks.text_data import prepare

    began = time.monotonic()
    prepare(LanguageModel(), {"train": text})
    seconds = time.monotonic() - began
    return {"tokens": tokens, "peak_mb_after_reading": round(_peak()), "seconds": round(seconds)}


def stream(text: str) -> dict[str, float]:
    from elman import LanguageModel

    torch.set_num_threads(1)  # a single step is too little work for two
    model = LanguageModel(hidden_size=32, epochs=1, batch_size=100, device="cpu").fit(text)
    live = model.stream()
    began = time.monotonic()
    words = [f"w{w}" for w in np.random.default_rng(1).zipf(1.3, 1000) % WORDS]
    sizes = []
    for round_ in range(1000):
        for word in words:
            live.push(word)
        if round_ in (0, 999):
            sizes.append((_now(), len(live.state_bytes())))
    return {
        "tokens": 1_000_000,
        "resident_mb_after_1000": round(sizes[0][0], 1),
        "resident_mb_after_1000000": round(sizes[1][0], 1),
        "state_bytes": sizes[1][1],
        "microseconds_a_token": round(time.monotonic() - began, 1),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _now() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ELMAN_CACHE": f"{folder}/cache"}
        for name, tokens, runs in (
            ("1M", 1_000_000, ("train", "stream")),
            ("10M", 10_000_000, ("train", "read")),
            ("40M", 40_000_000, ("read",)),
        ):
            text = Path(folder, f"{name}.txt")
            write_text(text, tokens)
            for what in runs:
                done = subprocess.run(
                    [sys.executable, __file__, what, str(text), str(tokens)],
                    capture_output=True,
                    text=True,
                    check=True,
                    env=environment,
                )
                results[f"{what} {name}"] = json.loads(done.stdout.splitlines()[-1])
    write_result("memory", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        print(json.dumps(train(sys.argv[2], int(sys.argv[3]))))
    elif sys.argv[1:2] == ["read"]:
        print(json.dumps(read(sys.argv[2], int(sys.argv[3]))))
    elif sys.argv[1:2] == ["stream"]:
        print(json.dumps(stream(sys.argv[2])))
    else:
        main()
