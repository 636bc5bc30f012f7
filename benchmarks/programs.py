"""Rows of whole training programs, each in its own process, which waits while another runs.

`layer`: forward, mean squared error, backward and SGD of one LSTM over a padded batch.
`tutorial`: windows of 20 words, Embedding 128, LSTM(128), softmax of the last state over 10,000
words, Adam, batch 32; the words are drawn from a Zipf distribution.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import AbsentError, Case, MismatchError, peer_versions

CHILD = Path(__file__).with_name("child.py")
BACKENDS = ("tensorflow", "jax", "torch")
V = 10_000
LAYERS = [(32, 20, 128), (32, 100, 64), (32, 100, 256), (128, 20, 256), (1, 100, 64)]
REST = 0.05  # seconds for the threads of one program to stop spinning
# For the losses of the first steps.  Keras adds Adam's epsilon before the correction of the bias,
# torch after it; this changes the loss of the tutorial's first steps, near 9.2, by about 1e-4.
TOLERANCE = {"layer": 1e-4, "tutorial": 1e-3}


class Child:
    """A program in its own process."""

    def __init__(self, name: str, spec: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.name = name
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        (folder / "spec.json").write_text(json.dumps(spec))
        np.savez(folder / "arrays.npz", **arrays)
        environment = {
            **os.environ,
            "KERAS_BACKEND": name.removeprefix("Keras on "),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), str(folder)],
            text=True,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )

    def run(self, steps: int) -> tuple[float, Any]:
        """Run steps; return the seconds that they took, and the result of the last one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.errors.seek(0)
            raise RuntimeError(f"{self.name} ended: {self.errors.read()[-2000:]}")
        self.process.send_signal(signal.SIGSTOP)
        seconds, given = json.loads(answer)
        return seconds, given

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait(20)
        self.errors.close()
        self.folder.cleanup()


@dataclass(frozen=True)
class Turn:
    """A number of steps of a child, which measures the time itself."""

    child: Child
    steps: int

    def __call__(self) -> object:
        return self.child.run(self.steps)

    def seconds(self, calls: int) -> float:
        return self.child.run(calls * self.steps)[0] / calls


def build(program: str, B: int, T: int, H: int, threads: int) -> Case:
    draw = np.random.default_rng(0)
    arrays = _weights(draw, H)
    if program == "layer":
        arrays["x"], arrays["y"] = draw.standard_normal((2, 4, B, T, H), dtype=np.float32)
        names = ["elman", "PyTorch"]
    else:
        arrays["embedding"] = draw.uniform(-0.05, 0.05, (V, H)).astype(np.float32)
        arrays["output"] = draw.uniform(-0.05, 0.05, (V, H)).astype(np.float32)
        words = (draw.zipf(1.3, (200, B, T + 1)) % V).astype(np.int64)
        arrays["x"], arrays["y"] = words[..., :T].copy(), words[..., T].copy()
        names = ["elman", "PyTorch, Adam", "PyTorch, fused Adam"]
    versions = peer_versions()
    absent = []
    for backend in BACKENDS:
        if "not installed" in (versions["keras"], versions[backend]):
            absent.append(f"Keras on {backend}")
        else:
            names.append(f"Keras on {backend}")
    if all(name.startswith("Py") or name == "elman" for name in names) and program == "layer":
        raise AbsentError("Keras")
    kinds = {"PyTorch, fused Adam": "torch fused", "PyTorch, Adam": "torch", "PyTorch": "torch"}
    children = {}
    for name in names:
        by = "elman" if name == "elman" else kinds.get(name, "keras")
        rate = 0.1 if program == "layer" else 0.001
        spec = {"program": program, "by": by, "T": T, "H": H, "threads": threads, "rate": rate}
        children[name] = Child(name, spec, arrays)

    def parity() -> float:
        worst = 0.0
        losses = {name: [child.run(1)[1] for _ in range(5)] for name, child in children.items()}
        for name, found in losses.items():
            error = max(abs(a - b) / b for a, b in zip(losses["elman"], found, strict=True))
            if not error <= TOLERANCE[program]:
                raise MismatchError(f"{name}: a loss of the first steps differs by {error:.1e}")
            worst = max(worst, error)
        return worst

    def close() -> None:
        for child in children.values():
            child.close()

    steps = 10 if program == "tutorial" else 5
    runs = {name: Turn(child, steps) for name, child in children.items()}
    ours = runs.pop("elman")
    return Case(ours, dict(runs), parity, steps=steps, close=close, absent=absent, rest=REST)


def _weights(draw: np.random.Generator, H: int) -> dict[str, np.ndarray]:
    bound = H**-0.5

    def uniform(*shape: int) -> np.ndarray:
        return draw.uniform(-bound, bound, shape).astype(np.float32)

    return {
        "weight_ih_l0": uniform(4 * H, H),
        "weight_hh_l0": uniform(4 * H, H),
        "bias_ih_l0": uniform(4 * H),
        "bias_hh_l0": uniform(4 * H),
    }
