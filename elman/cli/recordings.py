"""`elman predict` of recordings: labels, tags and events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from elman.cli.show import notes_shown, print_table
from elman.errors import ArgumentError, FolderError
from elman.read.files import files_below
from elman.report.terminal import counted, show
from elman.tasks import Classifier, Tagger, load
from elman.tasks.folder import read_config


@dataclass(kw_only=True)
class RecordingFlags:
    """The flags of `elman predict` for recordings."""

    spans: Path | None = None
    """A table of spans (unique_id, start, end) to predict for, instead of entire recordings; or a
    table with the columns that do not change within a recording."""
    events: Annotated[bool, Parameter(negative="")] = False
    """Predict events with begin and end, instead of a tag for every step."""
    on: float = 0.6
    """Events: probability at which an event begins."""
    off: float = 0.4
    """Events: probability below which it ends."""
    shortest: int = 1
    """Events: smallest number of steps."""

    @property
    def thresholds(self) -> dict[str, Any] | None:
        """The settings of events; None if no events are wanted."""
        if not self.events:
            if self != RecordingFlags(spans=self.spans):
                raise ArgumentError("--on, --off and --shortest are for --events")
            return None
        return {"on": self.on, "off": self.off, "shortest": self.shortest}


def reads_recordings(run: Path) -> bool:
    """Return whether the model in a folder reads recordings."""
    return bool(read_config(run)["data"].get("inputs") == "recordings")


def print_recordings(
    run: Path, file: Path, flags: RecordingFlags, out: Path | None, *, overwrite: bool
) -> None:
    """Write the predictions for recordings to a file, or print the first of them.

    Args:
        run: folder of the model.
        file: a table of recordings.
        flags: what to predict.
        out: file to write; None to print.
        overwrite: replace a file that exists already.
    """
    from elman.report.write_table import check_target, write_table
    from elman.tasks.recording_tables import table_of

    spans, events = flags.spans, flags.thresholds
    if out is not None:
        check_target(out, overwrite=overwrite)
        read = [path for one in (file, spans) if one is not None for path in files_below(one)]
        if out.resolve() in [path.resolve() for path in read]:
            raise FolderError(f"{out}: would replace the data that are read; name another file")
    model = load(run)
    assert isinstance(model, Classifier | Tagger)
    with notes_shown():
        table = table_of(model, file if spans is None else (file, spans), events=events)
    if out is None:
        print_table(table)
        return
    write_table(out, table, overwrite=overwrite)
    show(f"{counted(len(next(iter(table.values()))), 'rows')}: {out}")
