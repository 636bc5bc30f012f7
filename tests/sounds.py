"""The language of tones of `examples/tones.py`, for tests."""

from __future__ import annotations

from examples.tones import (
    RATE,
    WORDS,
    sentences,
    spoken,
    words,
    write_folder,
    write_manifest,
)

clips = words
__all__ = ["RATE", "WORDS", "clips", "sentences", "spoken", "write_folder", "write_manifest"]
