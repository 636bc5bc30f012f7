"""One layer of RNN, LSTM or GRU in one direction, over a whole sequence, in one native call.

The inputs' share of the gates, a_t = W_x x_t, is a product over all steps at once and comes from
torch; what is left is the recurrence, and its gradient (csrc/recurrence.h).  The memory of `a` is
reused: it holds the gates after the forward pass and their gradient after the backward pass.

Shape legend: T steps, B rows, N rows of all steps, G gates * units, H units, R features of h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.errors import ArgumentError
from elman.kernels import native

Leaves = tuple[Tensor, ...]

CELLS = {"rnn tanh": 0, "rnn relu": 1, "lstm": 2, "gru": 3}
SEPARATE = (3,)  # cells that need the product with h by itself


class Ragged(NamedTuple):
    """Rows in order of length, longest first, as in a PackedSequence."""

    start: Tensor  # (T) the first row of a step in packed data
    active: Tensor  # (T) how many rows are running
    order: Tensor | None  # (B) where the r-th longest row is in the caller's batch


class Constants(NamedTuple):
    """The weights of a layer as the recurrence sees them; None where an option is off."""

    hh: Tensor
    bias: Tensor | None = None
    hr: Tensor | None = None
    peephole: Tensor | None = None
    gain: Tensor | None = None
    gain_c: Tensor | None = None
    bias_c: Tensor | None = None


@dataclass(frozen=True)
class Run:
    """How one layer is run.

    Args:
        cell: a key of CELLS.
        reverse: from the last step to the first.
        steps: T.
        ragged: for packed data; None when all rows have T steps.
        padded: whether packed data give a padded (T, B, R) output.
        mask: (B, R), recurrent dropout.
        keep_h: share of the old h that zoneout keeps: (T, B, R), or one number.
        keep_c: the same for c.
    """

    cell: str
    reverse: bool
    steps: int
    ragged: Ragged | None = None
    padded: bool = True
    mask: Tensor | None = None
    keep_h: Tensor | float = 0.0
    keep_c: Tensor | float = 0.0


def run_layer(run: Run, a: Tensor, state: Leaves, weights: Constants) -> tuple[Tensor, Leaves]:
    """One layer in one direction.

    Args:
        run: how.
        a: (T, B, G), dense in time or in rows first, or packed (N, G); float32; overwritten.
        state: leaves (B, R) and, for an LSTM, (B, H).
        weights: of the layer.

    Returns:
        h at every step, (T, B, R) or packed (N, R), and the last state.
    """
    tensors = (a, *state, *weights)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        y, *end = _Layer.apply(run, len(state), *tensors)  # type: ignore[no-untyped-call]
        return y, tuple(end)
    y, end, _, _ = _forward(run, a, state, weights, keep=False)
    return y, end


class _Saved(NamedTuple):
    """What the way back needs besides the weights: all in the layout of `a`."""

    a: Tensor
    p: Tensor | None
    c: Tensor | None
    seen: Tensor | None
    m: Tensor | None
    stats: Tensor | None


def _forward(
    run: Run, a: Tensor, state: Leaves, weights: Constants, *, keep: bool
) -> tuple[Tensor, Leaves, _Saved, Any]:
    assert native is not None
    call = native.Recurrence()
    width, hidden = weights.hh.shape[1], a.shape[-1] // _gates(run)
    rows = state[0].shape[0]
    call.cell, call.T, call.B, call.H, call.R = CELLS[run.cell], run.steps, rows, hidden, width
    call.threads = torch.get_num_threads()
    call.reverse = run.reverse
    call.layer_norm = weights.gain is not None

    flat = _flat(a)
    count = flat.shape[0]
    ragged = run.ragged is not None
    by_rows = a.dim() == 3 and a.stride(0) < a.stride(1)  # batch first in memory

    def steps(name: str, buffer: Tensor | None) -> None:
        if buffer is not None:
            n = buffer.shape[1]
            step, row = (n, run.steps * n) if by_rows else (rows * n, n)
            getattr(call, f"set_{name}")(buffer.data_ptr(), step, row, ragged)

    def new(features: int) -> Tensor:
        return flat.new_empty(count, features)

    # A GRU's product with h; those that are normalised, an RNN's excepted: there the sum is.
    separate = run.cell == "gru" or (weights.gain is not None and run.cell == "lstm")
    dropped = run.cell == "gru" and run.mask is not None
    saved = _Saved(
        flat,
        p=new(flat.shape[1]) if separate and (keep or ragged) else None,
        c=new(hidden) if keep and (len(state) == 2 or dropped) else None,
        seen=new(width) if keep else None,
        m=new(hidden) if keep and weights.hr is not None else None,
        stats=new(2) if keep and weights.gain is not None else None,
    )
    for name, buffer in zip(_Saved._fields, saved, strict=True):
        steps(name, buffer)
    scratch = None
    if separate and saved.p is None:  # one step's is enough
        scratch = flat.new_empty(rows, flat.shape[1])
        call.set_p(scratch.data_ptr(), 0, flat.shape[1], False)

    if ragged and not run.padded:
        y = flat.new_empty(count, width)
        call.set_y(y.data_ptr(), 0, width, True)
    else:
        shape = (rows, run.steps, width) if by_rows else (run.steps, rows, width)
        y = flat.new_zeros(shape) if ragged else flat.new_empty(shape)
        y = y.transpose(0, 1) if by_rows else y
        call.set_y(y.data_ptr(), y.stride(0), y.stride(1), False)
    end = tuple(torch.empty_like(leaf, memory_format=torch.contiguous_format) for leaf in state)

    alive = [_set(call, "w_hh", weights.hh), _set(call, "w_hr", weights.hr), scratch]
    for name in ("bias", "peephole", "gain", "gain_c", "bias_c"):
        alive.append(_set(call, name, getattr(weights, name)))
    alive.append(_set(call, "mask", run.mask))
    for name, kept in (("h", run.keep_h), ("c", run.keep_c)):
        if isinstance(kept, Tensor):
            getattr(call, f"set_keep_{name}")(
                kept.data_ptr(), kept.stride(0), kept.stride(1), False
            )
        else:
            setattr(call, f"rate_{name}", kept)
    if run.ragged is not None:
        call.start, call.active = run.ragged.start.data_ptr(), run.ragged.active.data_ptr()
        if run.ragged.order is not None:
            call.order = run.ragged.order.data_ptr()
    for name, leaf in zip("hc", state, strict=False):
        alive.append(_set(call, f"{name}0", leaf))
    for name, leaf in zip("hc", end, strict=False):
        setattr(call, f"{name}_end", leaf.data_ptr())
    call.forward()
    return y, end, saved, (call, alive)


def _gates(run: Run) -> int:
    return {"lstm": 4, "gru": 3}.get(run.cell, 1)


def _flat(a: Tensor) -> Tensor:
    """The rows (N, G) of `a` in the order of memory, without a copy."""
    if a.dim() == 3 and a.stride(0) < a.stride(1):
        a = a.transpose(0, 1)
    return a.view(-1, a.shape[-1])


def _set(call: Any, field: str, tensor: Tensor | None) -> Tensor | None:
    """Give a dense tensor's address to the call; returns what must stay alive."""
    if tensor is None:
        return None
    dense = tensor.contiguous()
    setattr(call, field, dense.data_ptr())
    return dense


