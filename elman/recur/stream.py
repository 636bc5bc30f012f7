"""Run a recurrence live, one element at a time, in constant memory.

    y_t, state_t = core(x_t, state_{t-1})

is the contract of every causal core with T = 1.  A `Stream` runs it with the weights packed once
and the state replaced in place, so that a step costs little more than reading the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from elman import kernels
from elman.errors import ArgumentError
from elman.kernels.autograd import resolved
from elman.kernels.cells import CELLS, Constants, is_separate, sizes
from elman.recur.blocks import AnyCore
from elman.recur.record import CannotRecordError, Recorder, memory_of
from elman.recur.stack import Stack
from elman.state import State, map_state, named_leaves

FEW_ROWS = 32  # for more rows, torch's products are faster than those of a recorded step
THREADED = 1 << 18  # weights of the smallest stack that two threads run faster


class Stream:
    """A live run of a causal core, on one element of every row at a time.

    Dropout is off, as in evaluation.  Gradients do not flow; train with the core itself.

    Weights can change between two steps: the next step notices that they were updated, loaded,
    replaced or multiplied.  Only the next `restart`, or the next `run` of several steps, notices
    single numbers that are changed through `.data`.

    Args:
        core: any recurrence that is not bidirectional, such as an `elman.LSTM`.
        rows: B, the number of sequences that are run side by side.
        state: the state to start from; None for zeros.

    Raises:
        ArgumentError: the core is bidirectional, the state or x does not fit, or the core was
            moved to another dtype or device.

    Example:
        >>> import torch, elman
        >>> lstm = elman.LSTM(3, 8, num_layers=2, batch_first=True).eval()
        >>> stream, x = elman.Stream(lstm), torch.randn(1, 5, 3)
        >>> live = torch.stack([stream(x[:, t]) for t in range(5)], dim=1)
        >>> torch.allclose(live, lstm(x)[0], atol=1e-6)
        True
    """

    def __init__(self, core: AnyCore, rows: int = 1, state: State | None = None) -> None:
        if not core.causal:
            raise ArgumentError(
                "a bidirectional core cannot stream: it needs the end of a sequence"
            )
        self.core, self.rows = core, rows
        self._example = _first_weight(core).detach().new_zeros(rows, core.input_size)
        self._shape, self._dtype = self._example.shape, self._example.dtype
        _, empty = self._run_core(self._example[:, None], None)
        with torch.inference_mode(False):  # the state outlives the mode
            self._state = map_state(torch.zeros_like, empty)
        self._layers: Any = None
        self._recordable = True
        self._alive: list[Any] = []
        self._watch: Any = None
        if state is not None:
            self.state = state

    @property
    def state(self) -> State:
        """A copy of the state after the last step, as the core returns it."""
        return map_state(torch.clone, self._state)

    @state.setter
    def state(self, state: State) -> None:
        _, checked = self._run_core(self._example[:, None][:, :0], state)
        self._replace_state(checked)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output (B, output_size) for the next element x (B, input_size)."""
        if x.shape != self._shape or x.dtype != self._dtype:
            raise ArgumentError(
                f"x must be {tuple(self._shape)} of {self._dtype}, "
                f"got {tuple(x.shape)} of {x.dtype}"
            )
        if self._watch is None or self._watch.changed(False):
            return self.run(x[:, None])[:, 0]
        if self._layers is None:
            return self._step(x)
        dense = x.is_contiguous() and not x.is_neg()
        self._layers.step(x if dense else resolved(x).contiguous(), self._use_threads())
        return self._output.clone()

    def run(self, x: Tensor) -> Tensor:
        """Return the outputs (B, T, output_size) for the next T elements x (B, T, input_size)."""
        if x.dim() != 3 or x.shape[::2] != self._shape or x.dtype != self._dtype:
            wanted = (self.rows, "T", self.core.input_size)
            raise ArgumentError(
                f"x must be {wanted} of {self._dtype}, got {tuple(x.shape)} of {x.dtype}"
            )
        if self._watch is None or self._watch.changed(x.shape[1] > 1):
            self._check_kind()
            self._pack(x.shape[1])
        # Another thread can replace both meanwhile, and the layers have only addresses.
        layers, alive = self._layers, self._alive
        if layers is None and x.shape[1] == 1:
            return self._step(x[:, 0])[:, None]
        if layers is None:
            y, state = self._run_core(x, self._state)
            self._replace_state(state)
            return y
        x = resolved(x).transpose(0, 1).contiguous()
        y = x.new_empty(len(x), *self._output.shape)
        layers.run(x, y, self._use_threads())
        del alive
        return y.transpose(0, 1)

    def _step(self, x: Tensor) -> Tensor:
        """Run one step of a core that the kernels do not run."""
        if isinstance(self._watch, Recorded):
            return self._watch(x)
        y, state = self._run_step(x, self._state)
        self._replace_state(state)
        return y

    def _run_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self._run_core(x[:, None], state)
        return y[:, 0], state

    def _replace_state(self, state: State) -> None:
        for (_, mine), (_, new) in zip(named_leaves(self._state), named_leaves(state), strict=True):
            mine.copy_(new)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs; the next step packs the weights or records a step again."""
        return {**vars(self), "_layers": None, "_watch": None, "_alive": []}

    def restart(self) -> None:
        """Set the state to zero, so that the next element starts a new sequence."""
        map_state(Tensor.zero_, self._state)
        self._recordable = True
        if self._watch is not None and self._watch.changed(True):
            self._layers = self._watch = None

    def _check_kind(self) -> None:
        """Raise an ArgumentError if the core's dtype or device has changed since `__init__`."""
        weight = _first_weight(self.core)
        if weight.dtype != self._dtype or weight.device != self._example.device:
            raise ArgumentError(
                f"the core was {self._dtype} on {self._example.device} when this Stream was made "
                f"and is {weight.dtype} on {weight.device} now: make a new Stream"
            )

    def _use_threads(self) -> int:
        return min(self._threads, torch.get_num_threads()) if self._threads > 1 else 1

    @torch.no_grad()
    def _run_core(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Run the core in evaluation mode on x (B, T, D)."""
        training = self.core.training
        self.core.eval()
        try:
            y, state = self.core(x if self.core.batch_first else x.transpose(0, 1), state)
        finally:
            self.core.train(training)
        return (y if self.core.batch_first else y.transpose(0, 1)), state

    @torch.no_grad()
    def _pack(self, steps: int) -> None:
        """Pack the weights for the kernels, or record a step if a single one is to be run."""
        self._layers = self._watch = None
        self._pack_layers()
        recordable = steps == 1 and self._recordable and self.rows <= FEW_ROWS
        if self._layers is None and recordable:
            try:
                self._watch = Recorded(self._run_step, self.core, self._example, self._state)
            except CannotRecordError:
                self._recordable = False

    def _pack_layers(self) -> None:
        core, native = self.core, kernels.native
        if not isinstance(core, Stack):
            return
        names = core.weight_names
        stored = [core._parameters.get(name) for name in names]
        plain = all(  # neither computed nor a view of other numbers
            w is not None and w.is_contiguous() and not w.is_neg() for w in stored
        )
        plain = plain and self._dtype == torch.float32
        plain = plain and not any(name.startswith("gain_") for name in names)
        kernel = core.cell.kernel()
        if native is None or kernel is None or not plain or core.way(self._example) != "kernel":
            return
        stream = native.Stream()
        self._alive = []
        leaves: Any = (self._state,) if core.leaves == 1 else self._state
        stacked = isinstance(core.hidden_size, int)
        for k in range(core.num_layers):
            weights = kernel.constants(core.weights(k))
            call = native.Recurrence()
            cell, output = kernel.name, weights.hh.shape[1]
            hidden = sizes(cell, weights.hh)[1]
            one_bias = not is_separate(cell, normalised=False)
            width = core.input_size if k == 0 else core.output_sizes[k - 1]
            given = (None if w is None else w.detach().contiguous() for w in weights)
            dense = Constants(*given)  # type: ignore[arg-type]
            call.set_layer(
                CELLS[cell],
                self.rows,
                width,
                hidden,
                output,
                1,
                False,
                False,
                core.zoneout[0],
                core.zoneout[-1],
                None,
                None,
                dense.ih,
                dense.bias_ih,
                one_bias,
                None,
                dense.hh,
                dense.hr,
                dense.bias,
                dense.peephole,
                None,
                None,
                None,
            )
            ends = [leaf[k] if stacked else leaf[k][0] for leaf in leaves]
            assert isinstance(ends[0], Tensor)
            self._output = ends[0]
            stream.add(call, dense.ih, *ends, *[None] * (2 - len(ends)))
            self._alive.append((call, dense, ends))
        self._watch = native.Watch(core._parameters, names)
        self._threads = 2 if sum(p.numel() for p in core.parameters()) > THREADED else 1
        self._layers = stream


class Recorded:
    """A recorded step of a core.

    Args:
        run: runs a step of the core, given x (B, D) and the state, and returns y and the new state.
        core: the core, whose weights must not change.
        x: (B, D), an element like those that follow.
        state: the state, which each call replaces in place.

    Raises:
        CannotRecordError: the step contains an operation that has no native counterpart.
    """

    def __init__(
        self,
        run: Callable[[Tensor, State], tuple[Tensor, State]],
        core: nn.Module,
        x: Tensor,
        state: State,
    ) -> None:
        native = kernels.native
        if native is None or x.dtype != torch.float32 or x.device.type != "cpu":
            raise CannotRecordError("kernels are for float32 on a CPU")
        if not x.numel() or any(w.dtype != torch.float32 for w in core.parameters()):
            raise CannotRecordError("there are no numbers, or weights of another type")
        if any(not w.is_contiguous() or w.is_neg() for w in core.parameters()):
            raise CannotRecordError("a weight has gaps in memory")
        with torch.inference_mode(False), torch.no_grad():
            self._x = torch.zeros_like(x)
            leaves = [leaf for _, leaf in named_leaves(state)]
            old = {memory_of(leaf) for leaf in leaves}
            with Recorder([self._x, *leaves]) as recorder:
                self._y, end = run(self._x, state)
                ends = [x.clone() if memory_of(x) in old else x for _, x in named_leaves(end)]
            for leaf, new in zip(leaves, ends, strict=True):
                recorder.copy(leaf, new)
        self._recorder = recorder
        self._watches = [
            native.Watch(
                part._parameters, [k for k, w in part._parameters.items() if w is not None]
            )
            for part in core.modules()
            if part._parameters
        ]
        self._parts = [
            (part._modules, list(part._modules.values()))
            for part in core.modules()
            if part._modules
        ]

    def __call__(self, x: Tensor) -> Tensor:
        """Run one step for x (B, D), and return y."""
        self._x.copy_(x.detach())
        self._recorder.program.run()
        return self._y.clone()

    def changed(self, every: bool) -> bool:
        """Return whether a weight or a part of the core is another one than when it was recorded.

        Args:
            every: whether all numbers of the weights are compared, and not only some of them.
        """
        if any(list(now.values()) != before for now, before in self._parts):
            return True
        return any(watch.changed(every) for watch in self._watches)


def _first_weight(core: AnyCore) -> Tensor:
    """Return a weight, which has the dtype and device of the core."""
    return next(iter(core.weights(0).values())) if isinstance(core, Stack) else core.norm.weight
