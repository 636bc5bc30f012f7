"""The linear recurrence h_t = a_t * h_{t-1} + b_t over a whole sequence in one native call.

The forward and the backward pass each pass over memory once (csrc/scan.h).  Eager code uses
`_Scan`, the short path through autograd; `torch.compile` and `torch.export` see the operators
`elman::scan` and `elman::scan_backward`, which make the same calls.

Shapes: a (B or 1, T or 1, D), b and h (B, T, D), state (B, D).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elman import kernels
from elman.kernels.autograd import refuse_second_derivatives, resolved
from elman.padded import check_lengths

KINDS = (torch.float32, torch.complex64)


def run_scan(
    a: Tensor, b: Tensor, state: Tensor | None, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Run the recurrence on CPU tensors that are all float32 or all complex64, and not empty.

    Returns:
        h (B, T, D), with the memory layout of b (by rows or by steps), and the last state.

    Raises:
        ArgumentError: the lengths are not integers (B,) in 0..T.
    """
    if torch.compiler.is_compiling():
        h, end = torch.ops.elman.scan(a, b, state, lengths, reverse)
        return h, end
    wanted = a.requires_grad or b.requires_grad or (state is not None and state.requires_grad)
    if wanted and torch.is_grad_enabled():
        h, end = _Scan.apply(a, b, state, lengths, reverse)  # type: ignore[no-untyped-call]
        return h, end
    return _forward(a, b, state, lengths, reverse)


def _forward(
    a: Tensor, b: Tensor, state: Tensor | None, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    a, b, state = resolved(a), resolved(b), _dense(state)
    h, end = _new(b), b.new_empty(b.shape[0], b.shape[2])
    call, lengths = _call(a, h, lengths, reverse)
    call.set_b(b)
    call.set_h0(state)
    call.set_h_end(end)
    call.forward()
    return h, end


def _backward(
    d_h: Tensor | None,
    d_end: Tensor | None,
    a: Tensor,
    h: Tensor,
    state: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of a, b and state, None where they are not wanted."""
    # The native call has only the addresses of these tensors, so they must stay alive.
    a, state, d_end = resolved(a), _dense(state), _dense(d_end)
    call, lengths = _call(a, h, lengths, reverse)
    d_h = None if d_h is None else resolved(d_h)
    call.set_h0(state)
    call.set_d_h(d_h)
    call.set_d_end(d_end)
    d_a = d_b = d_state = None
    if wanted[0]:
        over_steps = a.shape[1] < h.shape[1]
        # Sums over steps are computed for every row, because they are small.
        d_a = h.new_empty(h.shape[0], 1, h.shape[2]) if over_steps else _new(a)
        call.set_d_a(d_a)
    if wanted[1]:
        d_b = _new(h)
        call.set_d_b(d_b)
    if wanted[2]:
        d_state = h.new_empty(h.shape[0], h.shape[2])
        call.set_d_h0(d_state)
    call.backward()
    if d_a is not None and d_a.shape[0] > a.shape[0]:
        d_a = d_a.sum(0, keepdim=True)
    return d_a, d_b, d_state


def _new(like: Tensor) -> Tensor:
    """Allocate (B, T, D), dense in D, with rows or steps outermost as in `like`."""
    if like.is_contiguous():
        return torch.empty_like(like)
    rows, steps, units = like.shape
    if like.stride(1) > like.stride(0):
        return like.new_empty(steps, rows, units).transpose(0, 1)
    return like.new_empty(rows, steps, units)


def _call(a: Tensor, h: Tensor, lengths: Tensor | None, reverse: bool) -> tuple[Any, Tensor | None]:
    """Return a native call with the common settings, and the lengths to keep alive for it."""
    assert kernels.native is not None
    shape = h.shape
    call = kernels.native.Scan(*shape, torch.get_num_threads(), h.is_complex(), reverse)
    call.set_a(a)
    call.set_h(h)
    if lengths is not None:
        check_lengths(lengths, shape[0], shape[1])
        lengths = lengths.to("cpu", torch.int64).contiguous()
        call.set_lengths(lengths)
    return call, lengths


def _dense(x: Tensor | None) -> Tensor | None:
    return None if x is None else resolved(x).contiguous()


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, state: Tensor | None, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, Tensor]:
        h, end = _forward(a, b, state, lengths, reverse)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(a, h, state, lengths)
        ctx.reverse = reverse
        return h, end

    @staticmethod
    def backward(ctx: Any, d_h: Tensor | None, d_end: Tensor | None) -> Any:
        refuse_second_derivatives()
        a, h, state, lengths = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        return *_backward(d_h, d_end, a, h, state, lengths, ctx.reverse, wanted), None, None


# The operators for compiled graphs.

_INPUTS = "Tensor a, Tensor b, Tensor? state, Tensor? lengths, bool reverse"
_SAVED = "Tensor a, Tensor h, Tensor? state, Tensor? lengths, bool reverse, bool[] wanted"
_operator = torch.library.custom_op(
    "elman::scan", _forward, mutates_args=(), schema=f"({_INPUTS}) -> (Tensor, Tensor)"
)


@torch.library.custom_op(
    "elman::scan_backward",
    mutates_args=(),
    schema=f"(Tensor? d_h, Tensor? d_end, {_SAVED}) -> (Tensor, Tensor, Tensor)",
)
def _backward_operator(
    d_h: Tensor | None, d_end: Tensor | None, a: Tensor, h: Tensor, *rest: Any
) -> Any:
    gradients = _backward(d_h, d_end, a, h, *rest)
    return tuple(h.new_empty(0) if g is None else g for g in gradients)


@_operator.register_fake
def _(_a: Tensor, b: Tensor, *_rest: Any) -> tuple[Tensor, Tensor]:
    return _new(b), b.new_empty(b.shape[0], b.shape[2])


@_backward_operator.register_fake
def _(_d_h: Any, _d_end: Any, a: Tensor, h: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    rows, steps, units = h.shape
    wanted = rest[-1]
    d_a = a.new_empty(a.shape[0], 1, units) if a.shape[1] < steps else _new(a)
    new = (d_a, _new(h), h.new_empty(rows, units))
    return tuple(g if wish else h.new_empty(0) for g, wish in zip(new, wanted, strict=True))


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    a, _, state, lengths, ctx.reverse = inputs
    ctx.save_for_backward(a, output[0], state, lengths)


def _differentiate(ctx: Any, d_h: Tensor | None, d_end: Tensor | None) -> Any:
    wanted = list(ctx.needs_input_grad[:3])
    found = torch.ops.elman.scan_backward(d_h, d_end, *ctx.saved_tensors, ctx.reverse, wanted)
    return *(g if wish else None for g, wish in zip(found, wanted, strict=True)), None, None


_operator.register_autograd(_differentiate, setup_context=_save)
