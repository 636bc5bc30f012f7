"""The table of the kinds of inputs, and which kind some data are."""

from __future__ import annotations

from typing import Any

from elman.errors import ArgumentError
from elman.inputs.input import Reader, pair
from elman.inputs.recording import RecordingReader
from elman.inputs.settings import InputSettings
from elman.inputs.text import TextReader
from elman.inputs.words import WordReader
from elman.read.recordings import is_arrays

READERS: dict[str, type[Reader]] = {
    reader.kind: reader for reader in (TextReader, WordReader, RecordingReader)
}
OLD = {"texts": TextReader.kind, "sentences": WordReader.kind}  # names in folders of Elman 0.1.0


def find_kinds(settings: InputSettings, given: Any, usual: str) -> list[str]:
    """Return the kinds of the inputs: those that are set, or the one that the data look like.

    Args:
        settings: settings of reading.
        given: the training data: a source, or a source and its targets.
        usual: kind of data that do not look like recordings.

    Raises:
        ArgumentError: a kind is unknown, or a setting needs another kind.

    Example:
        >>> import numpy as np
        >>> from elman.inputs.kinds import find_kinds
        >>> from elman.inputs.settings import InputSettings
        >>> find_kinds(InputSettings(), [np.zeros((5, 2))], "text")
        ['recordings']
    """
    kinds = list(settings.input)
    if not kinds:
        recorded = settings.channels or settings.variable or is_arrays(pair(given)[0])
        kinds = [RecordingReader.kind if recorded else usual]
    for kind in kinds:
        if kind not in READERS:
            raise ArgumentError(f"input must be one of {', '.join(READERS)}, got {kind!r}")
    if settings.cell == "grud" and kinds != [RecordingReader.kind]:
        noun = READERS[kinds[0]].noun
        raise ArgumentError(f"cell=grud is for recordings, which have times; got {noun}")
    if settings.vectors is not None and kinds != [TextReader.kind]:
        raise ArgumentError(f"vectors needs texts, the data are {READERS[kinds[0]].noun}")
    return kinds


def reader_of(settings: InputSettings, kinds: list[str]) -> Reader:
    """Return the reader of inputs of these kinds."""
    (kind,) = kinds
    return READERS[OLD.get(kind, kind)](settings)
