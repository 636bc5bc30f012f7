"""Any call returns the result of torch or raises an error of one line, and never corrupts memory.

`make sanitize` runs this on a build that detects every invalid access.  To run more calls:

    ELMAN_FUZZ=20000 ELMAN_FUZZ_SEED=7 python -m pytest tests/kernels/test_border.py
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import elman
from elman import kernels
from elman.errors import ArgumentError, TensorError
from elman.heads import TokenHead
from elman.kernels.cross_entropy import linear_cross_entropy, loss_and_right
from elman.kernels.transducer import transducer_loss
from elman.model import SequenceModel
from elman.padded import Padded
from elman.recur import GRUD, linear_recurrence

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")

CALLS = int(os.environ.get("ELMAN_FUZZ", "300"))
SEED = int(os.environ.get("ELMAN_FUZZ_SEED", "0"))
DTYPES = (
    torch.bfloat16,
    torch.float16,
    torch.float64,
    torch.int64,
    torch.int8,
    torch.bool,
    torch.complex64,
)
LAYERS = {"lstm": (elman.LSTM, nn.LSTM), "gru": (elman.GRU, nn.GRU), "rnn": (elman.RNN, nn.RNN)}


def spoil(tensor: Tensor, choose: random.Random) -> Tensor:
    """Give a tensor another dtype, shape, device or layout."""
    if not tensor.numel():
        return tensor[None]
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
    """Return a forward and backward pass of a layer, mostly with one invalid argument."""
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
    """Return a call of another function, mostly with one of its tensors changed."""
    which = choose.choice(["loss", "right", "scan", "grud", "stream", "transducer"])
    if which in ("loss", "right"):
        N, V = choose.choice([32, 70]), 256
        tensors = [
            torch.randn(N, 5, requires_grad=True),
            torch.randn(V, 5),
            torch.randn(V),
            torch.randint(V, (N,)),
        ]
        function: Any = linear_cross_entropy if which == "loss" else loss_and_right
    elif which == "transducer":
        T, U, V = choose.choice([1, 9]), choose.choice([0, 4]), choose.choice([2, 40])
        tensors = [
            torch.randn(2, T, 5, requires_grad=True),
            torch.randn(2, U + 1, 5),
            torch.randn(V, 5),
            torch.randn(V),
            torch.randint(V - 1, (2, U)),
            torch.tensor([T, choose.randrange(1, T + 1)]),
            torch.tensor([U, choose.randrange(U + 1)]),
        ]
        function = transducer_loss
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


@pytest.mark.filterwarnings("ignore")
def test_no_call_reads_or_writes_outside_of_its_memory() -> None:
    choose = random.Random(SEED)
    torch.manual_seed(SEED)
    messages: list[str] = []
    for _ in range(CALLS):
        run = choose.choice([layer_call, layer_call, other_call])(choose)
        messages.append("")
        try:
            run()
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            messages[-1] = str(error) or repr(error)
    assert not [text for text in messages if "incompatible function arguments" in text]
    # Most calls are wrong, and some are right.
    assert CALLS / 4 < sum(map(bool, messages)) < CALLS * 0.9


X = torch.zeros(1, 1, 4)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_a_state_of_another_dtype_raises_an_error_as_in_torch(
    kind: str, dtype: torch.dtype
) -> None:
    for layer in LAYERS[kind]:
        cell = layer(4, 64, batch_first=True)
        _, state = cell(X)
        other = state.to(dtype) if isinstance(state, Tensor) else (state[0], state[1].to(dtype))
        with pytest.raises(RuntimeError) as caught:
            cell(X, other)
        assert issubclass(TensorError, caught.type) or caught.type is RuntimeError


def test_a_state_without_tensors_is_refused() -> None:
    h = torch.zeros(1, 1, 4)
    for state in ((None, None), (h, None)):
        with pytest.raises(ArgumentError, match="state must hold tensors, got NoneType"):
            elman.LSTM(3, 4)(torch.zeros(2, 1, 3), state)  # type: ignore[arg-type]


def test_a_state_from_autocast_is_refused_outside_of_it() -> None:
    linear, lstm = nn.Linear(4, 4), elman.LSTM(4, 64, batch_first=True)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = lstm(linear(X))
        lstm(linear(X), state)
    with pytest.raises(
        TensorError, match=r"state must be torch.float32 on cpu, as x is, got torch.b"
    ):
        lstm(linear(X), state)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_on_another_device_than_x_is_refused(kind: str) -> None:
    ours = LAYERS[kind][0]
    with pytest.raises(TensorError, match=r"weight_ih must be float32 .* got float32 .* on meta"):
        ours(4, 8, device="meta")(X)
    _, state = ours(4, 8)(X)
    meta = state.to("meta") if isinstance(state, Tensor) else tuple(s.to("meta") for s in state)
    with pytest.raises(TensorError, match=r"got torch\.float32 on meta"):
        ours(4, 8)(X, meta)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_weight_of_another_dtype_or_shape_is_refused(kind: str, name: str) -> None:
    for change in (torch.Tensor.double, lambda w: w[:5]):
        layer = LAYERS[kind][0](4, 8)
        layer.get_parameter(name).data = change(layer.get_parameter(name).data)
        with pytest.raises(RuntimeError):
            layer(X)


@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_ih_l0"])
@pytest.mark.parametrize("kind", LAYERS)
def test_an_error_names_a_replaced_weight_of_another_shape(kind: str, name: str) -> None:
    options = {"reset_after": False} if kind == "gru" else {}
    layer = LAYERS[kind][0](4, 8, **options)
    setattr(layer, name, nn.Parameter(torch.zeros(7)))
    with pytest.raises(TensorError, match=name.removesuffix("_l0")):
        layer(X)


@pytest.mark.parametrize(
    "sizes", [[30, 2], [-3, 2], [2, 3], [3, 1], [3, 2, 0], [], torch.tensor([3, 2]).int()]
)
def test_invalid_batch_sizes_are_refused(sizes: Any) -> None:
    for dtype in (torch.float32, torch.float64):  # by the kernels and by torch
        given = sizes if isinstance(sizes, Tensor) else torch.tensor(sizes, dtype=torch.int64)
        packed = PackedSequence(torch.zeros(5, 4, dtype=dtype), given)
        with pytest.raises(ArgumentError, match="batch_sizes of a PackedSequence must be int64"):
            elman.LSTM(4, 8, dtype=dtype)(packed)


def test_targets_and_bias_of_another_length_are_refused() -> None:
    h, weight = torch.zeros(32, 8), torch.zeros(300, 8)
    right = torch.zeros(32, dtype=torch.int64)
    for targets, bias in (
        (right[1:], None),
        (torch.cat([right, right]), None),
        (right, torch.zeros(5)),
    ):
        with pytest.raises(ArgumentError, match="h, weight, targets and bias must have shapes"):
            linear_cross_entropy(h, weight, bias, targets)
    for bad in (300, -1):
        with pytest.raises(
            ArgumentError, match=f"targets must be in 0..V-1=299, got {bad} at row 0"
        ):
            linear_cross_entropy(h, weight, None, right + bad)
    for given, name in (
        ([h.tolist(), weight, None, right], "h"),
        ([h, weight, [0.0] * 300, right], "bias"),
        ([h, weight, None, right.tolist()], "targets"),
    ):
        with pytest.raises(TensorError, match=f"^{name} must be a tensor, got list"):
            linear_cross_entropy(*given)  # type: ignore[arg-type]
    model = SequenceModel(None, elman.RNN(4, 8, batch_first=True), TokenHead(8, 300))
    x = Padded.full(torch.zeros(4, 10, 4))
    for function in (model.loss, model.score):
        with pytest.raises(ArgumentError, match=r"targets must be one for each element, \(4, 10\)"):
            function(x, torch.zeros(4, 9, dtype=torch.int64))


def test_grud_accepts_zero_rows_and_lengths_may_be_a_list() -> None:
    core = GRUD(2, 6)
    y, _ = core(torch.zeros(0, 4, 5))
    assert y.shape == (0, 4, 6)
    x = torch.rand(2, 4, 5)
    assert torch.equal(core(x, None, [4, 2])[0], core(x, None, torch.tensor([4, 2]))[0])
    lstm = elman.LSTM(5, 6, batch_first=True)
    assert torch.equal(lstm(x, None, [4, 2])[0], lstm(x, None, torch.tensor([4, 2]))[0])
    with pytest.raises(ArgumentError, match="lengths must be integers"):
        lstm(x, None, ["4", "2"])


def test_tensors_are_read_by_their_attributes_if_torch_has_no_exchange() -> None:
    code = (
        "import torch\n"
        "del torch.Tensor.__dlpack_c_exchange_api__\n"
        "import elman\n"
        "x, lstm = torch.rand(2, 3, 4), elman.LSTM(4, 8)\n"
        "y, state = lstm(x)\n"
        "assert torch.allclose(y, lstm.double()(x.double())[0].float(), atol=1e-6)\n"
        "try:\n"
        "    elman.LSTM(4, 8, device='meta')(x)\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "weight_ih must be float32" in done.stdout
