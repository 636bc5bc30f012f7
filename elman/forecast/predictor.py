"""The result of a training, and the forecasts of windows from it.

Shape legend: B windows, H steps ahead, K targets, Q levels, S futures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.decode.combine import simple_forecast
from elman.decode.conformal import correct
from elman.decode.copula import draw_futures, find_root
from elman.decode.rollout import rollout
from elman.decode.widen import find_factors, missing_share, widen
from elman.encode.index import SeriesIndex
from elman.encode.layout import Layout
from elman.encode.scale import LEVEL
from elman.encode.series import SeriesEmbed
from elman.encode.windows import Window, Windows, context_of
from elman.forecast.history import History
from elman.forecast.inputs import Inputs
from elman.forecast.settings import ForecasterSettings
from elman.heads import ForecastHead
from elman.heads import distributions as d
from elman.model import SequenceModel
from elman.padded import Padded
from elman.read.frequency import Frequency
from elman.read.series import SeriesTable
from elman.recur.blocks import Blocks
from elman.recur.stack import Stack
from elman.recur.stream import Stream
from elman.state import select_rows

STEPS, ROWS = 1 << 18, 4096  # maximum steps, and windows times samples, computed at a time
MANY = 10_000  # maximum number of sampled futures

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Predictor:
    """The result of a training: all that a forecast needs."""

    network: SequenceModel
    index: SeriesIndex  # description of the training data: columns, frequency, words and scales
    history: History  # the end of the training data, and estimates from the validation data
    settings: ForecasterSettings
    layout: Layout
    inputs: Inputs = field(default_factory=dict)  # texts and images

    def with_estimates(self, **estimates: Numbers | None) -> Predictor:
        """Return a predictor with other estimates, see `History`."""
        return replace(self, history=replace(self.history, **estimates))  # type: ignore[arg-type]

    @cached_property
    def season(self) -> int:
        """Number of steps in a season, 1 for none."""
        return self.settings.season_of(Frequency.named(self.index.frequency))

    @property
    def head(self) -> ForecastHead:
        """The last layer of the network."""
        assert isinstance(self.network.head, ForecastHead)
        return self.network.head

    @property
    def middle(self) -> int:
        """Place of the median among the quantiles."""
        return self.settings.levels.index(0.5)

    @property
    def most_futures(self) -> int:
        """Maximum number of futures of a forecast, 0 if none can be sampled."""
        if self.layout.feedback:
            return self.settings.samples
        return 0 if self.history.dependence is None else MANY


def index_of(
    settings: ForecasterSettings, table: SeriesTable, targets: int, length: int
) -> SeriesIndex:
    """Return what a table shows of series with this usual length; its targets come first."""
    return SeriesIndex.build(
        table,
        table.columns[:targets],
        past=settings.past,
        future=settings.future,
        static=settings.static,
        items=[str(one.column) for one in settings.declared],
        per_series=settings.per_series,
        with_calendar=settings.calendar,
        scaling=settings.scaling,
        context=settings.window_of(table.frequency, length)[0],
        plane=settings.plane,
    )


def layout_of(settings: ForecasterSettings, index: SeriesIndex) -> Layout:
    """Return the layout of the windows."""
    frequency, usual = Frequency.named(index.frequency), tuple(index.usual)
    season = settings.season_of(frequency)
    context, segment = settings.window_of(frequency)
    if settings.plane:  # the length of a step, for both axes
        usual = (sum(step**2 / 2 for step in usual) ** 0.5,) * 2
    lags = settings.lags if settings.lags is not None else (season,) if season > 1 else ()
    return Layout(
        index.context or context,
        settings.horizon_of(frequency),
        segment,
        **index.sizes,
        categories=tuple(index.categories),
        lags=tuple(lag for lag in lags if lag > 0),
        feedback=settings.decoder == "autoregressive",
        scaling=settings.scaling,
        usual=usual,
        plane=settings.plane,
        neighbours=settings.neighbours,
        jitter=settings.jitter,
        gaps=settings.gaps,
        unit=tuple(index.unit),
        spread=tuple(index.spread),
        level=0.0 if index.unit else LEVEL,
    )


def distribution_of(settings: ForecasterSettings) -> d.Distribution:
    """Return the distribution that the network predicts for each number."""
    kinds: dict[str, Callable[[], d.Distribution]] = {
        "gaussian": d.Gaussian,
        "student_t": d.StudentT,
        "mixture": d.Mixture,
        "point": d.Point,
        "negative_binomial": d.NegativeBinomial,
        "quantile": lambda: d.Quantiles(settings.quantiles),
    }
    return kinds[settings.kind_of_output]()


class Rolled(NamedTuple):
    """Forecasts from origins."""

    which: Whole  # (B,) indices of the series
    origins: Whole  # (B,) numbers of steps before the forecasts
    mean: Numbers  # (B, H, K)
    quantiles: Numbers  # (B, H, K, Q)
    scale: Numbers  # (B, 1 or H, K) scales of the windows
    y: Numbers  # (B, H, K) actual numbers, NaN where there are none
    futures: Numbers  # (B, S, H, K) sampled futures; S can be 0
    missing: Numbers  # (B,) shares of missing numbers in the contexts


def roll(
    predictor: Predictor, windows: Windows, which: Whole, origins: Whole, *, futures: int = 0
) -> Rolled:
    """Forecast from origins (B,) of series (B,), with a number of sampled futures of each."""
    layout, settings, root = windows.layout, predictor.settings, None
    rows = ROWS // settings.samples if layout.feedback else ROWS
    rows = max(1, min(rows, STEPS // layout.steps, STEPS // max(1, futures)))
    if futures and not layout.feedback:
        assert predictor.history.dependence is not None
        root = find_root(predictor.history.dependence)
    predictor.network.eval()

    @torch.inference_mode()
    def forecast(which: Whole, origins: Whole) -> Rolled:
        window, y = windows.cut(which, origins), windows.truth(which, origins)
        context = context_of(window.inputs, layout)
        found = (_predict_samples if layout.feedback else _predict_all)(predictor, window)
        mean, quantiles, *drawn = _in_series_units(predictor, window, context, *found)
        paths = drawn[0][:, :futures] if drawn else np.zeros((len(y), 0, *y.shape[1:]))
        if root is not None:
            draw = np.random.default_rng(settings.seed)
            paths = draw_futures(quantiles, settings.levels, root, futures, draw)
        paths, missing = _whole_counts(settings, paths), missing_share(context)
        return Rolled(which, origins, mean, quantiles, window.scale, y, paths, missing)

    some = [slice(at, at + rows) for at in range(0, len(which), rows)]
    parts = [forecast(which[part], origins[part]) for part in some]
    return Rolled(*map(np.concatenate, zip(*parts, strict=True)))


def _in_series_units(
    predictor: Predictor,
    window: Window,
    context: NDArray[Any],
    mean: NDArray[Any],
    quantiles: NDArray[Any],
    *drawn: NDArray[Any],
) -> list[Numbers]:
    """Combine, correct and widen predictions, and return them in the units of the series.

    Context (B, T, K), means (B, H, K), quantiles (B, H, K, Q) and futures (B, S, H, K), if the
    network samples them, are in units of the windows.
    """
    history, middle, shift, scale = predictor.history, predictor.middle, window.shift, window.scale
    if history.share is not None:
        season, share = history.share
        simple = simple_forecast(context, mean.shape[1], int(season))
        move = share * np.nan_to_num(simple - quantiles[..., middle])
        mean, quantiles = mean + move, quantiles + move[..., None]
        drawn = tuple(one + move[:, None] for one in drawn)
    spread = quantiles * scale[..., None] + shift[..., None]
    paths = [one * scale[:, None] + shift[:, None] for one in drawn]
    if history.corrections is not None:
        spread = correct(spread, scale[..., None], history.corrections, predictor.settings.levels)
    if history.widening is not None:  # all but the mean move away from the median
        factor = find_factors(context, history.widening)
        spread, *paths = widen(spread, factor, middle, *paths)
    return [mean * scale + shift, _whole_counts(predictor.settings, spread), *paths]


def _whole_counts(settings: ForecasterSettings, numbers: Numbers) -> Numbers:
    """Round quantiles or samples of counts to whole numbers, 0 or more; return others unchanged.

    A count is above a bound exactly if it is above the bound's integer part, so rounding never
    narrows an interval that was corrected.
    """
    if settings.kind_of_output != "negative_binomial":
        return numbers
    return np.rint(numbers).clip(min=0) + 0.0


def window_predictor(predictor: Predictor) -> Callable[[Window], list[Numbers]]:
    """Return a fast function for means and quantiles of single windows, for a live session."""
    find: Callable[[Window], tuple[NDArray[Any], ...]] = _SingleWindow(predictor)
    if predictor.layout.feedback:
        find = torch.inference_mode()(partial(_predict_samples, predictor))
    predictor.network.eval()

    def predict(window: Window) -> list[Numbers]:
        context, (mean, quantiles, *_) = context_of(window.inputs, predictor.layout), find(window)
        return _in_series_units(predictor, window, context, mean, quantiles)

    return predict


class _SingleWindow:
    """Callable like `_predict_all` for a single window, with weights packed once, without torch."""

    def __init__(self, predictor: Predictor) -> None:
        embed, core, head = predictor.network.encode, predictor.network.core, predictor.head
        assert isinstance(embed, SeriesEmbed)
        assert isinstance(core, Stack | Blocks)
        self.embed, self.plain, self.stream = embed, embed.is_plain, Stream(core)
        self.layout, self.levels = predictor.layout, predictor.settings.levels
        self.size, self.distribution = core.output_size, head.distribution
        # The concatenation of states, inputs and a 1 turns matrix and bias into one product.
        parts = (head.linear.weight.detach().numpy().T, head.linear.bias.detach().numpy()[None])
        self.weight = np.concatenate(parts)
        self.row = np.ones((self.layout.ahead, len(self.weight)), dtype=np.float32)
        self.shares = None
        if isinstance(self.distribution, d.Quantiles):
            self.shares = self.distribution.shares.numpy()

    def __call__(self, window: Window) -> tuple[NDArray[Any], NDArray[Any]]:
        layout, x = self.layout, window.inputs
        if not self.plain:
            with torch.inference_mode():
                x = self.embed(window.batch).data
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


def _predict_all(predictor: Predictor, window: Window) -> tuple[NDArray[Any], ...]:
    """Predict means (B, H, K) and quantiles (B, H, K, Q) at once, in units of the windows."""
    layout, head = predictor.layout, predictor.head
    states, _ = predictor.network.run(window.batch)
    found = head(states.data[:, layout.seen - 1 :])
    found = found.reshape(len(found), -1, layout.targets, found.shape[-1])[:, : layout.horizon]
    scale = torch.from_numpy(window.scale).float().expand(found.shape[:-1])
    spread = head.distribution.quantiles(found, predictor.settings.levels, scale)
    return head.distribution.mean(found, scale).numpy(), spread.numpy()


def _predict_samples(predictor: Predictor, window: Window) -> tuple[NDArray[Any], ...]:
    """Predict means, quantiles and samples (B, S, H, K) step by step, in units of the windows."""
    network, layout, settings = predictor.network, predictor.layout, predictor.settings
    head, samples, targets = predictor.head, settings.samples, layout.targets
    windows, distribution = len(window.inputs), cast("d.Density", head.distribution)
    rows = torch.arange(windows).repeat_interleave(samples)
    scale = torch.from_numpy(window.scale).float().expand(windows, samples, targets)
    generator = torch.Generator().manual_seed(settings.seed)
    context = window._replace(inputs=window.inputs[:, : layout.seen])
    states, state = network.run(context.batch)
    width = 2 * targets

    def step(x: Tensor, state: Any) -> tuple[Tensor, Any]:
        states, state = network.run(Padded.full(x), state)
        return head(states.data[:, -1]), state

    def draw(found: Tensor) -> Tensor:
        each = found.view(windows, samples, targets, -1)
        drawn: Tensor = distribution.sample(each, scale, generator)
        return drawn.view(-1, targets)

    def read(number: int, drawn: list[Tensor]) -> Tensor:
        x = window.inputs[:, layout.seen - 1 + number, None][rows]
        for place, lag in enumerate((1, *layout.lags)):
            if number - lag >= 0:  # after the origin, so the number is a sample
                y = drawn[number - lag]
                x[:, 0, place * width : (place + 1) * width] = torch.cat([y, torch.ones_like(y)], 1)
        return x

    futures = rollout(
        step,
        head(states.data[:, -1])[rows],
        select_rows(state, rows),
        draw=draw,
        read=read,
        steps=layout.horizon,
    ).view(windows, samples, layout.horizon, targets)
    # A quantile of counts is a count: the smallest that reaches the level.
    between = "higher" if settings.kind_of_output == "negative_binomial" else "linear"
    levels = futures.new_tensor(settings.levels)
    spread = torch.quantile(futures, levels, dim=1, interpolation=between).movedim(0, -1)
    return futures.mean(1).numpy(), spread.numpy(), futures.numpy()
