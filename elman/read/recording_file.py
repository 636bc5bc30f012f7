"""Read one recording from a file: an array (T, C), or a table with a row for each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from elman.errors import ArgumentError, DataError
from elman.read.arrays import map_array
from elman.read.columns import Table
from elman.read.files import kind_of
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Layout, Recording, checked_array
from elman.read.rows import Rejects
from elman.read.tables import TABLES


def read_recording(path: Path, name: str, layout: Layout) -> Recording:
    """Return the recording of a .npy file or of a table.

    Args:
        path: the file.
        name: name of the recording, for messages.
        layout: names of the columns of a table; without channels, these are all columns except
            that of the stamps.

    Raises:
        DataError: the file cannot be read, or is not one recording.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from elman.read.recording_file import read_recording
        >>> from elman.read.recordings import Layout
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "gps.csv")
        ...     _ = path.write_text("ds,speed\\n10.0,3\\n10.5,4\\n")
        ...     found = read_recording(path, "row 1", Layout())
        >>> found.times.tolist(), found.names, found.starts
        ([0.0, 0.5], ('speed',), 10.0)
    """
    if path.suffix.lower() == ".npy":
        values = checked_array(map_array(path, f"{name} is not an array"), name)
        return Recording(path.name, 0.0, np.arange(len(values), dtype=np.float64), values)
    if kind_of(path) not in TABLES:
        shown = ", ".join(sorted(TABLES))
        raise DataError(
            f"{name} is not a recording; expected an array (T, C), a .npy file with it, or a table "
            f"({shown}) with a row for each step; if recordings are several rows of this table, "
            "name their columns with channels"
        )
    try:
        return _of_table(path, layout)
    except (ArgumentError, DataError) as error:
        raise DataError(f"{name}: {error}") from None


def _of_table(path: Path, layout: Layout) -> Recording:
    present = Table(path, encoding=layout.encoding, dialect=layout.dialect).names
    channels: Sequence[str] = layout.channels
    if not channels:
        others = (layout.ds, layout.unique_id, *layout.static)
        channels = [one for one in present if one not in others]
    elif lost := set(channels) - set(present):
        raise DataError(
            f"{path}: no column {min(lost)!r}, which is a channel of the first recording; its "
            f"columns: {', '.join(present)}"
        )
    source = RecordingSource(path, None, replace(layout, channels=tuple(channels)), labelled=False)
    found = source.read(Rejects(None))
    if len(found.items) > 1:
        raise DataError(f"has {len(found.items)} recordings in {layout.unique_id}, expected one")
    return replace(found.items[0], unique_id=path.name, names=found.channels)
