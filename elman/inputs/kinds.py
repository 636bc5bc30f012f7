"""The table of the kinds of inputs, and the detection of the kind from data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from elman.cores import is_timed
from elman.errors import ArgumentError
from elman.inputs.audio import AudioReader
from elman.inputs.declared import read_declared
from elman.inputs.fused import FusedReader
from elman.inputs.fused_rows import FusedRowsReader
from elman.inputs.guess import STEPS, guess_columns
from elman.inputs.image import ImageReader
from elman.inputs.input import Reader
from elman.inputs.nested import NestedReader
from elman.inputs.recording import RecordingReader
from elman.inputs.settings import (
    AudioSettings,
    ImageSettings,
    InputSettings,
    RecordingSettings,
)
from elman.inputs.target_column import pair
from elman.inputs.text import TextReader
from elman.inputs.values import CategoryReader, NumberReader
from elman.inputs.words import WordReader
from elman.read.audio_source import is_clips
from elman.read.columns import Table
from elman.read.files import is_path, kind_of
from elman.read.frames import is_frame
from elman.read.image_source import is_images
from elman.read.recordings import is_arrays
from elman.read.tables import TABLES
from elman.settings import check_pairs, dialect_of

READERS: dict[str, type[Reader]] = {
    reader.kind: reader
    for reader in (
        TextReader,
        WordReader,
        RecordingReader,
        AudioReader,
        ImageReader,
        NumberReader,
        CategoryReader,
    )
}
FUSION = ("fusion", "drop_inputs", "missing_files")  # settings of several inputs
CODES = ("missing", "numeric", "categorical")  # settings of columns of recordings
SHARED = ("window", "overlap", "examples", "convolution")  # of several kinds
OWNERS = {  # the only kind of inputs on which a setting has an effect
    name: kind
    for kind, names in (
        (RecordingReader.kind, RecordingSettings.__annotations__),
        (AudioReader.kind, AudioSettings.__annotations__),
        (ImageReader.kind, ImageSettings.__annotations__),
        (WordReader.kind, ("words", "character_size")),
    )
    for name in names
    if name not in SHARED
}
OLD = {"texts": TextReader.kind, "sentences": WordReader.kind}  # names in folders of Elman 0.1.0


def find_kinds(settings: InputSettings, given: Any, usual: str) -> list[str]:
    """Return the kinds of the inputs: those that are set, or the one detected from the data.

    Args:
        settings: settings for reading.
        given: the training data: a source, or a source and its targets.
        usual: kind of data that are not recordings.

    Raises:
        ArgumentError: a kind is unknown, or a setting needs another kind.

    Example:
        >>> import numpy as np
        >>> from elman.inputs.kinds import find_kinds
        >>> from elman.inputs.settings import InputSettings
        >>> find_kinds(InputSettings(), [np.zeros((5, 2))], "text")
        ['recordings']
    """
    usual = usual if settings.group is None else TextReader.kind
    kinds = [one.bare for one in settings.declared] or _guess(settings, given, usual)
    found = list(map(read_declared, kinds))
    columns = [one.column for one in found]
    for column, kind, _ in found:
        if kind not in READERS:
            raise ArgumentError(
                f"inputs must be KIND or COLUMN:KIND with one of the kinds {', '.join(READERS)}, "
                f"got {kind if column is None else f'{column}:{kind}'!r}"
            )
        if len(kinds) > 1 and (not column or columns.count(column) > 1):
            raise ArgumentError(
                "each of several inputs needs its own column, such as "
                f"review:{kind}; got {', '.join(kinds)}"
            )
    recordings = [
        settings.of_input(one.column) for one in found if one.kind == RecordingReader.kind
    ]
    if settings.group is not None:
        check_group(settings, columns)
    if len(kinds) > 1:
        check_several_recordings(recordings)
    first = next((one.kind for one in found if not READERS[one.kind].static), found[0].kind)
    if is_timed(settings.cell) and first != RecordingReader.kind:
        raise ArgumentError(
            f"cell={settings.cell} is for recordings, which have times; got {READERS[first].noun}"
        )
    vectors = any(settings.of_input(column).vectors is not None for column in columns)
    if vectors and (first != TextReader.kind or len(kinds) > 1):
        only = " as the only input" if first == TextReader.kind else ""
        raise ArgumentError(f"vectors needs texts{only}, got {', '.join(kinds)}")
    return kinds


def check_group(settings: InputSettings, columns: list[str | None]) -> None:
    """Raise an ArgumentError for settings that rows of groups cannot have."""
    if settings.group in columns:
        raise ArgumentError(f"group={settings.group} is also an input; name another column")
    each = [settings.of_input(column) for column in columns]
    for name in ("window", "channels", "variable"):
        if any(getattr(one, name) for one in each):
            raise ArgumentError(
                f"{name} has no effect with group={settings.group}, whose steps are rows; omit "
                f"{name}, or omit group"
            )
    if is_timed(settings.cell):
        raise ArgumentError(
            f"cell={settings.cell} reads only recordings, not groups; set another cell"
        )


def check_several_recordings(recordings: Sequence[InputSettings]) -> None:
    """Raise an ArgumentError for settings that recordings among several inputs cannot have."""
    if any(one.window is not None for one in recordings):
        raise ArgumentError("window has no effect on several inputs; omit window")
    if len(recordings) > 1 and is_timed(cell := recordings[0].cell):
        raise ArgumentError(
            f"cell={cell} reads one recording, got {len(recordings)}; set another cell"
        )
    if len(recordings) > 1 and any(one.channels or one.variable for one in recordings):
        raise ArgumentError(
            f"channels are the columns of one recording, got {len(recordings)} recordings; put "
            "each in a cell of its own, as an array or the name of a file, and omit channels"
        )


def check_kinds(settings: InputSettings, kinds: list[str]) -> None:
    """Raise an ArgumentError for a setting that has no effect on inputs of these kinds.

    Example:
        >>> from elman.inputs.kinds import check_kinds
        >>> from elman.inputs.settings import InputSettings
        >>> check_kinds(InputSettings(frame_stride=2), ["recordings"])
        Traceback (most recent call last):
        elman.errors.ArgumentError: frame_stride has no effect on recordings, only on audio clips; \
