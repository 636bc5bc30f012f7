"""One-line errors for the rewrites of a module by torch that the layers here do not support.

`Stack` and `GRUD` use these as members.
"""

from __future__ import annotations

import warnings

from torch import nn

from elman.errors import ArgumentError


def refuse_script(module: nn.Module) -> nn.Module:
    """Refuse `torch.jit.script`, which asks for this method first."""
    raise ArgumentError(
        f"torch.jit.script cannot compile elman.{type(module).__name__}: use torch.jit.trace, "
        "torch.compile or torch.export"
    )


def _warn_of_qconfig(module: nn.Module, _settings: object) -> None:
    warnings.warn(
        f"torch's quantization does not change elman.{type(module).__name__}, which stays in "
        f"{next(module.parameters()).dtype}: use .bfloat16() for a smaller and faster layer",
        stacklevel=2,
    )


# Torch sets this on every module that it may quantise, and deletes it at the end.
no_qconfig = property(lambda _: None, _warn_of_qconfig, lambda _: None)
