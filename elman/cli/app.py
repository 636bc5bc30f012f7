"""The program and its groups of commands; nothing heavy is imported."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cyclopts import App, Group, Parameter

import elman

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 40  # columns in which the frames of a help page fit
SETTINGS = Group(
    "Settings",
    help='Also by --config FILE.yaml, a line each: "hidden_size: 512". Where None is a choice, '
    'give it by --no-NAME, or by "NAME: null" in the file.',
)

app = App(
    name="elman",
    version=elman.__version__,
    help="Recurrent sequence models: train on a file, see how good it is, use it.",
    help_epilogue="Start with: elman train language-model book.txt --out runs/book\n\n"
    "With --debug an error shows where in the program it arose.",
    help_format="plaintext",  # markdown would swallow <unk>
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
