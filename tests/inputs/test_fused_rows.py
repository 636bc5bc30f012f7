"""Recordings among several inputs: as several rows of a table, and as arrays in cells."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError
from elman.padded import pad_arrays

SMALL: dict[str, Any] = {"hidden_size": 8, "batch_size": 8, "device": "cpu", "examples": 40}
INPUTS = {"series": "recordings", "age": "number", "note": "text"}
CHANNELS = ("x", "y")


def columns(count: int = 40) -> dict[str, list[Any]]:
    """Return a recording, a number and a text for each label."""
    draw = np.random.default_rng(0)
    label = ["up" if n % 2 else "down" for n in range(count)]
    return {
        "series": [
            draw.normal(1.0 if one == "up" else -1.0, 0.5, (int(draw.integers(3, 7)), 2))
            for one in label
        ],
        "age": [draw.normal(50, 10) for _ in label],
        "note": ["it rises" if one == "up" else "it falls" for one in label],
        "label": label,
    }


def rows(cells: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the table with a row for each step."""
    found: dict[str, list[Any]] = {
        name: [] for name in ("unique_id", "ds", *CHANNELS, "age", "note", "label")
    }
    for n, values in enumerate(cells["series"]):
        fixed = [cells[name][n] for name in ("age", "note", "label")]
        for step, (x, y) in enumerate(values.tolist()):
            for name, value in zip(found, (f"r{n}", 60.0 * step, x, y, *fixed), strict=True):
                found[name].append(value)
    return found


def without(table: dict[str, list[Any]], *names: str) -> dict[str, list[Any]]:
    return {name: values for name, values in table.items() if name not in names}


@pytest.fixture(scope="module")
def in_cells() -> elman.Classifier:
    return elman.Classifier(**SMALL, epochs=4, learning_rate=0.02, inputs=INPUTS).fit(columns())


@pytest.fixture(scope="module")
def in_rows() -> elman.Classifier:
    settings = {**SMALL, "channels": CHANNELS, "inputs": INPUTS}
    return elman.Classifier(**settings, epochs=4, learning_rate=0.02).fit(rows(columns()))


def test_each_input_is_read(in_cells: elman.Classifier, in_rows: elman.Classifier) -> None:
    for model, data in ((in_cells, columns()), (in_rows, rows(columns()))):
        scores = model.evaluate(data)
        assert scores["accuracy"] > 0.95
        assert scores["accuracy with only series"] > 0.8
        assert scores["accuracy with only note"] > 0.8


@pytest.mark.parametrize("cell", ["grud", "gruwe", "cfc"])
def test_a_recording_is_read_with_its_mask_and_times_beside_other_inputs(cell: str) -> None:
    data = columns()
    for one in data["series"][::2]:
        one[1::2, 0] = np.nan
    settings = {**SMALL, "channels": CHANNELS, "inputs": INPUTS, "cell": cell}
    model = elman.Classifier(**settings, bidirectional=False, epochs=4, learning_rate=0.02)
    model.fit(rows(data))
    some = rows({name: values[:3] for name, values in data.items()})
    items = model.items(without(some, "label"))
    arrays, fuse = model.input_.encode(items), model.model.encode
    with torch.inference_mode():
        batch = pad_arrays(arrays)
        fused = fuse(batch).data
        nothing = fuse(batch._replace(lengths=torch.zeros_like(batch.lengths))).data
    width = len(CHANNELS) * 2 + 1
    for row, array in enumerate(arrays):
        np.testing.assert_array_equal(fused[row, : len(array), :width], array.first)
    assert not nothing[:, 0, :width].any()
    (wanted,) = model.predict_proba(without(rows({n: v[:1] for n, v in data.items()}), "label"))
    live = model.stream(age=data["age"][0], note=data["note"][0])
    for step, values in enumerate(data["series"][0]):
        found = live.push(values.tolist(), at=60.0 * step)
        blob = live.state_bytes()
        live.push([0.0, 0.0], at=60.0 * step + 1)
        live.restore(blob)
    np.testing.assert_allclose(list(found.values()), wanted, rtol=1e-4)
    assert model.evaluate(rows(data))["accuracy"] > 0.9


def test_predictions_do_not_depend_on_the_other_rows(
    in_cells: elman.Classifier, in_rows: elman.Classifier
) -> None:
    data = columns(6)
    for model, make in ((in_cells, dict), (in_rows, rows)):
        whole = model.predict_proba(without(make(data), "label"))
        some = {name: values[2:3] for name, values in data.items()}
        alone = model.predict_proba(without(make(some), "label"))
        np.testing.assert_allclose(alone[0], whole[2], rtol=1e-4, atol=1e-6)


def test_saved_models_predict_equally(
    in_cells: elman.Classifier, in_rows: elman.Classifier, tmp_path: Path
) -> None:
    for n, (model, make) in enumerate(((in_cells, dict), (in_rows, rows))):
        data = without(make(columns(6)), "label")
        model.save(tmp_path / str(n))
        again = elman.Classifier.load(tmp_path / str(n))
        np.testing.assert_array_equal(again.predict_proba(data), model.predict_proba(data))


def test_missing_inputs_of_recordings(in_rows: elman.Classifier) -> None:
    table = rows(columns(4))
    table["note"] = [""] * len(table["note"])
    table["age"] = [None] * len(table["age"])
    assert np.isfinite(in_rows.predict_proba(without(table, "label"))).all()