omit frame_stride, or set inputs=audio
    """
    for name in FUSION if len(kinds) == 1 else ():
        if getattr(settings, name) != getattr(InputSettings, name):
            raise ArgumentError(f"{name} has no effect on a single input; omit {name}")
    found = [read_declared(one).kind for one in kinds]
    for name in CODES if RecordingReader.kind not in found else ():
        if getattr(settings, name) != getattr(InputSettings, name):
            raise ArgumentError(f"{name} has an effect only on recordings; omit {name}")
    noun = READERS[found[0]].noun
    for field in fields(settings):
        kind = OWNERS.get(field.name)
        if kind is None or getattr(settings, field.name) == field.default:
            continue
        if kind not in found:
            raise ArgumentError(
                f"{field.name} has no effect on {noun}, only on {READERS[kind].noun}; omit "
                f"{field.name}, or set inputs={kind}"
            )
        same = [one.settings for one in settings.declared if one.kind == kind]
        if same and all(field.name in own for own in same):
            raise ArgumentError(
                f"{field.name} has no effect, because each of the {READERS[kind].noun} has its "
                f"own {field.name}; omit {field.name}"
            )
    for one in settings.declared:
        with one.named():
            check_pairs(settings.of_input(one.column))


def _guess(settings: InputSettings, given: Any, usual: str) -> list[str]:
    """Return the kind of data that look like recordings, audio or images, or the usual one.

    The columns of a table that has no column of texts are guessed one by one.
    """
    source, targets = pair(given)
    if settings.channels or settings.variable:
        return [RecordingReader.kind]
    if is_clips(source, settings.audio) or (settings.sample_rate and is_arrays(source)):
        return [AudioReader.kind]
    if is_images(source, settings.image):
        return [ImageReader.kind]
    if is_arrays(source):
        return [RecordingReader.kind]
    label: str | None = getattr(settings, "label", None)
    if usual == TextReader.kind and targets is None and label and _is_table(source):
        table = Table(
            source, encoding=settings.encoding, lenient=True, dialect=dialect_of(settings)
        )
        if settings.text not in table.names and not set(table.names) >= STEPS:
            found = guess_columns(table, label, settings.group)
            return [f"{name}:{kind}" for name, kind in found.items()]
    return [usual]


def _is_table(source: Any) -> bool:
    """Return whether data are a frame, or the file of a table."""
    if not is_path(source):
        return is_frame(source)
    path = Path(source)
    return path.is_file() and kind_of(path) in TABLES


def reader_of(
    settings: InputSettings, kinds: list[str], readers: Mapping[str, type[Reader]] = READERS
) -> Reader:
    """Return the reader of inputs of these kinds, see `find_kinds`; `readers` has the classes."""
    found = list(map(read_declared, kinds))
    if not found or (len(found) > 1 and not all(one.column for one in found)):
        raise ArgumentError(
            f"inputs must be one kind, or COLUMN:KIND for each of several, got {kinds}"
        )
    parts = {
        column: readers[OLD.get(kind, kind)](settings.of_input(column), column)
        for column, kind, _ in found
    }
    whole = parts[found[0].column]
    if len(parts) > 1:
        in_rows = any(isinstance(part, RecordingReader) and part.in_rows for part in parts.values())
        named = {str(column): part for column, part in parts.items()}
        whole = (FusedRowsReader if in_rows else FusedReader)(settings, named)
    return whole if settings.group is None else NestedReader(whole)
