"""Recognition of exercises by a watch, on data from a package of the `demo` extra.

    python examples/watch.py [folder]

The package seglearn has 140 recordings of a smartwatch: acceleration and rotation in six axes, 50
times per second, of ten people who do seven exercises of the shoulder.  A classifier recognises the
exercise of a recording from four seconds at a time; three people are the test part.  A tagger reads
whole sessions, one exercise after the other, and detects each as it happens.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import elman
from elman.cli import main
from elman.live.session import LiveTagging

AXES = ("ax", "ay", "az", "wx", "wy", "wz")
NEW = (8, 9, 10)  # people of the test part


def recordings() -> list[tuple[int, str, Any]]:
    """Return the person, exercise and array (T, 6) of each recording."""
    spec = find_spec("seglearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0], "data", "watch_dataset.npy")
    whole = np.load(path, allow_pickle=True).item()
    names = [whole["y_labels"][n] for n in whole["y"]]
    return list(zip(map(int, whole["subject"]), names, whole["X"], strict=True))


def write(path: Path, rows: Iterable[tuple[Any, ...]]) -> str:
    """Write a table of steps, and return its path."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("unique_id", "ds", "label", *AXES))
        table.writerows(rows)
    return str(path)


def steps(found: list[tuple[int, str, Any]]) -> Iterable[tuple[Any, ...]]:
    """Yield a row for each step; each recording is a sequence."""
    for n, (person, name, array) in enumerate(found):
        for step, values in enumerate(array):
            yield f"{person}-{n}", step / 50, name, *values.round(4)


def sessions(found: list[tuple[int, str, Any]]) -> Iterable[tuple[Any, ...]]:
    """Yield a row for each step; all recordings of a person are one sequence."""
    for one in sorted({person for person, _, _ in found}):
        step = 0
        for person, name, array in found:
            for values in array if person == one else ():
                yield one, step / 50, name, *values.round(4)
                step += 1


def run(folder: Path, **settings: object) -> int:
    """Train, score, label, detect, and run a session live."""
    folder.mkdir(parents=True, exist_ok=True)
    known = [one for one in recordings() if one[0] not in NEW]
    new = [one for one in recordings() if one[0] in NEW]
    learn, test = write(folder / "learn.csv", steps(known)), write(folder / "new.csv", steps(new))
    whole = write(folder / "sessions.csv", sessions(known))
    session = write(folder / "session.csv", sessions(new))
    flags = ["--channels", *AXES, "--overwrite"]
    flags += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    kinds, tags = str(folder / "kinds"), str(folder / "tags")
    for command in (
        ["train", "classifier", learn, "--test", test, "--out", kinds, "--window", "200", *flags],
        ["predict", kinds, "--file", test, "--out", str(folder / "found.csv"), "--overwrite"],
        [
            "train",
            "tagger",
            whole,
            "--test",
            session,
            "--out",
            tags,
            "--rate",
            "10",
            "--no-bidirectional",
            "--validation-fraction",
            "0.15",
            *flags,
        ],
        ["predict", tags, "--file", session, "--events", "--shortest", "30"],
    ):
        print(f"\n$ elman {' '.join(command)}", flush=True)
        if code := main(command):
            return code
    model = elman.load(tags)
    assert isinstance(model, elman.Tagger)
    live = model.stream(shortest=30)
    assert isinstance(live, LiveTagging)
    print("\nlive, sample by sample: exercises that have ended, in seconds")
    step = 0
    for _, name, array in new[:4]:
        print(f"  {step / 50:6.1f}  {name} begins")
        for values in array:
            live.push(values, at=step / 50)
            step += 1
            for event in live.events():
                print(
                    f"  {step / 50:6.1f}  found: {event.label} from {event.begin / 10:.1f} to "
                    f"{event.end / 10:.1f}"
                )
    for event in live.finish():
        print(f"  {step / 50:6.1f}  found: {event.label} from {event.begin / 10:.1f} on")
    print(f"\nThe reports: {folder / 'kinds' / 'report.html'}, {folder / 'tags' / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/watch")))
