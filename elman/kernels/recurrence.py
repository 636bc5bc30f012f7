"""One layer of RNN, LSTM or GRU in one direction, over a whole sequence.

    a = x W_ih^T                     one product over all steps, by torch
    h_t, c_t = cell(a_t, h_{t-1})    one native call with the loop over time inside

and the same on the way back (csrc/recurrence.h).  The memory of `a` is used three times: for the
inputs' share of the gates, then for the gates, then for their gradient.

Without gradients the sequence goes through in parts whose `a` stays in the processor's cache.

Shape legend: T steps, B rows, N rows of all steps, D features, G gates * units, H units, R features
of h (H, or the projection's).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.errors import ArgumentError
from elman.kernels import native
from elman.kernels.pool import Lease

Leaves = tuple[Tensor, ...]
CELLS = {"rnn tanh": 0, "rnn relu": 1, "lstm": 2, "gru": 3}
GATES = {"rnn tanh": 1, "rnn relu": 1, "lstm": 4, "gru": 3}
PART = 1 << 19  # floats of `a` that the second cache of one or two cores holds


class Ragged(NamedTuple):
    """Rows in order of length, longest first, as in a PackedSequence."""

    start: Tensor  # (T) the first row of a step in packed data
    active: Tensor  # (T) how many rows are running
    order: Tensor | None  # (B) where the r-th longest row is in the caller's batch


class Constants(NamedTuple):
    """The weights of a layer as the kernel sees them; None where an option is off.

    Without `ih` what comes in are the inputs' shares of the gates themselves.
    """

    ih: Tensor | None
    hh: Tensor
    bias_ih: Tensor | None = None
    bias: Tensor | None = None
    hr: Tensor | None = None
    peephole: Tensor | None = None
    gain: Tensor | None = None
    gain_c: Tensor | None = None
    bias_c: Tensor | None = None


SMALL = ("bias", "peephole", "gain", "gain_c", "bias_c")  # of Constants: vectors


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


def run_layer(run: Run, x: Tensor, state: Leaves, weights: Constants) -> tuple[Tensor, Leaves]:
    """One layer in one direction.

    Args:
        run: how.
        x: (T, B, D), or packed (N, D); float32.
        state: leaves (B, R) and, for an LSTM, (B, H).
        weights: of the layer.

    Returns:
        h at every step, (T, B, R) or packed (N, R), and the last state.
    """
    tensors = (x, *state, *weights)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        y, *end = _Layer.apply(run, len(state), *tensors)  # type: ignore[no-untyped-call]
        return y, tuple(end)
    return _Call(run, x, state, weights).infer()


class _Saved(NamedTuple):
    """What the way back needs besides the weights: (N, ...), rows in the order of x's memory."""

    a: Tensor
    p: Tensor | None
    c: Tensor | None
    seen: Tensor
    m: Tensor | None
    stats: Tensor | None


