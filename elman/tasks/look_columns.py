"""Describe the columns of a table, and guess the task of data.  This file does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from elman.errors import ArgumentError, DataError
from elman.inputs.guess import STEPS
from elman.read.audio import is_audio
from elman.read.columns import Table, check_rows
from elman.read.dialect import are_numbers, choose_decimal, is_nothing, number_of
from elman.read.file_source import names_files
from elman.read.files import files_below, kind_of
from elman.read.images import is_image
from elman.read.rows import Rows
from elman.read.sentences import COLUMNS
from elman.read.stamps import parse
from elman.read.tables import TABLES
from elman.read.text import table_head
from elman.settings import dialect_of
from elman.tasks import AnyTask

FIRST = 1000  # rows that are read


def describe_columns(data: Path, model: AnyTask) -> dict[str, str]:
    """Describe the first values of each column of a table; for a folder, of its first table.

    The result is empty if the file is not a table.
    """
    file = files_below(data)[0]
    if kind_of(file) not in TABLES:
        return {}
    dialect = dialect_of(model)
    head = table_head(file, model.encoding, dialect.delimiter, lenient=True)
    rows = Rows(
        file, head.names, encoding=model.encoding, lenient=True, delimiter=dialect.delimiter
    ).read()
    good = [row.values for row in islice(rows, FIRST) if not isinstance(row.values, DataError)]
    columns = zip(*good, strict=True) if good else [()] * len(head.names)
    decimal = dialect.decimal or choose_decimal(chain(*good), head.delimiter)[0]
    return {
        name: describe_values(values, decimal, typed=head.delimiter is None)
        for name, values in zip(head.names, columns, strict=True)
    }


def describe_values(values: Sequence[object], decimal: str = ".", *, typed: bool = False) -> str:
    """Describe the values of a column: numbers, dates, words or texts.

    Example:
        >>> from elman.tasks.look_columns import describe_values
        >>> describe_values(["1", "2.5", ""]), describe_values(["yes", "no", "yes"])
        ('numbers from 1 to 2.5, 1 missing', '2 different words: no, yes')
        >>> describe_values(["2024-03-01", "2024-03-02"])
        'dates from 2024-03-01 to 2024-03-02'
    """
    there = [value for value in values if isinstance(value, list) or not is_nothing(value)]
    missing = f", {len(values) - len(there):,} missing" if len(there) < len(values) else ""
    if not there:
        return "no values"
    if isinstance(there[0], list):
        return f"lists{missing}"
    with suppress(OverflowError):  # a whole number of hundreds of digits
        if are_numbers(there, decimal, typed=typed):
            numbers = [number_of(value, decimal) for value in there]
            return f"numbers from {min(numbers):g} to {max(numbers):g}{missing}"
    parsed = parse(there)
    if parsed.values.dtype.kind == "M" and not parsed.bad:
        return f"dates from {there[0]} to {there[-1]}{missing}"
    texts = [str(value) for value in there]
    words = sorted(set(texts))
    if sum(map(len, texts)) > 40 * len(texts) or len(words) > len(texts) / 2 > 5:
        return f"texts of {sum(len(one.split()) for one in texts) / len(texts):.0f} words{missing}"
    more = ", ..." if len(words) > 5 else ""
    return f"{len(words):,} different words: {', '.join(words[:5])}{more}{missing}"


def guess_task(
    data: Path, tasks: Sequence[str], flags: AbstractSet[str], *, two: bool
) -> tuple[str, str]:
    """Guess the task from the data and the flags; return it with the reason.

    Args:
        data: a file or a folder.
        tasks: names of the tasks that have all the flags.
        flags: the given flags.
        two: whether a second file is given.

    Raises:
        ArgumentError: the data could be for several tasks.
        DataError: the data are a table that has only a header.
    """
    check_rows(data)
    if len(tasks) == 1:
        return tasks[0], "the only task with these flags"
    kinds = {kind_of(file) for file in files_below(data, "texts, tables, audio files or images")}
    names: set[str] = set()
    if table := kinds <= TABLES:
        names = set(Table(files_below(data)[0], lenient=True).names)
    files = names_files(data, "path", lambda path: is_audio(path) or is_image(path))
    clues = (
        ("tagger", kinds <= COLUMNS, "columns of words and tags"),
        ("tagger", files and two and table, "files and a table of spans"),
        ("classifier", files and "label" in names, "files and a column label"),
        ("transcriber", files and "text" in names, "files of audio or images, and a column text"),
        ("classifier", bool(flags & {"--channels", "--variable"}), "recordings"),
        ("translator", names >= {"source", "target"}, "columns source and target"),
        ("classifier", names >= {"text", "label"}, "columns text and label"),
        ("tagger", names >= {"words", "tags"}, "columns words and tags"),
        ("forecaster", names >= {"y"}, "a column y"),
        ("classifier", "label" in names and not names >= STEPS, "a column label"),
        ("classifier", data.is_dir() and table, "a folder of tables"),
        ("classifier", data.is_dir() and _in_folders(data), "a folder for each label"),
        ("translator", two and not table, "two files of text"),
        ("language-model", not table and not files, "plain text"),
    )
    for name, fits, why in clues:
        if fits and name in tasks:
            return name, why
    raise ArgumentError(
        f"{data}: could be for {' or '.join(tasks)}; name the task, "
        "such as --task classifier, and its columns by their flags"
    )


def _in_folders(data: Path) -> bool:
    return all(len(file.relative_to(data).parts) == 2 for file in files_below(data))
