"""A causal convolution over the steps, each feature by itself.

    y_t = b + w_1 * x_{t-S+1} + .. + w_S * x_t        for each feature, with S weights

The inputs before the first step are a tail of S - 1 steps, which a call returns for the next one.

Shape legend: T steps, B rows, D features, S weights of a feature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elman.padded import time_mask


def causal_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tail: Tensor,
    lengths: Tensor | None = None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Convolve the steps of each row with its earlier steps.

    Args:
        x: (T, B, D), zero after the end of a row; T is at least 1.
        weight: (D, S); the last weight belongs to the step itself.
        bias: (D), or None.
        tail: (B, S - 1, D), the steps before the first one, the latest last.
        lengths: integers (B,) in 0..T; None if all rows have T steps.
        reverse: run each row from its last step to its first.

    Returns:
        y (T, B, D), with any values after the end of a row, and the tail of each row for the next
        call.

    Example:
        >>> import torch
        >>> from elman.recur.convolve import causal_convolution
        >>> x = torch.tensor([1.0, 2, 3]).view(3, 1, 1)
        >>> y, tail = causal_convolution(x, torch.tensor([[10.0, 1]]), None, torch.zeros(1, 1, 1))
        >>> y.flatten().tolist(), tail.flatten().tolist()
        ([1.0, 12.0, 23.0], [3.0])
    """
    if reverse:
        y, tail = causal_convolution(turned(x, lengths), weight, bias, tail, lengths)
        return turned(y, lengths), tail
    steps, _, features = x.shape
    size = weight.shape[1]
    whole = torch.cat([tail.transpose(0, 1).to(x.dtype), x])  # (S - 1 + T, B, D)
    y = whole[size - 1 :] * weight[:, -1]
    if bias is not None:
        y = y + bias
    for k in range(size - 1):
        y = torch.addcmul(y, whole[k : k + steps], weight[:, k])
    if lengths is None:
        last = whole[steps:]
    else:
        index = lengths.to(x.device)[None] + torch.arange(size - 1, device=x.device)[:, None]
        last = whole.gather(0, index[..., None].expand(-1, -1, features))
    return y, last.transpose(0, 1)


def convolve_step(
    x: Tensor, weight: Tensor, bias: Tensor | None, tail: Tensor
) -> tuple[Tensor, Tensor]:
    """Return y (B, D) and the next tail for one step x (B, D)."""
    whole = torch.cat([tail, x.unsqueeze(1)], 1)
    y = (whole * weight.t()).sum(1)
    return y if bias is None else y + bias, whole[:, 1:]


def turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return x (T, B, D) with the steps of each row in reverse order, zero after its end.

    Example:
        >>> import torch
        >>> from elman.recur.convolve import turned
        >>> x = torch.tensor([[1, 4], [2, 5], [3, 0]])[..., None]
        >>> turned(x, torch.tensor([3, 2]))[..., 0].tolist()
        [[3, 5], [2, 4], [1, 0]]
    """
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(len(x), device=x.device)[:, None]
    index = (lengths.to(x.device)[None] - 1 - steps).clamp(min=0)
    found = x.gather(0, index[..., None].expand_as(x))
    running = time_mask(lengths.to(x.device), len(x)).t()[..., None]
    return torch.where(running, found, 0)
