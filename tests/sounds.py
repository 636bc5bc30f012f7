"""A small language of tones: each word is a sequence of tones, spoken at some pitch and speed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 8000
WORDS = {"ba": (300, 600), "du": (900, 450), "ki": (1300, 1300), "mo": (600, 1200, 300)}


def spoken(word: str, draw: np.random.Generator, *, noise: float = 0.01) -> NDArray[np.float32]:
    """Return a word as samples at 8 kHz, of 0.15 to 0.4 s."""
    pitch, pace = draw.uniform(0.9, 1.1), draw.uniform(0.06, 0.1)
    tones = [
        np.sin(2 * np.pi * hz * pitch * np.arange(int(RATE * pace)) / RATE) for hz in WORDS[word]
    ]
    sound = np.concatenate(tones) * draw.uniform(0.1, 0.5)
    return (sound + noise * draw.standard_normal(len(sound))).astype(np.float32)


def clips(count: int, seed: int = 0) -> tuple[list[tuple[NDArray[np.float32], int]], list[str]]:
    """Return spoken words with their rate, and the words."""
    draw = np.random.default_rng(seed)
    words = [list(WORDS)[n % len(WORDS)] for n in range(count)]
    return [(spoken(word, draw), RATE) for word in words], words


def sentences(count: int, seed: int = 0) -> tuple[list[tuple[NDArray[np.float32], int]], list[str]]:
    """Return sentences of one to four words with short pauses, and their texts."""
    draw = np.random.default_rng(seed)
    sounds, texts = [], []
    for _ in range(count):
        words = [str(word) for word in draw.choice(list(WORDS), draw.integers(1, 5))]
        parts = []
        for word in words:
            pause = draw.integers(400, 1200)
            parts += [spoken(word, draw), (0.01 * draw.standard_normal(pause)).astype(np.float32)]
        sounds.append((np.concatenate(parts), RATE))
        texts.append(" ".join(words))
    return sounds, texts


def write_folder(folder: Path, count: int, seed: int = 0, suffix: str = ".wav") -> Path:
    """Write words as audio files, in a folder for each word."""
    for n, ((samples, rate), word) in enumerate(zip(*clips(count, seed), strict=True)):
        (folder / word).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / word / f"{n:04d}{suffix}", samples, rate)
    return folder


def write_manifest(
    folder: Path,
    sounds: list[tuple[NDArray[np.float32], int]],
    texts: list[str],
    name: str = "data.csv",
    column: str = "text",
) -> Path:
    """Write sounds as WAV files, and a manifest with their paths and texts."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for n, ((samples, rate), text) in enumerate(zip(sounds, texts, strict=True)):
        path = f"{Path(name).stem}_{n:04d}.wav"
        soundfile.write(folder / path, samples, rate)
        rows.append((path, text))
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("path", column), *rows])
    return folder / name
