import codecs
import csv
import gzip
import io
import json
import pickle
import re
import sys
import tracemalloc
from pathlib import Path

import polars
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elman.errors import ArgumentError, DataError
from elman.read import characters
from elman.read import text as module
from elman.read.text import TextSource

DOCUMENTS = ("file", "line", "paragraph")
# Rich in difficult characters: line ends, blanks, separators that are not line ends, code points
# of one to four bytes, a combining mark, a right-to-left letter, a joiner, a byte order mark.
TEXTS = st.text(
    st.one_of(
        st.sampled_from("\r\n \t\f\v\x1c\x85\u2028\u00a0ab.,\u0301\u05d0\u200d\ufeff\U0001f600é"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=40,
)
BLOCKS = st.integers(1, 12)


def unix(text: str) -> str:
    return re.sub("\r\n?", "\n", text)


def naive(text: str, document: str) -> list[str]:
    """Return the documents of a text by definition, with the whole text in memory."""
    lines = unix(text).split("\n")
    if document == "file":
        return [unix(text)] if text.strip() else []
    if document == "line":
        return [line for line in lines if line.strip()]
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        else:
            paragraphs.append([])
    return [" ".join(paragraph) for paragraph in paragraphs if paragraph]


def joined(source: TextSource) -> list[str]:
    documents, begun = [""], False
    for piece, ends in source.pieces():
        assert piece
        documents[-1] += piece
        begun = not ends
        if ends:
            documents.append("")
    assert not begun
    return documents[:-1]


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return path


def error_of(source: TextSource) -> str:
    """Return the message, of one line, of the error that reading a source raises."""
    with pytest.raises(DataError) as caught:
        list(source.pieces())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


# ---- plain text


@pytest.mark.parametrize("document", DOCUMENTS)
@given(text=TEXTS, block=BLOCKS, encoding=st.sampled_from(["utf-8", "utf-16", "utf-32-be"]))
@example(text="a\r\n\r\nb\rc", block=2, encoding="utf-8")
@example(text="          a\n\n  \n" * 2, block=3, encoding="utf-8")
@example(text="abcdefg        \nx", block=8, encoding="utf-8")
@settings(max_examples=120, deadline=None)
def test_joined_pieces_are_the_documents_at_any_block_size(
    folder: Path, document: str, text: str, block: int, encoding: str
) -> None:
    # U+FEFF at the start is a byte order mark, so a text cannot begin with it.
    text = text.lstrip("\ufeff")
    path = write(folder, "any.txt", text.encode(encoding))
    expected = naive(text, document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(characters, "BLOCK", block)
        source = TextSource(path, document=document, encoding=encoding)  # type: ignore[arg-type]
        if not expected:
            assert re.search("empty|white space", error_of(source))
        else:
            assert joined(source) == expected
            assert max(len(piece) for piece, _ in source.pieces()) <= block


@given(prefix=TEXTS, block=BLOCKS, suffix=st.binary(max_size=5))
@example(prefix="a\r", block=1, suffix=b"\n")
@example(prefix="a\r\n", block=2, suffix=b"")
@settings(max_examples=120, deadline=None)
def test_a_wrong_byte_is_named_with_its_offset_and_line(
    folder: Path, prefix: str, block: int, suffix: bytes
) -> None:
    # 0xE9 0x62 is "éb" in Latin-1 and is not valid UTF-8.
    path = write(folder, "wrong.txt", prefix.encode() + b"\xe9b" + suffix.replace(b"\0", b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(characters, "BLOCK", block)
        line = unix(prefix).count("\n") + 1
        assert error_of(TextSource(path)) == (
            f"{path}: byte {len(prefix.encode())} (line {line}) is not valid UTF-8 (0xE9); "
            "name the right encoding with encoding=..., for example latin-1"
        )


@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
@pytest.mark.parametrize(
    ("encoding", "content", "offset", "byte"),
    [
        ("shift_jis", "日本\n語".encode("shift_jis") + b"\x81\x20", 7, "0x81"),
        ("utf-16-le", "ab\nc".encode("utf-16-le") + b"\x00\xdc\x41\x00", 8, "0x00"),
        ("utf-8", "ab\nc€".encode()[:-1], 4, "0xE2"),
        ("utf-8", codecs.BOM_UTF8 + b"a\nb\xff", 6, "0xFF"),
        ("ascii", "ab\n\u00e9".encode(), 3, "0xC3"),
    ],
)
def test_a_wrong_byte_of_other_encodings_and_a_cut_off_end_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block: int,
    encoding: str,
    content: bytes,
    offset: int,
    byte: str,
) -> None:
    monkeypatch.setattr(characters, "BLOCK", block)
    message = error_of(TextSource(write(tmp_path, "a.txt", content), encoding=encoding))
    assert f"byte {offset} (line 2) is not valid {encoding.upper()} ({byte})" in message


def test_pieces_end_at_a_line_end_or_a_space_or_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(characters, "BLOCK", 8)
    source = TextSource(write(tmp_path, "a.txt", "ab\ncd efgh ijklmnopqrstuv\n"))
    pieces = ["ab\n", "cd efgh ", "ijklmnop", "qrstuv\n"]
    assert list(source.pieces()) == [(piece, piece == "qrstuv\n") for piece in pieces]


def test_a_long_line_is_read_in_pieces_that_end_at_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(characters, "BLOCK", 8)
    source = TextSource(write(tmp_path, "a.txt", "abc def ghi jk\n\nlm"), document="line")
    assert list(source.pieces()) == [("abc def ", False), ("ghi jk", True), ("lm", True)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_long_lines_of_any_script_are_unchanged_at_the_real_block_size(
    tmp_path: Path, document: str
) -> None:
    # 3 million characters, 7.5 MB: several blocks, cut within code points of 2, 3 and 4 bytes.
    text = "\n\n".join(
        unit * (100_000 // len(unit)) for unit in ["שלום", "e\u0301", "👩‍🚀", "語", "x "] * 6
    )
    source = TextSource(write(tmp_path, "a.txt", text), document=document)  # type: ignore[arg-type]
    assert joined(source) == naive(text, document)
    assert max(len(piece) for piece, _ in source.pieces()) <= 1 << 20


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    assert joined(TextSource(write(tmp_path, "a.txt", codecs.BOM_UTF8 + b"one"))) == ["one"]
    wide = write(tmp_path, "b.txt", "one".encode("utf-16"))
    assert joined(TextSource(wide, encoding="utf-16")) == ["one"]


def test_utf_16_without_a_byte_order_mark_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one".encode("utf-16-be"))
    assert "encoding=..." in error_of(TextSource(path, encoding="utf-16"))


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("ending", [" ", "\n"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, document: str, ending: str) -> None:
    # 32 MiB, packed so that the test is fast: one line, or 8,192 lines of 4 KiB.
    path = write(tmp_path, "a.txt.gz", ("x" * 4095 + ending) * (1 << 13))
    source = TextSource(path, document=document)  # type: ignore[arg-type]
    tracemalloc.start()
    size = sum(len(piece) for piece, _ in source.pieces())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size >= (1 << 25) - (1 << 13)
    # In memory are a block as bytes, as text and in pieces, and copies of it: 5 to 11 MiB.
    assert peak < 16 << 20


def test_a_line_of_too_many_blanks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(characters, "BLOCK", 8)
    monkeypatch.setattr(module, "RECORD", 32)
    path = write(tmp_path, "a.txt", " " * 100 + "a")
    assert "blanks" in error_of(TextSource(path, document="line"))
    assert joined(TextSource(path)) == [" " * 100 + "a"]


# ---- progress and fingerprint


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.csv", "a.parquet", "a.parquet.gz"])
def test_progress_sums_to_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(characters, "BLOCK", 1000)
    monkeypatch.setattr(module, "SLICE", 1000)
    # Random digits, so that the packed file has several blocks too.
    rows = [str(pow(7, 300 + i)) for i in range(100)]
    content = "\n".join(["text", *rows]).encode()
    if "parquet" in name:
        buffer = io.BytesIO()
        polars.DataFrame({"text": rows}).write_parquet(buffer)
        content = buffer.getvalue()
    path = write(tmp_path, name, content)
    source = TextSource(path, column=None if "txt" in name else "text")
    steps: list[int] = []
    list(source.pieces(steps.append))
    assert sum(steps) == source.total_bytes == path.stat().st_size
    assert len(steps) >= 5


def test_progress_over_texts_in_memory_counts_their_bytes() -> None:
    source, steps = TextSource(["né", " ", "b"]), list[int]()
    assert list(source.pieces(steps.append)) == [("né", True), ("b", True)]
    assert steps == [3, 1, 1]
    assert (source.total_bytes, source.name, source.files) == (5, "3 texts", ())


def test_the_fingerprint_depends_on_content_and_arguments_not_on_names(tmp_path: Path) -> None:
    one, same = write(tmp_path, "one.txt", "a\nb"), write(tmp_path, "same.md", "a\nb")
    other = write(tmp_path, "other.txt", "a\nc")
    prints = [
        TextSource(one).fingerprint(),
        TextSource(other).fingerprint(),
        TextSource(one, document="line").fingerprint(),
        TextSource(one, encoding="latin-1").fingerprint(),
        TextSource(write(tmp_path, "a.csv", "a\nb"), column="a").fingerprint(),
        TextSource(write(tmp_path, "b.csv", "a\nb,"), column="a").fingerprint(),
        TextSource(write(tmp_path, "a.tsv", "a\nb"), column="a").fingerprint(),
        TextSource(["ab", "c"]).fingerprint(),
        TextSource(["a", "bc"]).fingerprint(),
    ]
    assert len(set(prints)) == len(prints)
    assert TextSource(same, encoding="UTF8").fingerprint() == prints[0]
    assert re.fullmatch("[0-9a-f]{32}", prints[0])


# ---- folders


def test_a_folder_is_read_in_order_of_paths_without_hidden_files(tmp_path: Path) -> None:
    for name in ["b/c.txt", "a.txt", "b/a.jsonl", ".git/x.txt", "b/.hidden", "z.csv.gz"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        record = {"b/a.jsonl": '{"t": "from b/a.jsonl"}', "z.csv.gz": "n,t\n1,from z.csv.gz\n"}
        write(tmp_path, name, record.get(name, f"from {name}"))
    source = TextSource(tmp_path, column="t")
    assert [file.relative_to(tmp_path).as_posix() for file in source.files] == [
        "a.txt",
        "b/a.jsonl",
        "b/c.txt",
        "z.csv.gz",
    ]
    assert joined(source) == ["from a.txt", "from b/a.jsonl", "from b/c.txt", "from z.csv.gz"]
    assert source.name == tmp_path.name
    assert source.total_bytes == sum(file.stat().st_size for file in source.files)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ".hidden", "text")
    with pytest.raises(DataError, match="folder without files"):
        TextSource(tmp_path)


# ---- tables

VALUES = ["one", 'two "quoted", here', "three\nlines\n", "שלום 👩‍🚀"]


def table(name: str, values: list[str]) -> bytes:
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        buffer = io.BytesIO()
        numbers = list(range(len(values)))
        polars.DataFrame({"n": numbers, "text": values}).write_parquet(buffer, row_group_size=2)
        return buffer.getvalue()
    if kind in ("jsonl", "ndjson"):
        rows = [json.dumps({"text": v, "n": i}, ensure_ascii=i > 1) for i, v in enumerate(values)]
        return "\n\n".join(rows).encode()
    sheet = io.StringIO()
    writer = csv.writer(sheet, delimiter="\t" if kind == "tsv" else ",")
    writer.writerows([["n", "text"], *enumerate(values)])
    return codecs.BOM_UTF8 + sheet.getvalue().encode()


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".CSV"])
@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_each_record_of_a_table_is_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, packed: str, block: int
) -> None:
    name = "table" + suffix + packed
    path = write(tmp_path, name, table(name.lower(), [*VALUES, "", " \n", "last"]))
    monkeypatch.setattr(characters, "BLOCK", block)
    monkeypatch.setattr(module, "SLICE", 1)
    assert joined(TextSource(path, column="text")) == [*VALUES, "last"]


def test_a_field_of_a_million_characters_is_read_from_csv(tmp_path: Path) -> None:
    value = "long field, " * 100_000
    source = TextSource(write(tmp_path, "a.csv", f'text\n"{value}"\n'), column="text")
    assert joined(source) == [value]
    assert [ends for _, ends in source.pieces()] == [False, True]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz"])
def test_a_table_needs_an_existing_column(tmp_path: Path, suffix: str) -> None:
    name = "table" + suffix
    path = write(tmp_path, name, table(name, VALUES))
    listed = "'(n', 'text|text', 'n)'"
    with pytest.raises(ArgumentError, match=rf"column must name .*{name}.*{listed}"):
        TextSource(path)
    assert re.search(
        rf"{name}.*no column 'body'.*{listed}", error_of(TextSource(path, column="body"))
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "n,t\n1,a\n\n2\n", "line 4: expected 2 fields as in the header, got 1"),
        ("a.csv", 'n,t\n1,"a\nb"\n2,c,d\n', "line 4: expected 2 fields as in the header, got 3"),
        ("a.csv", "t,n,t\n1,2,3\n", r"line 1: columns 't' occur twice"),
        ("a.csv", 'n,t\n1,"a\n2,b\n', "line 2: unexpected end of data"),
        ("a.csv", 'n,t\n1,"a" b\n', "line 2: .*expected after"),
        ("a.csv", "n,t\n", "no text in column 't'"),
        ("a.csv", "n,t\n1,\xff\n".encode("latin-1"), r"byte 6 \(line 2\)"),
        ("a.jsonl", '{"t": "a"}\n\n{"t": "b"\n', "line 3, column 10: Expecting"),
        ("a.jsonl", '{"t": "a"}\n["b"]\n', "line 2: a JSON list, expected an object"),
        ("a.jsonl", '{"t": "a"}\n{"u": "b", "v": 1}\n', "line 2: no column 't'.*'u', 'v'"),
        ("a.jsonl", '{"t": "a"}\n{"t": null}\n', "line 2: column 't' is null, expected text"),
        ("a.jsonl", '{"t": "a"}\n{"t": 5}\n', "line 2: column 't' is int, expected text"),
        ("a.jsonl", '{"t": "\\ud83d"}\n', "line 1: column 't' has half a surrogate pair"),
        ("a.jsonl", '{"t": %s}' % ("[" * 200_000), "line 1: brackets nest too deeply"),
        ("a.jsonl", '{"t": ' + "9" * 5000 + "}", "line 1: .*(integer|digits)|is int"),
        ("a.jsonl", "", "empty"),
        ("a.parquet", "t\na\n", "cannot be read as Parquet"),
        ("a.parquet", "", "cannot be read as Parquet"),
        ("a.parquet.gz", "t\na\n", "cannot be read as Parquet"),
    ],
)
def test_a_damaged_table_is_refused_with_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path, name, content)
    assert re.search(
        f"^{re.escape(str(path))}: .*({message})", error_of(TextSource(path, column="t"))
    )


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_an_error_about_parquet_names_the_row_and_the_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    path = tmp_path / "a.parquet"
    polars.DataFrame({"t": ["a", "b", None], "n": [1, 2, 3]}).write_parquet(path)
    assert error_of(TextSource(path, column="t")).startswith(f"{path}: row 3: column 't' is null")
    assert "row 1: column 'n' is int, expected text" in error_of(TextSource(path, column="n"))


def test_an_error_about_parquet_without_polars_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "a.parquet", table("a.parquet", VALUES))
    monkeypatch.setitem(sys.modules, "polars", None)
    message = error_of(TextSource(path, column="text"))
    assert message == f"{path}: Parquet needs polars: pip install polars"


