"""One layer of RNN, LSTM or GRU in one direction, over a whole sequence.

    a = x W_ih^T                     one product over all steps, by torch
    h_t, c_t = cell(a_t, h_{t-1})    one native call with the loop over time inside

and the same on the way back (csrc/recurrence.h).  The memory of `a` is used three times: for the
inputs' share of the gates, then for the gates, then for their gradient.

The sequence goes through in parts whose `a` stays in the processor's cache between the products and
the recurrence; without gradients they share one buffer.

Shape legend: T steps, B rows, N rows of all steps, D features, G gates * units, H units, R features
of h (H, or the projection's).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elman.kernels import native
from elman.kernels.autograd import keeps_graph, refuse_second_derivatives
from elman.kernels.pool import Lease

Leaves = tuple[Tensor, ...]
CELLS = {"rnn tanh": 0, "rnn relu": 1, "lstm": 2, "gru": 3, "gru reset before": 4}
GATES = {"rnn tanh": 1, "rnn relu": 1, "lstm": 4, "gru": 3, "gru reset before": 3}
LATE = {"gru reset before": 1}  # gates whose matrix, `hr`, waits for those of the others
TURNED = 1 << 17  # floats of the gradient of a matrix that is small
PART = 1 << 19  # floats of `a` that the second caches of one or two cores hold


class Ragged(NamedTuple):
    """Rows in order of length, longest first, as in a PackedSequence."""

    start: Tensor  # (T) the first row of a step in packed data
    active: Tensor  # (T) how many rows are running
    order: Tensor | None  # (B) where the r-th longest row is in the caller's batch


class Constants(NamedTuple):
    """The weights of a layer as the kernel sees them; None where an option is off.

    Without `ih` what comes in are the inputs' shares of the gates themselves.  `hr` is the second
    matrix of a step: the projection, or the rows that `hh` lacks, which multiply r * h.
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
        bf16: whether products may round what they multiply to bfloat16.
    """

    cell: str
    reverse: bool
    steps: int
    ragged: Ragged | None = None
    padded: bool = True
    mask: Tensor | None = None
    keep_h: Tensor | float = 0.0
    keep_c: Tensor | float = 0.0
    bf16: bool = False


def run_layer(run: Run, x: Tensor, state: Leaves, weights: Constants) -> tuple[Tensor, Leaves]:
    """One layer in one direction.

    Args:
        run: how.
        x: (T, B, D), or packed (N, D); float32 or bfloat16.
        state: leaves (B, R) and, for an LSTM, (B, H); float32.
        weights: of the layer; float32, `ih` as x.

    Returns:
        h at every step, (T, B, R) or packed (N, R), and the last state.
    """
    tensors = (x, *state, *weights)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        y, *end = _Layer.apply(run, len(state), *tensors)  # type: ignore[no-untyped-call]
        return y, tuple(end)
    y, state, _ = _Call(run, x, state, weights).forward(keep=False)
    return y, state


def sizes(cell: str, hh: Tensor) -> tuple[int, int]:
    """Gates * units, and units, of a layer with this `hh`."""
    hidden = hh.shape[0] // (GATES[cell] - LATE.get(cell, 0))
    return GATES[cell] * hidden, hidden


def is_separate(cell: str, *, normalised: bool) -> bool:
    """Whether products with h are kept apart from what the inputs give.

    A GRU that resets after the product needs its own; of an RNN the sum is normalised.
    """
    return cell == "gru" or (normalised and not cell.startswith("rnn"))


class _Saved(NamedTuple):
    """What the way back needs besides the inputs and outputs: (N, ...), time first."""

    a: Tensor
    p: Tensor | None
    c: Tensor | None
    seen: Tensor | None  # None: what the matrix saw is the output of the step before
    m: Tensor | None
    stats: Tensor | None


class _Part(NamedTuple):
    """Steps `first` to `last` - 1, which are the rows at..end of (N, ...)."""

    first: int
    last: int
    at: int
    end: int


class _Call:
    """The native call of one layer, and what must stay alive for it."""

    def __init__(
        self, run: Run, x: Tensor, state: Leaves, weights: Constants, *, pooled: bool = True
    ) -> None:
        assert native is not None
        self.run, self.x, self.state, self.weights = run, x, state, weights
        self.rows, self.width = state[0].shape[0], weights.hh.shape[1]
        self.gates, self.hidden = sizes(run.cell, weights.hh)
        self.projects = weights.hr is not None and run.cell not in LATE
        self.count = len(x) if x.dim() == 2 else run.steps * self.rows
        self.separate = is_separate(run.cell, normalised=weights.gain is not None)
        self.lease = Lease(pooled=pooled)
        self.alive: list[Tensor] = []

        self.native = call = native.Recurrence()
        call.cell, call.T, call.B = CELLS[run.cell], run.steps, self.rows
        call.H, call.R = self.hidden, self.width
        call.threads, call.reverse = torch.get_num_threads(), run.reverse
        call.bf16 = run.bf16
        self.give("w_hh", weights.hh)
        self.give("w_hr", weights.hr)
        for name in SMALL:
            self.give(name, getattr(weights, name))
        self.give("mask", run.mask)
        for name, kept in (("h", run.keep_h), ("c", run.keep_c)):
            if not isinstance(kept, Tensor):
                setattr(call, f"rate_{name}", kept)
        if run.ragged is not None and run.ragged.order is not None:
            call.order = run.ragged.order.data_ptr()
        for name, leaf in zip("hc", state, strict=False):
            self.give(f"{name}0", leaf)

    def give(self, field: str, tensor: Tensor | None) -> None:
        """Give a dense tensor's address to the call."""
        if tensor is not None:
            dense = tensor.contiguous()
            self.alive.append(dense)
            setattr(self.native, field, dense.data_ptr())

    def give_rows(self, name: str, buffer: Tensor | None, part: _Part, first: int = 0) -> None:
        """A buffer of rows (n, ...), time first, whose first is row `first` of (N, ...)."""
        if buffer is None:
            return
        n, ragged = buffer.shape[1], self.run.ragged is not None
        skip = first if ragged else first - part.at  # packed steps know their place in (N, ...)
        address = buffer.data_ptr() - 4 * n * skip
        getattr(self.native, f"set_{name}")(address, self.rows * n, n, ragged)

    def give_steps(self, name: str, tensor: Tensor | None, part: _Part) -> None:
        """A tensor (T, B, ...) of any strides but the last, or packed (N, ...)."""
        if tensor is None:
            return
        give = getattr(self.native, f"set_{name}")
        if tensor.dim() == 2:
            give(tensor.data_ptr(), 0, tensor.stride(0), True)
        else:
            step, row = tensor.stride(0), tensor.stride(1)
            give(tensor.data_ptr() + 4 * part.first * step, step, row, False)

    def give_part(self, part: _Part) -> None:
        """The steps of the next native call."""
        self.native.T = part.last - part.first
        if self.run.ragged is not None:
            self.native.start = self.run.ragged.start.data_ptr() + 8 * part.first
            self.native.active = self.run.ragged.active.data_ptr() + 8 * part.first
        for name, kept in (("keep_h", self.run.keep_h), ("keep_c", self.run.keep_c)):
            if isinstance(kept, Tensor):
                self.give_steps(name, kept, part)

    def parts(self, *, whole: bool, backward: bool = False) -> list[_Part]:
        """The sequence in the order in which it is run, and the weights packed if in parts."""
        steps, ragged = self.run.steps, self.run.ragged
        # Products of few rows are slow; the more so, the larger the matrix.
        rows = max(PART // self.gates, 4 * self.hidden)
        size = steps if whole else max(1, -(-rows // self.rows))
        result = []
        for first in range(0, steps, size):
            last = min(steps, first + size)
            at, end = first * self.rows, last * self.rows
            if ragged is not None:
                at, end = (
                    int(ragged.start[first]),
                    int(ragged.start[last - 1] + ragged.active[last - 1]),
                )
            result.append(_Part(first, last, at, end))
        self.native.packed = 0
        if len(result) > 1:
            packed = self.lease.take(1, self.native.packed_floats)
            self.alive.append(packed)
            self.native.pack(packed.data_ptr(), backward)
        return result[::-1] if self.run.reverse != backward else result

    def inputs(self, part: _Part) -> Tensor:
        """The rows of x."""
        if self.x.dim() == 2:
            return self.x[part.at : part.end]
        return self.x[part.first : part.last].reshape(part.end - part.at, -1)

    def project(self, part: _Part, a: Tensor) -> None:
        """What the inputs give to the gates."""
        ih, bias = self.weights.ih, self.weights.bias_ih
        if ih is None:
            a.copy_(self.inputs(part))
        elif self.run.bf16:
            a.copy_(torch.mm(self._round(self.inputs(part)), self._round(ih).t()))
            if bias is not None:
                a += bias
        elif bias is None:
            torch.mm(self.inputs(part), ih.t(), out=a)
        else:
            torch.addmm(bias, self.inputs(part), ih.t(), out=a)

    def forward(self, *, keep: bool) -> tuple[Tensor, Leaves, _Saved]:
        """All steps; with `keep`, all that the way back needs is kept."""
        run, take = self.run, self.lease.take
        y, end = self._new_output(), tuple(torch.empty_like(s).contiguous() for s in self.state)
        parts = self.parts(whole=False)
        most = self.count if keep else max(part.end - part.at for part in parts)
        straight = run.ragged is None and run.mask is None
        # Packing a matrix for one step costs more than the product.
        single = (
            not keep
            and not run.bf16
            and run.steps == 1
            and run.ragged is None
            and self.weights.hr is None
        )
        self.native.multiplied = single
        saved = _Saved(
            a=take(most, self.gates),
            p=take(most, self.gates) if self.separate else None,
            c=take(most, self.hidden) if keep and len(self.state) == 2 else None,
            seen=take(most, self.width) if keep and not straight else None,
            m=take(most, self.hidden) if keep and self.weights.hr is not None else None,
            stats=take(most, 2) if keep and self.weights.gain is not None else None,
        )
        for name, leaf in zip("hc", end, strict=False):
            setattr(self.native, f"{name}_end", leaf.data_ptr())
        for part in parts:
            self.give_part(part)
            self.project(
                part, saved.a[part.at : part.end] if keep else saved.a[: part.end - part.at]
            )
            for name, buffer in zip(_Saved._fields, saved, strict=True):
                self.give_rows(name, buffer, part, 0 if keep else part.at)
            self.give_steps("y", y, part)
            if single:
                self._multiply_step(saved.a if saved.p is None else saved.p)
            self.native.forward()
            for name, leaf in zip("hc", end, strict=False):
                setattr(self.native, f"{name}0", leaf.data_ptr())
        return y, end, saved

    def _multiply_step(self, to: Tensor) -> None:
        """The product with h of a single step, by torch."""
        h, hh = self.state[0], self.weights.hh
        seen = h if self.run.mask is None else h * self.run.mask
        torch.addmm(to, seen, hh.t(), beta=0 if self.separate else 1, out=to)

    def _new_output(self) -> Tensor:
        T, B, R, x = self.run.steps, self.rows, self.width, self.state[0]
        if self.run.ragged is not None:
            return x.new_zeros(T, B, R) if self.run.padded else x.new_empty(self.count, R)
        if self.x.stride(0) < self.x.stride(1):  # batch first in memory
            return x.new_empty(B, T, R).transpose(0, 1)
        return x.new_empty(T, B, R)

    def seen(self, saved: _Saved, y: Tensor, part: _Part) -> Tensor:
        """What the matrix W_hh saw at the steps of a part, (n, R)."""
        if saved.seen is not None:
            return saved.seen[part.at : part.end]
        if self.run.reverse:
            front, back = y[part.first + 1 : part.last + 1], self.state[0][None]
            whole = front if part.last < self.run.steps else torch.cat([front, back])
        else:
            front, back = self.state[0][None], y[max(0, part.first - 1) : part.last - 1]
            whole = back if part.first else torch.cat([front, back])
        return whole.reshape(part.end - part.at, -1)

    def backward(
        self,
        saved: _Saved,
        y: Tensor,
        d_y: Tensor | None,
        d_end: tuple[Tensor | None, ...],
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor | None, list[Tensor], dict[str, Tensor]]:
        """Gradients of x, of the state and of the weights; `wanted`: of x and of W_ih."""
        call, weights = self.native, self.weights
        if d_y is not None and d_y.stride(-1) != 1:
            d_y = d_y.contiguous()
        for name, gradient in zip("hc", d_end, strict=False):
            setattr(call, f"{name}_end", 0)
            self.give(f"{name}_end", gradient)
        d_state = [torch.empty_like(leaf).contiguous() for leaf in self.state]
        for name, gradient in zip("hc", d_state, strict=False):
            setattr(call, f"d_{name}0", gradient.data_ptr())
        gradients = {}
        for name in SMALL:
            weight = getattr(weights, name)
            if weight is not None:
                gradients[name] = torch.zeros_like(weight).contiguous()
                setattr(call, f"d_{name}", gradients[name].data_ptr())
        d_r = self.lease.take(self.count, self.width) if self.projects else None
        d_x = None
        if wanted[0]:
            d_x = saved.a.new_empty(self.count, self.x.shape[-1])
        states = saved.c if len(self.state) == 2 else y
        for part in self.parts(whole=self.run.ragged is not None, backward=True):
            self.give_part(part)
            for name, buffer in zip(_Saved._fields, saved, strict=True):
                if name != "seen":
                    self.give_rows(name, buffer, part)
            self.give_rows("d_r", d_r, part)
            if len(self.state) == 1:
                self.give_steps("c", y, part)
            call.set_y(0, 0, 0, False)
            self.give_steps("y", d_y, part)
            self._give_state_before(part, states)
            call.backward()
            for name, gradient in zip("hc", d_state, strict=False):
                setattr(call, f"{name}_end", gradient.data_ptr())
            self._add_products(gradients, saved, y, part, d_r, d_x, wanted[1])
        if weights.bias_ih is not None:
            gradients["bias_ih"] = saved.a.sum(0)
        if d_x is not None and self.x.dim() == 3:
            d_x = d_x.view(self.run.steps, self.rows, -1)
        return d_x, d_state, gradients

    def _give_state_before(self, part: _Part, states: Tensor | None) -> None:
        """The state in front of a part: the initial one, or that after the step before."""
        name = "c0" if len(self.state) == 2 else "h0"
        before = part.last if self.run.reverse else part.first - 1
        if not 0 <= before < self.run.steps or self.run.ragged is not None:
            self.give(name, self.state[-1])
        elif states is not None and states.dim() == 3:
            self.give(name, states[before])
        elif states is not None:
            self.give(name, states[before * self.rows : (before + 1) * self.rows])

    def _add_products(
        self,
        sums: dict[str, Tensor],
        saved: _Saved,
        y: Tensor,
        part: _Part,
        d_r: Tensor | None,
        d_x: Tensor | None,
        of_ih: bool,
    ) -> None:
        """The gradients of the matrices from one part, added to `sums`, and its rows of d_x."""
        rows, ih = slice(part.at, part.end), self.weights.ih
        d_a = self._round(saved.a[rows])
        d_p = d_a if saved.p is None else self._round(saved.p[rows])
        first = self.weights.hh.shape[0]
        self._add_product(sums, "hh", d_p[:, :first], self.seen(saved, y, part))
        if saved.m is not None:
            d_second = d_p[:, first:] if d_r is None else self._round(d_r[rows])
            self._add_product(sums, "hr", d_second, saved.m[rows])
        if of_ih:
            self._add_product(sums, "ih", d_a, self.inputs(part))
        if d_x is None:
            return
        if ih is None:
            d_x[rows] = saved.a[rows]
        elif self.run.bf16:
            d_x[rows] = torch.mm(d_a, self._round(ih))
        else:
            torch.mm(d_a, ih, out=d_x[rows])

    def _add_product(self, sums: dict[str, Tensor], name: str, a: Tensor, b: Tensor) -> None:
        """sums[name] += a^T b."""
        b = self._round(b)
        # A small result is computed faster as a wide one; a large one would have to be turned back.
        turned = a.shape[1] * b.shape[1] <= TURNED
        if name not in sums:
            sums[name] = (torch.mm(b.t(), a).t() if turned else torch.mm(a.t(), b)).float()
        elif self.run.bf16:
            sums[name] += torch.mm(a.t(), b)
        elif not turned:
            torch.addmm(sums[name], a.t(), b, out=sums[name])
        else:
            torch.addmm(sums[name].t(), b.t(), a, out=sums[name].t())

    def _round(self, x: Tensor) -> Tensor:
        """What a product multiplies."""
        return x.bfloat16() if self.run.bf16 else x


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, leaves: int, x: Tensor, *rest: Tensor) -> Any:
        call = _Call(run, x, rest[:leaves], Constants(*rest[leaves:]))
        y, end, saved = call.forward(keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y, x, *rest)  # the last so that a change of theirs is noticed
        ctx.call, ctx.saved = call, saved
        return y, *end

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, *d_end: Tensor | None) -> Any:
        refuse_second_derivatives()
        y = ctx.saved_tensors[0]
        call, saved = ctx.call, ctx.saved
        again = keeps_graph()
        if again:  # leave the originals for the next time
            p = None if saved.p is None else saved.p.clone()
            saved = saved._replace(a=saved.a.clone(), p=p)
        at_ih = 3 + len(call.state)
        has_ih = call.weights.ih is not None
        wanted = (ctx.needs_input_grad[2], has_ih and ctx.needs_input_grad[at_ih])
        d_x, d_state, gradients = call.backward(saved, y, d_y, d_end, wanted)
        if not again:
            call.lease.release()
            ctx.call = ctx.saved = None
        return None, None, d_x, *d_state, *(gradients.get(name) for name in Constants._fields)
