"""Write benchmarks/README.md from the files in benchmarks/results.

python benchmarks/table.py
"""

from __future__ import annotations

import json
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from plot import draw
from targets import TARGETS, Target, geometric_mean, reached, refused

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ELSEWHERE = {RESULTS / "grid", RESULTS / "quick", RESULTS / "cells"}  # not by processor
HEAD = """# Benchmarks

`make bench` runs the benchmarks that need no data and writes this page: `grid.py` (recurrences,
one step, the tutorial program), `cross_entropy.py`, `linear_recurrence.py`, `speed.py` (a training
step of PTB small on random tokens) and `memory.py`. The grid takes more than an hour: `python
benchmarks/grid.py --quick` runs a few cells of each row, `--budget SECONDS` runs the grid in
several calls, and `--compare FILE` prints the changes since a committed result on the same kind of
processor. The scripts need the packages of `pip install '.[dev]'` (psutil, scikit-learn, polars,
statsforecast and others). Peers other than PyTorch are skipped if they are not installed, and
listed as such. To install them:

    pip install keras tensorflow-cpu jax onnx onnxruntime     # grid.py
    pip install neuralforecast "gluonts[torch]"    # forecasters.py, in an environment of its own

The benchmarks of model quality need data and time:

    python benchmarks/quality.py ptb_small FOLDER_OF_PENN_TREEBANK
    python benchmarks/quality.py ptb_hour FOLDER_OF_PENN_TREEBANK
    python benchmarks/quality.py shakespeare TINY_SHAKESPEARE.txt
    python benchmarks/adapt.py MODEL VALIDATION TEST    # texts to which a language model adapts
    python benchmarks/texts.py NAME DATA     # labels, tags and translations: see its docstring
    python benchmarks/series.py NAME DATA    # forecasts: see its docstring
    python benchmarks/recordings.py NAME DATA    # recordings: see its docstring
    python benchmarks/sounds.py NAME DATA FOLDER    # audio, its baselines: see its docstring
    python benchmarks/speech.py NAME FOLDER    # commands, speech to text: see its docstring
    python benchmarks/heard_and_seen.py FSDD   # several inputs
    python benchmarks/pictures.py NAME    # images; makes its data itself: see its docstring

`cells.py` compares all cells at equal size and equal time, on data that it makes; the tables are in
[docs/cells.md](../docs/cells.md). It takes hours, and continues after an interruption.

`speech_losses.py` compares the training steps of CTC and of the transducer with plain PyTorch,
`live_sound.py` compares a live classifier of audio with onnxruntime, `decoding.py` compares the
speed of beam search with plain PyTorch, and `rows.py` measures the prediction of a file of a
million rows.

Every result is a file in `results/`. A speed is a ratio to a peer in the same run, measured
alternately. If the results of Elman and a peer differ, the comparison is not timed.
"""
GRID = """
A ratio is the time of the fastest peer named in the row divided by the time of Elman in the same
round; the ratio of a cell is the median over its rounds. The input size is H; the layout is time
first (batch first if T is odd). Cells are omitted if a training step of an LSTM needs more than
1.1e11 floating-point operations, about half a second. A bf16 row includes autocast and
`.bfloat16()` modules, each compared with torch.nn in the same form; a ragged row includes training
and inference of LSTM and GRU."""
SHAPES = ("shapes", "time")  # keys with facts about single shapes, which only the file shows
TEXTS = (  # file, score on the test data, target
    ("mr", "accuracy", 0.775),
    ("mr_started", "accuracy", 0.775),
    ("imdb", "accuracy", 0.885),
    ("imdb_started", "accuracy", 0.91),
    ("intents", "accuracy", 0.98),
    ("slots", "F1", 0.93),
    ("ewt", "accuracy", 0.95),
    ("multi30k", "BLEU", 34),
    ("multi30k_gru", "BLEU", 34),
    ("multi30k_transformer", "BLEU", None),
    ("aeslc", "ROUGE-1", 23.7),
    ("aeslc", "ROUGE-2", 10.3),
    ("aeslc", "ROUGE-L", 23.4),
    ("dailydialog", "perplexity", None),
    ("dailydialog", "BLEU-2", None),
    ("dailydialog", "distinct-1", None),
    ("dailydialog", "distinct-2", None),
)
SERIES = (  # file, part, score on the test data, baseline if it has one, target
    ("m4_hourly", None, "OWA", "seasonal naive", 0.50),
    ("m4_hourly", None, "ND", "seasonal naive", 0.040),
    ("m4_hourly", None, "wQL", "seasonal naive", 0.032),
    ("etth1", "24 hours", "MSE", "seasonal naive", 0.33),
    ("etth1", "48 hours", "MSE", "seasonal naive", 0.36),
    ("etth1", "96 hours", "MSE", "seasonal naive", 0.39),
    ("etth1", "168 hours", "MSE", "seasonal naive", 0.43),
    ("pm25", "1 hour", "MAE", "naive", None),
    ("pm25", "24 hours", "MAE", "naive", None),
    ("eth_ucy", "mean", "ADE", "constant velocity", 0.50),
    ("eth_ucy", "mean", "FDE", "constant velocity", 1.08),
    ("eth_ucy", "mean", "best of 20 ADE", None, 0.42),
    ("eth_ucy", "mean", "best of 20 FDE", None, 0.80),
    ("eth_ucy_alone", "mean", "ADE", "constant velocity", None),
)
FOREST, REGRESSION = (
    "random forest on statistics of windows",
    "logistic regression on last values and means",
)
DRIVER = ("ten folds", "from trip to trip", "from trip to trip, axes of the manoeuvre")
TOGETHER = "five networks together"
RECORDINGS = (  # file, name, score, keys of the model, keys of the baseline, target
    *(("driver", part, "macro accuracy", (part, "model"), (part, FOREST), 0.80) for part in DRIVER),
    ("physionet", "one network", "AUC", ("model",), (REGRESSION,), 0.845),
    ("physionet", TOGETHER, "AUC", (TOGETHER,), (REGRESSION,), 0.845),
    ("physionet", "one network", "AUPRC", ("model",), (REGRESSION,), None),
    ("physionet", TOGETHER, "AUPRC", (TOGETHER,), (REGRESSION,), None),
    ("physionet_inputs", "one network", "AUC", ("model",), (f"stay: {REGRESSION}",), 0.841),
    ("physionet_inputs", TOGETHER, "AUC", (TOGETHER,), (f"stay: {REGRESSION}",), 0.841),
    ("watch", "ten people", "accuracy", ("model",), (FOREST,), None),
)
COLUMNS = ("score", "model", "baseline", "target", "met")
WORDS = "with a 3-gram model"
SOUND = (  # file, score on the test data, target
    ("speech_commands", "accuracy", 0.90),
    ("speech_commands_small", "accuracy", 0.90),
    ("fsdd", "accuracy", 0.99),
    ("fsdd_speakers", "accuracy", 0.85),
    ("an4", "WER", 0.08),
    ("an4", f"WER {WORDS}", 0.05),
    ("an4", "CER", 0.03),
    ("an4_whole", "WER", 0.08),
    ("an4_whole", f"WER {WORDS}", 0.05),
    ("an4_whole", "CER", 0.03),
    ("an4_live", "WER", 0.10),
    ("an4_live_whole", "WER", 0.10),
    ("an4_live_whole", f"WER {WORDS}", 0.10),
    ("fsdd_digits", "WER", 0.03),
    ("fsdd_digits_known", "WER", 0.03),
    ("fsdd_digits_live", "WER", 0.05),
)
PICTURES = (  # file, score on the test data, target
    ("digits", "accuracy", 0.97),
    ("mnist1d", "accuracy", 0.93),
    ("captions", "accuracy", 0.99),
    ("handwriting", "CER", 0.02),
)
LIMITS = HERE / "limits.md"  # what limits the cells that miss their target, written by hand