@pytest.mark.parametrize(("name", "start"), [("a.csv", "t"), ("a.jsonl", '{"t": "a"}')])
def test_a_record_of_too_many_characters_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, start: str
) -> None:
    monkeypatch.setattr(characters, "BLOCK", 8)
    monkeypatch.setattr(module, "RECORD", 32)
    source = TextSource(write(tmp_path, name, start + "\n" + "x" * 100), column="t")
    assert "line 2 has over 32 characters" in error_of(source)


# ---- bad input and bad arguments


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\t\r\n\xe2\x80\xa8", "only white space"),
        ("a.txt", codecs.BOM_UTF8, "only white space"),
        ("a.txt.gz", b"", "empty"),
        ("a.txt", b"text\0text", "NUL bytes"),
        ("a.txt", "text".encode("utf-16"), "NUL bytes.*utf-16"),
        ("a.txt", b"\x10\0\0\0\0\0\0\0{}", "NUL bytes"),
        ("a.txt", b"PK\x03\x04docx", "a ZIP archive"),
        ("a.csv", b"PK\x03\x04xlsx", "a ZIP archive"),
        ("a.txt", b"%PDF-1.7", "a PDF"),
        ("a.txt", b"\x89PNG\r\n", "a PNG image"),
        ("a.txt", b"\xff\xd8\xff\xe0", "a JPEG image"),
        ("a.txt", pickle.dumps("text", protocol=4), "a pickle"),
        ("a.txt", gzip.compress(b"text", mtime=0), "gzip without the suffix"),
        ("a.txt.gz", gzip.compress(b"text", mtime=0), "gzip without the suffix"),
    ],
)
def test_a_file_that_is_not_text_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = write(tmp_path, name, content)
    source = TextSource(path, column="t" if name.endswith("csv") else None)
    assert re.search(f"^{re.escape(str(path))}: .*{message}", error_of(source))


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(range(65, 91)) * 50)
    flipped = whole[:15] + bytes([whole[15] ^ 255]) + whole[16:]
    for damaged in (whole[:-10], whole[:5], flipped, b"no gzip at all", whole + b"garbage"):
        path = tmp_path / "a.txt.gz"
        path.write_bytes(damaged)
        assert "not a complete gzip file" in error_of(TextSource(path))


