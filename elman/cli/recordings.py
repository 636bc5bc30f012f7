"""Labels, tags and events of recordings on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from elman.cli.show import print_table
from elman.errors import ArgumentError, FolderError
from elman.read.files import files_below
from elman.report.terminal import show
from elman.tasks import Classifier, Tagger, load
from elman.tasks.folder import read_config


@dataclass(kw_only=True)
class Recorded:
    """What is asked of recordings."""

    spans: Path | None = None
    """Of recordings: a table of spans in them (unique_id, start, end), or with the columns that do
    not change within one."""
    events: Annotated[bool, Parameter(negative="")] = False
    """Of recordings: what a tagger finds, instead of a tag for every step."""
    on: float = 0.6
    """Of events: the probability with which one begins."""
    off: float = 0.4
    """Of events: the probability below which one ends."""
    shortest: int = 1
    """Of events: steps, at least."""

    @property
    def how(self) -> dict[str, Any] | None:
        """How events are found; None if they are not asked for."""
        found = {"on": self.on, "off": self.off, "shortest": self.shortest}
        if not self.events and self != Recorded(spans=self.spans):
            raise ArgumentError("on, off and shortest are for --events")
        return found if self.events else None


def reads_recordings(run: Path) -> bool:
    """Whether the model in a folder does."""
    return bool(read_config(run)["data"].get("inputs") == "recordings")


def show_recordings(
    run: Path, text: str | None, file: Path | None, asked: Recorded, out: Path | None,
    *, overwrite: bool,
) -> None:  # fmt: skip
    """Write what a model says of recordings to a file, or show the beginning of it.

    Args:
        run: folder of the model.
        text: which it does not take.
        file: a table of recordings.
        asked: of them.
        out: file to write.
        overwrite: replace a file that is there.
    """
    from elman.tasks.recording_tables import table_of
    from elman.tasks.write_table import check_target, write_table

    if text is not None or file is None:
        raise ArgumentError(f"{run}: reads recordings; give a table of them by --file")
    spans, how = asked.spans, asked.how
    if out is not None:
        check_target(out, overwrite=overwrite)
        read = [path for one in (file, spans) if one is not None for path in files_below(one)]
        if out.resolve() in [path.resolve() for path in read]:
            raise FolderError(f"{out}: would replace the data that are read; name another file")
    model = load(run)
    assert isinstance(model, Classifier | Tagger)
    table = table_of(model, file if spans is None else (file, spans), events=how)
    if out is None:
        print_table(table)
        return
    write_table(out, table, overwrite=overwrite)
    show(f"{len(next(iter(table.values()))):,} rows: {out}")
