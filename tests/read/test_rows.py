"""Rows of several columns from tables, folders, parallel files and lists, and bad rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from elman.errors import ArgumentError, DataError
from elman.read.columns import Table
from elman.read.rows import Rejects, Rows, check_new, text_of

COLUMNS = ["text", "label"]


def values(rows: Rows) -> list[object]:
    return [row.values for row in rows.read()]


def error_of(rows: Rows) -> str:
    return next(str(row.values) for row in rows.read() if isinstance(row.values, DataError))


def test_every_kind_of_source_gives_the_same_rows(tmp_path: Path) -> None:
    pairs = [("so, good", "pos"), ('a "bad" one', "neg"), ("日本 é", "pos")]
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(
        {"label": [b for _, b in pairs], "x": [1, 2, 3], "text": [a for a, _ in pairs]}
    )
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.parquet", "b.csv.gz"):
        assert values(Rows(tmp_path / name, COLUMNS)) == pairs
    (tmp_path / "texts").write_text("\n".join(a for a, _ in pairs) + "\n")
    (tmp_path / "labels").write_text("\n".join(b for _, b in pairs))
    parallel = Rows(tmp_path / "texts", COLUMNS, parallel=[tmp_path / "labels"])
    assert values(parallel) == pairs
    assert [row.place for row in parallel.read()][2] == f"{tmp_path / 'texts'}: line 3"
    assert values(Rows([a for a, _ in pairs], COLUMNS, parallel=[[b for _, b in pairs]])) == pairs
    for n, (text, label) in enumerate(pairs):
        folder = tmp_path / "folders" / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n}.txt").write_text(text)
    assert sorted(values(Rows(tmp_path / "folders", COLUMNS, folders=True))) == sorted(pairs)


def test_places_of_rows_are_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"two\nlines",a\n\nthree,b\n')
    found = list(Rows(path, COLUMNS).read())
    assert [(row.place, row.values) for row in found] == [
        (f"{path}: line 2", ("two\nlines", "a")),
        (f"{path}: line 5", ("three", "b")),
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"text,label\ngood,1\nbad\nfine,1\n", "line 3: expected 2 fields"),
        ("a.csv", b'text,label\ngood,1\n"bad"x,0\nfine,1\n', "line 3: "),
        (
            "a.jsonl",
            b'{"text": "good", "label": 1}\n{"text": 2}\n{"text": "fine", "label": 1}\n',
            "line 2: no column 'label'; its columns: 'text'",
        ),
        (
            "a.jsonl",
            b'{"text": "good", "label": 1}\n[1]\n{"text": "fine", "label": 1}\n',
            "line 2: a JSON list, expected an object",
        ),
        ("a.jsonl", b'{"text": "good", "label": 1}\n{\n{"text": "fine", "label": 1}\n', "line 2"),
    ],
)
def test_a_bad_row_is_named_and_later_rows_are_read(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    rows = Rows(tmp_path / name, COLUMNS)
    assert words in error_of(rows)
    found = [row for row in values(rows) if not isinstance(row, DataError)]
    assert [text for text, _ in found] == ["good", "fine"]


def test_a_bad_first_object_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x\n\n{"text": "good", "label": 1}\n')
    rows = Rows(path, COLUMNS)
    assert (rows.notes, values(rows)[1]) == ([], ("good", 1))
    assert "line 1, column 10: Unterminated string" in error_of(rows)
    assert Table(path).names == ["text", "label"]
    path.write_text("\n[1]\n{\n")
    with pytest.raises(DataError, match=r"a\.jsonl: line 2: a JSON list, expected an object"):
        Table(path)


def test_invalid_bytes_are_an_error_of_the_file_or_of_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\ngood,1\nb\xe4d,0\nfine,1\n")
    with pytest.raises(DataError, match=r"byte 19 \(line 3\) is not valid UTF-8"):
        values(Rows(path, COLUMNS))
    bad = values(Rows(path, COLUMNS, lenient=True))[1]
    with pytest.raises(DataError, match=r"a\.csv: line 3"):
        text_of(bad[0], f"{path}: line 3", "text")  # type: ignore[index]
    assert values(Rows(path, COLUMNS, encoding="latin-1"))[1] == ("bäd", "0")
    assert Table(path, lenient=True).names == ["text", "label"]


def test_values_that_are_not_text_are_refused() -> None:
    for value, words in ((None, "is null"), (3, "is int"), ("", "is empty"), (" \n", "is empty")):
        with pytest.raises(DataError, match=f"here: column 'text' {words}"):
            text_of(value, "here", "text")


def test_invalid_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("one\n")
    with pytest.raises(ArgumentError, match="a text file has no columns text and label"):
        Rows(tmp_path / "a.txt", COLUMNS)
    with pytest.raises(DataError, match=r"b.txt: has fewer lines \(1\) than .*a.txt"):
        values(Rows(tmp_path / "a.txt", COLUMNS, parallel=[tmp_path / "b.txt"]))
    with pytest.raises(DataError, match=r"expected files in .*/NAME/"):
        Rows(tmp_path, COLUMNS, folders=True)
    with pytest.raises(DataError, match="is a folder, expected a table, or two"):
        Rows(tmp_path, COLUMNS)
    with pytest.raises(ArgumentError, match="equal lengths, got 2 in text, 1 in label"):
        Rows(["a", "b"], COLUMNS, parallel=[[1]])
    with pytest.raises(ArgumentError, match="all be files or all be lists"):
        Rows(["a"], COLUMNS, parallel=[tmp_path / "a.txt"])
    with pytest.raises(DataError, match="No such file"):
        Rows(tmp_path / "none.txt", COLUMNS)


def test_the_fingerprint_depends_on_content_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "a", "label": "b"}))
    first = Rows(path, COLUMNS).fingerprint()
    assert first == Rows(path, COLUMNS).fingerprint()
    assert first != Rows(path, COLUMNS[::-1]).fingerprint()
    path.write_text(json.dumps({"text": "a", "label": "c"}))
    assert first != Rows(path, COLUMNS).fingerprint()


def test_rejects_are_written_with_place_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    with Rejects(path) as rejects:
        rejects.add("a.csv: line 3", DataError('a.csv: line 3: "x", y'))
        assert rejects.count == 1
    assert path.read_text() == 'place,reason\na.csv: line 3,"""x"", y"\n'


