"""The report page, and the sentence about the reach of the gradient."""

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from elman.errors import DataError, FolderError
from elman.report.charts import Curve, chart
from elman.report.journal import Journal
from elman.report.page import _fan, _tables, write_report
from elman.report.reach import describe_reach

START: dict[str, object] = {
    "event": "start",
    "time": "2025-03-04T10:11:12",
    "task": "language-model",
    "parameters": 4653200,
    "versions": {"elman": "0.1.0"},
    "settings": {"unknown_token": "<unk>", "hidden_size": 650},
    "data": {"train": "book.txt", "train_tokens": 929589},
    "epochs": 2,
    "steps_per_epoch": 50,
    "unit": "tokens",
}
KNESER_NEY = {"name": "Kneser-Ney 5-gram", "test": {"perplexity": 141.2}}
VOID = {"meta", "br", "use", "path", "rect"}


def steps(count: int, loss: float = 5.0) -> list[dict[str, object]]:
    return [
        {
            "event": "step",
            "step": step,
            "epoch": 1,
            "loss": loss + math.sin(step),
            "gradient_norm": 1.5 + math.cos(step),
            "learning_rate": 0.002,
        }
        for step in range(1, count + 1)
    ]


def report(folder: Path, records: list[dict[str, object]], metrics: object = None) -> str:
    (folder / "run.jsonl").unlink(missing_ok=True)
    with Journal(folder / "run.jsonl") as journal:
        for record in records:
            journal.write(record)
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    page = write_report(folder).read_text(encoding="utf-8")
    Balance().check(page)
    return page


class Balance(HTMLParser):
    """A parser that fails if a closed tag is not the last one opened."""

    def check(self, page: str) -> None:
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_a_whole_run_shows_title_scores_curves_samples_settings_and_end(tmp_path: Path) -> None:
    validation = {"event": "validation", "step": 50, "epoch": 1, "loss": 4.432, "kept": True}
    records = [
        START,
        *steps(50),
        validation,
        {"event": "resume", "step": 40, "epoch": 1},
        {"event": "resume", "step": 45, "epoch": 1},
        {"event": "note", "text": "a <b>note</b>"},
        {"event": "reach", "norms": [1.0, 0.1, 0.001]},
        {"event": "end", "step": 100, "reason": "early stopping", "seconds": 61.0},
    ]
    metrics = {
        "model": {"test": {"loss": 4.4402, "perplexity": 84.79, "tokens": 82430}},
        "baseline": KNESER_NEY,
        "samples": [{"title": "greedy", "text": "the <unk> & more"}],
    }
    page = report(tmp_path, records, metrics)
    assert "<title>Language model on book.txt</title>" in page
    row = '<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>'
    assert row.format("loss (nats per token)", "4.440", "\u2013") in page
    assert row.format("perplexity", "84.79", "141.2") in page
    assert row.format("tokens", "82,430", "\u2013") in page
    assert re.findall("<h3>(.*?)</h3>", page)[:5] == [
        "Test data",
        "Loss",
        "Gradient norm",
        "Learning rate",
        "Gradient by time lag",
    ]
    assert page.count("<svg") == page.count("</svg>") == 4
    assert "kept: 4.432 at step 50" in page
    assert "loss (nats per token)</text>" in page
    assert f"<figcaption>{describe_reach([1.0, 0.1, 0.001])}</figcaption>" in page
    assert "<pre>the &lt;unk&gt; &amp; more</pre>" in page
    assert "<dt>unknown token</dt><dd>&lt;unk&gt;</dd>" in page
    assert "<dt>train tokens</dt><dd>929,589</dd>" in page
    assert "a &lt;b&gt;note&lt;/b&gt;" in page
    assert "Early stopping after 100 steps in 0:01:01" in page
    assert "Resumed at step 40, 45." in page


@pytest.mark.parametrize(
    ("ours", "verdict"), [(84.0, "better than"), (180.0, "worse than"), (141.0, "about as good as")]
)
def test_the_page_compares_the_model_with_its_baseline(
    tmp_path: Path, ours: float, verdict: str
) -> None:
    metrics = {"model": {"test": {"perplexity": ours}}, "baseline": KNESER_NEY}
    page = report(tmp_path, [START], metrics)
    comparison = f"{verdict} its baseline (Kneser-Ney 5-gram): perplexity {ours:.2f} against"
    assert f"On the test data the model is {comparison} 141.20, lower is better." in page


