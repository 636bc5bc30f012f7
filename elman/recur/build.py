"""The constructor of layers of a cell: the sizes and options that all such layers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from elman.recur.cell import Cell
from elman.recur.stack import Stack


def layers_of(cell: Callable[[], Cell]) -> Any:
    """Return the `__init__` of a subclass of `Stack` for a cell without options.

    Example:
        >>> from elman.recur.build import layers_of
        >>> from elman.recur.gru import GRUCell
        >>> from elman.recur.stack import Stack
        >>> class Layers(Stack):
        ...     __init__ = layers_of(GRUCell)
        >>> Layers(3, 8, num_layers=2)
        Layers(3, 8, num_layers=2)
    """

    def construct(
        self: Stack,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        variational: bool = False,
        zoneout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        Stack.__init__(
            self,
            cell(),
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            variational=variational,
            zoneout=zoneout,
            device=device,
            dtype=dtype,
        )

    return construct


def layers_with_heads(cell: Callable[[int | None], Cell]) -> Any:
    """Return the `__init__` of a subclass of `Stack` for a cell whose option is a number of heads.

    Example:
        >>> from elman.recur.build import layers_with_heads
        >>> from elman.recur.gla import GLACell
        >>> from elman.recur.stack import Stack
        >>> class Layers(Stack):
        ...     __init__ = layers_with_heads(GLACell)
        >>> Layers(3, 8, heads=2)
        Layers(3, 8)
    """

    def construct(
        self: Stack,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        *,
        heads: int | None = None,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        variational: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        Stack.__init__(
            self,
            cell(heads),
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            variational=variational,
            device=device,
            dtype=dtype,
        )

    return construct
