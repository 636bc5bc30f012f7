"""The program without its commands, its help pages, and arguments that several commands share.

No large library is imported.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

from cyclopts import App, CoercionError, Parameter
from cyclopts.help import DefaultFormatter, InlineText

from elman.version import __version__

if TYPE_CHECKING:
    from cyclopts import Token
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

ADVANCED = "Advanced"  # group of the flags that only `--help-all` shows
NARROWEST = 40  # columns in which the frames of a help page fit


def file_name(_kind: object, tokens: Sequence[Token]) -> Path:
    """Convert an argument to a path; an empty one would be the current folder."""
    (token,) = tokens
    if not token.value:
        message = "expected the name of a file or a folder, got an empty text"
        raise CoercionError(msg=message, token=token)
    return Path(token.value)


FileName = Annotated[Path, Parameter(converter=file_name)]
RunFolder = Annotated[FileName, Parameter(help="Folder of the model.")]
Overwrite = Annotated[bool, Parameter(negative="", help="Replace the output file if it exists.")]
SkipBadRows = Annotated[
    FileName | None,
    Parameter(help="Skip rows that cannot be read; write them and the reasons to this CSV file."),
]
AsJson = Annotated[
    bool, Parameter(name="--json", negative="", help="Print the scores as JSON, for scripts.")
]


class Paragraphs(DefaultFormatter):
    """Format the help pages, and join the lines of each paragraph."""

    def render_description(
        self, console: Console, options: ConsoleOptions, description: object
    ) -> None:
        """Print the description of a command."""
        _join_lines(description)
        super().render_description(console, options, description)

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print a panel."""
        for entry in panel.entries:
            _join_lines(entry.description)
            if bool not in (
                entry.type,
                *get_args(entry.type),
            ):  # with a value, --no-NAME only sets None
                entry.negative_names = ()  # type: ignore[misc]
        super().__call__(console, options, panel)


def _join_lines(written: object) -> None:
    """Join the lines of each paragraph of a text."""
    from rich.text import Text

    if isinstance(written, InlineText) and isinstance(written.primary_renderable, Text):
        text = written.primary_renderable.plain
        written.primary_renderable = Text(re.sub(r"(?<!\n)\n(?!\n|$)", " ", text))


class Short(Paragraphs):
    """Format the panels of a help page; show only the number of the advanced flags."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print a panel."""
        if panel.title == ADVANCED:
            console.print(f"{len(panel.entries)} more flags are shown by --help-all.")
        else:
            super().__call__(console, options, panel)


def new_app(*, everything: bool) -> App:
    """Return the program without its commands; its help shows the main flags, or everything."""
    return App(
        name="elman",
        version=__version__,
        help="Recurrent sequence models: train on a file, evaluate the model, and use it.",
        help_epilogue="Start with: elman train language-model book.txt --out runs/book\n\n"
        "With --debug, an error is shown with its traceback.",
        help_format="plaintext",  # markdown would swallow <unk>
        help_formatter=Paragraphs() if everything else Short(),
        default_parameter=Parameter(negative_iterable=()),
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main prints how to resume
    )


def help_console() -> Console:
    """Return a console for help pages, at least NARROWEST wide; a broken pipe raises an error."""
    from rich.console import Console

    class Page(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Page(width=max(NARROWEST, shutil.get_terminal_size().columns))
