"""The recurrence of a matrix state over a whole sequence in one native call (csrc/matrix_scan.h).

Eager code uses `_MatrixScan`, the short path through autograd; `torch.compile` and `torch.export`
see the operators `elman::matrix_scan` and `elman::matrix_scan_backward`, which make the same calls.

Shapes: q and k (B, T, N K), v, w and y (B, T, N V), beta (B, T, N), a (B, T, N) or (B, T, N K),
state (B, N, K, V).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman import kernels
from elman.kernels.autograd import refuse_second_derivatives, resolved
from elman.padded import check_lengths


def run_matrix_scan(*given: Any) -> tuple[Tensor, Tensor]:
    """Run the recurrence on CPU tensors that are all float32 and not empty.

    Args:
        given: q, k, v, a, beta, state, lengths, N, whether a step reads what it overwrites, and
            whether rows run from their last step to their first.

    Returns:
        y (B, T, N V) and the last state (B, N, K, V).

    Raises:
        ArgumentError: the lengths are not integers (B,) in 0..T.
    """
    if torch.compiler.is_compiling():
        y, end, _ = torch.ops.elman.matrix_scan(*given)
        return y, end
    tensors = given[:6]
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        y, end = _MatrixScan.apply(*given)  # type: ignore[no-untyped-call]
        return y, end
    y, end, _ = _forward(*given, keep=False)
    return y, end


def matrix_step(y: Tensor, end: Tensor, delta: bool, *given: Any) -> tuple[Any, list[Any]]:
    """Return a native call of one step, and the tensors to keep alive for it.

    The call reads and writes the memory of these tensors, in which the numbers of a row lie side by
    side.

    Args:
        y: the result (B, N, V).
        end: the new state (B, N, K, V).
        delta: whether the step reads what it overwrites.
        given: q and k (B, N, K), v (B, N, V), a (B, N) or (B, N, K), beta (B, N), and the state
            (B, N, K, V); a and beta can be None.
    """
    *inputs, state = given
    heads, out = y.shape[1], y.flatten(1)[:, None]
    flat: list[Any] = [None if x is None else x.flatten(1)[:, None] for x in inputs]
    q, k, v, a, beta = flat
    call, alive = _call(q, k, v, a, beta, state, None, heads, delta, False)
    call.set_v(alive[2])
    call.set_y(out)
    call.set_s_end(end)
    return call, [*alive, out, end]


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor | None,
    beta: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    heads: int,
    delta: bool,
    reverse: bool,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state and w; w is v if nothing is read before it is overwritten."""
    call, alive = _call(q, k, v, a, beta, state, lengths, heads, delta, reverse)
    rows, steps, width = v.shape
    y = v.new_empty(rows, steps, width)
    w = v.new_empty(rows, steps, width) if delta and keep else None
    end = v.new_empty(rows, heads, q.shape[2] // heads, width // heads)
    call.set_v(alive[2])
    call.set_y(y)
    call.set_w(w)
    call.set_s_end(end)
    call.forward()
    return y, end, v if w is None else w


def _call(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor | None,
    beta: Tensor | None,
    state: Tensor | None,
    lengths: Tensor | None,
    heads: int,
    delta: bool,
    reverse: bool,
) -> tuple[Any, list[Any]]:
    """Return a native call with the inputs, and the tensors to keep alive for it."""
    assert kernels.native is not None
    rows, steps, width = q.shape
    of_key = a is not None and a.shape[2] > heads
    call = kernels.native.MatrixScan(
        rows,
        steps,
        heads,
        width // heads,
        v.shape[2] // heads,
        torch.get_num_threads(),
        delta,
        of_key,
        reverse,
    )
    alive = [None if t is None else _side_by_side(t) for t in (q, k, v, a, beta)]
    call.set_q(alive[0])
    call.set_k(alive[1])
    call.set_a(alive[3])
    call.set_beta(alive[4])
    start = None if state is None else resolved(state).contiguous()
    call.set_s0(start)
    if lengths is not None:
        check_lengths(lengths, rows, steps)
        lengths = lengths.to("cpu", torch.int64).contiguous()
        call.set_lengths(lengths)
    return call, [*alive, start, lengths]


def _side_by_side(x: Tensor) -> Tensor:
    """Return x (B, T, D) with the numbers of a step side by side in memory."""
    x = resolved(x)
    return x if x.stride(2) == 1 and 0 not in x.stride() else x.contiguous()


class _MatrixScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        y, end, w = _forward(*given, keep=True)
        q, k, v, a, beta, state, lengths, *ctx.form = given
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(q, k, v if w is v else w, a, beta, state, lengths)
        return y, end

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, d_end: Tensor | None) -> Any:
        refuse_second_derivatives()
        found = _backward(d_y, d_end, *ctx.saved_tensors, *ctx.form, ctx.needs_input_grad[:6])
        return *found, None, None, None, None


