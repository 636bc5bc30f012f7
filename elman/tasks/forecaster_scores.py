"""Forecasts of many windows, and their scores compared with baselines.

Shape legend: B windows, H steps ahead, K targets, Q levels, S futures, N series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.decode.combine import simple_forecast
from elman.decode.conformal import correct
from elman.decode.copula import draw_futures, find_root
from elman.decode.rollout import rollout
from elman.decode.widen import find_factors, missing_share, widen
from elman.encode.layout import Layout
from elman.encode.windows import Window, Windows, context_of
from elman.errors import DataError
from elman.heads.distributions import Quantiles
from elman.padded import Padded
from elman.recur.stream import Stream
from elman.report.forecasts import (
    Guess,
    Scored,
    find_distances,
    score_forecasts,
    score_places,
)
from elman.state import select_rows
from elman.tasks.forecaster_baselines import forecast_baselines
from elman.train.windows import WindowBatches

if TYPE_CHECKING:
    from elman.tasks.forecaster import Forecaster

STEPS, ROWS = 1 << 18, 4096  # maximum steps, and windows times samples, computed at a time
SCORED, SLOW = 10_000, 500  # maximum scored windows, without and with statistical models
MANY, BEST = 10_000, 20  # maximum sampled futures, and futures whose best is scored

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Rolled:
    """Forecasts from origins.

    Attributes:
        which, origins: (B,) indices of the series, and numbers of steps before the forecasts.
        mean: (B, H, K) means.
        quantiles: (B, H, K, Q) quantiles.
        scale: (B, 1 or H, K) scales of the windows.
        y: (B, H, K) actual numbers, NaN where there are none.
        futures: (B, S, H, K) sampled futures; S can be 0.
        missing: (B,) shares of missing numbers in the contexts.
    """

    which: Whole
    origins: Whole
    mean: Numbers
    quantiles: Numbers
    scale: Numbers
    y: Numbers
    futures: Numbers
    missing: Numbers


def roll(
    model: Forecaster, windows: Windows, which: Whole, origins: Whole, *, corrected: bool = True,
    futures: int = 0,
) -> Rolled:  # fmt: skip
    """Forecast from origins; the quantiles are corrected if the model has corrections."""
    corrections = model.history.corrections if corrected else None
    parts = zip(*_forecast_parts(model, windows, which, origins, corrections, futures), strict=True)
    mean, quantiles, scale, drawn, missing = (np.concatenate(part) for part in parts)
    y = windows.truth(which, origins)
    return Rolled(which, origins, mean, quantiles, scale, y, drawn, missing)


def most_futures(model: Forecaster) -> int:
    """Return the maximum number of futures of a forecast, 0 if the model cannot sample any."""
    if model.decoder == "autoregressive":
        return model.samples
    return 0 if model.history.dependence is None else MANY


def _forecast_parts(
    model: Forecaster,
    windows: Windows,
    which: Whole,
    origins: Whole,
    corrections: Numbers | None,
    futures: int,
) -> Iterator[tuple[Numbers, Numbers, Numbers, Numbers, Numbers]]:
    """Yield means, quantiles, scales, futures and missing shares of some windows at a time."""
    rows = ROWS // model.samples if windows.layout.feedback else ROWS
    rows = max(1, min(rows, STEPS // windows.layout.steps, STEPS // max(1, futures)))
    root = None
    if futures and not windows.layout.feedback:
        assert model.history.dependence is not None
        root = find_root(model.history.dependence)
    model.model.eval()
    for at in range(0, len(which), rows):
        window = windows.cut(which[at : at + rows], origins[at : at + rows])
        with torch.inference_mode():
            predict = _predict_samples if windows.layout.feedback else _predict_all
            mean, quantiles, *drawn = predict(model, windows.layout, window)
        context = context_of(window.inputs, windows.layout)
        mean, quantiles, *drawn = _combined(model, context, mean, quantiles, *drawn)
        mean, spread, *drawn = _in_units(
            model, window, context, mean, quantiles, corrections, *drawn
        )
        if drawn:
            paths = drawn[0][:, :futures]
        elif root is not None:
            draw = np.random.default_rng(model.seed)
            paths = draw_futures(spread, model.levels, root, futures, draw)
        else:
            paths = np.zeros((len(mean), 0, *mean.shape[1:]))
        yield mean, spread, window.scale, _whole_counts(model, paths), missing_share(context)


def _combined(
    model: Forecaster, context: NDArray[Any], mean: NDArray[Any], quantiles: NDArray[Any],
    *drawn: NDArray[Any],
) -> list[NDArray[Any]]:  # fmt: skip
    """Combine means (B, H, K), quantiles (B, H, K, Q), futures (B, S, H, K) with simple ones."""
    if model.history.share is None:
        return [mean, quantiles, *drawn]
    season, share = model.history.share
    simple = simple_forecast(context, mean.shape[1], int(season))
    move = share * np.nan_to_num(simple - quantiles[..., model.levels.index(0.5)])
    return [mean + move, quantiles + move[..., None], *(one + move[:, None] for one in drawn)]


def _in_units(
    model: Forecaster, window: Window, context: NDArray[Any], mean: NDArray[Any],
    quantiles: NDArray[Any], corrections: Numbers | None, *drawn: NDArray[Any],
) -> list[Numbers]:  # fmt: skip
    """Return means, corrected and widened quantiles, and futures in the units of the series."""
    shift, scale = window.shift, window.scale
    spread = quantiles * scale[..., None] + shift[..., None]
    paths = [one * scale[:, None] + shift[:, None] for one in drawn]
    if corrections is not None:
        spread = correct(spread, scale[..., None], corrections, model.levels)
    if model.history.widening is not None:  # all but the mean move away from the median
        factor = find_factors(context, model.history.widening)
        spread, *paths = widen(spread, factor, model.levels.index(0.5), *paths)
    return [mean * scale + shift, _whole_counts(model, spread), *paths]


def _whole_counts(model: Forecaster, numbers: Numbers) -> Numbers:
    """Round quantiles or samples of counts to whole numbers, 0 or more; return others unchanged.

    A count is above a bound exactly if it is above the bound's integer part, so rounding never
    narrows an interval that was corrected.
    """
    return (
        np.rint(numbers).clip(min=0) + 0.0
        if model.kind_of_output == "negative_binomial"
        else numbers
    )


def window_predictor(
    model: Forecaster, layout: Layout
) -> Callable[[Window], tuple[Numbers, Numbers]]:
    """Return a fast function for means and quantiles of single windows, for a live session."""
    corrections = model.history.corrections
    find = torch.inference_mode()(_predict_samples) if layout.feedback else _LivePredictor(model)
    model.model.eval()

    def predict(window: Window) -> tuple[Numbers, Numbers]:
        mean, quantiles, *_ = find(model, layout, window)
        context = context_of(window.inputs, layout)
        mean, quantiles = _combined(model, context, mean, quantiles)
        mean, quantiles = _in_units(model, window, context, mean, quantiles, corrections)
        return mean, quantiles

    return predict


class _LivePredictor:
    """Computes `_predict_all` of a single window, with weights packed once and without torch."""

    def __init__(self, model: Forecaster) -> None:
        network, self.levels = model.model, model.levels
        self.embed, self.distribution = network.encode, network.head.distribution
        self.plain = self.embed.is_plain
        self.stream = Stream(network.core)
        linear, self.size = network.head.linear, network.core.output_size
        # The concatenation of states, inputs and a 1 turns matrix and bias into one product.
        parts = (linear.weight.detach().numpy().T, linear.bias.detach().numpy()[None])
        self.weight = np.concatenate(parts)
        self.row = np.ones((model.layout.ahead, len(self.weight)), dtype=np.float32)
        self.shares = None
        if isinstance(self.distribution, Quantiles):
            self.shares = self.distribution.shares.numpy()

    def __call__(
        self, model: Forecaster, layout: Layout, window: Window
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        x = window.inputs
        if not self.plain:
            with torch.inference_mode():
                x = self.embed(Padded.full(x)).data
        self.stream.restart()
        first = layout.seen - 1
        self.row[:, : self.size] = self.stream.run(x)[0, first:].numpy()
        self.row[:, self.size : -1] = x[0, first:].numpy()
        found = (self.row @ self.weight).reshape(1, -1, layout.targets, self.distribution.size)[
            :, : layout.horizon
        ]
        if self.shares is not None:
            found.sort(-1)
            return found @ self.shares, found
        output, scale = torch.from_numpy(found), torch.from_numpy(window.scale).float()
        scale = scale.expand(output.shape[:-1])
        mean = self.distribution.mean(output, scale)
        return mean.numpy(), self.distribution.quantiles(output, self.levels, scale).numpy()


def _predict_all(
    model: Forecaster, layout: Layout, window: Window
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Predict means (B, H, K) and quantiles (B, H, K, Q) at once, in units of the windows."""
    head = model.model.head
    states, _ = model.model.run(Padded.full(window.inputs))
    found = head(states.data[:, layout.seen - 1 :])
    found = found.reshape(len(found), -1, layout.targets, found.shape[-1])[:, : layout.horizon]
    scale = torch.from_numpy(window.scale).float().expand(found.shape[:-1])
    spread = head.distribution.quantiles(found, model.levels, scale)
    return head.distribution.mean(found, scale).numpy(), spread.numpy()


