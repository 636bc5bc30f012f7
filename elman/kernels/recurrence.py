"""One layer of RNN, LSTM or GRU in one direction, over a whole sequence.

    a = x W_ih^T                     one product over all steps (products.py)
    a = LN(a)                        where there is a gain_ih (layer_norm.py)
    h_t, c_t = cell(a_t, h_{t-1})    one native call with the loop over time inside

and correspondingly in the backward pass (csrc/recurrence.h).  The memory of `a` is used three
times: for the contribution of the inputs to the gates, for the gates, and for their gradient.

The sequence is run in parts whose `a` stays in the processor's cache between the products and the
recurrence; without gradients the parts share one buffer.  On processors with AMX the native call
computes the first product, too, and takes all steps at once; without gradients it stores no gates.
In bfloat16 it keeps the gates, c and y in that type.

Shape legend: T steps, B rows, N rows of all steps, D features, G gates * units, H units, R features
of h (H, or the projection's).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from elman.kernels import native
from elman.kernels.autograd import resolved
from elman.kernels.cells import (
    CELLS,
    LATE,
    SMALL,
    Constants,
    Leaves,
    Run,
    check_matrix,
    in_float32,
    is_separate,
    sizes,
)
from elman.kernels.layer_norm import normalise, normalise_backward
from elman.kernels.pool import Lease
from elman.kernels.products import FEW, Steps, add_products, layer_gradients, multiply
from elman.kernels.saved import OF_A_STEP, Part, Saved

PART = 1 << 19  # floats of `a` that fit into the L2 caches of one or two cores
LARGER = 16  # factor on PART where packing a matrix for every part costs more than the cache saves
NARROWEST = 16  # features; the native call multiplies inputs with at least so many


def _on_tiles() -> bool:
    """Return whether products run on the tiles of AMX."""
    return native is not None and bool(native.has_tiles())


class _Call:
    """The native call of one layer, with the tensors that must stay alive for it."""

    def __init__(
        self,
        run: Run,
        x: Tensor,
        state: Leaves,
        weights: Constants,
        decay: Tensor | None = None,
        *,
        pooled: bool = True,
        keep: bool = False,
    ) -> None:
        assert native is not None
        x, state = resolved(x), tuple(map(resolved, state))
        weights = weights._replace(ih=resolved(weights.ih))
        if keep:  # the caller can give a parameter another memory before the backward pass
            x, state = x.detach(), tuple(leaf.detach() for leaf in state)
            aliases = (None if w is None else w.detach() for w in weights)
            weights = Constants(*aliases)  # type: ignore[arg-type]
        if run.bf16:
            state, weights = in_float32(state, weights, call=True, matrices=not _on_tiles())
        check_matrix(weights.hh)
        self.rows, self.width = state[0].shape[-2], weights.hh.shape[1]
        self.gates, self.hidden = sizes(run.cell, weights.hh)
        self.projects = weights.hr is not None and run.cell not in LATE
        self.separate = is_separate(run.cell, normalised=weights.gain is not None)
        # Both biases then have equal gradients.
        self.one_bias = weights.bias_ih is not None and not self.separate
        bias_ih = weights.bias_ih
        if self.one_bias:  # the native call adds them up
            weights = weights._replace(bias_ih=None)
        self.run, self.x, self.state, self.weights = run, x, state, weights
        if decay is not None and decay.stride(-1) != 1:
            decay = decay.contiguous()
        self.decay = decay
        self.d_decay: Tensor | None = None
        self.count = x.shape[0] if x.dim() == 2 else run.steps * self.rows
        self.lease = Lease(pooled=pooled)
        self.alive: list[Tensor] = []
        self.bias_ih = bias_ih
        self.native = native.Recurrence()
        self._set_layer()
        # Without `keep`, another thread can replace the memory of a weight during the forward pass.
        self.storages = [w.untyped_storage() for w in weights if w is not None and not keep]
        self.start = self._pair(state)

    def _set_layer(self) -> None:
        """Give the native call its settings and the addresses of the weights."""
        run, weights, dense = self.run, self.weights, self._dense
        keep_h, keep_c, ragged = run.keep_h, run.keep_c, run.ragged
        self.native.set_layer(
            CELLS[run.cell], self.rows, self.x.shape[-1], self.hidden, self.width,
            torch.get_num_threads(), run.reverse, run.bf16,
            0.0 if isinstance(keep_h, Tensor) else keep_h,
            0.0 if isinstance(keep_c, Tensor) else keep_c,
            None if ragged is None else ragged.native, dense(run.mask), weights.ih,
            dense(self.bias_ih), self.one_bias, dense(weights.gain_ih), dense(weights.hh),
            dense(weights.hr), dense(weights.bias), dense(weights.peephole), dense(weights.gain),
            dense(weights.gain_c), dense(weights.bias_c),
        )  # fmt: skip

    def _dense(self, tensor: Tensor | None) -> Tensor | None:
        """Return a dense tensor and keep it alive, because the native call has only addresses."""
        if tensor is None or (tensor.is_contiguous() and not tensor.is_neg()):
            return tensor
        self.alive.append(resolved(tensor).contiguous())
        return self.alive[-1]

    def _pair(self, leaves: Sequence[Tensor | None]) -> tuple[Tensor | None, Tensor | None]:
        """Return h and c as dense tensors."""
        return self._dense(leaves[0]), self._dense(leaves[1]) if len(leaves) == 2 else None

    def _give_part(self, part: Part, saved: Saved, d_r: Tensor | None, *, whole: bool) -> None:
        """Set the steps of the next native call, and their rows of the buffers (n, ...).

        Args:
            part: the part to run.
            saved: buffers of all rows, or only of this part.
            d_r: buffer of all rows, or only of this part.
            whole: whether the buffers have all rows.
        """
        run = self.run
        first = part.at if whole else 0
        if run.ragged is not None:  # packed steps have their places in (N, ...)
            first -= part.at
        self.native.set_part(part.last - part.first, part.first, first, *saved[:OF_A_STEP], d_r)
        if self.decay is not None:
            self.native.set_decay(self.decay)
        if self.d_decay is not None:
            self.native.set_d_decay(self.d_decay)
        if isinstance(run.keep_h, Tensor):
            self.native.set_keep_h(run.keep_h)
        if isinstance(run.keep_c, Tensor):
            self.native.set_keep_c(run.keep_c)

    def parts(self, *, whole: bool, backward: bool = False) -> list[Part]:
        """Return the parts in the order in which they are run; pack the weights for several."""
        steps, ragged = self.run.steps, self.run.ragged
        # Products of few rows are slow, especially for a large matrix.
        part = PART * LARGER if _on_tiles() else PART
        rows = max(part // self.gates, 4 * self.hidden)
        size = steps if whole else max(1, -(-rows // self.rows))
        self.native.unpack()
        if size >= steps:
            return [Part(0, steps, 0, self.count)]
        result = []
        for first in range(0, steps, size):
            last = min(steps, first + size)
            at, end = first * self.rows, last * self.rows
            if ragged is not None:
                at, end = ragged.rows(first, last)
            result.append(Part(first, last, at, end))
        packed = self.lease.take(1, self.native.packed_floats)
        self.alive.append(packed)
        self.native.pack(packed, backward)
        return result[::-1] if self.run.reverse != backward else result

    def inputs(self, part: Part) -> Steps:
        """Return the rows of x of a part."""
        if part.end - part.at == self.count:
            return Steps(self.x)
        if self.x.dim() == 2:
            return Steps(self.x[part.at : part.end])
        return Steps(self.x[part.first : part.last])

    def _join_inputs(self) -> bool:
        """Let the native call multiply the inputs if that is faster; return whether it does."""
        weights = self.weights
        narrow = self.x.shape[-1] < NARROWEST or self.count < FEW
        if narrow or weights.gain is not None or weights.gain_ih is not None or not _on_tiles():
            return False
        ih, rows = weights.ih if self.run.bf16 else weights.ih.float(), Steps(self.x).for_kernel()
        ih = ih.contiguous()
        self.alive.append(ih)
        self.native.set_inputs(rows, ih)
        return True

    def project(self, part: Part, a: Tensor, normal: tuple[Tensor, Tensor] | None) -> None:
        """Compute the contribution of the inputs to the gates, normalised if there is a gain_ih."""
        weights, gain, bf16 = self.weights, self.weights.gain_ih, self.run.bf16
        inner = None
        if gain is None and weights.bias_ih is not None:
            inner = weights.bias_ih.float()
        multiply(self.inputs(part), weights.ih, a, transposed=True, bias=inner, bf16=bf16)
        if gain is not None:
            normalise(a, self._together(), gain, weights.bias_ih, normal)

    def _together(self) -> int:
        """Return how many gates * units are normalised together; a GRU normalises n separately."""
        return self.gates - (self.hidden if self.run.cell.startswith("gru") else 0)

    def forward(self, *, keep: bool) -> tuple[Tensor, Leaves, Saved]:
        """Run all steps; with `keep`, all values that the backward pass needs are kept."""
        run, call, weights, take = self.run, self.native, self.weights, self.lease.take
        y = self._new_output(keep=keep)
        straight = run.ragged is None and run.mask is None and self.decay is None
        # Packing a matrix for one step costs more than the product.
        single = (
            run.steps == 1
            and not keep
            and not run.bf16
            and run.ragged is None
            and weights.hr is None
            and self.decay is None
        )
        call.multiplied = single
        joined = not single and self._join_inputs()
        parts = self.parts(whole=joined)
        one = len(parts) == 1
        most = self.count if keep or one else max(part.end - part.at for part in parts)
        kept = keep or not joined
        # The state between two parts is not rounded.
        end = tuple(
            leaf.new_empty(leaf.shape, dtype=leaf.dtype if one else torch.float32)
            for leaf in self.state
        )
        start, ends = self.start, self._pair(end)
        rounds = joined and self._short() and run.cell not in LATE
        short = torch.bfloat16 if rounds else torch.float32
        saved = Saved(
            take(most, self.gates, padded=joined, dtype=short) if kept else None,
            take(most, self.gates, padded=joined) if self.separate and kept else None,
            take(most, self.hidden, dtype=short) if keep and len(end) == 2 else None,
            take(most, self.width) if keep and not straight else None,
            take(most, self.hidden) if keep and weights.hr is not None else None,
            take(most, 2) if keep and weights.gain is not None else None,
            take(most, self.gates) if keep and weights.gain_ih is not None else None,
            take(most, 2) if keep and weights.gain_ih is not None else None,
        )
        for part in parts:
            if saved.a is not None and not joined:
                a = saved.a
                if not one:
                    a = a[part.at : part.end] if keep else a[: part.end - part.at]
                self.project(part, a, saved.of_inputs(part))
            self._give_part(part, saved, None, whole=keep or one)
            call.set_y(y)
            call.set_state(*start, *ends)
            if single:
                self._multiply_step(saved.p if saved.p is not None else saved.a)
            call.forward()
            start = ends
        return y, end, saved

    def _multiply_step(self, to: Tensor | None) -> None:
        """Compute the product with h of a single step with torch."""
        assert to is not None
        h, hh = self.state[0].reshape(self.rows, -1), self.weights.hh
        seen = h if self.run.mask is None else h * self.run.mask
        torch.addmm(to, seen, hh.t(), beta=0 if self.separate else 1, out=to)

    def _short(self) -> bool:
        """Return whether outputs, kept values and their gradients are bfloat16 in memory."""
        return self.run.bf16 and self.lease.pooled and _on_tiles()

    def _mixes(self) -> bool:
        """Return whether the gradient of a step needs the exact h before it."""
        return self.run.cell.startswith("gru")

    def _new_output(self, *, keep: bool) -> Tensor:
        """Return memory for y: bfloat16 if the kernel rounds, unless the backward pass needs h."""
        T, B, R, x = self.run.steps, self.rows, self.width, self.x
        short = self._short() and not (keep and self._mixes())
        dtype = torch.bfloat16 if short else torch.float32
        if self.run.ragged is not None:
            shape = (T, B, R) if self.run.padded else (self.count, R)
            return (x.new_zeros if self.run.padded else x.new_empty)(shape, dtype=dtype)
        step, row, _ = x.stride()
        if step < row:  # batch first in memory
            return x.new_empty(B, T, R, dtype=dtype).transpose(0, 1)
        return x.new_empty(T, B, R, dtype=dtype)

    def seen(self, saved: Saved, y: Tensor, part: Part) -> Steps:
        """Return the inputs (n, R) of the matrix W_hh at the steps of a part."""
        if saved.seen is not None:
            return Steps(saved.seen[part.at : part.end])
        reverse, (first, last, *_) = self.run.reverse, part
        if last == self.run.steps if reverse else first == 0:
            steps = y if last - first == self.run.steps else y[first:last]
            return Steps(steps, self.state[0].to(y.dtype), at_end=reverse)
        return Steps(y[first + 1 : last + 1] if reverse else y[first - 1 : last - 1])

    def backward(
        self,
        saved: Saved,
        y: Tensor,
        d_y: Tensor | None,
        d_end: tuple[Tensor | None, ...],
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor | None, list[Tensor], dict[str, Tensor]]:
        """Return the gradients of x, the state and the weights; `wanted` selects x and W_ih."""
        call, weights = self.native, self.weights
        self.alive = []
        self._set_layer()  # a storage that was freed and filled again has other addresses
        self.start = self._pair(self.state)
        assert saved.a is not None
        if d_y is not None and not self._short():
            d_y = d_y.float()
        if d_y is not None:
            d_y = resolved(d_y)
            d_y = d_y if d_y.stride(-1) == 1 else d_y.contiguous()
        d_state = [leaf.new_empty(leaf.shape, dtype=torch.float32) for leaf in self.state]
        d_start, ends = self._pair(d_state), self._pair(d_end)
        gradients: dict[str, Tensor] = {}
        for name in SMALL:
            weight = getattr(weights, name)
            if weight is not None:
                gradients[name] = weight.new_zeros(weight.shape, dtype=torch.float32)
        if weights.gain_ih is not None:
            gradients["gain_ih"] = torch.zeros_like(weights.gain_ih)
            if weights.bias_ih is not None:
                gradients["bias_ih"] = torch.zeros_like(weights.bias_ih)
        call.set_gradients(*d_start, *(gradients.get(name) for name in SMALL))
        if self.decay is not None:
            self.d_decay = torch.empty_like(self.decay, memory_format=torch.contiguous_format)
        d_r = self.lease.take(self.count, self.width) if self.projects else None
        d_x = None
        if wanted[0]:
            dtype = self.x.dtype if self._short() else torch.float32
            d_x = saved.a.new_empty(self.count, self.x.shape[-1], dtype=dtype)
        states = y if self._mixes() else saved.c
        for part in self.parts(whole=self.run.ragged is not None, backward=True):
            self._give_part(part, saved, d_r, whole=True)
            if self._mixes():
                call.set_c(y)
            call.set_y(d_y)
            call.set_state(*self._state_before(part, states), *ends)
            call.backward()
            ends = d_start
            normal = saved.of_inputs(part)
            if normal is not None and weights.gain_ih is not None:
                bias = gradients.get("bias_ih")
                d_a, gain = saved.a[part.at : part.end], gradients["gain_ih"]
                normalise_backward(d_a, self._together(), weights.gain_ih, normal, gain, bias)
            self._add_products(gradients, saved, y, part, d_r, d_x, wanted[1])
        if self.one_bias:
            gradients["bias_ih"] = gradients["bias"]
        elif weights.bias_ih is not None and weights.gain_ih is None:
            gradients["bias_ih"] = saved.a.sum(0, dtype=torch.float32)
        if d_x is not None and self.x.dim() == 3:
            d_x = d_x.view(self.run.steps, self.rows, -1)
        return d_x, d_state, gradients

    def _state_before(
        self, part: Part, states: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the state before a part: the initial state, or that after the previous step.

        Args:
            part: the part.
            states: the states after each step that the backward pass needs; None for an RNN, which
                needs none.
        """
        before = part.last if self.run.reverse else part.first - 1
        if not 0 <= before < self.run.steps or self.run.ragged is not None or states is None:
            return self.start
        if states.dim() == 2:
            states = states.view(self.run.steps, self.rows, -1)
        state = states[before].float().contiguous()
        self.alive.append(state)
        return (None, state) if len(self.state) == 2 else (state, None)

    def _add_products(
        self,
        sums: dict[str, Tensor],
        saved: Saved,
        y: Tensor,
        part: Part,
        d_r: Tensor | None,
        d_x: Tensor | None,
        of_ih: bool,
    ) -> None:
        """Add the gradients of the matrices from one part to `sums`; compute its rows of d_x."""
        assert saved.a is not None
        rows, ih, bf16 = slice(part.at, part.end), self.weights.ih, self.run.bf16
        whole = part.end - part.at == self.count
        d_a = saved.a if whole else saved.a[rows]
        d_p = d_a if saved.p is None else saved.p[rows]
        first = self.weights.hh.shape[0]
        if whole and of_ih and saved.p is saved.m is saved.normal is None:
            factors = {"hh": self.seen(saved, y, part), "ih": self.inputs(part)}
            found = layer_gradients(d_a, factors, ih, d_x, bf16=bf16)
            if found is not None:
                sums.update(found)
                return
        if saved.m is not None:
            d_second = d_p[:, first:] if d_r is None else d_r[rows]
            add_products(sums, d_second, {"hr": Steps(saved.m[rows])}, bf16=bf16)
        products = {"hh": self.seen(saved, y, part)}
        if saved.p is not None or first < self.gates:
            add_products(sums, d_p[:, :first], {"hh": products.pop("hh")}, bf16=bf16)
        if saved.normal is not None:
            d_a = saved.normal[rows]
        if of_ih:
            products["ih"] = self.inputs(part)
        add_products(sums, d_a, products, bf16=bf16)
        if d_x is not None:
            multiply(Steps(d_a), ih, d_x[rows], transposed=False, bf16=bf16)
