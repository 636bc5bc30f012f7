from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch.nn.utils import vector_to_parameters

import elman
from elman.errors import ArgumentError
from elman.recur.memory import MatrixCell
from elman.recur.mlstm import MLSTMCell
from elman.recur.stack import Stack
from elman.recur.stream import Stream
from tests.laws.cores import CAUSAL, CORES, INPUT, build, leaves, random_state


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("rows", [1, 3])
def test_one_step_at_a_time_equals_the_whole(name: str, rows: int) -> None:
    for hidden, dtype in ((5, torch.float32), (33, torch.float32), (5, torch.float64)):
        hidden += hidden % CORES[name][1].get("heads", 1)
        many = name.endswith("hidden size per layer")
        sizes = {"hidden_size": [hidden, hidden + 2] if many else hidden}
        core = build(name, dtype=dtype, **sizes)
        # An mLSTM divides by a sum that can be small, so its outputs reach 10.
        close = {"rtol": 1e-5 if name.startswith("mlstm") else 0, "atol": 1e-5}
        x, start = torch.randn(rows, 7, INPUT, dtype=dtype), random_state(core, rows)
        expected, end = core(x, start)
        stream = Stream(core, rows, start)
        live = torch.stack([stream(x[:, t]) for t in range(7)], dim=1)
        torch.testing.assert_close(live, expected, **close)
        torch.testing.assert_close(leaves(stream.state), leaves(end), **close)
        stream.state = start
        parts = [stream.run(x[:, :3]), stream.run(x[:, 3:3]), stream.run(x[:, 3:])]
        torch.testing.assert_close(torch.cat(parts, 1), expected, **close)
        stream.restart()
        torch.testing.assert_close(stream.run(x), core(x)[0], **close)


@pytest.mark.parametrize("name", CAUSAL)
def test_one_step_at_a_time_in_bfloat16(name: str) -> None:
    core = build(name, dtype=torch.bfloat16)
    x = torch.randn(2, 5, INPUT).bfloat16()
    expected, _ = core(x)
    stream = Stream(core, 2)
    live = torch.stack([stream(x[:, t]) for t in range(5)], dim=1)
    # Cells with a matrix divide by a sum, or by a root mean square, that can be small.
    matrix = isinstance(core.cell, MatrixCell | MLSTMCell)
    close = {"rtol": 0.03, "atol": 0.2 if matrix else 0.05}
    torch.testing.assert_close(live, expected, **close)


@pytest.mark.parametrize(
    "large",
    [
        lambda: elman.LSTM(130, 300, 2, batch_first=True, proj_size=100, peephole=True),
        lambda: elman.GRU(130, 300, 2, batch_first=True, reset_after=False),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_stack_equals_the_whole_on_several_threads(
    threads: int, large: Callable[[], Stack]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    core = large()
    x = torch.randn(2, 5, 130)
    stream, live = Stream(core, 2), []
    times = 100 if threads > 1 else 1  # a missing wait gives wrong results only sometimes
    for _ in range(times):
        stream.restart()
        live.append(torch.stack([stream(x[:, t]) for t in range(5)], dim=1))
    # The second thread starts to help after 10 ms of continuous work.
    long = torch.randn(2, 1000 if threads > 1 else 5, 130)
    stream.restart()
    torch.testing.assert_close(stream.run(long), core(long)[0], rtol=0, atol=1e-5)
    torch.set_num_threads(before)
    expected = core(x)[0].detach().expand(times, -1, -1, -1)
    torch.testing.assert_close(torch.stack(live), expected, rtol=0, atol=1e-6)


def test_new_weights_are_noticed_and_the_state_can_be_restored() -> None:
    core = elman.GRU(4, 6)
    x = torch.randn(5, 1, 4)
    stream = Stream(core)
    for t in range(3):
        stream(x[t])
    kept = stream.state
    once = stream(x[3])
    stream.state = kept
    assert torch.equal(stream(x[3]), once)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(0.5)
    stream.state = kept
    expected = core(x[3:4], kept)[0][0].detach()
    torch.testing.assert_close(stream(x[3]), expected, rtol=0, atol=1e-6)


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="bidirectional core cannot stream"):
        Stream(elman.LSTM(3, 4, bidirectional=True))
    stream = Stream(elman.LSTM(3, 4))
    for wrong in (torch.zeros(1, 4), torch.zeros(3), torch.zeros(1, 3, dtype=torch.float64)):
        with pytest.raises(ArgumentError, match=r"x must be \(1, 3\) of torch.float32"):
            stream(wrong)
        with pytest.raises(ArgumentError, match=r"x must be \(1, 'T', 3\) of torch.float32"):
            stream.run(wrong)
    with pytest.raises(ArgumentError, match="state leaf 0"):
        Stream(elman.GRU(3, 4), 2, torch.zeros(1, 1, 4))


def _multiply(core: Stack) -> None:
    for parameter in core.parameters():
        parameter.data.mul_(2)


def _assign_data(core: Stack) -> None:
    for parameter in core.parameters():
        parameter.data = parameter.data * 2


def _set_vector(core: Stack) -> None:
    count = sum(parameter.numel() for parameter in core.parameters())
    vector_to_parameters(torch.linspace(-1, 1, count), core.parameters())


def _load(core: Stack) -> None:
    weights = {name: 2 * weight for name, weight in core.state_dict().items()}
    core.load_state_dict(weights, assign=True)


def _step(core: Stack) -> None:
    optimizer = torch.optim.Adam(core.parameters(), fused=True)
    core(torch.ones(2, 3, 3))[0].square().sum().backward()
    optimizer.step()


def _replace(core: Stack) -> None:
    name, parameter = list(core.named_parameters())[-1]
    setattr(core, name, torch.nn.Parameter(parameter.detach() * 3))


CHANGES = [_multiply, _assign_data, _set_vector, _load, _step, _replace]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", [elman.LSTM, elman.MinGRU])  # with and without a kernel
def test_a_stream_notices_every_way_to_change_its_weights(
    kind: type[Stack], change: Callable[[Stack], None]
) -> None:
    torch.manual_seed(0)
    core, x = kind(3, 8, num_layers=2), torch.randn(1, 3)
    stream = Stream(core)
    stream(x)
    change(core)
    expected = Stream(core, state=stream.state)(x)
    assert torch.equal(stream(x), expected)
    change(core)
    stream.restart()
    assert torch.equal(stream(x), Stream(core)(x))


def test_changes_of_single_numbers_are_noticed_at_restart_and_in_run() -> None:
    core, x = elman.LSTM(3, 8), torch.randn(1, 3)
    stream = Stream(core)
    for value in (7.0, 9.0):
        stream(x)
        core.weight_hh_l0.data[3, 3] = value  # type: ignore[index]
        if value == 7:
            stream.restart()
            assert torch.equal(stream(x), Stream(core)(x))
        else:
            expected = Stream(core, state=stream.state).run(x.expand(1, 2, 3))
            assert torch.equal(stream.run(x.expand(1, 2, 3)), expected)


@pytest.mark.parametrize("kind", [elman.GRU, elman.MinGRU])
def test_a_core_of_another_dtype_needs_a_new_stream(kind: type[Stack]) -> None:
    core, x = kind(3, 8), torch.randn(1, 3)
    stream = Stream(core)
    stream(x)
    core.double()
    with pytest.raises(ArgumentError, match=r"is torch\.float64 on cpu now: make a new Stream"):
        stream(x)
    assert Stream(core)(x.double()).dtype == torch.float64


@pytest.mark.parametrize("options", [{}, {"layer_norm": True}])
def test_a_stream_from_the_inference_mode_works_outside_of_it(options: dict[str, bool]) -> None:
    core, x = elman.LSTM(3, 8, **options), torch.randn(1, 3)  # type: ignore[arg-type]
    with torch.inference_mode():
        stream = Stream(core)
        first = stream(x)
    stream.restart()
    assert torch.equal(stream(x), first)
    stream.state = stream.state


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0"])
def test_weights_may_have_any_memory_layout(name: str) -> None:
    torch.manual_seed(0)
    core, x = elman.GRU(8, 8).eval(), torch.randn(1, 8)
    turned = core.get_parameter(name).detach().t().contiguous().t()
    assert not turned.is_contiguous()
    core.register_parameter(name, torch.nn.Parameter(turned))
    stream = Stream(core)
    for _ in range(2):
        state = stream.state
        torch.testing.assert_close(stream(x), core(x[None], state)[0][0])


def test_threads_can_share_a_stream_while_its_weights_change() -> None:
    core, x = elman.LSTM(8, 32), torch.randn(1, 200, 8)
    stream, running = Stream(core), threading.Event()
    stream.run(x)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while not running.is_set():
                stream.run(x)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for one in threads:
        one.start()
    for _ in range(200):
        with torch.no_grad():
            core.weight_hh_l0.add_(0.0)
        stream.restart()
    running.set()
    for one in threads:
        one.join()
    assert not failed
    stream.restart()
    torch.testing.assert_close(stream.run(x), Stream(core).run(x))
