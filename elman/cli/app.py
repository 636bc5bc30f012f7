"""The program and its groups of commands; nothing heavy is imported."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cyclopts import App, Group, Parameter
from cyclopts.help import DefaultFormatter

import elman

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

NARROWEST = 40  # columns in which the frames of a help page fit
SETTINGS = Group(
    "Settings",
    help='Also by --config FILE.yaml, a line each: "hidden_size: 512". Where None is a choice, '
    'give it by --no-NAME, or by "NAME: null" in the file.',
)


class Paragraphs(DefaultFormatter):
    """Panels of help, in which a text that stands on several lines is a paragraph."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Show a panel."""
        from rich.text import Text

        for entry in panel.entries:
            written = getattr(entry.description, "primary_renderable", None)
            if isinstance(written, Text):
                entry.description.primary_renderable = Text(" ".join(written.plain.split()))
        super().__call__(console, options, panel)


app = App(
    name="elman",
    version=elman.__version__,
    help="Recurrent sequence models: train on a file, see how good it is, use it.",
    help_epilogue="Start with: elman train language-model book.txt --out runs/book\n\n"
    "With --debug an error shows where in the program it arose.",
    help_format="plaintext",  # markdown would swallow <unk>
    help_formatter=Paragraphs(),
    default_parameter=Parameter(negative_iterable=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # main says how to go on
)
train = App(name="train", help="Train a model.")
app.command(train)


def help_console() -> Console:
    """Where help is shown; a broken pipe raises, and narrow terminals wrap wider lines."""
    from rich.console import Console

    class Page(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Page(width=max(NARROWEST, shutil.get_terminal_size().columns))