def _keeps_graph() -> bool:
    """Whether the backward pass that is running may be repeated (`retain_graph=True`)."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if ask is None else bool(ask())


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, leaves: int, a: Tensor, *rest: Tensor) -> Any:
        state, weights = rest[:leaves], Constants(*rest[leaves:])
        y, end, saved, call = _forward(run, a, state, weights, keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*saved, *rest)
        ctx.run, ctx.leaves, ctx.call, ctx.shape = run, leaves, call, (a.shape, a.stride())
        return y, *end

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, *d_end: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise ArgumentError(
                "kernels have no second derivatives (create_graph=True): run with "
                "ELMAN_KERNELS=plain in the environment, or in float64"
            )
        tensors = ctx.saved_tensors
        n = len(_Saved._fields)
        saved, rest = _Saved(*tensors[:n]), tensors[n:]
        state, weights = rest[: ctx.leaves], Constants(*rest[ctx.leaves :])
        call, _ = ctx.call
        run = ctx.run
        if _keeps_graph():  # leave the originals for the next time
            saved = saved._replace(
                a=saved.a.clone(), p=None if saved.p is None else saved.p.clone()
            )
        shape, stride = ctx.shape
        by_rows = len(shape) == 3 and stride[0] < stride[1]
        rows, G, ragged = state[0].shape[0], saved.a.shape[1], run.ragged is not None

        def steps(name: str, buffer: Tensor | None) -> None:
            if buffer is not None:
                n = buffer.shape[1]
                step, row = (n, run.steps * n) if by_rows else (rows * n, n)
                getattr(call, f"set_{name}")(buffer.data_ptr(), step, row, ragged)

        steps("a", saved.a)
        steps("p", saved.p)
        d_r = None if weights.hr is None else saved.a.new_empty(len(saved.a), weights.hh.shape[1])
        steps("d_r", d_r)
        if d_y is None:
            call.set_y(0, 0, 0, False)
        else:
            d_y = d_y if d_y.stride(-1) == 1 else d_y.contiguous()
            if d_y.dim() == 2:
                call.set_y(d_y.data_ptr(), 0, d_y.stride(0), True)
            else:
                call.set_y(d_y.data_ptr(), d_y.stride(0), d_y.stride(1), False)
        alive = []
        for name, gradient in zip("hc", d_end, strict=False):
            setattr(call, f"{name}_end", 0)
            alive.append(_set(call, f"{name}_end", gradient))
        d_state = [torch.empty_like(leaf, memory_format=torch.contiguous_format) for leaf in state]
        for name, gradient in zip("hc", d_state, strict=False):
            setattr(call, f"d_{name}0", gradient.data_ptr())
        grads: dict[str, Tensor | None] = {}
        for name in ("bias", "peephole", "gain", "gain_c", "bias_c"):
            weight = getattr(weights, name)
            grads[name] = None if weight is None else torch.empty_like(weight)
            if weight is not None:
                setattr(call, f"d_{name}", grads[name].data_ptr())  # type: ignore[union-attr]
        call.backward()
        d_p = saved.a if saved.p is None else saved.p
        assert saved.seen is not None
        grads["hh"] = torch.mm(d_p.t(), saved.seen)
        grads["hr"] = None if d_r is None or saved.m is None else torch.mm(d_r.t(), saved.m)
        d_a = saved.a
        if len(shape) == 3:
            d_a = d_a.view(rows, run.steps, G).transpose(0, 1) if by_rows else d_a.view(shape)
        return None, None, d_a, *d_state, *(grads[name] for name in Constants._fields)
