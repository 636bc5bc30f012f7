"""One layer of RNN, LSTM or GRU in one direction, over a whole sequence.

    a = x W_ih^T                     one product over all steps (products.py)
    a = LN(a)                        where there is a gain_ih (layer_norm.py)
    h_t, c_t = cell(a_t, h_{t-1})    one native call with the loop over time inside

and correspondingly in the backward pass (csrc/recurrence.h).  The memory of `a` is used three
times: for the contribution of the inputs to the gates, for the gates, and for their gradient.

Without gradients, the parts of a sequence (call.py) share one buffer.  On processors with AMX the
native call computes the first product, too; without gradients it stores no gates.  In bfloat16 it
stores the gates, c and y in that type.

Shape legend: T steps, B rows, N rows of all steps, D features, G gates * units, H units, R features
of h (H, or the projection's).
"""

from __future__ import annotations

import torch
from torch import Tensor

from elman.kernels.autograd import resolved
from elman.kernels.call import Call
from elman.kernels.cells import LATE, SMALL, Leaves
from elman.kernels.layer_norm import normalise, normalise_backward
from elman.kernels.products import Steps, add_products, layer_gradients, multiply
from elman.kernels.saved import Part, Saved


class Recurrence(Call):
    """A layer in one direction, forward and backward."""

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
        y = self.new_output(keep=keep)
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
        joined = not single and self.join_inputs()
        parts = self.parts(whole=joined)
        one = len(parts) == 1
        most = self.count if keep or one else max(part.end - part.at for part in parts)
        kept = keep or not joined
        # The state between two parts is not rounded.
        end = tuple(
            leaf.new_empty(leaf.shape, dtype=leaf.dtype if one else torch.float32)
            for leaf in self.state
        )
        start, ends = self.start, self.pair(end)
        rounds = joined and self.short() and run.cell not in LATE
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
            self.give_part(part, saved, None, whole=keep or one)
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
        self.set_layer()  # a storage that was freed and filled again has other addresses
        self.start = self.pair(self.state)
        assert saved.a is not None
        if d_y is not None and not self.short():
            d_y = d_y.float()
        if d_y is not None:
            d_y = resolved(d_y)
            d_y = d_y if d_y.stride(-1) == 1 else d_y.contiguous()
        d_state = [leaf.new_empty(leaf.shape, dtype=torch.float32) for leaf in self.state]
        d_start, ends = self.pair(d_state), self.pair(d_end)
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
            dtype = self.x.dtype if self.short() else torch.float32
            d_x = saved.a.new_empty(self.count, self.x.shape[-1], dtype=dtype)
        states = y if self.mixes() else saved.c
        for part in self.parts(whole=self.run.ragged is not None, backward=True):
            self.give_part(part, saved, d_r, whole=True)
            if self.mixes():
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