def test_a_higher_accuracy_is_better(tmp_path: Path) -> None:
    metrics = {
        "model": {"validation": {"accuracy": 0.9}},
        "baseline": {"name": "majority", "validation": {"accuracy": 0.5}},
    }
    page = report(tmp_path, [START], metrics)
    assert "On the validation data the model is better than its baseline (majority)" in page
    assert "higher is better" in page


def test_a_missing_comparison_is_reported(tmp_path: Path) -> None:
    assert "The model was not evaluated" in report(tmp_path, [START])
    alone = {"model": {"test": {"perplexity": 80.0}}}
    assert "There is no baseline" in report(tmp_path, [START], alone)
    broken = {"model": {"test": {"perplexity": None}}, "baseline": KNESER_NEY}
    assert "cannot be compared" in report(tmp_path, [START], broken)


def test_the_page_needs_no_other_files(tmp_path: Path) -> None:
    page = report(tmp_path, [START, *steps(20), {"event": "reach", "norms": [1.0, 0.5]}])
    assert not re.search(r"https?:|//\w|<script|<link|@import|src=", page)
    # Each id is in the page once, so that no chart refers to a part of another.
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', page)) <= set(ids)
    # Colours must come from the style, or a chart would stay light on a dark page.
    assert "#10000" not in page


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    records = [START, *steps(30), {"event": "reach", "norms": [1.0, 0.5]}]
    assert report(tmp_path, records) == report(tmp_path, records)


def test_the_report_replaces_the_old_one_and_leaves_no_other_files(tmp_path: Path) -> None:
    report(tmp_path, [START])
    assert "Loss" in report(tmp_path, [START, *steps(3)])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "run.jsonl"]


def test_an_empty_journal_gives_a_page(tmp_path: Path) -> None:
    page = report(tmp_path, [])
    assert "Not started yet." in page
    assert "<svg" not in page


def test_one_step_record_is_drawn_as_a_dot(tmp_path: Path) -> None:
    page = report(tmp_path, [START, *steps(1)])
    assert page.count("<svg") == 3
    assert "Still running or killed" in page


def test_the_page_of_a_diverged_run_counts_values_that_are_not_drawn(tmp_path: Path) -> None:
    bad: list[dict[str, object]] = [
        {"event": "step", "step": 11 + i, "loss": math.nan, "gradient_norm": math.inf}
        for i in range(3)
    ]
    end: dict[str, object] = {"event": "end", "step": 13, "reason": "diverged", "seconds": 1.0}
    page = report(tmp_path, [START, *steps(10), *bad, end])
    assert "Diverged after 13 steps" in page
    assert page.count("Values that are not finite and not drawn: 3 of 13.") == 2
    page = report(tmp_path, [START, *bad, {"event": "reach", "norms": [None, None]}, end])
    assert "<svg" not in page
    assert "it explodes" in page


def test_zero_gradients_and_negative_losses_are_drawn(tmp_path: Path) -> None:
    flat: dict[str, object] = {"event": "step", "step": 1, "loss": -3.0, "gradient_norm": 0.0}
    page = report(tmp_path, [flat, {**flat, "step": 2}, {"event": "reach", "norms": [0.0, 0.0]}])
    assert page.count("<svg") == 3


def test_ten_thousand_records_stay_a_small_page(tmp_path: Path) -> None:
    page = report(tmp_path, [START, *steps(10_000)])
    assert "Each point is the mean of 10 records." in page
    assert len(page.encode()) < 500_000


def test_a_damaged_metrics_file_or_a_missing_journal_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"run\.jsonl"):
        write_report(tmp_path)
    (tmp_path / "run.jsonl").touch()
    for damage in ("{", "[1]", "7"):
        (tmp_path / "metrics.json").write_text(damage)
        with pytest.raises(DataError, match=r"metrics\.json: .*expected a JSON object"):
            write_report(tmp_path)


