"""The recurrent cells that tasks offer: how each is built, and which settings it supports.

This file does not import torch; `build` imports it when a network is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from elman.arguments import either
from elman.errors import ArgumentError

if TYPE_CHECKING:
    from elman.recur.cell import Cell
    from elman.recur.stack import Stack


# Cells for any kind of input, and cells for recordings only, which read the time between steps.
AnyCell = Literal[
    "rnn",
    "lstm",
    "gru",
    "mingru",
    "minlstm",
    "lru",
    "rglru",
    "deltanet",
    "gated-deltanet",
    "gla",
    "mamba2",
    "mlstm",
    "slstm",
    "lem",
]
AnyTimedCell = Literal["grud", "gruwe", "cfc"]


class CoreSettings:
    """The settings from which a core is built; `NetworkSettings` gives them default values.

    `cell` can be any string here, so that a task can support cells that `--cell` does not list.
    """

    cell: str
    hidden_size: tuple[int, ...] | int
    num_layers: int
    dropout: float
    variational: bool
    weight_dropout: float
    recurrent_dropout: float
    zoneout: float
    layer_norm: bool
    peephole: bool
    block: bool
    cell_heads: int | None


@dataclass(frozen=True)
class Shape:
    """The sizes and directions of a core that are not settings.

    Args:
        features: numbers that the core reads at a step.
        bidirectional: whether it also reads in reverse.
        channels: C, the channels of a recording; 0 for other inputs.
    """

    features: int
    bidirectional: bool = False
    channels: int = 0


@dataclass(frozen=True)
class Core:
    """A cell that tasks offer.

    Args:
        build: returns the core, batch first, for settings and a shape.
        honours: names of the settings in `OFF` that the cell supports.
        timed: whether the cell reads channels, a mask of measured values, and the time between
            steps; tasks offer such a cell only for recordings.
    """

    build: Callable[[CoreSettings, Shape], Stack]
    honours: frozenset[str]
    timed: bool = False


# Settings that not every cell supports, each with the value that turns it off.
OFF: dict[str, object] = {
    "bidirectional": False,
    "num_layers": 1,
    "hidden_size": "one number",
    "embedding_size": None,
    "input_dropout": 0.0,
    "weight_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "zoneout": 0.0,
    "layer_norm": False,
    "peephole": False,
    "block": False,
    "cell_heads": None,
}
# Settings that layers of any cell support; a cell adds those of its own equations.
LAYERED = frozenset(
    {"bidirectional", "num_layers", "hidden_size", "embedding_size", "input_dropout", "block"}
)
STACKED = LAYERED | {"zoneout"}
MATRIX = STACKED | {"weight_dropout", "recurrent_dropout"}  # a matrix multiplies the state
GATED = MATRIX | {"layer_norm"}
HEADED = LAYERED | {"cell_heads"}
OWN = MATRIX - LAYERED | {"layer_norm", "peephole"}  # arguments of a layer's constructor
TIMED = frozenset({"weight_dropout", "recurrent_dropout", "zoneout"})


def stack(cell: Cell, settings: CoreSettings, shape: Shape) -> Stack:
    """Return layers of a cell, with the dropout of the settings."""
    from elman.recur.stack import Stack

    own = {name: getattr(settings, name) for name in sorted(MATRIX - LAYERED)}
    options = _depth(settings, shape) | own
    return Stack(cell, shape.features, settings.hidden_size, **options)


def _depth(settings: CoreSettings, shape: Shape) -> dict[str, Any]:
    """Return the arguments that all layers share."""
    return {
        "num_layers": settings.num_layers,
        "batch_first": True,
        "dropout": settings.dropout,
        "bidirectional": shape.bidirectional,
        "variational": settings.variational,
    }


def layers(name: str, honours: frozenset[str] = LAYERED) -> Core:
    """Return the layers with this name in `elman.recur`."""

    def build(settings: CoreSettings, shape: Shape) -> Stack:
        from elman import recur

        own = {name: getattr(settings, name) for name in sorted(OWN & honours)}
        if "cell_heads" in honours:
            own["heads"] = settings.cell_heads
        options = _depth(settings, shape) | own
        found: Stack = getattr(recur, name)(shape.features, settings.hidden_size, **options)
        return found

    return Core(build, honours)


def timed_layer(name: str) -> Core:
    """Return the layer of recordings with this name in `elman.recur`."""

    def build(settings: CoreSettings, shape: Shape) -> Stack:
        from elman import recur

        sizes, channels = settings.hidden_size, shape.channels
        found: Stack = getattr(recur, name)(
            channels,
            sizes if isinstance(sizes, int) else sizes[0],
            shape.features - 2 * channels - 1,
            weight_dropout=settings.weight_dropout,
            recurrent_dropout=settings.recurrent_dropout,
            zoneout=settings.zoneout,
        )
        return found

    return Core(build, TIMED, timed=True)


CORES = {
    "rnn": layers("RNN", GATED),
    "lstm": layers("LSTM", GATED | {"peephole"}),
    "gru": layers("GRU", GATED),
    "mingru": layers("MinGRU", STACKED),
    "minlstm": layers("MinLSTM", STACKED),
    "lru": layers("LRU"),
    "rglru": layers("RGLRU"),
    "deltanet": layers("DeltaNet", HEADED),
    "gated-deltanet": layers("GatedDeltaNet", HEADED),
    "gla": layers("GLA", HEADED),
    "mamba2": layers("Mamba2", HEADED),
    "mlstm": layers("MLSTM", HEADED),
    "slstm": layers("SLSTM", MATRIX | HEADED),
    "lem": layers("LEM", MATRIX),
    "grud": timed_layer("GRUD"),
    "gruwe": timed_layer("GRUwE"),
    "cfc": timed_layer("CfC"),
}


def is_timed(cell: str | None) -> bool:
    """Return whether a cell reads channels with a mask and the time between steps.

    Args:
        cell: the value of a setting `cell`.

    Example:
        >>> from elman.cores import is_timed
        >>> is_timed("grud"), is_timed("gru"), is_timed(None)
        (True, False, False)
    """
    return cell in CORES and CORES[cell].timed


def check_honoured(cell: str, given: dict[str, object]) -> None:
    """Raise an ArgumentError for a setting that is turned on and that the cell does not support.

    Args:
        cell: a key of `CORES`.
        given: the values of settings; those that are not in `OFF` are skipped.  `hidden_size` is
            None if it is one number.

    Example:
        >>> from elman.cores import check_honoured
        >>> check_honoured("gru", {"peephole": True})
        Traceback (most recent call last):
        elman.errors.ArgumentError: peephole needs cell=lstm, got cell=gru; set peephole=False
    """
    for name, off in OFF.items():
        value = given.get(name, off)
        if name in CORES[cell].honours or value in (None, off):
            continue
        able = [other for other, core in CORES.items() if name in core.honours and not core.timed]
        wanted = either(able)
        shown = name if value is True else f"{name}={value}"
        raise ArgumentError(f"{shown} needs cell={wanted}, got cell={cell}; set {name}={off}")
