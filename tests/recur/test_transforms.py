"""Layers under torch.func, tracing, export and compilation work or raise a clear error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import elman
from elman.errors import ArgumentError
from elman.recur import linear_recurrence

LAYERS = {"lstm": elman.LSTM, "gru": elman.GRU, "rnn": elman.RNN}
# The warnings are those of torch, about tracing and deprecated functions.
pytestmark = pytest.mark.filterwarnings("ignore")


def build(kind: str, **options: object) -> Callable[..., tuple[Tensor, object]]:
    """Return a layer of 3 features and 5 units, batch first."""
    torch.manual_seed(0)
    layer: nn.Module = LAYERS[kind](3, 5, batch_first=True, **options)
    return layer


@pytest.mark.parametrize("kind", LAYERS)
def test_functions_of_torch_func_work(kind: str) -> None:
    layer, x = build(kind), torch.randn(2, 4, 3)
    weights = {name: p.detach() for name, p in layer.named_parameters()}  # type: ignore[attr-defined]

    def loss(weights: dict[str, Tensor]) -> Tensor:
        y: Tensor = functional_call(layer, weights, (x,))[0]  # type: ignore[arg-type]
        return y.square().sum()

    layer(x)[0].square().sum().backward()
    for name, found in grad(loss)(weights).items():
        expected = layer.get_parameter(name).grad  # type: ignore[attr-defined]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(vmap(lambda row: layer(row)[0])(x), layer(x)[0])
    backward = jacrev(lambda x: layer(x)[0])(x[:1])
    torch.testing.assert_close(jacfwd(lambda x: layer(x)[0])(x[:1]), backward)
    assert hessian(lambda x: layer(x)[0].sum())(x[:1, :2]).shape == (1, 2, 3, 1, 2, 3)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x[:1], torch.ones_like(x[:1]))
        tangent = forward_ad.unpack_dual(layer(dual)[0]).tangent
    torch.testing.assert_close(tangent, backward.sum((3, 4, 5)))


def test_torch_func_differentiates_a_linear_recurrence() -> None:
    a, b = torch.rand(1, 4, 2), torch.rand(1, 4, 2, requires_grad=True)
    linear_recurrence(a, b)[0].sum().backward()
    torch.testing.assert_close(grad(lambda b: linear_recurrence(a, b)[0].sum())(b.detach()), b.grad)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_traced_layer_accepts_other_inputs(kind: str) -> None:
    layer = build(kind, bidirectional=True)
    traced = torch.jit.trace(layer, torch.zeros(2, 4, 3))
    x = torch.randn(3, 7, 3)
    torch.testing.assert_close(traced(x)[0], layer(x)[0])


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_can_be_exported_to_onnx(kind: str, dynamo: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript" if dynamo else "onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    layer, x, path = build(kind), torch.randn(2, 4, 3), tmp_path / "layer.onnx"
    torch.onnx.export(layer.eval(), (x,), path, dynamo=dynamo)  # type: ignore[attr-defined]
    session = onnxruntime.InferenceSession(path)
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), layer(x)[0].detach(), atol=1e-6, rtol=0)


OPTIONS: list[dict[str, object]] = [
    {},
    {"zoneout": 0.2},
    {"variational": True, "dropout": 0.3, "num_layers": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "zoneout", "variational"])
def test_a_compiled_layer_accepts_lengths_and_packed_rows(options: dict[str, object]) -> None:
    # A compiled plain function unrolls the steps, so few steps compile quickly.
    x, lengths = torch.randn(2, 3, 3), torch.tensor([3, 2])
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    torch._dynamo.reset()
    layer = build("lstm", **options)
    compiled = torch.compile(layer, backend="eager")
    y, _ = compiled(packed)
    assert isinstance(y, PackedSequence)
    compiled(x, None, lengths)[0].sum().backward()  # the results of training are random
    layer.eval()  # type: ignore[attr-defined]
    torch.testing.assert_close(compiled(x, None, lengths)[0], layer(x, None, lengths)[0])
    torch.testing.assert_close(compiled(x)[0], layer(x)[0])


@pytest.mark.parametrize("kind", [*LAYERS, "grud"])
def test_scripting_and_quantisation_give_a_message_of_one_line(kind: str) -> None:
    layer = elman.GRUD(2, 4) if kind == "grud" else build(kind)
    with pytest.raises(ArgumentError, match=r"torch.jit.script cannot compile elman\.\w+: use"):
        torch.jit.script(layer)
    model = nn.Sequential(layer)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match=r"does not change elman\.\w+, which stays in torch"):
        quantised = torch.ao.quantization.quantize_dynamic(model)
    assert type(quantised[0]) is type(layer)
    assert "qconfig" not in copy.copy(layer).__dict__
