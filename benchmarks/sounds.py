"""Data sets of speech: their parts as manifests, their properties, and scores of baselines.

    python benchmarks/sounds.py NAME DATA FOLDER [--seed N] [--try]

NAME             DATA
speech_commands  folder with a folder of recordings for each word: the word; speakers of the parts
                 are different
fsdd             folder with recordings/: the digit, in the official test part (takes 0 to 4) and
                 for each speaker learned from the five others
an4              folder with etc/ and feat/: the text, from features of 13 coefficients
fsdd_digits      the folder of fsdd: strings of 3 to 7 digits, of other speakers in each part;
                 `--sizes` has the numbers of strings for training, validation and test
fsdd_digits_known    the folder of fsdd: strings of all speakers in each part, of other takes
wake_words       the folder of speech_commands: recordings of `--minutes`, with the positions of
                 `--keyword`

The manifests and made recordings are written to FOLDER.  The baselines are, for labels, statistics
of MFCC (mean, deviation, smallest and largest value of 13 coefficients and their differences) with
a logistic regression and a random forest, and the most frequent label; for texts, the most frequent
text.  It writes benchmarks/results/sounds_NAME.json.
"""

from __future__ import annotations

import argparse
import inspect
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import kaldi_native_fbank
import numpy as np
import sound_data
import soundfile
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sound_data import Parts, Rows
from texts import finish

from elman.report.transcripts import score_transcripts

Facts = dict[str, Any]
COEFFICIENTS = 13
FRAMES = 100  # frames a second of features
TREES = 500
CLIPPED = 10  # samples with the largest value in a clipped recording


def speech_commands(data: Path, folder: Path) -> Facts:
    parts = sound_data.speech_commands(data, folder)
    speakers = {
        part: {sound_data.speaker_of(path) for path, _ in rows} for part, rows in parts.items()
    }
    facts = described(parts)
    for part, names in speakers.items():
        facts[part]["speakers"] = len(names)
    return {"data": facts, "test accuracy": by_statistics(parts)}


def fsdd(data: Path, folder: Path) -> Facts:
    splits = sound_data.fsdd(data, folder)
    scores = {name: by_statistics(parts) for name, parts in splits.items()}
    apart = [one for name, one in scores.items() if name != "official"]
    scores["mean without a speaker"] = {
        name: float(np.mean([one[name] for one in apart])) for name in apart[0]
    }
    return {"data": described(splits["official"]), "test accuracy": scores}


def an4(data: Path, folder: Path, *, seed: int) -> Facts:
    parts = sound_data.an4(data, folder, seed=seed)
    facts = described(parts)
    for part, rows in parts.items():
        facts[part]["speakers"] = len({path.parent.name for path, _ in rows})
    return {"data": facts, "most frequent text": most_frequent_text(parts)}


def fsdd_digits(
    data: Path, folder: Path, *, sizes: list[int], seed: int, known: bool = False
) -> Facts:
    parts = sound_data.fsdd_digits(data, folder, sizes=sizes, known=known, seed=seed)
    return {"data": described(parts), "most frequent text": most_frequent_text(parts)}


def fsdd_digits_known(data: Path, folder: Path, *, sizes: list[int], seed: int) -> Facts:
    return fsdd_digits(data, folder, sizes=sizes, seed=seed, known=True)


def wake_words(data: Path, folder: Path, *, keyword: str, minutes: float, seed: int) -> Facts:
    found = sound_data.wake_words(data, folder, keyword=keyword, minutes=minutes, seed=seed)
    facts = {}
    for part, places in found.items():
        seconds = soundfile.info(folder / f"{part}.wav").duration
        facts[part] = {"minutes": seconds / 60, "key words": len(places)}
    return {"data": facts}


def described(parts: Parts) -> Facts:
    """Return the properties of the recordings and targets of each part."""
    known = {word for _, text in parts["train"] for word in text.split()}
    return {part: _described(rows, known) for part, rows in parts.items()}


