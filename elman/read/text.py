r"""Text out of files: documents in pieces, in constant memory whatever the size of a file.

    blocks of bytes -> (unpacked) -> characters -> line ends as "\n" -> documents -> pieces

    plain text          a document is the file, a line, or a paragraph
    .jsonl .ndjson      a document is the string at key `column` of an object, one object a line
    .csv .tsv           a document is the field in `column` of a record (RFC 4180 quoting)
    .parquet            a document is the value in `column` of a row
    any of them + .gz   the same, unpacked on the way

The only line ends are "\n", "\r\n" and "\r"; a form feed or U+2028 is a character like others.
A blank line, record or text (nothing but white space) is no document.  Memory holds a few
blocks; one record of a table; and for Parquet the `column` of a row group, its unit of storage.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain, repeat
from pathlib import Path
from typing import Literal, get_args

from elman.errors import ArgumentError, DataError

Document = Literal["file", "line", "paragraph"]
Piece = tuple[str, bool]
Advance = Callable[[int], None]

# Bytes read at once, and characters in a piece at most.
BLOCK = 1 << 20
# Characters of a record that has to be whole in memory before it can be understood.
RECORD = 1 << 24
# Bytes of a Parquet file, and rows of it, that are read at once at most.
SLICE, ROWS = 1 << 23, 1 << 17

TABLES = {".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"}
BINARY = {
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF-": "a PDF",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x1f\x8b": "gzip without the suffix .gz",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    **{bytes([0x80, protocol]): "a pickle" for protocol in range(2, 6)},
}


class TextSource:
    r"""Documents of text in files, read in order and in constant memory.

    `path` is a file, a folder (all files below it but hidden ones, by relative path; links to
    folders are not followed), or a list of texts, each a document. `document` says what a document
    is in plain text, `column` where it stands in a table; `encoding` is that of the files (UTF-8
    may have a byte order mark). `total_bytes` is the size on disk.

    Raises `ArgumentError` for an argument that cannot work and `DataError` for a missing path or
    a folder without files.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.read.text import TextSource
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     book = Path(folder, "book.txt")
        ...     _ = book.write_bytes(b"It was\r\na dark night.\r\n\r\nIt rained.")
        ...     for document in ("file", "line", "paragraph"):
        ...         print([piece for piece, _ in TextSource(book, document=document).pieces()])
        ['It was\na dark night.\n\nIt rained.']
        ['It was', 'a dark night.', 'It rained.']
        ['It was a dark night.', 'It rained.']
    """

    def __init__(
        self,
        path: str | Path | Sequence[str],
        *,
        document: Document = "file",
        column: str | None = None,
        encoding: str = "utf-8",
    ) -> None:
        self.document, self.column, self.encoding = document, column, encoding
        self.files: tuple[Path, ...] = ()
        self._texts: tuple[str, ...] = ()
        if document not in get_args(Document):
            raise ArgumentError(f"document must be file, line or paragraph, got {document!r}")
        try:
            # Unlike a look-up this refuses codecs that are none of text (base64, zlib, rot13).
            b"text".decode(encoding, "replace")
        except (LookupError, ValueError) as error:
            raise ArgumentError(
                f"encoding must name a text encoding such as utf-8 or latin-1, got {encoding!r}"
            ) from error
        if isinstance(path, (str, Path)):
            self.files = _files(path)
            self.name = Path(path).name or Path(path).resolve().name
            self.total_bytes = sum(_size(file) for file in self.files)
        else:
            self._texts = tuple(_checked(text, f"path[{i}]") for i, text in enumerate(path))
            self.name = f"{len(self._texts)} text{'s' * (len(self._texts) != 1)}"
            self.total_bytes = sum(len(text.encode()) for text in self._texts)
            if all(map(_blank, self._texts)):
                raise ArgumentError(f"path must hold text, got {self.name} and all of them blank")
        tables = [file for file in self.files if _kind(file) in TABLES]
        if column is not None and not tables:
            raise ArgumentError(f"column={column!r} is for tables, but {self.name} is plain text")
        if column is None and tables:
            # It reads as far as the names of the columns, and raises with them.
            next(self._values(tables[0], _ignore), None)

    def pieces(self, advance: Advance | None = None) -> Iterator[Piece]:
        r"""Give (text, ends_document), with at most 2^20 characters of text at a time.

        A piece that does not end its document ends at a line end if possible, else at a space.
        `advance(n)` hears how many bytes (of `total_bytes`) were read since it was last called.
        Raises `DataError` where a file is met that cannot be read as what it should be.

        Example:
            >>> from elman.read.text import TextSource
            >>> list(TextSource(["To be,", "or not."]).pieces())
            [('To be,', True), ('or not.', True)]
        """
        advance = advance or _ignore
        for text in self._texts:
            advance(len(text.encode()))
            if not _blank(text):
                yield from _whole([text])
        for file in self.files:
            if _kind(file) in TABLES:
                yield from self._records(file, advance)
                continue
            chunks = _decode(_blocks(file, advance), self.encoding, file)
            if self.document == "file":
                yield from _whole(chunks)
            elif self.document == "line":
                yield from _lines(chunks, file)
            else:
                yield from _paragraphs(_lines(chunks, file, keep_blank=True))

    def fingerprint(self) -> str:
        """Hash content and arguments (BLAKE2b, 32 hex digits), but not the files' names or dates.

        Example:
            >>> from elman.read.text import TextSource
            >>> TextSource(["ab", "c"]).fingerprint() == TextSource(["a", "bc"]).fingerprint()
            False
        """
        encoding = codecs.lookup(self.encoding).name
        # How a file is read is content too: the same bytes mean another text as .csv and .tsv.
        kinds = [_kind(file) for file in self.files if _kind(file) in TABLES]
        whole = hashlib.blake2b(digest_size=16)
        whole.update(repr((self.document, self.column, encoding, kinds)).encode())
        files = (_blocks(file, _ignore, unpack=False) for file in self.files)
        # A digest for each, so that moving a boundary between two of them changes the whole.
        for content in chain(files, ([text.encode()] for text in self._texts)):
            part = hashlib.blake2b()
            for block in content:
                part.update(block)
            whole.update(part.digest())
        return whole.hexdigest()

    def _records(self, file: Path, advance: Advance) -> Iterator[Piece]:
        found = False
        place = f"{file}: {'row' if _kind(file) == '.parquet' else 'line'}"
        for number, value in self._values(file, advance):
            text = _checked(value, f"{place} {number}: column {self.column!r}")
            if not _blank(text):
                found = True
                yield from _whole([text])
        if not found:
            raise DataError(f"{file}: no text in column {self.column!r}; expected one or more")

    def _values(self, file: Path, advance: Advance) -> Iterator[tuple[int, object]]:
        kind = _kind(file)
        if kind == ".parquet":
            return _parquet(file, self.column, advance)
        rows = _rows(_decode(_blocks(file, advance), self.encoding, file), file)
        if kind in (".csv", ".tsv"):
            return _csv(rows, self.column, file, delimiter="," if kind == ".csv" else "\t")
        return _jsonl(rows, self.column, file)


def _ignore(_count: int) -> None:
    pass


def _checked(value: object, where: str) -> str:
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f"{where} is {kind}, expected text; fill or drop it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where} has half a surrogate pair, expected Unicode text") from error
    return value


def _files(path: str | Path) -> tuple[Path, ...]:
    if path == "":
        raise ArgumentError("path must name a file or a folder, got an empty string")
    root = Path(path)
    try:
        mode = root.stat().st_mode
    except (OSError, ValueError) as error:
        # Cut and quoted, because a text in place of a path ends here too.
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"path {str(root)[:200]!r}: {reason}; texts go in a list") from error
    if not stat.S_ISDIR(mode):
        return (root,)

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    with _reading(root):
        for folder, folders, names in os.walk(root, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(folder, name) for name in names if not name.startswith(".")]
    if not found:
        raise DataError(f"{root}: a folder without files; expected one file of text or more")
    return tuple(sorted(found, key=Path.as_posix))


def _size(file: Path) -> int:
    with _reading(file):
        status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{file}: a pipe or a device, which is read only once; expected a file")
    return status.st_size


def _packed(file: Path) -> bool:
    return file.suffix.lower() == ".gz"


def _kind(file: Path) -> str:
    return (file.with_suffix("") if _packed(file) else file).suffix.lower()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _blocks(file: Path, advance: Advance, *, unpack: bool = True) -> Iterator[bytes]:
    with _reading(file):
        raw = file.open("rb")
    packed = gzip.GzipFile(fileobj=raw) if unpack and _packed(file) else None
    position = 0
    with raw, packed or nullcontext():
        while True:
            with _reading(file):
                block = (packed or raw).read(BLOCK)
            if not block:
                return
            advance(raw.tell() - position)
            position = raw.tell()
            yield block


def _decode(blocks: Iterable[bytes], encoding: str, file: Path) -> Iterator[str]:
    codec = codecs.lookup(encoding).name
    decoder = codecs.getincrementaldecoder("utf-8-sig" if codec == "utf-8" else codec)()
    offset, line, held, blank = 0, 1, "", True
    for block in chain(blocks, [b""]):
        if offset == 0:
            _refuse_binary(block, codec, file)
        state = decoder.getstate()
        try:
            text = held + decoder.decode(block, not block)
        except UnicodeDecodeError as error:
            # The decoder puts what it kept of earlier blocks in front: count from the end.
            good = len(block) - len(error.object) + error.start
            decoder.setstate(state)
            line += _unix(held + decoder.decode(block[: max(good, 0)])).count("\n")
            raise DataError(
                f"{file}: byte {offset + good} (line {line}) is not valid {encoding.upper()} "
                f"(0x{error.object[error.start]:02X}); name the right one with encoding=..., "
                "for example latin-1"
            ) from error
        except UnicodeError as error:
            raise DataError(f"{file}: {error}; name another with encoding=...") from error
        offset += len(block)
        # A "\r" at the end may be the first half of "\r\n".
        held = "\r" if block and text.endswith("\r") else ""
        text = _unix(text[: len(text) - len(held)])
        if text:
            blank = blank and text.isspace()
            line += text.count("\n")
            yield text
    if blank:
        what = "nothing but white space" if offset else "empty"
        raise DataError(f"{file}: {what}; expected text")


def _blank(text: str) -> bool:
    return not text or text.isspace()


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _refuse_binary(block: bytes, codec: str, file: Path) -> None:
    for magic, what in BINARY.items():
        if block.startswith(magic):
            raise DataError(f"{file}: {what}; expected text")
    if b"\0" in block and not codec.startswith(("utf-16", "utf-32")):
        raise DataError(f"{file}: binary (NUL bytes), expected text; is it encoding='utf-16'?")


def _cut(text: str) -> list[str]:
    """Cut a text in pieces of at most BLOCK characters; only an empty text has an empty piece."""
    pieces, start = [], 0
    while len(text) - start > BLOCK:
        end = start + BLOCK
        cut = (text.rfind("\n", start, end) + 1) or (text.rfind(" ", start, end) + 1) or end
        pieces.append(text[start:cut])
        start = cut
    return [*pieces, text[start:]]


def _whole(chunks: Iterable[str]) -> Iterator[Piece]:
    rest = ""
    for chunk in chunks:
        *full, rest = _cut(rest + chunk)
        yield from zip(full, repeat(False))
    yield rest, True


def _lines(chunks: Iterable[str], file: Path, *, keep_blank: bool = False) -> Iterator[Piece]:
    """Give (text, ends_line) of each line; with `keep_blank` a blank one is ("", True)."""
    rest, begun = "", False
    for chunk in chunks:
        # A chunk has at most BLOCK characters, so only its first line can grow longer than that.
        head, newline, tail = chunk.partition("\n")
        rest += head
        if len(rest) > BLOCK and (begun or not _blank(rest)):
            *full, rest = _cut(rest)
            yield from zip(full, repeat(False))
            begun = True
        elif len(rest) > RECORD:
            raise DataError(f"{file}: a line starts with over {RECORD} blanks; expected text")
        if newline:
            *lines, following = tail.split("\n")
            if begun or not _blank(rest):
                yield rest, True
            elif keep_blank:
                yield "", True
            # This is where the time goes: `_blank` is written out, and zip makes the tuples.
            if keep_blank:
                lines = ["" if line.isspace() else line for line in lines]
            else:
                lines = [line for line in lines if line and not line.isspace()]
            yield from zip(lines, repeat(True))
            rest, begun = following, False
    if begun or not _blank(rest):
        yield rest, True


def _paragraphs(lines: Iterable[Piece]) -> Iterator[Piece]:
    parts: list[str] = []
    size, glue = 0, ""
    for text, ends_line in chain(lines, [("", True)]):
        if text:
            parts += (glue, text)
            size += len(glue) + len(text)
            glue = " " if ends_line else ""
            if size > BLOCK:
                *full, rest = _cut("".join(parts))
                yield from zip(full, repeat(False))
                parts, size = [rest], len(rest)
        elif parts:
            yield "".join(parts), True
            parts, size, glue = [], 0, ""


def _rows(chunks: Iterable[str], file: Path) -> Iterator[str]:
    """Give whole lines without their ends."""
    rest, line = "", 1
    for chunk in chunks:
        *rows, rest = (rest + chunk).split("\n")
        yield from rows
        line += len(rows)
        if len(rest) > RECORD:
            raise DataError(f"{file}: line {line} has over {RECORD} characters; expected a record")
    if rest:
        yield rest


def _choose(column: str | None, there: Iterable[str], where: str | Path) -> str:
    if column is not None and column in there:
        return column
    names = ", ".join(map(repr, there)) or "none"
    if column is None:
        raise ArgumentError(f"column must name the text in {where}; its columns: {names}")
    raise DataError(f"{where}: no column {column!r}; its columns: {names}")


def _jsonl(rows: Iterable[str], column: str | None, file: Path) -> Iterator[tuple[int, object]]:
    place = f"{file}: line"
    for line, row in enumerate(rows, 1):
        if _blank(row):
            continue
        where = f"{place} {line}"
        try:
            record = json.loads(row)
        except json.JSONDecodeError as error:
            at = f"{where}, column {error.colno}"
            raise DataError(f"{at}: {error.msg}; expected one JSON object a line") from error
        except (RecursionError, ValueError) as error:
            raise DataError(f"{where}: {error}; expected a plain JSON object") from error
        if not isinstance(record, dict):
            raise DataError(f"{where}: a JSON {type(record).__name__}, expected an object")
        yield line, record[_choose(column, record, where)]


def _csv(
    rows: Iterable[str], column: str | None, file: Path, *, delimiter: str
) -> Iterator[tuple[int, object]]:
    csv.field_size_limit(max(csv.field_size_limit(), RECORD))
    # strict: a stray quote would otherwise swallow the rest of the file or vanish.
    reader = csv.reader((row + "\n" for row in rows), delimiter=delimiter, strict=True)
    header: list[str] = []
    line, index = 1, 0
    try:
        for record in reader:
            if record and not header:
                header = record
                index = header.index(_choose(column, header, file))
                if twice := sorted({name for name in header if header.count(name) > 1}):
                    raise DataError(f"{file}: line {line}: columns {twice} are there twice")
            elif record and len(record) != len(header):
                counts = f"{len(record)} fields, expected {len(header)} as in the header"
                raise DataError(f"{file}: line {line}: {counts}; quote those with a delimiter")
            elif record:
                yield line, record[index]
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{file}: line {line}: {error}; double quotes inside a field") from error


@contextmanager
def _unpacked(file: Path, advance: Advance) -> Iterator[Path]:
    """Give the file itself, or a temporary copy out of .gz: Parquet is read from its end."""
    if not _packed(file):
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "table.parquet")
        with copy.open("wb") as sink:
            sink.writelines(_blocks(file, advance))
        yield copy


def _parquet(file: Path, column: str | None, advance: Advance) -> Iterator[tuple[int, object]]:
    try:
        import polars
    except ImportError as error:
        raise DataError(f'{file}: needs polars; pip install "elman[tables]"') from error
    with _unpacked(file, advance) as copy:
        size = _size(copy)
        try:
            table = polars.scan_parquet(copy, glob=False, hive_partitioning=False)
            schema = table.collect_schema()
            column = _choose(column, schema.names(), file)
            if schema[column] != polars.String:
                raise DataError(f"{file}: column {column!r} is {schema[column]}, expected String")
            rows: int = table.select(polars.len()).collect().item()
            step = max(1, min(rows * SLICE // size, ROWS))
            for start in range(0, rows, step):
                end = min(start + step, rows)
                values = table.select(column).slice(start, step).collect().get_column(column)
                if copy is file:
                    advance(size * end // rows - size * start // rows)
                yield from enumerate(values, start + 1)
        except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
            reason = str(error).partition("\n")[0]
            raise DataError(f"{file}: cannot be read as Parquet ({reason})") from error