class _Call:
    """The native call of one layer, and what must stay alive for it."""

    def __init__(self, run: Run, x: Tensor, state: Leaves, weights: Constants) -> None:
        assert native is not None
        self.run, self.state, self.weights = run, state, weights
        self.rows, self.width = state[0].shape[0], weights.hh.shape[1]
        self.gates, self.hidden = weights.hh.shape[0], weights.hh.shape[0] // GATES[run.cell]
        self.turned = x.dim() == 3 and x.stride(0) < x.stride(1)  # batch first in memory
        if self.turned:
            x = x.transpose(0, 1)
        self.x = x.reshape(-1, x.shape[-1])
        # A GRU's product with h is needed by itself, and one that is normalised; of an RNN the sum
        # is normalised.
        self.separate = run.cell == "gru" or (weights.gain is not None and run.cell == "lstm")
        self.lease = Lease()
        self.alive: list[Tensor] = []

        self.native = call = native.Recurrence()
        call.cell, call.T, call.B = CELLS[run.cell], run.steps, self.rows
        call.H, call.R = self.hidden, self.width
        call.threads, call.reverse = torch.get_num_threads(), run.reverse
        call.layer_norm = weights.gain is not None
        self.give("w_hh", weights.hh)
        self.give("w_hr", weights.hr)
        for name in SMALL:
            self.give(name, getattr(weights, name))
        self.give("mask", run.mask)
        for name, kept in (("h", run.keep_h), ("c", run.keep_c)):
            if isinstance(kept, Tensor):
                step, row = kept.stride(0), kept.stride(1)
                getattr(call, f"set_keep_{name}")(kept.data_ptr(), step, row, False)
            else:
                setattr(call, f"rate_{name}", kept)
        if run.ragged is not None:
            call.start, call.active = run.ragged.start.data_ptr(), run.ragged.active.data_ptr()
            if run.ragged.order is not None:
                call.order = run.ragged.order.data_ptr()
        for name, leaf in zip("hc", state, strict=False):
            self.give(f"{name}0", leaf)

    def give(self, field: str, tensor: Tensor | None) -> None:
        """Give a dense tensor's address to the call."""
        if tensor is not None:
            dense = tensor.contiguous()
            self.alive.append(dense)
            setattr(self.native, field, dense.data_ptr())

    def give_steps(self, name: str, buffer: Tensor | None) -> None:
        """The same for a buffer (N, ...) with rows like those of x."""
        if buffer is not None:
            n = buffer.shape[1]
            step, row = (n, self.run.steps * n) if self.turned else (self.rows * n, n)
            ragged = self.run.ragged is not None
            getattr(self.native, f"set_{name}")(buffer.data_ptr(), step, row, ragged)

    def give_output(self, y: Tensor, first: int = 0) -> None:
        """The output or its gradient: (T, B, R) or packed (N, R), from step `first` on."""
        if y.dim() == 2:
            self.native.set_y(y.data_ptr(), 0, y.stride(0), True)
        else:
            address = y.data_ptr() + 4 * first * y.stride(0)
            self.native.set_y(address, y.stride(0), y.stride(1), False)

    def new_output(self) -> Tensor:
        if self.run.ragged is not None:
            if not self.run.padded:
                return self.x.new_empty(len(self.x), self.width)
            return self.x.new_zeros(self.run.steps, self.rows, self.width)
        if self.turned:
            return self.x.new_empty(self.rows, self.run.steps, self.width).transpose(0, 1)
        return self.x.new_empty(self.run.steps, self.rows, self.width)

    def new_end(self) -> Leaves:
        end = tuple(
            torch.empty_like(leaf, memory_format=torch.contiguous_format) for leaf in self.state
        )
        for name, leaf in zip("hc", end, strict=False):
            setattr(self.native, f"{name}_end", leaf.data_ptr())
        return end

    def project(self, x: Tensor, a: Tensor) -> None:
        """What the inputs give to the gates."""
        ih, bias = self.weights.ih, self.weights.bias_ih
        if ih is None:
            a.copy_(x)
        elif bias is None:
            torch.mm(x, ih.t(), out=a)
        else:
            torch.addmm(bias, x, ih.t(), out=a)

    def train(self) -> tuple[Tensor, Leaves, _Saved]:
        """All steps at once, and everything kept for the way back."""
        take, count = self.lease.take, len(self.x)
        normed = self.weights.gain is not None
        # Before dropout the h of a GRU is needed, too: it goes where an LSTM has c.
        cells = len(self.state) == 2 or (self.separate and self.run.mask is not None)
        saved = _Saved(
            a=take(count, self.gates),
            p=take(count, self.gates) if self.separate else None,
            c=take(count, self.hidden) if cells else None,
            seen=take(count, self.width),
            m=take(count, self.hidden) if self.weights.hr is not None else None,
            stats=take(count, 2) if normed else None,
        )
        for name, buffer in zip(_Saved._fields, saved, strict=True):
            self.give_steps(name, buffer)
        self.project(self.x, saved.a)
        y, end = self.new_output(), self.new_end()
        self.give_output(y)
        self.native.forward()
        return y, end, saved

    def infer(self) -> tuple[Tensor, Leaves]:
        """Part after part, in one buffer."""
        run, call = self.run, self.native
        if self.turned:  # parts of steps are dense only if time comes first
            self.x = self.x.view(self.rows, run.steps, -1).transpose(0, 1)
        y, end = self.new_output(), self.new_end()
        whole = isinstance(run.keep_h, Tensor) or isinstance(run.keep_c, Tensor)
        part = run.steps if whole else max(1, PART // (self.rows * self.gates))
        self.turned = False
        bounds = list(range(0, run.steps, part))
        if len(bounds) > 1:
            packed = self.lease.take(1, call.packed_floats)
            call.pack(packed.data_ptr())
        a = self.lease.take(min(part, run.steps) * self.rows, self.gates)
        p = None
        if self.separate:
            p = self.lease.take(len(a) if run.ragged is not None else self.rows, self.gates)
        for first in reversed(bounds) if run.reverse else bounds:
            steps = min(part, run.steps - first)
            if run.ragged is None:
                x, at = self.x.view(run.steps, self.rows, -1) if self.x.dim() == 2 else self.x, 0
                x = x[first : first + steps].reshape(steps * self.rows, -1)
            else:
                at = int(run.ragged.start[first])
                last = first + steps - 1
                x = self.x[at : int(run.ragged.start[last] + run.ragged.active[last])]
                call.start = run.ragged.start[first:].data_ptr()
                call.active = run.ragged.active[first:].data_ptr()
            self.project(x, a[: len(x)])
            ragged = run.ragged is not None
            # Packed rows are counted from the first of the whole batch.
            skip = 4 * at * self.gates
            call.set_a(a.data_ptr() - skip, self.rows * self.gates, self.gates, ragged)
            if p is not None:
                call.set_p(p.data_ptr() - skip, 0, self.gates, ragged)
            self.give_output(y, first)
            call.T = steps
            call.forward()
            for name, leaf in zip("hc", end, strict=False):
                setattr(call, f"{name}0", leaf.data_ptr())
        return y, end

    def back(
        self, saved: _Saved, d_y: Tensor | None, d_end: tuple[Tensor | None, ...]
    ) -> tuple[list[Tensor], dict[str, Tensor | None], Tensor]:
        """Gradients of the state and of the weights but `ih`; and d_a, which replaces a."""
        call, weights = self.native, self.weights
        self.give_steps("a", saved.a)
        self.give_steps("p", saved.p)
        d_r = None
        if weights.hr is not None:
            d_r = self.lease.take(len(saved.a), self.width)
            self.give_steps("d_r", d_r)
        if d_y is None:
            call.set_y(0, 0, 0, False)
        else:
            d_y = d_y if d_y.stride(-1) == 1 else d_y.contiguous()
            self.alive.append(d_y)
            self.give_output(d_y)
        for name, gradient in zip("hc", d_end, strict=False):
            setattr(call, f"{name}_end", 0)
            self.give(f"{name}_end", gradient)
        d_state = [torch.empty_like(s, memory_format=torch.contiguous_format) for s in self.state]
        for name, gradient in zip("hc", d_state, strict=False):
            setattr(call, f"d_{name}0", gradient.data_ptr())
        gradients: dict[str, Tensor | None] = {}
        for name in SMALL:
            weight = getattr(weights, name)
            if weight is not None:
                gradients[name] = gradient = torch.empty_like(weight)
                setattr(call, f"d_{name}", gradient.data_ptr())
        call.backward()
        d_p = saved.a if saved.p is None else saved.p
        gradients["hh"] = torch.mm(d_p.t(), saved.seen)
        if d_r is not None and saved.m is not None:
            gradients["hr"] = torch.mm(d_r.t(), saved.m)
        return d_state, gradients, saved.a


def _keeps_graph() -> bool:
    """Whether the backward pass that is running may be repeated (`retain_graph=True`)."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if ask is None else bool(ask())


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, leaves: int, x: Tensor, *rest: Tensor) -> Any:
        call = _Call(run, x, rest[:leaves], Constants(*rest[leaves:]))
        y, end, saved = call.train()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *rest)  # so that a change of theirs is noticed
        ctx.call, ctx.saved, ctx.shape = call, saved, x.shape
        return y, *end

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, *d_end: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise ArgumentError(
                "kernels have no second derivatives (create_graph=True): run with "
                "ELMAN_KERNELS=plain in the environment, or in float64"
            )
        x = ctx.saved_tensors[0]
        call, saved = ctx.call, ctx.saved
        again = _keeps_graph()
        if again:  # leave the originals for the next time
            p = None if saved.p is None else saved.p.clone()
            saved = saved._replace(a=saved.a.clone(), p=p)
        d_state, gradients, d_a = call.back(saved, d_y, d_end)
        ih, wanted = call.weights.ih, ctx.needs_input_grad
        d_x: Tensor | None = None
        if ih is None:
            d_x = d_a.clone()  # its memory goes back to the pool
        else:
            d_x = torch.mm(d_a, ih) if wanted[2] else None
            at = 3 + len(d_state)
            gradients["ih"] = torch.mm(d_a.t(), call.x) if wanted[at] else None
            gradients["bias_ih"] = d_a.sum(0) if call.weights.bias_ih is not None else None
        if d_x is not None and x.dim() == 3:
            T, B = ctx.shape[:2]
            d_x = d_x.view(B, T, -1).transpose(0, 1) if call.turned else d_x.view(T, B, -1)
        if not again:
            call.lease.release()
            ctx.call = ctx.saved = None
        return None, None, d_x, *d_state, *(gradients.get(name) for name in Constants._fields)
