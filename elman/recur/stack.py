"""Layers of a recurrence in one or two directions: everything that RNN, LSTM and GRU share.

Layer l reads the outputs of layer l - 1; direction 1 reads the sequence from its end.  A cell
(rnn.py, lstm.py, gru.py) contributes its equations as `step`, which is both the definition and the
plain path.  Where torch has a compiled function for exactly those equations, `torch_layers` calls
it instead; the choice is made in one place, `Stack.uses_torch`.

Shape legend: T steps, B rows, D features, G gates * hidden, H hidden, R what a layer puts out
(H, or proj_size).  Inside this file time comes first, as in the functions of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.dropout import check_probability, dropout, keep_mask, locked_dropout
from elman.errors import ArgumentError
from elman.padded import check_lengths, time_mask
from elman.recur.plain import through_time
from elman.recur.weights import Leaves, Weights, normalise, split_leaf, suffix
from elman.state import State


class Stack(nn.Module):
    """Layers and directions of one recurrence; use `RNN`, `LSTM` or `GRU`."""

    gates: int  # matrices side by side in weight_ih and weight_hh
    leaves: int  # tensors in a state

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        variational: bool,
        weight_dropout: float,
        recurrent_dropout: float,
        zoneout: tuple[float, ...],
        layer_norm: bool,
        peephole: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size if isinstance(hidden_size, int) else tuple(hidden_size)
        self.num_layers = self._count_layers(num_layers)
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
        for layer, hidden in enumerate(self.hidden_sizes):
            if not 0 <= proj_size < hidden:
                raise ArgumentError(
                    f"proj_size must be in 0..hidden_size-1={hidden - 1}, got {proj_size}"
                )
            width = input_size if layer == 0 else self.output_sizes[layer - 1]
            for direction in range(self.directions):
                self._add_weights(layer, direction, width, hidden, device, dtype)
        self.reset_parameters()

    def _count_layers(self, num_layers: int) -> int:
        sizes = self.hidden_size
        if isinstance(sizes, tuple):
            if num_layers not in (1, len(sizes)):
                raise ArgumentError(
                    f"num_layers={num_layers} but hidden_size names {len(sizes)} layers: {sizes}"
                )
            num_layers = len(sizes)
        if (
            num_layers < 1
            or self.input_size < 1
            or min(sizes if isinstance(sizes, tuple) else [sizes]) < 1
        ):
            raise ArgumentError(
                "input_size, hidden_size and num_layers must be at least 1, "
                f"got {self.input_size}, {sizes}, {num_layers}"
            )
        return num_layers

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def causal(self) -> bool:
        """Whether outputs depend on earlier inputs only: a sequence may then come in parts."""
        return not self.bidirectional

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """The hidden size of each layer."""
        if isinstance(self.hidden_size, tuple):
            return self.hidden_size
        return (self.hidden_size,) * self.num_layers

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """Features that each layer puts out, both directions together."""
        return tuple((self.proj_size or hidden) * self.directions for hidden in self.hidden_sizes)

    @property
    def output_size(self) -> int:
        """Features of the output y."""
        return self.output_sizes[-1]

    def _add_weights(
        self,
        layer: int,
        direction: int,
        width: int,
        hidden: int,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        gates, output = self.gates * hidden, self.proj_size or hidden
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (gates, width),
            "weight_hh": (gates, output),
        }
        if self.bias:
            shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, hidden)
        if self.peephole:
            shapes["weight_peephole"] = (3 * hidden,)
        if self.layer_norm:
            shapes |= {"gain_ih": (gates,), "gain_hh": (gates,)}
            if self.leaves == 2:
                shapes["gain_c"] = (hidden,)
                if self.bias:
                    shapes["bias_c"] = (hidden,)
        for name, shape in shapes.items():
            parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            self.register_parameter(f"{name}_{suffix(layer, direction)}", parameter)

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

    def weights(self, layer: int, direction: int = 0) -> Weights:
        """The weights of one layer in one direction, as they are stored."""

        def find(name: str) -> Tensor | None:
            return self._parameters.get(f"{name}_{suffix(layer, direction)}")

        ih, hh = find("weight_ih"), find("weight_hh")
        assert ih is not None  # registered in the constructor
        assert hh is not None
        return Weights(
            ih, hh, find("bias_ih"), find("bias_hh"), find("weight_hr"), find("weight_peephole"),
            find("gain_ih"), find("gain_hh"), find("gain_c"), find("bias_c"),
        )  # fmt: skip

    # The equations: each cell gives these.

    def input_gates(self, x: Tensor, weights: Weights) -> Tensor:
        """What the inputs alone contribute to the gates: (T, B, D) -> (T, B, G)."""
        if weights.gain_ih is None:
            return F.linear(x, weights.ih, weights.bias_ih)
        return normalise(F.linear(x, weights.ih), weights.gain_ih, weights.bias_ih)

    def step(self, gates_BG: Tensor, seen_BR: Tensor, state: Leaves, weights: Weights) -> Leaves:
        """One step: input gates, h_{t-1} as the matrices see it, and state, to the new state."""
        raise TypeError(f"{type(self).__name__} defines no step")

    def torch_layers(
        self, x: Tensor, batch_sizes: Tensor | None, state: Leaves, weights: list[Tensor],
        layers: int, between: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """torch's own function for these equations: output, then the leaves of the state."""
        raise TypeError(f"{type(self).__name__} has no counterpart in torch")

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
        lengths: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run the sequence.

        Args:
            x: (T, B, input_size), with `batch_first` (B, T, input_size), one sequence
                (T, input_size), or a PackedSequence.
            state: what an earlier call returned, or None for zeros.
            lengths: integers (B,) in 0..T; outputs behind a row's length are 0, and the state
                returned is that after its last element.
            generator: source of all dropout of this call; None for torch's own.

        Returns:
            y, of the kind and layout of x with `output_size` features, and the state with leaves
            (num_layers * directions, B, H); with a hidden size per layer each leaf is a tuple of
            (directions, B, H_l).

        Raises:
            ArgumentError: a shape, a length or a dtype does not fit.
        """
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ArgumentError(
                    "lengths must not be given for a PackedSequence: it has its own"
                )
            return self._forward_packed(x, state, generator)
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            raise ArgumentError(
                f"x must have 3 dimensions (2 for one sequence), the last of size "
                f"input_size={self.input_size}, got shape {tuple(x.shape)}"
            )
        single = x.dim() == 2
        if single:
            if lengths is not None:
                raise ArgumentError("lengths needs a batch: x is one sequence of shape (T, D)")
            x_TBD = x.unsqueeze(1)
        else:
            x_TBD = x.transpose(0, 1) if self.batch_first else x
        layers = self._split_state(state, x_TBD, single)
        if lengths is not None:
            check_lengths(lengths, x_TBD.shape[1], x_TBD.shape[0])
            if bool((lengths == x_TBD.shape[0]).all()):
                lengths = None
        if x_TBD.shape[0] == 0 or x_TBD.shape[1] == 0:
            y = x_TBD.new_zeros(*x_TBD.shape[:2], self.output_size)
        elif not self.uses_torch():
            y, layers = self._run_plain(x_TBD, layers, lengths, generator)
        elif lengths is None:
            y, layers = self._run_torch(x_TBD, None, layers, generator)
        else:
            y, layers = self._run_ragged(x_TBD, layers, lengths, generator)
        if single:
            y = y.squeeze(1)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, self._join_state(layers, single)

    def _forward_packed(
        self, x: PackedSequence, state: State | None, generator: torch.Generator | None
    ) -> tuple[PackedSequence, State]:
        data, batch_sizes, order, inverse = x
        if data.shape[-1] != self.input_size:
            raise ArgumentError(
                f"x must have input_size={self.input_size} features, got {data.shape[-1]}"
            )
        rows = int(batch_sizes[0])
        layers = self._split_state(state, data.new_empty(0, rows, 0), False)
        if order is not None:
            layers = [tuple(leaf.index_select(1, order) for leaf in part) for part in layers]
        if self.uses_torch():
            y, layers = self._run_torch(data, batch_sizes, layers, generator)
        else:
            padded, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes))
            y, layers = self._run_plain(padded, layers, lengths.to(data.device), generator)
            y = pack_padded_sequence(y, lengths).data
        if inverse is not None:
            layers = [tuple(leaf.index_select(1, inverse) for leaf in part) for part in layers]
        return PackedSequence(y, batch_sizes, order, inverse), self._join_state(layers, False)

    def _run_ragged(
        self, x: Tensor, layers: list[Leaves], lengths: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, list[Leaves]]:
        """Through torch's packed form, longest row first, rows of length zero left out."""
        steps, rows = x.shape[:2]
        order = lengths.argsort(descending=True, stable=True)[: int((lengths > 0).sum())]
        order = order.to(x.device)
        y = x.new_zeros(steps, rows, self.output_size)
        if len(order) == 0:
            return y, layers
        sorted_lengths = lengths.cpu()[order.cpu()]
        packed = pack_padded_sequence(x.index_select(1, order), sorted_lengths)
        part = [tuple(leaf.index_select(1, order) for leaf in leaves) for leaves in layers]
        data, part = self._run_torch(packed.data, packed.batch_sizes, part, generator)
        padded, _ = pad_packed_sequence(
            PackedSequence(data, packed.batch_sizes), total_length=steps
        )
        merged = [
            tuple(
                old.index_copy(1, order, new.to(old.dtype))
                for old, new in zip(olds, news, strict=True)
            )
            for olds, news in zip(layers, part, strict=True)
        ]
        return y.to(padded.dtype).index_copy(1, order, padded), merged

    def _run_torch(
        self,
        x: Tensor,
        batch_sizes: Tensor | None,
        layers: list[Leaves],
        generator: torch.Generator | None,
    ) -> tuple[Tensor, list[Leaves]]:
        """All layers in one call where torch's own dropout between them will do."""
        between = self.dropout if self.training else 0.0
        ours = between > 0 and (self.variational or generator is not None)
        whole = isinstance(self.hidden_size, int) and not ours
        groups = [range(self.num_layers)] if whole else [[k] for k in range(self.num_layers)]
        results: list[Leaves] = []
        for group in groups:
            if group[0] > 0:
                x = self._drop_between(x, batch_sizes, between, generator)
            weights = [
                self._dropped(self.weights(layer, direction), generator)
                for layer in group
                for direction in range(self.directions)
            ]
            leaves = tuple(torch.cat([layers[k][i] for k in group]) for i in range(self.leaves))
            flat = [w for part in weights for w in part.for_torch()]
            x, *new = self.torch_layers(
                x, batch_sizes, leaves, flat, len(group), between if whole else 0.0
            )
            # Under autocast torch may return a shorter format; a state keeps its own.
            kept = [leaf.to(old.dtype) for leaf, old in zip(new, leaves, strict=True)]
            split = [leaf.split(self.directions) for leaf in kept]
            results += [tuple(leaf[k] for leaf in split) for k in range(len(group))]
        return x, results

    def _run_plain(
        self,
        x: Tensor,
        layers: list[Leaves],
        lengths: Tensor | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, list[Leaves]]:
        """The definition: every layer, direction and step in turn."""
        running: Tensor | None = None
        if lengths is not None:
            running = time_mask(lengths.to(x.device), x.shape[0]).t().unsqueeze(2)
            x = torch.where(running, x, 0)  # padding may hold NaN, and 0 * NaN would reach a weight
        results: list[Leaves] = []
        for k in range(self.num_layers):
            if k > 0:
                x = self._drop_between(x, None, self.dropout if self.training else 0.0, generator)
            outputs, ends = [], []
            for direction in range(self.directions):
                weights = self._dropped(self.weights(k, direction), generator)
                y, end = through_time(
                    self.step,
                    self.input_gates(x, weights),
                    tuple(leaf[direction] for leaf in layers[k]),
                    weights,
                    running=running,
                    reverse=direction == 1,
                    recurrent_dropout=self.recurrent_dropout if self.training else 0.0,
                    zoneout=self.zoneout,
                    training=self.training,
                    generator=generator,
                )
                outputs.append(y)
                ends.append(end)
            x = torch.cat(outputs, dim=2)
            results.append(tuple(torch.stack(leaf) for leaf in zip(*ends, strict=True)))
        return x, results

    def _dropped(self, weights: Weights, generator: torch.Generator | None) -> Weights:
        if not (self.training and self.weight_dropout):
            return weights
        return weights._replace(hh=dropout(weights.hh, self.weight_dropout, generator=generator))

    def _drop_between(
        self,
        x: Tensor,
        batch_sizes: Tensor | None,
        p: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        if not self.variational or p == 0:
            return dropout(x, p, generator=generator)
        if batch_sizes is None:
            return locked_dropout(x, p, time_dim=0, generator=generator)
        mask = keep_mask(x, (int(batch_sizes[0]), x.shape[1]), p, generator=generator)
        rows = torch.cat([torch.arange(int(n), device=x.device) for n in batch_sizes])
        return x * mask[rows]

    def _split_state(self, state: State | None, x: Tensor, single: bool) -> list[Leaves]:
        """The state as a list over layers of leaves (directions, B, H_l), checked."""
        rows, directions = x.shape[1], self.directions
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
        stacked = isinstance(self.hidden_size, int)
        by_leaf = [
            split_leaf(
                part, i, rows, directions, [w[i] for w in widths], stacked=stacked, single=single
            )
            for i, part in enumerate(parts)
        ]
        return [tuple(leaf[k] for leaf in by_leaf) for k in range(self.num_layers)]

    def _join_state(self, layers: list[Leaves], single: bool) -> State:
        if single:
            layers = [tuple(leaf.squeeze(1) for leaf in leaves) for leaves in layers]
        joined: list[State] = []
        for i in range(self.leaves):
            leaves = tuple(part[i] for part in layers)
            joined.append(torch.cat(leaves) if isinstance(self.hidden_size, int) else leaves)
        return joined[0] if self.leaves == 1 else tuple(joined)

    def flatten_parameters(self) -> None:
        """Nothing to do: the weights stay separate tensors.  Kept for code written for torch.nn."""

    def extra_repr(self) -> str:
        """Sizes and the options that are on."""
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
