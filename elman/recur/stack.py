"""Layers of any cell in one or two directions, over sequences in every layout.

Layer l reads the outputs of layer l - 1; direction 1 reads the sequence from its end.  A cell
(cell.py) contributes its equations as `step`, which is the definition.  There are three ways to run
it, and `Stack.way` is where the choice is made: our kernels (by_kernel.py), torch's compiled
functions (by_torch.py), and the definition itself (plain.py).

Shape legend: T steps, B rows, D features, H hidden units, R features that a layer outputs (H, or
another number where the cell has a projection).  Inside this file time comes first, as in the
functions of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman import kernels
from elman.dropout import check_probability
from elman.errors import ArgumentError
from elman.kernels.autograd import computes_in_bfloat16, seen_by_torch
from elman.padded import as_lengths, check_batch_sizes, check_lengths
from elman.recur.by_kernel import run_kernels
from elman.recur.by_torch import run_torch
from elman.recur.cell import Cell, Leaves, Weights
from elman.recur.layers import Layers
from elman.recur.layout import Layout
from elman.recur.plain import run_plain
from elman.recur.refuse import no_qconfig, refuse_script
from elman.recur.weights import OPTIONS, count_layers, no_steps, suffix
from elman.state import State

Way = Literal["kernel", "torch", "plain"]


class Stack(nn.Module):
    """Layers and directions of a recurrence; `RNN`, `LSTM`, `GRU` and `GRUD` are stacks.

    Args:
        cell: the equations of a layer.
        input_size: D, features of x.
        hidden_size: H, or one number for each layer.
        num_layers: layers; optional if `hidden_size` lists one number for each layer.
        batch_first: x is (B, T, D) instead of (T, B, D).
        dropout: probability of dropping an output between two layers.
        bidirectional: also read the sequence from its end; the layer is then not causal.
        variational: `dropout` keeps one mask for a whole sequence (arXiv:1512.05287).
        weight_dropout: probability of dropping an entry of `weight_hh`, once per call
            (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into the matrices,
            the same at all steps (arXiv:1512.05287).
        zoneout: probability that a unit keeps its old value in a step (arXiv:1606.01305), for all
            leaves of the state or for each.
        device: device of the weights.
        dtype: data type of the weights.

    Raises:
        ArgumentError: a size or a probability is out of its range.

    Example:
        >>> import torch
        >>> from elman.recur.gru import GRUCell
        >>> from elman.recur.stack import Stack
        >>> core = Stack(GRUCell(), 3, [8, 4], batch_first=True)
        >>> y, state = core(torch.zeros(2, 10, 3))
        >>> y.shape, [h.shape for h in state]
        (torch.Size([2, 10, 4]), [torch.Size([1, 2, 8]), torch.Size([1, 2, 4])])
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        variational: bool = False,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, ...] = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size if isinstance(hidden_size, int) else tuple(hidden_size)
        self.num_layers = count_layers(input_size, self.hidden_size, num_layers)
        self.batch_first = batch_first
        self.dropout = check_probability("dropout", dropout)
        self.bidirectional = bidirectional
        self.variational = variational
        self.weight_dropout = check_probability("weight_dropout", weight_dropout)
        self.recurrent_dropout = check_probability("recurrent_dropout", recurrent_dropout)
        states = [cell.state_shapes(hidden) for hidden in self.hidden_sizes]
        equal = isinstance(self.hidden_size, int)
        self._layout = Layout(type(self).__name__, states, self.directions, equal)
        zoneout = zoneout if isinstance(zoneout, tuple) else (zoneout,) * self.leaves
        self.zoneout = tuple(check_probability("zoneout", rate) for rate in zoneout)
        self._names: list[list[dict[str, str]]] = []  # of parameters, by layer and direction
        for layer, hidden in enumerate(self.hidden_sizes):
            shapes = cell.weight_shapes(
                self.output_sizes[layer - 1] if layer else input_size, hidden
            )
            if weight_dropout and "weight_hh" not in shapes:
                raise ArgumentError(
                    f"weight_dropout needs a weight_hh, but {type(cell).__name__} has "
                    f"{', '.join(shapes)}; set weight_dropout=0"
                )
            self._names.append([])
            for direction in range(self.directions):
                names = {name: self.parameter_name(name, layer, direction) for name in shapes}
                self._names[-1].append(names)
                for name, shape in shapes.items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(names[name], parameter)
        self.reset_parameters()

    def parameter_name(self, name: str, layer: int, direction: int) -> str:
        """Return the name of a parameter, such as weight_ih_l0 or weight_ih_l1_reverse."""
        return f"{name}_{suffix(layer, direction)}"

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def causal(self) -> bool:
        """Whether outputs depend on earlier inputs only, so that a sequence can be run in parts."""
        return not self.bidirectional

    @property
    def leaves(self) -> int:
        """The number of leaves of a state."""
        return len(self._layout.shapes[0])

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """The hidden size of each layer."""
        if isinstance(self.hidden_size, tuple):
            return self.hidden_size
        return (self.hidden_size,) * self.num_layers

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """The number of features that each layer outputs, both directions together."""
        first = [next(iter(shapes.values())) for shapes in self._layout.shapes]
        return tuple(shape[0] * self.directions for shape in first)

    @property
    def output_size(self) -> int:
        """The number of features of the output y."""
        return self.output_sizes[-1]

    def reset_parameters(self) -> None:
        """Draw all weights again, layer by layer, as the cell defines it."""
        for layer, hidden in enumerate(self.hidden_sizes):
            for direction in range(self.directions):
                self.cell.reset(self.weights(layer, direction), hidden)

    @property
    def weight_names(self) -> list[str]:
        """The names of all weights, by layer and direction."""
        return [name for layer in self._names for part in layer for name in part.values()]

    def weights(self, layer: int, direction: int = 0) -> Weights:
        """Return the weights of one layer in one direction, by their names in the cell."""
        return self._gather(self._names[layer][direction])

    def _gather(self, names: dict[str, str]) -> Weights:
        stored, found = self._parameters, {}
        for short, name in names.items():
            weight = stored.get(name)
            # None for a weight that is computed from other parameters, and in a replica.
            found[short] = getattr(self, name) if weight is None else weight
        return found

    def way(self, x: Tensor, *, ragged: bool = False) -> Way:
        """Return which functions run x: our kernels, torch's, or the plain definition."""
        if seen_by_torch():  # torch's functions of several layers cannot be transformed either
            traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
            return "torch" if traced and self.uses_torch() else "plain"
        in_graph = torch.compiler.is_compiling()
        hidden = in_graph and (ragged or self._draws_masks())  # the operators support neither
        if kernels.native and x.device.type == "cpu" and self.cell.kernel() and not hidden:
            if computes_in_bfloat16(x):
                return "kernel"
            if x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
                return "kernel"
        return "torch" if self.uses_torch() else "plain"

    def _draws_masks(self) -> bool:
        """Return whether this call drops units in ways that torch's own dropout does not have."""
        locked = self.variational and self.dropout > 0
        return self.training and (locked or self.recurrent_dropout > 0 or any(self.zoneout))

    def uses_torch(self) -> bool:
        """Return whether torch has a compiled function for exactly these equations and options."""
        loose = self.training and self.recurrent_dropout > 0
        return not (any(self.zoneout) or loose) and self.cell.torch_function() is not None

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: State | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        generator: torch.Generator | None = None,  # not keyword-only: an ONNX exporter passes all
        hx: State | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run the sequence.

        Args:
            x: (T, B, input_size), with `batch_first` (B, T, input_size), one sequence
                (T, input_size), or a PackedSequence.
            state: the state that an earlier call returned, or None for zeros.
            lengths: integers (B,) in 0..T; outputs after the end of a row are 0, and the state
                returned is the state after its last element.
            generator: random generator of all dropout in this call; None for torch's default.
            hx: torch's name for `state`, which is used if `state` is None.

        Returns:
            y, with the type and layout of x and `output_size` features, and the state with leaves
            (num_layers * directions, B, ...); with a hidden size per layer each leaf is a tuple of
            (directions, B, ...).

        Raises:
            ArgumentError: a shape or a length does not fit.
            TensorError: a dtype or a device does not fit; it is also a RuntimeError, as in torch.
        """
        state = hx if state is None else state
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ArgumentError(
                    "lengths must not be given for a PackedSequence: it has its own"
                )
            return self._forward_packed(x, state, generator)
        self._check_input(x, lengths)
        single = x.dim() == 2
        x_TBD = x.unsqueeze(1) if single else x.transpose(0, 1) if self.batch_first else x
        steps = longest = x_TBD.shape[0]
        layout = self._layout
        if state is None:
            states = layout.zeros(x_TBD, x_TBD.shape[1])
        else:
            states = layout.split(state, x_TBD, single=single)
        if lengths is not None:
            lengths = as_lengths(lengths)
            shortest, longest = check_lengths(lengths, x_TBD.shape[1], steps)
            if shortest == longest > 0:  # nothing is ragged
                x_TBD, lengths = x_TBD[:longest], None
        if steps == 0:
            y = no_steps(self, x, (0, x_TBD.shape[1], self.output_size))
        elif longest and x_TBD.shape[1]:
            way = self.way(x_TBD, ragged=lengths is not None)
            y, states = self._run(
                way, x_TBD, states, lengths=lengths, batch_sizes=None, generator=generator
            )
        else:  # without elements, only the definition gives the weights gradients of zero
            y, states = run_plain(self.layers(generator), x_TBD, states, lengths)
        if single:
            y = y.squeeze(1)
        elif self.batch_first:
            y = y.transpose(0, 1)
        missing = steps - x_TBD.shape[0]
        if missing:
            y = F.pad(y, (0, 0, 0, missing) if self.batch_first else (0, 0, 0, 0, 0, missing))
        return y, layout.join(states, single=single)

    def _check_input(self, x: Tensor, lengths: object) -> None:
        """Raise an ArgumentError if x has a wrong shape, or if one sequence comes with lengths."""
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            raise ArgumentError(
                f"x must have 3 dimensions (2 for one sequence), the last of size "
                f"input_size={self.input_size}, got shape {tuple(x.shape)}"
            )
        if lengths is not None and x.dim() == 2:
            raise ArgumentError("lengths needs a batch: x is one sequence of shape (T, D)")

    def _run(
        self,
        way: Way,
        x: Tensor,
        states: list[Leaves],
        *,
        lengths: Tensor | None,
        batch_sizes: Tensor | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, list[Leaves]]:
        """Run x: (T, B, D) with optional lengths, or packed (N, D) with batch sizes."""
        layers, kernel = self.layers(generator), self.cell.kernel()
        if way == "kernel" and kernel is not None:
            return run_kernels(
                kernel, layers, x, states=states, lengths=lengths, batch_sizes=batch_sizes
            )
        function = self.cell.torch_function()
        if way == "torch" and function is not None:
            return run_torch(
                function, layers, x, states=states, lengths=lengths, batch_sizes=batch_sizes
            )
        if batch_sizes is None:
            return run_plain(layers, x, states, lengths)
        padded, lengths = pad_packed_sequence(PackedSequence(x, batch_sizes))
        y, states = run_plain(layers, padded, states, lengths.to(x.device))
        return pack_padded_sequence(y, lengths).data, states

    def layers(self, generator: torch.Generator | None) -> Layers:
        """Return the cell, weights and dropout of one call."""
        on = self.training
        return Layers(
            self.cell,
            [[self._gather(names) for names in part] for part in self._names],
            self._layout.stacked,
            on,
            self.dropout if on else 0.0,
            self.variational,
            self.weight_dropout if on else 0.0,
            self.recurrent_dropout if on else 0.0,
            self.zoneout,
            generator,
        )

    def _forward_packed(
        self, x: PackedSequence, state: State | None, generator: torch.Generator | None
    ) -> tuple[PackedSequence, State]:
        data, batch_sizes, order, inverse = x
        if data.shape[-1] != self.input_size:
            raise ArgumentError(
                f"x must have input_size={self.input_size} features, got {data.shape[-1]}"
            )
        check_batch_sizes(batch_sizes, data.shape[0])
        layout, rows = self._layout, int(batch_sizes[0])
        if state is None:
            states = layout.zeros(data, rows)
        else:
            states = layout.split(state, data.new_empty(0, rows, 0), single=False)
        if order is not None:
            states = [tuple(leaf.index_select(1, order) for leaf in part) for part in states]
        y, states = self._run(
            self.way(data, ragged=True),
            data,
            states,
            lengths=None,
            batch_sizes=batch_sizes,
            generator=generator,
        )
        if inverse is not None:
            states = [tuple(leaf.index_select(1, inverse) for leaf in part) for part in states]
        return PackedSequence(y, batch_sizes, order, inverse), layout.join(states)

    def begin(self, first: State) -> State:
        """Return a state with the given first leaf; the others are zeros or copies of it.

        Args:
            first: (num_layers * directions, B, R), or a tuple with a tensor for each layer if
                each has its own hidden size.
        """
        return self._layout.begin(first, self.cell.begin)

    def last(self, state: State) -> Tensor:
        """Return the first leaf of the last layer's state, (B, directions * R)."""
        return self._layout.last(state)

    __prepare_scriptable__ = refuse_script
    qconfig = no_qconfig

    def flatten_parameters(self) -> None:
        """Do nothing: weights stay separate tensors.  It exists for code written for torch.nn."""

    def extra_repr(self) -> str:
        """Return the sizes and the options that are on, for `repr`."""
        cell = [type(self.cell).__name__] if type(self) is Stack else []
        known = vars(self)
        shown = [
            f"{name}={known[name]}"
            for name, default in OPTIONS.items()
            if known.get(name, default) != default
        ]
        if any(self.zoneout):
            shown.append(f"zoneout={self.zoneout}")
        return ", ".join([*cell, str(self.input_size), str(self.hidden_size), *shown])
