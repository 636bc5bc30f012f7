"""Settings of tasks that read recordings: channels over time.  No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from elman.errors import ArgumentError
from elman.tasks.settings import NetworkSettings, TableSettings, check_counts


@dataclass(kw_only=True)
class RecordingSettings(TableSettings):
    """How recordings are read; for texts they mean nothing."""

    channels: tuple[str, ...] = ()
    """Of recordings the columns of numbers, each a channel; without them texts are read."""
    variable: str | None = None
    """Column that says what a row measures, of tables with a row a measurement."""
    value: str = "value"
    """Column of what was measured there."""
    static: tuple[str, ...] = ()
    """Columns that do not change within a recording, numbers or words."""
    unique_id: str = "unique_id"
    """Column of the recording's name; without it a file is one."""
    ds: str = "ds"
    """Column of the stamp, a date or a number; without it rows are steps."""
    ds_format: str | None = None
    """Form of dates that are not ISO 8601, such as %d/%m/%Y; or the unit of numbers: s, ms, us, ns;
    None to find it."""
    rate: float | None = None
    """Steps a second that recordings are brought to; None for steps as they are."""
    elapsed: bool | None = None
    """Read the time between steps, and since each channel was seen; None if it is uneven."""
    window: int | None = None
    """Steps of the windows that recordings are cut into; None for whole ones."""
    overlap: float = 0.5
    """Share of a window that is in the next one, too."""
    jitter: float = 0.0
    """Noise that is added in training, in deviations of a channel."""
    rescale: float = 0.0
    """Deviation of a factor by which each channel is changed in training."""
    warp: float = 0.0
    """Deviation of the pace, as a logarithm, at which a recording goes in training."""
    examples: int | None = None
    """Recordings or windows of an epoch; None for all, as often as to make at least 2,000."""

    def check_recordings(self, label: str, *, decays: bool) -> None:
        """Refuse values that cannot work, with a column of labels, with an ArgumentError."""
        check_counts(self, "window", "examples")
        if self.channels and self.variable is None:  # whose values have names, too
            self.check_columns(self.channels, (*self.static, label, self.unique_id, self.ds))
        if not 0 <= self.overlap < 1:
            raise ArgumentError(f"overlap must be in [0, 1), got {self.overlap}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ArgumentError(
                f"rate must be a positive number of steps a second, got {self.rate}"
            )
        for name in ("jitter", "rescale", "warp"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.warp and (self.elapsed or decays):
            raise ArgumentError("warp changes the time between steps: leave it at 0 with elapsed")
        if decays and self.elapsed is False:
            raise ArgumentError("cell=grud decays by the time between steps: leave elapsed out")


def check_grud(settings: NetworkSettings, *, bidirectional: bool) -> None:
    """Refuse what GRU-D has not with an ArgumentError."""
    wanted = {
        "num_layers": 1, "embedding_size": None, "weight_dropout": 0, "zoneout": 0,
        "layer_norm": False,
    }  # fmt: skip
    for name, value in wanted.items():
        if getattr(settings, name) != value:
            raise ArgumentError(f"cell=grud needs {name}={value}, got {getattr(settings, name)}")
    if bidirectional:
        raise ArgumentError("cell=grud reads forward only: set bidirectional=False")
    if settings.input_dropout:
        raise ArgumentError("cell=grud takes its inputs whole: leave input_dropout out")
    if len(settings.sizes) > 1:
        raise ArgumentError(f"cell=grud has one layer, got hidden_size={settings.hidden_size}")
