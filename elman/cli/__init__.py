"""The command line: `elman look|train|predict|transcribe|spot|listen|generate|chat|...`.

    app.py      the program and its help        train.py     train and resume
    flags.py    flags from dataclasses          predict.py   predict and generate
    config.py   --config, names of flags        use.py       chat, evaluate, backtest, info
    show.py     scores, notes, tables           look.py      look
    sounds.py   files, pipes, microphones       speech.py    transcribe
    listen.py   listen                          spot.py      spot

The commands do not depend on a task: flags, options and help come from the tasks and from the
classes in `elman.tasks.predictions` and `elman.tasks.generations`.  No large library is imported
before a command runs.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cyclopts

from elman.atomic import FULL
from elman.cli import predict, use
from elman.cli.app import help_console, new_app
from elman.cli.config import name_flags, settings_of, spread_sizes
from elman.cli.flags import with_flags
from elman.cli.listen import listen
from elman.cli.look import look_command
from elman.cli.speech import SPEAKERS, transcribe
from elman.cli.spot import SPOTTERS, spot
from elman.cli.train import resume, train_app
from elman.errors import ArgumentError, ElmanError, Stopped
from elman.read.files import files_below
from elman.report.terminal import arguments_renamed, discard_output, prepare_streams, tell
from elman.tasks.generations import GENERATIONS
from elman.tasks.predictions import EVALUATIONS, PREDICTIONS
from elman.train.processes import is_first, speaks

__all__ = ["main", "program"]


def program(arguments: Sequence[str] = ()) -> cyclopts.App:
    """Return the program with the flags for these arguments; without arguments, with all flags."""
    app = new_app(everything="--help-all" in arguments)
    app.command(look_command(arguments))
    app.command(train_app(arguments, settings_of(arguments)))
    app.command(with_flags(predict.predict, predict.options_in(PREDICTIONS, arguments)))
    app.command(with_flags(predict.generate, predict.options_in(GENERATIONS, arguments)))
    for heard, kinds in ((transcribe, SPEAKERS), (spot, SPOTTERS), (listen, SPEAKERS | SPOTTERS)):
        app.command(with_flags(heard, predict.options_in(kinds, arguments)))
    app.command(with_flags(use.evaluate, predict.options_in(EVALUATIONS, arguments)))
    for command in (resume, use.chat, use.backtest, use.info):
        app.command(command)
    return app


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit code.

    The code is 0 after success, 2 after bad input and 128 + n after a signal n.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    prepare_streams()
    if not is_first():  # the first process of a run prints for all
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    given = {word for argument in arguments for word in argument.split()}
    given |= {name for argument in arguments for name in re.findall(r",(\w+)=", argument)}
    with arguments_renamed(partial(name_flags, keep=given)):
        return _run(arguments, debug=debug)


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        app = program(arguments)
        _call(app, spread_sizes(["--help" if one == "--help-all" else one for one in arguments]))
        sys.stdout.flush()
    except cyclopts.UnusedCliTokensError as error:
        words = " ".join(error.unused_tokens or ())
        advice = "put quotes around a text of several words, and repeat a flag for each of its"
        return _refuse(f"unexpected: {words!r}; {advice} values", error, debug)
    except Stopped as stopped:
        if speaks():
            tell(str(stopped))
        return 128 + stopped.signal
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        discard_output()  # the reader has closed the pipe
        return 0
    except (cyclopts.CycloptsError, ElmanError, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
            remedy = "free some space, or send it to another place"
            return _refuse(f"the output cannot be printed ({error}); {remedy}", error, debug)
        return _refuse(str(error), error, debug)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        reason = f"not enough memory ({error}); lower --hidden-size, --batch-size or --bptt"
        return _refuse(reason, error, debug)
    return 0


def _call(app: cyclopts.App, arguments: list[str]) -> None:
    """Run a command; raise an ArgumentError that names a missing or an invalid argument."""
    try:
        app(arguments, exit_on_error=False, print_error=False, console=help_console())
    except cyclopts.CoercionError as error:
        if error.argument is None or error.token is None or error.token.keyword is not None:
            raise
        raise ArgumentError(f"Invalid value for {error.argument.name}: {error.msg}") from error
    except cyclopts.MissingArgumentError as error:
        if error.argument is None or error.keyword is not None:  # a flag without its value
            raise
        name, command = error.argument.name, list(error.command_chain or ())
        if name != "--out":
            remedy = f"; see elman {' '.join([*command, '--help'])}"
        else:
            remedy = ": name a folder for the model, such as --out runs/NAME"
            _check_rest(app, command, arguments[len(command) :])
        raise ArgumentError(f"{name} is missing{remedy}") from error


def _check_rest(app: cyclopts.App, command: list[str], arguments: list[str]) -> None:
    """Raise an error if another argument is wrong too, so that it is reported first."""
    whole = [*command, "--out", "runs/NAME", *arguments]
    _, given, _ = app.parse_args(whole, exit_on_error=False, print_error=False)
    for path in given.args:
        files_below(path)


def _refuse(message: str, error: BaseException, debug: bool) -> int:
    if debug:
        raise error
    if speaks():  # a very long value is cut, so that the line stays readable
        tell(re.sub(r"(\S{200})\S{100,}", r"\1...", " ".join(message.split())))
    return 2
