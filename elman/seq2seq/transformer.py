"""The Transformer of Vaswani et al. 2017 (arXiv:1706.03762), with torch's layers, for comparison.

    H = encoder(E_x sqrt(D) + P),    d = decoder(E_y sqrt(D) + P, H)
    P_t,2i = sin(t / 10000^(2i/D)),  P_t,2i+1 = cos(t / 10000^(2i/D))

The layers are pre-norm (Xiong et al. 2020, arXiv:2002.04745) and train without a long warm-up.
Each step reads the whole target so far again, so its time grows with the position, unlike in a
recurrence.

Shape legend: B rows, T elements of the source, S of the target, D features.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elman.encode.embed import Embed
from elman.errors import ArgumentError
from elman.padded import Padded

WIDER = 4  # inner features of a layer / D


class Followed(NamedTuple):
    """The place of a Transformer decoder.

    Attributes:
        memory: (B, T, D) outputs of the encoder.
        hidden: boolean (B, T), true where the source has no element.
        tokens: (B, S) the target so far.
    """

    memory: Tensor
    hidden: Tensor
    tokens: Tensor

    def rows(self, which: Tensor) -> Followed:
        """Return rows by index; a beam search may repeat or drop a row."""
        return Followed(*(part.index_select(0, which) for part in self))


class Transformer(nn.Module):
    """An encoder and decoder made of attention alone.

    Args:
        embed_source: turns tokens of the source into vectors.
        embed_target: turns tokens of the target into vectors with the same size D.
        num_layers: layers of the encoder and of the decoder.
        heads: heads of each attention.
        dropout: probability, after each part of a layer and on the attention.

    Raises:
        ArgumentError: the sizes do not fit.

    Example:
        >>> import torch
        >>> from elman.encode.embed import Embed
        >>> from elman.padded import Padded
        >>> from elman.seq2seq.transformer import Transformer
        >>> coder = Transformer(Embed(10, 8), Embed(12, 8), 1, heads=2)
        >>> start = coder.read(Padded(torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1])))
        >>> d, _, _ = coder.decode(Padded.full(torch.tensor([[5, 6], [7, 5]])), start)
        >>> d.data.shape
        torch.Size([2, 2, 8])
    """

    attends = False  # torch's layers do not return their weights

    def __init__(
        self,
        embed_source: Embed,
        embed_target: Embed,
        num_layers: int,
        *,
        heads: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        size = embed_source.weight.shape[1]
        if embed_target.weight.shape[1] != size or size % heads or size % 2:
            raise ArgumentError(
                f"a transformer needs vectors of one even size that heads={heads} divides, got "
                f"{size} and {embed_target.weight.shape[1]}"
            )
        self.embed_source, self.embed_target, self.size = embed_source, embed_target, size
        options: dict[str, Any] = {"batch_first": True, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(size, heads, WIDER * size, dropout, **options),
            num_layers,
            nn.LayerNorm(size),
            enable_nested_tensor=False,
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(size, heads, WIDER * size, dropout, **options),
            num_layers,
            nn.LayerNorm(size),
        )
        for weight in (*self.encoder.parameters(), *self.decoder.parameters()):
            if weight.dim() > 1:  # the layers of a torch stack start as copies of one layer
                nn.init.xavier_uniform_(weight)

    def _vectors(self, embed: Embed, tokens: Tensor, generator: torch.Generator | None) -> Tensor:
        x: Tensor = embed(Padded.full(tokens), generator=generator).data * math.sqrt(self.size)
        return x + positions(tokens.shape[1], self.size, x)

    def read(self, source: Padded, *, generator: torch.Generator | None = None) -> Followed:
        """Read the source tokens (B, T) and return the place at which the decoder starts."""
        hidden = ~source.mask()
        hidden[:, :1] = False  # a row without elements attends to one, to avoid NaN
        with _drawing_from(generator, source.data.device, self.training):
            x = self._vectors(self.embed_source, source.data, generator)
            memory = self.encoder(x, src_key_padding_mask=hidden)
        return Followed(memory, hidden, source.data[:, :0])

    def decode(
        self, tokens: Padded, start: Followed, *, generator: torch.Generator | None = None
    ) -> tuple[Padded, None, Followed]:
        """Return states d (B, S, D) for inputs (B, S), None for weights, and the next place."""
        whole = torch.cat([start.tokens, tokens.data], dim=1)
        ahead = torch.ones(whole.shape[1], whole.shape[1], dtype=torch.bool, device=whole.device)
        with _drawing_from(generator, whole.device, self.training):
            y = self._vectors(self.embed_target, whole, generator)
            d = self.decoder(
                y,
                start.memory,
                tgt_mask=ahead.triu(1),
                memory_key_padding_mask=start.hidden,
                tgt_is_causal=True,
            )
        added = d[:, start.tokens.shape[1] :]
        return Padded(added, tokens.lengths), None, start._replace(tokens=whole)


def positions(steps: int, size: int, like: Tensor) -> Tensor:
    """Return the sines and cosines (steps, size) of positions."""
    place = torch.arange(steps, device=like.device, dtype=torch.float32).unsqueeze(1)
    pair = torch.arange(0, size, 2, device=like.device, dtype=torch.float32)
    angle = place * torch.exp(pair * (-math.log(10_000) / size))
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1).to(like.dtype)


@contextlib.contextmanager
def _drawing_from(
    generator: torch.Generator | None, device: torch.device, training: bool
) -> Iterator[None]:
    """Make torch's layers, which use only the global generator, draw from this generator."""
    if generator is None or not training:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield
