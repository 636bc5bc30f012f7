"""Cells that read channels which are measured at uneven times, and the layer that holds one.

The inputs at step t are the values x_t of C channels, 0 where nothing was measured; the mask m_t, 1
where something was measured; the time s_t since the previous step; and E features u_t that are
always present.  Values are standardised by the training data, so the mean of a channel is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from elman.errors import ArgumentError
from elman.recur.cell import Cell
from elman.recur.stack import Stack


@dataclass(frozen=True)
class TimedCell(Cell):
    """A cell that reads x_t, m_t, s_t and u_t, side by side.

    Args:
        channels: C.
    """

    channels: int

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return x_t, m_t, s_t and u_t of inputs (..., 2 C + 1 + E)."""
        sizes = [self.channels, self.channels, 1]
        parts: tuple[Tensor, ...] = x.split([*sizes, x.shape[-1] - sum(sizes)], dim=-1)
        return parts


class TimedStack(Stack):
    """One layer of a `TimedCell`, which runs forward on inputs with the batch first.

    Args:
        cell: the equations.
        hidden_size: H.
        extra: E, features that are always present.
        weight_dropout: probability of dropping an entry of `weight_hh`, once per call
            (arXiv:1708.02182).
        recurrent_dropout: probability of dropping a unit of h_{t-1} on its way into the gates, the
            same at all steps (arXiv:1512.05287).
        zoneout: probability that a unit of h keeps its old value in a step (arXiv:1606.01305).

    Raises:
        ArgumentError: a size is below its minimum, or a probability is out of its range.
    """

    def __init__(
        self,
        cell: TimedCell,
        hidden_size: int,
        extra: int,
        *,
        weight_dropout: float,
        recurrent_dropout: float,
        zoneout: float,
    ) -> None:
        channels = cell.channels
        if channels < 1 or hidden_size < 1 or extra < 0:
            raise ArgumentError(
                "channels and hidden_size must be at least 1, extra at least 0, got "
                f"{channels}, {hidden_size}, {extra}"
            )
        others = len(cell.state_shapes(hidden_size)) - 1
        super().__init__(
            cell,
            2 * channels + 1 + extra,
            hidden_size,
            batch_first=True,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=(zoneout, *[0.0] * others),
        )
        self.channels, self.extra = channels, extra

    def parameter_name(self, name: str, layer: int, direction: int) -> str:
        """Return the name of a weight unchanged: there is only one layer."""
        return name

    def extra_repr(self) -> str:
        """Return the sizes for `repr`."""
        return f"channels={self.channels}, hidden_size={self.hidden_size}, extra={self.extra}"
