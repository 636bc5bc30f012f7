"""Memory that is shared or reused between two passes, threads and processes."""

from __future__ import annotations

import os
import threading

import pytest
import torch
from torch import nn

import elman
from elman import kernels
from elman.errors import ArgumentError
from elman.heads import TokenHead
from elman.kernels import pool
from elman.kernels.cross_entropy import linear_cross_entropy
from elman.padded import Padded

pytestmark = pytest.mark.skipif(kernels.native is None, reason="no compiler")

CELLS = [elman.RNN, elman.LSTM, elman.GRU]
OPTIONS = [{}, {"layer_norm": True}, {"bidirectional": True, "num_layers": 2}]


def _poisoned(count: int, like: nn.Parameter) -> list[torch.Tensor]:
    """Return tensors of NaN in the memory that was freed last."""
    return [torch.full_like(like, torch.nan) for _ in range(count)]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_use_the_weights_of_the_forward_pass(
    cell: type[nn.Module], options: dict[str, object]
) -> None:
    torch.manual_seed(0)
    model, x = cell(8, 160, **options), torch.randn(5, 3, 8)
    parameters = list(model.parameters())
    expected = torch.autograd.grad(model(x)[0].square().sum(), parameters)
    y, _ = model(x)
    for one in parameters:
        one.data = one.data * 2  # the old memory is freed
    junk = _poisoned(8, parameters[1])
    y.square().sum().backward()
    assert len(junk) == 8
    for (name, one), gradient in zip(model.named_parameters(), expected, strict=True):
        if cell is not elman.RNN or not name.startswith("gain"):  # these are multiplied by torch
            torch.testing.assert_close(one.grad, gradient)


def test_weights_without_storage_raise_an_error() -> None:
    model, x = elman.LSTM(8, 160), torch.randn(5, 3, 8)
    y, _ = model(x)
    model.weight_hh_l0.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=r"weight_hh must be float32 .* without memory"):
        y.sum().backward()


def test_weights_with_a_reallocated_storage_have_their_gradients() -> None:
    torch.manual_seed(0)
    model, x = elman.GRU(8, 160), torch.randn(5, 3, 8)
    weight = model.weight_hh_l0
    expected = torch.autograd.grad(model(x)[0].sum(), [weight])[0]
    y, _ = model(x)
    storage, values = weight.untyped_storage(), weight.detach().clone()
    size = storage.nbytes()
    storage.resize_(0)
    junk = _poisoned(4, torch.nn.Parameter(values))
    storage.resize_(size)
    with torch.no_grad():
        weight.data.copy_(values)
    (gradient,) = torch.autograd.grad(y.sum(), [weight])
    assert len(junk) == 4
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_threads_can_run_backward_passes_of_one_graph(cell: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = cell(16, 64)
    y, _ = model(torch.randn(100, 16, 16))
    loss, parameters = y.square().sum(), list(model.parameters())
    expected = torch.autograd.grad(loss, parameters, retain_graph=True)
    found = []

    def run() -> None:
        for _ in range(4):
            found.append(torch.autograd.grad(loss, parameters, retain_graph=True))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 8
    for gradients in found:
        for gradient, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(gradient, wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_missing_thread() -> None:
    with pool._lock:  # as if another thread held it at the fork
        child = os.fork()
        if child == 0:
            pool.Lease().take(1 << 8, 1 << 8)
            os._exit(7)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


@pytest.mark.parametrize("cell", CELLS)
def test_pending_negations_are_resolved(cell: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, x, h = cell(4, 6), torch.randn(5, 3, 4), torch.randn(1, 3, 6)
    lazy = torch._neg_view

    def state(leaf: torch.Tensor) -> object:
        return (leaf, leaf) if cell is elman.LSTM else leaf

    expected, _ = model(-x, state(-h))
    expected.backward(-torch.ones_like(expected))
    wanted = [one.grad.clone() for one in model.parameters()]
    model.zero_grad()
    y, _ = model(lazy(x), state(lazy(h)))
    torch.testing.assert_close(y, expected)
    y.backward(lazy(torch.ones_like(y)))
    for one, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(one.grad, gradient)
    lengths = torch.tensor([5, 2, 0])
    ragged = model(lazy(x), lengths=lengths)[0]
    torch.testing.assert_close(ragged, model(-x, lengths=lengths)[0])
    live, usual = elman.Stream(model, 3), elman.Stream(model, 3)
    for t in range(3):
        torch.testing.assert_close(live(lazy(x[t])), usual(-x[t]))
    torch.testing.assert_close(live.run(lazy(x).transpose(0, 1)), usual.run((-x).transpose(0, 1)))


def test_pending_negations_of_scores_are_resolved() -> None:
    torch.manual_seed(0)
    h, weight, bias = torch.randn(40, 8), torch.randn(300, 8), torch.randn(300)
    targets = torch.arange(40)
    lazy = linear_cross_entropy(*map(torch._neg_view, (h, weight, bias)), targets)
    torch.testing.assert_close(lazy, linear_cross_entropy(-h, -weight, -bias, targets))


@pytest.mark.parametrize("rows", [3, 64])  # by the plain function and by the kernel
def test_targets_outside_the_vocabulary_are_refused(rows: int) -> None:
    head, states = TokenHead(8, 300), Padded.full(torch.randn(rows, 2, 8))
    for wrong in (-100, -1, 300):
        targets = torch.full((rows, 2), wrong)
        for call in (head.loss, head.score):
            with pytest.raises(ArgumentError, match=r"targets must be in 0\.\.V-1=299"):
                call(states, targets)
    with pytest.raises(ArgumentError, match="integers"):
        head.loss(states, torch.zeros(rows, 2))
    short = torch.zeros(rows, 2, dtype=torch.int32)
    torch.testing.assert_close(head.loss(states, short), head.loss(states, short.long()))
