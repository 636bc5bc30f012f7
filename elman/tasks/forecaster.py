"""Forecaster: predicts the next numbers of a series with their uncertainty.

p(y_{t+1}, .. y_{t+h} | y_1 .. y_t, covariates), one model for many series
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.arguments import check_whole
from elman.errors import FolderError, UntrainedError
from elman.forecast.settings import ForecasterSettings
from elman.manifest import SERIES, read_index, read_json, write_json
from elman.optional import need
from elman.settings import TableSettings, dialect_of
from elman.tasks.folder import HISTORY
from elman.tasks.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from elman.encode.index import SeriesIndex
    from elman.encode.layout import Layout
    from elman.forecast.forecasts import Backtest, Forecasts
    from elman.forecast.history import History
    from elman.forecast.inputs import Inputs
    from elman.forecast.live import LiveForecaster
    from elman.forecast.predictor import Predictor
    from elman.model import SequenceModel
    from elman.read.rows import Rejects
    from elman.read.series import SeriesSource, SeriesTable
    from elman.tasks.parts import Parts
    from elman.tasks.run import Job, Request


@dataclass(kw_only=True)
class Forecaster(ForecasterSettings, TableSettings, Task):
    """A forecaster, which predicts the next numbers of series with their uncertainty.

    Every field is a keyword argument here and a flag of `elman train forecaster`.

    Example:
        >>> import elman
        >>> model = elman.Forecaster(horizon=4, season=4, hidden_size=16, device="cpu")
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
        self._predictor: Predictor | None = None

    def check(self) -> None:
        """Raise an ArgumentError for settings that cannot work."""
        self.check_network()
        self.check_forecast()
        if not self.wide:  # in a wide table the columns are series
            covariates = (*self.past, *self.future, *self.static, *self.input_settings())
            self.check_columns(self.targets, (*covariates, self.unique_id, self.ds, self.group))

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
            overwrite: whether to replace a model that is in the folder.
            skip_bad_rows: file for unreadable rows, with the reason; None to stop at such a row.
            show: whether to show progress on the terminal.

        Raises:
            DataError: a row cannot be read, or the series are too short.
            ArgumentError: a setting is not valid.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C or SIGTERM; with `out`, the state of the training is saved.
        """
        given = {"train": (series, None), "test": None if test is None else (test, None)}
        self._fit(given, out, skip_bad_rows, overwrite=overwrite, show=show)
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
        from elman.forecast.tables import predict

        table = self.history.table if series is None else self._read(series, ahead=True)
        return predict(self.predictor, table, futures)

    def evaluate(self, series: Any, *, skip_bad_rows: str | Path | None = None) -> dict[str, Any]:
        """Score forecasts after the training data, from origins one horizon apart.

        Args:
            series: the continuation of the training data, in the same form.  Series are identified
                by name; rows with timestamps of the training data are not scored.  If all series
                are new, each is scored after its first `context` steps, and the scores list their
                names under "unseen_series".
            skip_bad_rows: file for unreadable rows, with the reason; None to stop at such a row.

        Raises:
            DataError: a row cannot be read, or no number follows the training data.
        """
        from elman.forecast.tables import Evaluation
        from elman.read.tables import listed

        table = self._read(series, skip_bad_rows)
        evaluation = Evaluation.find(self.predictor, table)
        scores = evaluation.forecast(self.predictor)[1].scores["this model"]
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
            series: complete series in the form of the training data.  Scores on the training data
                are too optimistic: use later origins, or new series.
            cuts: number of origins in each series; a short series has fewer.
            stride: steps from one origin to the next; None for the horizon.
            futures: number of sampled futures of each forecast.
            skip_bad_rows: file for unreadable rows, with the reason; None to stop at such a row.

        Raises:
            DataError: a row cannot be read, or no series is long enough.

        Example:
            >>> import elman
            >>> y = [1.0, 2.0, 3.0, 2.0] * 50
            >>> model = elman.Forecaster(horizon=4, season=4, hidden_size=16, device="cpu")
            >>> found = model.fit(y[:160]).backtest(y, cuts=3)
            >>> found.scores["this model"]["MAE"] < 0.1, found.origins.tolist()
            (True, [188, 192, 196])
        """
        from elman.forecast.tables import backtest

        check_whole(cuts, "cuts", least=1)
        if stride is not None:
            check_whole(stride, "stride", least=1)
        table = self._read(series, skip_bad_rows)
        return backtest(self.predictor, table, cuts, stride=stride, futures=futures)

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
            >>> model = elman.Forecaster(horizon=4, season=4, hidden_size=16, device="cpu")
            >>> live = model.fit(y).stream()
            >>> found = live.push(1.0)
            >>> found.quantiles[:, 0, 5].round().tolist()
            [2.0, 3.0, 2.0, 1.0]
        """
        from elman.forecast.live import LiveForecaster
        from elman.forecast.tables import number_of

        table = self.history.table if series is None else self._read(series)
        return LiveForecaster(self.predictor, table, number_of(table, unique_id))

    @property
    def predictor(self) -> Predictor:
        """The result of the training: network, index, history and layout."""
        if self._predictor is None:
            raise UntrainedError("this Forecaster is not trained yet: call fit first")
        return self._predictor

    @property
    def model(self) -> SequenceModel:
        """The trained network."""
        return self.predictor.network

    @property
    def index(self) -> SeriesIndex:
        """The description of the training data: columns, frequency, words and scales."""
        return self.predictor.index

    @property
    def history(self) -> History:
        """The end of the training data, which forecasts continue."""
        return self.predictor.history

    @property
    def layout(self) -> Layout:
        """The layout of the windows."""
        return self.predictor.layout

    def _source(self, given: Any, *, lenient: bool = False, ahead: bool = False) -> SeriesSource:
        """Return a source of series, given with None; with `ahead`, rows can omit the targets."""
        from elman.forecast.inputs import cells_of
        from elman.read.series import SeriesSource

        named = (*self.past, *self.future, *self.static, self.group)
        return SeriesSource(
            given[0],
            self.targets,
            tuple(dict.fromkeys(name for name in named if name is not None)),
            items=cells_of(self, given[0]),
            unique_id=self.unique_id,
            ds=self.ds,
            wide=self.wide,
            freq=self.freq,
            ds_format=self.ds_format,
            zone=self.zone,
            closed=self.closed == "found",
            ahead=ahead,
            encoding=self.encoding,
            lenient=lenient,
            dialect=dialect_of(self),
        )

    def _read(
        self, series: Any, rejects: str | Path | None = None, *, ahead: bool = False
    ) -> SeriesTable:
        """Read series in the form of the training data; with `ahead`, rows can omit the targets."""
        from elman.forecast.inputs import encode_items
        from elman.tasks.parts import read_one

        predictor = self.predictor

        def read(source: SeriesSource, bad: Rejects) -> SeriesTable:
            table = source.read(bad, predictor.history.table)
            table.notes.extend(predictor.index.unseen_words(table))
            return encode_items(predictor.inputs, table, predictor.history.table)

        source = self._source((series, None), lenient=rejects is not None, ahead=ahead)
        return read_one(source, rejects, read)

    def _read_parts(self, request: Request) -> tuple[Parts[SeriesTable], Inputs]:
        """Read the training and test data, with notes on them, and the inputs."""
        from elman.forecast.job import encoded
        from elman.forecast.score import missing_baselines
        from elman.read.series import SeriesSource
        from elman.tasks.parts import check_same, read_parts

        if self.decoder == "direct" and self.kind_of_output in ("student_t", "negative_binomial"):
            need("scipy", f"output={self.kind_of_output}")  # before the training, not after it
        look = partial(self._source, lenient=request.rejects is not None)
        # The frequency and the words of the training data apply to the test data.
        read, unit = SeriesSource.read, "rows and series"
        parts = read_parts(request.data, request.rejects, look, read, unit)
        for name, table in parts.data.items():
            parts.notes += [note if name == "train" else f"{name}: {note}" for note in table.notes]
        parts.notes += missing_baselines(self)
        if request.before is not None:
            check_same(request.before, parts.described)
        folder = None if request.before is None else request.folder
        parts.data, inputs = encoded(self, parts.data, folder, parts.notes, show=request.show)
        return parts, inputs

    def _job(self, request: Request, fabric: Fabric) -> Job:
        from elman.forecast.job import Training
        from elman.tasks.run import Job
        from elman.train.fabric import on_first

        folder = request.folder
        parts, inputs = on_first(fabric, lambda: self._read_parts(request))
        self.described = parts.described
        name, share = parts.described["name"], (fabric.global_rank, fabric.world_size)
        build = partial(self._build, inputs=inputs)
        training = Training.prepare(self, parts.data, name, build=build, share=share, inputs=inputs)
        self._predictor = training.predictor
        held_out = training.held_out

        def judge() -> None:
            self._predictor = training.judge()
            if held_out is not None and folder is not None:
                self._save_parts(folder)

        return Job(
            training.batches,
            None if held_out is None else held_out.batches,
            training.facts,
            "numbers",
            measure=lambda: training.measure(self.predictor),
            judge=judge,
            refit=training.refit,
            notes=[*parts.notes, *training.notes],
        )

    def _data_before(self, folder: Path) -> tuple[dict[str, object], Path | None]:
        if (folder / SERIES).exists() and "unit" not in read_json(folder / SERIES):
            raise FolderError(
                f"{folder}: was begun by version 0.1.0, which scaled series differently; load the "
                "model to use it, or train again"
            )
        return super()._data_before(folder)

    def _build(self, layout: Layout, inputs: Inputs) -> SequenceModel:
        """Build the network with new random weights from the seed."""
        import torch

        from elman.encode.neighbours import NeighbourPool
        from elman.encode.series import SeriesEmbed
        from elman.forecast.inputs import layer_of
        from elman.forecast.predictor import distribution_of
        from elman.heads import ForecastHead
        from elman.model import SequenceModel
        from elman.tasks.network import build_core

        distribution = distribution_of(self)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            pool = NeighbourPool(math.hypot(*layout.usual), 64) if layout.neighbours else None
            encode = SeriesEmbed(
                layout.numbers,
                list(layout.categories),
                size=self.embedding_size,
                input_dropout=self.input_dropout,
                pool=pool,
                around=layout.around,
                items=layer_of(inputs, self, layout.segment),
            )
            core = build_core(self, encode.size)
            head = ForecastHead(core.output_size + encode.size, layout.output, distribution)
        return SequenceModel(
            encode, core, head, dropout=self.dropout, variational=self.variational, skip=True
        )

    def _save_parts(self, folder: Path) -> None:
        """Write the index, the history of the series and the inputs to a folder."""
        from elman.forecast.inputs import save_inputs

        write_json(folder / SERIES, asdict(self.index))
        self.history.save(folder / HISTORY)
        save_inputs(self.predictor.inputs, folder)

    def _build_from(self, folder: Path) -> None:
        from elman.encode.index import SeriesIndex
        from elman.forecast.history import History
        from elman.forecast.inputs import load_inputs
        from elman.forecast.predictor import Predictor, layout_of

        index = read_index(folder / SERIES, SeriesIndex)
        layout = layout_of(self, index)
        history = History.load(folder / HISTORY)
        inputs = load_inputs(self, folder)
        network = self._build(layout, inputs)
        self._predictor = Predictor(network, index, history, self, layout, inputs)

    def card(self, name: str) -> str:
        """Return the model card as Markdown."""
        from elman.forecast.estimates import describe_estimates
        from elman.forecast.inputs import describe_inputs
        from elman.forecast.score import columns_of_card
        from elman.read.frequency import Frequency
        from elman.tasks.card import model_card

        layout, frequency = self.layout, Frequency.named(self.index.frequency).name
        of = "" if frequency == "step" else f" of {frequency}"
        segment = f", {layout.segment} steps at a time" if layout.segment > 1 else ""
        return model_card(
            self,
            name,
            title="a forecaster",
            made=f"{self.cell.upper()}, {self.decoder}, {layout.horizon} steps{of} from the last "
            f"{layout.context}{segment}{describe_inputs(self.predictor.inputs)}",
            columns=columns_of_card(self.metrics),
            use=[f"model.predict({'table' if self.future else ''}).columns()"],
            notes=describe_estimates(self.predictor, self.metrics.get("calibration_windows")),
            end="The forecasts are reliable only if the future is like the training data.",
        )
