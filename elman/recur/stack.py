"""Layers of a recurrence in one or two directions: the common part of RNN, LSTM and GRU.

Layer l reads the outputs of layer l - 1; direction 1 reads the sequence from its end.  A cell
(rnn.py, lstm.py, gru.py) contributes its equations as `step`, which is the definition.  There are
three ways to run it, and `Stack.way` is where the choice is made: our kernels (by_kernel.py),
torch's compiled functions (by_torch.py), and the definition itself (plain.py).

Shape legend: T steps, B rows, D features, G gates * hidden, H hidden, R features that a layer
outputs (H, or proj_size).  Inside this file time comes first, as in the functions of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman import kernels
from elman.dropout import check_probability, dropout, keep_mask, locked_dropout
from elman.errors import ArgumentError
from elman.kernels.autograd import computes_in_bfloat16, seen_by_torch
from elman.kernels.cells import Constants
from elman.padded import as_lengths, check_batch_sizes, check_lengths
from elman.recur.by_kernel import run_kernels
from elman.recur.by_torch import run_torch
from elman.recur.plain import run_plain
from elman.recur.refuse import no_qconfig, refuse_script
from elman.recur.weights import (
    NAMES,
    Leaves,
    Weights,
    check_kind,
    count_layers,
    join_state,
    no_steps,
    normalise,
    split_leaf,
    suffix,
    weight_shapes,
)
from elman.state import State


class Stack(nn.Module):
    """Layers and directions of one recurrence; use `RNN`, `LSTM` or `GRU`."""

    gates: int  # matrices side by side in weight_ih and weight_hh
    leaves: int  # tensors in a state

    def __init__(
        self, input_size: int, hidden_size: int | Sequence[int], num_layers: int, *, bias: bool,
        batch_first: bool, dropout: float, bidirectional: bool, proj_size: int, variational: bool,
        weight_dropout: float, recurrent_dropout: float, zoneout: tuple[float, ...],
        layer_norm: bool, peephole: bool, device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size if isinstance(hidden_size, int) else tuple(hidden_size)
        self.num_layers = count_layers(input_size, self.hidden_size, num_layers)
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = check_probability("dropout", dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.variational = variational
        self.weight_dropout = check_probability("weight_dropout", weight_dropout)
        self.recurrent_dropout = check_probability("recurrent_dropout", recurrent_dropout)
        self.zoneout = tuple(check_probability("zoneout", rate) for rate in zoneout)
        self.layer_norm = layer_norm
        self.peephole = peephole
        self._names: list[list[tuple[str | None, ...]]] = []  # None where an option is off
        for layer, hidden in enumerate(self.hidden_sizes):
            if not 0 <= proj_size < hidden:
                raise ArgumentError(
                    f"proj_size must be in 0..hidden_size-1={hidden - 1}, got {proj_size}"
                )
            width = input_size if layer == 0 else self.output_sizes[layer - 1]
            self._names.append(
                [
                    self._add_weights(layer, direction, width, hidden, device, dtype)
                    for direction in range(self.directions)
                ]
            )
        self.reset_parameters()

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def causal(self) -> bool:
        """Whether outputs depend on earlier inputs only, so that a sequence can be run in parts."""
        return not self.bidirectional

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """The hidden size of each layer."""
        if isinstance(self.hidden_size, tuple):
            return self.hidden_size
        return (self.hidden_size,) * self.num_layers

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """The number of features that each layer outputs, both directions together."""
        return tuple((self.proj_size or hidden) * self.directions for hidden in self.hidden_sizes)

    @property
    def output_size(self) -> int:
        """The number of features of the output y."""
        return self.output_sizes[-1]

    def _add_weights(
        self,
        layer: int,
        direction: int,
        width: int,
        hidden: int,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> tuple[str | None, ...]:
        """Register the parameters and return their names in the order of Weights."""
        shapes = weight_shapes(
            width, hidden, self.gates, bias=self.bias, proj_size=self.proj_size,
            peephole=self.peephole, layer_norm=self.layer_norm, cell_state=self.leaves == 2,
        )  # fmt: skip
        end = suffix(layer, direction)
        for name, shape in shapes.items():
            parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            self.register_parameter(f"{name}_{end}", parameter)
        return tuple(f"{name}_{end}" if name in shapes else None for name in NAMES)

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1/sqrt(H), 1/sqrt(H)) in torch's order; gains are 1."""
        for name, parameter in self.named_parameters():
            if name.startswith("gain_"):
                nn.init.ones_(parameter)
            elif name.startswith("bias_c_"):
                nn.init.zeros_(parameter)
            else:
                layer = int(name.split("_l")[-1].removesuffix("_reverse"))
                bound = 1 / math.sqrt(self.hidden_sizes[layer])
                nn.init.uniform_(parameter, -bound, bound)

    @property
    def weight_names(self) -> list[str]:
        """The names of all weights, by layer and direction."""
        return [name for layer in self._names for part in layer for name in part if name]

    def weights(self, layer: int, direction: int = 0) -> Weights:
        """Return the weights of one layer in one direction."""
        wanted, stored = self._names[layer][direction], self._parameters
        found = [stored.get(name) if name else None for name in wanted]
        for i, name in enumerate(wanted):
            if name and found[i] is None:  # computed from other parameters, or a replica's
                found[i] = getattr(self, name)
        return Weights(*found)  # type: ignore[arg-type]  # the first two are always there

    # The equations, which each cell defines.

    def input_gates(self, x: Tensor, weights: Weights) -> Tensor:
        """Return the contribution of the inputs to the gates: (T, B, D) -> (T, B, G)."""
        if weights.gain_ih is None:
            return F.linear(x, weights.ih, weights.bias_ih)
        return normalise(F.linear(x, weights.ih), weights.gain_ih, weights.bias_ih)

    def step(self, gates_BG: Tensor, seen_BR: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """Return the new state, given the input gates, h_{t-1} after dropout, and the state."""
        raise TypeError(f"{type(self).__name__} defines no step")

    def torch_layers(
        self, x: Tensor, batch_sizes: Tensor | None, state: Leaves, weights: list[Tensor],
        layers: int, between: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Run torch's function for these equations; return the output and the state's leaves."""
        raise TypeError(f"{type(self).__name__} has no counterpart in torch")

    def for_kernel(self, weights: Weights) -> Constants:
        """Return the weights in the form that the kernel of this cell takes."""
        raise TypeError(f"{type(self).__name__} has no kernel")

    def kernel(self) -> str | None:
        """Return the name of the kernel, a key of `elman.kernels.recurrence.CELLS`, or None."""
        return None

    def way(self, x: Tensor, *, ragged: bool = False) -> Literal["kernel", "torch", "plain"]:
        """Return which functions run x: our kernels, torch's, or the plain definition."""
        if seen_by_torch():  # its own functions of several layers cannot be transformed either
            traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
            return "torch" if traced and self.uses_torch() else "plain"
        in_graph = torch.compiler.is_compiling()
        hidden = in_graph and (ragged or self._draws_masks())  # the operators cover neither
        if kernels.native and x.device.type == "cpu" and self.kernel() and not hidden:
            if computes_in_bfloat16(x):
                return "kernel"
            if x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
                return "kernel"
        return "torch" if self.uses_torch() else "plain"

    def _draws_masks(self) -> bool:
        """Whether this call drops units in ways that torch's own dropout does not have."""
        locked = self.variational and self.dropout > 0
        return self.training and (locked or self.recurrent_dropout > 0 or any(self.zoneout))

    def uses_torch(self) -> bool:
        """Whether torch has a compiled function for exactly these equations and options."""
        zoned = any(self.zoneout)
        loose = self.training and self.recurrent_dropout > 0
        return not (zoned or loose or self.layer_norm or self.peephole)

    # Running it.

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
            hx: torch's name of `state`, which is used if `state` is None.

        Returns:
            y, with the type and layout of x and `output_size` features, and the state with leaves
            (num_layers * directions, B, H); with a hidden size per layer each leaf is a tuple of
            (directions, B, H_l).

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
        layers = self._split_state(state, x_TBD, single)
        if lengths is not None:
            lengths = as_lengths(lengths)
            shortest, longest = check_lengths(lengths, x_TBD.shape[1], steps)
            if shortest == longest > 0:  # nothing is ragged
                x_TBD, lengths = x_TBD[:longest], None
        if steps == 0:
            y = no_steps(self, x, (0, x_TBD.shape[1], self.output_size))
        elif longest and x_TBD.shape[1]:
            way = self.way(x_TBD, ragged=lengths is not None)
            y, layers = self._run(way, x_TBD, layers, lengths, None, generator)
        else:  # without any elements, only the definition gives the weights gradients of zero
            y, layers = run_plain(self, x_TBD, layers, lengths, generator)
        if single:
            y = y.squeeze(1)
        elif self.batch_first:
            y = y.transpose(0, 1)
        missing = steps - x_TBD.shape[0]
        if missing:
            y = F.pad(y, (0, 0, 0, missing) if self.batch_first else (0, 0, 0, 0, 0, missing))
        stacked = isinstance(self.hidden_size, int)
        return y, join_state(layers, stacked=stacked, single=single)

    def _check_input(self, x: Tensor, lengths: object) -> None:
        """Raise an ArgumentError for an x with another shape, or lengths of one sequence."""
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            raise ArgumentError(
                f"x must have 3 dimensions (2 for one sequence), the last of size "
                f"input_size={self.input_size}, got shape {tuple(x.shape)}"
            )
        if lengths is not None and x.dim() == 2:
            raise ArgumentError("lengths needs a batch: x is one sequence of shape (T, D)")

    def _run(
        self, way: Literal["kernel", "torch", "plain"], x: Tensor, layers: list[Leaves],
        lengths: Tensor | None, batch_sizes: Tensor | None, generator: torch.Generator | None,
    ) -> tuple[Tensor, list[Leaves]]:  # fmt: skip
        """Run x: (T, B, D) with optional lengths, or packed (N, D) with batch sizes."""
        if way == "kernel":
            return run_kernels(self, x, layers, lengths, batch_sizes, generator)
        if way == "torch":
            return run_torch(self, x, layers, lengths, batch_sizes, generator)
        if batch_sizes is None:
            return run_plain(self, x, layers, lengths, generator)
        padded, lengths = pad_packed_sequence(PackedSequence(x, batch_sizes))
        y, layers = run_plain(self, padded, layers, lengths.to(x.device), generator)
        return pack_padded_sequence(y, lengths).data, layers

    def _forward_packed(
        self, x: PackedSequence, state: State | None, generator: torch.Generator | None
    ) -> tuple[PackedSequence, State]:
        data, batch_sizes, order, inverse = x
        if data.shape[-1] != self.input_size:
            raise ArgumentError(
                f"x must have input_size={self.input_size} features, got {data.shape[-1]}"
            )
        check_batch_sizes(batch_sizes, data.shape[0])
        rows = int(batch_sizes[0])
        layers = self._split_state(state, data.new_empty(0, rows, 0), False)
        if order is not None:
            layers = [tuple(leaf.index_select(1, order) for leaf in part) for part in layers]
        way = self.way(data, ragged=True)
        y, layers = self._run(way, data, layers, None, batch_sizes, generator)
        if inverse is not None:
            layers = [tuple(leaf.index_select(1, inverse) for leaf in part) for part in layers]
        stacked = isinstance(self.hidden_size, int)
        end = join_state(layers, stacked=stacked, single=False)
        return PackedSequence(y, batch_sizes, order, inverse), end

    def dropped_weights(
        self, layer: int, direction: int, generator: torch.Generator | None
    ) -> Weights:
        """Return the weights of one layer in one direction, with weight dropout in training."""
        weights = self.weights(layer, direction)
        if not (self.training and self.weight_dropout):
            return weights
        return weights._replace(hh=dropout(weights.hh, self.weight_dropout, generator=generator))

    def drop_between(
        self, x: Tensor, batch_sizes: Tensor | list[int] | None, generator: torch.Generator | None
    ) -> Tensor:
        """Apply dropout to the output of a layer, (T, B, R) or packed with batch sizes."""
        p = self.dropout if self.training else 0.0
        if not self.variational or p == 0:
            return dropout(x, p, generator=generator)
        if batch_sizes is None:
            return locked_dropout(x, p, time_dim=0, generator=generator)
        mask = keep_mask(x, (int(batch_sizes[0]), x.shape[1]), p, generator=generator)
        rows = torch.cat([torch.arange(int(n), device=x.device) for n in batch_sizes])
        return x * mask[rows]

    def _split_state(self, state: State | None, x: Tensor, single: bool) -> list[Leaves]:
        """Check the state and return it as a list over layers of leaves (directions, B, H_l)."""
        rows, directions = x.shape[1], self.directions
        if state is None and self.num_layers == 1 and not self.proj_size:
            width = self.hidden_sizes[0]
            return [tuple(x.new_zeros(directions, rows, width) for _ in range(self.leaves))]
        widths = [
            [(self.proj_size or hidden) if i == 0 else hidden for i in range(self.leaves)]
            for hidden in self.hidden_sizes
        ]
        if state is None:
            return [tuple(x.new_zeros(directions, rows, w) for w in layer) for layer in widths]
        parts = (state,) if self.leaves == 1 else state
        if isinstance(parts, Tensor) or len(parts) != self.leaves:
            raise ArgumentError(
                f"state of {type(self).__name__} must be a tuple of {self.leaves} (h, c), "
                f"got {type(state).__name__}"
            )
        check_kind(parts, x)
        stacked = isinstance(self.hidden_size, int)
        by_leaf = [
            split_leaf(
                part, i, rows, directions, [w[i] for w in widths], stacked=stacked, single=single
            )
            for i, part in enumerate(parts)
        ]
        return [tuple(leaf[k] for leaf in by_leaf) for k in range(self.num_layers)]

    __prepare_scriptable__ = refuse_script
    qconfig = no_qconfig

    def flatten_parameters(self) -> None:
        """Do nothing: weights stay separate tensors.  It exists for code written for torch.nn."""

    def extra_repr(self) -> str:
        """Return the sizes and the options that are on, for `repr`."""
        options = {
            "num_layers": (self.num_layers, 1), "bias": (self.bias, True),
            "batch_first": (self.batch_first, False), "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False), "proj_size": (self.proj_size, 0),
            "variational": (self.variational, False), "layer_norm": (self.layer_norm, False),
            "weight_dropout": (self.weight_dropout, 0.0),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "zoneout": (self.zoneout, (0.0,) * self.leaves), "peephole": (self.peephole, False),
        }  # fmt: skip
        shown = [
            f"{name}={value}" for name, (value, default) in options.items() if value != default
        ]
        return ", ".join([str(self.input_size), str(self.hidden_size), *shown])
