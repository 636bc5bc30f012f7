"""The training settings that all tasks share.  This file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elman.arguments import check_types
from elman.errors import ArgumentError


@dataclass(kw_only=True)
class TrainingSettings:
    """Settings of the training."""

    epochs: int = 10
    """Passes over the training data."""
    batch_size: int = 32
    """Sequences in a step, over all processes."""
    bptt: int | None = 35
    """Steps that the gradient flows back in time; None for whole documents (full BPTT)."""
    optimizer: Literal["adam", "adamw", "sgd", "asgd"] = "adam"
    """Optimiser; asgd is plain SGD that averages the weights once validation stalls (NT-ASGD)."""
    learning_rate: float = 0.002
    """Highest learning rate."""
    weight_decay: float = 0.0
    """Decay of the weights towards zero."""
    schedule: Literal["constant", "cosine", "halve", "plateau"] = "constant"
    """Learning rate over time: constant, cosine to zero, halved every epoch, or at plateaus."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises from zero."""
    halve_after: int = 4
    """Schedule halve: the last epoch at the full learning rate."""
    plateau_patience: int = 0
    """Schedule plateau: validations without improvement before the learning rate is halved."""
    average_after: int = 5
    """Optimizer asgd: validations without improvement before the averaging starts."""
    average_decay: float = 0.0
    """Decay of a moving average of the weights, which is validated and kept; 0 for none."""
    clip_norm: float | None = 1.0
    """Largest norm of the gradient; larger ones are scaled down to it. None for no limit."""
    accumulate: int = 1
    """Chunks whose gradients are added up before a step."""
    monitor: Literal["loss", "accuracy", "last"] = "loss"
    """Validation score that selects the weights to keep, ties by loss; last keeps the last ones."""
    early_stopping: int | None = None
    """Stop after this many validations without improvement. None: train all epochs."""
    validate_steps: int | None = None
    """Steps between two validations; None for one at the end of every epoch."""
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints; every validation also writes one."""
    precision: Literal["float32", "bf16"] = "float32"
    """Precision of matrix products; weights and states stay float32."""
    device: str = "auto"
    """Device: cpu, cuda, or auto for the best one that is available."""
    processes: int = 1
    """Processes that share every batch (data parallel)."""
    seed: int = 0
    """Seed of weights, dropout and order: equal seeds give equal models."""

    def check_training(self) -> None:
        """Raise an ArgumentError for values that cannot work."""
        check_types(self)
        at_least = {
            "epochs": 1,
            "batch_size": 1,
            "bptt": 1,
            "accumulate": 1,
            "processes": 1,
            "warmup_steps": 0,
            "halve_after": 0,
            "plateau_patience": 0,
            "average_after": 1,
            "early_stopping": 1,
            "validate_steps": 1,
            "weight_decay": 0,
            "checkpoint_seconds": 0,
            "seed": 0,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):
                raise ArgumentError(f"{name} must be at least {least}, got {value!r}")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ArgumentError(f"{name} must be a positive number, got {value!r}")
        if not 0 <= self.average_decay < 1:
            raise ArgumentError(f"average_decay must be in [0, 1), got {self.average_decay}")
        waits = self.early_stopping or self.optimizer == "asgd" or self.schedule == "plateau"
        if self.monitor == "last" and waits:
            raise ArgumentError(
                "monitor=last leaves early_stopping, optimizer=asgd and schedule=plateau without "
                "a score to monitor; set loss or accuracy"
            )
        if self.average_decay and self.optimizer == "asgd":
            raise ArgumentError("optimizer=asgd averages already: set average_decay=0")
        if self.batch_size % self.processes:
            raise ArgumentError(
                f"batch_size={self.batch_size} must be a multiple of processes={self.processes}"
            )
