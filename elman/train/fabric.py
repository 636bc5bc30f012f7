"""Set up device, precision and processes with Lightning Fabric; exchange data between processes."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, distributed

from elman.errors import ArgumentError, ElmanError, LostProcessError
from elman.train.processes import Others, count_processes, start_others
from elman.train.settings import TrainingSettings

# Long, because the others wait while the first process reads; `Others` detects dead processes.
PATIENCE = datetime.timedelta(days=7)

T = TypeVar("T")


def build_fabric(settings: TrainingSettings) -> Fabric:
    """Launch Fabric with the device, precision and processes of the settings.

    Raises:
        ArgumentError: there is no such device.
        LostProcessError: another process of the run did not start.
    """
    accelerator, _, index = settings.device.partition(":")
    if index and (accelerator == "cpu" or not index.isdecimal()):
        raise ArgumentError(f"device must be like cpu, cuda, cuda:1 or auto, got {settings.device}")
    count = count_processes(settings.processes)
    if index and count > 1:
        raise ArgumentError(f"device={settings.device} is one device, not {count}")
    if settings.batch_size % count:
        raise ArgumentError(
            f"batch_size={settings.batch_size} must be a multiple of the {count} processes"
        )
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1")) if count > 1 else 1
    devices = [int(index)] if index else count // nodes
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # hides start-up messages
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=DDPStrategy(timeout=PATIENCE) if count > 1 else "auto",
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        )
        if isinstance(fabric.strategy, DDPStrategy):
            environment = fabric.strategy.cluster_environment
            if environment is not None and not environment.creates_processes_externally:
                start_others(count)
        with Others.watched(None):  # one can die before all are connected
            fabric.launch()
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ArgumentError(
            f"device={settings.device}, processes={count}: not possible here "
            f"({error}); try device=cpu"
        ) from error
    return fabric


def on_first(fabric: Fabric, prepare: Callable[[], T]) -> T:
    """Call `prepare` in the first process and return its result in all, to read data only once.

    Raises:
        ElmanError: an error that `prepare` raises is raised in all processes.
    """
    if fabric.world_size == 1:
        return prepare()
    found: T | ElmanError | None = None
    if fabric.is_global_zero:
        try:
            found = prepare()
        except ElmanError as error:
            found = error
    with peers_watched(fabric, None):
        found = fabric.broadcast(found)
    if isinstance(found, ElmanError):
        raise found
    return cast(T, found)


def gather(fabric: Fabric, value: Tensor) -> list[Tensor]:
    """Return the tensors of all processes, which have equal shapes, on the device of `value`."""
    if fabric.world_size == 1:
        return [value]
    here = value.contiguous().to(fabric.device)
    found = [torch.empty_like(here) for _ in range(fabric.world_size)]
    distributed.all_gather(found, here)
    return [one.to(value.device) for one in found]


def mean(fabric: Fabric, *values: float | Tensor) -> list[float]:
    """Return the mean of each number over all processes; NaN or infinite if one of them is."""
    if fabric.world_size == 1:
        return list(map(float, values))
    total = torch.tensor(list(map(float, values)), dtype=torch.float64, device=fabric.device)
    distributed.all_reduce(total)
    means: list[float] = (total / fabric.world_size).tolist()
    return means


@contextlib.contextmanager
def peers_watched(fabric: Fabric, folder: Path | None) -> Iterator[None]:
    """Raise a one-line error inside the context if another process of the run dies.

    Args:
        fabric: a launched Fabric.
        folder: folder of the run, for the remedy.

    Raises:
        LostProcessError: another process has ended.
    """
    if fabric.world_size == 1:
        yield
        return
    with Others.watched(folder) as others:
        try:
            yield
        except RuntimeError as error:
            lost = isinstance(error, distributed.DistError) or "gloo" in str(error)
            if not lost:
                raise
            raise LostProcessError(others.describe_loss()) from error