def test_an_unclosed_quote_makes_only_its_own_line_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\none,a\n"two,b\nthree,c\n"four\nand more",d\nfive,"e\nsix,f\n')
    rows = list(Rows(path, COLUMNS).read())
    good = [row.values for row in rows if not isinstance(row.values, DataError)]
    assert good == [("one", "a"), ("three", "c"), ("four\nand more", "d"), ("six", "f")]
    bad = [row.place.rpartition(" ")[2] for row in rows if isinstance(row.values, DataError)]
    assert bad == ["3", "7"]
    assert [row.place.rpartition(" ")[2] for row in rows] == ["2", "3", "4", "5", "7", "8"]


@pytest.mark.parametrize("left", ["", "pla", "place,reason\n"])
def test_a_file_of_bad_rows_without_rows_is_overwritten(tmp_path: Path, left: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(left)
    check_new(path, overwrite=False)
    with Rejects(path) as rejects:
        rejects.add("a.csv: line 3", DataError("a.csv: line 3: no text"))
        # A row is written at once.
        assert path.read_text() == "place,reason\na.csv: line 3,no text\n"
    with pytest.raises(ArgumentError, match="exists already; name another file"):
        check_new(path, overwrite=False)
    check_new(path, overwrite=True)


def test_an_error_names_a_byte_that_is_not_text() -> None:
    with pytest.raises(DataError, match="has the byte 0xFF, which is not text"):
        text_of("a\udcff", "a.csv: line 2", "text")


def test_a_table_beside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    (tmp_path / "b.txt").write_text("a\nb\n")
    with pytest.raises(
        ArgumentError, match=r"a\.csv: a table cannot be combined with another file"
    ):
        Rows(tmp_path / "b.txt", COLUMNS, parallel=[tmp_path / "a.csv"])


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    with pytest.raises(ArgumentError, match="encoding must name a text encoding"):
        list(Rows(tmp_path / "a.csv", COLUMNS, encoding="klingon").read())


def test_a_lone_carriage_return_does_not_end_a_line_of_parallel_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\rtwo\r\nthree\n\r\nfour\r")
    (tmp_path / "b").write_bytes(b"eins zwei\ndrei\n\nvier")
    found = [
        row.values for row in Rows(tmp_path / "a", ["a", "b"], parallel=[tmp_path / "b"]).read()
    ]
    assert found == [("one\rtwo", "eins zwei"), ("three", "drei"), ("", ""), ("four\r", "vier")]


def test_any_object_with_a_path_is_a_path(tmp_path: Path) -> None:
    class Named:
        def __fspath__(self) -> str:
            return str(tmp_path / "a.csv")

    (tmp_path / "a.csv").write_text("text,label\nso good,1\n")
    assert values(Rows(Named(), COLUMNS)) == [("so good", "1")]  # type: ignore[arg-type]
