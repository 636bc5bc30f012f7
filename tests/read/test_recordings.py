"""Recordings from tables, folders and arrays, and errors about unusable data."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.encode.recordings import RecordingIndex
from elman.errors import ArgumentError, DataError, ElmanError
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Layout, Recordings
from elman.read.rows import Rejects

XY = Layout(channels=("x", "y"))


def read(source: Any, labels: Any = None, layout: Layout = XY, **options: Any) -> Recordings:
    return RecordingSource(source, labels, layout, **options).read(Rejects(None))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


TABLE = (
    "unique_id,ds,x,y,label\nb,10.5,1,2,run\nb,11,3,,run\na,2024-03-01,5,6,none\n".replace(
        "2024-03-01", "0"
    )
    + "b,11.25,NA,4,run\n"
)


def test_a_table_is_split_by_name_in_order_of_first_rows(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.csv", TABLE))
    assert [one.unique_id for one in found.items] == ["b", "a"]
    assert found.items[0].times.tolist() == [0, 0.5, 0.75]
    assert found.items[0].stamps.tolist() == [10.5, 11, 11.25]
    np.testing.assert_array_equal(found.items[0].values, [[1, 2], [3, np.nan], [np.nan, 4]])
    assert found.labels == ["run", "none"]  # "none" is a label like any other
    assert found.timed


def test_dates_become_seconds_and_stamps_stay_dates() -> None:
    rows = {"ds": ["2024-03-01 05:00:00.25", "2024-03-01 05:00:01"], "x": [1, 2], "y": [3, 4]}
    one = read(rows, labelled=False).items[0]
    assert one.times.tolist() == [0, 0.75]
    assert [str(stamp) for stamp in one.stamps] == [
        "2024-03-01T05:00:00.250000",
        "2024-03-01T05:00:01.000000",
    ]


def test_hours_of_a_clock_may_exceed_a_day() -> None:
    rows = {"ds": ["00:07", "23:59", "47:30:30"], "x": [1, 2, 3], "y": [1, 2, 3]}
    assert read(rows, labelled=False).items[0].times.tolist() == [0, 23 * 3600 + 52 * 60, 170610]


def test_an_offset_from_utc_applies_to_stamps_and_spans() -> None:
    rows = {
        "unique_id": ["a"] * 4,
        "x": range(4),
        "y": range(4),
        "ds": [f"2024-03-0{day}T0{hour}:00+02:00" for day in (1, 2) for hour in (5, 6)],
    }
    for end, tags in (("05:00", ["e", "e", "none", "none"]), ("05:30", ["e", "e", "e", "none"])):
        spans = {
            "unique_id": ["a"],
            "label": ["e"],
            "start": ["2024-03-01T05:00+02:00"],
            "end": [f"2024-03-02T{end}+02:00"],
        }
        assert read(rows, spans, each=True).labels == [tags]


def test_dates_of_every_type_are_dates() -> None:
    for days in (
        np.array(["2024-03-31", "2024-04-01"], dtype="M8[D]"),
        ["20240331", "20240401"],
        np.array(["2024-03-31", "2024-04-01"], dtype="M8[ns]"),
        [20240331, 20240401],
    ):
        one = read({"ds": days, "x": [1, 2], "y": [1, 2]}, labelled=False).items[0]
        assert one.times.tolist() == [0, 86400]
        assert str(one.begin).startswith("2024-03-31")


def test_labels_keep_their_type_and_several_are_collected() -> None:
    rows = {"unique_id": ["a", "b"], "x": [1, 2], "y": [1, 2], "label": [3, 4]}
    assert read(rows).labels == [3, 4]
    rows["label"] = [["u", "v"], []]
    assert read(rows).labels == [["u", "v"], []]
    beside = {"unique_id": ["a", "a", "b"], "label": ["u", "v", "u"]}
    layout = Layout(channels=("x", "y"), several=True)
    assert read(rows, beside, layout).labels == [["u", "v"], "u"]


def test_names_match_in_every_notation(tmp_path: Path) -> None:
    rows = {"unique_id": [1, 2], "x": [1, 2], "y": [1, 2]}
    assert read(rows, {"unique_id": [2.0, " 1 "], "label": ["u", "v"]}).labels == ["v", "u"]
    for folder in ("run", "walk"):
        write(tmp_path / folder / "1.csv", "x,y\n1,2\n")
    found = read(tmp_path)
    assert [one.unique_id for one in found.items] == ["run/1", "walk/1"]
    before = RecordingSource(tmp_path, None, XY).fingerprint()
    (tmp_path / "walk").rename(tmp_path / "rest")
    assert RecordingSource(tmp_path, None, XY).fingerprint() != before


def test_files_with_different_kinds_of_stamps_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "ds,x,y\n0,1,2\n")
    write(tmp_path / "b.csv", "ds,x,y\n2024-01-01,1,2\n")
    with pytest.raises(DataError, match="has dates, but numbers in earlier files"):
        read(tmp_path, labelled=False)


def test_a_column_with_two_purposes_is_refused() -> None:
    rows = {"ds": [0], "x": [1], "y": [1], "label": ["u"]}
    for layout in (
        Layout(channels=("x", "x")),
        Layout(channels=("x",), static=("x",)),
        Layout(channels=("x", "ds")),
        Layout(channels=("x",), label="x"),
    ):
        with pytest.raises(ArgumentError, match="is named for two different purposes"):
            read(rows, None, layout)


def test_a_static_column_that_changes_is_noted() -> None:
    rows = {"ds": [0, 1], "x": [1, 2], "y": [1, 2], "age": [30, 31]}
    found = read(rows, None, Layout(channels=("x",), static=("age",)), labelled=False)
    assert found.items[0].static == (30,)
    assert "recordings in which age changes (its first value is used): 1" in found.notes[0]


def test_rows_out_of_order_are_sorted_and_noted() -> None:
    rows = {"ds": [2, 1, 3], "x": [20, 10, 30], "y": [2, 1, 3]}
    found = read(rows, labelled=False)
    assert found.items[0].values[:, 0].tolist() == [10, 20, 30]
    assert "rows out of order, which are sorted: 1" in found.notes[0]


def test_folders_are_the_labels_of_the_tables_in_them(tmp_path: Path) -> None:
    for label, name, x in (("walk", "p1", 1), ("run", "p2", 2), ("walk", "p3", 3)):
        write(tmp_path / label / f"{name}.csv", f"ds,x,y\n0,{x},0\n1,{x},1\n")
    packed = gzip.compress(b"ds,x,y\n0,7,7\n")
    (tmp_path / "run" / "p4.csv.gz").write_bytes(packed)
    found = read(tmp_path)
    assert list(zip([one.unique_id for one in found.items], found.labels, strict=True)) == [
        ("p2", "run"),
        ("p4", "run"),
        ("p1", "walk"),
        ("p3", "walk"),
    ]
    assert len(RecordingSource(tmp_path, None, XY).files) == 4
    with pytest.raises(ArgumentError, match="no column 'label'"):  # folders do not label steps
        read(tmp_path, each=True)


def test_measurements_become_steps_of_all_variables() -> None:
    rows = {
        "unique_id": ["a"] * 5 + ["b"] * 2,
        "ds": ["00:00", "00:00", "00:10", "00:10", "01:00", "00:00", "00:30"],
        "name": ["Age", "HR", "HR", "Na", "HR", "Age", "Na"],
        "value": [54, 80, 82, 140, None, 31, 139],
    }
    labels = {"unique_id": ["a", "b"], "label": [0, 1]}
    found = read(rows, labels, Layout(variable="name", static=("Age",)))
    assert found.channels == ("HR", "Na")  # Na is not a missing value here
    np.testing.assert_array_equal(found.items[0].values, [[80, np.nan], [82, 140]])
    assert found.items[0].times.tolist() == [0, 600]
    assert [one.static for one in found.items] == [(54.0,), (31.0,)]
    np.testing.assert_array_equal(found.items[1].values, [[np.nan, 139]])
    assert found.labels == [0, 1]  # labels keep their type


def test_a_recording_without_measurements_has_static_values() -> None:
    rows = {"unique_id": ["a", "b"], "ds": [0, 0], "name": ["Age", "HR"], "value": [54, 80]}
    found = read(rows, None, Layout(variable="name", static=("Age",)), labelled=False)
    assert [one.static for one in found.items] == [(54.0,), (None,)]
    np.testing.assert_array_equal(found.items[0].values, [[np.nan]])
    with pytest.raises(DataError, match="recording 'a': has no number"):
        read(rows, None, Layout(channels=("HR",), variable="name"), labelled=False)


def test_other_data_have_the_variables_of_training() -> None:
    rows = {"ds": [0, 0, 1], "name": ["new", "HR", "HR"], "value": [1, 80, 81]}
    found = read(rows, None, Layout(channels=("HR", "Na"), variable="name"), labelled=False)
    np.testing.assert_array_equal(found.items[0].values, [[80, np.nan], [81, np.nan]])


def test_spans_cut_recordings_or_label_their_steps() -> None:
    rows = {"unique_id": ["t"] * 6, "ds": [0, 1, 2, 3, 4, 5], "x": range(6), "y": range(6)}
    spans = {
        "unique_id": ["t", "t"],
        "label": ["left", "right"],
        "start": [1, 3.5],
        "end": [3, 9],
        "weight": [70, 70],
    }
    layout = Layout(channels=("x", "y"), static=("weight",))
    parts = read(rows, spans, layout)
    assert [one.values[:, 0].tolist() for one in parts.items] == [[1, 2], [4, 5]]
    assert [one.times.tolist() for one in parts.items] == [[0, 1], [0, 1]]
    assert [one.stamps.tolist() for one in parts.items] == [[1, 2], [4, 5]]
    assert parts.labels == ["left", "right"]
    assert parts.items[0].static == (70,)
    whole = read(rows, spans, layout, each=True)
    assert whole.labels == [["none", "left", "left", "none", "right", "right"]]


def test_recordings_without_labels_are_skipped_and_noted() -> None:
    rows = {"unique_id": ["a", "b"], "ds": [0, 0], "x": [1, 2], "y": [1, 2]}
    found = read(rows, {"unique_id": ["b"], "label": ["u"]})
    assert [one.unique_id for one in found.items] == ["b"]
    assert "without a label, which are skipped: 1, the first in recording 'a'" in found.notes[0]


def test_arrays_have_steps_as_stamps() -> None:
    found = read([np.zeros((3, 2)), np.ones((0, 2))], ["a", "b"])
    assert [len(one) for one in found.items] == [3, 0]
    assert not found.timed
    whole = read(np.zeros((4, 5, 2)), ["a"] * 4)
    assert len(whole.items) == 4
    one_channel = read([np.arange(3.0)], ["a"], Layout())
    assert one_channel.items[0].values.shape == (3, 1)


@pytest.mark.parametrize(
    ("source", "labels", "options", "error", "message"),
    [
        (
            None,
            None,
            {"labelled": False},
            DataError,
            r"column 'y' is 'six', expected a finite number",
        ),
        ({"ds": [1], "x": [1]}, None, {"labelled": False}, ArgumentError, "no column 'y'"),
        (
            {"x": [None], "y": [None]},
            None,
            {"labelled": False},
            DataError,
            "recording '': has no number; drop it",
        ),
        (
            {"ds": ["soon"], "x": [1], "y": [1]},
            None,
            {"labelled": False},
            DataError,
            "column 'ds' is 'soon', expected a date such as 2024-03-01 05:00 or seconds",
        ),
        (
            {"ds": [0, 1], "x": [1, 2], "y": [1, 2], "label": ["a", "b"]},
            None,
            {},
            DataError,
            "column 'label' changes from 'a' to 'b'; give the spans",
        ),
        (
            {"unique_id": ["a"], "x": [1], "y": [1]},
            {"unique_id": ["z"], "label": ["u"]},
            {},
            DataError,
            "row 0: there is no recording 'z'",
        ),
        (
            {"unique_id": ["a"], "x": [1], "y": [1]},
            {"unique_id": [None], "label": ["u"]},
            {},
            DataError,
            "row 0: column 'unique_id' is empty; fill or drop it",
        ),
        ({"x": [1], "y": [1]}, None, {}, ArgumentError, "no column 'label'; its columns: 'x', 'y'"),
        (
            {"x": [1, 2], "y": [1, 2], "label": ["a", None]},
            None,
            {"each": True},
            DataError,
            "row 1: column 'label' is empty; every step needs a label",
        ),
        (
            {"unique_id": ["a"], "x": [1], "y": [1]},
            {"unique_id": ["a", "a"], "label": ["u", "v"]},
            {},
            DataError,
            "row 1: is a second label of a recording; drop it, or set several=True",
        ),
        (
            {"unique_id": ["a"], "ds": [1], "x": [1], "y": [1]},
            {"unique_id": ["a"], "label": ["u"], "start": [5], "end": [4]},
            {},
            DataError,
            r"row 0: the end \(4\) is before the start \(5\); exchange or correct them",
        ),
        (
            {"unique_id": ["a"], "ds": [1], "x": [1], "y": [1]},
            {"unique_id": ["a"], "label": ["u"], "start": [5], "end": [6]},
            {},
            DataError,
            "no step of recording 'a' lies in this span; it has 1 to 1",
        ),
        (
            {"unique_id": ["a"], "ds": ["2024-01-01"], "x": [1], "y": [1]},
            {"unique_id": ["a"], "label": ["u"], "start": [5], "end": [6]},
            {},
            DataError,
            "both must be dates, or numbers",
        ),
        (
            {"unique_id": ["a"], "x": [1], "y": [1]},
            {"unique_id": ["a"], "label": ["u"], "start": [5]},
            {},
            ArgumentError,
            "needs 'start' and 'end'",
        ),
        ({"x": [1], "y": [1]}, ["u"], {}, ArgumentError, "must be a table, too"),
        ([np.zeros((3, 2))], ["a", "b"], {}, ArgumentError, "expected a label for each array"),
        (
            [np.zeros((3, 2)), np.zeros((3, 3))],
            ["a", "b"],
            {},
            ArgumentError,
            r"array 1 must have the shape \(T, 2\), got \(3, 3\)",
        ),
        (
            [np.array([[1.0, np.inf]])],
            ["a"],
            {},
            ArgumentError,
            "array 0 must have finite numbers, or NaN for missing ones, got inf at step 0, chan",
        ),
        ([np.zeros((3, 4))], ["a"], {}, ArgumentError, "must name 4 columns of the arrays"),
        (
            [np.zeros((3, 2))],
            [["a", "b"]],
            {"each": True},
            ArgumentError,
            "array 0 needs 3 labels, one for each step, got 2",
        ),
        ("missing.csv", None, {}, DataError, "missing.csv"),
    ],
)
def test_unusable_data_raise_an_error_that_names_the_place(
    source: Any,
    labels: Any,
    options: dict[str, Any],
    error: type[ElmanError],
    message: str,
    tmp_path: Path,
) -> None:
    if source is None:
        source = write(tmp_path / "bad.csv", "ds,x,y\n0,1,2\n1,5,six\n")
        message = f"bad.csv: line 3: {message}"
    with pytest.raises(error, match=message):
        read(source, labels, **options)


def test_bad_rows_files_and_spans_may_be_skipped(tmp_path: Path) -> None:
    write(tmp_path / "in" / "good.csv", "ds,x,y\n0,1,2\n1,bad,2\n")
    write(tmp_path / "in" / "none.csv", "ds,x,y\n")
    write(tmp_path / "in" / "odd.csv", "ds,x\n0,1\n")
    labels = write(tmp_path / "labels.csv", "unique_id,label\ngood,a\nnone,b\nodd,c\nlost,d\n")
    with Rejects(tmp_path / "bad.csv") as rejects:
        source = RecordingSource(tmp_path / "in", labels, XY)
        with pytest.raises(ArgumentError, match="no column 'y'"):
            source.read(rejects)
    (tmp_path / "in" / "odd.csv").unlink()
    with Rejects(tmp_path / "bad.csv") as rejects:
        found = RecordingSource(tmp_path / "in", labels, XY).read(rejects)
    assert [one.values.tolist() for one in found.items] == [[[1, 2]]]
    message = (tmp_path / "bad.csv").read_text()
    for part in ("good.csv: line 3", "none.csv", "there is no recording 'lost'"):
        assert part in message


def test_the_fingerprint_depends_on_content_and_options(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", TABLE)
    first = RecordingSource(file, None, XY).fingerprint()
    assert RecordingSource(file, None, XY).fingerprint() == first
    assert RecordingSource(file, None, Layout(channels=("x",))).fingerprint() != first
    assert RecordingSource(file, None, XY, each=True).fingerprint() != first
    write(file, TABLE.replace("run", "walk"))
    assert RecordingSource(file, None, XY).fingerprint() != first


@pytest.mark.parametrize(("unit", "size"), [("ms", 1000), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("begin", [0, 1_709_251_200])
def test_the_unit_of_stamps_is_found_from_the_rate_or_the_year(
    unit: str, size: int, begin: int
) -> None:
    stamps = [begin * size + n * size // 25 for n in range(40)]
    rows = {"unique_id": ["a"] * 40, "ds": stamps, "x": range(40), "y": range(40)}
    spans = {"unique_id": ["a"], "label": ["e"], "start": [stamps[10]], "end": [stamps[20]]}
    found = read(rows, spans, Layout(channels=("x", "y"), rate=25), each=True)
    one = found.items[0]
    assert found.unit == one.unit == 1 / size
    np.testing.assert_allclose(one.times, np.arange(40) / 25)
    assert one.stamps.tolist() == stamps
    assert found.labels == [["none"] * 10 + ["e"] * 10 + ["none"] * 20]
    assert found.notes[0].startswith(f"'ds' is read as {unit} ")
    index = RecordingIndex.build(found, rate=25)
    assert len(index.encode(one)) == 40
    declared = read(rows, spans, Layout(channels=("x", "y"), ds_format=unit), each=True)
    np.testing.assert_allclose(declared.items[0].times, one.times)
    assert not declared.notes


def test_stamps_are_seconds_by_default() -> None:
    rows = {"ds": [0, 40, 80], "x": [1, 2, 3], "y": [1, 2, 3]}
    assert read(rows, labelled=False).items[0].times.tolist() == [0, 40, 80]
    slow = Layout(channels=("x", "y"), rate=0.1)
    assert read(rows, layout=slow, labelled=False).unit == 1
    forced = Layout(channels=("x", "y"), rate=25, ds_format="s")
    assert read(rows, layout=forced, labelled=False).items[0].times.tolist() == [0, 40, 80]
    with pytest.raises(ArgumentError, match="ds_format='%d%d': expected a form"):
        read(rows, layout=Layout(channels=("x", "y"), ds_format="%d%d"))


def test_stamps_of_measurements_have_a_unit_as_well() -> None:
    rows = {
        "unique_id": ["a"] * 4,
        "ds": [0, 0, 40, 80],
        "variable": ["x", "y", "x", "y"],
        "value": [1, 2, 3, 4],
    }
    found = read(rows, layout=Layout(variable="variable", rate=25), labelled=False)
    assert found.items[0].times.tolist() == [0, 0.04, 0.08]


def test_a_zone_of_recordings_is_kept() -> None:
    ds = ["2024-03-31T01:59:59+01:00", "2024-03-31T03:00:00+02:00"]
    one = read({"ds": ds, "x": [1, 2], "y": [1, 2]}, labelled=False).items[0]
    assert one.times.tolist() == [0, 1]
    assert [str(stamp) for stamp in one.moments(one.stamps)] == [
        "2024-03-31 02:59:59+02:00",
        "2024-03-31 03:00:00+02:00",
    ]
    spans = {"unique_id": [""], "label": ["e"], "start": ["2024-03-31"], "end": ["2024-04-01"]}
    rows = {"unique_id": ["a"] * 2, "ds": ds, "x": [1, 2], "y": [1, 2]}
    with pytest.raises(DataError, match="both with an offset from UTC or without"):
        read(rows, {**spans, "unique_id": ["a"]}, each=True)


def test_dates_with_hours_as_whole_numbers_are_dates() -> None:
    rows = {"ds": [2024010123, 2024010124, 2024010201], "x": [1, 2, 3], "y": [1, 2, 3]}
    found = read(rows, labelled=False)
    assert found.items[0].times.tolist() == [0, 3600, 7200]
    assert found.notes == ["'ds' is read as YYYYMMDDHH"]


@pytest.mark.parametrize("stamp", ["9" * 5000 + ":00", "1" * 5000, "x" * 10**6, "1e999"])
def test_an_invalid_long_stamp_raises_a_short_error(stamp: str) -> None:
    rows = {"ds": ["0", "1", stamp], "x": [1, 2, 3], "y": [1, 2, 3]}
    with pytest.raises(DataError, match=r"row 2: column 'ds' is .*expected a date") as error:
        read(rows, labelled=False)
    assert len(str(error.value)) < 300
