"""The report of a run as one page, `report.html`, written from the journal and the scores.

The page contains its pictures and style, runs no script and loads nothing from other hosts. Equal
inputs give equal bytes. If there are more than 1,000 records, charts show means of several.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from elman.atomic import write_atomic
from elman.errors import DataError
from elman.report.charts import BLUE, INK, QUIET, RED, RING, RULE, Curve, chart
from elman.report.journal import curve, number, read_journal
from elman.report.progress import end_line, figure, size_line
from elman.report.reach import describe_reach
from elman.report.speech import speech_chart
from elman.report.terminal import plain
from elman.report.verdict import baselines_of, conclude, name_of

Record = Mapping[str, object]

EPOCH, DAY = datetime(1970, 1, 1), timedelta(days=1)  # origin and unit of dates in charts
COLUMNS = 8  # tables with more columns have vertical headings
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
.speech svg { min-width: 44rem; }
svg text { font-family: inherit !important; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; line-height: 1.35; }
.wide { margin-bottom: 1.5rem; } .scores thead th { max-width: 11rem; }
th, td { padding: .4rem 0 .4rem 1.25rem; text-align: right; vertical-align: bottom;
  border-bottom: 1px solid var(--rule); font-weight: 400; overflow-wrap: normal; }
th:first-child { padding-left: 0; text-align: left; }
.heat { line-height: 1.2; }
.heat th, .heat td { padding: .1rem .2rem; border: 0; min-width: 1.1rem; }
.many thead th { writing-mode: vertical-rl; text-align: left; transform: rotate(180deg); }
.many th, .many td { padding: .2rem .3rem; } .many th:first-child { padding-left: 0;
  white-space: nowrap; }
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
    """Write `folder/report.html` from `run.jsonl` and `metrics.json`, and return its path.

    The metrics can be missing. Raises FolderError without a journal, DataError if a file is
    damaged.

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
    except (RecursionError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}, expected a JSON object; evaluate again") from None


def _page(records: Sequence[Record], metrics: Record) -> str:
    start = _last(records, "start")
    data, samples, speech = _part(start, "data"), metrics.get("samples"), metrics.get("speech")
    title = str(start.get("task", "training run")).replace("-", " ").capitalize()
    title += f" on {Path(str(data['train'])).name}" if data.get("train") else ""
    unit = str(start.get("unit", "steps"))
    kept = _last([record for record in records if record.get("kept") is True], "validation")
    about = {key: start[key] for key in ("seed", "device", "precision", "time") if key in start}
    sections = {
        "Scores": _scores(metrics, unit),
        "Confusions": _tables(metrics.get("tables")),
        "Key words": _spotting(_part(metrics, "spotting")),
        "Forecasts": _forecasts(_part(metrics, "forecasts")),
        "Training": _charts(records, kept, unit),
        "Attention": _tables(metrics.get("attention"), kind="heat"),
        "Speech": "".join(map(speech_chart, speech if isinstance(speech, list) else [])),
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
        f"{_line(_course(records, kept), 'facts')}{_line(conclude(metrics), 'verdict')}"
        f"{body}</body>\n</html>\n"
    )


def _course(records: Sequence[Record], kept: Record) -> str:
    last = _last(records, "start", "resume", "end")
    course = "still running or killed: the journal has no end record" if last else "not started yet"
    if last.get("event") == "end":
        course = end_line(last, kept)
    resumes = [f"{step:,.0f}" for step in curve(records, "resume", "step")[1]]
    course += f". Resumed at step {', '.join(resumes)}." if resumes else "."
    return course[0].upper() + course[1:]


# Colours and names of paths in the plane.
PLACES = {"median": (BLUE, "median"), "seen": (QUIET, "before"), "came": (INK, "actual")}


def _scores(metrics: Record, unit: str) -> str:
    """Return a table for each part of the data, with a row per score and a column per model."""
    listed = [{"name": "this model", **_part(metrics, "model")}, *baselines_of(metrics)]
    tables, signatures = [], dict[str, None]()
    positive = str(metrics.get("positive", ""))
    for part in ("validation", "test"):
        models = {str(one.get("name", "baseline")): _part(one, part) for one in listed}
        models = {name: scores for name, scores in models.items() if scores}
        keys = dict.fromkeys(key for scores in models.values() for key in scores)
        signatures |= {str(s["signature"]): None for s in models.values() if "signature" in s}
        rows = [
            [
                LOSS.get(unit, key) if key == "loss" else name_of(key, positive),
                *(_cell(scores, key) for scores in models.values()),
            ]
            for key in keys
            if key != "signature"
        ]
        if rows:
            title = f"{part.capitalize()} data"
            tables.append({"title": title, "columns": list(models), "rows": rows})
    notes = metrics.get("notes")
    lines = [*signatures, *(notes if isinstance(notes, list) else [])]
    return _tables(tables, kind="scores") + "".join(_line(text, "facts") for text in lines)


