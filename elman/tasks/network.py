"""Build the recurrence of a task, and the encoder and decoder of a translator."""

from __future__ import annotations

import copy

from elman.attend import Attention
from elman.cores import CORES, CoreSettings, Shape
from elman.encode.embed import Embed
from elman.encode.encoder import Encoder
from elman.encode.pyramid import Pyramid
from elman.recur.blocks import AnyCore, Blocks
from elman.seq2seq import Coder
from elman.seq2seq.recurrent import Recurrent
from elman.seq2seq.transformer import Transformer
from elman.targets.text_settings import TranslatorSettings
from elman.targets.transcript_settings import TranscriberSettings


def build_core(
    settings: CoreSettings, features: int, *, bidirectional: bool = False, channels: int = 0
) -> AnyCore:
    """Return a recurrence, batch first.

    Args:
        settings: the cell, its sizes and its dropout.
        features: number of features that the recurrence reads at each step.
        bidirectional: whether it also reads backwards.
        channels: number of channels of a recording; 0 for other inputs.
    """
    build = CORES[settings.cell].build
    if not settings.block:
        return build(settings, Shape(features, bidirectional, channels))
    given, one = settings.hidden_size, copy.copy(settings)
    sizes = (given,) * settings.num_layers if isinstance(given, int) else given
    one.hidden_size, one.num_layers, one.dropout = sizes[0], 1, 0.0
    layers = [build(one, Shape(size, bidirectional)) for size in sizes]
    return Blocks(features, layers, dropout=settings.dropout, variational=settings.variational)


def build_pyramid(
    settings: TranscriberSettings, encode: Encoder, features: int
) -> tuple[Pyramid, AnyCore]:
    """Return the encoder with the lower layers of a transcriber, and the core of the others.

    Args:
        settings: the cell, the sizes and dropout of all layers, and the number of lower ones.
        encode: the layer that reads the input.
        features: number of features that this layer returns.
    """
    part, layers, sizes = copy.copy(settings), [], settings.layer_sizes
    for size in sizes[: settings.pyramid]:
        part.hidden_size, part.num_layers = size, 1
        layers.append(build_core(part, features, bidirectional=settings.bidirectional))
        features = 2 * layers[-1].output_size
    rest = sizes[settings.pyramid :]
    part.hidden_size, part.num_layers = rest[0] if len(set(rest)) == 1 else rest, len(rest)
    core = build_core(part, features, bidirectional=settings.bidirectional)
    s = settings
    return Pyramid(encode, layers, dropout=s.dropout, variational=s.variational), core


def build_coder(
    settings: TranslatorSettings, source: Encoder, features: int, target: Embed
) -> Coder:
    """Return the encoder and decoder of a translator.

    Args:
        settings: the cell, the attention, and their sizes.
        source: the layer that reads the source.
        features: number of features that this layer returns.
        target: the embedding of the target's tokens.
    """
    if settings.cell == "transformer":
        assert isinstance(source, Embed)
        return Transformer(
            source, target, settings.num_layers, heads=settings.heads, dropout=settings.dropout
        )
    last = settings.sizes[-1]
    encoder = build_core(settings, features, bidirectional=settings.bidirectional)
    core = build_core(settings, settings.vector_size + (last if settings.input_feeding else 0))
    width, attention = encoder.output_size, None
    if settings.attention is not None:
        attention = Attention(
            last, width, settings.attention, heads=settings.heads, coverage=settings.coverage > 0
        )
    return Recurrent(source, encoder, target, core, attention, input_feeding=settings.input_feeding)
