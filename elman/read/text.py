r"""Read text from files: documents in pieces, in constant memory for files of any size.

    blocks of bytes -> (unpacked) -> characters -> line ends as "\n" -> documents -> pieces

    plain text          a document is the file, a line, or a paragraph
    .jsonl .ndjson      a document is the string at key `column` of an object, one object per line
    .csv .tsv           a document is the field in `column` of a record (RFC 4180 quoting)
    .parquet            a document is the value in `column` of a row
    any of them + .gz   unpacked while reading

The only line ends are "\n", "\r\n" and "\r"; a form feed or U+2028 is an ordinary character.
A blank line, record or text (only white space) is not a document.  Memory holds a few blocks, one
record of a table, and for Parquet the `column` of a row group, its unit of storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from elman.arguments import is_unicode
from elman.errors import ArgumentError, DataError
from elman.read import characters
from elman.read.characters import Advance, codec_of, decode, file_blocks, ignore
from elman.read.files import files_below, is_packed, is_path, kind_of, size_of
from elman.read.tables import (
    TABLES,
    USUAL,
    Values,
    line_columns,
    line_values,
    parquet_columns,
    parquet_values,
)

Document = Literal["file", "line", "paragraph"]
Piece = tuple[str, bool]

# Maximum characters of a record, which must be in memory as a whole.
RECORD = 1 << 24
# Maximum bytes and rows of a Parquet file that are read at once.
SLICE, ROWS = 1 << 23, 1 << 17


class TextSource:
    r"""Documents of text in files, read in order and in constant memory.

    `path` is a file, a folder (all files below it except hidden ones, by relative path; links to
    folders are not followed), or a list of texts, each a document. `document` is the unit of a
    document in plain text, and `column` its column in a table. `delimiter` separates the fields of
    a table (None to detect it). `encoding` is the encoding of the files (UTF-8 can have a byte
    order mark). `total_bytes` is the size on disk.

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
        delimiter: str | None = None,
    ) -> None:
        self.document, self.column, self.encoding = document, column, encoding
        self.delimiter = delimiter
        self.files: tuple[Path, ...] = ()
        self._texts: tuple[str, ...] = ()
        if document not in get_args(Document):
            raise ArgumentError(f"document must be file, line or paragraph, got {document!r}")
        codec_of(encoding)
        if is_path(path):
            self.files = files_below(path, "text files")
            self.name = Path(path).name or Path(path).resolve().name
            self.total_bytes = sum(size_of(file) for file in self.files)
        else:
            self._texts = tuple(checked_text(text, f"path[{i}]") for i, text in enumerate(path))
            self.name = f"{len(self._texts)} text{'s' * (len(self._texts) != 1)}"
            self.total_bytes = sum(len(text.encode()) for text in self._texts)
            if all(map(_blank, self._texts)):
                raise ArgumentError(f"path must contain text, got {self.name}, all of them blank")
        tables = [file for file in self.files if kind_of(file) in TABLES]
        if column is not None and not tables:
            raise ArgumentError(f"column={column!r} is for tables, but {self.name} is plain text")
        if column is None and tables:
            # This reads the names of the columns, and raises an error that lists them.
            next(self._values(tables[0], ignore), None)

    def pieces(self, advance: Advance | None = None) -> Iterator[Piece]:
        r"""Yield (text, ends_document), with at most 2^20 characters of text at a time.

        A piece that does not end its document ends at a line end if possible, else at a space.
        `advance(n)` is called with the bytes (of `total_bytes`) read since the last call.
        Raises `DataError` for a file that cannot be read as its kind.

        Example:
            >>> from elman.read.text import TextSource
            >>> list(TextSource(["To be,", "or not."]).pieces())
            [('To be,', True), ('or not.', True)]
        """
        advance = advance or ignore
        for text in self._texts:
            advance(len(text.encode()))
            if not _blank(text):
                yield from _whole([text])
        for file in self.files:
            if kind_of(file) in TABLES:
                yield from self._records(file, advance)
                continue
            chunks = decode(file_blocks(file, advance), self.encoding, file)
            if self.document == "file":
                yield from _whole(chunks)
            elif self.document == "line":
                yield from _lines(chunks, file)
            else:
                yield from _paragraphs(_lines(chunks, file, keep_blank=True))

    @property
    def notes(self) -> list[str]:
        """The messages about the detected format of tables."""
        tables = [file for file in self.files if kind_of(file) in USUAL]
        heads = [table_head(file, self.encoding, self.delimiter) for file in tables]
        return list(dict.fromkeys(head.note for head in heads if head.note is not None))

    def fingerprint(self) -> str:
        """Return a hash of content and arguments (BLAKE2b, 32 hex digits), without file names.

        Example:
            >>> from elman.read.text import TextSource
            >>> TextSource(["ab", "c"]).fingerprint() == TextSource(["a", "bc"]).fingerprint()
            False
        """
        encoding = codec_of(self.encoding)
        # The kind of a file is content too: equal bytes mean different texts as .csv and .tsv.
        kinds = [kind_of(file) for file in self.files if kind_of(file) in TABLES]
        digest = hashlib.blake2b(digest_size=16)
        how = (self.document, self.column, encoding, kinds, self.delimiter)
        digest.update(repr(how).encode())
        files = (file_blocks(file, ignore, unpack=False) for file in self.files)
        # Each has its own digest, so that moving a boundary between two of them changes the hash.
        for content in chain(files, ([text.encode()] for text in self._texts)):
            part = hashlib.blake2b()
            for block in content:
                part.update(block)
            digest.update(part.digest())
        return digest.hexdigest()

    def _records(self, file: Path, advance: Advance) -> Iterator[Piece]:
        found = False
        place = f"{file}: {'row' if kind_of(file) == '.parquet' else 'line'}"
        for number, values in self._values(file, advance):
            if isinstance(values, DataError):
                raise values
            text = checked_text(values[0], f"{place} {number}: column {self.column!r}")
            if not _blank(text):
                found = True
                yield from _whole([text])
        if not found:
            raise DataError(f"{file}: no text in column {self.column!r}; expected one or more")

    def _values(self, file: Path, advance: Advance) -> Values:
        columns = None if self.column is None else [self.column]
        return table_values(file, columns, self.encoding, advance, delimiter=self.delimiter)


