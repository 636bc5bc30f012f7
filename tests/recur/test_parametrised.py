"""Weights that are computed or replaced, and empty batches, give the results of torch.nn."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import elman

LAYERS = {"lstm": (elman.LSTM, nn.LSTM), "gru": (elman.GRU, nn.GRU), "rnn": (elman.RNN, nn.RNN)}


class Plus(nn.Module):
    """The parametrization w + 1."""

    def forward(self, w: Tensor) -> Tensor:
        return w + 1

    def right_inverse(self, w: Tensor) -> Tensor:
        return w


def weight_drop(layer: nn.Module, name: str) -> None:
    """Keep the raw weight under another name and a tensor in its place, as AWD-LSTM code does."""
    raw = nn.Parameter(getattr(layer, name).detach())
    del layer._parameters[name]
    layer.register_parameter(name + "_raw", raw)
    setattr(layer, name, raw * 0.5)


def old_weight_norm(layer: nn.Module, name: str) -> None:
    """Apply the first form of weight_norm, which is deprecated in torch but still used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("weight"):
            nn.utils.weight_norm(layer, name)


CHANGES: dict[str, Callable[[nn.Module, str], object]] = {
    "plus": lambda layer, name: parametrize.register_parametrization(layer, name, Plus()),
    "pruned": lambda layer, name: prune.l1_unstructured(layer, name, 0.5),
    "mask of ones": lambda layer, name: prune.custom_from_mask(
        layer, name, torch.ones_like(getattr(layer, name))
    ),
    "weight norm": lambda layer, name: (
        parametrizations.weight_norm(layer, name) if name.startswith("weight") else None
    ),
    "old weight norm": old_weight_norm,
    "weight drop": weight_drop,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", LAYERS)
def test_changed_weights_give_the_outputs_and_gradients_of_torch(kind: str, change: str) -> None:
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        torch.manual_seed(0)
        ours, theirs = (layer(3, 5) for layer in LAYERS[kind])
        theirs.load_state_dict(ours.state_dict())
        x, found = torch.randn(4, 2, 3), []
        for layer in (ours, theirs):
            CHANGES[change](layer, name)
            y, _ = layer(x)
            y.square().sum().backward()
            found.append([y, *(p.grad for _, p in sorted(layer.named_parameters()))])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)  # sums of 40 float32 numbers
        stream = elman.Stream(ours)  # type: ignore[arg-type]
        torch.testing.assert_close(stream(x[0, :1]), ours(x[:1, :1])[0][0], atol=1e-6, rtol=0)


def test_a_bias_plus_one_is_read() -> None:
    torch.manual_seed(0)
    lstm = elman.LSTM(3, 5)
    parametrize.register_parametrization(lstm, "bias_hh_l0", Plus())
    y, _ = lstm(torch.ones(1, 1, 3))
    expected = torch.tensor([0.4534, 0.0760, 0.4984, 0.3817, -0.0879])  # from torch.nn.LSTM
    torch.testing.assert_close(y.flatten(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_replica_without_parameters_works(kind: str) -> None:
    layer = LAYERS[kind][0](3, 5)
    x = torch.randn(4, 2, 3)
    expected = layer(x)[0]
    replica = layer._replicate_for_data_parallel()
    for name, parameter in layer.named_parameters():  # as torch.nn.parallel.replicate does
        setattr(replica, name, parameter * 1)
    assert torch.equal(replica(x)[0], expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_batch_without_rows_or_elements_gives_gradients_of_zero(kind: str) -> None:
    ours, theirs = LAYERS[kind]
    for layer, x, lengths in (
        (ours(3, 5), torch.randn(6, 0, 3), None),
        (ours(3, 5), torch.randn(6, 2, 3), [0, 0]),
        (theirs(3, 5), torch.randn(6, 0, 3), None),
    ):
        y, _ = layer(x) if lengths is None else layer(x, None, lengths)
        y.sum().backward()
        assert not y.any()
        assert all(not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_default_dtype_does_not_change_a_float32_layer(kind: str, default: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 40, 3)
    layer = LAYERS[kind][0](3, 8, num_layers=2)
    expected = layer(x)[0]
    torch.set_default_dtype(default)
    try:
        again = LAYERS[kind][0](3, 8, num_layers=2, dtype=torch.float32)
        again.load_state_dict(layer.state_dict())
        y, _ = again(x)
        y.sum().backward()
        assert torch.equal(y, expected)
        stream = elman.Stream(again, rows=40)
        torch.testing.assert_close(stream(x[0]), expected[0], atol=1e-6, rtol=0)
        assert stream.run(x[1:3].transpose(0, 1)).dtype == torch.float32
        short = LAYERS[kind][0](3, 4)
        assert elman.Stream(short)(torch.zeros(1, 3)).dtype == default
    finally:
        torch.set_default_dtype(torch.float32)
