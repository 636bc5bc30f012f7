"""Steps that are recorded once and then repeated by a native program."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import elman
from elman import kernels
from elman.recur.blocks import Blocks
from elman.recur.cell import Cell, Leaves, Shapes, Weights
from elman.recur.matrix import step_of
from elman.recur.record import CannotRecordError, Recorder
from elman.recur.stack import Stack
from elman.recur.stream import Recorded, Stream
from tests.laws.cores import CAUSAL, INPUT, build

pytestmark = pytest.mark.skipif(kernels.native is None, reason="there are no kernels")

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "arithmetic": lambda x, y: (x - 2 * y) / (3 - y) + -x.abs() + 1,
    "broadcast": lambda x, y: x[:, :1] * y + x[0] - y[:, :, None, 0],
    "functions": lambda x, y: torch.sigmoid(x) * torch.tanh(y) + torch.exp(x) + torch.expm1(y),
    "large": lambda x, y: torch.exp(200 * x - 150) + F.softplus(90 * y) + F.logsigmoid(-90 * y),
    "roots": lambda x, y: torch.sqrt(x.abs()) * torch.rsqrt(y.abs() + 0.1) + x**2,
    "gates": lambda x, y: F.silu(x) + F.gelu(y) + F.relu(x) + y.clamp(-0.5, 0.5),
    "extremes": lambda x, y: torch.maximum(x, y) - torch.minimum(x, 0 * y),
    "choice": lambda x, y: torch.where(F.relu(x) == 0, float("-inf"), y),
    "sums": lambda x, y: x.sum(1, keepdim=True) * y.mean(2, keepdim=True) + x.sum(0),
    "norms": lambda x, y: F.normalize(x, dim=-1) + y / torch.linalg.vector_norm(y, dim=1)[:, None],
    "products": lambda x, y: x @ y.mT + (x.mT @ y).sum(1)[:, :3, None],
    "transposed": lambda x, y: (x.transpose(0, 2) * 2).transpose(0, 2) + y.mT.contiguous().mT,
    "joined": lambda x, y: torch.cat([x, y[:, :1]], 1)[:, 1:] + F.pad(y, (1, 0, 0, 2))[:, 1:4, :-1],
    "stacked": lambda x, y: torch.stack([x, y], 3).sum(3) + torch.stack([x, y]).mean(0),
    "layer norm": lambda x, y: F.layer_norm(x, (21,), torch.arange(21.0), torch.ones(21)) * y,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_program_repeats_what_torch_computes(name: str) -> None:
    run = OPERATIONS[name]
    x, y = torch.randn(2, 3, 21), torch.randn(2, 3, 21)
    with torch.no_grad(), Recorder([x, y]) as recorder:
        found = run(x, y)
    for seed in range(3):
        torch.manual_seed(seed)
        x.normal_(), y.normal_()
        recorder.program.run()
        torch.testing.assert_close(found, run(x, y), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["functions", "gates", "arithmetic", "extremes", "sums"])
def test_nan_stays_nan(name: str) -> None:
    run = OPERATIONS[name]
    x, y = torch.randn(2, 3, 21), torch.randn(2, 3, 21)
    with torch.no_grad(), Recorder([x, y]) as recorder:
        found = run(x, y)
    x[1, 2, 5] = y[0, 1, 3] = float("nan")
    recorder.program.run()
    assert torch.equal(found.isnan(), run(x, y).isnan())


@pytest.mark.parametrize("name", CAUSAL)
def test_a_step_of_every_cell_is_recorded(name: str) -> None:
    core = build(name, dtype=torch.float32)
    if core.cell.kernel() is None and "caller" not in name:  # whose function can be anything
        stream = Stream(core, 2)
        stream(torch.randn(2, INPUT))
        assert isinstance(stream._watch, Recorded)


@pytest.mark.parametrize("cell", [elman.LSTM, elman.GRU, elman.RNN, elman.GatedDeltaNet])
def test_a_step_of_blocks_equals_the_whole(cell: type[Stack]) -> None:
    core = Blocks(5, [cell(8, 8, batch_first=True) for _ in range(2)]).eval()
    x = torch.randn(3, 6, 5)
    stream = Stream(core, 3)
    live = torch.stack([stream(x[:, t]) for t in range(6)], 1)
    torch.testing.assert_close(live, core(x)[0], rtol=0, atol=1e-5)
    assert isinstance(stream._watch, Recorded)


def test_a_changed_weight_is_noticed() -> None:
    for core in (
        elman.LRU(4, 8, num_layers=2, batch_first=True).eval(),
        Blocks(4, [elman.MinGRU(8, 8, batch_first=True)]).eval(),
    ):
        x, stream = torch.randn(1, 4), Stream(core)
        stream(x)
        for change in (
            lambda w: w.mul_(1.1),
            lambda w: w.data.add_(0.01),
            lambda w: w.copy_(0.3 * torch.randn_like(w)),
        ):
            with torch.no_grad():
                for weight in core.parameters():
                    change(weight)
            stream.restart()
            torch.testing.assert_close(stream(x), core(x[:, None])[0][:, 0], rtol=1e-5, atol=1e-5)


def test_streams_of_one_core_are_independent() -> None:
    core = elman.DeltaNet(4, 8, batch_first=True).eval()
    x = torch.randn(2, 9, 4)
    streams = [Stream(core), Stream(core)]
    live = [[stream(x[n : n + 1, t]) for n, stream in enumerate(streams)] for t in range(9)]
    found = torch.stack([torch.cat(rows) for rows in live], 1)
    torch.testing.assert_close(found, core(x)[0], rtol=0, atol=1e-5)


class Custom(Cell):
    """A cell whose step is given as a function of x and h."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def weight_shapes(self, features: int, hidden: int) -> Shapes:
        return {"weight": (hidden, features)}

    def step(self, x: Tensor, state: Leaves, weights: Weights, *, seen: Tensor) -> Leaves:
        return (self.function(F.linear(x, weights["weight"]), state[0]),)


