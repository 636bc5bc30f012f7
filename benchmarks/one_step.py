"""Rows of the grid for one step at B = 1, as in a stream: the next step continues from its state.

A program runs for 40 ms before it is timed, because after a rest its threads wake slowly, and a
system may need 10 ms to place each thread on a separate core.

onnxruntime has its own process, because its threads keep spinning after a step, which doubled the
time of our step at H = 1024.

Shape legend: x (1, 1, H), state (1, 1, H).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from programs import REST, Child, Turn
from side_by_side import Case, differ, peer_versions
from torch import Tensor, nn

import elman

SIZES = (64, 256, 512, 1024)
TOLERANCE = 1e-5  # one step in float32; activations of onnxruntime are approximations
STEPS = 8  # steps whose results are compared


def elman_step(cell: str, weights: dict[str, Tensor], x: Tensor) -> Callable[[], Tensor]:
    """Return our step, which continues from the last call's state and returns the output (H)."""
    module = getattr(elman, cell)(x.shape[2], x.shape[2])
    module.load_state_dict(weights)
    stream, row = elman.Stream(module), x[0]
    return lambda: stream(row).view(-1)


def _sequence(module: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    state = None

    def step() -> Tensor:
        nonlocal state
        with torch.inference_mode():
            y, state = module(x, state)
        return y.view(-1)

    return step


def _cell(cell: str, weights: dict[str, Tensor], x: Tensor) -> Callable[[], Tensor]:
    module = getattr(nn, f"{cell}Cell")(x.shape[2], x.shape[2])
    module.load_state_dict({name.removesuffix("_l0"): value for name, value in weights.items()})
    row, state = x[0], None

    def step() -> Tensor:
        nonlocal state
        with torch.inference_mode():
            state = module(row, state)
        return (state[0] if cell == "LSTM" else state).view(-1)

    return step


def onnx_step(
    cell: str, weights: dict[str, np.ndarray], hidden: int, threads: int
) -> Callable[..., Callable[[], list[float]]]:
    """Return a step of onnxruntime with two alternating bindings, which are faster than `run`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        onnx_model(cell, weights, hidden), options, providers=["CPUExecutionProvider"]
    )
    leaves = "hc" if cell == "LSTM" else "h"

    def value(array: np.ndarray) -> onnxruntime.OrtValue:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)

    zeros = np.zeros((1, 1, hidden), dtype=np.float32)
    states = [{leaf: value(zeros.copy()) for leaf in leaves} for _ in range(2)]
    given, bindings = value(weights["input"]), []
    for k in range(2):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", given)
        for leaf in leaves:
            binding.bind_ortvalue_input(f"{leaf}0", states[k][leaf])
            binding.bind_ortvalue_output(f"{leaf}1", states[1 - k][leaf])
        bindings.append(binding)
    turn = 1

    def read() -> list[float]:
        return states[1 - turn]["h"].numpy().reshape(-1).tolist()

    def step(*_: object) -> Callable[[], list[float]]:
        nonlocal turn
        turn = 1 - turn
        session.run_with_iobinding(bindings[turn])
        return read

    return step


def onnx_model(cell: str, weights: dict[str, np.ndarray], hidden: int) -> bytes:
    """Return ONNX's operator LSTM or GRU with torch's weights."""
    from onnx import TensorProto, helper, numpy_helper

    # torch: i f g o and r z n; ONNX: i o f c and z r h.
    order = [0, 3, 1, 2] if cell == "LSTM" else [1, 0, 2]

    def turned(name: str) -> np.ndarray:
        parts = np.split(weights[name], len(order))
        return np.concatenate([parts[k] for k in order])[None]

    biases = np.concatenate([turned("bias_ih_l0"), turned("bias_hh_l0")], axis=1)
    constants = {"W": turned("weight_ih_l0"), "R": turned("weight_hh_l0"), "B": biases}
    leaves = "hc" if cell == "LSTM" else "h"
    node = helper.make_node(
        cell,
        ["x", "W", "R", "B", "", *(f"{leaf}0" for leaf in leaves)],
        ["", *(f"{leaf}1" for leaf in leaves)],
        hidden_size=hidden,
        **({"linear_before_reset": 1} if cell == "GRU" else {}),
    )

    def info(name: str) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, hidden])

    graph = helper.make_graph(
        [node],
        "step",
        [info("x"), *(info(f"{leaf}0") for leaf in leaves)],
        [info(f"{leaf}1") for leaf in leaves],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def build(cell: str, hidden: int, threads: int) -> Case:
    torch.set_num_threads(threads)
    theirs = getattr(nn, cell)(hidden, hidden)
    weights = {name: value.detach().clone() for name, value in theirs.state_dict().items()}
    x = torch.randn(1, 1, hidden)
    # The comparison makes new programs, because each carries a state.
    makers: dict[str, Callable[[], Callable[[], Tensor]]] = {
        f"nn.{cell}Cell": lambda: _cell(cell, weights, x),
        f"nn.{cell}": lambda: _sequence(theirs, x),
    }
    absent, child = [], None
    versions = peer_versions()
    if "not installed" in (versions["onnx"], versions["onnxruntime"]):
        absent.append("onnxruntime")
    else:
        arrays = {name: value.numpy() for name, value in weights.items()}
        arrays |= {"input": x.numpy(), "x": np.zeros((1, 1)), "y": np.zeros((1, 1))}
        spec = {"by": "onnx", "cell": cell, "H": hidden, "threads": threads}
        child = Child("onnxruntime", spec, arrays)

    def after_steps(step: Callable[[], Tensor]) -> dict[str, Tensor]:
        for _ in range(STEPS):
            h = step()
        return {"h": h}

    def parity() -> float:
        ours = after_steps(elman_step(cell, weights, x))
        theirs = {name: after_steps(make()) for name, make in makers.items()}
        if child:
            for _ in range(STEPS):
                h = child.run(1)[1]
            theirs["onnxruntime"] = {"h": torch.tensor(h)}
        return max(differ(name, ours, found, TOLERANCE) for name, found in theirs.items())

    peers: dict[str, Callable[[], object]] = {name: make() for name, make in makers.items()}
    case = Case(elman_step(cell, weights, x), peers, parity, absent=absent, block=0.02, warm=0.04)
    if child:
        peers["onnxruntime"] = Turn(child, 1)
        case.close = child.close
        case.rest = REST if threads > 1 else 0.0
    return case
