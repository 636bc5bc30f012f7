"""Device, number format and processes: Lightning Fabric."""

from __future__ import annotations

from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from elman.errors import ArgumentError
from elman.train.settings import TrainingSettings


def build_fabric(settings: TrainingSettings) -> Fabric:
    """Fabric for the device, number format and processes of the settings, launched.

    Raises:
        ArgumentError: there is no such device.
    """
    accelerator, _, index = settings.device.partition(":")
    if index and (accelerator == "cpu" or not index.isdecimal()):
        raise ArgumentError(f"device must be like cpu, cuda, cuda:1 or auto, got {settings.device}")
    if index and settings.processes > 1:
        raise ArgumentError(f"device={settings.device} is one device, not {settings.processes}")
    devices = [int(index)] if index else settings.processes
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            strategy="ddp" if settings.processes > 1 else "auto",
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ArgumentError(
            f"device={settings.device}, processes={settings.processes}: not possible here "
            f"({error}); try device=cpu"
        ) from error
    fabric.launch()
    return fabric
