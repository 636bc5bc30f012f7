"""Microseconds from a frame of sound to the output of a live GRU, at B = 1 on one thread.

    python benchmarks/live_sound.py [--seconds N] [--try]

A program runs a second of sound, 100 frames of 40 numbers, one frame at a time, and carries its
state.  Each frame is given as an array that the program does not keep, and the output of each frame
is returned as a new array.

elman               elman.Stream
nn.GRU              torch.nn.GRU with the state of the previous call
onnxruntime         operators GRU of ONNX with the same weights; `run` takes and returns the states
onnxruntime, bound  the same operators with two alternating bindings of preallocated states

All outputs are compared first.  The programs are timed in alternating rounds (side_by_side.py); the
result has the median and quartiles of the microseconds of a frame and of the ratios of a round.

Shape legend: x (1, D), state of a layer (1, 1, H).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from side_by_side import Case, differ, measure, peer_versions
from texts import finish
from torch import Tensor, nn

import elman
from elman import kernels

FEATURES, FRAMES = 40, 100
SIZES = ((2, 64), (2, 128), (3, 256))  # layers and hidden size
TOLERANCE = 1e-5  # float32 after 100 steps; activations of onnxruntime are approximations
Step = Callable[[Any], Any]  # a frame to the output of the last layer


def elman_step(theirs: nn.GRU) -> Step:
    ours = elman.GRU(FEATURES, theirs.hidden_size, num_layers=theirs.num_layers)
    ours.load_state_dict(theirs.state_dict())
    return elman.Stream(ours)


def torch_step(theirs: nn.GRU) -> Step:
    state = None

    def step(x: Tensor) -> Tensor:
        nonlocal state
        with torch.inference_mode():
            y, state = theirs(x, state)
        return y

    return step


def onnx_step(theirs: nn.GRU) -> Step:
    session, state = session_of(theirs), zeros(theirs)

    def step(x: np.ndarray) -> np.ndarray:
        found = session.run(None, {"x": x, **state})
        state.update(zip(state, found, strict=True))
        return found[-1]

    return step


def bound_step(theirs: nn.GRU) -> Step:
    session, names = session_of(theirs), list(zeros(theirs))
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    states = [{name: value(array) for name, array in zeros(theirs).items()} for _ in range(2)]
    given, bindings = value(np.zeros((1, 1, FEATURES), dtype=np.float32)), []
    for k in range(2):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", given)
        for name in names:
            binding.bind_ortvalue_input(name, states[k][name])
            binding.bind_ortvalue_output(f"{name}_next", states[1 - k][name])
        bindings.append(binding)
    turn = 1

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal turn
        turn = 1 - turn
        given.update_inplace(x)
        session.run_with_iobinding(bindings[turn])
        return states[1 - turn][names[-1]].numpy()

    return step


def zeros(theirs: nn.GRU) -> dict[str, np.ndarray]:
    """Return the state of each layer at the start, by the name of its input."""
    shape = (1, 1, theirs.hidden_size)
    return {f"h{k}": np.zeros(shape, dtype=np.float32) for k in range(theirs.num_layers)}


def session_of(theirs: nn.GRU) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        onnx_model(theirs), options, providers=["CPUExecutionProvider"]
    )


def onnx_model(theirs: nn.GRU) -> bytes:
    """Return the layers as operators of ONNX, whose inputs and outputs include the states."""
    weights = {name: value.numpy() for name, value in theirs.state_dict().items()}
    nodes, constants, given = [], {}, "x"

    def turned(name: str) -> np.ndarray:
        r, z, n = np.split(weights[name], 3)  # ONNX has the gates z r n
        return np.concatenate([z, r, n])[None]

    for k in range(theirs.num_layers):
        biases = [turned(f"bias_{part}_l{k}") for part in ("ih", "hh")]
        constants |= {
            f"W{k}": turned(f"weight_ih_l{k}"),
            f"R{k}": turned(f"weight_hh_l{k}"),
            f"B{k}": np.concatenate(biases, axis=1),
        }
        nodes.append(
            helper.make_node(
                "GRU",
                [given, f"W{k}", f"R{k}", f"B{k}", "", f"h{k}"],
                ["", f"h{k}_next"],
                hidden_size=theirs.hidden_size,
                linear_before_reset=1,
            )
        )
        given = f"h{k}_next"  # (1, 1, H) is also one step of one row

    def info(name: str, size: int) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, size])

    states = list(zeros(theirs))
    graph = helper.make_graph(
        nodes,
        "live",
        [info("x", FEATURES), *(info(name, theirs.hidden_size) for name in states)],
        [info(f"{name}_next", theirs.hidden_size) for name in states],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def build(layers: int, hidden: int) -> Case:
    """Return the programs for a second of sound."""
    theirs = nn.GRU(FEATURES, hidden, num_layers=layers).eval()
    theirs.requires_grad_(False)
    sound = torch.randn(FRAMES, 1, FEATURES)
    tensors, arrays = list(sound), list(sound[:, None].numpy())
    makers: dict[str, tuple[Callable[[nn.GRU], Step], Sequence[Any]]] = {
        "elman": (elman_step, tensors),
        "nn.GRU": (torch_step, tensors),
        "onnxruntime": (onnx_step, arrays),
        "onnxruntime, bound": (bound_step, arrays),
    }

    def program(name: str) -> Callable[[], None]:
        make, frames = makers[name]
        step = make(theirs)

        def run() -> None:
            for frame in frames:
                step(frame)

        return run

    def outputs(name: str) -> dict[str, Tensor]:
        make, frames = makers[name]
        step = make(theirs)
        rows = [np.asarray(step(frame)).reshape(-1).copy() for frame in frames]
        return {"y": torch.from_numpy(np.stack(rows))}

    def parity() -> float:
        ours = outputs("elman")
        return max(differ(name, ours, outputs(name), TOLERANCE) for name in peers)

    peers = {name: program(name) for name in makers if name != "elman"}
    return Case(program("elman"), peers, parity, steps=FRAMES, block=0.02, warm=0.04)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0, help="for two programs of a size")
    parser.add_argument("--try", action="store_true", dest="only_try", help="do not write a result")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {}
    for layers, hidden in SIZES:
        cell = measure(build(layers, hidden), given.seconds)
        if "refused" in cell:
            raise SystemExit(cell["refused"])
        micro = {name: [round(1000 * x, 3) for x in ms] for name, ms in cell.pop("ms").items()}
        found[f"{layers} layers of {hidden}"] = {"microseconds": micro, **cell}
    facts = {"kernels": kernels.name(), "peers": peer_versions(), "sizes": found}
    finish("live_sound", facts, only_try=given.only_try)


if __name__ == "__main__":
    main()
