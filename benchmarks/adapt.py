"""A language model that adapts to a text: perplexity and cost of each way.

    python benchmarks/adapt.py MODEL VALIDATION TEST [name] [note]

MODEL is the folder of a trained language model, VALIDATION and TEST are texts.  The settings of
dynamic evaluation and of the cache are chosen on the first tokens of VALIDATION, each alone, and
then for both together; TEST is only scored.  The perplexities are those of the whole of TEST.  The
cost is processor time, user and system, of all threads for a token: the median of rounds in which
each way reads the beginning of TEST once, one after the other.

It writes benchmarks/results/adapt_NAME.json; NAME is by default the name of the folder.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

# This must be set before torch is imported.  Waiting threads then sleep and cost nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from result import write_result

import elman
from elman.encode.corpus import Corpus
from elman.tasks.adaptation import Adaptation, score_adapted, write_settings
from elman.tasks.text_data import read_corpus

WAYS: dict[str, list[str]] = {
    "dynamic": ["dynamic"],
    "cache": ["cache"],
    "dynamic and cache": ["dynamic", "cache"],
}
ROUNDS, TIMED = 5, 2_000  # rounds of the timing, and tokens that are read in each


def beginning(corpus: Corpus, count: int) -> Corpus:
    """Return the first tokens of a text."""
    return replace(
        corpus, tokens=corpus.tokens[:count], starts=corpus.starts[corpus.starts < count]
    )


def score(way: Adaptation | None, model: elman.LanguageModel, corpus: Corpus) -> dict[str, float]:
    """Return the scores of a text that is read in one row."""
    parts = (None, None) if way is None else way.parts(way.settings)
    return score_adapted(model.model, corpus, *parts)


def costs(
    ways: dict[str, Adaptation | None], model: elman.LanguageModel, corpus: Corpus
) -> dict[str, float]:
    """Return the processor time of a token of each way, in microseconds."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.process_time()
            score(way, model, corpus)
            found[name].append(1e6 * (time.process_time() - began) / len(corpus))
    return {name: round(statistics.median(times), 1) for name, times in found.items()}


def main(folder: str, validation: str, test: str, name: str = "", note: str = "") -> None:
    """Measure a model, and write the result."""
    model = elman.load(folder)
    assert isinstance(model, elman.LanguageModel)
    held, text = (read_corpus(path, model, model.vocabulary) for path in (validation, test))

    def adaptation(given: Any) -> Adaptation:
        return Adaptation(model.model, given, model._training_text)

    ways: dict[str, Adaptation | None] = {"static": None}
    chosen: dict[str, Any] = {}
    for way, kinds in WAYS.items():
        settings = adaptation([chosen.get(kind, kind) for kind in kinds]).tuned(held)
        chosen |= dict(zip(kinds, settings, strict=True)) if len(kinds) == 1 else {}
        ways[way] = adaptation(settings)
        print(way, *map(write_settings, settings), flush=True)
    cells = []
    for way, used in ways.items():
        scores = score(used, model, text)
        settings = [] if used is None else [write_settings(one) for one in used.settings]
        cells.append({"way": way, "adapt": settings, "perplexity": round(scores["perplexity"], 2)})
        print(cells[-1], flush=True)
    for cell, cost in zip(cells, costs(ways, model, beginning(text, TIMED)).values(), strict=True):
        cell["microseconds_per_token"] = cost
    facts: dict[str, object] = {"model": Path(folder).name, "tokens": len(text), "note": note}
    parameters = sum(weight.numel() for weight in model.model.parameters())
    facts |= {"parameters": parameters, "cells": cells}
    write_result(f"adapt_{name or Path(folder).name}", facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
