"""The command line: `elman train|resume|predict|generate|chat|evaluate|backtest|info`.

    app.py      the program             train.py    train and resume
    config.py   --config                use.py      predict, generate, chat, evaluate, info
    show.py     scores                  forecast.py backtest, and predict of a forecaster

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import re
import signal
import sys

import cyclopts

from elman.cli import forecast, train, use  # noqa: F401 - they add their commands
from elman.cli.app import app, help_console
from elman.cli.config import spread_sizes, use_config
from elman.errors import ElmanError, Stopped
from elman.report.terminal import discard_output, prepare_streams, tell

__all__ = ["app", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 if it went well, 2 after bad input, 128 + n after a signal n."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    prepare_streams()
    try:
        use_config(arguments)
        app(
            spread_sizes(arguments), exit_on_error=False, print_error=False, console=help_console()
        )  # fmt: skip
        sys.stdout.flush()
    except cyclopts.UnusedCliTokensError as error:
        words = " ".join(error.unused_tokens or ())
        return _refuse(
            f"too much: {words!r}; put quotes around a text of several words, and give a flag of "
            "several values once for each",
            error, debug,
        )  # fmt: skip
    except (cyclopts.CycloptsError, ElmanError) as error:
        return _refuse(str(error), error, debug)
    except Stopped as stopped:
        tell(str(stopped))
        return 128 + stopped.signal
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        discard_output()  # whoever read it has gone
        return 0
    except OSError as error:
        return _refuse(str(error), error, debug)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        reason = f"not enough memory ({error}); lower hidden_size, batch_size or bptt"
        return _refuse(reason, error, debug)
    return 0


def _refuse(message: str, error: BaseException, debug: bool) -> int:
    if debug:
        raise error
    # A value that fills the screen is cut: the line is to be read.
    tell(re.sub(r"(\S{200})\S{100,}", r"\1...", " ".join(message.split())))
    return 2
