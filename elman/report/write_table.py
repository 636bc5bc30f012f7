"""Write the tables of a model's predictions to files: .csv, .tsv, .jsonl or .parquet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from elman.atomic import write_atomic
from elman.errors import FolderError
from elman.optional import need
from elman.read.clock import Resolution, write_moments
from elman.read.files import path_of

KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
EXACT = 1 << 53  # whole numbers up to here are exact as floats


def check_target(path: str | Path, *, overwrite: bool, kinds: tuple[str, ...] = KINDS) -> None:
    """Raise a FolderError, before anything is computed, for a file that cannot be written."""
    path = path_of(path, "path")
    check_suffix(path, kinds)
    if path.exists() and not overwrite:
        raise FolderError(f"{path}: exists already; name another file, or give --overwrite")
    if not path.parent.is_dir():
        raise FolderError(
            f"{path}: there is no folder {path.parent}; create it, or name another file"
        )


def check_suffix(path: Path, kinds: Sequence[str]) -> None:
    """Raise a FolderError for a folder, a device, or a name without one of these suffixes."""
    wanted = f"that ends with {', '.join(kinds)}"
    if path.exists() and not path.is_file():
        found = "a folder" if path.is_dir() else "a device"
        raise FolderError(f"{path}: is {found}, expected a file {wanted}")
    if path.suffix.lower() not in kinds:
        raise FolderError(f"{path}: expected a name {wanted}")


def write_table(
    path: str | Path,
    table: dict[str, list[Any]],
    *,
    least: Resolution = "D",
    overwrite: bool = False,
) -> None:
    """Write columns of equal length to a file.

    In text files, NaN becomes an empty field (null in JSONL), all datetimes have one format, and
    the numbers of a column without fractions have no decimal point.

    Args:
        path: the file.
        table: the columns by name; dates and datetimes keep their type in Parquet.
        least: the coarsest resolution of datetimes in text.
        overwrite: whether to replace an existing file.

    Raises:
        FolderError: the file exists already, cannot be written, or has another suffix.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.report.write_table import write_table
        >>> path = Path(tempfile.mkdtemp()) / "sales.csv"
        >>> write_table(path, {"sold": [3.0, float("nan")], "mean": [2.0, 2.5]})
        >>> path.read_text().split()
        ['sold,mean', '3,2.0', ',2.5']
    """
    path = path_of(path, "path")
    check_target(path, overwrite=overwrite)
    kind = path.suffix.lower()
    if kind == ".parquet":
        write_atomic(path, _parquet(table, path))
        return
    rows = (
        [None if isinstance(x, float) and x != x else x for x in row]
        for row in zip(*map(_as_written, as_text(table, least).values()), strict=True)
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


def as_text(table: Mapping[str, Sequence[Any]], least: Resolution = "D") -> dict[str, list[Any]]:
    """Return the columns with datetimes as text, all in one format.

    Example:
        >>> from datetime import datetime
        >>> from elman.report.write_table import as_text
        >>> as_text({"y": [1.5], "start": [datetime(2024, 3, 1)], "end": [datetime(2024, 3, 1, 5)]})
        {'y': [1.5], 'start': ['2024-03-01 00:00:00'], 'end': ['2024-03-01 05:00:00']}
    """
    stamps = [name for name, values in table.items() if values and isinstance(values[0], datetime)]
    written = iter(write_moments([one for name in stamps for one in table[name]], least))
    return {
        name: list(islice(written, len(values))) if name in stamps else list(values)
        for name, values in table.items()
    }


def _as_written(values: Sequence[Any]) -> Sequence[Any]:
    """Return a column with floats as whole numbers, if none of them has a fraction."""
    floats = [x for x in values if isinstance(x, float) and math.isfinite(x)]
    if not all(x.is_integer() and abs(x) < EXACT for x in floats):
        return values
    return [int(x) if isinstance(x, float) and math.isfinite(x) else x for x in values]


def _parquet(table: dict[str, list[Any]], path: Path) -> bytes:
    polars = need("polars", f"{path}: Parquet")
    target = io.BytesIO()
    columns = [_series(polars, name, values) for name, values in table.items()]
    polars.DataFrame(columns).write_parquet(target)
    return target.getvalue()


def _series(polars: Any, name: str, values: list[Any]) -> Any:
    """Return a column; datetimes with a zone keep it if it has a name, else they are in UTC."""
    zone = getattr(values[0], "tzinfo", None) if values else None
    if zone is None:
        return polars.Series(name, values, strict=False)  # names can be of several types
    moments = polars.Series(name, [one.astimezone(timezone.utc) for one in values])
    return moments.dt.convert_time_zone(getattr(zone, "key", "UTC"))