def _tables(tables: object, *, kind: str = "") -> str:
    """Return tables of numbers; for the kind heat, numbers are shown as shades.

    Headings are vertical if there are many columns, and for the kind heat.
    """

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
        many = " many" if kind == "heat" or len(table["columns"]) > COLUMNS else ""
        text += f'<div class="wide"><table class="{kind}{many}">\n<thead>\n'
        text += f"<tr><th></th>{head}</tr>\n</thead>\n"
        text += f"<tbody>\n{lines}</tbody>\n</table></div>\n"
    return text


def _cell(scores: Record, key: str) -> str:
    value = scores.get(key, "\u2013")
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else figure(number(scores, key))


def _charts(records: Sequence[Record], kept: Record, unit: str) -> str:
    curves = [
        Curve(*curve(records, "step", "loss"), label="training"),
        Curve(*curve(records, "validation", "loss"), RED, "validation", 3),
    ]
    if kept:
        step, value = number(kept, "step"), number(kept, "loss")
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
    """Return charts of some forecasts, of the error by step ahead, and of the coverage."""
    charts = [_paths(fan) if "places" in fan else _fan(fan) for fan in found.get("fans", [])]
    if found:
        levels, ahead = found["levels"], range(1, 1 + len(found["errors"]))
        charts.append(
            chart(
                "Error by steps ahead",
                ("steps ahead", found.get("error_label", "error")),
                [_points(found["errors"], ahead)],
                scale="zero",
            )
        )
        below = [100 * share for share in found["below"] if share is not None]
        if len(below) == len(levels) > 1:
            wanted = [100 * level for level in levels]
            charts.append(
                chart(
                    "Coverage",
                    ("level (%)", "numbers below (%)"),
                    [Curve(wanted, below, BLUE, "model", 3), Curve(wanted, wanted, QUIET, "ideal")],
                )
            )
    return f'<div class="charts">\n{"".join(charts)}</div>' if any(charts) else ""


def _fan(fan: Mapping[str, Any]) -> str:
    """Return a chart of one forecast over time: the numbers before and after, median and bands."""
    seen, stamps = fan["seen"], fan.get("stamps") or []
    dates = isinstance(next(iter(stamps), None), str)
    if dates:
        stamps = [(datetime.fromisoformat(stamp) - EPOCH) / DAY for stamp in stamps]
    places = stamps or range(1 - len(seen), 1 + len(fan["median"]))
    ahead = places[len(seen) :]
    curves = [
        *(_points(b[1], ahead, BLUE, f"{level} %", b[0]) for level, b in fan["bands"].items()),
        _points(fan["median"], ahead, BLUE, "median"),
        _points(seen, places, QUIET, "before"),
        _points(fan["y"], ahead, INK, "actual"),
    ]
    name = "" if dates else "step" if stamps else "steps ahead"
    shown = [one for one in curves if one.ys]
    return chart(fan["title"], (name, "value"), shown, dates=dates)


def _spotting(found: Mapping[str, Any]) -> str:
    """Return a chart of false alarms against missed key words, and tables of thresholds."""
    colors = {"validation": BLUE, "test": RED}
    drawn = [
        Curve(one["false_alarms_per_hour"], one["missed"], colors[part], part, 2)
        for part, one in found.get("curves", {}).items()
        if one["missed"]
    ]
    axes = ("false alarms per hour", "missed key words (%)")
    shown = chart("Misses against false alarms", axes, drawn, scale="zero") if drawn else ""
    return (f'<div class="charts">\n{shown}</div>' if shown else "") + _tables(found.get("tables"))


def _points(
    values: Sequence[float | None],
    places: Sequence[float],
    color: str = BLUE,
    label: str = "",
    low: Sequence[float | None] | None = None,
) -> Curve:
    """Return a curve of the numbers that exist, or a band if there are lower ends."""
    whole = zip(places, values, low or values, strict=False)  # there can be more places than values
    kept = [(float(x), y, z) for x, y, z in whole if y is not None and z is not None]
    xs, ys, lows = (list(part) for part in zip(*kept, strict=True)) if kept else ([], [], [])
    return Curve(xs, ys, color, label, low=lows if low else [])


def _paths(fan: Mapping[str, Any]) -> str:
    """Return a chart of one forecast in the plane: the actual path, the median and some futures."""
    ways = [(way, RULE, "" if n else "futures") for n, way in enumerate(fan["futures"])]
    ways += [(fan["places"][key], color, label) for key, (color, label) in PLACES.items()]
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