def table_values(
    file: Path,
    columns: Sequence[str] | None,
    encoding: str,
    advance: Advance,
    *,
    lenient: bool = False,
    delimiter: str | None = None,
) -> Values:
    """Yield the values of some columns of a table of any kind, see `elman.read.tables`.

    `delimiter` is the user's setting, or None to detect it.  If `lenient`, bytes that are not text
    become halves of surrogate pairs (PEP 383).
    """
    kind, blocks = kind_of(file), file_blocks(file, advance)
    if kind != ".parquet":
        chunks = decode(blocks, encoding, file, lenient=lenient)
        return line_values(chunks, columns, file, kind=kind, record=RECORD, delimiter=delimiter)
    return parquet_values(
        file,
        columns,
        advance,
        unpacked=blocks if is_packed(file) else None,
        most_bytes=SLICE,
        most_rows=ROWS,
    )


class Head(NamedTuple):
    """Properties that are read from the beginning of a table.

    Attributes:
        names: names of the columns.
        delimiter: delimiter of .csv and .tsv, else None.
        note: message about an unusual delimiter, or None.
        types: types of the columns of Parquet, by name.
    """

    names: list[str]
    delimiter: str | None
    note: str | None
    types: dict[str, str]


def table_head(
    file: Path, encoding: str, delimiter: str | None = None, *, lenient: bool = False
) -> Head:
    """Return columns and delimiter of a table of any kind; `delimiter` is the user's setting."""
    kind, blocks = kind_of(file), file_blocks(file, ignore)
    if kind == ".parquet":
        names, types = parquet_columns(file, unpacked=blocks if is_packed(file) else None)
        return Head(names, None, None, types)
    chunks = decode(blocks, encoding, file, lenient=lenient)
    names, found = line_columns(chunks, file, kind=kind, record=RECORD, delimiter=delimiter)
    note = None
    if found not in (None, delimiter or USUAL.get(kind)):
        note = f"{file.name}: fields are separated by {found!r}"
    return Head(names, found, note, {})


def text_lines(
    file: Path, encoding: str, advance: Advance, *, lenient: bool = False
) -> Iterator[str]:
    r"""Yield all lines of a text file, blank ones too, without their ends.

    A line ends with "\n" or "\r\n"; a single "\r" is a character of its line, so that the lines of
    parallel files correspond.  If `lenient`, bytes that are not text become surrogates (PEP 383).
    """
    parts: list[str] = []
    blocks = file_blocks(file, advance)
    chunks = decode(blocks, encoding, file, lenient=lenient, returns=False)
    for text, ends in _lines(chunks, file, keep_blank=True):
        parts.append(text)
        if ends:
            yield "".join(parts)
            parts = []


def checked_text(value: object, where: str) -> str:
    """Return a value as text that can be encoded; raise a `DataError` if it is not."""
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f"{where} is {kind}, expected text; fill or drop it")
    if not is_unicode(value):
        half = next(ord(mark) for mark in value if "\ud800" <= mark <= "\udfff")
        # If reading is lenient, bytes that are not text are halves of surrogate pairs (PEP 383).
        what = "half a surrogate pair"
        if 0xDC80 <= half <= 0xDCFF:
            what = f"the byte 0x{half - 0xDC00:02X}"
        raise DataError(f"{where} has {what}, which is not text; fix it or name the encoding")
    return value


def _blank(text: str) -> bool:
    return not text or text.isspace()


def _cut(text: str) -> list[str]:
    """Cut a text into pieces of at most BLOCK characters; only an empty text has an empty piece."""
    pieces, start = [], 0
    while len(text) - start > characters.BLOCK:
        end = start + characters.BLOCK
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
    """Yield (text, ends_line) of each line; with `keep_blank` a blank one is ("", True)."""
    rest, begun = "", False
    for chunk in chunks:
        # A chunk has at most BLOCK characters, so only its first line can grow longer than that.
        head, newline, tail = chunk.partition("\n")
        rest += head
        if len(rest) > characters.BLOCK and (begun or not _blank(rest)):
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
            # Most time is spent here: `_blank` is inlined, and zip makes the tuples.
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
            if size > characters.BLOCK:
                *full, rest = _cut("".join(parts))
                yield from zip(full, repeat(False))
                parts, size = [rest], len(rest)
        elif parts:
            yield "".join(parts), True
            parts, size, glue = [], 0, ""
