"""Where a run stands, how it ended, and why it diverged, in numbers and words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from elman.errors import FolderError
from elman.train.settings import TrainingSettings

Reason = Literal["finished", "early stopping", "interrupted"]


@dataclass
class Position:
    """Where a run stands: what of it is plain numbers."""

    epoch: int = 1
    batch: int = 0  # batches of the epoch that are done
    step: int = 0  # steps of the optimiser
    seconds: float = 0.0
    validations: list[list[float]] = field(default_factory=list)  # what is monitored; low is good
    best: list[float] = field(default_factory=lambda: [math.inf])  # of these
    best_step: int = 0
    stalls: int = 0  # validations since the best
    plateaus: int = 0  # validations since the best or the last reduction
    reductions: int = 0
    journal: int = 0  # bytes of the journal when the checkpoint was written

    @classmethod
    def read(cls, facts: object, path: Path, batches: int) -> Position:
        """The position in the checkpoint at `path` of a run with so many batches in an epoch.

        Raises:
            FolderError: it cannot be.
        """
        try:
            position = cls(**facts)  # type: ignore[arg-type]
            counts = ("batch", "step", "best_step", "stalls", "plateaus", "reductions", "journal")
            if position.epoch < 1 or any(getattr(position, name) < 0 for name in counts):
                raise ValueError("a count is below zero")
            if position.batch >= batches:
                raise ValueError(f"batch {position.batch} of {batches}")
            if not isinstance(position.best, list) or not isinstance(position.validations, list):
                raise TypeError("scores must be lists")
        except (TypeError, ValueError) as error:
            raise FolderError(
                f"{path}: is not of the run that config.json describes ({error}); put the right "
                "file back"
            ) from error
        return position

    @property
    def shown_epoch(self) -> int:
        """The epoch of the last step, which is over when no batch of the next is done."""
        return max(1, self.epoch - (self.batch == 0))


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    reason: Reason
    position: Position
    scores: dict[str, float] | None  # of the best validation
    signal: int | None = None


def explain_divergence(
    what: str, position: Position, settings: TrainingSettings, *, norm: float, run: Path | None
) -> str:
    """One line: the step, the likely cause and the remedy; `run` has a checkpoint to go back to.

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
            f"{place}: {what}; nothing was learnt yet, so the data or the starting weights hold "
            "such numbers. Remedy: look at the input, and try precision=float32"
        )
    remedy = f"lower learning_rate={rate:g} to {rate / 4:g}"
    if clip is None or clip > 0.25:
        remedy += f" or set clip_norm={0.25 if clip is None else clip / 4:g}"
    if run is not None:
        command = f"elman resume {run} --learning-rate {rate / 4:g}"
        remedy += f". The last good checkpoint stands: {command}"
    cause = f"the steps are too large (gradient norm before: {norm:.3g})"
    return f"{place}: {what}; {cause}. Remedy: {remedy}"
