"""Key words of a classifier of audio clips: their threshold, false alarms and misses.

Clips that were held out are joined in random order, with short gaps of low noise, to a recording in
which the positions of the key words are known.  A live session reads it as it reads a microphone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.arguments import check_whole
from elman.decode.spotting import Spotting, SpottingCurve, spotting_curve
from elman.errors import ArgumentError
from elman.inputs.audio import Audio
from elman.inputs.input import Input
from elman.live.spotting import LiveSpotting
from elman.optional import need
from elman.read.audio import Clip, read_blocks
from elman.read.examples import Examples
from elman.read.labels import Label
from elman.read.split import some_of
from elman.report.terminal import counted
from elman.targets.label_settings import LabelSettings
from elman.targets.target import HELD_OUT

Floats = NDArray[np.float32]
SECONDS = 1800  # of the recording
GAP = (0.1, 0.5)  # seconds between clips
NOISE = 1e-3  # standard deviation of the noise in the gaps (-60 dB)
BLOCK = 16  # clips that are read at a time
THRESHOLDS = 1 / (1 + np.exp(-np.linspace(-5, 12, 120)))  # 0.007 .. 0.999994
MISSES = 0.05  # share of missed key words at which models are compared
ROWS = 12  # rows of the table of thresholds
DRAWN = 20  # times the wanted false alarms per hour, up to which the curve is drawn


class Played(NamedTuple):
    """A clip of the recording.

    Attributes:
        samples: a gap of noise, and then the clip.
        gap: samples of the gap.
        labels: labels of the clip.
    """

    samples: Floats
    gap: int
    labels: tuple[str, ...]


def audio_of(learned: Input) -> Audio:
    """Return an input whose key words can be spotted; raise an ArgumentError for another one."""
    if not isinstance(learned, Audio):
        raise ArgumentError(f"key words need audio, this model reads {learned.reader.noun}")
    if not learned.index.rate:
        raise ArgumentError("key words need audio, this model reads features, not samples")
    return learned


def keyword_numbers(keywords: Sequence[str], classes: Sequence[Label]) -> list[int]:
    """Return the number of each key word among the labels.

    Raises:
        ArgumentError: there are no key words, one is not a label, or no other label is left.
    """
    names = [str(label) for label in classes]
    if isinstance(keywords, str) or not keywords:
        raise ArgumentError(
            f"keywords must be a list of labels, got {keywords!r}; set keywords in training"
        )
    if len(set(keywords)) < len(keywords):
        raise ArgumentError(f"keywords must be different, got {', '.join(keywords)}")
    unknown = next((word for word in keywords if word not in names), None)
    if unknown is not None:
        raise ArgumentError(f"keyword {unknown!r} is not a label; the labels are {some_of(names)}")
    if set(names) <= set(keywords):
        raise ArgumentError(
            "all labels are keywords; the clips of at least one other label, such as other words "
            "or noise, are needed to learn what is not a key word"
        )
    return [names.index(word) for word in keywords]


def facts_for(
    keywords: Sequence[str], classes: Sequence[Label], learned: Input, train: Examples
) -> dict[str, int]:
    """Return the median number of steps of the training clips; nothing without audio.

    Raises:
        ArgumentError: the key words are not labels of audio.
    """
    if keywords:
        audio_of(learned)
        keyword_numbers(keywords, classes)
    if not isinstance(learned, Audio):
        return {}
    return {"steps": int(np.median([learned.index.count(len(one)) for one in train.items]))}


def steps_of(described: Mapping[str, Any]) -> int:
    """Return the steps of a window; raise an ArgumentError if the model does not have them."""
    if "steps" not in described:
        raise ArgumentError(
            "this model does not have the length of its training clips; train it again"
        )
    return int(described["steps"])


def check_facts(described: Mapping[str, Any]) -> None:
    """Raise an ArgumentError for impossible facts of a saved model."""
    check_whole(described.get("steps", 1), "steps", least=1)
    if (threshold := described.get("threshold")) is not None:
        Spotting(threshold=threshold)


def measure(
    begin: Callable[[int], LiveSpotting],
    parts: Mapping[str, Examples],
    settings: LabelSettings,
    metrics: dict[str, Any],
) -> float:
    """Choose the threshold on the validation data, and add its scores to the metrics.

    Args:
        begin: returns a session of the key words for a sample rate.
        parts: the data; the validation and the test data are scored.
        settings: the key words, the false alarms that are wanted, and the seed.
        metrics: scores and notes of the model, which are extended.

    Returns:
        The threshold.
    """
    words, wanted = settings.keywords, settings.false_alarms_per_hour
    wanted = 1.0 if wanted is None else wanted
    held = {name: parts[name] for name in HELD_OUT if name in parts}
    curves = {
        name: curve_of(begin, part, words, seed=settings.seed, seconds=SECONDS)
        for name, part in held.items()
    }
    lowest, notes = curves["validation"].allowed(wanted), metrics["notes"]
    chosen = len(THRESHOLDS) - 1 if lowest is None else lowest
    threshold = float(THRESHOLDS[chosen])
    spoken = sum(any(str(one) in words for one in some) for some in held["validation"].targets)
    notes.append(
        f"the threshold of {some_of(list(words))} is {threshold:.6g}; it was chosen on "
        f"{SECONDS // 60} minutes of sound, in which {counted(len(held['validation']), 'clips')} "
        f"of the validation data ({spoken:,} with a key word) follow each other in random order, "
        "repeated in a new order if they are shorter"
        + ("" if spoken else "; without a key word the misses are unknown")
    )
    if lowest is None:
        notes.append(
            f"every threshold has more than {wanted:g} false alarms per hour, so the highest one "
            "is used; train longer, or on more clips of other words"
        )
    for name, curve in curves.items():
        metrics["model"][name] |= _scores(curve, chosen)
    metrics["spotting"] = {
        "curves": {name: _points(one, DRAWN * max(wanted, 1.0)) for name, one in curves.items()},
        "tables": [_table(curve, chosen, name) for name, curve in curves.items()],
    }
    return threshold


def curve_of(
    begin: Callable[[int], LiveSpotting],
    examples: Examples,
    keywords: Sequence[str],
    *,
    seed: int,
    seconds: float,
) -> SpottingCurve:
    """Return the false alarms and misses in a recording of this duration, made of clips.

    Args:
        begin: returns a session of the key words for a sample rate.
        examples: the clips and their labels.
        keywords: the key words, in the order of the session.
        seed: seed of the order of the clips.
        seconds: smallest duration.
    """
    rate = Counter(one.clip.rate for one in examples.items).most_common(1)[0][0]
    live, played = begin(rate), play(examples, rate, seed=seed)
    truth, found, at = [], [], 0
    while at < seconds * rate:
        block = list(islice(played, BLOCK))
        for samples, gap, labels in block:
            times = ((at + gap) / rate, (at + len(samples)) / rate)
            truth += [(k, *times) for k, word in enumerate(keywords) if word in labels]
            at += len(samples)
        found.append(live.probabilities(np.concatenate([one.samples for one in block])))
    found.append(live.probabilities(np.zeros(rate, dtype=np.float32)))  # the last clip ends here
    p = np.concatenate(found)
    return spotting_curve(
        p,
        np.arange(len(p)) * live.spotting.hop + live.span(0)[1],
        truth,
        spotting=live.spotting,
        thresholds=THRESHOLDS,
        seconds=at / rate + 1,
    )


def play(examples: Examples, rate: int, *, seed: int) -> Iterator[Played]:
    """Yield all clips in random order, again and again in a new order, with gaps between them."""
    draw = np.random.default_rng(seed)
    while True:
        for n in draw.permutation(len(examples)):
            gap = int(draw.uniform(*GAP) * rate)
            noise = (NOISE * draw.standard_normal(gap)).astype(np.float32)
            samples = np.concatenate([noise, _samples(examples.items[n].clip, rate)])
            yield Played(samples, gap, tuple(map(str, examples.targets[n])))


def _samples(clip: Clip, rate: int) -> Floats:
    found = np.concatenate(list(read_blocks(clip, clip.name)))
    if clip.rate == rate:
        return found
    soxr = need("soxr", f"audio of {clip.rate} Hz among audio of {rate} Hz")
    resampled: Floats = soxr.resample(found, clip.rate, rate)
    return resampled


def _scores(curve: SpottingCurve, chosen: int) -> dict[str, float]:
    """Return the scores of the chosen threshold, as far as they are known."""
    scores = {
        "false_alarms_per_hour": float(curve.false_alarms_per_hour[chosen]),
        "miss_rate": float(curve.miss_rate[chosen]),
        f"false_alarms_per_hour_at_{MISSES * 100:.0f}_percent_misses": curve.at_misses(MISSES),
    }
    return {
        name: value for name, value in scores.items() if value is not None and math.isfinite(value)
    }


def _table(curve: SpottingCurve, chosen: int, part: str) -> dict[str, Any]:
    """Return false alarms and misses at some thresholds."""
    silent = (curve.false_alarms_per_hour == 0) & ~(curve.miss_rate < 1)
    last = int(silent.argmax()) if silent.any() else len(silent) - 1  # nothing is detected above
    rows = {*np.linspace(0, last, ROWS).round().astype(int).tolist(), chosen}
    return {
        "title": f"Key words, {part} data",
        "columns": ["false alarms per hour", "missed key words"],
        "rows": [
            [
                f"threshold {curve.thresholds[n]:.6f}{' (chosen)' if n == chosen else ''}",
                f"{curve.false_alarms_per_hour[n]:,.1f}",
                f"{curve.miss_rate[n]:.1%}" if math.isfinite(curve.miss_rate[n]) else "unknown",
            ]
            for n in sorted(rows)
        ],
    }


def _points(curve: SpottingCurve, most: float) -> dict[str, list[float]]:
    """Return the false alarms per hour, up to `most`, and the missed key words in percent."""
    kept = (curve.false_alarms_per_hour <= most) & np.isfinite(curve.miss_rate)
    pairs = [curve.false_alarms_per_hour[kept], 100 * curve.miss_rate[kept]]
    points = np.unique(np.stack(pairs, 1).round(4), axis=0)
    return {"false_alarms_per_hour": points[:, 0].tolist(), "missed": points[:, 1].tolist()}
