"""Early fusion of recordings with stamps, each in a file of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.cli import main
from elman.errors import ArgumentError, DataError, ElmanError
from elman.padded import pad_arrays

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "epochs": 1,
    "batch_size": 8,
    "device": "cpu",
    "examples": 40,
    "bidirectional": False,
    "fusion": "early",
    "inputs": {"slow": "recordings", "fast": "recordings"},
}
BEGIN = 1000.0


def write(path: Path, times: Any, names: str, values: Any) -> str:
    """Write a recording, and return the name of its file."""
    rows = np.column_stack([times, values])
    np.savetxt(path, rows, fmt="%.6f", delimiter=",", header=f"ds,{names}", comments="")
    return path.name


def trip(folder: Path, number: int, *, late: float = 0.0, names: str = "x,y") -> dict[str, Any]:
    """Write a recording of 5 s at 1 Hz, and one at 2 Hz that begins `late` seconds later."""
    draw = np.random.default_rng(number)
    y = number % 2
    fast = draw.normal(-y, 1, (10, 2))
    if names == "y,x":
        fast = fast[:, ::-1]
    times = BEGIN + number + np.arange(10) / 2
    return {
        "slow": write(folder / f"{number}s.csv", times[::2], "v", draw.normal(y, 1, (5, 1))),
        "fast": write(folder / f"{number}f.csv", times + late, names, fast),
        "label": "ab"[y],
    }


def table(folder: Path, rows: list[dict[str, Any]]) -> Path:
    lines = ["slow,fast,label", *(",".join(map(str, row.values())) for row in rows)]
    path = folder / "trips.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[elman.Classifier, Path]:
    folder = tmp_path_factory.mktemp("trips")
    lates = (0.0, -1.5, 1.5)
    rows = [trip(folder, n, late=lates[n % 3]) for n in range(40)]
    return elman.Classifier(**SMALL).fit(table(folder, rows)), folder


def moments(model: elman.Classifier, row: dict[str, Any], folder: Path) -> list[int]:
    (item,) = model.items({n: [str(folder / row[n])] for n in ("slow", "fast")})
    (array,) = model.input_.encode([item])
    return array.others[0].places.tolist()


def test_steps_are_joined_by_their_stamps(
    trained: tuple[elman.Classifier, Path], tmp_path: Path
) -> None:
    """A step of 1 s is joined with the step of the faster recording in its middle."""
    model, _ = trained
    assert moments(model, trip(tmp_path, 1), tmp_path) == [1, 3, 5, 7, 9]
    assert moments(model, trip(tmp_path, 1, late=1.5), tmp_path) == [-2, 0, 2, 4, 6]
    assert moments(model, trip(tmp_path, 1, late=-2.5), tmp_path) == [6, 8]


def test_a_silent_recording_is_missing_and_its_neighbours_do_not_matter(
    trained: tuple[elman.Classifier, Path], tmp_path: Path
) -> None:
    model, _ = trained
    fuse = model.model.encode
    rows = [trip(tmp_path, n, late=late) for n, late in ((1, 1.5), (2, 0.0), (3, -2.5))]
    items = model.items({n: [str(tmp_path / r[n]) for r in rows] for n in ("slow", "fast")})
    with torch.inference_mode():
        found = fuse.vectors(pad_arrays(model.input_.encode(items)))[0][1]
    silent = (found == fuse.missing[1]).all(2).tolist()
    assert silent == [
        [True, False, False, False, False],
        [False] * 5,
        [False, False, True, True, True],
    ]
    whole = model.predict_proba(table(tmp_path, rows))
    for row, wanted in zip(rows, whole, strict=True):
        alone = model.predict_proba(table(tmp_path, [row]))[0]
        np.testing.assert_allclose(alone, wanted, rtol=1e-4)


@pytest.mark.parametrize("late", [0.0, 1.5, -1.5, 3.0])
def test_live_recordings_with_stamps_give_what_the_batch_gives(
    trained: tuple[elman.Classifier, Path], tmp_path: Path, late: float
) -> None:
    model, _ = trained
    row = trip(tmp_path, 7, late=late)
    (wanted,) = model.predict_proba(table(tmp_path, [row]))
    steps = [
        (float(line.split(",")[0]), name, [float(x) for x in line.split(",")[1:]])
        for name in ("slow", "fast")
        for line in (tmp_path / row[name]).read_text().splitlines()[1:]
    ]
    for seed in range(4):
        draw, live, found = np.random.default_rng(seed), model.stream(), None
        waiting = {name: [one for one in steps if one[1] == name] for name in ("slow", "fast")}
        while any(waiting.values()):
            name = str(draw.choice([key for key, some in waiting.items() if some]))
            at, _, values = waiting[name].pop(0)
            found = live.push({name: values}, at=at) or found
            other = model.stream()
            other.restore(live.state_bytes())
            live = other
        found = live.finish() or found
        np.testing.assert_allclose(list(found.values()), wanted, rtol=1e-4)
    given = model.stream(fast=str(tmp_path / row["fast"]))
    for at, name, values in steps:
        if name == "slow":
            found = given.push(values, at=at)
    assert found is not None
    np.testing.assert_allclose(list((given.finish() or found).values()), wanted, rtol=1e-4)


def test_files_of_a_saved_model(trained: tuple[elman.Classifier, Path], tmp_path: Path) -> None:
    model, _ = trained
    model.save(tmp_path / "model")
    again = elman.load(tmp_path / "model")
    one, other = (
        again.predict_proba(table(tmp_path, [trip(tmp_path, 5, late=0.5, names=names)]))
        for names in ("x,y", "y,x")
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)
    arrays = [np.loadtxt(tmp_path / f"5{k}.csv", delimiter=",", skiprows=1)[:, 1:] for k in "sf"]
    without = again.predict_proba({"slow": [arrays[0]], "fast": [arrays[1][:, ::-1]]})
    aligned = again.predict_proba(table(tmp_path, [trip(tmp_path, 5)]))
    np.testing.assert_allclose(without, aligned, rtol=1e-4)


def test_clocks_that_do_not_overlap(
    trained: tuple[elman.Classifier, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = trained
    rows = [trip(tmp_path, n, late=100.0 * (n == 3)) for n in range(6)]
    path = table(tmp_path, rows)
    train = ["train", "classifier", str(path), "--fusion=early", "--epochs=1", "--device=cpu"]
    train += ["--input=slow:recordings", "--input=fast:recordings", f"--out={tmp_path / 'run'}"]
    assert main(train) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    wanted = r"trips.csv.*line 5: 'slow' has stamps from 1003(\.0)? to 1007.*, 'fast' has stamps "
    assert re.search(wanted + r"from 1103.* to 1107.*, which do not overlap", shown), shown
    dates = tmp_path / "dates.csv"
    dates.write_text("ds,x,y\n2024-01-01 00:00:00,1,2\n2024-01-01 00:00:01,1,2\n")
    with pytest.raises(DataError, match="do not overlap"):
        model.predict(table(tmp_path, [{**rows[0], "fast": "dates.csv"}]))


def test_uneven_steps_need_a_rate(tmp_path: Path) -> None:
    rows = [trip(tmp_path, n) for n in range(20)]
    for n, row in enumerate(rows):
        times = BEGIN + n + np.cumsum(np.random.default_rng(n).exponential(0.5, 10))
        write(tmp_path / row["fast"], times, "x,y", np.random.default_rng(n).normal(size=(10, 2)))
    with pytest.raises(DataError, match=r"column 'fast': its steps are uneven.*set its rate"):
        elman.Classifier(**SMALL).fit(table(tmp_path, rows))
    inputs = {"slow": "recordings", "fast": elman.Recordings(rate=2)}
    model = elman.Classifier(**{**SMALL, "inputs": inputs}).fit(table(tmp_path, rows))
    assert len(model.predict(table(tmp_path, rows))) == 20


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("ds,x,y\n", "no "),
        ("ds,x\n1,2\n", "no column 'y', which is a channel of the first recording"),
        ("ds,x,y\n1,a,2\n", "'a'"),
        ("unique_id,ds,x,y\na,1,1,2\nb,1,1,2\n", "has 2 recordings in unique_id, expected one"),
    ],
)
def test_bad_files(
    trained: tuple[elman.Classifier, Path], tmp_path: Path, content: str, words: str
) -> None:
    row = trip(tmp_path, 1)
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(DataError) as error:
        trained[0].predict(table(tmp_path, [{**row, "fast": "bad.csv"}]))
    assert words in str(error.value)
    assert "bad.csv" in str(error.value)


def test_each_part_of_the_data_has_its_own_folder(tmp_path: Path) -> None:
    """Equal names in other folders are other files."""
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
    known = table(tmp_path / "train", [trip(tmp_path / "train", n) for n in range(20)])
    later = table(tmp_path / "test", [trip(tmp_path / "test", n, late=1) for n in range(2)])
    for n in range(2):
        write(tmp_path / "test" / f"{n}f.csv", BEGIN + n + np.arange(4), "x,y", np.ones((4, 2)))
    both = elman.Classifier(**SMALL).fit(known, test=later)
    alone = elman.Classifier(**SMALL).fit(known)
    np.testing.assert_array_equal(both.predict_proba(known), alone.predict_proba(known))
    scores = alone.evaluate(later)
    assert both.metrics["model"]["test"]["loss"] == pytest.approx(scores["loss"], rel=1e-4)


def test_a_recording_that_begins_much_later_is_waited_for(
    trained: tuple[elman.Classifier, Path], tmp_path: Path
) -> None:
    live = trained[0].stream()
    live.push({"slow": [0.0]}, at=0)
    live.push({"fast": [0.0, 0.0]}, at=2e6)
    assert live.push({"slow": [0.0]}, at=1) is not None
    live.restart()
    live.push({"slow": [0.0]}, at=0)
    with pytest.raises(ArgumentError, match="must be dates, or all must be numbers"):
        live.push({"fast": [0.0, 0.0]}, at="2024-01-01")


def test_all_files_have_the_unit_of_the_first(tmp_path: Path) -> None:
    """A long gap alone does not make milliseconds of seconds."""
    inputs = {"slow": elman.Recordings(rate=1), "fast": "recordings"}
    rows = [trip(tmp_path, n) for n in range(20)]
    model = elman.Classifier(**{**SMALL, "inputs": inputs}).fit(table(tmp_path, rows))
    write(tmp_path / "0s.csv", BEGIN + 30.0 * np.arange(3), "v", np.ones(3))
    (item,) = model.items({n: [str(tmp_path / rows[0][n])] for n in ("slow", "fast")})
    assert item[0].times.tolist() == [0, 30, 60]
    assert len(model.input_.encode([item])[0].first) == 61


def test_recordings_with_and_without_stamps(tmp_path: Path) -> None:
    rows = [trip(tmp_path, n) for n in range(20)]
    np.save(tmp_path / "none.npy", np.zeros((5, 1)))
    bad, path = tmp_path / "bad.csv", table(tmp_path, [*rows, {**rows[0], "slow": "none.npy"}])
    with pytest.raises(DataError, match=r"line 22.*has no stamps, but the first recording has"):
        elman.Classifier(**SMALL).fit(path)
    elman.Classifier(**SMALL).fit(path, skip_bad_rows=bad)
    assert "has no stamps" in bad.read_text()
    arrays = {
        name: [
            np.loadtxt(tmp_path / r[name], delimiter=",", skiprows=1, ndmin=2)[:, 1:] for r in rows
        ]
        for name in ("slow", "fast")
    }
    model = elman.Classifier(**SMALL).fit({**arrays, "label": [row["label"] for row in rows]})
    late = table(tmp_path, [trip(tmp_path, 0, late=2)])
    np.testing.assert_allclose(
        model.predict_proba(late)[0],
        model.predict_proba({n: some[:1] for n, some in arrays.items()})[0],
        rtol=1e-4,
    )


def test_a_run_is_not_continued_with_other_files(tmp_path: Path) -> None:
    rows = [trip(tmp_path, n) for n in range(20)]
    run, path = tmp_path / "run", table(tmp_path, rows)
    elman.Classifier(**SMALL).fit(path, out=run)
    elman.Classifier.resume(run, epochs=2)
    write(tmp_path / rows[3]["slow"], BEGIN + np.arange(5), "v", np.ones((5, 1)))
    with pytest.raises(ElmanError, match="changed"):
        elman.Classifier.resume(run, epochs=3)
