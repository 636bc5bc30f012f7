"""Build the recurrence of a task, and initialise it from a language model.

Sources: Dai and Le 2015 (arXiv:1511.01432) for classifiers; Ramachandran, Liu and Le 2017
(arXiv:1611.02683) for encoders and decoders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elman.attend import Attention
from elman.cores import CORES, CoreSettings, Shape
from elman.encode.embed import Embed
from elman.errors import ArgumentError
from elman.recur.stack import Stack
from elman.seq2seq import Coder
from elman.seq2seq.recurrent import Recurrent
from elman.seq2seq.transformer import Transformer
from elman.tasks.folder import short_path

if TYPE_CHECKING:
    from elman.inputs.settings import InputSettings
    from elman.tasks.classifier import Classifier
    from elman.tasks.language_model import LanguageModel
    from elman.tasks.translator import Translator

DECIDED = (  # settings that a language model in start_from decides
    "cell", "hidden_size", "num_layers", "layer_norm", "peephole", "tokens", "vocabulary_size",
    "min_count", "lowercase", "split_punctuation",
)  # fmt: skip


def build_core(
    settings: CoreSettings, features: int, *, bidirectional: bool = False, channels: int = 0
) -> Stack:
    """Return a recurrence, batch first.

    Args:
        settings: the cell, its sizes and its dropout.
        features: numbers that the recurrence reads at a step.
        bidirectional: whether it also reads from the end.
        channels: the channels of a recording; 0 for other inputs.
    """
    return CORES[settings.cell].build(settings, Shape(features, bidirectional, channels))


def build_reader(settings: InputSettings, features: int, channels: int) -> Stack:
    """Return the recurrence of a classifier or tagger."""
    both = settings.bidirectional
    return build_core(settings, features, bidirectional=both, channels=channels)


def build_coder(settings: Translator, source: Embed, target: Embed, features: int) -> Coder:
    """Return the encoder and decoder of a translator, given its embedding layers."""
    if settings.cell == "transformer":
        return Transformer(
            source, target, settings.num_layers, heads=settings.heads, dropout=settings.dropout
        )
    last, both = settings.sizes[-1], settings.bidirectional
    encoder = build_core(settings, features, bidirectional=both)
    core = build_core(settings, features + (last if settings.input_feeding else 0))
    width, attention = last * (2 if both else 1), None
    if settings.attention is not None:
        attention = Attention(
            last, width, settings.attention, heads=settings.heads, coverage=settings.coverage > 0
        )
    return Recurrent(source, encoder, target, core, attention, input_feeding=settings.input_feeding)


def earlier_model(model: Classifier | Translator) -> LanguageModel | None:
    """Return the language model in `start_from`, if any; store the settings that it decides.

    Raises:
        ArgumentError: a setting contradicts it, or its layers cannot read both directions.
    """
    from elman.tasks.language_model import LanguageModel

    if model.start_from is None:
        return None
    folder = short_path(model.start_from)
    earlier, fresh = LanguageModel.load(folder), type(model)()
    assert isinstance(earlier.model.encode, Embed)
    decided = {name: getattr(earlier, name) for name in DECIDED}
    decided["embedding_size"] = earlier.model.encode.weight.shape[1]
    for name, theirs in decided.items():
        ours = getattr(model, name)
        if ours not in (theirs, getattr(fresh, name)):
            raise ArgumentError(
                f"{name}={ours}: the language model in {folder} has {name}={theirs}, "
                f"which cannot be changed; do not set {name}"
            )
    model._described["decided"] = decided
    model.settled().check()
    if model.bidirectional and len(earlier.model.core.hidden_sizes) > 1:
        raise ArgumentError(
            f"start_from={folder}: only the first of its layers can be used in both "
            "directions; set bidirectional=False"
        )
    return earlier


def copy_weights(core: Stack, earlier: Stack) -> None:
    """Copy the weights of a language model; those of a backward direction are kept."""
    core.load_state_dict(core.state_dict() | earlier.state_dict())
