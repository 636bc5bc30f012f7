"""The native call of one layer: its settings, the addresses of its tensors, and its parts.

The sequence is run in parts whose `a` stays in the processor's cache between the products and the
recurrence.  On processors with AMX the native call takes all steps at once.

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
    Constants,
    Leaves,
    Run,
    check_matrix,
    in_float32,
    is_separate,
    sizes,
)
from elman.kernels.pool import Lease
from elman.kernels.products import FEW, Steps
from elman.kernels.saved import OF_A_STEP, Part, Saved

PART = 1 << 19  # floats of `a` that fit into the L2 caches of one or two cores
LARGER = 16  # factor on PART where packing a matrix for every part costs more than the cache saves
NARROWEST = 16  # features; the native call multiplies inputs with at least so many


def on_tiles() -> bool:
    """Return whether products run on the tiles of AMX."""
    return native is not None and bool(native.has_tiles())


class Call:
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
            state, weights = in_float32(state, weights, call=True, matrices=not on_tiles())
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
        self.set_layer()
        # Without `keep`, another thread can replace the memory of a weight during the forward pass.
        self.storages = [w.untyped_storage() for w in weights if w is not None and not keep]
        self.start = self.pair(state)

    def set_layer(self) -> None:
        """Give the native call its settings and the addresses of the weights."""
        run, weights, dense = self.run, self.weights, self._dense
        keep_h, keep_c, ragged = run.keep_h, run.keep_c, run.ragged
        self.native.set_layer(
            CELLS[run.cell],
            self.rows,
            self.x.shape[-1],
            self.hidden,
            self.width,
            torch.get_num_threads(),
            run.reverse,
            run.bf16,
            0.0 if isinstance(keep_h, Tensor) else keep_h,
            0.0 if isinstance(keep_c, Tensor) else keep_c,
            None if ragged is None else ragged.native,
            dense(run.mask),
            weights.ih,
            dense(self.bias_ih),
            self.one_bias,
            dense(weights.gain_ih),
            dense(weights.hh),
            dense(weights.hr),
            dense(weights.bias),
            dense(weights.peephole),
            dense(weights.gain),
            dense(weights.gain_c),
            dense(weights.bias_c),
        )

    def _dense(self, tensor: Tensor | None) -> Tensor | None:
        """Return a dense tensor and keep it alive, because the native call has only addresses."""
        if tensor is None or (tensor.is_contiguous() and not tensor.is_neg()):
            return tensor
        self.alive.append(resolved(tensor).contiguous())
        return self.alive[-1]

    def pair(self, leaves: Sequence[Tensor | None]) -> tuple[Tensor | None, Tensor | None]:
        """Return h and c as dense tensors."""
        return self._dense(leaves[0]), self._dense(leaves[1]) if len(leaves) == 2 else None

    def give_part(self, part: Part, saved: Saved, d_r: Tensor | None, *, whole: bool) -> None:
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
        part = PART * LARGER if on_tiles() else PART
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

    def join_inputs(self) -> bool:
        """Let the native call multiply the inputs if that is faster; return whether it does."""
        weights = self.weights
        narrow = self.x.shape[-1] < NARROWEST or self.count < FEW
        if narrow or weights.gain is not None or weights.gain_ih is not None or not on_tiles():
            return False
        ih, rows = weights.ih if self.run.bf16 else weights.ih.float(), Steps(self.x).for_kernel()
        ih = ih.contiguous()
        self.alive.append(ih)
        self.native.set_inputs(rows, ih)
        return True

    def short(self) -> bool:
        """Return whether outputs, kept values and their gradients are bfloat16 in memory."""
        return self.run.bf16 and self.lease.pooled and on_tiles()

    def mixes(self) -> bool:
        """Return whether the gradient of a step needs the exact h before it."""
        return self.run.cell.startswith("gru")

    def new_output(self, *, keep: bool) -> Tensor:
        """Return memory for y: bfloat16 if the kernel rounds, unless the backward pass needs h."""
        T, B, R, x = self.run.steps, self.rows, self.width, self.x
        short = self.short() and not (keep and self.mixes())
        dtype = torch.bfloat16 if short else torch.float32
        if self.run.ragged is not None:
            shape = (T, B, R) if self.run.padded else (self.count, R)
            return (x.new_zeros if self.run.padded else x.new_empty)(shape, dtype=dtype)
        step, row, _ = x.stride()
        if step < row:  # batch first in memory
            return x.new_empty(B, T, R, dtype=dtype).transpose(0, 1)
        return x.new_empty(T, B, R, dtype=dtype)
