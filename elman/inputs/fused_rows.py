"""Several inputs of one item, of which one is a recording of several rows of a table.

    unique_id  ds  x  y  age  note  label         the recording has the channels x and y

The other inputs, such as a number or a text, are columns that do not change within a recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from elman.encode.recordings import read_like
from elman.errors import DataError
from elman.inputs.fused import FusedReader, Item
from elman.inputs.fused_files import FILES
from elman.inputs.fused_trained import Fused
from elman.inputs.input import Input, Reader, folder_of
from elman.inputs.recording import RecordingReader
from elman.inputs.recording_trained import Recorded
from elman.inputs.settings import InputSettings
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.read.examples import Examples
from elman.read.files import is_path
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Recording
from elman.read.rows import Rejects, Source


class FusedRowsReader(FusedReader):
    """The reader of recordings of several rows, with further inputs in the same table.

    Args:
        settings: settings of the inputs.
        parts: readers by the names of the inputs; one of them reads recordings.
    """

    noun = RecordingReader.noun
    row_is, named_by = RecordingReader.row_is, RecordingReader.named_by

    def __init__(self, settings: InputSettings, parts: Mapping[str, Reader]) -> None:
        super().__init__(settings, parts)
        readers = list(self.parts.values())
        self.place, self.rows = next(
            (n, part) for n, part in enumerate(readers) if isinstance(part, RecordingReader)
        )
        self.others = [name for n, name in enumerate(self.columns) if n != self.place]

    @property
    def naming(self) -> InputSettings:
        """The settings that name columns: those of the recordings."""
        return self.rows.settings

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> Source:
        """Return a source of recordings with the other inputs, see `Reader.open`."""
        source, _ = pair(given)
        self.refer(Path(source).parent if is_path(source) else Path())
        found = self.rows.open(given, target, labelled=labelled, lenient=lenient, more=self.others)
        if labelled and isinstance(found, RecordingSource):
            files = (one for one, part in self.parts.items() if part.kind in FILES)
            found.file_names = set(files) - {self.columns[self.place]}
        return found

    def read(
        self,
        source: Any,
        target: TargetColumn,
        target_of: TargetOf,
        rejects: Rejects,
        like: Input | Examples | None = None,
    ) -> Examples:
        """Return all examples of a source, see `Reader.read`."""
        self.refer(folder_of(source))
        form = recorded_of(like) if isinstance(like, Input) else like
        found = self.rows.read(source, target, target_of, rejects, form)
        examples = Examples(recordings=found.recordings)
        for one, answer, place in zip(found.items, found.targets, found.places, strict=True):
            try:
                item = self._item(one, place, given=False)
            except DataError as error:
                rejects.add(place, error)
            else:
                examples.add(item, answer, place)
        self.missing_files.check(source.name)
        self.missing_files.note(source.name)
        return self.checked(self.filled(examples, like, rejects), source.name, target)

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[Item]:
        """Return the items of a table without targets; items are returned unchanged."""
        if isinstance(data, list) and data and all(isinstance(one, Item) for one in data):
            return data
        source = self.open(data, target, labelled=False)
        assert isinstance(source, RecordingSource)
        found = read_like(source, Rejects(None), recorded_of(like).index)
        pairs = zip(found.items, found.places, strict=True)
        return [self._item(one, place, given=True) for one, place in pairs]

    def _item(self, one: Recording, place: str, *, given: bool) -> Item:
        """Return the item of a recording, whose last static values are the other inputs."""
        fixed = len(one.static) - len(self.others)
        values = list(one.static[fixed:])
        values.insert(self.place, replace(one, static=one.static[:fixed]))
        return self.joined(values, place, given=given)


def recorded_of(learned: Input) -> Recorded:
    """Return the recordings of an input that consists of them, or that has other inputs, too."""
    parts = learned.parts if isinstance(learned, Fused) else [learned]
    return next(part for part in parts if isinstance(part, Recorded))


def recordings_among(items: list[Any]) -> list[Recording]:
    """Return the recording of each item, which can have other inputs."""
    found = ([one] if isinstance(one, Recording) else one for one in items)
    return [next(part for part in some if isinstance(part, Recording)) for some in found]
