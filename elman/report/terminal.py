"""Names and labels for people: control characters are written as escapes, so that none acts."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

# C0 and C1 control characters, among them ESC, and the marks that turn the direction of a text.
_ACTING = [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F)]
_ACTING += [0x2028, 0x2029, *range(0x2066, 0x206A)]
_SHOWN = {n: f"\\x{n:02x}" if n < 256 else f"\\u{n:04x}" for n in _ACTING}
_SHOWN |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_IN_TEXT = {n: shown for n, shown in _SHOWN.items() if chr(n) not in "\n\t"}


def one_line(text: str) -> str:
    """A text as one line, with control characters as escapes.

    Example:
        >>> from elman.report.terminal import one_line
        >>> print(one_line("a red\\x1b[31m label\\n"))
        a red\\x1b[31m label\\n
    """
    return text.translate(_SHOWN)


def plain(text: str) -> str:
    """A text of several lines, with all other control characters as escapes."""
    return text.translate(_IN_TEXT)


def show(line: str) -> None:
    """Print one line."""
    print(one_line(line))


def show_text(text: str) -> None:
    """Print a part of a text at once; its line ends and tabs stay as they are."""
    print(plain(text), end="", flush=True)


def tell(line: str) -> None:
    """Print one line about the work to the error stream, even if nobody reads it."""
    with suppress(BrokenPipeError):
        print(f"elman: {one_line(line)}", file=sys.stderr, flush=True)


def prepare_streams() -> None:
    """Let a closed stream take everything, and show a character that the encoding lacks as escape.

    They are opened in the order of their numbers, so that no other file gets the number of one.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Point both streams to nowhere, so that what their buffers hold does not fail at the exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
