"""RNN, LSTM and GRU replace the layers of the same names in torch.nn."""

from __future__ import annotations

import copy
import inspect
import itertools

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import elman

SETTINGS = [
    {"num_layers": layers, "bidirectional": both, "batch_first": first, "bias": bias}
    for layers, both, first, bias in itertools.product([1, 2], [False, True], [False, True], [True])
] + [{"bias": False}, {"num_layers": 3, "dropout": 0.4}]
KINDS = ["RNN", "LSTM", "GRU"]
CASES = [(kind, options) for kind in KINDS for options in SETTINGS]
CASES += [("RNN", {"nonlinearity": "relu"}), ("LSTM", {"proj_size": 4, "num_layers": 2})]
CASES += [("LSTM", {"proj_size": 4, "bidirectional": True, "dropout": 0.2, "num_layers": 2})]


def pair(kind: str, options: dict[str, object]) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(5, 7, **options)
    torch.manual_seed(0)
    return theirs, getattr(elman, kind)(5, 7, **options)


def tensors(result: object) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return [leaf for part in result if part is not None for leaf in tensors(part)]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_one_seed_gives_the_weights_outputs_and_gradients_of_torch(
    kind: str, options: dict[str, object]
) -> None:
    theirs, ours = pair(kind, options)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(theirs.parameters(), ours.parameters(), strict=True)
    )
    x = torch.randn(6, 6, 5)
    lengths = torch.tensor([6, 3, 5, 1, 2, 2])
    packed = pack_padded_sequence(
        x, lengths, enforce_sorted=False, batch_first=bool(options.get("batch_first"))
    )
    for given in (x, x[0], packed):
        results = []
        for module in (theirs, ours):
            torch.manual_seed(5)
            out = tensors(module(given))
            total = sum(leaf.square().sum() for leaf in out if leaf.dtype.is_floating_point)
            results.append([*out, *torch.autograd.grad(total, list(module.parameters()))])
        # float32 sums in another order differ by about 1e-7 of numbers up to about ten.
        torch.testing.assert_close(results[1], results[0], rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_constructors_have_the_arguments_of_torch_in_the_same_order(kind: str) -> None:
    documented = {
        "RNN": [
            "input_size",
            "hidden_size",
            "num_layers",
            "nonlinearity",
            "bias",
            "batch_first",
            "dropout",
            "bidirectional",
            "device",
            "dtype",
        ],
        "LSTM": [
            "input_size",
            "hidden_size",
            "num_layers",
            "bias",
            "batch_first",
            "dropout",
            "bidirectional",
            "proj_size",
            "device",
            "dtype",
        ],
        "GRU": [
            "input_size",
            "hidden_size",
            "num_layers",
            "bias",
            "batch_first",
            "dropout",
            "bidirectional",
            "device",
            "dtype",
        ],
    }
    ours = list(inspect.signature(getattr(elman, kind)).parameters)
    assert ours[: len(documented[kind])] == documented[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_exchanged_with_torch_and_modules_can_be_copied(kind: str) -> None:
    theirs, ours = pair(kind, {"num_layers": 2})
    ours.reset_parameters()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 2, 5)
    expected = theirs(x)[0]
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-6)
    assert torch.equal(ours(x)[0], copy.deepcopy(ours)(x)[0])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "SLSTM", "LEM", "GRUD", "GRUwE", "CfC"])
def test_a_sequence_without_steps_gives_gradients_of_zero(kind: str) -> None:
    """torch.nn raises an error here, but a part of a stream can be empty."""
    if kind in ("GRUD", "GRUwE", "CfC"):
        core = getattr(elman, kind)(2, 4)
    else:
        core = getattr(elman, kind)(5, 4, batch_first=True)
    x = torch.zeros(3, 0, 5, requires_grad=True)
    y, _ = core(x)
    assert y.shape == (3, 0, 4)
    y.sum().backward()
    assert x.grad is not None
    for weight in core.parameters():
        assert weight.grad is not None
        assert not weight.grad.any()


def test_locked_dropout_between_layers_uses_one_mask_for_all_steps() -> None:
    core = elman.RNN(4, 64, num_layers=2, nonlinearity="relu", dropout=0.5, variational=True)
    with torch.no_grad():  # layer 0 outputs ones, and layer 1 those that dropout keeps
        for name, parameter in core.named_parameters():
            parameter.zero_()
            if name == "bias_ih_l0":
                parameter.fill_(1.0)
            if name == "weight_ih_l1":
                parameter.copy_(torch.eye(64))
    x = torch.zeros(10, 3, 4)
    y, _ = core(x)
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(y, y[:1].expand_as(y))
    assert not torch.equal(y[:, 0], y[:, 1])
    ragged, _ = core(x, None, torch.tensor([10, 4, 7]))
    for row, length in enumerate([10, 4, 7]):
        assert torch.equal(ragged[:length, row], ragged[:1, row].expand(length, 64))
    packed, _ = core(pack_padded_sequence(x, torch.tensor([10, 7, 4])))
    assert set(packed.data.unique().tolist()) == {0.0, 2.0}


def test_weight_dropout_drops_recurrent_weights_only_in_training() -> None:
    core = elman.RNN(1, 1, nonlinearity="relu", weight_dropout=0.5)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.fill_(1.0)
    x = torch.ones(2, 1, 1)
    seen = {core(x)[0][1].item() for _ in range(40)}
    # h_1 = 3; h_2 = 1 + 1 + 1 + w * 3 with w either 0 or 2.
    assert seen == {3.0, 9.0}
    assert core.eval()(x)[0][1].item() == 6.0


def test_zoneout_keeps_old_values_in_training_and_their_mean_otherwise() -> None:
    core = elman.RNN(1, 1000, nonlinearity="relu", zoneout=0.25)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
        core.bias_ih_l0.fill_(1.0)
    y, _ = core(torch.zeros(1, 1, 1))
    assert set(y.unique().tolist()) == {0.0, 1.0}
    # The mean of 1000 draws with p = 0.75 is within 0.06 (4 standard deviations of 0.0137).
    assert abs(y.mean().item() - 0.75) < 0.06
    assert core.eval()(torch.zeros(1, 1, 1))[0].mean().item() == 0.75


def test_peephole_adds_the_cell_to_the_gates() -> None:
    core = elman.LSTM(1, 1, peephole=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
        core.weight_peephole_l0.copy_(torch.tensor([0.5, 1.0, 2.0]))
    zero = torch.zeros(1, 1, 1, dtype=torch.float64)
    y, (_, c) = core(zero, (zero, torch.ones_like(zero)))
    sigmoid = torch.sigmoid(torch.tensor([1.0, 2.0], dtype=torch.float64))
    expected_c = sigmoid[0]  # f = sigmoid(1 * c_{t-1}), g = tanh(0) = 0
    torch.testing.assert_close(c.squeeze(), expected_c)
    o = torch.sigmoid(2 * expected_c)
    torch.testing.assert_close(y.squeeze(), o * torch.tanh(expected_c))


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_state_can_be_given_as_hx(name: str) -> None:
    theirs, x = getattr(torch.nn, name)(3, 5), torch.randn(4, 2, 3)
    ours = getattr(elman, name)(3, 5)
    ours.load_state_dict(theirs.state_dict())
    _, state = theirs(x)
    torch.testing.assert_close(ours(x, hx=state)[0], theirs(x, hx=state)[0])
