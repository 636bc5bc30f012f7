"""The position of a run, its latest losses, its outcome, and the explanation of a divergence."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from torch import Tensor

from elman.arguments import check_types
from elman.errors import FolderError
from elman.train.settings import TrainingSettings

Reason = Literal["finished", "early stopping", "interrupted"]


@dataclass
class Position:
    """The position of a run, in plain numbers."""

    epoch: int = 1
    batch: int = 0  # batches of the epoch that are done
    step: int = 0  # steps of the optimiser
    seconds: float = 0.0
    validations: list[list[float]] = field(default_factory=list)  # monitored; lower is better
    best: list[float] = field(default_factory=lambda: [math.inf])  # the best of `validations`
    best_step: int = 0
    stalls: int = 0  # validations since the best
    plateaus: int = 0  # validations since the best or the last reduction
    reductions: int = 0
    refit: int = 0  # epoch of the refit, 0 before it
    journal: int = 0  # bytes of the journal when the checkpoint was written

    def check(self, batches: int) -> None:
        """Raise a ValueError unless this position is possible with `batches` batches an epoch."""
        check_types(self)
        for name, value in asdict(self).items():
            least = int(name == "epoch")
            if not isinstance(value, list) and not least <= value < math.inf:
                raise ValueError(f"{name} is {value}, expected at least {least}")
        if self.batch >= batches:
            raise ValueError(f"batch is {self.batch}, expected less than {batches}")
        for scores in (self.best, *self.validations):
            if not scores or any(map(math.isnan, scores)):
                raise ValueError(f"best and validations must contain numbers, got {scores}")

    @classmethod
    def read(cls, facts: object, path: Path, batches: int) -> Position:
        """Read the position from a checkpoint of a run with `batches` batches in an epoch.

        Raises:
            FolderError: the position is not possible in this run; the message names `path`.
        """
        try:
            if not isinstance(facts, dict):
                raise TypeError("it has no position")
            # Earlier versions had no refit.
            if missing := {one.name for one in fields(cls)} - {*facts, "refit"}:
                raise TypeError(f"its position has no {min(missing)}")
            position = cls(**facts)
            position.check(batches)
        except (TypeError, ValueError) as error:
            raise FolderError(
                f"{path}: does not belong to the run that config.json describes ({error}); put the "
                "right file back"
            ) from error
        return position

    @property
    def shown_epoch(self) -> int:
        """The epoch of the last step."""
        epoch = self.epoch - 1 + self.refit if self.refit else self.epoch
        return max(1, epoch - (self.batch == 0))


class Window:
    """Sums over the steps since the last step record."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin new sums."""
        self.total, self.elements, self.began = 0.0, 0.0, time.monotonic()

    def add(self, total: float, elements: float) -> None:
        """Add the loss of a batch, summed over its elements."""
        self.total += total
        self.elements += elements

    def means(self, *, least: float) -> tuple[float, float] | None:
        """Return the loss per element and the elements per second, and begin new sums.

        The result is None if the sums cover less than `least` seconds.
        """
        seconds = time.monotonic() - self.began
        if seconds < least:
            return None
        means = self.total / max(1, self.elements), self.elements / max(1e-9, seconds)
        self.restart()
        return means


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        reason: why it ended.
        position: where it ended.
        scores: scores of the best validation; None without validation.
        signal: the signal that interrupted it; None if none did.
        validated: the weights of the best validation, if a refit has changed them.
    """

    reason: Reason
    position: Position
    scores: dict[str, float] | None
    signal: int | None = None
    validated: dict[str, Tensor] | None = None


def explain_divergence(
    what: str, position: Position, settings: TrainingSettings, *, norm: float, run: Path | None
) -> str:
    """Explain a divergence in one line: the step, the likely cause and the remedy.

    `run` is a folder with a checkpoint to resume from, if there is one.

    Example:
        >>> from elman.train.position import Position, explain_divergence
        >>> from elman.train.settings import TrainingSettings
        >>> settings = TrainingSettings(learning_rate=20.0)
        >>> at = Position(step=7)
        >>> print(explain_divergence("the loss is nan", at, settings, norm=3e5, run=None))
        step 8 (epoch 1): the loss is nan; the steps are too large (gradient norm before: 3e+05). \
Remedy: lower learning_rate=20 to 5 or set clip_norm=0.25
    """
    rate, clip = settings.learning_rate, settings.clip_norm
    place = f"step {position.step + 1} (epoch {position.epoch})"
    if position.step == 0:
        return (
            f"{place}: {what}; no step was made yet, so the cause is in the data or in the initial "
            "weights. Remedy: check the input, and try precision=float32"
        )
    remedy = f"lower learning_rate={rate:g} to {rate / 4:g}"
    if clip is None or clip > 0.25:
        remedy += f" or set clip_norm={0.25 if clip is None else clip / 4:g}"
    if run is not None:
        command = f"elman resume {run} --learning-rate {rate / 4:g}"
        remedy += f". The last good checkpoint is kept: {command}"
    cause = f"the steps are too large (gradient norm before: {norm:.3g})"
    return f"{place}: {what}; {cause}. Remedy: {remedy}"