def _backward(
    d_y: Tensor | None,
    d_end: Tensor | None,
    q: Tensor,
    k: Tensor,
    w: Tensor,
    a: Tensor | None,
    beta: Tensor | None,
    state: Tensor | None,
    *rest: Any,
) -> list[Tensor | None]:
    """Return the gradients of q, k, v, a, beta and state, None where they are not wanted.

    The rest is lengths, the number of heads, delta, reverse, and which gradients are wanted.
    """
    *form, wanted = rest
    call, alive = _call(q, k, w, a, beta, state, *form)
    call.set_w(alive[2])
    incoming = None if d_y is None else _side_by_side(d_y)
    end = None if d_end is None else resolved(d_end).contiguous()
    call.set_d_y(incoming)
    call.set_d_end(end)
    found: list[Tensor | None] = []
    names = ("d_q", "d_k", "d_v", "d_a", "d_beta", "d_s0")
    for name, like, wish in zip(names, (q, k, w, a, beta, state), wanted, strict=True):
        gradient = like.new_empty(like.shape) if wish and like is not None else None
        found.append(gradient)
        getattr(call, f"set_{name}")(gradient)
    call.backward()
    del alive
    return found


# The operators for compiled graphs.

_INPUTS = "Tensor q, Tensor k, Tensor v, Tensor? a, Tensor? beta, Tensor? state, Tensor? lengths"
_FORM = "int heads, bool delta, bool reverse"


@torch.library.custom_op(
    "elman::matrix_scan",
    mutates_args=(),
    schema=f"({_INPUTS}, {_FORM}) -> (Tensor, Tensor, Tensor)",
)
def _operator(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Any:
    y, end, w = _forward(q, k, v, *rest, keep=True)
    return y, end, v.new_empty(0) if w is v else w  # an output must not be an input


@_operator.register_fake
def _(q: Tensor, _k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    heads, delta, _ = rest[-3:]
    end = v.new_empty(len(v), heads, q.shape[2] // heads, v.shape[2] // heads)
    return v.new_empty(v.shape), end, v.new_empty(v.shape if delta else 0)


@torch.library.custom_op(
    "elman::matrix_scan_backward",
    mutates_args=(),
    schema=f"(Tensor? d_y, Tensor? d_end, {_INPUTS}, {_FORM}, bool[] wanted) -> Tensor[]",
)
def _backward_operator(d_y: Tensor | None, d_end: Tensor | None, *saved: Any) -> Any:
    gradients = _backward(d_y, d_end, *saved)
    return [saved[0].new_empty(0) if g is None else g for g in gradients]


@_backward_operator.register_fake
def _(_d_y: Any, _d_end: Any, *saved: Any) -> list[Tensor]:
    wanted, first = saved[-1], saved[0]
    return [
        like.new_empty(like.shape) if wish and like is not None else first.new_empty(0)
        for like, wish in zip(saved[:6], wanted, strict=True)
    ]


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    q, k, v, a, beta, state, lengths, *ctx.form = inputs
    ctx.save_for_backward(q, k, output[2] if ctx.form[1] else v, a, beta, state, lengths)


def _differentiate(ctx: Any, d_y: Tensor | None, d_end: Tensor | None, _d_w: Any) -> Any:
    wanted = list(ctx.needs_input_grad[:6])
    saved = (*ctx.saved_tensors, *ctx.form, wanted)
    found = torch.ops.elman.matrix_scan_backward(d_y, d_end, *saved)
    gradients = (g if wish else None for g, wish in zip(found, wanted, strict=True))
    return *gradients, None, None, None, None


_operator.register_autograd(_differentiate, setup_context=_save)
