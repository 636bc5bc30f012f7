"""Windows: what a step reads, what it says, and that nothing comes from behind the origin."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elman.encode.layout import Layout, Record
from elman.encode.scale import Scaling
from elman.encode.series import SeriesEmbed
from elman.encode.windows import Windows
from elman.heads import ForecastHead
from elman.heads.distributions import Gaussian
from elman.model import SequenceModel
from elman.padded import Padded
from elman.recur import GRU
from elman.state import map_state

SCALINGS = get_args(Scaling)
LAYOUTS = {
    "plain": Layout(6, 4),
    "segments": Layout(6, 4, 3, targets=2, past=1, known=2, static=1, categories=(3,), lags=(4,)),
    "feedback": Layout(6, 4, known=1, lags=(1, 5), feedback=True, scaling="standard"),
    "places": Layout(
        6, 4, 2, targets=2, lags=(3,), scaling="velocity", usual=(1.0, 1.0), plane=True
    ),
}


def record(layout: Layout, steps: int, seed: int = 0) -> Record:
    draw = np.random.default_rng(seed)
    y = draw.normal(size=(steps, layout.targets)) + 5
    y[draw.random(y.shape) < 0.2] = np.nan
    return Record(
        y,
        draw.normal(size=(steps, layout.past)).astype(np.float32),
        draw.normal(size=(steps + 10, layout.known)).astype(np.float32),
        draw.normal(size=layout.static).astype(np.float32),
        np.array([n - 1 for n in layout.categories], dtype=np.int64),
    )


def cut(layout: Layout, one: Record, *origins: int) -> tuple[torch.Tensor, torch.Tensor]:
    found = Windows([one], layout).cut(np.zeros(len(origins), dtype=np.int64), np.array(origins))
    return found.inputs, found.targets


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_window_has_the_sizes_that_its_layout_says(layout: Layout) -> None:
    inputs, targets = cut(layout, record(layout, 30), 12, 20)
    assert inputs.shape == (2, layout.steps, layout.numbers + len(layout.categories))
    assert targets.shape == (2, layout.steps, layout.output, 2)
    assert inputs.isfinite().all()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("how", [None, *SCALINGS])
def test_another_future_changes_nothing_that_is_read_or_scaled(layout: Layout, how: str) -> None:
    if how == "velocity" and layout.feedback:
        pytest.skip("a velocity is said to the whole way at once")
    layout = replace(layout, scaling=how)  # type: ignore[arg-type]
    one, origin = record(layout, 30), 15
    y, past = one.y.copy(), one.past.copy()
    y[origin:], past[origin:] = y[origin:] * 100 - 7, 1e3
    windows = [Windows([r], layout) for r in (one, replace(one, y=y, past=past))]
    where = np.array([0]), np.array([origin])
    a, b = (w.cut(*where) for w in windows)
    # With feedback a step behind the origin reads the one before it, late.
    until = layout.seen if layout.feedback else layout.steps
    assert torch.equal(a.inputs[:, :until], b.inputs[:, :until])
    assert np.array_equal(a.shift, b.shift)
    assert np.array_equal(a.scale, b.scale)
    if layout.feedback:
        assert not torch.equal(a.inputs[:, until:], b.inputs[:, until:])


@given(st.sampled_from(list(LAYOUTS)), st.integers(1, 26))
def test_targets_are_the_numbers_behind_the_origin(name: str, origin: int) -> None:
    layout = LAYOUTS[name]
    one = record(layout, 30)
    window = Windows([one], layout).cut(np.array([0]), np.array([origin]))
    y = window.targets[0, :, :, 0].numpy().reshape(-1, layout.targets)
    y = y[layout.context - layout.segment :] * window.scale[0] + window.shift[0]
    wanted = np.full((layout.ahead * layout.segment, layout.targets), np.nan)
    behind = one.y[origin : origin + layout.horizon]
    wanted[: len(behind)] = behind
    seen = one.y[max(0, origin - layout.context) : origin]
    wanted[:, np.isnan(seen).all(0)] = np.nan  # of what is not seen nothing is learned
    np.testing.assert_allclose(y, wanted, rtol=1e-5)
    earlier = window.targets[0, : layout.seen - 1, :, 0].isnan().all()
    assert earlier or layout.feedback


def test_steps_are_seen_and_the_way_on_from_the_last_is_said() -> None:
    layout = Layout(3, 2, scaling="velocity", usual=(0.0,))
    none = np.zeros((6, 0), dtype=np.float32)
    y = np.array([5.0, 6, 9, 10, 14, 19])[:, None]
    one = Record(y, none, none, none[0], np.zeros(0, dtype=np.int64))
    window = Windows([one], layout).cut(np.array([0]), np.array([4]))
    size = math.sqrt((9 + 1) / 2)  # of the steps from 6 to 9 and to 10
    assert window.scale[0, :, 0].tolist() == pytest.approx([size, 2 * size])
    assert window.shift[0, :, 0].tolist() == [11, 12]
    seen = window.inputs[0, :, 0].tolist()
    assert seen == pytest.approx([0, 3 / size, 1 / size, 0])
    said = window.targets[0, -2:, 0, 0].tolist()
    assert said == pytest.approx([(14 - 11) / size, (19 - 12) / 2 / size])


def test_windows_of_training_are_turned_and_noisy_but_for_the_last_place() -> None:
    layout = replace(LAYOUTS["places"], jitter=0.5)
    y = np.random.default_rng(1).normal(size=(30, 2)).cumsum(0)
    one = replace(record(layout, 30), y=y)
    which, origins = np.zeros(400, dtype=np.int64), np.full(400, 15)
    windows = Windows([one], layout)
    drawn = windows.cut(which, origins, draw=np.random.default_rng(0))
    plain = windows.cut(which, origins)
    behind = [w.targets[:, -2:, :, 0].numpy().reshape(400, 4, 2) * w.scale + w.shift
              for w in (drawn, plain)]  # fmt: skip
    # The way ahead keeps its lengths, as only what was seen is noisy.
    lengths = [np.linalg.norm(np.diff(way, axis=1), axis=2) for way in behind]
    np.testing.assert_allclose(*lengths, rtol=1e-4)
    angles = np.arctan2(*(behind[0][:, 1] - behind[0][:, 0]).T)
    assert np.histogram(angles, 4, (-np.pi, np.pi))[0].min() > 70  # of 100 each
    last, velocity = (
        [np.linalg.norm(place, axis=1) for place in places]
        for places in zip(*[(2 * w.shift[:, 0] - w.shift[:, 1], w.shift[:, 1] - w.shift[:, 0])
                            for w in (drawn, plain)], strict=True)
    )  # fmt: skip
    np.testing.assert_allclose(*last)
    assert np.abs(velocity[0] - velocity[1]).min() > 0
    again = windows.cut(which, origins, draw=np.random.default_rng(0))
    assert torch.equal(drawn.inputs, again.inputs)


def test_what_is_held_out_is_not_there() -> None:
    layout = LAYOUTS["feedback"]
    one = record(layout, 30)
    short = replace(one, y=one.y[:17], past=one.past[:17])
    where = np.array([0]), np.array([15])
    a = Windows([one], layout).cut(*where, np.array([17]))
    b = Windows([short], layout).cut(*where)
    assert torch.equal(a.inputs, b.inputs)
    assert torch.equal(a.targets.nan_to_num(9.0), b.targets.nan_to_num(9.0))


def test_a_step_reads_what_the_file_says() -> None:
    layout = Layout(4, 4, 2, past=1, known=1, static=1, categories=(9,), lags=(4,), scaling=None)
    y, steps = np.arange(1.0, 11.0)[:, None], np.arange(10, dtype=np.float32)[:, None]
    one = Record(y, 10 + steps, 100 + steps, np.array([0.5], np.float32), np.array([7]))
    inputs, targets = cut(layout, one, 5)
    first = [
        *(2, 1, 3, 1),  # y of the segment, each with whether it is there
        *(0, 0, 1, 1),  # 4 steps before the next: one before the beginning, and the first
        *(11, 1, 12, 1),  # the covariate of the past, of the segment
        *(103, 104),  # that which is known before, of the next
        *(0.5, 0, 0),  # what does not change, log of the scale, how far ahead
        7,
    ]
    last = [0, 0, 0, 0, 4, 1, 5, 1, 0, 0, 0, 0, 107, 108, 0.5, 0, 0.5, 7]
    assert inputs[0, 0].tolist() == first
    assert inputs[0, -1].tolist() == last
    assert targets[0, 1:, :, 0].tolist() == [[6, 7], [8, 9]]


def test_a_short_series_is_filled_up_in_front() -> None:
    layout = Layout(8, 2, scaling="mean")
    none = np.zeros((3, 0), dtype=np.float32)
    one = Record(np.array([[2.0], [4], [6]]), none, none, none[0], np.zeros(0, dtype=np.int64))
    inputs, targets = cut(layout, one, 2)
    assert inputs[0, :, 1].tolist() == [0] * 6 + [1, 1, 0]
    assert targets[0, -2, 0, 0].item() == 2.0  # 6 of the mean 3
    assert targets[0, -1, 0, 0].isnan()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_forecast_in_parts_is_the_forecast_of_the_whole(layout: Layout) -> None:
    torch.manual_seed(0)
    embed = SeriesEmbed(layout.numbers, list(layout.categories), 3)
    head = ForecastHead(5 + embed.size, layout.output, Gaussian())
    model = SequenceModel(embed, GRU(embed.size, 5, batch_first=True), head, skip=True).eval()
    inputs, _ = cut(layout, record(layout, 30), 12, 20)
    whole, _ = model(Padded.full(inputs))
    for k in range(layout.steps + 1):
        first, state = model(Padded.full(inputs[:, :k]))
        rest, _ = model(Padded.full(inputs[:, k:]), map_state(torch.clone, state))
        torch.testing.assert_close(torch.cat([first.data, rest.data], 1), whole.data)


@pytest.mark.parametrize("name", ["plain", "segments", "feedback"])
def test_numbers_are_hidden_in_training_only_and_the_future_stays(name: str) -> None:
    layout = replace(LAYOUTS[name], scaling=None, gaps=1.0)
    windows = Windows([record(layout, 30)], layout)
    which, origins = np.zeros(400, dtype=np.int64), np.full(400, 15)
    plain = windows.cut(which, origins)
    drawn = windows.cut(which, origins, draw=np.random.default_rng(0))
    assert torch.equal(plain.inputs[0], windows.cut(which[:1], origins[:1]).inputs[0])
    # Which numbers of the segments before the origin are read, and of those behind it.
    each = layout.segment * layout.targets
    there = [
        torch.cat([
            w.inputs[:, :, n * 2 * layout.targets + layout.targets :][:, :, : layout.targets]
            for n in range(layout.segment)
        ], 2)
        for w in (plain, drawn)
    ]  # fmt: skip
    assert there[0].shape[2] == each
    seen = slice(0, layout.seen)
    share = there[1][:, seen].sum() / there[0][:, seen].sum()
    assert 0.4 < share < 0.6  # a window keeps any part
    assert (there[1] <= there[0]).all()
    assert torch.equal(there[1][:, layout.seen :], there[0][:, layout.seen :])
    behind = [w.targets[:, layout.seen - 1 :, :, 0] for w in (plain, drawn)]
    some = ~behind[1].isnan()  # nothing is learned of a target of which nothing is seen
    assert torch.equal(behind[0][some], behind[1][some])
    assert some.float().mean() > 0.7 * (~behind[0].isnan()).float().mean()
