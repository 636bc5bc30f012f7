"""Manifests of recordings of speech, and recordings made from shorter ones.

A manifest is a CSV file with the path of a recording and its label, text, or events.  A path is
relative to the folder of the manifest if the recording is inside it, and absolute otherwise.  The
parts of a data set are train.csv, validation.csv and test.csv.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Rows = list[tuple[Path, str]]  # recording, and its label or text
Parts = dict[str, Rows]
Samples = NDArray[np.int16]

PARTS = ("train", "validation", "test")
NOISE = 30.0  # standard deviation of the noise in made recordings: 1 / 1000 of the largest sample
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LENGTHS = (3, 7)  # fewest and most digits of a string
SILENCE = (0.05, 0.4)  # seconds before, between and after digits
GAP = (0.3, 2.0)  # seconds between the words of a stream
SHARE = 0.1  # of the words of a stream that are the key word
TAKES = {"train": range(20, 50), "validation": range(10, 20), "test": range(10)}


def speech_commands(data: Path, folder: Path) -> Parts:
    """Write the parts of Speech Commands, which have different speakers; return their rows.

    Every fifth speaker, in the order of their names, is a test speaker, and every tenth of the rest
    is a validation speaker.

    Args:
        data: folder with a folder of recordings for each word.
        folder: folder of the manifests.
    """
    parts = commands_of(data)
    for part, rows in parts.items():
        write_manifest(folder / f"{part}.csv", rows, "label")
    return parts


def commands_of(data: Path) -> Parts:
    """Return the rows of the parts of Speech Commands."""
    files = sorted(data.glob("*/*_nohash_*.wav"))
    speakers = sorted({speaker_of(path) for path in files})
    rest = [name for n, name in enumerate(speakers) if n % 5]
    part_of = {name: "train" if n % 10 else "validation" for n, name in enumerate(rest)}
    parts: Parts = {part: [] for part in PARTS}
    for path in files:
        parts[part_of.get(speaker_of(path), "test")].append((path, path.parent.name))
    return parts


def speaker_of(path: Path) -> str:
    """Return the name of a speaker of Speech Commands."""
    return path.name.partition("_nohash_")[0]


def fsdd(data: Path, folder: Path) -> dict[str, Parts]:
    """Write splits of the Free Spoken Digit Dataset in a folder for each; return their rows.

    The test part of the split "official" has the takes 0 to 4, and that of a split
    "without SPEAKER" has all recordings of this speaker.

    Args:
        data: folder with recordings/DIGIT_SPEAKER_TAKE.wav.
        folder: folder of the splits.
    """
    files = takes_of(data)
    tests = {"official": {path for (_, _, take), path in files.items() if take < 5}}
    for speaker in sorted({speaker for _, speaker, _ in files}):
        own = {path for (_, one, _), path in files.items() if one == speaker}
        tests[f"without {speaker}"] = own
    splits = {}
    for name, test in tests.items():
        rows = [(path, digit) for (digit, _, _), path in files.items()]
        parts = {
            "train": [row for row in rows if row[0] not in test],
            "test": [row for row in rows if row[0] in test],
        }
        for part, some in parts.items():
            write_manifest(folder / name.replace(" ", "_") / f"{part}.csv", some, "label")
        splits[name] = parts
    return splits


def takes_of(data: Path) -> dict[tuple[str, str, int], Path]:
    """Return the recordings of FSDD by digit, speaker and take."""
    names = {path: path.stem.split("_") for path in sorted((data / "recordings").glob("*.wav"))}
    return {(digit, who, int(take)): path for path, (digit, who, take) in names.items()}


def an4(data: Path, folder: Path, *, seed: int = 0) -> Parts:
    """Write the parts of AN4 with texts in lower case; return their rows.

    The test part is the official one.  A tenth of the other speakers are validation speakers.

    Args:
        data: folder with etc/ and feat/.
        folder: folder of the manifests.
        seed: chooses the validation speakers.
    """
    parts: Parts = {part: [] for part in PARTS}
    learned = an4_rows(data, "train")
    speakers = sorted({path.parent.name for path, _ in learned})
    draw = np.random.default_rng(seed)
    held = set(draw.choice(speakers, len(speakers) // 10, replace=False).tolist())
    for path, text in learned:
        parts["validation" if path.parent.name in held else "train"].append((path, text))
    parts["test"] = an4_rows(data, "test")
    for part, rows in parts.items():
        write_manifest(folder / f"{part}.csv", rows, "text")
    return parts


def an4_rows(data: Path, part: str) -> Rows:
    """Return the features and texts of an official part of AN4.

    A line of the texts is TEXT (NAME), with or without <s> and </s>, for the line FOLDER/NAME of
    the names.
    """
    texts = (data / "etc" / f"an4_{part}.transcription").read_text().splitlines()
    names = (data / "etc" / f"an4_{part}.fileids").read_text().split()
    rows = []
    for line, name in zip(texts, names, strict=True):
        text, _, label = line.rstrip(")").rpartition("(")
        if label != Path(name).name:
            raise SystemExit(f"an4_{part}: the text of {label} is in the place of {name}")
        path = data / "feat" / f"{name}.mfc"
        rows.append((path, " ".join(re.sub("</?s>", "", text).lower().split())))
    return rows


def fsdd_digits(
    data: Path,
    folder: Path,
    *,
    sizes: Sequence[int] = (2000, 200, 300),
    known: bool = False,
    seed: int = 0,
) -> Parts:
    """Write strings of digits, made from recordings of single ones; return their rows.

    One speaker is in the test part, one in the validation part, and the others in the training
    part, or with `known` all speakers are in each part; the takes of the parts are different in any
    case.  A string has one speaker.

    Args:
        data: folder with recordings/DIGIT_SPEAKER_TAKE.wav.
        folder: folder of the manifests, and of a folder of recordings for each part.
        sizes: strings of the training, the validation and the test part.
        known: whether all speakers are in each part.
        seed: chooses the speakers and everything else.
    """
    files, draw = takes_of(data), np.random.default_rng(seed)
    speakers = draw.permutation(sorted({who for _, who, _ in files})).tolist()
    chosen = {"train": speakers[2:], "validation": speakers[1:2], "test": speakers[:1]}
    if known:
        chosen = dict.fromkeys(PARTS, speakers)
    parts: Parts = {}
    for part, size in zip(PARTS, sizes, strict=True):
        (folder / part).mkdir(parents=True, exist_ok=True)
        parts[part] = []
        for n in range(size):
            who = draw.choice(chosen[part])
            digits = draw.integers(10, size=draw.integers(LENGTHS[0], LENGTHS[1] + 1)).tolist()
            takes = draw.choice(TAKES[part], len(digits)).tolist()
            clips = [
                soundfile.read(files[str(digit), who, take], dtype="int16")
                for digit, take in zip(digits, takes, strict=True)
            ]
            rate = clips[0][1]
            gaps = draw.uniform(*SILENCE, len(clips) + 1)
            samples, _ = with_gaps([clip for clip, _ in clips], gaps, rate, draw)
            path = folder / part / f"{n:05}.wav"
            soundfile.write(path, samples, rate, subtype="PCM_16")
            parts[part].append((path, " ".join(DIGITS[digit] for digit in digits)))
        write_manifest(folder / f"{part}.csv", parts[part], "text")
    return parts


def wake_words(
    data: Path, folder: Path, *, keyword: str = "stop", minutes: float = 30.0, seed: int = 0
) -> dict[str, list[tuple[float, float]]]:
    """Write a long recording of words for each part of Speech Commands, and where the key word is.

    A recording PART.wav is made of recordings of single words; the manifest PART.csv has the path,
    start and end in seconds and label of each recording of the key word in it.  These are the
    bounds of a recording of one second, in which the word itself is shorter.

    Args:
        data: folder with a folder of recordings for each word.
        folder: folder of the recordings and manifests.
        keyword: the word whose positions are written.
        minutes: length of each recording; it ends with the first gap after this time.
        seed: chooses the words and gaps.

    Returns:
        Start and end in seconds of each key word.
    """
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for part, rows in commands_of(data).items():
        clips = [soundfile.read(path, dtype="int16")[0] for path, _ in rows]
        rate = soundfile.info(rows[0][0]).samplerate
        own = [n for n, (_, word) in enumerate(rows) if word == keyword]
        others = [n for n, (_, word) in enumerate(rows) if word != keyword]
        order, gaps, seconds = [], [draw.uniform(*GAP)], 0.0
        while seconds < 60 * minutes:
            order.append(int(draw.choice(own if draw.random() < SHARE else others)))
            gaps.append(draw.uniform(*GAP))
            seconds += len(clips[order[-1]]) / rate + gaps[-1]
        samples, starts = with_gaps([clips[n] for n in order], gaps, rate, draw)
        soundfile.write(folder / f"{part}.wav", samples, rate, subtype="PCM_16")
        found[part] = [
            (start / rate, (start + len(clips[n])) / rate)
            for n, start in zip(order, starts, strict=True)
            if rows[n][1] == keyword
        ]
        events = [(f"{part}.wav", *map(str, place), keyword) for place in found[part]]
        write_csv(folder / f"{part}.csv", [("path", "start", "end", "label"), *events])
    return found


def with_gaps(
    clips: Sequence[Samples], gaps: Sequence[float], rate: int, draw: np.random.Generator
) -> tuple[Samples, list[int]]:
    """Return clips with gaps before, between and after them and noise, and where they start.

    Args:
        clips: recordings.
        gaps: seconds, one more than clips.
        rate: samples per second.
        draw: draws the noise.
    """
    pieces, starts, place = [], [], 0
    for gap, clip in zip(gaps, [*clips, np.zeros(0, dtype=np.int16)], strict=True):
        pieces += [np.zeros(round(gap * rate), dtype=np.int16), clip]
        starts.append(place + len(pieces[-2]))
        place = starts[-1] + len(clip)
    noise = NOISE * draw.standard_normal(place, dtype=np.float32)
    loudest = np.iinfo(np.int16)
    sounds = np.clip(np.concatenate(pieces) + noise.round(), loudest.min, loudest.max)
    return sounds.astype(np.int16), starts[:-1]


def write_manifest(path: Path, rows: Rows, target: str) -> None:
    """Write recordings and their labels or texts."""
    folder = path.parent.resolve()
    places = (one.resolve() for one, _ in rows)
    written = (one.relative_to(folder) if one.is_relative_to(folder) else one for one in places)
    lines = ((str(one), text) for one, (_, text) in zip(written, rows, strict=True))
    write_csv(path, [("path", target), *lines])


def write_csv(path: Path, lines: Iterable[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
