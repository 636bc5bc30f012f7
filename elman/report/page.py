"""The report of a run as one page: `report.html`, written from the journal and the scores.

The page holds its pictures and its style inside itself, runs no script and asks no other host for
anything. The same input gives the same bytes. Of more than 1,000 records, means are drawn.
"""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from elman.atomic import write_atomic
from elman.errors import DataError
from elman.report.charts import BLUE, INK, QUIET, RED, RING, RULE, Curve, chart
from elman.report.journal import curve, number, read_journal
from elman.report.progress import end_line, figure, size_line
from elman.report.reach import describe_reach
from elman.report.terminal import plain

Record = Mapping[str, object]

LOSS = {"tokens": "loss (nats per token)"}
CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2024; --quiet: #5d646d;
  --rule: #dcdfe3; --blue: #1c5d9f; --red: #b8441b; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e3e5e8;
  --quiet: #a0a7b0; --rule: #363b42; --blue: #74b0ec; --red: #f0926a; } }
* { box-sizing: border-box; overflow-wrap: anywhere; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 58rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { margin: 0 0 .4rem; font-size: 1.65rem; line-height: 1.25; }
h2 { margin: 2.5rem 0 1rem; padding-top: .75rem; border-top: 1px solid var(--rule);
  font-size: 1.15rem; line-height: 1.3; break-after: avoid; }
h3 { margin: 0 0 .25rem; font-size: .95rem; break-after: avoid; }
p { margin: 0 0 .25rem; max-width: 50rem; } .wide { overflow-x: auto; }
.facts, figcaption, dt, thead { color: var(--quiet); }
.facts, figcaption, dl, table, pre { font-size: .875rem; }
.verdict { margin-top: 1.25rem; font-size: 1.1rem; }
.charts { display: grid; gap: 2rem 2.5rem; grid-template-columns: repeat(2, minmax(0, 1fr)); }
figure { margin: 0; break-inside: avoid; line-height: 1.45; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-family: inherit !important; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; line-height: 1.35; }
th, td { padding: .4rem 0 .4rem 2rem; text-align: right; vertical-align: bottom;
  border-bottom: 1px solid var(--rule); font-weight: 400; overflow-wrap: normal; }
th:first-child { padding-left: 0; text-align: left; }
.heat { margin-bottom: 1.5rem; line-height: 1.2; }
.heat th, .heat td { padding: .1rem .2rem; border: 0; min-width: 1.1rem; }
.heat thead th { writing-mode: vertical-rl; text-align: left; transform: rotate(180deg); }
.heat td { background: color-mix(in srgb, var(--blue) var(--w), transparent); }
pre { margin: .25rem 0 1.5rem; padding-left: 1rem; border-left: 3px solid var(--rule);
  white-space: pre-wrap; font-family: ui-monospace, Menlo, Consolas, monospace; }
dl { margin: 0; columns: 2; column-gap: 2.5rem; } dd { margin: 0; text-align: right; }
dl div { display: flex; gap: 1rem; justify-content: space-between; padding: .2rem 0;
  border-bottom: 1px solid var(--rule); break-inside: avoid; }
@media (max-width: 40rem) { body { padding-top: 1.5rem; } dl { columns: 1; }
  .charts { grid-template-columns: 1fr; } th, td { padding-left: 8px; } table { font-size: 12px; } }
"""


def write_report(folder: Path) -> Path:
    """Write `folder/report.html` from `run.jsonl` and, if there, `metrics.json`; give its path.

    Raises FolderError without a journal, DataError if a file is damaged.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "run.jsonl").write_text('{"event":"start","task":"tagger"}\\n')
    >>> write_report(folder).name
    'report.html'
    """
    page = _page(read_journal(folder / "run.jsonl"), _read_metrics(folder / "metrics.json"))
    path = folder / "report.html"
    write_atomic(path, plain(page))
    return path


def _read_metrics(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}, expected a JSON object; evaluate again") from None


def _page(records: Sequence[Record], metrics: Record) -> str:
    start = _last(records, "start")
    data, samples = _part(start, "data"), metrics.get("samples")
    title = str(start.get("task", "training run")).replace("-", " ").capitalize()
    title += f" on {Path(str(data['train'])).name}" if data.get("train") else ""
    unit = str(start.get("unit", "steps"))
    best = _last([record for record in records if record.get("best") is True], "validation")
    about = {key: start[key] for key in ("seed", "device", "precision", "time") if key in start}
    sections = {
        "Scores": _scores(metrics, unit),
        "Confusions": _tables(metrics.get("tables")),
        "Forecasts": _forecasts(_part(metrics, "forecasts")),
        "Training": _charts(records, best, unit),
        "Attention": _tables(metrics.get("attention"), kind="heat"),
        "Samples": "".join(
            f"<h3>{escape(str(sample.get('title', '')))}</h3>\n"
            f"<pre>{escape(str(sample.get('text', '')))}</pre>\n"
            for sample in (samples if isinstance(samples, list) else [])
        ),
        "Notes": "".join(_line(r.get("text")) for r in records if r.get("event") == "note"),
        "Settings": _definitions({**_part(start, "settings"), **about}),
        "Data": _definitions({key: _cell(data, key) for key in data}),
        "Versions": _definitions(_part(start, "versions")),
    }
    body = "".join(f"<h2>{name}</h2>\n{text}\n" for name, text in sections.items() if text)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{_line(size_line(start), 'facts')}"
        f"{_line(_course(records, best), 'facts')}{_line(_verdict(metrics), 'verdict')}"
        f"{body}</body>\n</html>\n"
    )


def _course(records: Sequence[Record], best: Record) -> str:
    last = _last(records, "start", "resume", "end")
    course = "still running or killed: the journal has no end" if last else "the run has not begun"
    if last.get("event") == "end":
        course = end_line(last, best)
    resumes = [f"{step:,.0f}" for step in curve(records, "resume", "step")[1]]
    course += f". Resumed at step {', '.join(resumes)}." if resumes else "."
    return course[0].upper() + course[1:]


# The scores that tasks are judged by, the first that is there: its format, and whether more is
# better.
SCORES = {
    "ADE": ("{:.3f}", False),
    "MASE": ("{:.3f}", False), "ND": ("{:.4f}", False), "MAE": ("{:.4g}", False),
    "BLEU": ("{:.1f}", True), "ROUGE-L": ("{:.1f}", True), "BLEU-2": ("{:.1f}", True),
    "perplexity": ("{:.2f}", False), "accuracy": ("{:.1%}", True), "loss": ("{:.3f}", False),
}  # fmt: skip


PLACES = {"median": BLUE, "seen": QUIET, "came": INK}  # colours of paths in the plane


def _verdict(metrics: Record) -> str:
    model, baseline = _part(metrics, "model"), _part(metrics, "baseline")
    for split in ("test", "validation"):
        for score, (_, more) in SCORES.items():
            ours = number(_part(model, split), score)
            theirs = number(_part(baseline, split), score)
            if not (math.isfinite(ours) and math.isfinite(theirs)):
                continue
            verdict = "better than" if (ours > theirs) == more else "worse than"
            # Another seed alone may change a score by one percent.
            if abs(ours - theirs) <= 0.01 * abs(theirs):
                verdict = "about as good as"
            return (
                f"On the {split} data the model is {verdict} its baseline "
                f"({baseline.get('name', 'unnamed')}): {score} {figure(ours)} against "
                f"{figure(theirs)}, {'higher' if more else 'lower'} is better."
            )
    if baseline and model:
        return "The model and its baseline share no score, so they cannot be compared."
    if model:
        return "There is no baseline, so the scores alone do not say whether the model is good."
    return "The model was not evaluated, so there is nothing to compare."


def _scores(metrics: Record, unit: str) -> str:
    others = metrics.get("others")
    listed = [("model", _part(metrics, "model")), ("baseline", _part(metrics, "baseline"))]
    listed += [("baseline", one) for one in (others if isinstance(others, list) else [])]
    rows = [
        (f"{one.get('name', kind)}, {split}", _part(one, split))
        for kind, one in listed
        for split in ("validation", "test")
    ]
    columns = dict.fromkeys(key for _, scores in rows for key in scores if key != "signature")
    signatures = dict.fromkeys(s["signature"] for _, s in rows if "signature" in s)
    names = {key: LOSS.get(unit, key) if key == "loss" else key for key in columns}
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names.values())
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(_cell(scores, key))}</td>" for key in columns)
        + "</tr>\n"
        for name, scores in rows
        if scores
    )
    table = f"<thead>\n<tr><th></th>{head}</tr>\n</thead>\n<tbody>\n{lines}</tbody>\n"
    told = "".join(_line(text, "facts") for text in signatures)  # how a score was computed
    return f'<div class="wide"><table>\n{table}</table></div>\n{told}' if lines else ""


def _tables(tables: object, *, kind: str = "") -> str:
    """Tables of numbers; of kind heat, weights as shades and names above on their side."""

    def cell(value: object) -> str:
        if kind != "heat":
            return f"<td>{escape(str(value))}</td>"
        return f'<td style="--w: {float(str(value)):.0%}" title="{escape(str(value))}"></td>'

    text = ""
    for table in tables if isinstance(tables, list) else []:
        head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in table["columns"])
        lines = "".join(
            f'<tr><th scope="row">{escape(str(first))}</th>' + "".join(map(cell, rest)) + "</tr>\n"
            for first, *rest in table["rows"]
        )
        text += f"<h3>{escape(str(table['title']))}</h3>\n"
        text += f'<div class="wide"><table class="{kind}">\n<thead>\n'
        text += f"<tr><th></th>{head}</tr>\n</thead>\n"
        text += f"<tbody>\n{lines}</tbody>\n</table></div>\n"
    return text


def _cell(scores: Record, key: str) -> str:
    value = scores.get(key, "\u2013")
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else figure(number(scores, key))


def _charts(records: Sequence[Record], best: Record, unit: str) -> str:
    curves = [
        Curve(*curve(records, "step", "loss"), label="training"),
        Curve(*curve(records, "validation", "loss"), RED, "validation", 3),
    ]
    if best:
        step, value = number(best, "step"), number(best, "loss")
        label = f"kept: {figure(value)} at step {step:,.0f}"
        curves.append(Curve([step], [value], RED, label, RING))
    charts = [chart("Loss", ("step", LOSS.get(unit, "loss")), curves)]
    for key, scale in (("gradient_norm", "log"), ("learning_rate", "zero")):
        label, values = key.replace("_", " "), Curve(*curve(records, "step", key))
        charts.append(chart(label.capitalize(), ("step", label), [values], scale=scale))
    raw = _last(records, "reach").get("norms")
    if isinstance(raw, list):
        norms = [number({"norm": norm}, "norm") for norm in raw]
        values = Curve([float(lag) for lag in range(len(norms))], norms, dot=2)
        labels, words = (f"time lag ({unit})", "mean norm of the gradient"), describe_reach(norms)
        charts.append(chart("Gradient by time lag", labels, [values], words=words, scale="log"))
    return f'<div class="charts">\n{"".join(charts)}</div>' if any(charts) else ""


def _forecasts(found: Mapping[str, Any]) -> str:
    """Fans of some series, how errors grow with the steps ahead, and how often quantiles hold."""

    def line(values: Any, first: int, color: str, label: str = "", low: Any = None) -> Curve:
        ends = zip(values, low or values, strict=True)
        kept = [(float(first + n), *two) for n, two in enumerate(ends) if None not in two]
        xs, ys, lows = (list(part) for part in zip(*kept, strict=True)) if kept else ([], [], [])
        return Curve(xs, ys, color, label, low=lows if low else [])

    charts = []
    for fan in found.get("fans", []):
        if "places" in fan:
            charts.append(_paths(fan))
            continue
        seen = fan["seen"]
        curves = [
            *(line(b[1], 1, BLUE, f"{level} %", b[0]) for level, b in fan["bands"].items()),
            line(fan["median"], 1, BLUE, "median"),
            line(seen, 1 - len(seen), QUIET, "seen"),
            line(fan["y"], 1, INK, "came"),
        ]
        curves = [one for one in curves if one.ys]
        charts.append(chart(fan["title"], ("steps ahead", "value"), curves))
    if found:
        errors, levels = line(found["errors"], 1, BLUE), found["levels"]
        charts.append(chart(
            "Error by steps ahead", ("steps ahead", found.get("error of", "error")),
            [errors], scale="zero",
        ))  # fmt: skip
        below = [100 * share for share in found["below"] if share is not None]
        if len(below) == len(levels) > 1:
            wanted = [100 * level for level in levels]
            charts.append(chart(
                "Coverage", ("level (%)", "numbers below (%)"),
                [Curve(wanted, below, BLUE, "found", 3), Curve(wanted, wanted, QUIET, "wanted")],
            ))  # fmt: skip
    return f'<div class="charts">\n{"".join(charts)}</div>' if any(charts) else ""


def _paths(fan: Mapping[str, Any]) -> str:
    """Where one went, where it was thought to go, and some ways that it might have gone."""
    ways = [(way, RULE, "" if n else "futures") for n, way in enumerate(fan["futures"])]
    ways += [(fan["places"][name], color, name) for name, color in PLACES.items()]
    x, y = fan["axes"]
    curves = [Curve(xs, ys, color, label) for (xs, ys), color, label in ways]
    return chart(fan["title"], (x, y), [one for one in curves if one.ys], scale="plane")


def _line(text: object, kind: str = "note") -> str:
    return f'<p class="{kind}">{escape(str(text))}</p>\n' if text else ""


def _definitions(values: Record) -> str:
    pairs = [(escape(key.replace("_", " ")), escape(str(value))) for key, value in values.items()]
    rows = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>\n" for name, text in pairs)
    return f"<dl>\n{rows}</dl>" if rows else ""


def _last(records: Sequence[Record], *events: str) -> Record:
    return next((record for record in reversed(records) if record.get("event") in events), {})


def _part(record: Record, key: str) -> Record:
    part = record.get(key)
    return part if isinstance(part, dict) else {}
