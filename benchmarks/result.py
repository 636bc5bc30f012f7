"""Results as small JSON files that record machine, date, commit and command."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

import elman
from elman.atomic import write_atomic

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, facts: dict[str, object], *, quiet: bool = False) -> None:
    """Write benchmarks/results/NAME.json and print it; an item of a list "cells" is one line."""
    arguments = [Path(a).name if os.sep in a else a for a in sys.argv]
    result = {
        "date": datetime.date.today().isoformat(),
        "commit": _output("git", "rev-parse", "--short", "HEAD") or "not in a checkout",
        "command": " ".join(["python", f"benchmarks/{arguments[0]}", *arguments[1:]]),
        "machine": f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": {
            "elman": elman.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **facts,
    }
    cells = result.pop("cells", None)
    text = json.dumps(result, indent=2)
    if isinstance(cells, list):
        lines = ",\n".join(f"    {json.dumps(cell)}" for cell in cells)
        text = text.removesuffix("\n}") + f',\n  "cells": [\n{lines}\n  ]\n}}'
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text + "\n")
    if not quiet:
        print(text)


def _output(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip()


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
