"""Queries about tensors, autograd and autocast that the kernels need."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from elman import kernels
from elman.errors import ArgumentError

SHORT = (torch.float32, torch.bfloat16, torch.float16)  # types that kernels compute as float32


def seen_by_torch() -> bool:
    """Return whether torch records or transforms the functions that run; a kernel would hide them.

    This is the case in `torch.jit.trace`, the ONNX exporters, `torch.func` (grad, vmap, jacrev,
    ...), forward-mode derivatives, and dispatch modes, such as `torch.utils.flop_counter`.
    `torch.compile` and `torch.export` support the kernels' operators.
    """
    if torch.compiler.is_compiling():
        return bool(torch.onnx.is_in_onnx_export())
    return bool(
        torch._C._get_tracing_state() is not None
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
    )


def runs_natively(x: Tensor) -> bool:
    """Return whether a native call without an operator for graphs can run a layer on its input x.

    It can on a CPU, for float32 and shorter types, unless torch captures or transforms the layer.
    """
    hidden = seen_by_torch() or torch.compiler.is_compiling()
    here = x.device.type == "cpu" and x.dtype in SHORT and x.numel() > 0
    return kernels.native is not None and here and not hidden


def resolved(x: Tensor) -> Tensor:
    """Return x with a pending conjugation or negation applied to its memory."""
    return x.resolve_conj().resolve_neg() if x.is_neg() or x.is_conj() else x


def keeps_graph() -> bool:
    """Return whether the running backward pass can be repeated (`retain_graph=True`)."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if ask is None else bool(ask())


def refuse_second_derivatives() -> None:
    """Raise an error if a second derivative is wanted; call it first in each backward pass.

    Torch's `once_differentiable` is not sufficient: it treats a gradient as a constant if the
    incoming gradient is constant.

    Raises:
        ArgumentError: the backward pass runs with `create_graph=True`.
    """
    if torch.is_grad_enabled():
        raise ArgumentError(
            "kernels have no second derivatives (create_graph=True): run with "
            "ELMAN_KERNELS=plain in the environment, or in float64"
        )


def computes_in_bfloat16(x: Tensor) -> bool:
    """Return whether x or autocast requests bfloat16."""
    if torch.is_autocast_enabled("cpu") and x.is_floating_point():
        autocast = torch.get_autocast_dtype("cpu") == torch.bfloat16
        return autocast and x.dtype != torch.float64
    return x.dtype == torch.bfloat16
