"""Penn Treebank, words: the small model of Zaremba et al. 2014, to the end.

    python benchmarks/ptb_small.py DATA_FOLDER [seed]

DATA_FOLDER holds ptb.train.txt, ptb.valid.txt and ptb.test.txt.  It runs the command

    elman train language-model ptb.train.txt --validation ptb.valid.txt --test ptb.test.txt
        --config benchmarks/ptb_small.yaml --out runs/ptb_small
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from result import write_result

from elman.cli import main


def run(folder: Path, seed: int) -> None:
    out = Path("runs") / f"ptb_small_{seed}"
    began = time.monotonic()
    code = main(
        [
            "train", "language-model", str(folder / "ptb.train.txt"),
            "--validation", str(folder / "ptb.valid.txt"), "--test", str(folder / "ptb.test.txt"),
            "--config", str(Path(__file__).with_name("ptb_small.yaml")),
            "--seed", str(seed), "--out", str(out), "--overwrite",
        ]
    )  # fmt: skip
    assert code == 0
    minutes = (time.monotonic() - began) / 60
    metrics = json.loads((out / "metrics.json").read_text())
    facts = {"seed": seed, "minutes": round(minutes, 1), **metrics}
    facts.pop("samples")
    write_result("ptb_small", facts)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
