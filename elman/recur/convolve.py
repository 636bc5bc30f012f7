"""Causal depthwise convolution over time, which some cells apply before their recurrence.

    y_t = bias + sum_k w_k * x_{t-k},    k = 0 .. K-1, for each feature independently

A row begins with a tail, the K - 1 elements before its first one, which an earlier call returned.
In the reverse direction x_{t+k} replaces x_{t-k}, and a row begins at its own last element.

Shape legend: T steps, B rows, F features, K elements that an output depends on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Data types of the convolution of oneDNN.  A graph of `torch.compile` cannot contain this question.
ONEDNN = (torch.float32, torch.bfloat16) if torch.backends.mkldnn.is_available() else ()


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tail: Tensor,
    lengths: Tensor | None = None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Apply a causal depthwise convolution to sequences in parts.

    Args:
        x: (T, B, F), finite after the end of a row.
        weight: (F, K); column K - 1 - k is w_k, as in `torch.nn.Conv1d`.
        bias: (F,), or None for zero.
        tail: (B, K - 1, F), the elements before the first one in the order in which they were
            read; zeros for new sequences.
        lengths: integers (B,) in 0..T; None if all rows have T steps.
        reverse: read each row from its last element to its first.

    Returns:
        y (T, B, F), without meaning after the end of a row, and the tail (B, K - 1, F) for the
        next call.  A row without elements keeps its tail.

    Example:
        >>> import torch
        >>> from elman.recur.convolve import convolve
        >>> x, weight = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1), torch.tensor([[10.0, 1.0]])
        >>> y, tail = convolve(x, weight, None, torch.zeros(1, 1, 1))
        >>> y.flatten().tolist(), tail.flatten().tolist()
        ([1.0, 12.0, 23.0], [3.0])
        >>> y, tail = convolve(x, weight, None, tail)
        >>> y.flatten().tolist()
        [31.0, 12.0, 23.0]
    """
    if len(x) == 1 and lengths is None:
        window = torch.cat([tail.to(x.dtype), x.transpose(0, 1)], 1)  # (B, K, F)
        y = (window * weight.t()).sum(1)
        return (y if bias is None else y + bias)[None], window[:, 1:]
    before, rows = tail.shape[1], torch.arange(x.shape[1], device=x.device)
    tail = tail.to(x.dtype).transpose(0, 1)
    places = torch.arange(before, device=x.device)[:, None]
    if lengths is not None:
        places = places + lengths.to(x.device)  # of the elements around the end of each row
    if not reverse:
        whole = torch.cat([tail, x])
        end = whole[len(x) :] if lengths is None else whole[places, rows]
        return _convolve(whole, weight, bias), end.transpose(0, 1).clone()
    whole = torch.cat([x, tail.flip(0)])
    if lengths is not None:
        whole[places, rows] = tail.flip(0)
    end = whole[:before].flip(0)
    return _convolve(whole, weight.flip(1), bias), end.transpose(0, 1).clone()


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution (T, B, F) of x (T + K - 1, B, F) without padding.

    torch computes it in one pass over memory, as an image whose channels are adjacent.  On a CPU
    this needs oneDNN, without which torch would copy every channel.
    """
    steps, rows = len(x) - weight.shape[1] + 1, x.shape[1]
    fast = x.dtype in ONEDNN
    if steps and rows and (fast or x.device.type != "cpu"):
        image = x[None].permute(0, 3, 1, 2)  # (1, F, T + K - 1, B)
        y = F.conv2d(image, weight[:, None, :, None], bias, groups=len(weight))
        return y.permute(0, 2, 3, 1)[0]
    first, *others = weight.to(x.dtype).unbind(1)
    y = x[:steps] * first if bias is None else torch.addcmul(bias.to(x.dtype), x[:steps], first)
    for k, factor in enumerate(others, 1):
        y = torch.addcmul(y, x[k : k + steps], factor)
    return y
