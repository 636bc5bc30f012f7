"""The settings of a forecaster.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from elman.arguments import check_whole
from elman.errors import ArgumentError
from elman.inputs.declared import Declared, read_declared
from elman.inputs.settings import InputSettings
from elman.settings import check_pairs
from elman.train.settings import TrainingSettings

if TYPE_CHECKING:
    from elman.read.frequency import Frequency

MOST = 1_000_000  # steps of a window, and futures
LONG = 64  # steps of the context of series without a season
ITEMS = ("text", "image")  # kinds of inputs
DENSITIES = ("gaussian", "student_t", "mixture", "negative_binomial")


@dataclass(kw_only=True)
class ForecasterSettings(TrainingSettings):
    """Settings of a forecaster: its data, its forecasts and its training."""

    horizon: int | None = None
    """Number of steps to forecast; None for one season, or 12 if there is no season."""
    context: int | None = None
    """Number of steps read before a forecast; None for 7 seasons, but at least twice the horizon;
    without a season 64, or a quarter of the median length of the series."""
    season: int | None = None
    """Number of steps in a season; None to derive it from the frequency, such as 24 for hourly or 7
    for daily data."""
    targets: tuple[str, ...] = ("y",)
    """Columns to forecast; in a wide table the columns of the series, where y means all other
    columns."""
    past: tuple[str, ...] = ()
    """Columns of covariates known only in the past, numbers or words."""
    future: tuple[str, ...] = ()
    """Columns of covariates known in advance, such as holidays, numbers or words."""
    static: tuple[str, ...] = ()
    """Columns that are constant within each series, numbers or words."""
    inputs: tuple[str, ...] = ()
    """Columns of texts or of paths of images that are known only in the past, each as COLUMN:text
    or COLUMN:image, such as news:text. A cell can be empty. An input can have its own settings:
    COLUMN:KIND,setting=value,setting=value."""
    unique_id: str = "unique_id"
    """Column with the name of the series; a table without this column is a single series."""
    ds: str = "ds"
    """Column with the timestamps; in a table without this column, each row is one step."""
    ds_format: str | None = None
    """Format of timestamps that are not ISO 8601, such as %d/%m/%Y; for numbers s, ms, us or ns
    (since 1970), or step for plain steps; None to detect it."""
    zone: str | None = None
    """Time zone of the timestamps, such as Europe/Berlin; None for the zone given in the data."""
    freq: str | None = None
    """Interval between timestamps, such as 15min, h, D, B, W, MS, or M for months on any day; None
    to detect it."""
    closed: Literal["found", "none"] = "found"
    """Treatment of times of the week that never occur in training, such as Sundays or nights: found
    skips them, none keeps them as steps."""
    wide: bool = False
    """Each column is a series (wide table); otherwise each row is one timestamp of one series."""
    encoding: str = "utf-8"
    """Character encoding of the files."""
    calendar: bool = True
    """Use the position within the hour, day, week, month and year as inputs, for each of these
    periods that the training data contain at least twice."""
    per_series: bool = False
    """Learn a vector for each series; the model can then forecast only the series of its
    training."""
    decoder: Literal["direct", "autoregressive"] = "direct"
    """Predict all steps at once (direct), or one after the other from samples of the previous ones
    (autoregressive, as DeepAR)."""
    segment: int | None = None
    """Number of series steps in one step of the network; None for one season if direct and the
    season is no longer than the horizon, else 1."""
    lags: tuple[int, ...] | None = None
    """Distances, in steps, to earlier numbers that are inputs as well; None for one season; 0 for
    none."""
    output: (
        Literal["quantile", "gaussian", "student_t", "mixture", "negative_binomial", "point"] | None
    ) = None
    """Form of a prediction: quantiles, the parameters of a distribution, or a point; None for
    quantile, or student_t if autoregressive."""
    quantiles: tuple[float, ...] = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
    """Levels of the predicted quantiles; 0.5 must be one of them."""
    conformal: bool = False
    """Correct the quantiles of each step ahead by the errors on the validation data (conformal
    prediction)."""
    combine: bool = True
    """Combine forecasts with the last number, or the usual change from it within a season, by a
    share that is chosen on the validation data; the share is 0 where the model alone is better."""
    samples: int = 200
    """Number of sampled futures from which an autoregressive model computes a forecast."""
    scaling: Literal["mean", "standard", "robust", "last", "velocity"] | None = "last"
    """Scaling of each window, computed from its numbers before the forecast; None for one scale for
    all windows, the mean |y|."""
    plane: bool = False
    """The two targets are a place in the plane: they share one scale, and training rotates and
    mirrors the windows at random."""
    neighbours: int = 0
    """Maximum number of neighbours that the model reads: the nearest other series of the table at
    the same time."""
    group: str | None = None
    """Column with the scene of each series; only series of the same scene are neighbours. None if
    all series are in one scene."""
    jitter: float = 0.0
    """Noise added in training to all observed places except the last: mean standard deviation, in
    lengths of a usual step."""
    gaps: float = 0.0
    """Share of training windows in which numbers are hidden at random, for better forecasts where
    many are missing."""
    windows: int | None = None
    """Number of windows drawn for each epoch; None for the number of all windows, but at least
    2,000 and at most 20,000."""
    hidden_size: tuple[int, ...] | int = 128
    """Number of hidden units of each layer; several numbers for layers of different sizes."""
    dropout: float = 0.1
    """Dropout probability between the layers, before the output layer, and of the vectors of texts
    and images."""
    batch_size: int = 64
    """Number of windows in a training step, over all processes."""
    learning_rate: float = 0.002
    """Highest learning rate."""
    schedule: Literal["constant", "cosine", "halve", "plateau"] = "cosine"
    """Learning rate over time: constant, cosine to zero, halved every epoch, or at plateaus."""
    bptt: int | None = None
    """Not used by forecasters, must be None: the gradient goes through whole windows."""
    validation_fraction: float = 0.1
    """Share that is held out for validation: of each series, and at least one horizon, or of all
    series (see hold_out); 0 for none."""
    refit_epochs: int = 2
    """Number of epochs after the validation that train on the held-out data as well; 0 for none."""
    hold_out: Literal["end", "series"] = "end"
    """Data held out for validation: the end of each series, or some complete series."""
    statistics: bool = False
    """Add exponential smoothing and the theta method to the baselines; slow, needs
    statsforecast."""

    @property
    def kind_of_output(self) -> str:
        """The form of a prediction: `output`, or its default for the decoder."""
        return self.output or ("quantile" if self.decoder == "direct" else "student_t")

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the predicted quantiles; only 0.5 for a point without `conformal`."""
        return (0.5,) if self.kind_of_output == "point" and not self.conformal else self.quantiles

    def season_of(self, frequency: Frequency) -> int:
        """Return the number of steps in a season, as set or by the frequency; 1 for none."""
        return self.season or frequency.season

    def horizon_of(self, frequency: Frequency) -> int:
        """Return the number of steps of a forecast: as set, or a season, or 12."""
        season = self.season_of(frequency)
        return self.horizon or (season if season > 1 else 12)

    def window_of(self, frequency: Frequency, length: int = 0) -> tuple[int, int]:
        """Return the steps of the context and of a segment.

        By default the context is at least 7 seasons and twice the horizon; without a season, also
        LONG steps, or a quarter of the usual length of the series if that is shorter.
        """
        season, horizon = self.season_of(frequency), self.horizon_of(frequency)
        segment = self.segment or (season if self.decoder == "direct" and season <= horizon else 1)
        longer = min(LONG, length // 4) if season == 1 else 0
        context = self.context or max(7 * season, 2 * horizon, longer)
        return -(-context // segment) * segment, segment

    def check_forecast(self) -> None:
        """Raise an ArgumentError for settings that have the right types but cannot work."""
        check_whole(self.refit_epochs, "refit_epochs", least=0)
        for name in ("horizon", "context", "season", "segment", "samples", "windows"):
            if (steps := getattr(self, name)) is not None:
                check_whole(steps, name, least=1)
                if steps > MOST and name != "windows":
                    raise ArgumentError(f"{name} must be at most {MOST:,}, got {steps}")
        if not 0 <= self.validation_fraction < 1:
            raise ArgumentError(
                f"validation_fraction must be in [0, 1), got {self.validation_fraction}"
            )
        if self.validation_fraction == 0 and self.monitor != "last":
            raise ArgumentError(
                "validation_fraction=0 leaves no score to monitor; set monitor=last"
            )
        if not self.targets:
            raise ArgumentError("targets must name at least one column")
        if self.bptt is not None:
            raise ArgumentError(f"bptt must be None for a forecaster, got {self.bptt!r}")
        if not all(0 <= lag <= MOST for lag in self.lags or ()):
            raise ArgumentError(f"lags must be whole numbers from 0 to {MOST:,}, got {self.lags}")
        if self.segment not in (None, 1) and self.decoder == "autoregressive":
            raise ArgumentError(
                "segment needs decoder=direct: an autoregressive decoder predicts single steps, "
                f"got {self.segment}"
            )
        if self.decoder == "autoregressive" and self.kind_of_output not in DENSITIES:
            raise ArgumentError(
                "decoder=autoregressive draws samples: set output to one of "
                f"{', '.join(DENSITIES)}, got {self.output}"
            )
        self._check_places()
        self._check_inputs()
        if self.conformal and self.validation_fraction == 0:
            raise ArgumentError("conformal needs validation data: set validation_fraction above 0")
        if self.output == "negative_binomial" and self.scaling not in ("mean", None):
            raise ArgumentError(
                "output=negative_binomial needs scaling=mean, as counts cannot be shifted; got "
                f"{self.scaling}"
            )
        levels = self.quantiles
        got = ", ".join(map(str, levels))
        if not all(0 < level < 1 for level in levels) or sorted(set(levels)) != list(levels):
            percent = len(levels) > 0 and 1 < max(levels) < 100
            hint = f"; {max(levels):g} percent is {max(levels) / 100:g}" if percent else ""
            raise ArgumentError(
                f"quantiles must be between 0 and 1, in rising order, got {got}{hint}"
            )
        if 0.5 not in levels:
            raise ArgumentError(f"quantiles must include 0.5, the median, got {got}")

    @property
    def declared(self) -> list[Declared]:
        """The columns of texts and images that are set."""
        return [read_declared(one) for one in self.inputs]

    @property
    def item_units(self) -> int:
        """Hidden units of each direction that read a text or an image; also the size of a token."""
        size = self.hidden_size if isinstance(self.hidden_size, int) else self.hidden_size[0]
        return max(1, size // 4)

    def input_settings(self) -> dict[str, InputSettings]:
        """Return the settings of each column of texts or images; images are not distorted."""
        whole = InputSettings(
            inputs=self.inputs, hidden_size=self.item_units, distort=0.0, encoding=self.encoding
        )
        return {str(one.column): whole.of_input(one.column) for one in self.declared}

    def _check_inputs(self) -> None:
        """Raise an ArgumentError for columns of texts and images that cannot be read."""
        found = self.declared
        taken: dict[str, tuple[str, ...]] = {"unique_id": (self.unique_id,), "ds": (self.ds,)}
        taken |= {name: getattr(self, name) for name in ("past", "future", "static")}
        taken |= {"group": (self.group,)} if self.group else {}
        taken |= {"targets": self.targets} if not self.wide or self.targets != ("y",) else {}
        columns = [one.column for one in found]
        for one in found:
            if one.kind not in ITEMS or not one.column:
                raise ArgumentError(
                    "inputs of a forecaster must be COLUMN:text or COLUMN:image, got "
                    f"{one.bare!r}; for a column of numbers or words set past"
                )
            other = next((name for name, names in taken.items() if one.column in names), "")
            if other or columns.count(one.column) > 1:
                both = f"inputs and {other} both name" if other else "inputs name twice"
                raise ArgumentError(f"{both} the column {one.column!r}; name it once")
        for one, own in zip(found, self.input_settings().values(), strict=True):
            with one.named():
                if one.settings:
                    own.check_input("")
                    check_pairs(own)

    def _check_places(self) -> None:
        """Raise an ArgumentError for settings of places and neighbours that cannot work."""
        if self.scaling == "velocity" and self.decoder == "autoregressive":
            raise ArgumentError(
                "scaling=velocity continues the last step over the horizon: set decoder=direct"
            )
        if not self.plane and (self.scaling == "velocity" or self.jitter):
            name = "jitter" if self.jitter else "scaling=velocity"
            raise ArgumentError(
                f"{name} is for places in the plane, whose steps are similar: set plane=True"
            )
        if self.plane and self.scaling in ("mean", None):
            raise ArgumentError(
                "plane needs a scaling that does not depend on the origin of the axes: set "
                f"scaling=velocity, last, standard or robust, got {self.scaling}"
            )
        if self.jitter and self.decoder == "autoregressive":
            raise ArgumentError("jitter needs decoder=direct, got autoregressive")
        if self.plane and (len(self.targets) != 2 or self.wide):
            raise ArgumentError(
                f"plane needs two targets, such as x and y, got {', '.join(self.targets)}"
                + (" in a wide table" if self.wide else "")
            )
        if self.neighbours < 0:
            raise ArgumentError(
                f"neighbours must be a whole number, 0 or more, got {self.neighbours}"
            )
        if self.neighbours and not self.plane:
            raise ArgumentError("neighbours need places in the plane: set plane=True")
        if self.group is not None and not self.neighbours:
            raise ArgumentError("group is the scene that neighbours share: set neighbours above 0")
        if self.group == self.unique_id:
            raise ArgumentError(
                "group must be a column whose values several series share, got the column of their "
                f"names, {self.group!r}"
            )
        if not 0 <= self.gaps <= 1:
            raise ArgumentError(f"gaps must be a share from 0 to 1, got {self.gaps!r}")
        if not 0 <= self.jitter < float("inf"):
            raise ArgumentError(f"jitter must be a number, 0 or more, got {self.jitter!r}")
        if self.hold_out == "series" and self.per_series:
            raise ArgumentError(
                "hold_out=series validates on series that training has not seen, but per_series "
                "must train on all; set only one of them"
            )
