"""Series from tables: reading, sorting, masking, notes and errors."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import ArgumentError, DataError, ElmanError
from elman.read.columns import BLOCK
from elman.read.rows import Rejects
from elman.read.series import SeriesSource, SeriesTable

DAYS = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]


def read(source: Any, *arguments: Any, **options: Any) -> SeriesTable:
    return SeriesSource(source, *arguments, **options).read(Rejects(None))


def numbers(table: SeriesTable) -> list[list[float | None]]:
    """Return the first column of each series, with None for NaN."""
    return [
        [None if math.isnan(value) else value for value in one.values[:, 0].tolist()]
        for one in table.series
    ]


def error_of(source: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ElmanError) as error:
        read(source, *arguments, **options)
    return str(error.value)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_kind_of_source_gives_the_same_series(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    columns = {
        "unique_id": ["a", "b", "a", "b"],
        "ds": DAYS[:1] * 2 + DAYS[1:2] * 2,
        "y": [1, 2, 3, None],
    }
    frame = polars.DataFrame(columns)
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    frame.with_columns(polars.col("ds").str.to_datetime()).write_parquet(tmp_path / "b.parquet")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    (tmp_path / "c.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    names = ("a.csv", "a.tsv", "a.jsonl", "a.parquet", "b.parquet", "b.csv.gz", "c.parquet.gz")
    for source in (columns, frame, *(tmp_path / name for name in names)):
        found = read(source)
        assert [one.unique_id for one in found.series] == ["a", "b"]
        assert numbers(found) == [[1, 3], [2, None]]
        assert str(found.frequency) == "D"
        assert found.series[0].start == np.datetime64("2024-01-01")
    wide = {"ds": DAYS[:2], "a": [1, 3], "b": [2, None]}
    assert numbers(read(wide, wide=True)) == [[1, 3], [2, None]]
    assert numbers(read([[1, 3], [2, math.nan]])) == [[1, 3], [2, None]]
    assert numbers(read([1, 3])) == [[1, 3]]
    assert numbers(read(np.array([1.0, 3.0]))) == [[1, 3]]


def test_a_pandas_frame_is_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    stamps = pandas.date_range("2024-01-01", periods=3, freq="h", tz="Europe/Berlin")
    found = read(pandas.DataFrame({"ds": stamps, "y": [1.0, None, 3.0]}))
    assert numbers(found) == [[1, None, 3]]
    assert found.series[0].start == np.datetime64("2023-12-31T23:00")
    assert "the zone of 'ds' is Europe/Berlin" in found.notes


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_rows_in_any_order_give_the_same_series(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(2, 9), min_size=1, max_size=4))
    rows = [(f"s{n}", 3 * t, n + t / 10) for n, count in enumerate(counts) for t in range(count)]
    mixed = data.draw(st.permutations(rows))
    names = ("unique_id", "ds", "y")
    found = read(dict(zip(names, map(list, zip(*mixed, strict=True)), strict=True)))
    series = {one.unique_id: one.values[:, 0].tolist() for one in found.series}
    assert series == {f"s{n}": [n + t / 10 for t in range(count)] for n, count in enumerate(counts)}
    own = [[ds for who, ds, _ in mixed if who == name] for name in series]
    noted = any("they are sorted" in note for note in found.notes)
    assert noted == any(stamps != sorted(stamps) for stamps in own)


def test_missing_values_and_stamps_are_masked_and_noted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "ds,y\n2024-01-01,1\n2024-01-02,\n2024-01-05,NA\n2024-01-06,4\n"
    )
    found = read(path)
    assert numbers(found) == [[1, None, None, None, None, 4]]
    assert found.notes == [
        "the frequency of 'ds' is D",
        f"y: 2 of 4 values are missing, the first at {path}: line 3; they are masked",
        f"missing stamps: 2, the first after {path}: line 3, 2024-01-02; they are masked",
    ]


def test_rows_of_the_future_are_not_missing_numbers() -> None:
    rows = {
        "ds": [1, 2, 3, 4, 5],
        "y": [1, None, 3, None, None],
        "past": [0, 1, 2, None, None],
        "future": [0, 1, 0, 1, None],
    }
    source = SeriesSource(rows, covariates=("past", "future"), ahead=True)
    masked = "the first at row {}; they are masked"
    assert source.read(Rejects(None)).notes[1:] == [
        f"y: 1 of 3 values are missing, {masked.format(1)}",
        f"future: 1 of 5 values are missing, {masked.format(4)}",
    ]


def test_rows_out_of_order_are_sorted_and_noted() -> None:
    found = read({"ds": [DAYS[0], DAYS[2], DAYS[1]], "y": [1, 3, 2]})
    assert numbers(found) == [[1, 2, 3]]
    assert "rows out of order: 1, the first at row 2; they are sorted" in (found.notes)


def test_a_column_without_numbers_holds_categories() -> None:
    columns = {"y": [1, 2, 3], "sky": ["blue", "", "grey"], "heat": ["1", "", "2"]}
    found = read(columns, covariates=["sky", "heat"])
    assert found.categories == {"sky": ["blue", "grey"]}
    assert found.columns == ("y", "sky", "heat")
    np.testing.assert_equal(found.series[0].values, [[1, 0, 1], [2, math.nan, math.nan], [3, 1, 2]])


def test_without_stamps_every_series_counts_from_zero() -> None:
    found = read({"unique_id": ["a", "b", "a", "b", "b"], "y": [1, 2, 3, 4, 5]})
    assert [one.start for one in found.series] == [0, 0]
    assert numbers(found) == [[1, 3], [2, 4, 5]]


def test_an_error_names_a_number_among_dates() -> None:
    assert error_of({"ds": [*DAYS[:3], "7"], "y": [1, 2, 3, 4]}).startswith(
        "row 3: column 'ds' is '7', expected a date"
    )


def test_missing_values_of_pandas_are_missing() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"y": pandas.array([1, None, 3], dtype="Int64")})
    assert numbers(read(frame)) == [[1, None, 3]]


def test_a_constant_series_is_noted() -> None:
    found = read({"unique_id": ["a", "a", "b", "b"], "y": [5, 5, 1, 2]})
    assert found.notes == ["series with a constant value: 'a'"]


def test_stamps_in_another_form_are_read_if_the_form_is_set() -> None:
    found = read({"ds": ["01/02/2024", "02/02/2024"], "y": [1, 2]}, ds_format="%d/%m/%Y")
    assert found.series[0].start == np.datetime64("2024-02-01")


def test_many_rows_are_read_in_blocks(tmp_path: Path) -> None:
    rows = BLOCK + 1000
    path = write(tmp_path / "a.csv", "y,w\n" + "".join(f"{n},x{n % 3}\n" for n in range(rows)))
    found = read(path, covariates=["w"])
    assert found.series[0].values[:, 0].tolist() == list(range(rows))
    assert found.series[0].values[-1, 1] == (rows - 1) % 3
    with path.open("a") as file:
        file.write("1,2\n")
    assert error_of(path, covariates=["w"]) == (
        f"{path}: line 2: column 'w' is 'x0', but a number ('2') in other rows; make all of them "
        "numbers or all of them words, or name the column in categorical or numeric"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ds,y\n1,2\n2,many\n", "line 3: column 'y' is 'many', expected a finite number"),
        ("ds,y\n1,2\n2,inf\n", "line 3: column 'y' is 'inf', expected a finite number"),
        ("ds,y\n1,2\n,3\n", "line 3: column 'ds' is empty, expected a date"),
        ("ds,y\n1,2\n1,3\n", "line 3: has 1 a second time; drop one row, or set unique_id"),
        ("ds,y\n2024-01-01,2\n3,3\n", "line 2: column 'ds' is '2024-01-01', expected a date"),
        ("ds,y\n1,2\n3,2\n4,2\n6,1\n", "line 4: 4 is not a whole number of 2 steps after 1"),
        ("ds,y\n1,\n2,\n", "line 2: has no number in column 'y'; drop it"),
        ("unique_id,y\na,1\n,2\n", "line 3: column 'unique_id' is empty, expected a name"),
        ("ds,y\n1,1\n2,1\n9000000,1\n", "line 4: 9000000 is 8,999,998 steps of step after 2"),
        (
            "ds,y\n2024-01-01 00:00,1\n2024-01-01 01:00,1\n2024-01-01 01:30,1\n"
            "2024-01-01 02:30,1\n",
            "line 4: 2024-01-01 01:30:00 is not a whole number of h after 2024-01-01 00:00:00; "
            "set freq",
        ),
    ],
)
def test_an_error_names_the_bad_row(tmp_path: Path, text: str, wanted: str) -> None:
    path = write(tmp_path / "a.csv", text)
    assert error_of(path).startswith(f"{path}: {wanted}")


def test_an_error_names_a_series_of_another_frequency() -> None:
    found = error_of(
        {"unique_id": ["a"] * 5 + ["b"] * 5, "ds": [*range(5), *range(0, 50, 10)], "y": range(10)}
    )
    assert found == (
        "row 5: series 'b': has a stamp every 10 steps, but most others every step; "
        "train them separately, or set freq"
    )


@pytest.mark.parametrize(
    ("source", "options", "wanted"),
    [
        ({"x": [1]}, {}, "no column 'y'; its columns: 'x'"),
        ({"y": [1]}, {"covariates": ["z"]}, "no column 'z'; its columns: 'y'"),
        ({"y": [1]}, {"unique_id": "who"}, "no column 'who'; its columns: 'y'"),
        ({"y": [1]}, {"covariates": ["y"]}, "column 'y' is named for two different purposes"),
        ({"unique_id": ["a"], "x": [1]}, {"wide": True}, "with wide, each column is a series"),
        ({"ds": DAYS, "y": [1] * 4}, {"freq": "2 steps"}, "expected a stamp every 2 steps, but"),
        (5, {}, "expected a file, a data frame or a dict of columns, got int"),
        ({"y": []}, {}, "0 rows: has no row that can be used"),
        ({"ds": DAYS[:1], "y": [1]}, {}, "1 row: one stamp per series does not determine"),
    ],
)
def test_invalid_sources_and_options_are_refused(
    source: Any, options: dict[str, Any], wanted: str
) -> None:
    assert error_of(source, **options).startswith(wanted)


def test_text_files_and_folders_are_not_tables(tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt", "1\n2\n")
    for path in (text, tmp_path):
        assert error_of(path).startswith(f"{path}: expected a table (.csv, .jsonl")
    assert "no such file" in error_of(tmp_path / "none.csv")
    assert error_of(write(tmp_path / "a.csv", "")).endswith("a.csv: empty; expected text")


def test_bad_rows_and_series_are_skipped_and_written_to_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "unique_id,ds,y\na,1,1\na,x,2\na,2,many\nb,1,\nb,2,\na,3,3\nb,3\na,4,4\n",
    )
    with Rejects(tmp_path / "bad.csv") as rejects:
        found = SeriesSource(path, lenient=True).read(rejects)
    assert [(one.unique_id, one.values[:, 0].tolist()[-1]) for one in found.series] == [("a", 4.0)]
    assert numbers(found) == [[1, None, 3, 4]]
    reasons = (tmp_path / "bad.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0].rpartition(" ")[2] for line in reasons] == ["8", "3", "4", "5"]


def test_the_fingerprint_depends_on_content_and_options(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "ds,y,z\n1,2,3\n2,3,4\n")
    options: list[dict[str, Any]] = [{}, {"freq": "step"}, {"targets": ["z"]}, {"targets": "yz"}]
    prints = [SeriesSource(path, **option).fingerprint() for option in options]
    write(path, "ds,y,z\n1,2,3\n2,3,5\n")
    prints.append(SeriesSource(path).fingerprint())
    assert len(set(prints)) == len(prints)


def test_damaged_parquet_and_unknown_objects_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    path = write(tmp_path / "a.parquet", "no parquet at all")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(path)
    with pytest.raises(ArgumentError, match="expected a file"):
        read(object())


def test_a_pandas_index_is_a_column() -> None:
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=4, freq="D")
    found = read(pandas.DataFrame({"y": [1.0, 2, 3, 4]}, index=days))
    assert str(found.frequency) == "D"
    named = pandas.DataFrame({"y": [1.0, 2]}, index=pandas.Index(["a", "b"], name="unique_id"))
    assert [one.unique_id for one in read(named).series] == ["a", "b"]
    none = pandas.DataFrame({"ds": [pandas.Timestamp("2024-01-01"), pandas.NaT], "y": [1.0, 2]})
    assert "column 'ds' is empty, expected a date" in error_of(none)
    twice = pandas.DataFrame([[1, 2]], columns=["y", "y"])
    assert "two columns 'y'" in error_of(twice)


def test_a_lazy_frame_is_read() -> None:
    polars = pytest.importorskip("polars")
    assert read(polars.LazyFrame({"y": [1.0, 2.0]})).series[0].values.ravel().tolist() == [1, 2]


def test_columns_that_are_not_read_are_noted() -> None:
    notes = read({"store": ["a", "b"], "date": ["2024-01-01"] * 2, "y": [1, 2]}).notes
    assert notes[0].startswith("no column 'unique_id': all rows are one series; not read: 'store'")
    assert notes[1].startswith("no column 'ds': rows are steps")
    assert read({"y": [1, 2]}).notes == []


def test_true_and_false_are_numbers_in_every_source() -> None:
    for values in ([True, False], ["true", "False"]):
        found = read({"y": [1, 2], "open": values}, covariates=["open"])
        assert found.series[0].values[:, 1].tolist() == [1.0, 0.0]
    words = read({"y": [1, 2, 3], "open": ["true", "no", "false"]}, covariates=["open"])
    assert words.categories == {"open": ["true", "no", "false"]}


def test_a_series_may_have_the_name_na() -> None:
    found = read({"unique_id": ["NA", "NA", "DE"], "y": [1, 2, 3]})
    assert [one.unique_id for one in found.series] == ["NA", "DE"]


def test_many_empty_series_are_skipped_in_few_passes(tmp_path: Path) -> None:
    count = 3000
    columns = {"unique_id": [str(n) for n in range(count)], "y": [1.0, *[None] * (count - 1)]}
    source = SeriesSource(columns)
    reads = []
    rows = source.table.rows

    def counted(names: Any) -> Any:
        found = rows(names)
        read_rows = found.read
        found.read = lambda: reads.append(1) or read_rows()  # type: ignore[method-assign, func-returns-value]
        return found

    source.table.rows = counted  # type: ignore[method-assign]
    with Rejects(tmp_path / "bad.csv") as rejects:
        assert len(source.read(rejects).series) == 1
    assert rejects.count == count - 1
    assert len(reads) < 5


def test_a_row_with_a_repeated_stamp_may_be_skipped(tmp_path: Path) -> None:
    with Rejects(tmp_path / "bad.csv") as rejects:
        found = SeriesSource({"ds": [1, 2, 2, 3], "y": [1, 2, 9, 3]}).read(rejects)
    assert rejects.count == 1
    assert found.series[0].values.ravel().tolist() == [1, 2, 3]


def test_an_error_names_a_date_in_place_of_a_number() -> None:
    wide = {"date": DAYS, "a": [1, 2, 3, 4]}
    assert error_of(wide, wide=True).endswith("expected a finite number; set ds to this column")
    assert "there is no such file; expected a table" in error_of("nothing.csv")


@pytest.mark.parametrize("kind", ["pandas", "polars", "torch", "arrow"])
def test_a_series_a_tensor_and_an_arrow_table_are_read(kind: str) -> None:
    y = [1.0, 2.0, 4.0]
    days = ["2024-01-01", "2024-01-02", "2024-01-03"]
    if kind == "torch":
        source: Any = torch.tensor(y, requires_grad=True)
    elif kind == "pandas":
        pandas = pytest.importorskip("pandas")
        source = pandas.Series(y, index=pandas.to_datetime(days), name="heat")
    else:
        polars = pytest.importorskip("polars")
        source = polars.Series("heat", y)
        if kind == "arrow":
            source = polars.DataFrame({"ds": days, "y": y}).to_arrow()
    found = SeriesSource(source).read(Rejects(None))
    assert found.series[0].values[:, 0].tolist() == y
    assert str(found.frequency) == ("step" if kind in ("polars", "torch") else "D")
