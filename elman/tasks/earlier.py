"""Initialise a model from a language model.

Sources: Dai and Le 2015 (arXiv:1511.01432) for classifiers; Ramachandran, Liu and Le 2017
(arXiv:1611.02683) for encoders and decoders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from elman.encode.embed import Embed
from elman.errors import ArgumentError
from elman.recur.blocks import AnyCore
from elman.targets.label_settings import LabelSettings
from elman.targets.text_settings import TranslatorSettings
from elman.tasks.folder import short_path
from elman.tasks.language_model import LanguageModel

DECIDED = (  # settings that a language model in start_from decides
    "cell",
    "hidden_size",
    "num_layers",
    "layer_norm",
    "peephole",
    "block",
    "cell_heads",
    "tokens",
    "vocabulary_size",
    "min_count",
    "lowercase",
    "split_punctuation",
)


def earlier_model(
    settings: LabelSettings | TranslatorSettings,
) -> tuple[LanguageModel | None, dict[str, Any]]:
    """Return the language model in `start_from`, and the settings that it decides.

    Raises:
        ArgumentError: a setting contradicts the language model, or its layers cannot be used in
            both directions.
    """
    if settings.start_from is None:
        return None, {}
    folder = short_path(settings.start_from)
    earlier, fresh = LanguageModel.load(folder), type(settings)()
    assert isinstance(earlier.model.encode, Embed)
    decided = {name: getattr(earlier, name) for name in DECIDED}
    decided["embedding_size"] = earlier.model.encode.weight.shape[1]
    for name, theirs in decided.items():
        ours = getattr(settings, name)
        if ours not in (theirs, getattr(fresh, name)):
            raise ArgumentError(
                f"{name}={ours}: the language model in {folder} has {name}={theirs}, "
                f"which cannot be changed; do not set {name}"
            )
    replace(settings, **decided).check()
    if settings.bidirectional and len(earlier.model.core.hidden_sizes) > 1:
        raise ArgumentError(
            f"start_from={folder}: only the first of its layers can be used in both "
            "directions; set bidirectional=False"
        )
    return earlier, decided


def copy_weights(core: AnyCore, earlier: AnyCore) -> None:
    """Copy the weights of a language model; weights of a backward direction do not change."""
    core.load_state_dict(core.state_dict() | earlier.state_dict())