def test_tags_of_steps_and_a_live_session_with_the_other_inputs() -> None:
    data = rows(columns())
    model = elman.Tagger(
        **SMALL, epochs=4, inputs=INPUTS, channels=CHANNELS, tags="label", bidirectional=False
    ).fit(data)
    some = rows(columns(1))
    whole = model.predict(without(some, "label"))[0]
    live = model.stream(age=some["age"][0], note=some["note"][0])
    steps = zip(some["ds"], some["x"], some["y"], strict=True)
    assert [live.push([x, y], at=at)[0] for at, x, y in steps] == whole
    events = model.events(without(some, "label"))
    assert all(event.unique_id == "r0" for event in events)


def test_early_fusion_of_two_recordings_in_cells() -> None:
    """The other recording has two steps for each step of the first one."""
    draw = np.random.default_rng(1)
    label = [n % 2 for n in range(40)]
    data: dict[str, Any] = {
        "slow": [draw.normal(0, 1, (4, 1)) for _ in label],
        "fast": [draw.normal(3.0 * y, 1, (4, 3)) for y in label],
        "label": label,
    }
    model = elman.Classifier(
        **SMALL,
        epochs=6,
        learning_rate=0.02,
        fusion="early",
        inputs={"slow": "recordings", "fast": "recordings"},
    ).fit(data)
    draws = [n % 2 for n in range(200)]
    fresh: dict[str, Any] = {
        "slow": [draw.normal(0, 1, (4, 1)) for _ in draws],
        "fast": [draw.normal(3.0 * y, 1, (4, 3)) for y in draws],
        "label": draws,
    }
    scores = model.evaluate(fresh)
    assert scores["accuracy with only fast"] > 0.9 > scores["accuracy without fast"]


def test_files_of_arrays(tmp_path: Path, in_cells: elman.Classifier) -> None:
    data = columns(4)
    for n, array in enumerate(data["series"]):
        np.save(tmp_path / f"{n}.npy", array)
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("series", "age", "note"))
        writer.writerows(
            zip([f"{n}.npy" for n in range(4)], data["age"], data["note"], strict=True)
        )
    found = in_cells.predict_proba(table)
    np.testing.assert_allclose(found, in_cells.predict_proba(without(data, "label")), rtol=1e-5)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (np.zeros((3, 5)), "row 1: column 'series': expected 2 channels, got 5"),
        (np.zeros((3, 2, 2)), "column 'series' must have the shape (T, C), got (3, 2, 2)"),
        ([["a", "b"]], "column 'series' must hold numbers, got list"),
        (np.full((3, 2), np.inf), "must have finite numbers, or NaN for missing ones, got inf"),
        ("a.wav", "'a.wav' is not a recording; expected an array (T, C), a .npy file with it, or"),
        ("a.csv", "column 'series': 'a.csv': a.csv: there is no such file"),
        ("none.npy", "none.npy: cannot be read (No such file or directory)"),
    ],
)
def test_cells_that_are_not_recordings(
    in_cells: elman.Classifier, cell: object, words: str
) -> None:
    good = columns(1)
    data = {name: [values[0], values[0]] for name, values in without(good, "label").items()}
    data["series"][1] = cell
    with pytest.raises((ArgumentError, DataError)) as error:
        in_cells.predict(data)
    assert words in str(error.value)


def test_the_channels_of_all_training_recordings_are_equal() -> None:
    data = columns()
    data["series"][3] = np.zeros((4, 3))
    with pytest.raises((ArgumentError, DataError), match=r"row 3.*expected 2 channels, got 3"):
        elman.Classifier(**SMALL, epochs=1, inputs=INPUTS).fit(data)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": 4}, "window has no effect on several inputs"),
        (
            {
                "cell": "grud",
                "bidirectional": False,
                "inputs": {"a": "recordings", "b": "recordings"},
            },
            "cell=grud reads one recording, got 2",
        ),
        (
            {
                "cell": "grud",
                "bidirectional": False,
                "inputs": {"note": "text", "series": "recordings"},
            },
            "cell=grud is for recordings, which have times; got texts",
        ),
        (
            {"inputs": {"a": "recordings", "b": "recordings"}, "channels": ("x",)},
            "channels are the columns of one recording, got 2 recordings",
        ),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        elman.Classifier(**{**SMALL, "epochs": 1, "inputs": INPUTS, **settings}).fit(columns())


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, out = tmp_path / "data.csv", tmp_path / "run", tmp_path / "out.csv"
    table = rows(columns())
    with data.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    inputs = ["--input", "series:recordings", "--input", "age:number"]
    flags = [*inputs, "--channels", "x", "--channels", "y"]
    assert main(["look", str(data), *flags, "--target", "label"]) == 0
    shown = capsys.readouterr().out
    assert "read by a classifier" in shown
    assert "x          --channels" in shown
    small = ["--hidden-size", "8", "--epochs", "1", "--examples", "40", "--device", "cpu"]
    assert main(["train", "classifier", str(data), *flags, *small, "--out", str(run)]) == 0
    assert main(["predict", str(run), "--file", str(data), "--out", str(out)]) == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "unique_id,start,end,label,p(down),p(up)"
    assert len(lines) == 41