def _described(rows: Rows, known: set[str]) -> Facts:
    lengths, rates, clipped, empty = [], set(), 0, 0
    for path, _ in rows:
        if path.suffix == ".mfc":
            rate, length = FRAMES, len(features_of(path))
        else:
            samples, rate = soundfile.read(path, dtype="int16")
            length = len(samples)
            clipped += int((np.abs(samples.astype(np.int32)) >= 2**15 - 1).sum() >= CLIPPED)
        rates.add(rate)
        empty += length == 0
        lengths.append(length / rate)
    words = [word for _, text in rows for word in text.split()]
    return {
        "recordings": len(rows),
        "minutes": sum(lengths) / 60,
        "seconds": dict(
            zip(
                ("least", "median", "most"), np.quantile(lengths, [0, 0.5, 1]).tolist(), strict=True
            )
        ),
        "per second": sorted(rates),
        "clipped": clipped,
        "empty": empty,
        "words": len(words),
        "vocabulary": len(set(words)),
        "not in training": sum(word not in known for word in words),
        "different texts": len({text for _, text in rows}),
    }


def features_of(path: Path) -> np.ndarray:
    """Return the features (T, 13) of a file of AN4: a count and floats, big-endian."""
    content = path.read_bytes()
    values = np.frombuffer(content, ">f4", offset=4)
    if len(values) != np.frombuffer(content, ">i4", 1)[0] or len(values) % COEFFICIENTS:
        raise SystemExit(f"{path}: the count does not fit the size")
    return values.reshape(-1, COEFFICIENTS)


@cache
def statistics_of(path: Path) -> np.ndarray:
    """Return mean, deviation, smallest and largest value of MFCC and their differences (104)."""
    samples, rate = soundfile.read(path, dtype="int16")
    options = kaldi_native_fbank.MfccOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = rate, 0
    options.num_ceps = COEFFICIENTS
    mfcc = kaldi_native_fbank.OnlineMfcc(options)
    mfcc.accept_waveform(rate, samples.astype(np.float32))
    mfcc.input_finished()
    frames = np.stack([mfcc.get_frame(n) for n in range(mfcc.num_frames_ready)])
    both = np.concatenate([frames, np.gradient(frames, axis=0)], 1)
    return np.concatenate([both.mean(0), both.std(0), both.min(0), both.max(0)])


def by_statistics(parts: Parts) -> dict[str, float]:
    """Return the test accuracy of models of statistics, learned from the training part."""
    (x, y), (held, wanted) = (
        (
            np.stack([statistics_of(path) for path, _ in parts[part]]),
            [name for _, name in parts[part]],
        )
        for part in ("train", "test")
    )
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    forest = RandomForestClassifier(TREES, random_state=0)
    usual = Counter(y).most_common(1)[0][0]
    return {
        "logistic regression": float(linear.fit(x, y).score(held, wanted)),
        "random forest": float(forest.fit(x, y).score(held, wanted)),
        "most frequent label": wanted.count(usual) / len(wanted),
    }


def most_frequent_text(parts: Parts) -> Facts:
    """Return the scores of the most frequent training text as the transcript of each recording."""
    text, count = Counter(text for _, text in parts["train"]).most_common(1)[0]
    facts: Facts = {"text": text, "times in training": count}
    for part in ("validation", "test"):
        wanted = [text for _, text in parts[part]]
        facts[part] = score_transcripts([text] * len(wanted), wanted)
    return facts


RUNS: dict[str, Callable[..., Facts]] = {
    run.__name__: run
    for run in (speech_commands, fsdd, an4, fsdd_digits, fsdd_digits_known, wake_words)
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=list(RUNS))
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", type=int, nargs=3, default=[2000, 200, 300])
    parser.add_argument("--keyword", default="stop")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--try", action="store_true", dest="only_try", help="do not write a result")
    given = parser.parse_args()
    run = RUNS[given.name]
    taken = inspect.signature(run).parameters
    options = {name: value for name, value in vars(given).items() if name in taken}
    facts = run(**options)
    del options["data"], options["folder"]
    finish(f"sounds_{given.name}", {"options": options, **facts}, only_try=given.only_try)


if __name__ == "__main__":
    main()
