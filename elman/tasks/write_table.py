"""Tables of what a model says, as files: .csv, .tsv, .jsonl or .parquet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elman.atomic import write_atomic
from elman.errors import DataError, FolderError

KINDS = (".csv", ".tsv", ".jsonl", ".parquet")


def check_target(path: str | Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written with a FolderError, before the work."""
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise FolderError(f"{path}: expected a name that ends with {', '.join(KINDS)}")
    if path.exists() and not overwrite:
        raise FolderError(f"{path}: is there already; name another file, or give --overwrite")


def write_table(
    path: str | Path,
    table: dict[str, list[Any]],
    *,
    stamps: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write columns of one length; NaN becomes nothing.

    Args:
        path: of the file.
        table: by name.
        stamps: columns of dates as they are written, which are dates in Parquet.
        overwrite: replace a file that is there.

    Raises:
        FolderError: the file is there already, or cannot be written, or has another name.
    """
    path = Path(path)
    check_target(path, overwrite=overwrite)
    kind = path.suffix.lower()
    if kind == ".parquet":
        write_atomic(path, _parquet(table, stamps, path))
        return
    rows = (
        [None if isinstance(x, float) and x != x else x for x in row]
        for row in zip(*table.values(), strict=True)
    )
    text = io.StringIO()
    if kind in (".csv", ".tsv"):
        lines = csv.writer(text, delimiter="," if kind == ".csv" else "\t", lineterminator="\n")
        lines.writerows([list(table), *rows])
    else:
        for row in rows:
            finite = [None if isinstance(x, float) and abs(x) == math.inf else x for x in row]
            record = dict(zip(table, finite, strict=True))
            text.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    write_atomic(path, text.getvalue())


def _parquet(table: dict[str, list[Any]], stamps: Sequence[str], path: Path) -> bytes:
    try:
        import polars
    except ImportError as error:
        raise DataError(f'{path}: needs polars; pip install "elman[tables]"') from error
    whole = io.BytesIO()
    frame = polars.DataFrame(table)
    stamps = [name for name in stamps if frame.schema.get(name) == polars.String]
    frame = frame.with_columns(polars.col(stamps).str.to_datetime())
    frame.write_parquet(whole)
    return whole.getvalue()
