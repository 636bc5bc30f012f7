r"""The format of values in a table: delimiters, decimal marks, codes for missing values.

A format that is not declared is detected from the beginning of a file:

    delimiter   the mark that splits the header, and most other records into as many fields
    decimal     a comma, if numbers contain commas and no points; thousands are not detected
    numbers     1  -2.5  .5  1e-3; words are 1_1, 1E5, 01234, inf and digits that are not ASCII
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from elman.errors import ArgumentError

DELIMITERS = (",", ";", "\t", "|")
SAMPLED = 100  # maximum number of records from which a delimiter is detected
HEADER = re.compile(r"sep=(.)", re.IGNORECASE)  # the first line of some Excel files

TRUTH = {"true": 1.0, "false": 0.0}  # as frames write them
NOTHING = {"", "na", "n/a", "nan", "null", "none", "?"}
# Texts that Excel and C write in place of a number; no name, label or word looks like them.
MARKS = {
    "#n/a",
    "#n/a n/a",
    "#na",
    "#nv",
    "#null!",
    "#div/0!",
    "#value!",
    "#ref!",
    "#name?",
    "#num!",
    "<na>",
    "-nan",
    "1.#ind",
    "-1.#ind",
    "1.#qnan",
    "-1.#qnan",
}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# Texts that can be codes; as numbers, 01234 and 1E5 would lose digits or letters.
CODE = re.compile(r"[+-]?0\d.*|[+-]?\d+e\d+", re.ASCII | re.IGNORECASE)
COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
POINT = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)  # 1.234 can be 1234


@dataclass(frozen=True)
class Dialect:
    """The format of the values of a table.

    Attributes:
        delimiter: delimiter of the fields of .csv and .tsv files; None to detect it.
        decimal: decimal mark of numbers in text; None to detect it in such files.
        missing: codes, such as "-1" for all columns of values, or "age=-1" for one of any kind.
        categorical: columns whose values are words.
        numeric: columns whose values are numbers.

    Example:
        >>> from elman.read.dialect import Dialect, is_code
        >>> codes = Dialect(missing=("-9", "age=-1"))
        >>> is_code("-9.0", codes.codes("heat")), is_code(-1, codes.codes("age"))
        (True, True)
    """

    delimiter: str | None = None
    decimal: str | None = None
    missing: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ArgumentError(
                f"delimiter must be one character such as ; or a tab, got {self.delimiter!r}"
            )
        if self.decimal not in (None, ".", ","):
            raise ArgumentError(f"decimal must be a point or a comma, got {self.decimal!r}")
        if self.decimal == self.delimiter == ",":
            raise ArgumentError("delimiter and decimal are both a comma; set another delimiter")
        if both := set(self.categorical) & set(self.numeric):
            raise ArgumentError(f"categorical and numeric both name {sorted(both)[0]!r}")

    def codes(self, column: str, *, named: bool = False) -> set[str | float]:
        """Return the codes for missing values of a column, as text and as numbers.

        Args:
            column: name of the column.
            named: whether only codes that name the column count.
        """
        found: set[str | float] = set()
        for entry in self.missing:
            name, equals, code = entry.partition("=")
            if name == column and equals:
                found |= _both(code)
            elif not (name and equals) and not named:
                found |= _both(entry)
        return found


def _both(code: str) -> set[str | float]:
    number = NUMBER.fullmatch(code.strip())
    return {code.strip(), float(code)} if number else {code.strip()}


def is_code(value: object, codes: set[str | float]) -> bool:
    """Return whether a value equals one of the codes, as text or as a number."""
    if isinstance(value, str):
        text = str(with_point(value.strip()))
        number = float(text) if NUMBER.fullmatch(text) else None
        return value.strip() in codes or number in codes
    try:
        return value in codes
    except TypeError:  # lists
        return False


def find_delimiter(head: Sequence[str], usual: str, wanted: str | None = None) -> str:
    """Detect the delimiter of a file from its first lines.

    Args:
        head: lines, the header first.
        usual: the usual delimiter of this kind of file.
        wanted: the delimiter that the user has set; it is used if it splits the header.

    Example:
        >>> from elman.read.dialect import find_delimiter
        >>> find_delimiter(["ds;y", "2024-01-01;1,5", "2024-01-02;2,5"], ",")
        ';'
        >>> find_delimiter(["text,label", "so good; so fine,1"], ",")
        ','
    """
    found, best = wanted or usual, 0.0
    for mark in dict.fromkeys((wanted or usual, usual, *DELIMITERS)):
        widths = [len(record) for record in csv.reader(head, delimiter=mark) if record]
        if not widths or widths[0] < 2:
            continue
        if mark == wanted:
            return mark
        share = sum(width == widths[0] for width in widths) / len(widths)
        if share > best:
            found, best = mark, share
    return found


def find_decimal(fields: Iterable[object]) -> str:
    """Return a comma if it is the decimal mark of some fields and a point of none; else a point.

    Example:
        >>> from elman.read.dialect import find_decimal
        >>> find_decimal(["1,5", "2"]), find_decimal(["1,500", "2.5"])
        (',', '.')
    """
    comma = False
    for field in fields:
        if isinstance(field, str):
            if POINT.fullmatch(field.strip()):
                return "."
            comma = comma or COMMA.fullmatch(field.strip()) is not None
    return "," if comma else "."


def choose_decimal(fields: Iterable[object], delimiter: str | None) -> tuple[str, str]:
    """Return the decimal mark of a text file, and a note if it is a comma or uncertain; else "".

    Args:
        fields: fields of columns that can be numbers.
        delimiter: delimiter of the fields; if it is a comma, the decimal mark is a point.

    Example:
        >>> from elman.read.dialect import choose_decimal
        >>> choose_decimal(["1,5", "2"], ";"), choose_decimal(["1,500", "2"], ",")
        ((',', '1,5 is read with a decimal comma'), ('.', ''))
        >>> choose_decimal(["999", "1.234"], ";")[1]
        '1.234 is read with a decimal point; if points group thousands, remove them'
    """
    if delimiter == ",":
        return ".", ""
    texts = [field.strip() for field in fields if isinstance(field, str)]
    if find_decimal(texts) == ",":
        return ",", f"{next(filter(COMMA.fullmatch, texts))} is read with a decimal comma"
    points = list(filter(POINT.fullmatch, texts))
    # Numbers between semicolons often have decimal commas, and points that group thousands.
    if not points or delimiter != ";" or not all(map(THOUSANDS.fullmatch, points)):
        return ".", ""
    note = f"{points[0]} is read with a decimal point; if points group thousands, remove them"
    return ".", note


def number_of(value: object, decimal: str = ".") -> float:
    """Convert a value or its text to a number; raise ValueError or TypeError if it is not one."""
    if not isinstance(value, str):
        return float(value)  # type: ignore[arg-type]
    text = value.strip()
    if text.lower() in TRUTH:
        return TRUTH[text.lower()]
    if decimal == ",":
        text = text.translate({ord(","): ".", ord("."): ","})
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{value!r} is not a number")
    return float(text)


def number_or_nan(value: object, decimal: str = ".") -> float:
    """Convert a value or its text to a number; return NaN if it is not one."""
    try:
        return number_of(value, decimal)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def number_in(value: object, decimal: str | None) -> float:
    """Convert a cell to a number; NaN if it is not one.

    Without a decimal mark, a comma is one unless it can separate thousands.

    Example:
        >>> from elman.read.dialect import number_in
        >>> number_in("0,75", None), number_in("1,234", None), number_in("1,234", ",")
        (0.75, nan, 1.234)
    """
    found = number_or_nan(value, decimal or ".")
    if decimal is None and math.isnan(found) and isinstance(value, str):
        whole, mark, part = value.strip().partition(",")
        if mark and not (len(part) == 3 and whole.strip("+-") != "0"):
            return number_or_nan(value, ",")
    return found


def are_numbers(values: Iterable[object], decimal: str = ".", *, typed: bool = False) -> bool:
    """Return whether all values are numbers, none of them a code such as 01234 or 1E5.

    Args:
        values: values without missing ones.
        decimal: decimal mark of numbers in text.
        typed: whether the table declares types, so that text is never a number.

    Example:
        >>> from elman.read.dialect import are_numbers
        >>> are_numbers(["1", "-2.5", "1e-3"]), are_numbers(["01234", "98101"])
        (True, False)
    """
    for value in values:
        if isinstance(value, str) and (typed or CODE.fullmatch(value.strip())):
            return False
        try:
            number_of(value, decimal)
        except (TypeError, ValueError):
            return False
    return True


def with_point(value: object) -> object:
    """Replace the decimal comma of a number by a point; return anything else unchanged."""
    if isinstance(value, str) and COMMA.fullmatch(value.strip()):
        return value.replace(",", ".")
    return value


def is_same(value: object, word: str) -> bool:
    """Return whether a value equals a word, also as a number: 1, 1.0 and "1.0"."""
    return name_of(value) == word or named_like(name_of(value)) == word


def name_of(value: object) -> str:
    """Return a value as a name or word; whole numbers of any type are written alike.

    Example:
        >>> from elman.read.dialect import name_of
        >>> name_of(7.0), name_of(7), name_of("7.0"), name_of(" a")
        ('7', '7', '7.0', ' a')
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def named_like(name: object) -> str:
    """Return a name for comparison: surrounding blanks and `.0` after a whole number are dropped.

    Example:
        >>> from elman.read.dialect import named_like
        >>> named_like(" a"), named_like(7), named_like(7.0), named_like("7.0")
        ('a', '7', '7', '7')
    """
    text = str(name).strip()
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def equal_names(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return names in their known spelling: 1.0 is the series 1, unless both exist.

    Example:
        >>> from elman.read.dialect import equal_names
        >>> equal_names(["1.0", " a", "7"], ["1", "a"])
        ['1', 'a', '7']
    """
    given, exact = set(names), set(known)
    by_value = {named_like(name): name for name in reversed(known) if name not in given}
    return [name if name in exact else by_value.get(named_like(name), name) for name in names]


def is_nothing(value: object) -> bool:
    """Return whether a value or its text means a missing value."""
    if isinstance(value, str):
        return value.strip().lower() in NOTHING or is_mark(value)
    return is_none(value)


def is_mark(value: str) -> bool:
    """Return whether a text is a mark of Excel or C for a missing number, such as #N/A."""
    return value.strip().lower() in MARKS


def is_none(value: object) -> bool:
    """Return whether a value is None, NaN, NaT or NA."""
    # Comparing NA of pandas with itself gives NA, which is neither true nor false.
    if type(value).__name__ in ("NoneType", "NAType", "NaTType"):
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # arrays
        return False
