r"""Read sentences with a tag for each word.

    .conllu             CoNLL-U: ten columns with tabs, a blank line after each sentence; comments,
                        multiword tokens (1-2) and empty nodes (1.1) are skipped
    .conll .bio .iob    columns with spaces or tabs, a blank line after each sentence; the first
                        is the word, the last the tag, unless numbers choose others; a line that
                        begins with # and has another number of columns is a comment; -DOCSTART-
                        is skipped
    a table             two columns of lists, or of words with spaces between them
    parallel files      words of line i, tags of line i, with spaces between them
    lists               lists of words, and lists of tags

A bad sentence is a `DataError` in its place, as in `elman.read.rows`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

from elman.errors import ArgumentError, DataError
from elman.read.characters import Advance, ignore
from elman.read.files import files_below, is_path, kind_of, size_of
from elman.read.rows import Column, Row, Rows
from elman.read.tables import TABLES
from elman.read.text import checked_text, text_lines

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
BLANKS = " \t\r\n\f\v"  # between words; a no-break space is part of a word
COMMENT = re.compile(r"#\s*(id|sent_id|newdoc|newpar|text|doc|global\.columns)\b")
LOOKED_AT = 50  # number of lines that are checked in a file without a known suffix
COLUMNS = {".conll", ".bio", ".iob", ".iob2", ".conllu"}


class Sentences:
    """Words and their tags, from files or lists.

    Args:
        source: a file or lists, in one of the forms above.
        words: column of the words: a name in a table or CoNLL-U, or a number from 0.
        tags: column of the tags; None for sentences without tags.
        parallel: parallel file or list of tags.
        encoding: encoding of the files.
        lenient: whether bytes that are not text are an error of their row instead of the file.
        delimiter: delimiter of the fields of a table; None to detect it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.read.sentences import Sentences
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "a.conll")
        ...     _ = file.write_text("The DET\\ncat NOUN\\n\\nIt PRON\\n")
        ...     print([row.values for row in Sentences(file).read()])
        [(('The', 'cat'), ('DET', 'NOUN')), (('It',), ('PRON',))]
    """

    def __init__(
        self,
        source: Column,
        words: str | None = None,
        tags: str | None = "",
        *,
        parallel: Column | None = None,
        encoding: str = "utf-8",
        lenient: bool = False,
        delimiter: str | None = None,
    ) -> None:
        self.encoding, self.lenient, self.tagged = encoding, lenient, tags is not None
        self.columns = is_path(source) and kind_of(Path(source)) in COLUMNS
        names = [words or "words", *([tags or "tags"] if tags is not None else [])]
        self.rows: Rows | None = None
        if self.columns:
            assert is_path(source)
            if parallel is not None:
                raise ArgumentError(
                    f"{parallel}: {source} has words and tags already; give one of the two files"
                )
            self.files = files_below(source)
            self.name = Path(source).name
            form, tag = ("form", "upos") if kind_of(Path(source)) == ".conllu" else ("0", "-1")
            self.word, self.tag = self._number(words or form), self._number(tags or tag)
        else:
            others = () if parallel is None else (parallel,)
            if parallel is None and is_path(source) and _looks_like_columns(Path(source), encoding):
                raise ArgumentError(
                    f"{source}: looks like columns of words and tags; rename it to "
                    f"{Path(source).stem}.conll to read them"
                )
            self.rows = Rows(
                source,
                names,
                parallel=others,
                encoding=encoding,
                lenient=lenient,
                delimiter=delimiter,
            )
            self.files, self.name = self.rows.files, self.rows.name

    def _number(self, column: str) -> int:
        if column.lower() in CONLLU:
            return CONLLU.index(column.lower())
        try:
            return int(column)
        except ValueError:
            raise ArgumentError(
                f"a column of {self.name} is a number, or in CoNLL-U one of {', '.join(CONLLU)}; "
                f"got {column!r}"
            ) from None

    @property
    def notes(self) -> list[str]:
        """The messages about the detected format of a table."""
        return [] if self.rows is None else self.rows.notes

    @property
    def total_bytes(self) -> int:
        """The size on disk."""
        return sum(map(size_of, self.files))

    def read(self, advance: Advance | None = None) -> Iterator[Row]:
        """Yield all sentences, with tags if any; `advance(n)` is called with the bytes read."""
        if self.rows is None:
            for file in self.files:
                yield from self._blocks(file, advance or ignore)
            return
        for place, values in self.rows.read(advance):
            if isinstance(values, DataError):
                yield Row(place, values)
                continue
            try:
                yield Row(place, _sentence(values, place))
            except DataError as error:
                yield Row(place, error)

    def _blocks(self, file: Path, advance: Advance) -> Iterator[Row]:
        conllu = kind_of(file) == ".conllu"
        begin, lines = 0, list[str]()
        found = text_lines(file, self.encoding, advance, lenient=self.lenient)
        for number, line in enumerate(found, 1):
            if line.strip():
                begin = begin or number
                lines.append(line)
            elif lines:
                yield from self._block(file, begin, lines, conllu=conllu)
                begin, lines = 0, []
        if lines:
            yield from self._block(file, begin, lines, conllu=conllu)

    def _block(self, file: Path, begin: int, lines: list[str], *, conllu: bool) -> Iterator[Row]:
        place = f"{file}: line {begin}"
        words, tags, width = [], [], 0
        try:
            wide = {len(_fields(line, conllu=conllu)) for line in lines if line[0] != "#"}
            for number, line in enumerate(lines, begin):
                fields = _fields(line, conllu=conllu)
                comment = conllu or len(fields) not in wide or COMMENT.match(line)
                if (line[0] == "#" and comment) or fields[0] == "-DOCSTART-":
                    continue
                where = f"{file}: line {number}"
                if conllu and len(fields) != len(CONLLU):
                    raise DataError(f"{where}: expected {len(CONLLU)} columns, got {len(fields)}")
                if conllu and not fields[0].isdecimal():
                    continue
                width = width or len(fields)
                if self.tagged and self.tag < 0 and len(fields) != width:
                    raise DataError(
                        f"{where}: expected {width} columns, as in the first row of the sentence, "
                        f"got {len(fields)}; separate columns by tabs if words contain blanks"
                    )
                words.append(self._field(fields, self.word, where))
                if self.tagged:
                    tags.append(self._field(fields, self.tag, where))
        except DataError as error:
            yield Row(place, error)
            return
        if words:  # not only comments
            yield Row(place, (tuple(words), tuple(tags)) if self.tagged else (tuple(words),))

    def _field(self, fields: Sequence[str], column: int, where: str) -> str:
        # The last of one column is the word, not a tag.
        if not -len(fields) <= column < len(fields) or (self.tagged and len(fields) < 2):
            wanted = "a word and a tag" if self.tagged else "a word"
            raise DataError(f"{where}: expected {wanted}, but the line has {len(fields)} columns")
        text = checked_text(fields[column], where).strip(BLANKS)
        if not text:
            raise DataError(f"{where}: column {column} is empty; expected a word or tag")
        return text

    def fingerprint(self) -> str:
        """Return a hash of the content and of the settings."""
        if self.rows is not None:
            return self.rows.fingerprint()
        lines = [Rows(file, ["line"], encoding=self.encoding) for file in self.files]
        return ":".join([*(file.fingerprint() for file in lines), str(self.word), str(self.tag)])


def _looks_like_columns(path: Path, encoding: str) -> bool:
    """Return whether the first lines of a text file are words with tags instead of sentences."""
    if not path.is_file() or kind_of(path) in TABLES:
        return False
    lines = islice(text_lines(path, encoding, ignore), LOOKED_AT)
    blocks = [list(block) for full, block in groupby(lines, key=bool) if full]
    widths = {
        len(_fields(line, conllu=False)) for block in blocks for line in block if line[0] != "#"
    }
    # Lines that are sentences can be equally long, too, but no blank lines separate groups of them.
    several = len(blocks) > 1 and max(map(len, blocks)) > 1
    return several and len(widths) == 1 and widths != {1}


def _fields(line: str, *, conllu: bool) -> list[str]:
    return line.split("\t") if conllu or "\t" in line else split_words(line)


def split_words(text: str) -> list[str]:
    """Split a text at blanks into words.

    Example:
        >>> from elman.read.sentences import split_words
        >>> split_words("10\u00a0000  people ")
        ['10\xa0000', 'people']
    """
    return re.findall(rf"[^{BLANKS}]+", text)


def _sentence(values: Sequence[object], place: str) -> tuple[tuple[str, ...], ...]:
    parts = [words_of(value, place) for value in values]
    if len(parts) == 2 and len(parts[0]) != len(parts[1]):
        raise DataError(f"{place}: words: {len(parts[0])}, but tags: {len(parts[1])}")
    if not parts[0]:
        raise DataError(f"{place}: no words; expected a sentence")
    return tuple(parts)


def words_of(value: object, place: str) -> tuple[str, ...]:
    """Return the words or tags of a cell: a list, or a text with blanks between them.

    Raises:
        DataError: the cell is neither of these, or a word is empty.
    """
    if isinstance(value, str):
        value = split_words(value)
    if not isinstance(value, Iterable) or isinstance(value, dict):
        kind = "null" if value is None else type(value).__name__
        raise DataError(f"{place}: {kind}, expected a list of words or tags")
    return tuple(_word(one, place) for one in value)


def _word(value: object, place: str) -> str:
    """Return a word or tag, which can be a number, as text."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return str(value)
    text = checked_text(value, f"{place}: a word or tag")
    if not text or text.isspace():
        raise DataError(f"{place}: a word or tag is empty; fill or drop it")
    return text
