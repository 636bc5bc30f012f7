"""The kernels inside `torch.compile` and `torch.export`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import elman
from elman import kernels
from tests.kernels.test_recurrence import NATIVE, everything, sized
from tests.laws.cores import INPUT, leaves, random_state

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


# Every kind of layer and every option with an effect outside of training; a graph takes seconds.
GRAPHS = [
    "rnn relu, 2 layers",
    "lstm everything",
    "lstm hidden size per layer",
    "lstm bidirectional peephole",
    "gru 3 layers",
    "gru layer norm",
    "gru reset before, bidirectional",
]


def test_the_layers_of_the_graphs_have_kernels() -> None:
    assert set(GRAPHS) <= set(NATIVE)


@pytest.mark.parametrize("name", GRAPHS)
def test_one_graph_gives_the_same_results(name: str) -> None:
    core = sized(name, 6, torch.float32)
    x, start = torch.randn(2, 5, INPUT), random_state(core, 2)
    expected = everything(core, x, start, None)
    # aot_eager captures and differentiates a graph without the time to generate C++.
    compiled = torch.compile(core, fullgraph=True, backend="aot_eager")
    compiled.parameters = core.parameters  # type: ignore[method-assign]
    torch.testing.assert_close(everything_of(compiled, x, start), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["MinGRU", "GLA", "GatedDeltaNet", "Mamba2", "MLSTM", "SLSTM"])
@pytest.mark.parametrize(("size", "steps"), [(8, 1), (8, 5), (256, 16)])
def test_one_graph_of_a_cell_without_a_kernel(name: str, size: int, steps: int) -> None:
    core = getattr(elman, name)(size, size, batch_first=True)
    x = torch.randn(4, steps, size)
    compiled = torch.compile(core, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), core(x), rtol=1e-4, atol=1e-4)
    if steps > 1:
        program = torch.export.export(core.eval(), (x,))
        torch.testing.assert_close(program.module()(x), core(x), rtol=1e-4, atol=1e-4)


def everything_of(core: torch.nn.Module, x: torch.Tensor, start: object) -> list[torch.Tensor]:
    leaf = x.detach().requires_grad_()
    first = elman.state.map_state(lambda s: s.detach().requires_grad_(), start)
    torch.manual_seed(3)
    y, end = core(leaf, first)
    out = [y, *leaves(end)]
    total = sum((torch.randn(o.shape).to(o.dtype) * o).sum() for o in out)
    inputs = [leaf, *leaves(first), *core.parameters()]
    return [*out, *torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)]


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's own use
def test_inductor_compiles_the_operators() -> None:
    core = elman.LSTM(4, 8, num_layers=2, batch_first=True)
    x = torch.randn(3, 6, 4)
    compiled = torch.compile(lambda x: core(x)[0].square().mean(), fullgraph=True)
    loss = compiled(x)
    loss.backward()
    ours = [p.grad.clone() for p in core.parameters()]
    expected = torch.autograd.grad(core(x)[0].square().mean(), list(core.parameters()))
    torch.testing.assert_close(ours, list(expected), rtol=0, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), loss.detach(), rtol=0, atol=1e-6)


def test_export_keeps_the_operators() -> None:
    core = elman.GRU(4, 8, batch_first=True).eval()
    x = torch.randn(3, 6, 4)
    program = torch.export.export(core, (x,))
    names = [str(node.target) for node in program.graph.nodes]
    assert any("elman.layer" in name for name in names)
    torch.testing.assert_close(program.module()(x)[0], core(x)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_operators_follow_the_rules_of_torch(layer_norm: bool) -> None:
    core = elman.LSTM(3, 4, layer_norm=layer_norm)
    h, c = torch.randn(2, 4, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    x = torch.randn(5, 2, 3, requires_grad=True)
    weights = core.cell.kernel().constants(core.weights(0))
    arguments = (x, h, c, *weights, None, None, None, "lstm", False, False, 0.0, 0.0)
    torch.library.opcheck(
        torch.ops.elman.layer_for_training.default,
        arguments,
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )
