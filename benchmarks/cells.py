"""Which cell is good for what: every cell on tests of memory, at equal size and equal time.

    python benchmarks/cells.py                     # everything that is missing
    python benchmarks/cells.py TEST                # everything that is missing in one test
    python benchmarks/cells.py TEST CELL           # everything that is missing of one cell
    python benchmarks/cells.py TEST CELL --seed 1 --rate 0.003 --minutes 5   # one run, only printed
    python benchmarks/cells.py speed               # microseconds a token
    python benchmarks/cells.py real NAME CELL [DATA] [--bare] [--share 0.25]

TEST is one of `TESTS` (cell_tests.py).  A cell stands in two blocks (`--block`), and RNN, LSTM and
GRU also without blocks (`--bare`).  Each learning rate of the test is tried in a run of a third of
the time; the best by the loss on validation data is used for the runs of `SEEDS`, which are scored
on test data.  The time is that of the processor, in one thread, so that other programs matter
little.  A run is stored in benchmarks/results/cells/TEST.json when it ends, and is not repeated:
after an interruption, the same command continues.  All tests get their first seed before the
second.  Changing a test discards its results.

`real` trains with the settings of benchmarks/NAME.yaml (shakespeare, m4_hourly or mnist1d) but with
another cell in blocks, or without blocks (`--bare`), of the size that makes the number of
parameters equal, and with a share of the epochs.  DATA is that of quality.py and series.py; mnist1d
needs `pip install mnist1d` instead.

`python benchmarks/cells_page.py` writes docs/cells.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch
from cell_runs import CELLS, Facts, count, nearest_size, run, speed, sweep
from cell_tests import TESTS, Test
from result import RESULTS, write_result

from elman.cores import CORES, OFF
from elman.tasks.network import build_core
from elman.train.memory import keep_freed_memory

SEEDS = (0, 1, 2)
BARE = ("rnn", "lstm", "gru")  # cells that are also measured without blocks
WAYS = [(cell, True) for cell in CELLS] + [(cell, False) for cell in BARE]
REAL = {"shakespeare": "LanguageModel", "m4_hourly": "Forecaster", "mnist1d": "Classifier"}


def stored(name: str) -> list[dict[str, Any]]:
    """Return the runs of a test that are stored, none if its settings have changed since."""
    path = RESULTS / "cells" / f"{name}.json"
    if not path.exists():
        return []
    facts = json.loads(path.read_text())
    same = facts["settings"] == json.loads(json.dumps(TESTS[name].settings()))
    return facts["cells"] if same else []


def store(name: str, found: Facts) -> None:
    """Add a run to the file of a test."""
    facts: Facts = {"settings": TESTS[name].settings(), "cells": [*stored(name), found]}
    write_result(f"cells/{name}", facts, quiet=True)
    print(json.dumps({"test": name, **found}), flush=True)


def best_rate(name: str, cell: str, *, block: bool) -> float:
    """Return the learning rate of the best short run; the short runs that are missing are made."""
    test = TESTS[name]

    def tried() -> dict[float, float | None]:
        return {
            one["rate"]: one["validation"]
            for one in stored(name)
            if (one["cell"], one["block"]) == (cell, block) and one.get("sweep")
        }

    for rate in test.rates:
        if rate not in tried():
            store(name, sweep(test, cell, block=block, rate=rate, minutes=test.minutes / 3))
    finite = {rate: loss for rate, loss in tried().items() if loss is not None}
    return min(finite, key=finite.__getitem__) if finite else test.rates[0]


def measure(name: str, cell: str, *, block: bool, seed: int) -> None:
    """Make and store the run of a seed, unless it is stored."""
    done = {(x["cell"], x["block"], x["seed"]) for x in stored(name) if not x.get("sweep")}
    if (cell, block, seed) not in done:
        rate, minutes = best_rate(name, cell, block=block), TESTS[name].minutes
        found = run(TESTS[name], cell, block=block, rate=rate, seed=seed, minutes=minutes)
        store(name, found)


def once(test: Test, given: argparse.Namespace) -> None:
    """Make one run and print it."""
    seed = 0 if given.seed is None else given.seed
    rate = test.rates[len(test.rates) // 2] if given.rate is None else given.rate
    minutes = test.minutes if given.minutes is None else given.minutes
    block = not given.bare
    print(run(test, given.cell, block=block, rate=rate, seed=seed, minutes=minutes))


def real_settings(name: str, cell: str, *, bare: bool, share: float, seed: int) -> dict[str, Any]:
    """Return the settings of a benchmark with another cell of equal size and fewer epochs."""
    from texts import settings_of

    import elman

    settings = settings_of(name, [], seed)
    needed = {"horizon": 48} if name == "m4_hourly" else {}
    usual = getattr(elman, REAL[name])(**settings, **needed)

    def core(cell: str, size: int, *, block: bool) -> torch.nn.Module:
        other = copy.copy(usual)
        other.cell, other.hidden_size, other.block = cell, size, block
        other.weight_dropout = other.recurrent_dropout = other.zoneout = 0.0
        both = getattr(usual, "bidirectional", False)
        return build_core(other, size, bidirectional=both)

    parameters = count(core(usual.cell, usual.hidden_size, block=False))
    size = nearest_size(parameters, lambda size: core(cell, size, block=not bare))
    refused = OFF.keys() - CORES[cell].honours
    kept = {key: value for key, value in settings.items() if key not in refused}
    epochs = max(1, round(share * usual.epochs))
    return {**kept, "cell": cell, "hidden_size": size, "block": not bare, "epochs": epochs}


def real(name: str, cell: str, data: Path | None, given: argparse.Namespace) -> None:
    """Train on real data and store the scores in results/cells/NAME.json."""
    import pictures
    import quality
    import series

    import elman

    share, seed = given.share, given.seed or 0
    settings = real_settings(name, cell, bare=given.bare, share=share, seed=seed)
    began = time.process_time()
    if name == "mnist1d":
        scores: Any = pictures.RUNS[name](settings)
    elif data is None:
        raise SystemExit(f"{name} needs its data: python benchmarks/cells.py real {name} CELL DATA")
    elif name == "m4_hourly":
        scores = series.RUNS[name](data, settings)["model"]
    else:
        with tempfile.TemporaryDirectory() as folder:
            train, _, valid = quality.tiny_shakespeare(data.read_text("utf-8"), Path(folder))
            model = elman.LanguageModel(**settings).fit(train, validation=valid, show=True)
            scores = model.metrics["model"]["validation"]
    path = RESULTS / "cells" / f"{name}.json"
    runs = json.loads(path.read_text())["cells"] if path.exists() else []
    found = {"cell": cell, "block": not given.bare, "seed": seed, "share": share}
    found |= {"seconds": round(time.process_time() - began), "settings": settings, "scores": scores}
    same = ("cell", "block", "seed", "share")
    runs = [one for one in runs if any(one[key] != found[key] for key in same)]
    write_result(f"cells/{name}", {"cells": [*runs, found]})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("test", nargs="?", choices=[*TESTS, "speed", "real"], metavar="TEST")
    parser.add_argument("cell", nargs="?", metavar="CELL")
    parser.add_argument("rest", nargs="*", metavar="DATA")
    parser.add_argument("--bare", action="store_true", help="without blocks")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--minutes", type=float, help="of one run, which is only printed")
    parser.add_argument("--share", type=float, default=1.0, help="of the epochs, for `real`")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if given.test == "real":
        cell, *data = given.rest or parser.error("real needs NAME, CELL and the data of NAME")
        if given.cell not in REAL or cell not in CELLS:
            parser.error(f"expected one of {', '.join(REAL)} and a cell, got {given.cell} {cell}")
        real(given.cell, cell, Path(data[0]) if data else None, given)
        return
    if given.cell is not None and given.cell not in CELLS:
        parser.error(f"CELL must be one of {', '.join(CELLS)}, got {given.cell}")
    if given.test == "speed":
        write_result("cells/speed", {"cells": speed()})
    elif given.cell and any(v is not None for v in (given.seed, given.rate, given.minutes)):
        once(TESTS[given.test], given)
    else:
        ways = [way for way in WAYS if given.cell in (None, way[0])]
        for seed in SEEDS:
            for name in TESTS if given.test is None else [given.test]:
                for cell, block in ways:
                    measure(name, cell, block=block, seed=seed)
            if given.test is None and not (RESULTS / "cells" / "speed.json").exists():
                write_result("cells/speed", {"cells": speed()})


if __name__ == "__main__":
    main()
