"""The settings of a forecaster.  No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.arguments import check_whole
from elman.errors import ArgumentError
from elman.tasks.settings import NetworkSettings, TableSettings, check_counts

DENSITIES = ("gaussian", "student_t", "mixture", "negative_binomial")


@dataclass(kw_only=True)
class ForecasterSettings(TableSettings, NetworkSettings):
    """What a forecaster reads, what it is made of, and how it is trained."""

    horizon: int | None = None
    """Steps that are forecast; None for a season, or 12 where there is none."""
    context: int | None = None
    """Steps that are read before a forecast; None for 7 seasons, at least twice the horizon;
    without a season for 64, or a quarter of the usual series."""
    season: int | None = None
    """Steps of a season; None for that of the frequency: a day of hours, a week of days, a year."""
    targets: tuple[str, ...] = ("y",)
    """Columns that are forecast; of a wide table the series, y for all other columns."""
    past: tuple[str, ...] = ()
    """Columns that are known of the past only, numbers or words."""
    future: tuple[str, ...] = ()
    """Columns that are known before, such as holidays, numbers or words."""
    static: tuple[str, ...] = ()
    """Columns that do not change within a series, numbers or words."""
    unique_id: str = "unique_id"
    """Column of the series' name; without it there is one series."""
    ds: str = "ds"
    """Column of the stamp; without it rows are steps."""
    ds_format: str | None = None
    """Form of stamps that are not ISO 8601, such as %d/%m/%Y; of numbers s, ms, us or ns (since
    1970), or step for plain steps; None to find it."""
    zone: str | None = None
    """Time zone of the stamps, such as Europe/Berlin; None for that which they have."""
    freq: str | None = None
    """Distance of stamps, such as 15min, h, D, B, W, MS, or M for months on any day; None to find
    it."""
    closed: Literal["found", "none"] = "found"
    """Skip the places of the week that never occur in training, such as Sundays or nights."""
    wide: bool = False
    """A column is a series, instead of a row a series and stamp."""
    encoding: str = "utf-8"
    """Character encoding of the files."""
    calendar: bool = True
    """Read the place in the hour, day, week, month and year, as far as training has seen two."""
    per_series: bool = False
    """Learn a vector for each series, which then must be known; else one model for any."""
    decoder: Literal["direct", "autoregressive"] = "direct"
    """Say all steps from what was seen, or each from the one before, with samples (DeepAR)."""
    segment: int | None = None
    """Steps of the series that are one of the network; None for a season, if direct."""
    lags: tuple[int, ...] | None = None
    """How many steps before each the series is seen again; None for a season; 0 for none."""
    output: (
        Literal["quantile", "gaussian", "student_t", "mixture", "negative_binomial", "point"] | None
    ) = None
    """What is said of each number; None for quantiles, if autoregressive for student_t."""
    quantiles: tuple[float, ...] = (
        0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975,
    )  # fmt: skip
    """Levels of the quantiles that are said, 0.5 among them."""
    conformal: bool = False
    """Move the quantiles so that they hold on the validation data, each step ahead for itself."""
    samples: int = 200
    """Futures that are drawn for a forecast, if autoregressive."""
    scaling: Literal["mean", "standard", "robust", "last", "velocity"] | None = "last"
    """Unit of a window, found before its forecast; None for one of all windows, mean |y|."""
    plane: bool = False
    """The two targets are a place: one scale, and turned and mirrored in training."""
    neighbours: int = 0
    """How many others are seen, the nearest first, of those in the table at the same time."""
    group: str | None = None
    """Column of the scene that neighbours share; None if all series are of one."""
    jitter: float = 0.0
    """Noise in training on what is seen but the last place: mean of its deviation, in steps."""
    gaps: float | None = None
    """Share of training windows with hidden numbers, so that intervals widen where some are
    missing; None for 0.05, 0 for places."""
    windows: int | None = None
    """Windows of an epoch, drawn anew for each; None for all, at least 2,000, at most 20,000."""
    hidden_size: tuple[int, ...] | int = 128
    """Units of a layer, or one number for each layer."""
    dropout: float = 0.1
    """Probability of dropping a feature between layers, and before the output layer."""
    batch_size: int = 64
    """Windows side by side in a step, over all processes."""
    learning_rate: float = 0.002
    """Step size, at its highest."""
    schedule: Literal["constant", "cosine", "halve", "plateau"] = "cosine"
    """Learning rate over time: constant, cosine to zero, halved every epoch, or at plateaus."""
    bptt: int | None = None
    """Not for windows: the gradient goes through the whole."""
    validation_fraction: float = 0.1
    """Share of each series, or of all series, that is held out, a horizon at least; 0 for none."""
    refit_epochs: int = 1
    """Epochs that follow the validation and train on the held-out steps as well; 0 for none."""
    hold_out: Literal["end", "series"] = "end"
    """What is held out for validation: the end of each series, or series as a whole."""
    statistics: bool = False
    """Score exponential smoothing and the theta method, too; slow, needs statsforecast."""

    @property
    def hides(self) -> float:
        """Share of training windows with hidden numbers."""
        if self.gaps is not None:
            return self.gaps
        return 0.0 if self.plane else 0.05

    @property
    def says(self) -> str:
        """What is said of each number."""
        return self.output or ("quantile" if self.decoder == "direct" else "student_t")

    def check(self) -> None:
        """Refuse settings that cannot work with an ArgumentError."""
        self.check_network()
        check_whole(self.refit_epochs, "refit_epochs", least=0)
        check_counts(self, "horizon", "context", "season", "segment", "samples", "windows")
        if not 0 <= self.validation_fraction < 1:
            raise ArgumentError(
                f"validation_fraction must be in [0, 1), got {self.validation_fraction}"
            )
        if self.validation_fraction == 0 and self.monitor != "last":
            raise ArgumentError("validation_fraction=0 leaves no score to watch; set monitor=last")
        if not self.targets:
            raise ArgumentError("targets must name at least one column")
        if not self.wide:  # whose columns are the series
            covariates = (*self.past, *self.future, *self.static)
            self.check_columns(self.targets, (*covariates, self.unique_id, self.ds, self.group))
        if self.bptt is not None:
            raise ArgumentError("bptt must be None: a window is short")
        if not all(isinstance(lag, int) and lag >= 0 for lag in self.lags or ()):
            raise ArgumentError(f"lags must be whole numbers, 0 or more, got {self.lags}")
        if self.segment not in (None, 1) and self.decoder == "autoregressive":
            raise ArgumentError(
                "segment needs decoder=direct: each step is said from the one before"
            )
        if self.decoder == "autoregressive" and self.says not in DENSITIES:
            raise ArgumentError(
                f"decoder=autoregressive draws numbers: set output={', '.join(DENSITIES)}, got "
                f"{self.output}"
            )
        self._check_places()
        if self.conformal and self.validation_fraction == 0:
            raise ArgumentError("conformal needs validation data: set validation_fraction")
        if self.output == "negative_binomial" and self.scaling not in ("mean", None):
            raise ArgumentError("output=negative_binomial counts: set scaling=mean")
        levels = self.quantiles
        if not all(0 < level < 1 for level in levels) or sorted(set(levels)) != list(levels):
            got = ", ".join(map(str, levels))
            percent = len(levels) > 0 and 1 < max(levels) < 100
            hint = f"; {max(levels):g} percent are {max(levels) / 100:g}" if percent else ""
            raise ArgumentError(f"quantiles must rise between 0 and 1, got {got}{hint}")
        if 0.5 not in levels:
            raise ArgumentError(f"quantiles must have 0.5 among them, the median, got {levels}")

    def _check_places(self) -> None:
        """Refuse what cannot be with places, velocities and neighbours."""
        if self.scaling == "velocity" and self.decoder == "autoregressive":
            raise ArgumentError(
                "scaling=velocity says the way from the last number on: set decoder=direct"
            )
        if not self.plane and (self.scaling == "velocity" or self.jitter):
            name = "jitter" if self.jitter else "scaling=velocity"
            raise ArgumentError(f"{name} is for places, which all take steps alike: set plane")
        if self.plane and self.scaling in ("mean", None):
            raise ArgumentError(
                f"plane: the axes may begin anywhere, so scaling={self.scaling} says nothing; set "
                "velocity, last, standard or robust"
            )
        if self.jitter and self.decoder == "autoregressive":
            raise ArgumentError("jitter: each step is said from the one before: set decoder=direct")
        if self.plane and (len(self.targets) != 2 or self.wide):
            raise ArgumentError(
                f"plane needs two targets, such as x and y, got {', '.join(self.targets)}"
                + (" of a wide table" if self.wide else "")
            )
        if not (isinstance(self.neighbours, int) and self.neighbours >= 0):
            raise ArgumentError(
                f"neighbours must be a whole number, 0 or more, got {self.neighbours!r}"
            )
        if self.neighbours and not self.plane:
            raise ArgumentError("neighbours are near in the plane: set plane")
        if self.group is not None and not self.neighbours:
            raise ArgumentError("group says whose neighbours one is: set neighbours")
        if self.group == self.unique_id:
            raise ArgumentError(f"group must be what several share, got {self.group!r}, one's name")
        if self.gaps is not None and not (
            isinstance(self.gaps, int | float) and 0 <= self.gaps <= 1
        ):
            raise ArgumentError(f"gaps must be a share from 0 to 1, got {self.gaps!r}")
        if not (isinstance(self.jitter, int | float) and 0 <= self.jitter < float("inf")):
            raise ArgumentError(f"jitter must be 0 or more, got {self.jitter!r}")
        if self.hold_out == "series" and self.per_series:
            raise ArgumentError(
                "hold_out=series leaves series that training has not seen, and per_series learns "
                "a vector for each; set one of both"
            )
