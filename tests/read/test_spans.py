"""Tables of labels for recordings: decimal marks, static columns, and units of stamps."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.encode.recordings import RecordingIndex
from elman.read.dialect import Dialect
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Layout, Recordings
from elman.read.rows import Rejects

SINCE = 1_709_251_200_000  # 2024-03-01 in ms


def read(source: Any, labels: Any, layout: Layout, **options: Any) -> Recordings:
    return RecordingSource(source, labels, layout, **options).read(Rejects(None))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("decimal", [None, ","])
def test_spans_are_read_with_decimal_commas(decimal: str | None, tmp_path: Path) -> None:
    rows = "unique_id;ds;x\n" + "".join(f"1;0,{n};1,5\n" for n in range(6))
    source = write(tmp_path / "rows.csv", rows)
    labels = write(tmp_path / "labels.csv", "unique_id;label;start;end\n1;u;0,0;0,4\n1;v;0,4;1\n")
    found = read(source, labels, Layout(channels=("x",), dialect=Dialect(decimal=decimal)))
    assert [one.stamps.tolist() for one in found.items] == [[0, 0.1, 0.2, 0.3], [0.4, 0.5]]
    assert found.labels == ["u", "v"]
    noted = "labels.csv: 0,0 is read with a decimal comma" in found.notes
    assert noted == (decimal is None)


@pytest.mark.parametrize("decimal", [None, ","])
def test_static_numbers_of_labels_are_read_with_decimal_commas(
    decimal: str | None, tmp_path: Path
) -> None:
    source = {"unique_id": [0, 1], "x": [1.0, 2.0]}
    labels = write(tmp_path / "labels.csv", "unique_id;label;age\n0;u;20,5\n1;v;21,5\n")
    layout = Layout(channels=("x",), static=("age",), dialect=Dialect(decimal=decimal))
    index = RecordingIndex.build(read(source, labels, layout), static=["age"])
    assert index.words == {}
    assert index.units["age"] == [21.0, 0.5]


def test_a_comma_between_fields_is_not_a_decimal_mark(tmp_path: Path) -> None:
    source = {"unique_id": [0, 1], "x": [1.0, 2.0]}
    labels = write(tmp_path / "labels.csv", 'unique_id,label,age\n0,u,"20,5"\n1,v,"21,5"\n')
    layout = Layout(channels=("x",), static=("age",))
    assert read(source, labels, layout).items[0].static == ("20,5",)


def test_settings_determine_whether_static_columns_are_words() -> None:
    source = {"unique_id": [0, 1, 2], "x": [1.0, 2.0, 3.0]}
    labels = {
        "unique_id": [0, 1, 2],
        "label": ["u", "v", "u"],
        "zip": [10115, 20095, 80331],
        "age": ["20", "unknown", "22"],
    }
    dialect = Dialect(categorical=("zip",), numeric=("age",))
    layout = Layout(channels=("x",), static=("zip", "age"), dialect=dialect)
    index = RecordingIndex.build(read(source, labels, layout), static=["zip", "age"])
    assert index.words == {"zip": ["10115", "20095", "80331"]}
    assert index.units["age"] == [21.0, 1.0]


def test_bounds_of_spans_can_be_durations() -> None:
    source = {"unique_id": ["a"] * 4, "ds": [0, 1, 2, 3], "x": [1, 2, 3, 4]}
    labels = {
        "unique_id": ["a"],
        "label": ["u"],
        "start": [timedelta(seconds=1)],
        "end": [timedelta(days=1)],
    }
    found = read(source, labels, Layout(channels=("x",)))
    assert found.items[0].values[:, 0].tolist() == [2, 3, 4]


@pytest.mark.parametrize("fraction", [0, 0.25])
@pytest.mark.parametrize("cut", [False, True])
def test_ms_since_1970_are_detected_with_a_fraction_and_in_spans(
    cut: bool, fraction: float
) -> None:
    stamps = [SINCE + 60 * n + fraction for n in range(6)]
    source = {"unique_id": ["a"] * 6, "ds": stamps, "x": range(6)}
    labels = {"unique_id": ["a"], "label": ["u"], "start": [stamps[1]], "end": [stamps[4]]}
    found = read(source, labels if cut else None, Layout(channels=("x",)), labelled=cut)
    one = found.items[0]
    first, last = (1, 4) if cut else (0, 6)
    np.testing.assert_allclose(one.times, 0.06 * np.arange(last - first))
    np.testing.assert_allclose(one.stamps, stamps[first:last], rtol=0, atol=1e-3)
    assert found.unit == one.unit == 1e-3
    assert found.notes == ["'ds' is read as ms since 1970; ds_format=s reads seconds"]


def test_stamps_in_ns_are_exact_in_spans() -> None:
    stamps = [SINCE * 10**6 + 7 * n for n in range(6)]
    source = {"unique_id": ["a"] * 6, "ds": stamps, "x": range(6)}
    labels = {"unique_id": ["a"], "label": ["u"], "start": [stamps[1]], "end": [stamps[4]]}
    found = read(source, labels, Layout(channels=("x",)))
    assert found.items[0].stamps.tolist() == stamps[1:4]