def test_a_file_that_cannot_be_opened_or_is_deleted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = TextSource(write(tmp_path, "a.txt", "text"))
    with monkeypatch.context() as patch:
        # File permissions do not apply to root, who may run this test.
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        patch.setattr(Path, "open", refuse)
        assert error_of(source).endswith("a.txt: cannot be read (Permission denied)")
    source.files[0].unlink()
    assert "No such file" in error_of(source)
    with pytest.raises(DataError, match="No such file"):
        source.fingerprint()


@pytest.mark.parametrize("path", ["no/such/file", "It was a dark\nnight.", "x" * 5000, "a\0b"])
def test_a_missing_path_is_refused_in_one_line(path: str) -> None:
    with pytest.raises(DataError, match="give texts as a list") as caught:
        TextSource(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_device_is_refused() -> None:
    with pytest.raises(DataError, match="pipe or a device"):
        TextSource("/dev/null")


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("", {}, "empty string"),
        ([], {}, "0 texts, all of them blank"),
        (["", "\n"], {}, "2 texts, all of them blank"),
        (["a"], {"column": "text"}, "column='text' is for tables, but 1 text"),
        (["a"], {"document": "page"}, "file, line or paragraph, got 'page'"),
        (["a"], {"encoding": "utf-9"}, "encoding .* got 'utf-9'"),
        (["a"], {"encoding": "base64"}, "encoding .* got 'base64'"),
        (["a"], {"encoding": "rot13"}, "encoding .* got 'rot13'"),
    ],
)
def test_an_argument_that_cannot_work_is_refused(
    path: str | list[str], arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        TextSource(path, **arguments)  # type: ignore[arg-type]


def test_a_column_of_plain_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"column='t' is for tables, but a\.txt"):
        TextSource(write(tmp_path, "a.txt", "text"), column="t")


@pytest.mark.parametrize(("text", "message"), [(5, "is int"), ("\ud83d", "half a surrogate")])
def test_a_value_in_memory_that_is_not_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"path\[1\] .*{message}"):
        TextSource(["a", text])
