"""The decay of the state in the kernel, against the plain definition of GRU-D."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

import elman
from elman import kernels

pytestmark = pytest.mark.skipif(kernels.native is None, reason="installed without kernels")
SETS = kernels.native.instruction_sets() if kernels.native is not None else []


@pytest.fixture(params=SETS)
def native(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Choose an instruction set and two threads, and fill unwritten memory with NaN."""
    assert kernels.native is not None
    before, threads = kernels.native.chosen(), torch.get_num_threads()
    kernels.native.choose(request.param)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    kernels.native.poison_scratch()
    yield kernels.native
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    kernels.native.choose(before)


def run(
    core: elman.GRUD, x: Tensor, lengths: Tensor | None, state: tuple[Tensor, ...], *, plain: bool
) -> list[Tensor]:
    """Return outputs, the final state, and all gradients of a loss on them."""
    leaves = [leaf.clone().requires_grad_() for leaf in state]
    inputs = x.clone().requires_grad_()
    native = kernels.native
    if plain:
        kernels.native = None
    try:
        assert core.way(inputs) == ("plain" if plain else "kernel")
        y, end = core(inputs, tuple(leaves), lengths, generator=torch.Generator().manual_seed(3))
    finally:
        kernels.native = native
    draw = torch.Generator().manual_seed(4)
    results = [y, *end]
    loss = sum((r * torch.randn(r.shape, generator=draw)).sum() for r in results)
    wanted = [inputs, *leaves, *core.parameters()]
    return [*results, *torch.autograd.grad(loss, wanted)]


@pytest.mark.parametrize(
    ("hidden", "rows", "ragged", "dropout"),
    [
        (1, 3, False, 0.0),
        (15, 1, False, 0.3),
        (17, 40, True, 0.0),
        (63, 3, True, 0.3),
        (64, 40, True, 0.3),
        (130, 40, False, 0.3),
        (260, 9, True, 0.0),
    ],
)
def test_the_kernel_equals_the_definition(
    hidden: int, rows: int, ragged: bool, dropout: float, native: ModuleType
) -> None:
    core, x, lengths, state, expected = by_definition(hidden, rows, ragged, dropout)
    ours = run(core, x, lengths, state, plain=False)
    for a, b in zip(ours, expected, strict=True):
        # Float32 sums of up to 17 * 40 terms are in another order.
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-4 * (1 + b.abs().max().item() / 10))


@functools.cache
def by_definition(
    hidden: int, rows: int, ragged: bool, dropout: float
) -> tuple[elman.GRUD, Tensor, Tensor | None, tuple[Tensor, ...], list[Tensor]]:
    """Return a core, its inputs, and the plain results, which all instruction sets must give."""
    torch.manual_seed(0)
    core = elman.GRUD(5, hidden, 2, recurrent_dropout=dropout)
    with torch.no_grad():
        core.decay_state += 0.3 * torch.rand_like(core.decay_state)
    steps = 17
    there = (torch.rand(rows, steps, 5) < 0.4).float()
    x = torch.cat(
        [
            torch.randn(rows, steps, 5) * there,
            there,
            torch.rand(rows, steps, 1),
            torch.randn(rows, steps, 2),
        ],
        2,
    )
    lengths = torch.randint(0, steps + 1, (rows,)) if ragged else None
    state = (torch.randn(1, rows, hidden), torch.randn(1, rows, 5), torch.rand(1, rows, 5))
    return core, x, lengths, state, run(core, x, lengths, state, plain=True)


def test_a_retained_graph_gives_the_same_gradients_again(native: ModuleType) -> None:
    core = elman.GRUD(3, 8)
    x = torch.cat([torch.randn(4, 9, 3), torch.ones(4, 9, 3), torch.rand(4, 9, 1)], 2)
    y, _ = core(x)
    loss = y.square().sum()
    first = torch.autograd.grad(loss, list(core.parameters()), retain_graph=True)
    again = torch.autograd.grad(loss, list(core.parameters()))
    for a, b in zip(first, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
