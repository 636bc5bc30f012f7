"""Quality of a language model: one complete run, its scores, and its cost.

    python benchmarks/quality.py NAME DATA [seed] [note]

NAME         DATA
ptb_small    a folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt (Penn Treebank, words)
ptb_hour     the same folder
shakespeare  Tiny Shakespeare, input.txt: the first 90 % of the characters are for training, the
             rest for validation, which is the split of nanoGPT

It runs `elman train language-model` with benchmarks/NAME.yaml into runs/NAME_SEED and writes
benchmarks/results/NAME.json, which includes the note.  A budget is processor time, user and system,
of all threads, from the first import to the scores, including those of the baseline.  Unlike the
minutes, it measures the cost of the run even on a machine that does other work, too.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

# This must be set before torch is imported.  Waiting threads then sleep: if they spun while other
# work on the machine delayed a thread, their time would count as this run's.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from result import write_result

from elman.cli import main

TRAINED = 0.9  # share of Tiny Shakespeare that is for training


def penn_treebank(folder: Path) -> list[str]:
    train, valid, test = (str(folder / f"ptb.{part}.txt") for part in ("train", "valid", "test"))
    return [train, "--validation", valid, "--test", test]


def tiny_shakespeare(text: str, folder: Path) -> list[str]:
    cut = int(len(text) * TRAINED)
    train, valid = folder / "train.txt", folder / "valid.txt"
    train.write_text(text[:cut], encoding="utf-8")
    valid.write_text(text[cut:], encoding="utf-8")
    return [str(train), "--validation", str(valid)]


def run(name: str, data: Path, seed: int, note: str | None) -> None:
    out = Path("runs") / f"{name}_{seed}"
    began = time.monotonic()
    with ExitStack() as stack:
        if name == "shakespeare":
            cut = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            texts = tiny_shakespeare(data.read_text(encoding="utf-8"), cut)
        else:
            texts = penn_treebank(data)
        code = main(
            [
                "train",
                "language-model",
                *texts,
                "--config",
                str(Path(__file__).with_name(f"{name}.yaml")),
                "--seed",
                str(seed),
                "--out",
                str(out),
                "--overwrite",
            ]
        )
    assert code == 0
    metrics = json.loads((out / "metrics.json").read_text())
    metrics.pop("samples")
    facts = {
        "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "core_minutes": round(time.process_time() / 60, 1),
        **({} if note is None else {"note": note}),
        **metrics,
    }
    write_result(name, facts)


if __name__ == "__main__":
    name, data, *rest = sys.argv[1:]
    del sys.argv[4:]  # the recorded command does not include the note
    run(name, Path(data), int(rest[0]) if rest else 0, rest[1] if len(rest) > 1 else None)
