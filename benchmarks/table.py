"""Write benchmarks/README.md from the files in benchmarks/results.

python benchmarks/table.py
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
HEAD = """# Benchmarks

`make bench` runs `speed.py` and `memory.py` and writes this page. The others need data or time:

    python benchmarks/ptb_small.py FOLDER_OF_PENN_TREEBANK

Every result is a file in `results/`. Speeds are ratios against the peer of the same run, in turns;
what fails the comparison of results first is not timed.
"""


def flat(value: object, name: str = "") -> list[tuple[str, str]]:
    """Rows (name, value) of nested results."""
    if isinstance(value, dict) and "median" in value:
        low, high = value["quartiles"]
        return [(name, f"{value['median']} ({low} to {high})")]
    if isinstance(value, dict):
        parts = [flat(v, f"{name}, {k}" if name else k) for k, v in value.items()]
        return [row for part in parts for row in part]
    return [(name, f"{value:.4g}" if isinstance(value, float) else str(value))]


def main() -> None:
    page = HEAD
    for path in sorted((HERE / "results").glob("*.json")):
        rows = flat(json.loads(path.read_text()))
        page += f"\n## {path.stem}\n\n| | |\n|---|---|\n"
        page += "".join(f"| {name} | {value} |\n" for name, value in rows)
    (HERE / "README.md").write_text(page)


if __name__ == "__main__":
    main()
