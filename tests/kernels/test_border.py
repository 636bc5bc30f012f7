"""Whatever a call is handed, it answers as torch does or raises one clear line; memory stays whole.

`make sanitize` runs this on a build that sees every wrong address.  More calls, by hand:

    ELMAN_FUZZ=20000 ELMAN_FUZZ_SEED=7 python -m pytest tests/kernels/test_border.py
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import elman
from elman import kernels
from elman.errors import ArgumentError, TensorError
from elman.kernels.cross_entropy import linear_cross_entropy, loss_and_right
from elman.recur import GRUD, linear_recurrence

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")

CALLS = int(os.environ.get("ELMAN_FUZZ", "400"))
SEED = int(os.environ.get("ELMAN_FUZZ_SEED", "0"))
DTYPES = (
    torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int8, torch.bool,
    torch.complex64,
)  # fmt: skip
LAYERS = {"lstm": (elman.LSTM, nn.LSTM), "gru": (elman.GRU, nn.GRU), "rnn": (elman.RNN, nn.RNN)}


def spoil(tensor: Tensor, choose: random.Random) -> Tensor:
    """The same tensor with another dtype, shape, device or layout."""
    kind = choose.choice(
        ["dtype", "shape", "rank", "meta", "strided", "expanded", "empty", "sparse"]
    )
    if kind == "dtype":
        return tensor.to(choose.choice(DTYPES))
    if kind == "shape":
        d = choose.randrange(tensor.dim()) if tensor.dim() else 0
        size = choose.choice([1, 2, tensor.shape[d] + 1, max(1, tensor.shape[d] - 1)])
        return tensor.new_zeros(*tensor.shape[:d], size, *tensor.shape[d + 1 :])
    if kind == "rank":
        return tensor[None] if choose.random() < 0.5 or not tensor.dim() else tensor[0]
    if kind == "meta":
        return tensor.to("meta")
    if kind == "strided":
        return torch.stack([tensor, tensor], dim=-1)[..., 1]
    if kind == "expanded":
        return tensor.flatten()[:1].expand(tensor.shape)
    if kind == "empty":
        return tensor.new_zeros(0, *tensor.shape[1:])
    return tensor.to_sparse()


def layer_call(choose: random.Random) -> Callable[[], Any]:
    """A forward and backward pass of a drop-in with something wrong, or nothing."""
    ours = LAYERS[choose.choice(list(LAYERS))][0]
    options: dict[str, Any] = {
        "num_layers": choose.choice([1, 2]),
        "bidirectional": choose.random() < 0.3,
        "layer_norm": choose.random() < 0.3,
    }
    if ours is elman.LSTM and choose.random() < 0.3:
        options["proj_size"] = 2
    if ours is elman.GRU and choose.random() < 0.3:
        options["reset_after"] = False
    layer: nn.Module = ours(3, choose.choice([4, 17]), batch_first=True, **options)
    if choose.random() < 0.2:
        layer.bfloat16()
    B, T = choose.choice([1, 2, 5]), choose.choice([1, 2, 7])
    x = torch.randn(B, T, 3, dtype=next(layer.parameters()).dtype)
    _, state = layer(x)
    lengths: Any = None
    if choose.random() < 0.4:
        lengths = torch.tensor([choose.randrange(T + 1) for _ in range(B)])
    what = choose.choice(["x", "state", "weight", "lengths", "packed", "nothing"])
    if what == "x":
        x = spoil(x, choose)
    elif what == "state" and isinstance(state, tuple):
        state = (
            (spoil(state[0], choose), state[1])
            if choose.random() < 0.5
            else (state[0], spoil(state[1], choose))
        )
    elif what == "state":
        state = spoil(state, choose)
    elif what == "weight":
        name, parameter = choose.choice(list(layer.named_parameters()))
        other = spoil(parameter.detach(), choose)
        layer._parameters[name] = nn.Parameter(other, requires_grad=other.is_floating_point())
    elif what == "lengths":
        lengths = torch.tensor(
            [choose.choice([-1, 0, T, T + 1, 10**6]) for _ in range(B + choose.choice([-1, 0, 1]))]
        )
        lengths = spoil(lengths, choose) if choose.random() < 0.5 else lengths
    elif what == "packed":
        sizes = torch.tensor([choose.choice([-1, 0, 1, 2, 3, 10**6]) for _ in range(3)])
        x, lengths, state = PackedSequence(torch.randn(5, 3), sizes), None, None

    def run() -> None:
        y, _ = layer(x, None if choose.random() < 0.3 else state, lengths)
        data = y.data if isinstance(y, PackedSequence) else y
        if data.requires_grad:
            data.float().square().sum().backward()

    return run


def other_call(choose: random.Random) -> Callable[[], Any]:
    """One of the other entries, with one of its tensors spoilt."""
    which = choose.choice(["loss", "right", "scan", "grud", "stream"])
    if which in ("loss", "right"):
        N, V = choose.choice([32, 70]), 256
        tensors = [
            torch.randn(N, 5, requires_grad=True),
            torch.randn(V, 5),
            torch.randn(V),
            torch.randint(V, (N,)),
        ]
        function: Any = linear_cross_entropy if which == "loss" else loss_and_right
    elif which == "scan":
        kind = choose.choice([torch.float32, torch.complex64])
        a = torch.rand(choose.choice([1, 3]), choose.choice([1, 4]), 5, dtype=kind)
        tensors = [
            a.requires_grad_(),
            torch.rand(3, 4, 5, dtype=kind),
            torch.rand(3, 5, dtype=kind),
            torch.tensor([4, 0, 2]),
        ]
        function = linear_recurrence
    elif which == "grud":
        core = GRUD(2, 6)
        tensors = [
            torch.rand(3, 4, 5),
            torch.rand(1, 3, 6),
            torch.rand(1, 3, 2),
            torch.rand(1, 3, 2),
            torch.tensor([4, 0, 2]),
        ]
        function = lambda x, h, last, since, lengths: core(x, (h, last, since), lengths)  # noqa: E731
    else:
        stream = elman.Stream(elman.LSTM(3, 4), rows=2)
        tensors = [torch.rand(2, 3), torch.rand(1, 2, 4), torch.rand(1, 2, 4)]

        def function(x: Tensor, h: Tensor, c: Tensor) -> Any:
            stream.state = (h, c)
            stream(x)
            return stream.run(x[:, None])

    if choose.random() < 0.9:
        i = choose.randrange(len(tensors))
        tensors[i] = spoil(tensors[i].detach(), choose)

    def run() -> None:
        found = function(*tensors)
        first = found if isinstance(found, Tensor) else found[0]
        if first.requires_grad:
            first.abs().sum().backward()

    return run


def test_no_call_reads_or_writes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warnings.warn", lambda *_args, **_kwargs: None)
    choose = random.Random(SEED)
    torch.manual_seed(SEED)
    for _ in range(CALLS):
        run = choose.choice([layer_call, layer_call, other_call])(choose)
        try:
            run()
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            assert str(error)
            assert "incompatible function arguments" not in str(error)
