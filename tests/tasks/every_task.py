"""Train each task with two processes, and keep the folders of interrupted runs.

    python every_task.py FOLDER           train each task, and a language model until it is killed
    python every_task.py FOLDER resume    continue the runs in FOLDER/cut

FOLDER/data holds files of data that only the first process may open.  FOLDER/2/TASK is the run of a
task.  FOLDER/cut/TASK is a copy of the run after some of its steps, as if it had been killed there.
FOLDER/cut/killed is a run whose second process was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import elman
import elman.tasks.run
from elman.cli import main
from elman.manifest import CHECKPOINT
from elman.train import loop, resumable
from elman.train.processes import is_first

# Plain SGD passes rounding errors of the gradients on unchanged; Adam would enlarge them.
SAME: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 8,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "dropout": 0.0,
    "hidden_size": 6,
    "device": "cpu",
    "checkpoint_seconds": 0.0,
}
EMBEDDED: dict[str, Any] = {"embedding_size": 6, "min_count": 1}
TASKS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "language-model": (elman.LanguageModel(**SAME, bptt=6, document="line"), ("text.txt",)),
    "classifier": (elman.Classifier(**SAME, **EMBEDDED, input_dropout=0.0), ("labels.csv",)),
    "several-inputs": (
        elman.Classifier(
            **SAME,
            **EMBEDDED,
            input_dropout=0.0,
            inputs=("text:text", "note:text", "count:number"),
            drop_inputs=0.0,
        ),
        ("notes.csv",),
    ),
    "tagger": (
        elman.Tagger(**SAME, **EMBEDDED, character_size=4, input_dropout=0.0),
        ("tags.conll",),
    ),
    "translator": (
        elman.Translator(**SAME, **EMBEDDED, tokens="word"),
        ("sources.txt", "targets.txt"),
    ),
    "forecaster": (
        elman.Forecaster(**SAME, horizon=4, context=8, season=4, windows=48, gaps=0),
        ("series.csv",),
    ),
}
CUT = 4  # number of checkpoints before a run is copied or killed


def write_data(folder: Path) -> None:
    """Write small files for each task."""
    nouns, verbs = ("cat", "dog", "hen", "fox"), ("sees", "likes", "hears")
    pairs = [(a, verb, b) for a in nouns for verb in verbs for b in nouns]
    lines = [f"the {a} {verb} the {b}" for a, verb, b in pairs]
    tagged = ["the\tD\n{}\tN\n{}\tV\nthe\tD\n{}\tN\n".format(*pair) for pair in pairs]
    rows = [f"{line},{line.split()[1] in nouns[:2]}" for line in lines]
    series = [f"{name},{n},{(n % 4) + i}" for i, name in enumerate("abc") for n in range(40)]
    # A process finds no note, no number or neither in some of its batches.
    texts = {0: "some note", 5: "another"}
    notes = [
        f"{row},{texts.get(n % 9, '')},{n if n % 7 == 0 else ''}" for n, row in enumerate(rows)
    ]
    folder.mkdir()
    for name, content in {
        "text.txt": lines,
        "labels.csv": ["text,label", *rows],
        "notes.csv": ["text,label,note,count", *notes],
        "tags.conll": tagged,
        "sources.txt": lines,
        "targets.txt": [line[4:] for line in lines],
        "series.csv": ["unique_id,ds,y", *series],
    }.items():
        (folder / name).write_text("\n".join(content) + "\n")


def train(base: Path, processes: int) -> None:
    """Train each task on the data of a folder."""
    for name, (model, files) in TASKS.items():
        model.processes = processes
        paths = [base / "data" / file for file in files]
        model.fit(*paths, out=base / str(processes) / name, show=True)


def copy_in_the_middle(base: Path) -> None:
    """Copy each run of two processes after its checkpoint number CUT."""
    save, seen = resumable.save_tensors, Counter[Path]()

    def saved(path: Path, tensors: Any, facts: Mapping[str, Any]) -> None:
        save(path, tensors, facts)
        seen[path] += 1
        if path.name == CHECKPOINT and seen[path] == CUT and path.parent.parent.name == "2":
            shutil.copytree(path.parent, base / "cut" / path.parent.name)

    resumable.save_tensors = saved  # type: ignore[assignment]


def exit_if_it_reads_data(base: Path) -> None:
    """Exit this process if it opens a data file."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(str(base / "data")):
            os._exit(9)

    sys.addaudithook(refuse)


def train_until_the_second_is_killed(base: Path) -> int:
    """Train a language model on the command line, and kill the second process with SIGKILL."""
    if not is_first():
        save, seen = loop._Loop.save, Counter[str]()

        def saved(self: Any, began: float) -> None:
            seen["saved"] += 1
            if seen["saved"] > CUT:
                os.kill(os.getpid(), signal.SIGKILL)
            save(self, began)

        loop._Loop.save = saved  # type: ignore[method-assign]
    given = {**SAME, "bptt": 6, "document": "line", "processes": 2, "out": base / "cut" / "killed"}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    return main(["train", "language-model", str(base / "data" / "text.txt"), *flags])


if __name__ == "__main__":
    base = Path(sys.argv[1])
    elman.tasks.run.write_report = lambda _: None  # type: ignore[assignment] - it takes seconds
    if not is_first():
        exit_if_it_reads_data(base)
    if sys.argv[2:] == ["resume"]:
        for run in sorted((base / "cut").iterdir()):
            elman.tasks.task_of(run).resume(run)
    else:
        if is_first():
            copy_in_the_middle(base)
        train(base, 2)
        sys.exit(train_until_the_second_is_killed(base))
