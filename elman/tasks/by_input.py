"""Scores of a model of several inputs with each input alone, and with each one missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from elman.encode.fuse import Fuse
from elman.inputs.fused import Item
from elman.inputs.fused_trained import Fused
from elman.inputs.input import Input
from elman.inputs.nested import Groups
from elman.padded import pad_arrays
from elman.read.examples import Examples
from elman.report.verdict import JUDGES, name_of, shown

SOME = 256  # examples whose gates are averaged
ROWS = 32  # examples of a batch


def scores_by_input(
    score: Callable[[Any, Input, Examples], Mapping[str, Any]],
    network: Any,
    learned: Input,
    examples: Examples,
) -> dict[str, float]:
    """Return the main score with only one of the inputs, and with one missing, for each input.

    The result is empty for a single input.  The main input is never missing if each of its steps
    has a target.

    Example:
        >>> import elman
        >>> rows = {"a": ["x y", "y x"] * 30, "b": [1, 2] * 30, "label": ["one", "two"] * 30}
        >>> model = elman.Classifier(
        ...     inputs={"a": "text", "b": "number"}, hidden_size=8, epochs=2, device="cpu"
        ... )
        >>> found = model.fit(rows).evaluate(rows)
        >>> [name for name in found if " " in name]
        ['accuracy with only a', 'accuracy without a', 'accuracy with only b', 'accuracy without b']
    """
    found: dict[str, float] = {}
    fused, rows = fused_of(learned), isinstance(learned, Groups)
    names = () if fused is None else fused.reader.columns
    done: dict[tuple[int, ...], Mapping[str, Any]] = {}  # of two, one alone is without the other
    for k, name in enumerate(names):
        others = tuple(n for n in range(len(names)) if n != k)
        for words, kept in (("with only", (k,)), ("without", others)):
            if learned.reader.settings.each_step and 0 not in kept and not rows:
                continue  # without the main input there are no steps
            if kept not in done:
                done[kept] = score(network, learned, _with_only(examples, kept, rows=rows))
            scores = done[kept]
            found |= {f"{key} {words} {name}": scores[key] for key in _main(scores)}
    return found


def tables_of(
    score: Callable[[Any, Input, Examples], Mapping[str, Any]],
    network: Any,
    learned: Input,
    examples: Examples,
    positive: str,
) -> list[dict[str, Any]]:
    """Return a table of the inputs for the report: the mean gates, and the scores; [] for one."""
    if (fused := fused_of(learned)) is None:
        return []
    found = scores_by_input(score, network, learned, examples)
    keys = list(dict.fromkeys(name.partition(" ")[0] for name in found))
    ways = [(key, words) for key in keys for words in ("with only", "without")]
    items = examples.items[:SOME]
    if isinstance(learned, Groups):
        items = [row for item in items for row in item][:SOME]
    gates = mean_gates(network, fused, items)
    table = {
        "title": "Inputs (validation data)",
        "columns": [
            *(f"{name_of(key, positive)} {words} this input" for key, words in ways),
            "mean gate",
        ],
        "rows": [
            [
                name,
                *(_cell(found, key, f"{key} {words} {name}") for key, words in ways),
                f"{gate:.2f}",
            ]
            for name, gate in zip(fused.reader.columns, gates, strict=True)
        ],
    }
    return [table]


def mean_gates(network: Any, learned: Fused, items: Sequence[Any]) -> list[float]:
    """Return the mean gate of each input, over all steps of some items."""
    fuse = next(one for one in network.eval().modules() if isinstance(one, Fuse))
    device, total, count = fuse.gate.weight.device, torch.zeros(len(learned.parts)), 0
    with torch.inference_mode():
        for at in range(0, len(items), ROWS):
            batch = pad_arrays(learned.encode(items[at : at + ROWS])).to(device)
            vectors, lengths = fuse.vectors(batch)
            there = torch.arange(vectors[0].shape[1]) < lengths.cpu().unsqueeze(1)
            total += fuse.gates(vectors).cpu()[there].sum(0)
            count += int(there.sum())
    return (total / count).tolist()


def _cell(found: Mapping[str, float], score: str, name: str) -> str:
    return shown(score, found[name]) if name in found else "\u2013"


def fused_of(learned: Input) -> Fused | None:
    """Return several inputs, which are those of an item or of each row of a group; None for one."""
    found = learned.inner if isinstance(learned, Groups) else learned
    return found if isinstance(found, Fused) else None


def _with_only(examples: Examples, kept: Sequence[int], *, rows: bool) -> Examples:
    """Return examples in which all other inputs are missing; `rows` if items are groups of rows."""

    def some(item: Sequence[Any]) -> Item:
        return Item(one if n in kept else None for n, one in enumerate(item))

    items = examples.items
    found = [[some(row) for row in item] for item in items] if rows else list(map(some, items))
    return replace(examples, items=found)


def _main(scores: Mapping[str, Any]) -> list[str]:
    """Return the names of the main scores."""
    groups = (group for group in JUDGES if any(name in scores for name in group))
    return [name for name in next(groups, ()) if name in scores]