@pytest.mark.parametrize(
    ("function", "recorded"),
    [
        (lambda x, h: 0.5 * h + x, True),
        (lambda x, h: h.flip(1) + x, False),  # an operation that is not known
        (lambda x, h: torch.sub(h, x, alpha=3), False),  # an argument that is not known
        (lambda x, h: h + x if float(x.detach().sum()) > 0 else x, False),  # a choice by a number
        (lambda x, h: h + x + 0 * torch.rand(8), False),  # other numbers in each step
        (lambda x, h: torch.roll(h, 1).add_(x), False),  # a change in place
        (lambda x, h: h, True),  # a state that stays what it was
        (lambda x, h: torch.cat([h[:, 1:], x[:, :1]], 1), True),
    ],
)
def test_any_step_of_a_user_gives_its_own_results(
    function: Callable[[Tensor, Tensor], Tensor], recorded: bool
) -> None:
    core = Stack(Custom(function), 4, 8, batch_first=True).eval()
    x, start = torch.randn(2, 7, 4), torch.randn(1, 2, 8)
    stream = Stream(core, 2, start)
    live = torch.stack([stream(x[:, t]) for t in range(7)], 1)
    torch.testing.assert_close(live, core(x, start)[0], rtol=0, atol=1e-5)
    assert isinstance(stream._watch, Recorded) == recorded


def test_only_float32_is_recorded() -> None:
    core = elman.MinGRU(4, 8, batch_first=True).double().eval()
    x = torch.zeros(1, 4, dtype=torch.float64)
    with pytest.raises(CannotRecordError, match="float32"):
        Recorded(lambda x, state: (x, state), core, x, torch.zeros(1, 1, 8).double())


def test_a_replaced_part_is_noticed() -> None:
    core = Blocks(4, [elman.GLA(8, 8, batch_first=True)]).eval()
    x, stream = torch.randn(1, 4), Stream(core)
    for replace in (
        lambda: setattr(core, "norm", torch.nn.LayerNorm(8, eps=1.0)),
        lambda: setattr(core.blocks[0], "widen", torch.nn.Linear(8, 32, bias=False)),
    ):
        stream(x)
        replace()
        stream.restart()
        torch.testing.assert_close(stream(x), core(x[:, None])[0][:, 0], rtol=1e-5, atol=1e-5)


def test_a_copy_of_a_stream_continues_by_itself() -> None:
    core = elman.MLSTM(4, 8, batch_first=True).eval()
    x, stream = torch.randn(1, 3, 4), Stream(core)
    stream(x[:, 0])
    other = copy.deepcopy(stream)
    expected = core(x)[0]
    for one in (stream, other):
        for t in (1, 2):
            torch.testing.assert_close(one(x[:, t]), expected[:, t], rtol=1e-5, atol=1e-5)


def test_elements_with_gradients_leave_no_graph() -> None:
    stream = Stream(elman.MinGRU(4, 8, batch_first=True).eval())
    for _ in range(3):
        y = stream(torch.randn(1, 4, requires_grad=True))
    assert not y.requires_grad
    assert stream._watch._x.grad_fn is None


def test_a_stream_without_rows_returns_nothing() -> None:
    stream = Stream(elman.GatedDeltaNet(4, 8, batch_first=True).eval(), 0)
    assert stream(torch.zeros(0, 4)).shape == (0, 8)


@pytest.mark.parametrize("heads", [1, 3])
def test_a_matrix_step_reads_numbers_with_gaps(heads: int) -> None:
    both, q, S = torch.rand(2, heads, 2), torch.randn(2, heads, 4), torch.randn(2, heads, 4, 4)

    def run() -> tuple[Tensor, Tensor]:
        decay, beta = both.unbind(-1)
        return step_of(q, q[:, :1].expand(q.shape), 2 * q, decay, beta, S, delta=True)

    with torch.no_grad(), Recorder([both, q, S]) as recorder:
        found = run()
    both.uniform_(), q.normal_(), S.normal_()
    recorder.program.run()
    torch.testing.assert_close(found, run(), rtol=1e-5, atol=1e-5)
