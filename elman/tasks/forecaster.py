"""Numbers over time: what comes next, and how sure that is.

p(y_{t+1}, .. y_{t+h} | y_1 .. y_t, covariates), one model for many series
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import ArgumentError, FolderError, UntrainedError
from elman.tasks.estimator import Estimator
from elman.tasks.folder import HISTORY, SERIES, read_json, write_json
from elman.tasks.forecaster_settings import ForecasterSettings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from elman.encode.index import SeriesIndex
    from elman.encode.windows import Layout, Window, Windows
    from elman.heads.distributions import Distribution
    from elman.model import SequenceModel
    from elman.read.series import SeriesTable
    from elman.read.stamps import Frequency
    from elman.tasks.forecasts import Forecasts

ROWS = 4096  # windows times samples that are computed at a time


@dataclass(kw_only=True)
class Forecaster(ForecasterSettings, Estimator):
    """A forecaster: trains on series, says what comes next with quantiles, scores.

    Every field is a keyword argument here and a flag of `elman train forecaster`.

    Example:
        >>> import elman
        >>> model = elman.Forecaster(
        ...     horizon=4, season=4, hidden_size=16, epochs=4, windows=1000, device="cpu"
        ... )
        >>> found = model.fit([0.0, 1.0, 0.0, -1.0] * 50).predict()
        >>> found.median[0, :, 0].round().tolist()
        [0.0, 1.0, 0.0, -1.0]
    """

    task = "forecaster"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("targets", "past", "future", "static", "quantiles", "lags"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ArgumentError(f"{name} must be a list, got {value!r}; write [{value!r}]")
            setattr(self, name, None if value is None else tuple(value))
        self._index: SeriesIndex | None = None
        self._history: SeriesTable | None = None

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
        """Train on series.

        Args:
            series: a table (file, data frame of polars or pandas, dict of columns) with columns
                `unique_id`, `ds`, `targets` and covariates; or a list of numbers, or several.
            test: what came behind them, in the same form; scored at the end and without influence.
            out: folder for the model, checkpoints and the report; None to keep it in memory.
            overwrite: replace a model that the folder holds.
            skip_bad_rows: file for rows that cannot be read, with the reason; None to stop there.
            show: show progress on the terminal.

        Raises:
            DataError: a row cannot be read, or the series are too short.
            ArgumentError: a setting cannot work.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C or SIGTERM; with `out` everything is saved.
        """
        from elman.tasks.forecaster_run import train_forecaster

        folder, rejects = self._begin(out, skip_bad_rows, overwrite=overwrite)
        given = {"train": (series, None), "test": None if test is None else (test, None)}
        train_forecaster(self, given, folder, rejects, show=show)
        return self

    def predict(self, series: Any = None) -> Forecasts:
        """What comes behind series.

        Args:
            series: in the form of the training data; the last rows may have no targets but
                covariates that are known before.  None for the training data.

        Raises:
            DataError: a row cannot be read, or training has seen no series like it.
        """
        from elman.tasks.forecaster_run import forecast

        return forecast(self, self.history if series is None else self._read(series))

    def evaluate(self, series: Any, *, skip_bad_rows: str | Path | None = None) -> dict[str, Any]:
        """Scores of forecasts from the end of the training data on, a horizon after the other.

        Args:
            series: what came behind the training data, in the same form.
            skip_bad_rows: file for rows that cannot be read, with the reason; None to stop there.
        """
        from elman.tasks.forecaster_run import score_series

        return score_series(self, self._read(series, skip_bad_rows))

    def _read(self, series: Any, rejects: str | Path | None = None) -> SeriesTable:
        """Series in the form of the training data."""
        from elman.tasks.forecaster_run import look
        from elman.tasks.parts import read_one

        source = look(self, (series, None), lenient=rejects is not None)
        return read_one(source, rejects, lambda source, bad: source.read(bad))

    @property
    def index(self) -> SeriesIndex:
        """What training has seen of the series."""
        if self._index is None:
            raise UntrainedError("this Forecaster is not trained yet: call fit first")
        return self._index

    @property
    def history(self) -> SeriesTable:
        """The end of the training data, from where forecasts begin."""
        if self._history is None:
            raise UntrainedError("this Forecaster is not trained yet: call fit first")
        return self._history

    @property
    def layout(self) -> Layout:
        """What a window is made of."""
        from elman.encode.windows import Layout
        from elman.read.stamps import Frequency

        index = self.index
        frequency = Frequency.named(index.frequency)
        season, horizon = self.season_of(frequency), self.horizon_of(frequency)
        segment = self.segment or (season if self.decoder == "direct" and season <= horizon else 1)
        context = self.context or max(7 * season, 2 * horizon)
        lags = self.lags if self.lags is not None else (season,) if season > 1 else ()
        return Layout(
            -(-context // segment) * segment, horizon, segment, **index.sizes,
            categories=tuple(index.categories), lags=tuple(lag for lag in lags if lag > 0),
            feedback=self.decoder == "autoregressive", scaling=self.scaling,
        )  # fmt: skip

    def season_of(self, frequency: Frequency) -> int:
        """Steps of a season: what is set, or what the frequency suggests, 1 for none."""
        return self.season or frequency.season

    def horizon_of(self, frequency: Frequency) -> int:
        """Steps of a forecast: what is set, or a season, or 12."""
        season = self.season_of(frequency)
        return self.horizon or (season if season > 1 else 12)

    @property
    def distribution(self) -> Distribution:
        """What is said of a number."""
        from elman.heads import distributions as d

        if self.output == "quantile":
            return d.Quantiles(self.quantiles)
        kinds: dict[str, type[Distribution]] = {
            "gaussian": d.Gaussian, "student_t": d.StudentT, "mixture": d.Mixture,
            "negative_binomial": d.NegativeBinomial, "point": d.Point,
        }  # fmt: skip
        return kinds[self.output]()

    def build(self, index: SeriesIndex) -> SequenceModel:
        """Make the network with fresh weights drawn from the seed."""
        import torch

        from elman.encode.series import SeriesEmbed
        from elman.heads import ForecastHead
        from elman.model import SequenceModel
        from elman.tasks.network import build_core

        self._index = index
        layout = self.layout
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encode = SeriesEmbed(
                layout.numbers, list(layout.categories), size=self.embedding_size,
                input_dropout=self.input_dropout,
            )  # fmt: skip
            core = build_core(self, encode.size)
            head = ForecastHead(core.output_size + encode.size, layout.output, self.distribution)
        self._model = SequenceModel(
            encode, core, head, dropout=self.dropout, variational=self.variational, skip=True
        )
        return self._model

    def say(self, windows: Windows, which: np.ndarray, origins: np.ndarray) -> Iterator[Any]:
        """Of windows, some at a time: means (B, h, K) and quantiles (B, h, K, Q)."""
        import torch

        rows = max(1, ROWS // (self.samples if self.layout.feedback else 1))
        self.model.eval()
        for at in range(0, len(which), rows):
            window = windows.cut(which[at : at + rows], origins[at : at + rows])
            with torch.inference_mode():
                mean, quantiles = self._draw(window) if self.layout.feedback else self._say(window)
            shift, scale = window.shift, window.scale
            yield (
                mean.double().numpy() * scale + shift,
                quantiles.double().numpy() * scale[..., None] + shift[..., None],
            )

    def _say(self, window: Window) -> tuple[Tensor, Tensor]:
        """All steps at once."""
        import torch

        from elman.padded import Padded

        layout, head = self.layout, self.model.head
        states, _ = self.model.run(Padded.full(window.inputs))
        found = head(states.data[:, layout.seen - 1 :])
        found = found.reshape(len(found), -1, layout.targets, found.shape[-1])[:, : layout.horizon]
        scale = torch.from_numpy(window.scale).float().expand(found.shape[:-1])
        spread = head.distribution.quantiles(found, self.quantiles, scale)
        return head.distribution.mean(found, scale), spread

    def _draw(self, window: Window) -> tuple[Tensor, Tensor]:
        """Samples, a step after the other."""
        import torch

        from elman.decode.rollout import rollout
        from elman.padded import Padded
        from elman.state import select_rows

        layout, model, head = self.layout, self.model, self.model.head
        rows = torch.arange(len(window.inputs)).repeat_interleave(self.samples)
        scale = torch.from_numpy(window.scale[:, 0]).float()[rows]
        generator = torch.Generator().manual_seed(self.seed)
        states, state = model.run(Padded.full(window.inputs[:, : layout.seen]))
        width = 2 * layout.targets

        def step(x: Tensor, state: Any) -> tuple[Tensor, Any]:
            states, state = model.run(Padded.full(x), state)
            return head(states.data[:, -1]), state

        def read(number: int, drawn: list[Tensor]) -> Tensor:
            x = window.inputs[:, layout.seen - 1 + number, None][rows]
            for place, lag in enumerate((1, *layout.lags)):
                if number - lag >= 0:  # that is behind the origin: what was drawn
                    y = drawn[number - lag]
                    seen = torch.cat([y, torch.ones_like(y)], 1)
                    x[:, 0, place * width : (place + 1) * width] = seen
            return x

        futures = rollout(
            step, head(states.data[:, -1])[rows], select_rows(state, rows),
            draw=lambda found: head.distribution.sample(found, 1, generator, scale)[0],
            read=read, steps=layout.horizon,
        )  # fmt: skip
        futures = futures.view(len(window.inputs), self.samples, layout.horizon, layout.targets)
        spread = torch.quantile(futures, torch.tensor(self.quantiles), dim=1).movedim(0, -1)
        return futures.mean(1), spread

    def _save_parts(self, folder: Path) -> None:
        from elman.tasks.forecaster_run import save_history

        write_json(folder / SERIES, asdict(self.index))
        save_history(folder / HISTORY, self.history)

    def _build_from(self, folder: Path) -> None:
        from elman.encode.index import SeriesIndex
        from elman.tasks.forecaster_run import load_history

        try:
            index = SeriesIndex(**read_json(folder / SERIES))
        except TypeError as error:
            raise FolderError(f"{folder / SERIES}: is damaged ({error})") from error
        self.build(index)
        self._history = load_history(folder / HISTORY)

    def _resume(self, config: dict[str, Any], folder: Path, *, show: bool) -> None:
        from elman.tasks.forecaster_run import resume_forecaster

        resume_forecaster(self, config, folder, show=show)

    def card(self, name: str) -> str:
        """The model card."""
        from elman.tasks.forecaster_run import describe

        return describe(self, name)
