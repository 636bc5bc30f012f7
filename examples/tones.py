"""Voice commands and speech to text, on a small language of tones that this program makes.

    python examples/tones.py [folder]

Each of four words is a sequence of tones, spoken at some pitch, speed and level, with some noise.
A classifier learns the word of a clip, a transcriber the words of a sentence, which it then writes
down live, from samples as they would arrive from a microphone.  Replace the files by recordings of
your own; the commands stay the same.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

import elman
from elman.cli import main
from elman.decode.endpoints import Endpoints

RATE = 8000  # samples per second
WORDS = {"ba": (300, 600), "du": (900, 450), "ki": (1300, 1300), "mo": (600, 1200, 300)}
Sound = tuple[NDArray[np.float32], int]  # samples and their rate


def spoken(word: str, draw: np.random.Generator, *, noise: float = 0.01) -> NDArray[np.float32]:
    """Return a word as samples, of 0.1 to 0.3 s."""
    pitch, pace = draw.uniform(0.9, 1.1), draw.uniform(0.06, 0.1)
    times = np.arange(int(RATE * pace)) / RATE
    sound = np.concatenate([np.sin(2 * np.pi * hz * pitch * times) for hz in WORDS[word]])
    sound *= draw.uniform(0.1, 0.5)
    return (sound + noise * draw.standard_normal(len(sound))).astype(np.float32)


def quiet(seconds: float, draw: np.random.Generator) -> NDArray[np.float32]:
    """Return silence with some noise."""
    return (0.01 * draw.standard_normal(int(RATE * seconds))).astype(np.float32)


def words(count: int, seed: int = 0) -> tuple[list[Sound], list[str]]:
    """Return spoken words, and their names."""
    draw = np.random.default_rng(seed)
    names = [list(WORDS)[n % len(WORDS)] for n in range(count)]
    return [(spoken(name, draw), RATE) for name in names], names


def sentences(count: int, seed: int = 0) -> tuple[list[Sound], list[str]]:
    """Return sentences of one to four words with short pauses, and their texts.

    They begin with silence of up to half a second, so that a model learns what silence is.
    """
    draw = np.random.default_rng(seed)
    sounds, texts = [], []
    for _ in range(count):
        names = [str(name) for name in draw.choice(list(WORDS), draw.integers(1, 5))]
        parts = [quiet(draw.uniform(0, 0.5), draw)]
        for name in names:
            parts += [spoken(name, draw), quiet(draw.uniform(0.05, 0.15), draw)]
        sounds.append((np.concatenate(parts), RATE))
        texts.append(" ".join(names))
    return sounds, texts


def write_folder(folder: Path, count: int, seed: int = 0, suffix: str = ".wav") -> Path:
    """Write words as audio files, in a folder for each word."""
    for n, ((samples, rate), name) in enumerate(zip(*words(count, seed), strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name / f"{n:04d}{suffix}", samples, rate)
    return folder


def write_manifest(
    folder: Path, sounds: list[Sound], texts: list[str], *, name: str = "data.csv"
) -> Path:
    """Write sounds as WAV files, and a manifest with their paths and texts."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for n, ((samples, rate), text) in enumerate(zip(sounds, texts, strict=True)):
        path = f"{Path(name).stem}_{n:04d}.wav"
        soundfile.write(folder / path, samples, rate)
        rows.append((path, text))
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text"), *rows])
    return folder / name


def run(folder: Path, *, clips: int = 400, epochs: int = 6) -> int:
    """Train both models, and use them on files and live; return the exit code."""
    train = write_manifest(folder / "speech", *sentences(clips, 1), name="train.csv")
    test = write_manifest(folder / "speech", *sentences(clips // 10, 2), name="test.csv")
    commands, new = write_folder(folder / "words", clips, 3), write_folder(folder / "new", 40, 4)
    flags = ["--no-bidirectional", "--hidden-size", "32", "--learning-rate", "0.02"]
    flags += ["--epochs", str(epochs), "--overwrite", "--device", "cpu", "--out"]
    one, other = str(folder / "commands"), str(folder / "transcriber")
    file, first = str(folder / "speech" / "test_0000.wav"), str(new / "ba" / "0000.wav")
    for command in (
        ["train", "classifier", str(commands), "--test", str(new), *flags, one],
        ["predict", one, first],
        [
            "train",
            "transcriber",
            str(train),
            "--test",
            str(test),
            "--num-layers",
            "1",
            *flags,
            other,
        ],
        ["predict", other, file, "--times"],
    ):
        print("\n$ elman", *command, flush=True)
        if code := main(command):
            return code
    model = elman.load(other)
    assert isinstance(model, elman.Transcriber)
    live = model.stream(sample_rate=RATE, endpoints=Endpoints(pause=0.4))
    pause = quiet(0.8, np.random.default_rng(0))
    print("\nlive, with a pause after each sentence:")
    for (samples, _), text in zip(*sentences(3, 5), strict=True):
        for chunk in np.array_split(np.concatenate([samples, pause]), 10):
            heard = live.push(chunk)
            for utterance in () if heard is None else heard.final:
                print(f"  spoken: {text:12}  heard: {utterance.text}")
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/tones")))
