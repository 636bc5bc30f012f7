"""Labels, tags and events of recordings: in memory, from files, live and on the command line."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError
from elman.inputs.kinds import reader_of
from elman.live.session import LiveTagging
from elman.read.examples import Examples
from elman.read.rows import Rejects
from elman.read.split import hold_out_labels
from elman.targets.label_settings import LabelSettings
from elman.targets.labels import Labels

SETTINGS: dict[str, Any] = {
    "hidden_size": 12,
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.02,
    "dropout": 0.1,
    "device": "cpu",
    "examples": 100,
}
CHANNELS = ("x", "y")


def waves(count: int = 60, *, seed: int = 0) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Return recordings of two channels and of different lengths, with their labels.

    The second channel follows the first, with either sign; the label is the sign.
    """
    draw = np.random.default_rng(seed)
    made, labels = [], []
    for n in range(count):
        first = np.cumsum(draw.standard_normal(draw.integers(15, 30)))
        sign = 1 if n % 2 else -1
        made.append(np.stack([first, sign * first + 0.1 * draw.standard_normal(len(first))], 1))
        labels.append("with" if n % 2 else "against")
    return made, labels


def table(gaps: bool = True) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return `waves` as a table with uneven timestamps and missing values, and their labels."""
    draw = np.random.default_rng(1)
    rows: dict[str, list[Any]] = {"unique_id": [], "ds": [], "x": [], "y": []}
    arrays, labels = waves()
    for n, values in enumerate(arrays):
        times = np.cumsum(draw.exponential(1.0, len(values)))
        for time, (x, y) in zip(times.tolist(), values.tolist(), strict=True):
            rows["unique_id"].append(f"r{n}")
            rows["ds"].append(round(time, 3))
            rows["x"].append(None if gaps and draw.random() < 0.2 else x)
            rows["y"].append(None if gaps and draw.random() < 0.2 else y)
    beside = {
        "unique_id": [f"r{n}" for n in range(len(arrays))],
        "label": labels,
        "age": [20 + n for n in range(len(arrays))],
        "kind": ["a", "b", ""] * (len(arrays) // 3),
    }
    return rows, beside


def write(path: Path, rows: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(rows)
        lines.writerows(zip(*rows.values(), strict=True))
    return path


def bursts(count: int = 12) -> tuple[list[NDArray[np.float64]], list[list[str]]]:
    """Return quiet recordings of one channel, each with a high or a low burst, and their tags."""
    draw = np.random.default_rng(2)
    made, tags = [], []
    for n in range(count):
        x, name = 0.2 * draw.standard_normal(60), "high" if n % 2 else "low"
        begin = draw.integers(10, 40)
        x[begin : begin + 10] += 2 if n % 2 else -2
        made.append(x)
        tags.append(["none"] * begin + [name] * 10 + ["none"] * (50 - begin))
    return made, tags


@pytest.mark.learns
def test_a_classifier_learns_the_relation_of_two_channels() -> None:
    arrays, labels = waves()
    model = elman.Classifier(**SETTINGS, wide=False).fit(arrays[:-10], labels[:-10])
    assert model.score(arrays[-10:], labels[-10:]) == 1
    ours, theirs = (model.metrics[who]["validation"] for who in ("model", "baseline"))
    assert ours["accuracy"] == 1
    assert model.metrics["baseline"]["name"] == "random forest on statistics of windows"
    names = [one["name"] for one in model.metrics["others"]]
    assert names == ["logistic regression on last values and means", "most frequent label"]
    assert theirs["examples"] == 5


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "window": 10, "overlap": 0.3, "jitter": 0.1, "rescale": 0.1, "warp": 0.1},
        {"static": ("age", "kind"), "pooling": "attention", "bidirectional": False},
        {"cell": "grud", "bidirectional": False, "static": ("age",), "recurrent_dropout": 0.1},
        {"cell": "gruwe", "bidirectional": False, "static": ("age",), "weight_dropout": 0.1},
        {"cell": "cfc", "bidirectional": False, "rate": 0.5, "zoneout": 0.1},
        {"rate": 0.5, "embedding_size": 6, "input_dropout": 0.1, "num_layers": 2},
        {"rate": 2.0, "cell": "rnn", "layer_norm": True, "class_weights": "balanced"},
    ],
)
def test_models_with_combined_options_are_equal_after_loading(
    options: dict[str, Any], tmp_path: Path
) -> None:
    rows, labels = table()
    files = write(tmp_path / "rows.csv", rows), write(tmp_path / "labels.csv", labels)
    settings = {**SETTINGS, "epochs": 1, "channels": CHANNELS, **options}
    model = elman.Classifier(**settings).fit(*files, out=tmp_path / "run")
    back = elman.load(tmp_path / "run")
    assert isinstance(back, elman.Classifier)
    np.testing.assert_array_equal(back.predict_proba(files), model.predict_proba(files))
    assert back.evaluate(*files) == model.evaluate(*files)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "random forest" in page
    assert "channels: x, y" in (tmp_path / "run" / "README.md").read_text()


def test_statistics_classify_recordings_without_training_of_the_network(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    arrays = [draw.standard_normal((n, 2)) * [1, 1 + n % 2] for n in range(20, 80)]
    labels = [n % 2 for n in range(20, 80)]
    settings = {**SETTINGS, "epochs": 1, "learning_rate": 1e-12}
    model = elman.Classifier(**settings).fit(arrays[:50], labels[:50], out=tmp_path / "run")
    assert model.score(arrays[50:], labels[50:]) == 1
    assert "linear model of" in (tmp_path / "run" / "run.jsonl").read_text()
    # With values a million times smaller, the levels of the statistics are the same.
    small = elman.Classifier(**settings).fit([one * 1e-6 for one in arrays[:50]], labels[:50])
    np.testing.assert_allclose(
        small.predict_proba([one * 1e-6 for one in arrays[50:]]),
        model.predict_proba(arrays[50:]),
        atol=1e-5,
    )
    # With a forward network or windows, only statistics that a live session can compute are used.
    for more in ({"bidirectional": False}, {"window": 15}):
        live = elman.Classifier(**settings, **more).fit(arrays[:50], labels[:50])
        assert live.score(arrays[50:], labels[50:]) == 1
        stream = live.stream()
        for row in arrays[-1]:
            found = stream.push(row)
        last = arrays[-1][-15:] if "window" in more else arrays[-1]
        np.testing.assert_allclose(list(found.values()), live.predict_proba([last])[0], atol=1e-6)
    assert elman.Classifier(**settings, wide=False).fit(arrays, labels).input_.features == 0


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({"pooling": "concat", "skip": True}, None),
        ({"pooling": "attention", "cell": "gru"}, 0.5),
        ({"cell": "grud", "skip": True}, None),
        ({"cell": "grud", "skip": True}, 3.0),
        ({"cell": "gruwe"}, None),
        ({"cell": "cfc", "skip": True}, None),
        ({"cell": "cfc"}, 3.0),
        ({"embedding_size": 5, "layer_norm": True, "pooling": "last"}, 3.0),
    ],
)
def test_live_predictions_equal_a_batch_on_the_recording_so_far(
    options: dict[str, Any], rate: float | None
) -> None:
    rows, labels = table()
    model = elman.Classifier(
        **{**SETTINGS, "epochs": 1},
        channels=CHANNELS,
        static=("age", "kind"),
        rate=rate,
        bidirectional=False,
        **options,
    ).fit(rows, labels)
    live, static = model.stream(age=23, kind="b"), {"unique_id": ["r3"], "age": [23], "kind": ["b"]}
    chosen = [n for n, name in enumerate(rows["unique_id"]) if name == "r3"]
    compared = 0
    for count, n in enumerate(chosen, 1):
        output = live.push({"x": rows["x"][n], "y": rows["y"][n]}, at=rows["ds"][n])
        part = {name: [values[k] for k in chosen[:count]] for name, values in rows.items()}
        if any(value is not None for value in part["x"] + part["y"]):
            p = model.predict_proba((part, static))[0]
            np.testing.assert_allclose(list(output.values()), p, atol=1e-5)
            compared += 1
    assert compared > 10
    live.restart()
    first = model.stream(age=23, kind="b").push([1.0, 2.0])
    assert live.push([1.0, 2.0]) == first


def test_a_model_of_windows_predicts_the_last_window_live() -> None:
    arrays, labels = waves()
    model = elman.Classifier(**SETTINGS, window=8).fit(arrays, labels)  # a bidirectional network
    live = model.stream()
    for step, row in enumerate(arrays[0][:20]):
        output = live.push(row)
        if step >= 7:
            window = arrays[0][step - 7 : step + 1]
            np.testing.assert_allclose(
                list(output.values()), model.predict_proba([window])[0], atol=1e-5
            )


@pytest.mark.learns
def test_steps_are_tagged_and_events_detected_live_and_in_a_batch() -> None:
    arrays, tags = bursts()
    model = elman.Tagger(**SETTINGS, bidirectional=False).fit(arrays[:-2], tags[:-2])
    scores = model.evaluate(arrays[-2:], tags[-2:])
    assert scores["accuracy"] > 0.95
    assert scores["events"] == 2
    found = model.events(arrays[-2:], shortest=3)
    assert [event.label for event in found] == ["low", "high"]
    for event, some in zip(found, tags[-2:], strict=True):
        begin = some.index(event.label)
        assert abs(event.start - begin) <= 2
        assert abs(event.end - begin - 10) <= 2
    live = model.stream(shortest=3)
    assert isinstance(live, LiveTagging)
    output = [live.push([x]) for x in arrays[-1]]
    assert [tag for tag, _ in output] == model.predict(arrays[-1:])[0]
    assert sum(live.probabilities.values()) == pytest.approx(1)
    events = live.finish()
    assert [(e.label, e.begin, e.end) for e in events] == [("high", found[1].start, found[1].end)]
    assert live.finish() == []
    none = np.zeros((0, 1))
    assert model.events([none, *arrays[-2:], none], shortest=3) == [
        event._replace(unique_id=str(n)) for n, event in enumerate(found, 1)
    ]
    assert model.predict([none]) == [[]]


def test_a_stream_at_a_rate_finishes_only_once() -> None:
    arrays, tags = bursts()
    rows = {
        "ds": [k / 4 for k in range(60 * 12)],
        "x": np.concatenate(arrays).tolist(),
        "label": [tag for some in tags for tag in some],
    }
    model = elman.Tagger(**SETTINGS, channels=("x",), rate=2.0, bidirectional=False).fit(rows)
    live = model.stream()
    assert isinstance(live, LiveTagging)
    for k, x in enumerate(rows["x"][:100]):
        live.push([x], at=k / 4)
    live.finish()
    assert live.finish() == []
    assert live.finish() == []


def test_an_event_is_active_until_it_ends() -> None:
    arrays, tags = bursts()
    model = elman.Tagger(**SETTINGS, bidirectional=False).fit(arrays, tags)
    live = model.stream(shortest=3)
    assert isinstance(live, LiveTagging)
    begin = tags[1].index("high")
    for x in arrays[1][: begin + 6]:
        live.push([x])
    assert live.active == "high"
    assert live.events() == []
    for x in arrays[1][begin + 6 : begin + 16]:
        live.push([x])
    assert live.active is None
    assert [event.label for event in live.events()] == ["high"]


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({"chain": True}, 2.0),
        ({"cell": "grud", "bidirectional": False}, None),
        ({"cell": "grud", "bidirectional": False}, 2.0),
        ({"cell": "cfc", "bidirectional": False}, None),
        ({"window": 20, "warp": 0.2}, None),
    ],
)
def test_a_tagger_of_recordings_is_equal_after_loading(
    options: dict[str, Any], rate: float | None, tmp_path: Path
) -> None:
    arrays, tags = bursts()
    rows: dict[str, list[Any]] = {"unique_id": [], "ds": [], "x": []}
    events: dict[str, list[Any]] = {"unique_id": [], "label": [], "start": [], "end": []}
    for n, (values, some) in enumerate(zip(arrays, tags, strict=True)):
        begin, name = next((k, tag) for k, tag in enumerate(some) if tag != "none")
        rows["unique_id"] += [f"r{n}"] * 60
        rows["ds"] += [k / 4 for k in range(60)]
        rows["x"] += values.tolist()
        for column, value in zip(events, (f"r{n}", name, begin / 4, begin / 4 + 2.5), strict=True):
            events[column].append(value)
    files = write(tmp_path / "rows.csv", rows), write(tmp_path / "events.csv", events)
    model = elman.Tagger(**SETTINGS, channels=("x",), rate=rate, **options)
    model.fit(*files, out=tmp_path / "run")
    assert model.metrics["model"]["validation"]["accuracy"] > 0.8
    back = elman.load(tmp_path / "run")
    assert isinstance(back, elman.Tagger)
    assert back.predict(files[0]) == model.predict(files[0])
    assert [len(some) for some in back.predict(files[0])] == [60] * 12  # a tag per row, at any rate
    if "chain" in options:
        with pytest.raises(ArgumentError, match="train with chain=False"):
            back.events(files[0])
    else:
        assert back.events(files[0]) == model.events(files[0])


def test_the_end_of_few_recordings_is_held_out() -> None:
    arrays, tags = bursts(2)
    model = elman.Tagger(**{**SETTINGS, "epochs": 1}).fit(
        [np.concatenate(arrays)], [tags[0] + tags[1]]
    )
    assert model.metrics["model"]["validation"]["steps"] == 12


def test_a_resumed_run_gives_the_same_result(tmp_path: Path) -> None:
    rows, labels = table()
    files = write(tmp_path / "rows.csv", rows), write(tmp_path / "labels.csv", labels)
    settings = {**SETTINGS, "channels": CHANNELS, "warp": 0.1, "jitter": 0.1, "elapsed": False}
    settings["schedule"] = "constant"  # a cosine schedule would end with the first run
    whole = elman.Classifier(**settings).fit(*files, out=tmp_path / "whole")
    elman.Classifier(**{**settings, "epochs": 2}).fit(*files, out=tmp_path / "run")
    resumed = elman.Classifier.resume(tmp_path / "run", epochs=4)
    for name, weight in whole.model.state_dict().items():
        assert weight.equal(resumed.model.state_dict()[name]), name
    assert resumed.metrics == whole.metrics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "grud"}, "got cell=grud; set bidirectional=False"),
        (
            {"cell": "grud", "bidirectional": False, "num_layers": 2},
            "got cell=grud; set num_layers=1",
        ),
        ({"cell": "grud", "bidirectional": False, "elapsed": False}, "leave elapsed unset"),
        (
            {"cell": "cfc", "bidirectional": False, "elapsed": False},
            "cell=cfc always reads the time",
        ),
        ({"cell": "gruwe"}, "got cell=gruwe; set bidirectional=False"),
        ({"cell": "grud", "bidirectional": False, "warp": 0.1}, "warp changes the time"),
        ({"skip": True, "pooling": "last"}, "skip needs bidirectional=False with pooling=last"),
        ({"overlap": 1.0}, r"overlap must be in \[0, 1\), got 1.0"),
        ({"rate": -1.0}, "rate must be a positive number of steps per second, got -1.0"),
        ({"jitter": -0.1}, "jitter must be at least 0, got -0.1"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"rate": 1.0}, "rate needs stamps"),
        ({"vectors": "words.txt"}, "vectors needs texts, got recordings"),
        ({"channels": ("a",)}, "channels must name 2 columns of the arrays, got a"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        elman.Classifier(**{**SETTINGS, **settings}).fit(*waves(20))


def test_data_unlike_the_training_data_are_refused() -> None:
    arrays, labels = waves(20)
    model = elman.Classifier(**{**SETTINGS, "epochs": 1, "bidirectional": False})
    model.fit(arrays, labels)
    with pytest.raises(ArgumentError, match="columns of the arrays, got 0, 1"):
        model.predict([np.zeros((3, 4))])
    with pytest.raises(ArgumentError, match="arrays need their labels"):
        model.evaluate(arrays)
    with pytest.raises(ArgumentError, match="vocabulary needs a classifier of texts"):
        _ = model.vocabulary
    with pytest.raises(ArgumentError, match="static columns must be none, got age"):
        model.stream(age=3)
    live = model.stream()
    for bad in ([1.0], [1, 2, 3], ["a", "b"], [np.inf, 0], {"z": 1}):
        with pytest.raises(ArgumentError, match=r"channels must be 0, 1|a step must have 2 finite"):
            live.push(bad)
    with pytest.raises(ArgumentError, match="at must be None: the training data had no timestamps"):
        live.push([1, 2], at=3.0)
    words = elman.Classifier(**{**SETTINGS, "epochs": 1}).fit(["a b", "c d"] * 20, [0, 1] * 20)
    with pytest.raises(ArgumentError, match="cannot read texts live: train with bi"):
        words.stream()


def test_times_must_increase() -> None:
    rows, labels = table(gaps=False)
    model = elman.Classifier(
        **{**SETTINGS, "epochs": 1}, channels=CHANNELS, rate=2.0, bidirectional=False
    ).fit(rows, labels)
    live = model.stream()
    live.push([1, 2], at=10.0)
    for at, message in (
        (9.0, "before the previous"),
        ("2024-01-01", "the form of the first"),
        (1e9, "begin a new"),
        ("yesterday", "a date or a number of seconds"),
        (np.nan, "a date or a number of seconds"),
    ):
        with pytest.raises(ArgumentError, match=message):
            live.push([1, 2], at=at)
    assert live.push([1, 2], at=10.0)
    live.restart()
    with pytest.raises(ArgumentError, match="a date or a number of seconds"):
        live.push([1, 2], at=np.nan)
    first = live.push([1, 2], at="00:10")  # minutes, which training data may have
    with pytest.raises(ArgumentError, match="a step must have 2 finite numbers"):
        live.push([[1, 2]], at="00:11")
    live.restart()
    assert live.push([1, 2], at=datetime(2024, 1, 1)) == first


def read(rows: Any, labels: Any, like: Examples | None = None) -> tuple[Examples, list[str] | None]:
    """Read recordings with labels, and return them with the groups that are held out together."""
    settings = LabelSettings(channels=CHANNELS)
    reader = reader_of(settings, ["recordings"])
    source = reader.open((rows, labels), Labels.column(settings))
    found = Labels.read(reader, source, settings, Rejects(None), like)
    return found, reader.groups(found.items)


def test_overlapping_spans_of_a_recording_are_held_out_together() -> None:
    rows, _ = table(gaps=False)
    spans: dict[str, list[Any]] = {"unique_id": [], "label": [], "start": [], "end": []}
    for n in range(60):
        for start in (0.0, 3.0, 6.0):
            for column, value in zip(
                spans, (f"r{n}", "with" if n % 2 else "against", start, start + 8.0), strict=True
            ):
                spans[column].append(value)
    examples, groups = read(rows, spans)
    parts = hold_out_labels(examples.targets, 0.1, seed=0, groups=groups)
    train, held = map(examples.select, parts)
    names = [{one.unique_id for one in part.items} for part in (train, held)]
    assert not names[0] & names[1]
    assert len(held) == 18
    apart = {
        name: [v for k, v in enumerate(column) if k % 3 == 0] for name, column in spans.items()
    }
    assert read(rows, apart)[1] is None


def test_rows_without_timestamps_are_read_at_usual_steps() -> None:
    rows, labels = table(gaps=False)
    model = elman.Classifier(
        **{**SETTINGS, "epochs": 1}, channels=CHANNELS, bidirectional=False
    ).fit(rows, labels)
    array = waves()[0][0]
    live = model.stream()
    for row in array:
        output = live.push(row)
    np.testing.assert_allclose(list(output.values()), model.predict_proba([array])[0], atol=1e-5)


def test_validation_data_without_timestamps_use_the_step_of_training() -> None:
    rows, labels = table(gaps=False)
    examples, _ = read(rows, labels)
    bare = {name: rows[name] for name in ("unique_id", *CHANNELS)}
    other, _ = read(bare, labels, examples)
    assert examples.recordings is not None
    whole = examples.recordings
    assert whole.step != 1
    assert other.items[0].times[:3].tolist() == pytest.approx([0, whole.step, 2 * whole.step])


def test_a_run_with_a_table_in_memory_cannot_be_resumed(tmp_path: Path) -> None:
    rows, labels = table(gaps=False)
    settings = {**SETTINGS, "epochs": 1, "channels": CHANNELS}
    file = write(tmp_path / "rows.csv", rows)
    model = elman.Classifier(**settings).fit(file, labels, out=tmp_path / "run")
    assert model.evaluate(file, labels)["examples"] == 60
    with pytest.raises(DataError, match="were given in memory"):
        elman.Classifier.resume(tmp_path / "run", epochs=2)


def test_an_estimator_can_be_trained_on_texts_after_recordings() -> None:
    model = elman.Classifier(**{**SETTINGS, "epochs": 1, "examples": 10})
    model.fit(*waves(20))
    texts = np.array(["so good", "so bad"] * 20, dtype=object)
    assert model.fit(texts, [1, 0] * 20).predict(list(texts[:1])).shape == (1,)
    single = np.stack([np.sin(np.arange(12) * (1 + n % 2)) for n in range(20)])
    assert model.fit(single, ["a", "b"] * 10).predict(single).shape == (20,)
    for cell in ("grud", "gruwe", "cfc"):
        with pytest.raises(ArgumentError, match=f"cell={cell} is for recordings"):
            elman.Classifier(cell=cell, bidirectional=False).fit(list(texts), [1, 0] * 20)


def test_a_variable_that_occurs_only_in_held_out_data_is_ignored() -> None:
    rows: dict[str, list[Any]] = {"unique_id": [], "ds": [], "name": [], "value": []}
    for n in range(30):
        for step in range(5):
            names = ["HR", "rare"] if n == 0 else ["HR"]
            for name in names:
                for column, value in zip(rows, (f"r{n}", step, name, n % 2 + step), strict=True):
                    rows[column].append(value)
    labels = {"unique_id": [f"r{n}" for n in range(1, 30)], "label": ["a", "b"] * 14 + ["a"]}
    first = {"unique_id": ["r0"], "label": ["a"]}
    model = elman.Classifier(**{**SETTINGS, "epochs": 1}, variable="name", static=())
    model.fit(rows, labels, validation=(rows, {**first, "label": ["a"]}))
    assert set(model.predict((rows, first))) <= {"a", "b"}


def test_the_command_line_trains_evaluates_predicts_and_detects_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, labels = table(gaps=False)
    data = str(write(tmp_path / "rows.csv", rows))
    known = str(write(tmp_path / "labels.csv", labels))
    run, out = str(tmp_path / "run"), tmp_path / "out.csv"
    flags = ["--channels", "x", "y", "--hidden-size", "8", "--epochs", "1", "--device", "cpu"]
    assert main(["train", "classifier", data, known, "--out", run, *flags]) == 0
    assert "random forest on statistics of windows" in capsys.readouterr().out
    assert main(["evaluate", run, data, known, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 60
    assert main(["predict", run, "--file", data, "--out", str(out)]) == 0
    written = list(csv.DictReader(out.read_text().splitlines()))
    assert list(written[0]) == ["unique_id", "start", "end", "label", "p(against)", "p(with)"]
    assert [row["unique_id"] for row in written] == labels["unique_id"]
    assert main(["predict", run, "--file", data, "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["predict", run, "--file", data]) == 0
    assert "12 more rows" in capsys.readouterr().out
    for wrong, message in (
        (["predict", run, "text"], "reads recordings, so it takes no TEXT; give a table"),
        (["predict", run, "--file", data, "--events"], "--events is an option of a tagger of"),
        (["predict", run, "--file", data, "--on", "0.9"], "--on is an option of a tagger of"),
        (
            ["predict", run, "--file", data, "--k", "3", "--out", f"{run}.csv"],
            "a language model, a classifier, a translator, a classifier of audio, a classifier of "
            "images or a transcriber;",
        ),
        (["predict", run, "--file", data, "--out", data, "--overwrite"], "would replace the data"),
        (["train", "classifier", data, known, "--out", str(tmp_path / "b")], "or variable"),
        (
            ["train", "classifier", data, known, "--channels", "z", "--out", str(tmp_path / "b")],
            "no column 'z'; its columns: 'unique_id', 'ds', 'x', 'y'",
        ),
    ):
        assert main(wrong) == 2
        assert message in capsys.readouterr().err
    assert not Path(f"{run}.csv").exists()
    spans = {
        "unique_id": [f"r{n}" for n in range(60)],
        "label": labels["label"],
        "start": [2.0] * 60,
        "end": [12.0] * 60,
    }
    marked = str(write(tmp_path / "spans.csv", spans))
    run = str(tmp_path / "tags")
    more = ["--rate", "2", "--epochs", "4", "--learning-rate", "0.02"]
    assert main(["train", "tagger", data, marked, "--out", run, *flags[:5], *more]) == 0
    events = tmp_path / "events.jsonl"
    assert (
        main(
            [
                "predict",
                run,
                "--file",
                data,
                "--events",
                "--on",
                "0.4",
                "--off",
                "0.3",
                "--out",
                str(events),
            ]
        )
        == 0
    )
    first = json.loads(events.read_text().splitlines()[0])
    assert list(first) == ["unique_id", "label", "start", "end", "probability"]
    tags = tmp_path / "tags.parquet"
    assert main(["predict", run, "--file", data, "--out", str(tags)]) == 0
    polars = pytest.importorskip("polars")
    assert len(polars.read_parquet(tags)) == len(rows["x"])


def test_data_without_labels_or_with_a_single_label_are_refused() -> None:
    arrays, _ = waves(10)
    with pytest.raises(DataError, match="all rows have 'a'; at least 2 classes are needed"):
        elman.Classifier(**SETTINGS).fit(arrays, ["a"] * 10)
    with pytest.raises(ArgumentError, match="arrays need their labels"):
        elman.Classifier(**SETTINGS).fit(arrays)
    rows, _ = table()
    with pytest.raises(ArgumentError, match="no column 'label'"):
        elman.Classifier(**SETTINGS, channels=CHANNELS).fit(rows)
