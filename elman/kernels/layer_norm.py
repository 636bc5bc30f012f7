"""Layer normalisation of the contribution of the inputs to the gates, for many rows at once.

    y = gain * (x - mean(x)) / deviation(x) + bias

It computes `elman.recur.weights.normalise` in place, while a part of the sequence is in the cache
(csrc/layer_norm.h).

Shape legend: N rows, G gates * units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elman.kernels import native


def normalise(
    y: Tensor, first: int, gain: Tensor, bias: Tensor | None, kept: tuple[Tensor, Tensor] | None
) -> None:
    """Replace y (N, G) by its normalisation.

    Args:
        y: (N, G) float32, dense.
        first: the number of leading entries of a row that are normalised together; the rest of the
            row is normalised separately.
        gain: (G).
        bias: (G), or None for zeros.
        kept: (N, G) and (N, 2), filled with the values that `normalise_backward` needs.
    """
    assert native is not None
    x, scales = (None, None) if kept is None else kept
    bias = None if bias is None else bias.contiguous()
    native.layer_norm(y, x, scales, first, gain.contiguous(), bias, torch.get_num_threads())


def normalise_backward(
    d_y: Tensor,
    first: int,
    gain: Tensor,
    kept: tuple[Tensor, Tensor],
    d_gain: Tensor,
    d_bias: Tensor | None,
) -> None:
    """Replace the first of `kept` by the gradient of the input; add to d_gain and d_bias."""
    assert native is not None
    native.layer_norm_backward(
        d_y, *kept, first, gain.contiguous(), d_gain, d_bias, torch.get_num_threads()
    )
