"""Pyramids: padding, live runs, gradients, and the settings of a transcriber."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.encode.front_end import FrontEnd
from elman.encode.pyramid import Pyramid, PyramidStream
from elman.encode.sound import SoundIndex
from elman.errors import ArgumentError, DataError
from elman.padded import Padded
from elman.state import from_bytes, to_bytes
from tests.sounds import sentences

NEAR = 1e-5  # float32 sums of at most 20 terms below 1, in another order


def layers(*, bidirectional: bool = False) -> list[elman.GRU]:
    torch.manual_seed(0)
    options = {"batch_first": True, "bidirectional": bidirectional}
    width = 10 if bidirectional else 5
    return [elman.GRU(6, 5, **options), elman.GRU(2 * width, 5, **options)]


def pyramid(**options) -> Pyramid:
    return Pyramid(FrontEnd(SoundIndex("mfcc", 6, 8000)), layers(**options)).eval()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[13, 12, 7, 3, 0], [1, 0, 3, 2, 1]])
def test_padding_does_not_change_rows(bidirectional, lengths):
    encode = pyramid(bidirectional=bidirectional)
    x = torch.randn(5, 13, 6)
    x[~Padded(x, torch.tensor(lengths)).mask()] = float("nan")
    found = encode(Padded(x, torch.tensor(lengths)))
    assert found.lengths.tolist() == [length // 4 for length in lengths]
    assert found.data.shape == (5, 3, 20 if bidirectional else 10)
    for row, length in enumerate(lengths):
        alone = encode(Padded.full(x[row : row + 1, :length])).data[0]
        assert torch.allclose(found.data[row, : length // 4], alone, atol=NEAR)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 11))
def test_a_stream_equals_the_batch_for_chunks_of_any_size(sizes, stored_after):
    encode, core = pyramid(), elman.GRU(10, 4, batch_first=True).eval()
    x = torch.randn(1, sum(sizes), 6)
    with torch.inference_mode():
        whole = core(encode(Padded.full(x)).data)[0]
        stream, found = PyramidStream(encode.layers, core), []
        for n, chunk in enumerate(x.split(sizes, 1) if sizes else ()):
            found.append(stream.run(chunk))
            if n == stored_after:
                blob = to_bytes(stream.state)
                stream = PyramidStream(encode.layers, core)
                stream.state = from_bytes(blob)
    assert stream.unread == sum(sizes) % 4
    assert torch.allclose(torch.cat([whole[:, :0], *found], 1), whole, atol=NEAR)


def test_a_stream_begins_again_after_restart():
    stream = PyramidStream(layers(), elman.GRU(10, 4, batch_first=True))
    x = torch.randn(1, 8, 6)
    first = stream.run(x)
    stream.run(x[:, :3])
    stream.restart()
    assert stream.unread == 0
    assert torch.allclose(stream.run(x), first, atol=NEAR)


def test_a_damaged_state_is_refused():
    stream = PyramidStream(layers(), elman.GRU(10, 4, batch_first=True))
    states, (_, second) = stream.state
    with pytest.raises(DataError, match="several steps wait"):
        stream.state = (states, (torch.zeros(2, 1, 5), second))


def test_gradients_reach_every_weight_and_every_step_that_is_read():
    encode = pyramid()
    x = torch.randn(2, 9, 6, requires_grad=True)
    encode(Padded(x, torch.tensor([9, 5]))).data.square().sum().backward()
    used = x.grad.abs().sum(2) > 0
    assert used[0, :8].all()
    assert not used[0, 8]  # the last step of an odd number is dropped
    assert all(weight.grad.abs().sum() > 0 for weight in encode.parameters())


def test_dropout_between_layers_is_on_in_training_only():
    encode = Pyramid(FrontEnd(SoundIndex("mfcc", 6, 8000)), layers(), dropout=0.5)
    x = Padded.full(torch.randn(1, 40, 6))
    zero = torch.cat([encode.train()(x).data == 0 for _ in range(40)])
    assert 0.3 < zero.float().mean() < 0.7  # of 200 units; the deviation of the mean is 0.035
    assert zero.all(1).equal(zero.any(1))  # at all steps or at none
    assert (encode.eval()(x).data != 0).all()


def test_the_number_of_layers_must_be_greater_than_pyramid():
    for options in ({"num_layers": 2, "pyramid": 2}, {"hidden_size": (8, 8), "pyramid": 2}):
        with pytest.raises(ArgumentError, match="pyramid must be below the number of layers, 2"):
            elman.Transcriber(**options).check()
    with pytest.raises(ArgumentError, match="pyramid must be at least 0"):
        elman.Transcriber(pyramid=-1).check()
    with pytest.raises(ArgumentError, match="bptt and pyramid"):
        elman.Transcriber(pyramid=1, bptt=20).check()


def test_layers_of_a_transcriber_have_their_sizes_and_half_the_steps():
    sounds, texts = sentences(20, 1)
    model = elman.Transcriber(
        hidden_size=(12, 10, 8), num_layers=3, pyramid=1, frame_stride=1, epochs=1, device="cpu"
    ).fit(sounds, texts)
    encode, core = model.model.encode, model.model.core
    assert [layer.output_size for layer in encode.layers] == [24]  # two directions
    assert (core.input_size, core.hidden_sizes) == (48, (10, 8))
    assert model.transcripts.step_seconds == pytest.approx(0.02)
