"""The values of a layer's forward pass that its backward pass needs, and the parts of a sequence.

Shape legend: N rows of all steps.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

OF_A_STEP = 6  # fields of Saved that the native call takes


class Part(NamedTuple):
    """Steps `first` to `last` - 1 of the sequence, which are rows `at` to `end` - 1 of (N, ...)."""

    first: int
    last: int
    at: int
    end: int


class Saved(NamedTuple):
    """The values (N, ...), time first, that the backward pass needs besides inputs and outputs."""

    a: Tensor | None
    p: Tensor | None
    c: Tensor | None
    seen: Tensor | None  # None if W_hh multiplied the output of the previous step unchanged
    m: Tensor | None
    stats: Tensor | None
    normal: Tensor | None  # the normalised contribution of the inputs
    scales: Tensor | None  # the reciprocals of its standard deviations

    def copy(self) -> Saved:
        """Return the values with copies of those that the backward pass overwrites."""
        p, normal = (None if b is None else b.clone() for b in (self.p, self.normal))
        assert self.a is not None
        return self._replace(a=self.a.clone(), p=p, normal=normal)

    def of_inputs(self, part: Part) -> tuple[Tensor, Tensor] | None:
        """Return the rows of `normal` and `scales` of a part, if they exist."""
        if self.normal is None or self.scales is None:
            return None
        return self.normal[part.at : part.end], self.scales[part.at : part.end]
