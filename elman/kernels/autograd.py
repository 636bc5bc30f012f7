"""What the kernels ask of torch's autograd and autocast."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from elman.errors import ArgumentError


def seen_by_torch() -> bool:
    """Whether torch records or transforms the functions that run, which a kernel hides from it.

    That is so in `torch.jit.trace`, the ONNX exporters, `torch.func` (grad, vmap, jacrev, ...) and
    forward-mode derivatives.  `torch.compile` and `torch.export` know the kernels' operators.
    """
    if torch.compiler.is_compiling():
        return bool(torch.onnx.is_in_onnx_export())
    return bool(
        torch._C._get_tracing_state() is not None
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def keeps_graph() -> bool:
    """Whether the backward pass that is running may be repeated (`retain_graph=True`)."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if ask is None else bool(ask())


def refuse_second_derivatives() -> None:
    """To be called first on the way back: kernels compute gradients that have none themselves.

    Torch's `once_differentiable` is not enough: it lets a gradient pass for a constant where the
    gradient that came in was one.

    Raises:
        ArgumentError: the backward pass runs with `create_graph=True`.
    """
    if torch.is_grad_enabled():
        raise ArgumentError(
            "kernels have no second derivatives (create_graph=True): run with "
            "ELMAN_KERNELS=plain in the environment, or in float64"
        )


def computes_in_bfloat16(x: Tensor) -> bool:
    """Whether x or autocast asks for it."""
    if torch.is_autocast_enabled("cpu") and x.is_floating_point():
        autocast = torch.get_autocast_dtype("cpu") == torch.bfloat16
        return autocast and x.dtype != torch.float64
    return x.dtype == torch.bfloat16
