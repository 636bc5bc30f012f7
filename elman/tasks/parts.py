"""The training, validation and test data of a task: what is read, held out, and found again.

What a later session needs stands in `described`: for every part a key, which says whether it is
still the same, and the files, if it was no list.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from elman.errors import DataError
from elman.read.files import is_path, path_of
from elman.read.rows import NOWHERE, Rejects, Rows, check_new
from elman.read.sentences import Sentences

NAMES = ("train", "validation", "test")
IN_MEMORY = "in memory"  # the key of lists
LOG = logging.getLogger("elman")  # the command line shows it


class Source(Protocol):
    """Rows of one part: `Rows` or `Sentences`."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def files(self) -> tuple[Path, ...]:
        """None for lists."""

    def fingerprint(self) -> str:
        """Hash of the content and of how it is read."""


S = TypeVar("S", bound=Source)
P = TypeVar("P")


@dataclass
class Parts(Generic[P]):
    """What was read, by name, what a later session needs, and what there is to say."""

    data: dict[str, P]
    described: dict[str, Any]
    notes: list[str]


def read_parts(
    given: Mapping[str, object],
    rejects: Path | None,
    look: Callable[[object], S],
    collect: Callable[[S, Rejects, P | None], P],
    unit: str,
) -> Parts[P]:
    """Read what a user gave; bad rows go to the file `rejects`.

    Args:
        given: the parts that are there, by name: a path, a list, or a pair of these.
        rejects: None to stop at a bad row.
        look: to what can be read.
        collect: everything in it, given the training part where that was read before.
        unit: of what, for people.
    """
    sources = {name: look(one) for name, one in given.items() if one is not None}
    described: dict[str, Any] = {"name": sources["train"].name}
    files = [file for source in sources.values() for file in source.files]
    with Rejects(rejects, sources=files) as bad:
        data: dict[str, P] = {}
        for name in sorted(sources, key=NAMES.index):
            data[name] = collect(sources[name], bad, data.get("train"))
    for name, source in sources.items():
        one = given[name]
        pair = one if isinstance(one, tuple) else (one, None)
        on_disk = all(part is None or is_path(part) for part in pair)
        described[f"{name}_key"] = source.fingerprint() if on_disk else IN_MEMORY
        if on_disk:
            described[name] = [None if path is None else str(Path(path).resolve()) for path in pair]
    read = [one for one in sources.values() if isinstance(one, Rows | Sentences)]
    notes = list(dict.fromkeys(note for one in read for note in one.notes))
    if rejects is not None:
        described["rejects"] = True
        where = "" if rejects == NOWHERE else f", see {rejects.name}"
        notes += [f"bad {unit} skipped: {bad.count:,}{where}"] if bad.count else []
    return Parts(data, described, notes)


def read_one(source: S, rejects: str | Path | None, collect: Callable[[S, Rejects], P]) -> P:
    """What is in a source; bad rows go to the file `rejects`, None to stop at one.

    Notes on what was found are logged, as no run keeps them.
    """
    path = None if rejects is None else path_of(rejects, "skip_bad_rows")
    if path is not None:
        check_new(path, overwrite=False)
    with Rejects(path, sources=source.files) as bad:
        found = collect(source, bad)
    read = (source, getattr(found, "whole", found))
    for note in dict.fromkeys(note for one in read for note in getattr(one, "notes", ())):
        LOG.info(note)
    if bad.count and path is not None:
        LOG.info("bad rows skipped: %d, see %s", bad.count, path.name)
    return found


def given_before(described: Mapping[str, Any]) -> tuple[dict[str, object], Path | None]:
    """The data that a run was given, for a later session, and where its bad rows go.

    The first session has written the bad rows down, so they go nowhere now: a resume writes to no
    path that a config names.

    Raises:
        DataError: a part was given in memory.
    """
    for name in NAMES:
        if described.get(f"{name}_key") == IN_MEMORY or (name == "train" and name not in described):
            raise DataError(
                f"the {name} data were given in memory and are gone; train from files to be able "
                "to go on later"
            )
    found = {name: described[name] for name in NAMES if name in described}
    given: dict[str, object] = {
        name: (paths, None) if isinstance(paths, str) else tuple(paths)
        for name, paths in found.items()
    }
    return given, NOWHERE if described.get("rejects") else None


def check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse data that have changed with a DataError."""
    for name in NAMES:
        if before.get(f"{name}_key") != now.get(f"{name}_key"):
            raise DataError(
                f"{before[name][0]}: has changed since the run began; put the old data back, or "
                "train anew with another out"
            )


def hold_out(count: int, share: float, *, seed: int, unit: str) -> tuple[list[int], list[int]]:
    """Which of so many are for training and which for validation.

    Raises:
        DataError: they are too few.

    Example:
        >>> from elman.tasks.parts import hold_out
        >>> hold_out(5, 0.2, seed=0, unit="pairs")
        ([0, 2, 3, 4], [1])
    """
    order = np.random.default_rng((seed, 1)).permutation(count)
    held = int(count * share)
    if not 0 < held < count:
        raise DataError(
            f"{count} {unit} are too few to hold out validation_fraction={share}; give more, or "
            "validation data"
        )
    return sorted(order[held:].tolist()), sorted(order[:held].tolist())