def _predict_samples(
    model: Forecaster, layout: Layout, window: Window
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Predict means, quantiles and samples (B, S, H, K) step by step, in units of the windows."""
    network, head = model.model, model.model.head
    windows, samples, targets = len(window.inputs), model.samples, layout.targets
    rows = torch.arange(windows).repeat_interleave(samples)
    scale = torch.from_numpy(window.scale).float().expand(windows, samples, targets)
    generator = torch.Generator().manual_seed(model.seed)
    states, state = network.run(Padded.full(window.inputs[:, : layout.seen]))
    width = 2 * targets

    def step(x: Tensor, state: Any) -> tuple[Tensor, Any]:
        states, state = network.run(Padded.full(x), state)
        return head(states.data[:, -1]), state

    def draw(found: Tensor) -> Tensor:
        each = found.view(windows, samples, targets, -1)
        drawn: Tensor = head.distribution.sample(each, scale, generator)
        return drawn.view(-1, targets)

    def read(number: int, drawn: list[Tensor]) -> Tensor:
        x = window.inputs[:, layout.seen - 1 + number, None][rows]
        for place, lag in enumerate((1, *layout.lags)):
            if number - lag >= 0:  # after the origin, so the number is a sample
                y = drawn[number - lag]
                x[:, 0, place * width : (place + 1) * width] = torch.cat([y, torch.ones_like(y)], 1)
        return x

    futures = rollout(
        step, head(states.data[:, -1])[rows], select_rows(state, rows),
        draw=draw, read=read, steps=layout.horizon,
    ).view(windows, samples, layout.horizon, targets)  # fmt: skip
    # A quantile of counts is a count: the smallest that reaches the level.
    between = "higher" if model.kind_of_output == "negative_binomial" else "linear"
    levels = futures.new_tensor(model.levels)
    spread = torch.quantile(futures, levels, dim=1, interpolation=between).movedim(0, -1)
    return futures.mean(1).numpy(), spread.numpy(), futures.numpy()


def choose(
    windows: Windows, spans: Whole, stride: int, most: int, names: Sequence[str] = ()
) -> tuple[Whole, Whole]:
    """Choose at most `most` windows, evenly spaced: indices of series and origins (B,).

    Origins whose context has no number are skipped.

    Args:
        windows: windows of N series.
        spans: (N, 2) first and last origin of each series.
        stride: steps from one origin to the next.
        most: maximum number of windows.
        names: names of the series, for messages.

    Raises:
        DataError: there are no windows, or no numbers after their origins.
    """
    batches = WindowBatches(windows, spans, 1, seed=None, stride=stride)
    many = min(batches.total, most)
    numbers = np.linspace(0, max(0, batches.total - 1), many).round().astype(np.int64)
    which, origins = batches.find(numbers)
    seen = windows.seen(which, origins)
    if np.isnan(windows.truth(which[seen], origins[seen])).all():
        blind = which[~seen], origins[~seen]
        there = (~np.isnan(windows.truth(*blind))).any((1, 2))
        if there.any():
            number, origin = (int(one[there][0]) for one in blind)
            raise DataError(_describe_gap(windows, number, origin, names))
        raise DataError("nothing to score: no number comes after the numbers that the model reads")
    return which[seen], origins[seen]


def _describe_gap(windows: Windows, number: int, origin: int, names: Sequence[str]) -> str:
    """Return the message for a gap before an origin that is longer than the context."""
    begin, context = windows.begins[number], windows.layout.context
    there = np.flatnonzero(~np.isnan(windows.y[begin : begin + windows.lengths[number]]).all(1))
    at = int(np.searchsorted(there, origin))
    last = int(there[at - 1]) if at else -1
    who = f"series {names[number]!r}" if len(names) and names[number] else "the series"
    return (
        f"nothing to score: {who} has a gap of {there[at] - last - 1:,} steps before the numbers "
        f"to score, and the model reads the last {context:,}; set a larger context, score earlier "
        "origins, or drop the numbers before the gap"
    )


def scored_futures(model: Forecaster) -> int:
    """Return the number of futures to score for each window: 20 for places, else 0."""
    return min(BEST, most_futures(model)) if model.plane else 0


def scored_windows(model: Forecaster) -> int:
    """Return the maximum number of windows to score."""
    return SLOW if model.statistics else SCORED


def score(model: Forecaster, windows: Windows, rolled: Rolled, errors: Numbers) -> Scored:
    """Score forecasts and baselines; the baselines are sorted, the best first.

    Args:
        model: the trained model.
        windows: the windows of the forecasts.
        rolled: the forecasts.
        errors: seasonal errors (N, K) of the series, see `seasonal_error`.
    """
    layout, which = windows.layout, rolled.which
    shape = rolled.y.shape
    middle = model.levels.index(0.5)
    ours = Guess(
        rolled.quantiles[..., middle].ravel(), rolled.mean.ravel(),
        rolled.quantiles.reshape(-1, len(model.levels)),
    )  # fmt: skip
    guesses = {"this model": ours}
    found, notes = forecast_baselines(model, windows, which, rolled.origins)
    for name, values in found.items():
        point = values.reshape(shape[0], layout.targets, -1).transpose(0, 2, 1).ravel()
        guesses[name] = Guess(point, point)
    target = np.broadcast_to(np.arange(layout.targets), shape)
    scored = score_forecasts(
        (which[:, None, None] * layout.targets + target).ravel(), rolled.y.ravel(), guesses,
        levels=model.levels, errors=errors.ravel(), targets=target.ravel(),
    )  # fmt: skip

    if layout.plane:
        scored = _score_distances(rolled, guesses, scored)

    def rank(name: str) -> float:
        found = scored.scores[name]
        return next((float(found[key]) for key in ("ADE", "MASE", "ND") if key in found), np.inf)

    first, *others = scored.scores
    order = [first, *sorted(others, key=rank)]
    return Scored({name: scored.scores[name] for name in order}, scored.of_series, notes)


def _score_distances(rolled: Rolled, guesses: dict[str, Guess], scored: Scored) -> Scored:
    """Score places by distances, and keep only scores that do not depend on the axes."""
    scores, of_series = {}, {}
    drawn = rolled.futures[:, :BEST] if rolled.futures.shape[1] else None
    for name, guess in guesses.items():
        places = guess.median.reshape(rolled.y.shape)
        futures = drawn if name == "this model" else None
        found: dict[str, Any] = score_places(rolled.y, places, futures)
        rest = scored.scores[name].items()
        scores[name] = found | {k: v for k, v in rest if k.startswith(("coverage", "numbers"))}
        apart, series = find_distances(rolled.y, places), np.repeat(rolled.which, rolled.y.shape[1])
        there = ~np.isnan(apart).ravel()
        both = [np.bincount(series[there], weights, len(scored.of_series[name]) // 2)
                for weights in (apart.ravel()[there], None)]  # fmt: skip
        mean = np.where(both[1] > 0, both[0] / np.maximum(both[1], 1), np.nan)
        of_series[name] = np.repeat(mean, 2)
    return Scored(scores, of_series)
