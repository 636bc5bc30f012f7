"""Forecaster: predicts the next numbers of a series with their uncertainty.

p(y_{t+1}, .. y_{t+h} | y_1 .. y_t, covariates), one model for many series
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.arguments import check_whole
from elman.errors import ArgumentError, UntrainedError
from elman.manifest import SERIES, read_index, write_json
from elman.tasks.estimator import Estimator
from elman.tasks.folder import HISTORY
from elman.tasks.forecaster_settings import ForecasterSettings

if TYPE_CHECKING:
    from elman.encode.index import SeriesIndex
    from elman.encode.layout import Layout
    from elman.heads.distributions import Distribution
    from elman.model import SequenceModel
    from elman.read.frequency import Frequency
    from elman.read.rows import Rejects
    from elman.read.series import SeriesSource, SeriesTable
    from elman.serve.live_forecast import LiveForecaster
    from elman.tasks.forecasts import Backtest, Forecasts
    from elman.tasks.history import History

LONG = 64  # steps of the context of series without a season


@dataclass(kw_only=True)
class Forecaster(ForecasterSettings, Estimator):
    """A forecaster, which predicts the next numbers of series with their uncertainty.

    Every field is a keyword argument here and a flag of `elman train forecaster`.

    Example:
        >>> import elman
        >>> model = elman.Forecaster(
        ...     horizon=4, season=4, hidden_size=16, learning_rate=0.02, device="cpu"
        ... )
        >>> found = model.fit([1.0, 2.0, 3.0, 2.0] * 50).predict()
        >>> found.median[0, :, 0].round().tolist()
        [1.0, 2.0, 3.0, 2.0]
    """

    task = "forecaster"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.quantiles = tuple(
            round(level, 6) if isinstance(level, float) else level for level in self.quantiles
        )
        self._index: SeriesIndex | None = None
        self._history: History | None = None

    def fit(
        self,
        series: Any,
        *,
        test: Any = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        skip_bad_rows: str | Path | None = None,
        show: bool = False,
    ) -> Forecaster:
        """Train the model on series.

        Args:
            series: a table (CSV, TSV, JSONL, Parquet; also .gz) with one row for each series and
                time: the columns `unique_id`, `ds`, `targets` and covariates; with `wide`, a column
                for each series.  In Python also a data frame of polars or pandas, a dict of
                columns, or one or several lists of numbers.
            test: the continuation of these series, or other series, in the same form; scored after
                training, without influence on it.
            out: folder for the model, checkpoints and the report; None to keep the model in memory.
            overwrite: replace an existing model in the folder.
            skip_bad_rows: file for rows that cannot be read, with the reason; None to stop there.
            show: show progress on the terminal.

        Raises:
            DataError: a row cannot be read, or the series are too short.
            ArgumentError: a setting is not valid.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C or SIGTERM; with `out`, the state of the training is saved.
        """
        from elman.tasks.forecaster_run import train_forecaster

        given = {"train": (series, None), "test": None if test is None else (test, None)}
        with self._begin(out, skip_bad_rows, overwrite=overwrite) as (folder, rejects):
            train_forecaster(self, given, folder, rejects, show=show)
        return self

    def predict(self, series: Any = None, *, futures: int = 0) -> Forecasts:
        """Forecast the steps after the end of each series.

        Args:
            series: series in the form of the training data.  The last rows can omit the targets
                and have only covariates known in advance.  A series without any target continues
                where it ends in the training data.  None for the training data.
            futures: number of sampled futures of each series, each over the whole horizon.

        Raises:
            ArgumentError: the model cannot sample this number of futures.
            DataError: a row cannot be read, or a series lacks numbers or covariates.
        """
        from elman.tasks.forecaster_use import forecast

        table = self.history.table if series is None else self._read(series, ahead=True)
        return forecast(self, table, futures)

    def evaluate(self, series: Any, *, skip_bad_rows: str | Path | None = None) -> dict[str, Any]:
        """Score forecasts after the training data, from origins one horizon apart.

        Args:
            series: the continuation of the training data, in the same form.  Series are identified
                by name; rows with timestamps of the training data are not scored.  If all series
                are new, each is scored after its first `context` steps, and the scores have their
                names under "unseen_series".
            skip_bad_rows: file for rows that cannot be read, with the reason; None to stop there.

        Raises:
            DataError: a row cannot be read, or no number comes after the training data.
        """
        from elman.read.tables import listed
        from elman.tasks.forecaster_use import find_evaluation, score_evaluation

        table, history = self._read(series, skip_bad_rows), self.history
        evaluation = find_evaluation(self, table, history.table, history.errors)
        scores = score_evaluation(self, evaluation).scores["this model"]
        if evaluation.unseen:
            scores["unseen_series"] = listed([one.unique_id for one in table.series])
        return scores

    def backtest(
        self,
        series: Any,
        *,
        cuts: int = 5,
        stride: int | None = None,
        futures: int = 0,
        skip_bad_rows: str | Path | None = None,
    ) -> Backtest:
        """Forecast and score from several origins before the end of each series, without training.

        Args:
            series: complete series in the form of the training data.  Scores on numbers of the
                training data are too good: use origins after them, or new series.
            cuts: number of origins of each series; fewer if the series is too short.
            stride: steps from one origin to the next; None for the horizon.
            futures: number of sampled futures of each forecast.
            skip_bad_rows: file for rows that cannot be read, with the reason; None to stop there.

        Raises:
            DataError: a row cannot be read, or no series is long enough.

        Example:
            >>> import elman
            >>> y = [1.0, 2.0, 3.0, 2.0] * 50
            >>> model = elman.Forecaster(
            ...     horizon=4, season=4, hidden_size=16, learning_rate=0.02, device="cpu"
            ... ).fit(y[:160])
            >>> found = model.backtest(y, cuts=3)
            >>> found.scores["this model"]["MAE"] < 0.1, found.origins.tolist()
            (True, [188, 192, 196])
        """
        from elman.tasks.forecaster_use import backtest

        check_whole(cuts, "cuts", least=1)
        if stride is not None:
            check_whole(stride, "stride", least=1)
        return backtest(self, self._read(series, skip_bad_rows), cuts, stride, futures)

    def stream(self, unique_id: Any = None, *, series: Any = None) -> LiveForecaster:
        """Start a live session of one series, which returns a forecast after every observation.

        Args:
            unique_id: name of the series, text or a number; None if there is only one.
            series: the series so far, in the form of the training data; None for the training data.

        Raises:
            ArgumentError: there is no series of this name.

        Example:
            >>> import elman
            >>> y = [1.0, 2.0, 3.0, 2.0] * 50
            >>> model = elman.Forecaster(
            ...     horizon=4, season=4, hidden_size=16, learning_rate=0.02, device="cpu"
            ... ).fit(y)
            >>> live = model.stream()
            >>> found = live.push(1.0)
            >>> found.quantiles[:, 0, 5].round().tolist()
            [2.0, 3.0, 2.0, 1.0]
        """
        from elman.read.dialect import equal_names, name_of
        from elman.serve.live_forecast import LiveForecaster, Stamped
        from elman.tasks.forecaster_scores import window_predictor
        from elman.tasks.forecaster_use import scene_of

        table = self.history.table if series is None else self._read(series)
        known = [one.unique_id for one in table.series]
        if unique_id is None:
            found = list(range(len(known)))
        else:
            name = equal_names([name_of(unique_id)], known)[0]
            found = [n for n, one in enumerate(known) if one == name]
        if len(found) != 1:
            names = ", ".join(map(repr, known[:5]))
            raise ArgumentError(f"unique_id must be one of {names}, got {unique_id!r}")
        layout = self.layout
        one = table.series[found[0]]
        record = self.index.encode(table, one, more=layout.behind)
        predict = window_predictor(self, layout)
        scene = scene_of(self, table, found[0])
        start = None if table.counted else one.start
        stamped = Stamped(start, table.clock, self.ds_format)
        return LiveForecaster(record, stamped, self.index, layout, predict, scene)

    def _read(
        self, series: Any, rejects: str | Path | None = None, *, ahead: bool = False
    ) -> SeriesTable:
        """Read series in the form of the training data; with `ahead`, rows can omit the targets."""
        from elman.tasks.forecaster_use import source_of
        from elman.tasks.parts import read_one

        like = self.history.table
        source = source_of(self, (series, None), lenient=rejects is not None, ahead=ahead)

        def read(source: SeriesSource, bad: Rejects) -> SeriesTable:
            table = source.read(bad, like)
            table.notes.extend(self.index.unseen_words(table))
            return table

        return read_one(source, rejects, read)

    @property
    def index(self) -> SeriesIndex:
        """The description of the training data: columns, frequency, words and scales."""
        if self._index is None:
            raise UntrainedError("this Forecaster is not trained yet: call fit first")
        return self._index

    @property
    def history(self) -> History:
        """The end of the training data, which forecasts continue."""
        if self._history is None:
            raise UntrainedError("this Forecaster is not trained yet: call fit first")
        return self._history

    @property
    def layout(self) -> Layout:
        """The layout of the windows."""
        from elman.encode.layout import Layout
        from elman.encode.scale import LEVEL

        season, index = self.seasonal, self.index
        context, segment = self.window_of(self._frequency)
        lags = self.lags if self.lags is not None else (season,) if season > 1 else ()
        return Layout(
            index.context or context, self.ahead, segment, **index.sizes,
            categories=tuple(index.categories),
            lags=tuple(lag for lag in lags if lag > 0), feedback=self.decoder == "autoregressive",
            scaling=self.scaling, usual=self._usual, plane=self.plane, neighbours=self.neighbours,
            jitter=self.jitter, gaps=self.gaps, unit=tuple(index.unit),
            spread=tuple(index.spread), level=0.0 if index.unit else LEVEL,
        )  # fmt: skip

    @property
    def _usual(self) -> tuple[float, ...]:
        """The length of a usual step of each target."""
        usual = self.index.usual
        if self.plane:  # the length of a step, for both axes
            return (sum(step**2 / 2 for step in usual) ** 0.5,) * 2
        return tuple(usual)

    @property
    def seasonal(self) -> int:
        """Number of steps in a season, 1 for none."""
        return self.season_of(self._frequency)

    @property
    def ahead(self) -> int:
        """Number of steps of a forecast."""
        return self.horizon_of(self._frequency)

    @property
    def _frequency(self) -> Frequency:
        from elman.read.frequency import Frequency

        return Frequency.named(self.index.frequency)

    def season_of(self, frequency: Frequency) -> int:
        """Return the number of steps in a season, as set or by the frequency; 1 for none."""
        return self.season or frequency.season

    def horizon_of(self, frequency: Frequency) -> int:
        """Return the number of steps of a forecast: as set, or a season, or 12."""
        season = self.season_of(frequency)
        return self.horizon or (season if season > 1 else 12)

    def window_of(self, frequency: Frequency, length: int = 0) -> tuple[int, int]:
        """Return the steps of the context and of a segment.

        If they are not set, the context has 7 seasons and twice the horizon at least; without a
        season also LONG steps, or a quarter of the usual length of the series if that is shorter.
        """
        season, horizon = self.season_of(frequency), self.horizon_of(frequency)
        segment = self.segment or (season if self.decoder == "direct" and season <= horizon else 1)
        longer = min(LONG, length // 4) if season == 1 else 0
        context = self.context or max(7 * season, 2 * horizon, longer)
        return -(-context // segment) * segment, segment

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the predicted quantiles; only 0.5 for a point without `conformal`."""
        return (0.5,) if self.kind_of_output == "point" and not self.conformal else self.quantiles

    @property
    def distribution(self) -> Distribution:
        """The distribution that the network predicts for each number."""
        from elman.heads import distributions as d

        kinds: dict[str, type[Distribution]] = {
            "gaussian": d.Gaussian, "student_t": d.StudentT, "mixture": d.Mixture,
            "negative_binomial": d.NegativeBinomial, "point": d.Point,
        }  # fmt: skip
        return (
            d.Quantiles(self.quantiles)
            if self.kind_of_output == "quantile"
            else kinds[self.kind_of_output]()
        )

    def build(self, index: SeriesIndex) -> SequenceModel:
        """Build the network with new random weights from the seed."""
        import torch

        from elman.encode.neighbours import NeighbourPool
        from elman.encode.series import SeriesEmbed
        from elman.heads import ForecastHead
        from elman.model import SequenceModel
        from elman.tasks.network import build_core

        self._index = index
        layout = self.layout
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            pool = None
            if layout.neighbours:
                pool = NeighbourPool(math.hypot(*layout.usual), 64)
            encode = SeriesEmbed(
                layout.numbers, list(layout.categories), size=self.embedding_size,
                input_dropout=self.input_dropout, pool=pool, around=layout.around,
            )  # fmt: skip
            core = build_core(self, encode.size)
            head = ForecastHead(core.output_size + encode.size, layout.output, self.distribution)
        self._model = SequenceModel(
            encode, core, head, dropout=self.dropout, variational=self.variational, skip=True
        )
        return self._model

    def _save_parts(self, folder: Path) -> None:
        write_json(folder / SERIES, asdict(self.index))
        self.history.save(folder / HISTORY)

    def _build_from(self, folder: Path) -> None:
        from elman.encode.index import SeriesIndex
        from elman.tasks.history import History

        self.build(read_index(folder / SERIES, SeriesIndex))
        self._history = History.load(folder / HISTORY)

    def _resume(self, described: dict[str, Any], folder: Path, *, show: bool) -> None:
        from elman.tasks.forecaster_run import resume_forecaster

        resume_forecaster(self, described, folder, show=show)

    def card(self, name: str) -> str:
        """Return the model card as Markdown."""
        from elman.tasks.forecaster_run import describe

        return describe(self, name)
