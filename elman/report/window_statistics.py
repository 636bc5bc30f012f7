"""Baselines of recordings by scikit-learn (an extra), on statistics of windows.

    random forest         inputs: mean, standard deviation, minimum, maximum, quartiles, first and
                          last value, mean absolute change and share of measured steps of each
                          channel; static columns; number of steps.  300 trees, or fewer if rows
                          times classes times trees would be more than NODES.  A second one
                          reads all values, if all windows have the same length
    logistic regression   inputs: last value and mean of each channel, whether they exist, and
                          static columns, or for audio the inputs of the forest; C = 0.1

The probabilities of a recording are the means over its windows.  All numbers are standardised by
the training data, because a forest reads float32.

For tags of steps, the inputs of the forest are mean, standard deviation, minimum, maximum and share
of measured steps in the WIDTH steps around each step; it learns from MOST random steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.scale import find_unit
from elman.optional import find

FOREST = "random forest on statistics of windows"
STEPS = "random forest on statistics around each step"
FREQUENT = "most frequent tag"
WIDTH, MOST, BLOCK = 33, 20_000, 4096
TREES, FEWEST = 300, 10
NODES = 300_000_000  # largest rows times classes times trees, which a forest keeps in memory
VALUES, MOST_VALUES = "random forest on all values", 4096  # values of a window
REGRESSION = "logistic regression on last values and means"
AUDIO_REGRESSION = "logistic regression on statistics of windows"

Numbers = NDArray[np.float64]
Windows = tuple[Sequence[Numbers], Numbers, NDArray[np.int64]]  # channels, static, owners
Features = Callable[[Windows], Numbers]  # a row for each window
Found = tuple[str, dict[str, Tensor]]


def statistics(values: Numbers) -> Numbers:
    """Return the statistics of a window (T, C) as one row; NaN for a channel without numbers.

    Example:
        >>> import numpy as np
        >>> from elman.report.window_statistics import statistics
        >>> statistics(np.array([[1.0], [3.0]])).tolist()
        [2.0, 1.0, 1.0, 3.0, 1.5, 2.0, 2.5, 1.0, 3.0, 2.0, 1.0]
    """
    there = ~np.isnan(values)
    count = there.sum(0)
    first = np.take_along_axis(values, there.argmax(0)[None], 0)[0]
    last = np.take_along_axis(values, len(values) - 1 - there[::-1].argmax(0)[None], 0)[0]
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN is intended without numbers
        parts = [
            np.nanmean(values, 0),
            np.nanstd(values, 0),
            np.nanmin(values, 0),
            np.nanmax(values, 0),
            *np.nanquantile(values, (0.25, 0.5, 0.75), axis=0),
            first,
            last,
            np.nan_to_num(np.nanmean(np.abs(np.diff(values, axis=0)), 0))
            if len(values) > 1
            else np.zeros(values.shape[1]),
            count / max(1, len(values)),
        ]
    return np.concatenate(parts)


def last_and_mean(values: Numbers) -> Numbers:
    """Return last value and mean of each channel (T, C); NaN for a channel without numbers."""
    there = ~np.isnan(values)
    last = np.take_along_axis(values, len(values) - 1 - there[::-1].argmax(0)[None], 0)[0]
    sums = np.where(there, values, 0).sum(0)
    with np.errstate(invalid="ignore"):
        return np.concatenate([last, sums / there.sum(0)])


def all_statistics(windows: Windows) -> Numbers:
    """Return a row of statistics, static columns and the number of steps for each window."""
    steps = np.array([[len(one)] for one in windows[0]])
    return np.concatenate([_each(windows, statistics), steps], 1)


def last_and_means(windows: Windows) -> Numbers:
    """Return a row of last values, means and static columns for each window."""
    return _each(windows, last_and_mean)


def all_values(windows: Windows) -> Numbers:
    """Return a row of all values and static columns for each window (T, C), with one T."""
    return np.concatenate([np.array(windows[0]).reshape(len(windows[0]), -1), windows[1]], 1)


def by_values(
    train: Windows, targets: Tensor, others: dict[str, Windows], classes: int
) -> Found | None:
    """Return the forest of all values, see `by_forest`; None if windows differ in length."""
    lengths = {len(one) for part in (train, *others.values()) for one in part[0]}
    if len(lengths) > 1 or not 1 <= train[0][0].size <= MOST_VALUES:
        return None
    return by_forest(train, targets, others, classes, features=all_values, title=VALUES)


def by_forest(
    train: Windows,
    targets: Tensor,
    others: dict[str, Windows],
    classes: int,
    *,
    features: Features = all_statistics,
    title: str = FOREST,
) -> Found | None:
    """Return the name of a random forest, and its probabilities (N, K) for other recordings.

    The result is None without scikit-learn, or if there are too many rows and classes for FEWEST
    trees.
    """
    if find("sklearn") is None:
        return None
    from sklearn.ensemble import RandomForestClassifier

    kinds = classes if targets.dim() == 1 else 2
    trees = min(TREES, NODES // (len(train[2]) * kinds))
    if trees < FEWEST:
        return None

    def ready(rows: Numbers) -> Numbers:
        return np.asarray(np.nan_to_num(rows, nan=-1e9))

    def fit(x: Numbers, y: NDArray[np.int64]) -> Callable[[Numbers], tuple[Numbers, Numbers]]:
        forest = RandomForestClassifier(trees, min_samples_leaf=2, random_state=0)
        forest.fit(ready(x), y)
        return lambda other: (forest.predict_proba(ready(other)), forest.classes_)

    name = title if trees == TREES else f"{title}, {trees} trees"
    return name, _run(features, fit, train, targets, others, classes)


def by_regression(
    train: Windows,
    targets: Tensor,
    others: dict[str, Windows],
    classes: int,
    *,
    features: Features = last_and_means,
    title: str = REGRESSION,
) -> Found | None:
    """Return the name of a logistic regression, and its probabilities (N, K) for other recordings.

    The result is None without scikit-learn.
    """
    if find("sklearn") is None:
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    def fit(x: Numbers, y: NDArray[np.int64]) -> Callable[[Numbers], tuple[Numbers, Numbers]]:
        some = ~np.isnan(x).all(0)
        middle = np.zeros(x.shape[1])
        middle[some] = np.nanmean(x[:, some], 0)
        scaler = StandardScaler().fit(np.where(np.isnan(x), middle, x))

        def ready(rows: Numbers) -> Numbers:
            gone = np.isnan(rows)
            scaled = scaler.transform(np.where(gone, middle, rows)).clip(-10, 10)
            return np.concatenate([scaled, gone], 1)

        model = LogisticRegression(C=0.1, max_iter=1000).fit(ready(x), y)
        return lambda other: (model.predict_proba(ready(other)), model.classes_)

    return title, _run(features, fit, train, targets, others, classes)


def _each(windows: Windows, of: Callable[[Numbers], Numbers]) -> Numbers:
    """Return a row of statistics and static columns for each window; NaN for one without steps."""
    arrays, fixed, _ = windows
    nothing = np.full((1, arrays[0].shape[1]), np.nan)
    rows = np.array([of(one if len(one) else nothing) for one in arrays])
    return np.asarray(np.concatenate([rows, fixed], 1))


def _in_units(rows: Numbers, train: Numbers) -> Numbers:
    """Standardise columns by statistics of the training data; missing numbers stay NaN."""
    units = [find_unit(column[~np.isnan(column)]) for column in train.T]
    mean, deviation = np.array(units).T
    return np.asarray((rows - mean) / deviation)


def _run(
    features: Features,
    fit: Callable[[Numbers, NDArray[np.int64]], Callable[[Numbers], tuple[Numbers, Numbers]]],
    train: Windows,
    targets: Tensor,
    others: dict[str, Windows],
    classes: int,
) -> dict[str, Tensor]:
    """Fit a model to windows with the labels of their recordings; return probabilities of others.

    With several labels, one model is fitted for each label.
    """
    rows, owners = features(train), train[2]
    several = targets.dim() == 2
    columns = targets.long().T if several else targets[None]
    x = _in_units(rows, rows)
    made = {name: _in_units(features(windows), rows) for name, windows in others.items()}
    found = {
        name: np.zeros((int(windows[2].max()) + 1, classes)) for name, windows in others.items()
    }
    for k, column in enumerate(columns):
        wanted = column.numpy()[owners]
        same = len(np.unique(wanted)) == 1
        predict = None if same else fit(x, wanted)
        for name, rows in made.items():
            if predict is None:
                p, kinds = np.ones((len(rows), 1)), np.unique(wanted)
            else:
                p, kinds = predict(rows)
            total, count = found[name], np.bincount(others[name][2])
            for place, kind in enumerate(np.asarray(kinds).tolist()):
                mean = np.bincount(others[name][2], weights=p[:, place]) / count
                if not several:
                    total[:, kind] = mean
                elif kind == 1:
                    total[:, k] = mean
    return {name: torch.from_numpy(total).float() for name, total in found.items()}


def most_frequent(
    _train: Sequence[Numbers], tags: Sequence[NDArray[np.int64]], others: dict[str, list[Numbers]]
) -> tuple[str, dict[str, list[NDArray[np.int64]]]]:
    """Return the name of the baseline, and the most frequent tag for every step of others."""
    top = int(np.bincount(np.concatenate(tags)).argmax())
    return FREQUENT, {
        name: [np.full(len(one), top) for one in some] for name, some in others.items()
    }


def steps_by_forest(
    train: Sequence[Numbers], tags: Sequence[NDArray[np.int64]], others: dict[str, list[Numbers]]
) -> tuple[str, dict[str, list[NDArray[np.int64]]]] | None:
    """Return the name of a random forest, and a tag for every step of other recordings (T, C).

    The result is None without scikit-learn.
    """
    if find("sklearn") is None:
        return None
    from sklearn.ensemble import RandomForestClassifier

    wanted, rows = np.concatenate(tags), np.concatenate(train)
    train = [_in_units(one, rows) for one in train]
    others = {name: [_in_units(one, rows) for one in some] for name, some in others.items()}
    draw = np.random.default_rng(0)
    kept = np.sort(draw.permutation(len(wanted))[:MOST])
    ends = np.cumsum([len(one) for one in train])
    x = np.concatenate(
        [
            _around(one, kept[(kept >= end - len(one)) & (kept < end)] - (end - len(one)))
            for one, end in zip(train, ends.tolist(), strict=True)
        ]
    )
    forest = RandomForestClassifier(100, min_samples_leaf=2, random_state=0).fit(x, wanted[kept])
    limited = len(kept) < len(wanted)
    title = f"{STEPS}, {MOST:,} of {len(wanted):,} steps" if limited else STEPS
    return title, {
        name: [
            np.concatenate(
                [
                    np.zeros(0, dtype=np.int64),
                    *(
                        forest.predict(_around(one, np.arange(at, min(at + BLOCK, len(one)))))
                        for at in range(0, len(one), BLOCK)
                    ),
                ]
            )
            for one in some
        ]
        for name, some in others.items()
    }


def _around(values: Numbers, steps: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return statistics (N, 6 C) of the windows around N steps."""
    half = WIDTH // 2
    whole = np.pad(values, ((half, half), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(whole, WIDTH, axis=0)[steps]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN is intended without numbers
        parts = [
            values[steps],
            np.nanmean(windows, 2),
            np.nanstd(windows, 2),
            np.nanmin(windows, 2),
            np.nanmax(windows, 2),
            (~np.isnan(windows)).mean(2),
        ]
    return np.asarray(np.nan_to_num(np.concatenate(parts, 1), nan=-1e9), dtype=np.float32)
