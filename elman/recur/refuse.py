"""One-line messages for torch's transformations of a module that these layers do not support.

`Stack` has these as members.
"""

from __future__ import annotations

import warnings

from torch import nn

from elman.errors import ArgumentError


def refuse_script(module: nn.Module) -> nn.Module:
    """Raise an ArgumentError; `torch.jit.script` calls this method first."""
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
