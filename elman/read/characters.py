r"""Read the characters of files in blocks, in constant memory, with line ends as "\n".

    bytes -> (unpacked, if the name ends with .gz) -> characters -> line ends as "\n"

The only line ends are "\n", "\r\n" and "\r"; a form feed or U+2028 is an ordinary character.
"""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

from elman.errors import ArgumentError, DataError
from elman.read.files import is_packed, reading

Advance = Callable[[int], None]

BLOCK = 1 << 20  # bytes read at a time, and maximum characters of a piece of text
# Codecs for names and literals, not for files.
NO_FILES = {"punycode", "idna", "unicode-escape", "raw-unicode-escape", "charmap"}
LONGEST = 80  # characters of a value in a message

BINARY = {
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF-": "a PDF",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x1f\x8b": "gzip without the suffix .gz",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    **{bytes([0x80, protocol]): "a pickle" for protocol in range(2, 6)},
}


def ignore(_count: int) -> None:
    """Ignore the progress of reading."""


def file_blocks(file: Path, advance: Advance, *, unpack: bool = True) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked if its name ends with .gz."""
    with reading(file):
        raw = file.open("rb")
    packed = gzip.GzipFile(fileobj=raw) if unpack and is_packed(file) else None
    position = 0
    with raw, packed or nullcontext():
        while True:
            with reading(file):
                block = (packed or raw).read(BLOCK)
            if not block:
                return
            advance(raw.tell() - position)
            position = raw.tell()
            yield block


def codec_of(encoding: str) -> str:
    """Return the codec name of a text encoding; raise an ArgumentError for anything else."""
    try:
        # `decode` raises for codecs that are not for text (base64, zlib, rot13); `lookup` does not.
        b"text".decode(encoding, "replace")
        name = codecs.lookup(encoding).name
        if name in NO_FILES:
            raise LookupError
    except (LookupError, TypeError, ValueError) as error:
        got = repr(encoding)[:LONGEST]
        raise ArgumentError(
            f"encoding must name a text encoding such as utf-8 or latin-1, got {got}"
        ) from error
    return name


def decode(
    blocks: Iterable[bytes],
    encoding: str,
    file: Path,
    *,
    lenient: bool = False,
    returns: bool = True,
) -> Iterator[str]:
    r"""Yield decoded text with line ends as "\n"; `returns`: whether "\r" alone is a line end."""
    codec, errors = codec_of(encoding), "surrogateescape" if lenient else "strict"
    decoder = codecs.getincrementaldecoder("utf-8-sig" if codec == "utf-8" else codec)(errors)
    offset, line, held, blank = 0, 1, "", True
    for block in chain(blocks, [b""]):
        if offset == 0:
            _refuse_binary(block, codec, file)
        state = decoder.getstate()
        try:
            text = held + decoder.decode(block, not block)
        except UnicodeDecodeError as error:
            # The decoder prepends the rest of earlier blocks, so count from the end.
            good = len(block) - len(error.object) + error.start
            decoder.setstate(state)
            before = held + decoder.decode(block[: max(good, 0)])
            line += _unix(before, returns=returns).count("\n")
            raise DataError(
                f"{file}: byte {offset + good} (line {line}) is not valid {encoding.upper()} "
                f"(0x{error.object[error.start]:02X}); name the right encoding with encoding=..., "
                "for example latin-1"
            ) from error
        except UnicodeError as error:
            raise DataError(f"{file}: {error}; name another encoding with encoding=...") from error
        offset += len(block)
        # A "\r" at the end can be the first half of "\r\n".
        held = "\r" if block and text.endswith("\r") else ""
        text = _unix(text[: len(text) - len(held)], returns=returns)
        if text:
            blank = blank and text.isspace()
            line += text.count("\n")
            yield text
    if blank:
        what = "only white space" if offset else "empty"
        raise DataError(f"{file}: {what}; expected text")


def _unix(text: str, *, returns: bool) -> str:
    if "\r" not in text:
        return text
    text = text.replace("\r\n", "\n")
    return text.replace("\r", "\n") if returns else text


def _refuse_binary(block: bytes, codec: str, file: Path) -> None:
    for magic, what in BINARY.items():
        if block.startswith(magic):
            raise DataError(f"{file}: {what}; expected text")
    if b"\0" in block and not codec.startswith(("utf-16", "utf-32")):
        raise DataError(f"{file}: binary (NUL bytes), expected text; is it encoding='utf-16'?")
