"""Print lines on a terminal, with control characters as escapes, so that none takes effect."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

# C0 and C1 control characters, including ESC, and the marks that change the direction of a text.
_ACTING = [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F)]
_ACTING += [0x2028, 0x2029, *range(0x2066, 0x206A)]
_SHOWN = {n: f"\\x{n:02x}" if n < 256 else f"\\u{n:04x}" for n in _ACTING}
_SHOWN |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_IN_TEXT = {n: shown for n, shown in _SHOWN.items() if chr(n) not in "\n\t"}

_rename: Callable[[str], str] = str  # set by the command line, see `arguments_renamed`


def one_line(text: str) -> str:
    """Return a text as one line, with control characters as escapes.

    Example:
        >>> from elman.report.terminal import one_line
        >>> print(one_line("a red\\x1b[31m label\\n"))
        a red\\x1b[31m label\\n
    """
    return text.translate(_SHOWN)


def plain(text: str) -> str:
    """Return a text with control characters as escapes, except for line ends and tabs."""
    return text.translate(_IN_TEXT)


def counted(count: int, unit: str) -> str:
    """Return a count with its unit, which is given in the plural.

    Example:
        >>> from elman.report.terminal import counted
        >>> counted(1, "rows"), counted(1200, "rows"), counted(1, "series")
        ('1 row', '1,200 rows', '1 series')
    """
    single = count == 1 and not unit.endswith("series")
    return f"{count:,} {unit.removesuffix('s') if single else unit}"


def are(count: int) -> str:
    """Return the verb after a count."""
    return "is" if count == 1 else "are"


@contextmanager
def arguments_renamed(rename: Callable[[str], str]) -> Iterator[None]:
    """Rename arguments in messages inside the context, for example to flags."""
    global _rename
    before, _rename = _rename, rename
    try:
        yield
    finally:
        _rename = before


def as_on_shell(message: str) -> str:
    """Return a message with flags instead of the names of arguments, if a command runs."""
    return _rename(message)


def show(line: str) -> None:
    """Print one line."""
    print(one_line(line))


def show_text(text: str) -> None:
    """Print a part of a text immediately; its line ends and tabs stay unchanged."""
    print(plain(text), end="", flush=True)


def tell(line: str) -> None:
    """Print a message to the error stream; a closed stream is not an error."""
    with suppress(BrokenPipeError):
        print(f"elman: {one_line(as_on_shell(line))}", file=sys.stderr, flush=True)


def prepare_streams() -> None:
    """Replace closed streams by null devices; write characters without an encoding as escapes.

    The streams are opened in the order of their descriptors, so that no other file gets one.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Redirect both streams to the null device, so that flushing their buffers cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
