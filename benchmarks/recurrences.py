"""Rows of the grid: recurrences over whole sequences against torch.nn and against loops.

Each function builds one cell.  A training step is a forward pass and a backward pass to the weights
and to x, from one fixed gradient of y; inference runs in `torch.inference_mode`.  The layout is
torch's default, time first; in cells with an odd T it is batch first for all programs.

Shape legend: B rows, T steps, H units = features of x; x and y are (T, B, H) or (B, T, H).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import loops
import torch
from side_by_side import Case, MismatchError, differ
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import elman

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Programs add up to 128,000 products in float32 in different orders, through up to 1,000 steps.
TOLERANCE = 3e-4
SGEMM = 2048  # rows and columns of the product whose speed counts as the peak
COMPILED = {(32, 20, 128, 2), (1, 20, 64, 2)}  # torch.compile takes a minute for each


@dataclass(frozen=True)
class Shape:
    """One cell of the grid."""

    B: int
    T: int
    H: int
    threads: int

    def __str__(self) -> str:
        return f"B {self.B}, T {self.T}, H {self.H}, threads {self.threads}"

    @property
    def batch_first(self) -> bool:
        return self.T % 2 == 1

    def operations(self, gates: int) -> float:
        """Return the operations of a training step: each product once forward, twice backward."""
        return 3 * 2 * gates * self.H * 2 * self.H * self.B * self.T

    def data(self) -> tuple[Tensor, Tensor]:
        """Return x and the gradient of y."""
        first = (self.B, self.T) if self.batch_first else (self.T, self.B)
        x = torch.randn(*first, self.H)
        return x, torch.randn(*first, self.H) / (self.B * self.T)


Forward = Callable[[Tensor], Tensor]


def train(
    forward: Forward, parameters: list[Tensor], x: Tensor, dy: Tensor
) -> Callable[[], Tensor]:
    """Return a training step without the optimiser."""
    x = x.clone().requires_grad_()
    leaves = [x, *parameters]

    def step() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        y = forward(x)
        y.backward(dy.to(y.dtype))
        return y

    step.leaves = leaves  # type: ignore[attr-defined]
    return step


def infer(forward: Forward, x: Tensor) -> Callable[[], Tensor]:
    def step() -> Tensor:
        with torch.inference_mode():
            return forward(x)

    return step


def results(step: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return the output of a step and, if it trains, the gradients of x and the weights."""
    found = {"y": step().detach().clone()}
    for n, leaf in enumerate(getattr(step, "leaves", [])):
        found[f"gradient {n}"] = leaf.grad.clone()
    return found


def pair(cell: str, shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Return our module and torch's with the same weights."""
    theirs = getattr(nn, cell)(shape.H, shape.H, batch_first=shape.batch_first)
    ours = getattr(elman, cell)(shape.H, shape.H, batch_first=shape.batch_first)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def build(
    forward: Forward, module: nn.Module, training: bool, x: Tensor, dy: Tensor
) -> Callable[[], Tensor]:
    if training:
        return train(forward, list(module.parameters()), x, dy)
    module.eval()
    return infer(forward, x)


def against_torch(cell: str, training: bool, shape: Shape) -> Case:
    """Build a cell with a padded batch in float32."""
    torch.set_num_threads(shape.threads)
    x, dy = shape.data()
    ours, theirs = (
        build(lambda x, m=module: m(x)[0], module, training, x, dy) for module in pair(cell, shape)
    )

    def parity() -> float:
        return differ("torch.nn", results(ours), results(theirs), TOLERANCE)

    case = Case(ours, {"torch.nn": theirs}, parity)
    if cell == "LSTM" and training and shape.H >= 256 and shape.B >= 32:
        a, b = torch.randn(SGEMM, SGEMM), torch.randn(SGEMM, SGEMM)
        out = torch.empty(SGEMM, SGEMM)
        case.beside["sgemm"] = lambda: torch.mm(a, b, out=out)
        case.operations = shape.operations(GATES[cell]) / (2 * SGEMM**3)
    return case


def bf16(cell: str, training: bool, how: str, shape: Shape) -> Case:
    """Build a cell with autocast or .bfloat16() weights, against torch.nn in the same form.

    Both round differently, so their errors against float32 are compared: ours may be at most twice
    theirs.
    """
    torch.set_num_threads(shape.threads)
    x, dy = shape.data()
    ours, theirs = pair(cell, shape)
    exact = getattr(nn, cell)(shape.H, shape.H, batch_first=shape.batch_first)
    exact.load_state_dict(theirs.state_dict())
    reference = build(lambda x: exact(x)[0], exact, training, x, dy)
    context: Callable[[], AbstractContextManager[object]] = nullcontext
    low = x
    if how == "module":
        ours, theirs, low = ours.bfloat16(), theirs.bfloat16(), x.bfloat16()
    else:
        context = partial(torch.autocast, "cpu", torch.bfloat16)

    def forward(module: nn.Module, x: Tensor) -> Tensor:
        with context():
            return module(x)[0]

    run, peer = (
        build(partial(forward, module), module, training, low, dy) for module in (ours, theirs)
    )

    def parity() -> float:
        wanted = results(reference)
        return within_twice(results(run), results(peer), wanted)

    peers = {f"torch.nn bf16 {how}": peer}
    if cell == "GRU":
        peers["torch.nn float32"] = reference
    return Case(run, peers, parity)


def within_twice(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], exact: dict[str, Tensor]
) -> float:
    """Return our largest error; raise MismatchError above twice theirs and the rounding of y."""
    worst = 0.0
    for key, wanted in exact.items():
        scale = float(wanted.abs().max())
        error, allowed = (
            float((found[key].float() - wanted).abs().max()) / scale for found in (ours, theirs)
        )
        # 2**-7: one unit in the last place of bf16 at the largest value.
        if not error <= max(2 * allowed, 2**-7):
            raise MismatchError(f"{key}: error {error:.1e}, but {allowed:.1e} in torch.nn")
        worst = max(worst, error)
    return worst


