"""Prediction of a file of a million rows: memory, rows per second, and a kill in the middle.

    python benchmarks/rows.py

A classifier (bidirectional LSTM of 64) labels 100,000 and a million artificial texts of 1 to 39
words through `elman predict RUN --file`.  The second command is repeated, killed half way, and
given again: the file must be the same, byte for byte.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from result import write_result

import elman

WORDS = 5000
LONGEST = 40


def texts(rows: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    words = draw.zipf(1.3, (rows, LONGEST)) % WORDS
    lengths = draw.integers(1, LONGEST, rows)
    return [
        " ".join(f"w{w}" for w in line[:length])
        for line, length in zip(words, lengths, strict=True)
    ]


def write_table(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write("text\n")
        for part in range(rows // 100_000):
            file.writelines(f"{text}\n" for text in texts(100_000, part))


def predict(run: Path, source: Path, out: Path, *, kill_at: int | None = None) -> dict[str, float]:
    """Return seconds and peak memory of one command; kill it after `kill_at` bytes of output."""
    command = [sys.executable, "-m", "elman", "predict", run, "--file", source, "--out", out]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        part = out.with_name(f"{out.name}.part")
        if kill_at is not None:
            while process.poll() is None and (not part.exists() or part.stat().st_size < kill_at):
                time.sleep(0.01)
            process.kill()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != (0 if kill_at is None else -9):
        raise SystemExit(f"{command}: exit code {process.returncode}")
    seconds = time.monotonic() - began
    return {"seconds": round(seconds, 1), "peak_mb": round(used.ru_maxrss / 1024)}


def main() -> None:
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "run"
        learn = texts(5000, -1 % 2**32)
        labels = ["yes" if "w2" in text.split() else "no" for text in learn]
        elman.Classifier(hidden_size=64, epochs=1, device="cpu").fit(learn, labels, out=run)
        for rows in (100_000, 1_000_000):
            source, out = folder / f"{rows}.csv", folder / f"{rows}.labels.csv"
            write_table(source, rows)
            found = predict(run, source, out)
            results[f"{rows:,} rows"] = {**found, "rows_a_second": round(rows / found["seconds"])}
        whole = out.read_bytes()
        out.unlink()
        killed = predict(run, source, out, kill_at=len(whole) // 2)
        again = predict(run, source, out)
        results["killed half way"] = {
            "seconds_before": killed["seconds"],
            "seconds_after": again["seconds"],
            "peak_mb_after": again["peak_mb"],
            "same": out.read_bytes() == whole,
        }
    write_result("rows", results)


if __name__ == "__main__":
    main()