def test_importing_the_page_loads_neither_torch_nor_rich_nor_matplotlib() -> None:
    code = (
        "import sys, types; sys.modules['elman'] = types.ModuleType('elman');"
        "sys.modules['elman'].__path__ = [sys.argv[1]];"
        "import elman.report.page;"
        "print([name for name in ('torch', 'rich', 'matplotlib') if name in sys.modules])"
    )
    # The package itself may import torch; only these files are checked here.
    root = Path(sys.modules["elman.report.page"].__file__ or "").parents[1]
    ran = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("norms", "words"),
    [
        ([], "was not measured"),
        ([1.0], "Only a lag of 0 steps was measured"),
        ([0.0], "No gradient reaches the inputs"),
        ([0.0, 0.0], "No gradient reaches the inputs"),
        ([math.nan], "not a finite number at a lag of 0 steps"),
        ([1.0, math.inf], "not a finite number at a lag of 1 step: it explodes"),
        ([1.0, 0.001], "falls below 1 % of its largest value after 1 step: it vanishes"),
        ([0.8**lag for lag in range(61)], "after 21 steps: it vanishes"),
        (
            [0.99**lag for lag in range(61)],
            "at least 60 steps back, the longest lag measured, where its norm is 55 %",
        ),
        ([1.1**lag for lag in range(61)], "grows by a factor of 304 over 60 steps"),
        ([0.0, 1.0, 20.0], "grows by a factor of 20 over 2 steps"),
        # a single small value does not end the reach
        (
            [1.0, 0.5, 0.001, 0.5],
            "at least 3 steps back, the longest lag measured, where its norm is 50 %",
        ),
        # the largest may lie at a later lag, as with a delayed target, without exploding
        ([0.1, 1.0, 0.1, 0.005, 0.001], "after 3 steps: it vanishes"),
    ],
)
def test_the_reach_is_described_in_words(norms: list[float], words: str) -> None:
    sentence = describe_reach(norms)
    assert words in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_forecasts_with_gaps_or_without_bands_are_drawn(tmp_path: Path) -> None:
    fan = {
        "title": "s1 (hardest)",
        "seen": [1.0, None, 3.0],
        "y": [None, 5.0],
        "median": [4.0, 5.0],
        "bands": {"80": [[3.0, 4.0], [5.0, 6.0]]},
    }
    bare = {**fan, "title": "s<2>", "bands": {}, "y": [None, None]}
    metrics = {
        "forecasts": {
            "fans": [fan, bare],
            "errors": [0.5, None],
            "levels": [0.1, 0.5, 0.9],
            "below": [0.2, 0.5, 0.8],
        }
    }
    page = report(tmp_path, [START, *steps(3)], metrics)
    assert page.count("<svg") == 3 + 4
    for part in ("s1 (hardest)", "s&lt;2&gt;", "80 %", "median", "actual", "Coverage"):
        assert part in page
    assert page.count(">actual<") == 1
    assert "not drawn" not in page
    point = {"forecasts": {**metrics["forecasts"], "levels": [0.5], "below": [0.4]}}
    assert "Coverage" not in report(tmp_path, [START, *steps(3)], point)


def test_forecasts_have_dates_or_steps_on_their_axis() -> None:
    fan = {"title": "s", "seen": [1.0, 2.0], "y": [3.0, 4.0], "median": [3.0, 4.0], "bands": {}}
    months = [f"2024-0{n}-01T00:00:00.000000" for n in (1, 2, 3, 4)]
    assert ">Mar</text>" in _fan({**fan, "stamps": months})
    assert "steps ahead" not in _fan({**fan, "stamps": months})
    assert ">2012</text>" in _fan({**fan, "stamps": [2010, 2011, 2012, 2013]})  # not 2,012
    assert "steps ahead" in _fan({**fan, "stamps": None})


def test_names_above_many_columns_are_rotated() -> None:
    def table(columns: int) -> str:
        names = [f"class {n}" for n in range(columns)]
        return _tables([{"title": "t", "columns": names, "rows": [["a", *range(columns)]]}])

    assert 'class=" many"' in table(9)
    assert "many" not in table(8)


def test_a_legend_is_above_the_lines() -> None:
    curves = [
        Curve([0.0, 1.0], [0.0, 1.0], label="rises"),
        Curve([0.0, 1.0], [1.0, 0.0], label="x"),
    ]
    picture = chart("Cross", ("a", "b"), curves)
    lines = re.findall(r'<path d="M ([^"]*)" clip-path', picture)
    heights = [float(y) for line in lines for y in re.findall(r"[\d.]+ ([\d.]+)", line)]
    (legend,) = re.findall(r'<text [^>]*?(?:translate\([\d.]+ |y=")([\d.]+)[^>]*>rises', picture)
    assert float(legend) < min(heights)  # SVG counts downwards
