"""Settings of tasks that read recordings, which are channels over time.

This file does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from elman.errors import ArgumentError
from elman.tasks.cores import CORES
from elman.tasks.settings import TableSettings, check_counts


@dataclass(kw_only=True)
class RecordingSettings(TableSettings):
    """How recordings are read; these settings have no effect on texts."""

    channels: tuple[str, ...] = ()
    """Columns of numbers, each a channel of a recording; if empty, the data are texts."""
    variable: str | None = None
    """Column with the name of the channel, for tables with one measurement per row."""
    value: str = "value"
    """Column with the measured value, for tables with one measurement per row."""
    static: tuple[str, ...] = ()
    """Columns of numbers or words that do not change within a recording."""
    unique_id: str = "unique_id"
    """Column with the name of the recording; a file without it is one recording."""
    ds: str = "ds"
    """Column with the stamp, a date or a number; rows without it are evenly spaced steps."""
    ds_format: str | None = None
    """Format of dates that are not ISO 8601, such as %d/%m/%Y, or the unit of numbers: s, ms, us or
    ns; None to detect it."""
    rate: float | None = None
    """Steps per second to which recordings are resampled; None to keep the steps as they are."""
    elapsed: bool | None = None
    """Read the time between steps and since the last number of each channel; None to read it if
    steps are uneven."""
    window: int | None = None
    """Steps of the windows into which recordings are cut; None for whole recordings."""
    overlap: float = 0.5
    """Share of each window that the next window contains as well."""
    jitter: float = 0.0
    """Deviation of the noise that is added in training, in standard deviations of the channel."""
    rescale: float = 0.0
    """Deviation of the relative change of the scale of each channel in training."""
    warp: float = 0.0
    """Deviation of the random factor that changes the speed of a recording in training, as a
    logarithm."""
    examples: int | None = None
    """Recordings or windows in an epoch; None for all of them, repeated up to at least 2,000."""

    @property
    def _cells(self) -> tuple[str, ...]:
        """The cells that a task with recordings offers: all of them."""
        return tuple(CORES)

    def check_recordings(self, label: str, *, decays: bool) -> None:
        """Raise an ArgumentError for values that cannot work; `label` is the column of labels."""
        check_counts(self, "window", "examples")
        if self.channels and self.variable is None:  # whose values have names, too
            self.check_columns(self.channels, (*self.static, label, self.unique_id, self.ds))
        if not 0 <= self.overlap < 1:
            raise ArgumentError(f"overlap must be in [0, 1), got {self.overlap}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ArgumentError(
                f"rate must be a positive number of steps per second, got {self.rate}"
            )
        for name in ("jitter", "rescale", "warp"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.warp and (self.elapsed or decays):
            raise ArgumentError(
                "warp changes the time between steps, which elapsed reads; set warp=0"
            )
        if decays and self.elapsed is False:
            raise ArgumentError(
                "cell=grud always reads the time between steps; leave elapsed unset"
            )
