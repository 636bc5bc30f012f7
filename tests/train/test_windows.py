"""Batches of windows: completeness, sampling, shares of processes, and resuming."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from elman.encode.layout import Layout, Record
from elman.encode.windows import Windows
from elman.train.windows import WindowBatches

LAYOUT = Layout(3, 2, scaling=None)


def batches(*lengths: int, layout: Layout = LAYOUT, **options: object) -> WindowBatches:
    """Return batches of series whose numbers are 100 * series + step."""
    records = []
    for n, length in enumerate(lengths):
        none = np.zeros((length, 0), dtype=np.float32)
        y = 100.0 * n + np.arange(length)[:, None]
        records.append(Record(y, none, none, none[0], np.zeros(0, dtype=np.int64)))
    origins = np.array([[1, length - 1] for length in lengths])
    return WindowBatches(Windows(records, layout), origins, 4, **options)  # type: ignore[arg-type]


def firsts(found: WindowBatches, epoch: int = 1, start: int = 0) -> list[list[float]]:
    """Return the first number after the origin of each window."""
    return [chunk.targets[:, 2, 0, 0].tolist() for chunk in found.epoch(epoch, start)]


def flat(batches: list[list[float]]) -> list[float]:
    return list(itertools.chain.from_iterable(batches))


def test_every_origin_occurs_once() -> None:
    found = batches(6, 2, 1, 4, seed=None)  # a series of one number has no window
    assert len(found) == 3
    assert firsts(found) == [[1, 2, 3, 4], [5, 101, 301, 302], [303]]
    drawn = batches(6, 2, 1, 4, seed=0)
    assert sorted(flat(firsts(drawn))) == sorted(flat(firsts(found)))
    assert firsts(drawn) != firsts(drawn, 2)


def test_a_stride_skips_origins() -> None:
    assert flat(firsts(batches(8, 4, seed=None, stride=3))) == [1, 4, 7, 101]


def test_an_epoch_has_the_requested_number_of_windows() -> None:
    found = batches(60, 40, seed=3, count=20)
    first, second = (flat(firsts(found, epoch)) for epoch in (1, 2))
    assert len(found) == 5
    assert len(set(first)) == len(set(second)) == 20
    assert set(first) != set(second)
    few = flat(firsts(batches(4, seed=0, count=8)))
    assert sorted(few[:3]) == sorted(few[3:6]) == [1, 2, 3]


def test_an_epoch_continues_where_it_stopped() -> None:
    found = batches(9, 7, seed=1)
    assert firsts(found, 2, 2) == firsts(found, 2)[2:]


def test_noise_differs_between_batches_and_is_the_same_after_a_stop() -> None:
    noisy = Layout(3, 2, scaling=None, usual=(1.0,), jitter=0.1)
    found = batches(9, 7, seed=1, layout=noisy)
    inputs = [chunk.inputs.data for chunk in found.epoch(2)]
    rest = [chunk.inputs.data for chunk in found.epoch(2, 2)]
    assert all(torch.equal(a, b) for a, b in zip(inputs[2:], rest, strict=True))
    noise = [(x[:, :2, 0] - x[:, :2, 0].round()).flatten() for x in inputs]
    assert all(part.abs().max() > 0 for part in noise)
    assert not torch.equal(noise[0], noise[1])
    assert all(x[:, 2, 0].equal(x[:, 2, 0].round()) for x in inputs)  # the last number has no noise
    (plain,) = batches(4, seed=None, layout=noisy).epoch(1)
    assert plain.inputs.data[:, :, 0].equal(plain.inputs.data[:, :, 0].round())


def test_processes_share_every_batch() -> None:
    whole = firsts(batches(9, 7, seed=1))
    parts = [firsts(batches(9, 7, seed=1, share=(rank, 2))) for rank in (0, 1)]
    for together, one, two in zip(whole, *parts, strict=True):
        assert sorted(one + two) == sorted(together)


def test_inputs_of_a_batch_equal_those_of_its_windows() -> None:
    (chunk,) = batches(4, seed=None).epoch(1)
    assert chunk.inputs.lengths.tolist() == [LAYOUT.steps] * 3
    torch.testing.assert_close(chunk.inputs.data[2, :, 0], torch.tensor([0.0, 1.0, 2.0, 0.0]))
