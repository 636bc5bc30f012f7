"""Measure how far back in time the gradient reaches.

    r_k = mean over rows of | d loss_t / d x_{t-k} |,    t the last step of a chunk

r_k decreases with the lag k if gradients vanish and grows if they explode (Bengio, Simard and
Frasconi 1994; Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063).
"""

from __future__ import annotations

import torch
from torch import Tensor

from elman.model import SequenceModel
from elman.padded import Padded


def gradient_by_lag(model: SequenceModel, inputs: Padded, targets: Tensor) -> list[float]:
    """Return the mean norm of the gradient of the last loss by each input, nearest first.

    Args:
        model: the model; its weights do not change.
        inputs: rows (B, T, ...) of full length.
        targets: (B, T, ...).

    Returns:
        T norms, for the lags 0..T-1.

    Example:
        >>> import torch, elman
        >>> from elman.heads import ValueHead
        >>> from elman.model import SequenceModel
        >>> from elman.padded import Padded
        >>> model = SequenceModel(None, elman.RNN(1, 4, batch_first=True), ValueHead(4, 1))
        >>> norms = gradient_by_lag(model, Padded.full(torch.randn(2, 9, 1)), torch.randn(2, 9, 1))
        >>> len(norms), norms[0] > norms[8]
        (9, True)
    """
    was_training = model.training
    model.eval()
    encoded = inputs if model.encode is None else model.encode(inputs)
    x = encoded.data.detach().requires_grad_()
    with torch.enable_grad():
        h, _ = model.core(x, None, encoded.lengths)
        total, _ = model.head.loss(Padded.full(h[:, -1:]), targets[:, -1:])
        (gradient,) = torch.autograd.grad(total, x)
    model.train(was_training)
    norms: list[float] = gradient.float().norm(dim=2).mean(0).flip(0).tolist()
    return norms
