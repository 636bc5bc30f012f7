"""Dialects of tables: delimiters, decimal marks, codes for missing values, words, numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.errors import ArgumentError, DataError
from elman.read.columns import Columns, Table
from elman.read.dialect import Dialect, choose_decimal, find_delimiter
from elman.read.frames import read_frame
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Layout
from elman.read.rows import Rejects, Rows
from elman.read.series import SeriesSource
from elman.read.text import TextSource

polars = pytest.importorskip("polars")
pandas = pytest.importorskip("pandas")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def read(source: Any, kinds: dict[str, Any], **dialect: Any) -> Columns:
    return Table(source, dialect=Dialect(**dialect)).read(kinds, Rejects(None))


def column(source: Any, kind: str = "value", **dialect: Any) -> tuple[list[float], Any]:
    found = read(source, {"x": kind}, **dialect).columns["x"]
    return found.values.tolist(), found.words


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ds;y\n1;1,5\n2;2,5\n", "a.csv"),
        ("ds\ty\n1\t1,5\n2\t2,5\n", "a.csv"),
        ("ds|y\n1|1.5\n2|2.5\n", "a.csv"),
        ("ds;y\n1;1.5\n2;2.5\n", "a.tsv"),
        ("sep=;\nds;y\n1;1,5\n2;2,5\n", "a.csv"),
        ("\ufeff ds ; y \n1;1,5\n2;2,5\n", "a.csv"),
        ('"ds";"y"\n"1";"1,5"\n"2";"2,5"\n', "a.csv"),
    ],
)
def test_delimiter_and_decimal_mark_are_found(text: str, name: str, tmp_path: Path) -> None:
    found = SeriesSource(write(tmp_path / name, text)).read(Rejects(None))
    assert found.series[0].values[:, 0].tolist() == [1.5, 2.5]
    assert found.series[0].start == 1


def test_the_detected_dialect_is_noted_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "ds;y;z\n1;1,5;0,25\n2;2,5;0,5\n")
    notes = SeriesSource(path, covariates=["z"]).read(Rejects(None)).notes
    assert notes[:2] == [
        "a.csv: fields are separated by ';'",
        "a.csv: 1,5 is read with a decimal comma",
    ]
    assert Rows(path, ["ds", "y"]).notes == notes[:1]
    usual = write(tmp_path / "b.csv", "ds,y\n1,2.5\n2,3\n")
    assert SeriesSource(usual).read(Rejects(None)).notes == ["the frequency of 'ds' is step"]


def test_marks_within_texts_are_not_delimiters(tmp_path: Path) -> None:
    text = 'text,label\n"so good; so fine; so true",1\nbad; worse,0\nplain|text,1\n'
    path = write(tmp_path / "a.csv", text)
    rows = [row.values for row in Rows(path, ["text", "label"]).read()]
    assert rows[1] == ("bad; worse", "0")
    alone = write(tmp_path / "b.csv", "text\nso good; so fine\n")
    assert [row.values for row in Rows(alone, ["text"]).read()] == [("so good; so fine",)]
    assert find_delimiter(["a;b,c;d", "1;2,0;3", "1;2;3"], ",") == ";"


def test_a_set_delimiter_is_used_if_it_splits_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x y,z\n1 2,5\n")
    assert Table(path, dialect=Dialect(" ")).names == ["x", "y,z"]
    other = write(tmp_path / "b.csv", "x;y\n1;2\n")
    assert Table(other, dialect=Dialect(",")).names == ["x", "y"]
    for setting in ({"delimiter": "::"}, {"decimal": ";"}, {"delimiter": ",", "decimal": ","}):
        with pytest.raises(ArgumentError, match=r"delimiter|decimal"):
            Dialect(**setting).check()


def test_separators_of_thousands_are_not_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'x,y\n"1,234",1\n')
    with pytest.raises(DataError, match=r"'1,234', expected a finite number; set decimal="):
        column(path, "number")
    path = write(tmp_path / "b.csv", "x;y\n1.234,5;1\n")
    with pytest.raises(DataError, match=r"'1.234,5', .*write it without thousands separators"):
        column(path, "number")
    path = write(tmp_path / "c.csv", 'x,y\n"1,5",1\n')
    assert column(path, "number", decimal=",") == ([1.5], None)
    with pytest.raises(DataError, match=r"is '1\.5', expected"):
        column(write(tmp_path / "d.csv", "x;y\n1.5;1\n"), "number", decimal=",")


@pytest.mark.parametrize(
    ("fields", "delimiter", "noted"),
    [
        (["1.234", "999", "4.000"], ";", True),
        (["1.234", "999", "4.000"], "\t", False),
        (["1.234", "2.5"], ";", False),
        (["0.234", "0.999"], ";", False),  # a group of thousands does not follow a 0
        (["1234.567"], ";", False),
        (["7", "8"], ";", False),
    ],
)
def test_points_that_can_group_thousands_are_noted(
    fields: list[str], delimiter: str, noted: bool
) -> None:
    note = "1.234 is read with a decimal point; if points group thousands, remove them"
    assert choose_decimal(fields, delimiter) == (".", note if noted else "")


WORDS = [
    ["1_1", "2_2"],
    ["1E5", "2E3"],
    ["01234", "98101"],
    ["inf", "Infinity"],
    ["١", "٢"],
    ["１", "２"],
    ["0x1F", "0b1"],
    ["1 000", "2 000"],
]


@pytest.mark.parametrize("values", WORDS, ids=str)
def test_words_that_look_like_numbers_are_words(values: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,y\n" + "".join(f"{value},1\n" for value in values))
    assert column(path) == ([0.0, 1.0], values)
    assert column({"x": values}) == ([0.0, 1.0], values)
    labels = {"unique_id": ["a", "b"], "label": ["u", "v"], "x": values}
    rows = {"unique_id": ["a", "b"], "c": [1.0, 2.0]}
    layout = Layout(channels=("c",), static=("x",))
    found = RecordingSource(rows, labels, layout).read(Rejects(None))
    from elman.encode.recordings import RecordingIndex

    index = RecordingIndex.build(found, static=["x"])
    assert index.words == {"x": sorted(values)}


@pytest.mark.parametrize(
    ("values", "numbers"),
    [(["1", "-2.5"], [1, -2.5]), (["1e-3", "1.5E+05"], [0.001, 150000]), ([".5", "0"], [0.5, 0])],
)
def test_numbers_are_numbers(values: list[str], numbers: list[float], tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x\n" + "\n".join(values))
    assert column(path) == (numbers, None)


def test_only_ascii_digits_are_numbers_of_a_target() -> None:
    for odd in ("1_1", "١", "１", "nan_"):
        with pytest.raises(DataError, match="expected a finite number"):
            column({"x": ["1", odd]}, "number")
    assert column({"x": ["1E5", "007"]}, "number") == ([100000.0, 7.0], None)


def test_a_declared_type_determines_whether_values_are_words(tmp_path: Path) -> None:
    numbers = [1, 2]
    for frame in (
        pandas.DataFrame({"x": pandas.Categorical(numbers)}),
        pandas.DataFrame({"x": pandas.Series(["1", "2"], dtype="string")}),
        pandas.DataFrame({"x": pandas.Series(["1", "2"], dtype=object)}),
        polars.DataFrame({"x": ["1", "2"]}),
        polars.DataFrame({"x": polars.Series(["1", "2"], dtype=polars.Categorical)}),
        polars.DataFrame({"x": polars.Series(["1", "2"], dtype=polars.Enum(["1", "2"]))}),
    ):
        assert column(frame) == ([0.0, 1.0], ["1", "2"])
    arrow = pytest.importorskip("pyarrow")
    types = (arrow.dictionary(arrow.int32(), arrow.int64()), arrow.large_string(), arrow.string())
    for kind, values in zip(types, (numbers, ["1", "2"], ["1", "2"]), strict=True):
        frame = pandas.DataFrame({"x": pandas.array(values, dtype=pandas.ArrowDtype(kind))})
        assert column(frame) == ([0.0, 1.0], ["1", "2"])
        assert read_frame(frame) == ({"x": values}, {"x"})
        assert column(arrow.table({"x": arrow.array(values, kind)})) == ([0.0, 1.0], ["1", "2"])
    assert column(pandas.DataFrame({"x": pandas.Series(numbers, dtype=object)}))[1] is None
    polars.DataFrame({"x": ["1", "2"]}).write_parquet(tmp_path / "a.parquet")
    assert column(tmp_path / "a.parquet") == ([0.0, 1.0], ["1", "2"])
    lines = "".join(json.dumps({"x": value}) + "\n" for value in ("1", "2"))
    assert column(write(tmp_path / "a.jsonl", lines)) == ([0.0, 1.0], ["1", "2"])


def test_settings_determine_which_columns_are_words_or_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,y\n1,007\n2,1E5\n")
    found = read(path, {"x": "value", "y": "value"}, categorical=("x",), numeric=("y",))
    assert found.columns["x"].words == ["1", "2"]
    assert found.columns["y"].values.tolist() == [7.0, 100000.0]
    with pytest.raises(ArgumentError, match="categorical and numeric both name 'x'"):
        Dialect(categorical=("x",), numeric=("x",)).check()


def test_codes_for_missing_values_are_read_as_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "ds,x,y\n-1,-1,-1\n0,-1.0,-9\n1,2,#N/A\n")
    found = read(path, {"ds": "stamp", "x": "number", "y": "value"}, missing=("-1", "y=-9"))
    # A code for all columns does not apply to stamps.
    assert found.columns["ds"].values.tolist() == [-1, 0, 1]
    np.testing.assert_array_equal(found.columns["x"].values, [np.nan, np.nan, 2])
    assert np.isnan(found.columns["y"].values).all()
    assert column({"x": [1, -999.0, -1]}, "number", missing=("x=-999",))[0][::2] == [1.0, -1.0]
    arrays = RecordingSource(
        [np.array([[-1.0, -1.0], [3.0, 4.0]])],
        ["a"],
        Layout(channels=("a", "b"), dialect=Dialect(missing=("a=-1",))),
    ).read(Rejects(None))
    np.testing.assert_array_equal(arrays.items[0].values, [[np.nan, -1], [3, 4]])


@pytest.mark.parametrize("mark", ["#N/A", "#NV", "#DIV/0!", "#VALUE!", "<NA>", "-nan", "NULL"])
def test_marks_of_excel_and_c_for_missing_values_are_missing(mark: str) -> None:
    assert np.isnan(column({"x": ["1", mark]}, "number")[0][1])
    assert column({"x": ["a", mark]})[1] == ["a"]


def test_an_error_about_a_missing_header_proposes_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"{'a very good film ' * 10},1\nbad,0\n")
    with pytest.raises(DataError) as caught:
        list(Rows(path, ["text", "label"]).read())
    assert str(caught.value).endswith(
        "if the file has no header, add a first line such as text,label"
    )
    assert len(str(caught.value)) < 300 + len(str(path))


def test_texts_of_a_language_model_are_read_with_any_delimiter(tmp_path: Path) -> None:
    source = TextSource(write(tmp_path / "a.csv", "id; text\n1;So it goes.\n"), column="text")
    assert [text for text, _ in source.pieces()] == ["So it goes."]
    assert source.notes == ["a.csv: fields are separated by ';'"]


def test_names_are_compared_by_value() -> None:
    rows = {"unique_id": [1, 1, 2, 2], "ds": [0, 1, 0, 1], "y": [1, 2, 3, 4]}
    train = SeriesSource(rows).read(Rejects(None))
    later = {**rows, "unique_id": ["1.0", "1.0", 2.0, 2.0], "ds": [2, 3, 2, 3]}
    found = SeriesSource(later).read(Rejects(None), train)
    assert [one.unique_id for one in found.series] == ["1", "2"]
    assert [train.given_id(one) for one in train.series] == [1, 2]


def test_an_error_about_an_unknown_recording_shows_a_known_one() -> None:
    rows = {"unique_id": ["walk-1", "walk-2"], "x": [1.0, 2.0]}
    labels = {"unique_id": [1, "walk-2"], "label": ["a", "b"]}
    with pytest.raises(DataError, match=r"no recording '1' in .*, which has 'walk-1', for example"):
        RecordingSource(rows, labels, Layout(channels=("x",))).read(Rejects(None))


def test_a_code_of_a_variable_applies_only_to_its_measurements() -> None:
    rows = {
        "unique_id": ["a"] * 4,
        "ds": [0, 0, 1, 1],
        "name": ["age", "heat", "heat", "wind"],
        "value": [-1, -1, 37.5, -1],
    }
    dialect = Dialect(missing=("age=-1", "wind=-1"))
    layout = Layout(static=("age",), variable="name", dialect=dialect)
    found = RecordingSource(rows, None, layout, labelled=False).read(Rejects(None))
    assert found.channels == ("heat", "wind")
    np.testing.assert_array_equal(found.items[0].values, [[-1, np.nan], [37.5, np.nan]])
    assert found.items[0].static == (None,)


def test_an_error_about_a_file_of_one_column_names_a_possible_delimiter(tmp_path: Path) -> None:
    file = write(tmp_path / "x.csv", "ds^y\n1^2\n")
    with pytest.raises(ArgumentError, match=r"'ds\^y'; if '\^' is between its fields, set delim"):
        read(file, {"ds": "stamp", "y": "number"})
    assert read(file, {"y": "number"}, delimiter="^").columns["y"].values.tolist() == [2]
