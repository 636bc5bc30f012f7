"""The recurrence that a task's settings describe, and the language model that it may start from.

Dai and Le 2015 (arXiv:1511.01432) start a classifier so, Ramachandran, Liu and Le 2017
(arXiv:1611.02683) encoder and decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elman.encode.embed import Embed
from elman.errors import ArgumentError
from elman.recur import GRU, GRUD, LSTM, RNN
from elman.recur.stack import Stack
from elman.tasks.settings import NetworkSettings

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier
    from elman.tasks.language_model import LanguageModel
    from elman.tasks.tagger import Tagger
    from elman.tasks.translator import Translator

DECIDED = (  # by a language model to start from
    "cell", "hidden_size", "num_layers", "layer_norm", "peephole", "tokens", "vocabulary_size",
    "min_count", "lowercase", "split_punctuation",
)  # fmt: skip


def build_core(
    settings: NetworkSettings, features: int, *, bidirectional: bool = False
) -> RNN | LSTM | GRU:
    """A recurrence, batch first, on vectors of so many features."""
    shared: dict[str, Any] = {
        "num_layers": settings.num_layers, "batch_first": True, "dropout": settings.dropout,
        "variational": settings.variational, "weight_dropout": settings.weight_dropout,
        "recurrent_dropout": settings.recurrent_dropout, "zoneout": settings.zoneout,
        "layer_norm": settings.layer_norm, "bidirectional": bidirectional,
    }  # fmt: skip
    if settings.cell == "lstm":
        return LSTM(features, settings.hidden_size, **shared, peephole=settings.peephole)
    return (GRU if settings.cell == "gru" else RNN)(features, settings.hidden_size, **shared)


def build_reader(
    settings: Classifier | Tagger, features: int, channels: int
) -> RNN | LSTM | GRU | GRUD:
    """The same of words or recordings; the channels of these may decay."""
    if settings.cell == "grud":
        return GRUD(
            channels, settings.sizes[0], features - 2 * channels - 1,
            recurrent_dropout=settings.recurrent_dropout,
        )  # fmt: skip
    return build_core(settings, features, bidirectional=settings.bidirectional)


def earlier_model(model: Classifier | Translator) -> LanguageModel | None:
    """The language model to start from, if there is one; what it decides is noted in `model`.

    Raises:
        ArgumentError: something else was chosen, or its layers cannot read both directions.
    """
    from elman.tasks.language_model import LanguageModel

    if model.start_from is None:
        return None
    earlier, fresh = LanguageModel.load(model.start_from), type(model)()
    assert isinstance(earlier.model.encode, Embed)
    decided = {name: getattr(earlier, name) for name in DECIDED}
    decided["embedding_size"] = earlier.model.encode.weight.shape[1]
    for name, theirs in decided.items():
        ours = getattr(model, name)
        if ours not in (theirs, getattr(fresh, name)):
            raise ArgumentError(
                f"{name}={ours}: the language model in {model.start_from} has {theirs}, which "
                f"stays; leave {name} out"
            )
    model._described["decided"] = decided
    model.settled().check()
    if model.bidirectional and len(earlier.model.core.hidden_sizes) > 1:
        raise ArgumentError(
            f"start_from={model.start_from}: its layers read forward only, those above the first "
            "cannot read both directions; set bidirectional=False"
        )
    return earlier


def begin_as(core: Stack, earlier: Stack) -> None:
    """Take over the weights; a backward direction, if there is one, stays as it is."""
    core.load_state_dict(core.state_dict() | earlier.state_dict())
