"""Imports between the files of the package, including those in functions and for type checking.

A room is a folder or a file at the top of the package.  A room imports only from earlier rooms, and
no files import each other in a circle.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import elman

ROOT = Path(elman.__file__).parent
# A room may import the rooms before it.
ROOMS = (
    "version",
    "errors",
    "optional",
    "arguments",
    "atomic",
    "manifest",
    "padded",
    "state",
    "dropout",
    "read",
    "kernels",
    "recur",
    "attend",
    "encode",
    "decode",
    "heads",
    "report",
    "model",
    "seq2seq",
    "train",
    "cores",
    "settings",
    "inputs",
    "targets",
    "live",
    "forecast",
    "tasks",
    "elman",
    "cli",
    "__main__",
)
OUTSIDE = {"csrc", "elman", "__main__"}  # C++, the names of the package, `python -m elman`


def _files() -> dict[str, Path]:
    """Return the files of the package by module name, without the leading "elman."."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__") or "elman"] = path
    return found


def _imports(path: Path, files: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first != "elman":
                continue
            while rest and rest not in files:  # `rest` may end with a name inside a module
                rest = rest.rpartition(".")[0]
            yield rest or "elman"


def _arrows() -> dict[str, set[str]]:
    files = _files()
    return {name: {*_imports(path, files)} - {name} for name, path in files.items()}


def _circles(arrows: dict[str, set[str]]) -> set[str]:
    """Return the sets of files that import each other, directly or through others."""
    reach = {name: set(to) for name, to in arrows.items()}
    for middle in reach:
        for name, found in reach.items():
            if middle in found:
                reach[name] = found | reach[middle]
    circles = {
        frozenset(other for other in found if name in reach[other])
        for name, found in reach.items()
        if name in found
    }
    return {" ".join(sorted(circle)) for circle in circles}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert _circles(_arrows()) == set()


def test_rooms_import_only_earlier_rooms() -> None:
    rooms = {name: name.partition(".")[0] for name in _files()}
    assert set(rooms.values()) == set(ROOMS)
    upward = {
        f"{rooms[name]} {rooms[other]}"
        for name, found in _arrows().items()
        for other in found
        if ROOMS.index(rooms[other]) > ROOMS.index(rooms[name])
    }
    assert upward == set()


def test_the_architecture_lists_every_room_in_order() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Rooms\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [re.sub(r"/|\.py", "", name) for cell in cells for name in re.findall("`(.*?)`", cell)]
    assert [name for name in named if name not in OUTSIDE] == [
        name for name in ROOMS if name not in OUTSIDE
    ]
