"""A recurrent encoder and decoder, with attention between them.

    H = core_e(embed_e(x)),            outputs of the encoder, (B, T, M)
    s_t = core_d(embed_d(y_{t-1})),    s_0 = tanh(W_b last state of core_e)
    c_t = attention(s_t, H)
    d_t = tanh(W_c [c_t ; s_t])

This is the model of Luong, Pham and Manning 2015 (arXiv:1508.04025).  Without attention d_t = s_t,
as in Sutskever, Vinyals and Le 2014 (arXiv:1409.3215).  With input feeding, core_d also reads
d_{t-1} and runs step by step.  Without it, one call computes all steps of the core, and one call
all steps of an attention without coverage.

Shape legend: B rows, T elements of the source, S of the target, D features of d.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from elman.attend import Attention, Memory
from elman.encode.embed import Embed
from elman.encode.encoder import Encoder
from elman.errors import ArgumentError
from elman.padded import Padded
from elman.recur.blocks import AnyCore
from elman.state import State, select_rows


class Decoding(NamedTuple):
    """The place of a recurrent decoder.

    Attributes:
        core: state of the decoder's core.
        memory: the source for attention; None without attention.
        fed: (B, D) the last d; None without input feeding.
    """

    core: State
    memory: Memory | None
    fed: Tensor | None

    def rows(self, which: Tensor) -> Decoding:
        """Return rows by index; a beam search may repeat or drop a row."""
        return Decoding(
            select_rows(self.core, which),
            None if self.memory is None else self.memory.rows(which),
            None if self.fed is None else self.fed.index_select(0, which),
        )


class Recurrent(nn.Module):
    """An encoder and decoder made of recurrences.

    Args:
        embed_source: turns elements of the source into vectors.
        encoder: core of the encoder, batch first, with one or two directions.
        embed_target: turns tokens of the target into vectors.
        core: core of the decoder, batch first and forward only.
        attention: attention to the encoder's outputs; None to use only the encoder's last state.
        input_feeding: whether the core also reads d_{t-1}.

    Raises:
        ArgumentError: a core is not batch first, the decoder's core is not causal, or input
            feeding has no attention.

    Example:
        >>> import torch, elman
        >>> from elman.attend import Attention
        >>> from elman.encode.embed import Embed
        >>> from elman.padded import Padded
        >>> from elman.seq2seq.recurrent import Recurrent
        >>> coder = Recurrent(
        ...     Embed(10, 4), elman.GRU(4, 6, batch_first=True, bidirectional=True),
        ...     Embed(12, 4), elman.GRU(4, 8, batch_first=True), Attention(8, 12),
        ... )
        >>> start = coder.read(Padded(torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1])))
        >>> d, weights, _ = coder.decode(Padded.full(torch.tensor([[5, 6], [7, 5]])), start)
        >>> d.data.shape, weights.shape
        (torch.Size([2, 2, 8]), torch.Size([2, 2, 3]))
    """

    def __init__(
        self,
        embed_source: Encoder,
        encoder: AnyCore,
        embed_target: Embed,
        core: AnyCore,
        attention: Attention | None,
        *,
        input_feeding: bool = False,
    ) -> None:
        super().__init__()
        if not (encoder.batch_first and core.batch_first):
            raise ArgumentError("cores must be batch first: build them with batch_first=True")
        if not core.causal:
            raise ArgumentError("the decoder's core must read forward only")
        if input_feeding and attention is None:
            raise ArgumentError("input_feeding needs attention")
        self.embed_source: Encoder = embed_source
        self.encoder = encoder
        self.embed_target, self.core = embed_target, core
        self.attention, self.input_feeding = attention, input_feeding
        read, last = encoder.output_sizes[-1], core.output_sizes[-1]
        self.bridge = nn.ModuleList(
            nn.Linear(encoder.hidden_sizes[-1] * encoder.directions, size)
            for size in core.hidden_sizes
        )
        if attention is not None:
            self.combine = nn.Linear(read + last, last)

    @property
    def attends(self) -> bool:
        """Whether `decode` returns attention weights."""
        return self.attention is not None

    def read(self, source: Padded, *, generator: torch.Generator | None = None) -> Decoding:
        """Read the source (B, T, ...) and return the place at which the decoder starts."""
        x = self.embed_source(source, generator=generator)
        h, state = self.encoder(x.data, None, x.lengths, generator=generator)
        return self.begin(Padded(h, x.lengths), self.encoder.last(state))

    def begin(self, h: Padded, last: Tensor) -> Decoding:
        """Return the place at which the decoder starts.

        Args:
            h: the outputs (B, T, M) of the encoder.
            last: (B, M) the last state of the encoder's last layer, for all directions.
        """
        memory = None if self.attention is None else self.attention.remember(h)
        first = [torch.tanh(layer(last)) for layer in self.bridge]
        start: State = (
            torch.stack(first)
            if isinstance(self.core.hidden_size, int)
            else tuple(one.unsqueeze(0) for one in first)
        )
        size = (len(last), self.core.output_sizes[-1])
        fed = last.new_zeros(size) if self.input_feeding else None
        return Decoding(self.core.begin(start), memory, fed)

    def decode(
        self, tokens: Padded, start: Decoding, *, generator: torch.Generator | None = None
    ) -> tuple[Padded, Tensor | None, Decoding]:
        """Return states d (B, S, D) for inputs (B, S), weights (B, S, T), and the next place."""
        x = self.embed_target(tokens, generator=generator)
        if not self.input_feeding:
            s, core = self.core(x.data, start.core, tokens.lengths, generator=generator)
            d, weights, memory = self._look(s, start.memory)
            return Padded(d, tokens.lengths), weights, Decoding(core, memory, None)
        states, found, here = [], [], start
        for t in range(x.data.shape[1]):
            running = (tokens.lengths > t).long()
            assert here.fed is not None
            both = torch.cat([x.data[:, t], here.fed], dim=1).unsqueeze(1)
            s, core = self.core(both, here.core, running, generator=generator)
            d, weights, memory = self._look(s, here.memory)
            here = Decoding(core, memory, d[:, 0])
            states.append(d)
            found.append(weights)
        return (
            Padded(torch.cat(states, 1), tokens.lengths),
            torch.cat([one for one in found if one is not None], 1),
            here,
        )

    def _look(
        self, s: Tensor, memory: Memory | None
    ) -> tuple[Tensor, Tensor | None, Memory | None]:
        if self.attention is None or memory is None:
            return s, None, None
        context, weights, memory = self.attention(s, memory)
        return torch.tanh(self.combine(torch.cat([context.to(s.dtype), s], 2))), weights, memory
