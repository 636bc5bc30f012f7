"""`elman look`: show how data would be read, before a model is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from elman.cli.app import FileName
from elman.cli.config import value_of
from elman.cli.flags import flag_names, flags_of, with_flags
from elman.cli.show import named
from elman.read.files import files_below, size_of
from elman.report.terminal import as_on_shell, counted, show
from elman.tasks import TASKS

if TYPE_CHECKING:
    from elman.tasks.look import Look

WIDTH = 100  # characters of the first row
COLUMNS, REFUSED, NOTES, ANSWERS = 40, 10, 15, 8  # maximum number of each that is shown


def look_command(arguments: Sequence[str]) -> Callable[..., None]:
    """Return `elman look` with the flags of the task that is named or guessed."""
    name, why, flags = "", "", []
    if arguments[:1] == ["look"]:
        name, why = _task_of(arguments[1:])
        flags = flags_of(TASKS[name], negative=True)

    def look(
        data: FileName,
        labels: FileName | None = None,
        /,
        *,
        task: Annotated[str | None, Parameter(choices=tuple(TASKS))] = None,  # noqa: ARG001
        count: Annotated[bool, Parameter(negative="")] = False,
        **settings: Any,
    ) -> None:
        """Show how data would be read and how the first row becomes numbers, without training.

        The flags are those of elman train TASK, so a training command can be tried here first.

        Example: elman look reviews.csv --text review --label stars

        Example: elman look sales.csv --task forecaster --horizon 28

        Parameters
        ----------
        data
            The training data.
        task
            Task that would read the data; without this flag, the task is guessed.
        labels
            The second file of the training data, such as labels, tags or targets.
        count
            Read all rows, and count those that would be refused; without this flag, only the first
            rows of a large file are read.
        """
        from elman.tasks.look import FIRST, LOOKS
        from elman.tasks.look_columns import describe_columns
        from elman.tasks.parts import check_parts, naming_columns

        model = TASKS[name](**settings)
        model.check()
        with naming_columns(model):
            check_parts([data], model)
            if not data.is_dir():
                files_below(data)  # a missing file is the clearer error
            found = LOOKS[name](model, data, labels, None if count else FIRST)
            kinds = [describe_columns(one, model) for one in (data, labels) if one is not None]
        show(f"{data}: read by {named(name)} ({why})")
        _print(data, found, kinds)

    return with_flags(look, flags)


def _task_of(arguments: Sequence[str]) -> tuple[str, str]:
    """Return the task that the arguments of `elman look` name or that is guessed, and why."""
    given = [one[2:].partition("=")[0] for one in arguments if one.startswith("--")]
    if (named := value_of("--task", arguments)) is not None:
        return (named, "set by --task") if named in TASKS else ("classifier", "")
    flags = {f"--{one.removeprefix('no-')}" for one in given} - {"--count", "--help"}
    known = {
        name: {flag for one in fields(kind) for flag in flag_names(one.name)} & flags
        for name, kind in TASKS.items()
    }
    left = [name for name in TASKS if known[name] == flags]
    there = [_exists(one) for one in arguments]
    if True not in there or "help" in given or not left:
        return max(("classifier", *TASKS), key=lambda name: len(known[name])), ""
    from elman.tasks.look_columns import guess_task

    two = there[:2] == [True, True]
    name, why = guess_task(Path(arguments[there.index(True)]), left, flags, two=two)
    return name, f"guessed: {why}; --task NAME chooses another"


def _exists(argument: str) -> bool:
    with suppress(OSError, ValueError):
        return Path(argument).exists()
    return False


def _print(data: Path, found: Look, kinds: Sequence[dict[str, str]]) -> None:
    """Print how the data would be read; `kinds` describes the columns of each table."""
    files = files_below(data)
    size = counted(sum(map(size_of, files)), "bytes")
    _line("data", size if len(files) == 1 else f"{counted(len(files), 'files')}, {size}")
    _line("a row is", found.row)
    rows = f"{found.rows:,}" if found.whole else f"the first {found.rows:,}; --count reads all"
    _line("rows", rows)
    for title, table in zip(("columns", "of labels"), kinds, strict=False):
        wide = min(30, max(map(len, table), default=0))
        uses = [(name, found.columns.get(name, "not read"), kind) for name, kind in table.items()]
        long = max([12, *(len(use) for _, use, _ in uses)])
        lines = [f"{name:{wide}s}  {use:{long}s}  {kind}" for name, use, kind in uses]
        _some(title, lines, COLUMNS)
    if found.answers:
        most, more = found.answers.most_common(ANSWERS), len(found.answers) - ANSWERS
        answers = ", ".join(f"{one} ({count:,})" for one, count in most)
        _line("to learn", answers + (f", and {more:,} more" if more > 0 else ""))
    _line("refused", f"{len(found.refused):,} of these rows" if found.refused else "none")
    _some("", [as_on_shell(f"{place}: {reason}") for place, reason in found.refused], REFUSED)
    _some("notes", list(map(as_on_shell, found.notes)), NOTES)
    show("how the first row becomes numbers:")
    for title in ("cells", "item", "numbers", "shape", "vectors", "scores"):
        if text := vars(found)[title]:
            lines = text.split("\n")
            short = [one if len(one) <= WIDTH else f"{one[:WIDTH]}..." for one in lines]
            _some(f"  {title}", short, len(short))


def _some(title: str, lines: list[str], most: int) -> None:
    """Print the first lines below a title, and how many more there are."""
    for n, line in enumerate(lines[:most]):
        _line("" if n else title, line)
    if len(lines) > most:
        _line("", f"... {len(lines) - most:,} more")


def _line(title: str, text: str) -> None:
    show(f"{title:10s} {text}")