def ragged(cell: str, training: bool, shape: Shape) -> Case:
    """Build a cell with lengths uniform in 1..T, which goes from padded x and lengths to padded y.

    The peer's time includes packing and unpacking, because its user has the same padded batch.  The
    padded peer also computes the padding, where the gradient is zero, so that all gradients agree.
    """
    torch.set_num_threads(shape.threads)
    x, dy = shape.data()
    lengths = torch.randint(1, shape.T + 1, (shape.B,))
    mask = torch.arange(shape.T) < lengths.unsqueeze(1)
    mask = (mask if shape.batch_first else mask.t()).unsqueeze(2)
    x, dy = x * mask, dy * mask
    module, theirs = pair(cell, shape)

    def packed(x: Tensor) -> Tensor:
        data = pack_padded_sequence(x, lengths, batch_first=shape.batch_first, enforce_sorted=False)
        y, _ = theirs(data)
        return pad_packed_sequence(y, batch_first=shape.batch_first, total_length=shape.T)[0]

    ours = build(lambda x: module(x, lengths=lengths)[0], module, training, x, dy)
    peers = {
        "torch.nn packed": build(packed, theirs, training, x, dy),
        "torch.nn padded": build(lambda x: theirs(x)[0], theirs, training, x, dy),
    }

    def parity() -> float:
        found = results(ours)
        worst = 0.0
        for name, peer in peers.items():
            wanted = results(peer)
            wanted = {key: v * mask if v.shape == x.shape else v for key, v in wanted.items()}
            here = {key: v * mask if v.shape == x.shape else v for key, v in found.items()}
            worst = max(worst, differ(name, here, wanted, TOLERANCE))
        return worst

    return Case(ours, dict(peers), parity)


LOOPS: dict[str, tuple[str, dict[str, object], Callable[..., tuple[Tensor, ...]]]] = {
    "layer norm LSTM": ("LSTM", {"layer_norm": True}, loops.layer_norm),
    "peephole LSTM": ("LSTM", {"peephole": True}, loops.peephole),
    "zoneout LSTM": ("LSTM", {"zoneout": 0.1}, loops.zoneout),
    "GRU reset before": ("GRU", {"reset_after": False}, loops.reset_before),
}


def against_loop(name: str, shape: Shape) -> Case:
    """Build a training cell for one of LOOPS."""
    torch.set_num_threads(shape.threads)
    x, dy = shape.data()
    cell, options, run = LOOPS[name]
    module = getattr(elman, cell)(shape.H, shape.H, batch_first=shape.batch_first, **options)
    with torch.no_grad():
        for key, value in module.named_parameters():
            if key.startswith(("gain_ih", "gain_hh")):  # with 1 rounding errors grow
                value.fill_(0.3)
    weights = {
        key: value.detach().clone().requires_grad_() for key, value in module.named_parameters()
    }

    given: list[Tensor | float] = []  # zoneout's choices, to compare results

    def loop(function: Callable[..., tuple[Tensor, ...]], x: Tensor) -> Tensor:
        x = x.transpose(0, 1) if shape.batch_first else x
        y = function(x, *x.new_zeros(module.leaves, shape.B, shape.H), weights, *given)[0]
        return y.transpose(0, 1) if shape.batch_first else y

    ours = build(lambda x: module(x)[0], module, True, x, dy)
    values = list(weights.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script is deprecated, but often faster
        scripted = torch.jit.script(run)
    ways = {"torch loop": run, "torch.jit.script of the loop": scripted}
    peers = {peer: train(partial(loop, way), values, x, dy) for peer, way in ways.items()}
    if (shape.B, shape.T, shape.H, shape.threads) in COMPILED:
        compiled = torch.compile(run, dynamic=False)
        peers["torch.compile of the loop"] = train(partial(loop, compiled), values, x, dy)

    def parity() -> float:
        torch.manual_seed(1)
        found = results(ours)
        if "zoneout" in options:
            torch.manual_seed(1)
            given.extend(
                module.layers(None).masks(shape.T, tuple(x.new_zeros(2, shape.B, shape.H))).kept
            )
        worst = max(differ(name, found, results(peer), TOLERANCE) for name, peer in peers.items())
        given.clear()
        return worst

    return Case(ours, dict(peers), parity)


ROWS: dict[str, Callable[[Shape], Case]] = {
    **{
        f"{cell} float32 {'training' if training else 'inference'}": partial(
            against_torch, cell, training
        )
        for cell in GATES
        for training in (True, False)
    },
    **{
        f"{cell} bf16 {how} {'training' if training else 'inference'}": partial(
            bf16, cell, training, how
        )
        for cell in ("LSTM", "GRU")
        for training in (True, False)
        for how in ("autocast", "module")
    },
    **{
        f"{cell} ragged {'training' if training else 'inference'}": partial(ragged, cell, training)
        for cell in ("LSTM", "GRU")
        for training in (True, False)
    },
    **{f"{name} training": partial(against_loop, name) for name in LOOPS},
}