def flat(value: object, name: str = "") -> list[tuple[str, str]]:
    """Return rows (name, value) of nested results, without those of single shapes."""
    if isinstance(value, dict) and "quartiles" in value:
        low, high = value["quartiles"]
        return [(name, f"{value['median']} ({low} to {high})")]
    if isinstance(value, dict):
        whole = name.split(",")[0] not in SHAPES
        kept = {
            k: v for k, v in value.items() if k != "cells" and (whole or not isinstance(v, dict))
        }
        parts = [flat(v, f"{name}, {k}" if name else k) for k, v in kept.items()]
        return [row for part in parts for row in part]
    return [(name, f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|"))]


Rows = dict[str, dict[str, Any]]  # results of the grid by row


def line(target: Target, kinds: dict[str, Rows]) -> str:
    """Return one line of the table of targets, with the figures of each kind of processor."""
    text = f"| {target.what} | {target.mean} / {target.worst} |"
    return text + "".join(figures(target, rows) for rows in kinds.values()) + "\n"


def figures(target: Target, rows: Rows) -> str:
    """Return the columns of one kind of processor: cells, mean, worst cell, and targets met."""
    found, unlike = reached(target, rows), refused(target, rows)
    if not found:
        return " | | not measured | |"
    mean, (worst, row, shape) = geometric_mean([value for value, _, _ in found]), found[0]
    where = shape if len(target.rows) == 1 else f"{row}, {shape}"
    met = [
        "yes" if mean >= target.mean else "no",
        "yes" if worst >= target.worst and not unlike else "no",
    ]
    cells = str(len(found)) + (f" and {unlike} refused" if unlike else "")
    if not all(rows[row]["whole"] for row in target.rows if row in rows):
        cells += " (a few)"
    return f" {cells} | {mean:.2f} | {worst:.2f} ({where}) | {' / '.join(met)} |"


def one_of(rows: Rows, key: str) -> str:
    """Return the different values of a key in the files."""
    return "; ".join(dict.fromkeys(str(row[key]) for row in rows.values()))


def read_grid() -> dict[str, Rows]:
    """Return the rows of the grid by kind of processor, whole or with a few cells."""
    kinds: dict[str, Rows] = {}
    for folder in ("quick", "grid"):
        for path in sorted((RESULTS / folder).glob("*/*.json")):
            row = json.loads(path.read_text())
            kinds.setdefault(path.parent.name, {})[row["row"]] = {**row, "whole": folder == "grid"}
    return dict(sorted(kinds.items()))


def grid() -> str:
    """Return the part of the page about the grid, with a picture for each kind of processor."""
    kinds = read_grid()
    if not kinds:
        return ""
    page = f"\n## Against the peers\n{GRID}\n| | target |"
    page += "".join(f" {kind}: cells | mean | worst | met |" for kind in kinds)
    page += "\n|---|---|" + "---|---|---|---|" * len(kinds) + "\n"
    page += "".join(line(target, kinds) for target in TARGETS)
    return page + "".join(about(kind, rows) for kind, rows in kinds.items())


def about(kind: str, rows: Rows) -> str:
    """Return the machine, the picture and the programs of one kind of processor."""
    read = list(rows.values())
    draw(rows, RESULTS / f"grid_{kind}.png")
    versions = ", ".join(f"{k} {v}" for k, v in read[-1]["peers"].items())
    others = sorted(cell["others"] for row in read for cell in row["cells"] if "others" in cell)
    absent = {name for row in read for cell in row["cells"] for name in cell.get("absent", [])}
    page = f"\n### Kernels {kind}\n\n![ratios](results/grid_{kind}.png)\n"
    page += f"\n{one_of(rows, 'machine')}; {versions}.\n"
    page += f"Commit {one_of(rows, 'commit')}, {one_of(rows, 'date')}.\n"
    if others:
        page += f"Other processes used {100 * others[len(others) // 2]:.1f} % of the cores during "
        page += f"the median cell, at most {100 * others[-1]:.0f} %.\n"
    if absent:
        page += f"\nNot installed, not measured: {', '.join(sorted(absent))}.\n"
    return page + programs(rows)


def programs(rows: Rows) -> str:
    """Return the milliseconds of whole programs, because their peers differ in kind."""
    page = ""
    for name in ("tutorial program", "LSTM layer as a program", "LSTM one step", "GRU one step"):
        cells = [cell for cell in rows.get(name, {}).get("cells", []) if "ms" in cell]
        if not cells:
            continue
        peers = list(cells[0]["ms"])
        page += f"\n#### {name}, ms a step\n\n| | {' | '.join(peers)} |\n"
        page += "|---" * (len(peers) + 1) + "|\n"
        for cell in cells:
            times = [f"{cell['ms'][peer][0]:.3g}" if peer in cell["ms"] else "" for peer in peers]
            page += f"| {cell['shape']} | {' | '.join(times)} |\n"
    return page


def begin(title: str, text: str, *columns: str) -> str:
    """Return a heading, a paragraph and the first lines of a table with a column of names."""
    page = f"\n## {title}\n\n{text}\n\n| | {' | '.join(columns)} |\n"
    return page + "|---" * (len(columns) + 1) + "|\n"


def texts() -> str:
    """Return the part of the page about labels, tags and translations."""
    text = "Scores on the test data; `texts.py` describes the names."
    page = begin("Labels, tags, translations", text, *COLUMNS, "core-minutes")
    for name, score, target in TEXTS:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            page += f"| {name} | {score} | not measured | | {target or ''} | | |\n"
            continue
        facts = json.loads(path.read_text())
        ours, theirs = (
            facts[who].get("test", facts[who]).get(score) for who in ("model", "baseline")
        )
        met = "" if target is None else "yes" if ours >= target else "no"
        base = "" if theirs is None else f"{theirs:.4g}"
        page += f"| {name} | {score} | {ours:.4g} | {base} | {target or ''} | {met} "
        page += f"| {facts['core_minutes']} |\n"
    return page


def series() -> str:
    """Return the part of the page about forecasts."""
    text = "Scores on the test data, median over the seeds; lower is better."
    page = begin("Forecasts", text, *COLUMNS, "minutes of a run")
    for name, part, score, baseline, target in SERIES:
        who = name if part is None else f"{name}, {part}"
        path = RESULTS / f"{name}.json"
        if not path.exists():
            page += f"| {who} | {score} | not measured | | {target or ''} | | |\n"
            continue
        facts = json.loads(path.read_text())
        ours, theirs = (
            found.get(score) if part is None else found.get(part, {}).get(score)
            for found in (facts["scores"]["model"], facts["scores"].get(baseline, {}))
        )
        met = "" if target is None else "yes" if ours <= target else "no"
        base = "" if theirs is None else f"{theirs:.4g} ({baseline})"
        page += f"| {who} | {score} | {ours:.4g} | {base} | {target or ''} | {met} "
        page += f"| {max(facts['minutes of each'])} |\n"
    return page


def recordings() -> str:
    """Return the part of the page about recordings."""
    text = "For each fold, a model is trained on all data except the test part of the fold."
    page = begin("Recordings", text, *COLUMNS, "core-minutes")
    for name, part, score, ours, theirs, target in RECORDINGS:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            page += f"| {name}, {part} | {score} | not measured | | {target or ''} | | |\n"
            continue
        facts = json.loads(path.read_text())
        found, base = (reduce(getitem, place, facts["scores"])[score] for place in (ours, theirs))
        met = "" if target is None else "yes" if found >= target else "no"
        page += f"| {name}, {part} | {score} | {found:.4g} | {base:.4g} ({theirs[-1]}) "
        page += f"| {target or ''} | {met} | {facts['core_minutes']} |\n"
    return page


def of_seeds(title: str, program: str, scores: tuple[Any, ...], compared: tuple[str, ...]) -> str:
    """Return a part of the page about runs with several seeds.

    Args:
        title: the heading.
        program: the file that describes the names.
        scores: the file, score and target of each row.
        compared: scores that the baselines have.
    """
    text = f"Scores on the test data, median over the seeds; `{program}` describes the names."
    columns = ("score", "model", "worst seed", "baseline", "target", "met", "minutes of a run")
    page = begin(title, text, *columns)
    for name, score, target in scores:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            page += f"| {name} | {score} | not measured | | | {target} | | |\n"
            continue
        facts = json.loads(path.read_text())
        found, minutes = facts["scores"][score], facts["scores"]["minutes"]["middle"]
        rises = score == "accuracy"
        met = found["middle"] >= target if rises else found["middle"] <= target
        who, base = (max if rises else min)(facts["baselines"].items(), key=lambda one: one[1])
        theirs = f"{base:.4g} ({who})" if score in compared else ""
        page += f"| {name} | {score} | {found['middle']:.4g} | {found['worst']:.4g} | {theirs} "
        page += f"| {target} | {'yes' if met else 'no'} | {minutes:.3g} |\n"
    return page


def by_processor(folder: Path) -> str:
    """Return a result that was measured on several kinds of processors, with a column for each."""
    kinds = {path.stem: dict(flat(json.loads(path.read_text()))) for path in folder.glob("*.json")}
    kinds = dict(sorted(kinds.items()))
    page = f"\n## {folder.name}\n\n| | {' | '.join(kinds)} |\n" + "|---" * (len(kinds) + 1) + "|\n"
    for name in dict.fromkeys(name for facts in kinds.values() for name in facts):
        page += f"| {name} | {' | '.join(facts.get(name, '') for facts in kinds.values())} |\n"
    return page


def main() -> None:
    page = HEAD
    page += grid()
    page += texts()
    page += series()
    page += recordings()
    page += of_seeds("Sound", "speech.py", SOUND, ("accuracy", "WER"))
    page += of_seeds("Pictures", "pictures.py", PICTURES, ("accuracy", "CER"))
    if LIMITS.exists():
        page += f"\n## What limits the cells below their target\n\n{LIMITS.read_text()}"
    for folder in sorted({path.parent for path in RESULTS.glob("*/*.json")} - ELSEWHERE):
        page += by_processor(folder)
    for path in sorted(RESULTS.glob("*.json")):
        rows = flat(json.loads(path.read_text()))
        page += f"\n## {path.stem}\n\n| | |\n|---|---|\n"
        page += "".join(f"| {name} | {value} |\n" for name, value in rows)
    (HERE / "README.md").write_text(page)


if __name__ == "__main__":
    main()
