"""Evaluate a model on batches, carrying the state from each batch to the next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from elman.model import SequenceModel
from elman.seq2seq import Seq2Seq
from elman.state import State
from elman.train.chunks import Batches, check_causal


@torch.no_grad()
def evaluate(
    model: SequenceModel | Seq2Seq,
    batches: Batches,
    *,
    device: torch.device | str = "cpu",
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, float]:
    """Return the scores of `model.head.summary` over the batches; the model's mode is restored.

    Args:
        model: the model to evaluate.
        batches: batches, which are iterated once.
        device: device of the model.
        autocast: context for the precision, such as `Fabric.autocast`.
    """
    was_training = model.training
    model.eval()
    state: State | None = None
    sums: dict[str, float] = {}
    for chunk in batches.epoch(1):
        check_causal(chunk, model)
        here = chunk.to(device)
        with autocast():
            part, end = model.score(here.inputs, here.targets, here.enter(state))
        state = here.leave(end)
        for name, value in part.items():
            sums[name] = sums.get(name, 0.0) + value
    model.train(was_training)
    return model.head.summary(sums)
