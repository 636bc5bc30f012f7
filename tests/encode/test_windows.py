"""Windows: the inputs and targets of a step, which do not contain the future."""

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
def test_a_window_has_the_sizes_of_its_layout(layout: Layout) -> None:
    inputs, targets = cut(layout, record(layout, 30), 12, 20)
    assert inputs.shape == (2, layout.steps, layout.numbers + len(layout.categories))
    assert targets.shape == (2, layout.steps, layout.output, 2)
    assert inputs.isfinite().all()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("how", [None, *SCALINGS])
def test_inputs_and_scales_do_not_depend_on_the_future(layout: Layout, how: str) -> None:
    if how == "velocity" and layout.feedback:
        pytest.skip("with a velocity, all steps ahead are predicted at once")
    layout = replace(layout, scaling=how)  # type: ignore[arg-type]
    one, origin = record(layout, 30), 15
    y, past = one.y.copy(), one.past.copy()
    y[origin:], past[origin:] = y[origin:] * 100 - 7, 1e3
    windows = [Windows([r], layout) for r in (one, replace(one, y=y, past=past))]
    where = np.array([0]), np.array([origin])
    a, b = (w.cut(*where) for w in windows)
    # With feedback, a step after the origin reads the previous step.
    until = layout.seen if layout.feedback else layout.steps
    assert torch.equal(a.inputs[:, :until], b.inputs[:, :until])
    assert np.array_equal(a.shift, b.shift)
    assert np.array_equal(a.scale, b.scale)
    if layout.feedback:
        assert not torch.equal(a.inputs[:, until:], b.inputs[:, until:])


@given(st.sampled_from(list(LAYOUTS)), st.integers(1, 26))
def test_targets_are_the_numbers_after_the_origin(name: str, origin: int) -> None:
    layout = LAYOUTS[name]
    one = record(layout, 30)
    window = Windows([one], layout).cut(np.array([0]), np.array([origin]))
    y = window.targets[0, :, :, 0].numpy().reshape(-1, layout.targets)
    y = y[layout.context - layout.segment :] * window.scale[0] + window.shift[0]
    wanted = np.full((layout.ahead * layout.segment, layout.targets), np.nan)
    after = one.y[origin : origin + layout.horizon]
    wanted[: len(after)] = after
    seen = one.y[max(0, origin - layout.context) : origin]
    wanted[:, np.isnan(seen).all(0)] = np.nan  # a target without known numbers is not learned
    np.testing.assert_allclose(y, wanted, rtol=1e-5)
    earlier = window.targets[0, : layout.seen - 1, :, 0].isnan().all()
    assert earlier or layout.feedback


def test_inputs_are_steps_and_targets_are_deviations_from_the_last_velocity() -> None:
    layout = Layout(3, 2, scaling="velocity", usual=(0.0,))
    none = np.zeros((6, 0), dtype=np.float32)
    y = np.array([5.0, 6, 9, 10, 14, 19])[:, None]
    one = Record(y, none, none, none[0], np.zeros(0, dtype=np.int64))
    window = Windows([one], layout).cut(np.array([0]), np.array([4]))
    size = math.sqrt((9 + 1) / 2)  # of the steps from 6 to 9 and from 9 to 10
    assert window.scale[0, :, 0].tolist() == pytest.approx([size, 2 * size])
    assert window.shift[0, :, 0].tolist() == [11, 12]
    seen = window.inputs[0, :, 0].tolist()
    assert seen == pytest.approx([0, 3 / size, 1 / size, 0])
    found = window.targets[0, -2:, 0, 0].tolist()
    assert found == pytest.approx([(14 - 11) / size, (19 - 12) / 2 / size])


def test_training_windows_are_rotated_and_noisy_except_for_the_last_place() -> None:
    layout = replace(LAYOUTS["places"], jitter=0.5)
    y = np.random.default_rng(1).normal(size=(30, 2)).cumsum(0)
    one = replace(record(layout, 30), y=y)
    which, origins = np.zeros(400, dtype=np.int64), np.full(400, 15)
    windows = Windows([one], layout)
    drawn = windows.cut(which, origins, draw=np.random.default_rng(0))
    plain = windows.cut(which, origins)
    ahead = [
        w.targets[:, -2:, :, 0].numpy().reshape(400, 4, 2) * w.scale + w.shift
        for w in (drawn, plain)
    ]
    # The steps ahead keep their lengths, as only the steps before the origin are noisy.
    lengths = [np.linalg.norm(np.diff(way, axis=1), axis=2) for way in ahead]
    np.testing.assert_allclose(*lengths, rtol=1e-4)
    angles = np.arctan2(*(ahead[0][:, 1] - ahead[0][:, 0]).T)
    assert np.histogram(angles, 4, (-np.pi, np.pi))[0].min() > 70  # 100 are expected in each
    last, velocity = (
        [np.linalg.norm(place, axis=1) for place in places]
        for places in zip(
            *[
                (2 * w.shift[:, 0] - w.shift[:, 1], w.shift[:, 1] - w.shift[:, 0])
                for w in (drawn, plain)
            ],
            strict=True,
        )
    )
    np.testing.assert_allclose(*last)
    assert np.abs(velocity[0] - velocity[1]).min() > 0
    again = windows.cut(which, origins, draw=np.random.default_rng(0))
    assert torch.equal(drawn.inputs, again.inputs)


def test_held_out_numbers_are_missing() -> None:
    layout = LAYOUTS["feedback"]
    one = record(layout, 30)
    short = replace(one, y=one.y[:17], past=one.past[:17])
    where = np.array([0]), np.array([15])
    a = Windows([one], layout).cut(*where, np.array([17]))
    b = Windows([short], layout).cut(*where)
    assert torch.equal(a.inputs, b.inputs)
    assert torch.equal(a.targets.nan_to_num(9.0), b.targets.nan_to_num(9.0))


def test_a_step_reads_the_numbers_in_the_documented_order() -> None:
    layout = Layout(4, 4, 2, past=1, known=1, static=1, categories=(9,), lags=(4,), scaling=None)
    y, steps = np.arange(1.0, 11.0)[:, None], np.arange(10, dtype=np.float32)[:, None]
    one = Record(y, 10 + steps, 100 + steps, np.array([0.5], np.float32), np.array([7]))
    inputs, targets = cut(layout, one, 5)
    first = [
        *(2, 1, 3, 1),  # y of the segment, each with its mask
        *(0, 0, 1, 1),  # the lag of 4: a step before the beginning, and the first step
        *(11, 1, 12, 1),  # the past covariate of the segment
        *(103, 104),  # the known covariate of the next segment
        *(0.5, 0, 0),  # the static number, the logarithm of the scale, how far ahead
        7,
    ]
    last = [0, 0, 0, 0, 4, 1, 5, 1, 0, 0, 0, 0, 107, 108, 0.5, 0, 0.5, 7]
    assert inputs[0, 0].tolist() == first
    assert inputs[0, -1].tolist() == last
    assert targets[0, 1:, :, 0].tolist() == [[6, 7], [8, 9]]


def test_a_short_series_is_padded_at_its_beginning() -> None:
    layout = Layout(8, 2, scaling="mean")
    none = np.zeros((3, 0), dtype=np.float32)
    one = Record(np.array([[2.0], [4], [6]]), none, none, none[0], np.zeros(0, dtype=np.int64))
    inputs, targets = cut(layout, one, 2)
    assert inputs[0, :, 1].tolist() == [0] * 6 + [1, 1, 0]
    assert targets[0, -2, 0, 0].item() == 2.0  # 6 divided by the mean 3
    assert targets[0, -1, 0, 0].isnan()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_forecast_in_parts_equals_the_forecast_of_the_whole(layout: Layout) -> None:
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
def test_numbers_before_the_origin_are_hidden_only_in_training(name: str) -> None:
    layout = replace(LAYOUTS[name], scaling=None, gaps=1.0)
    windows = Windows([record(layout, 30)], layout)
    which, origins = np.zeros(400, dtype=np.int64), np.full(400, 15)
    plain = windows.cut(which, origins)
    drawn = windows.cut(which, origins, draw=np.random.default_rng(0))
    assert torch.equal(plain.inputs[0], windows.cut(which[:1], origins[:1]).inputs[0])
    # The masks of the numbers in the segments before and after the origin.
    each = layout.segment * layout.targets
    there = [
        torch.cat(
            [
                w.inputs[:, :, n * 2 * layout.targets + layout.targets :][:, :, : layout.targets]
                for n in range(layout.segment)
            ],
            2,
        )
        for w in (plain, drawn)
    ]
    assert there[0].shape[2] == each
    seen = slice(0, layout.seen)
    share = there[1][:, seen].sum() / there[0][:, seen].sum()
    assert 0.4 < share < 0.6  # the kept share of a window is uniform in [0, 1]
    assert (there[1] <= there[0]).all()
    assert torch.equal(there[1][:, layout.seen :], there[0][:, layout.seen :])
    ahead = [w.targets[:, layout.seen - 1 :, :, 0] for w in (plain, drawn)]
    some = ~ahead[1].isnan()  # a target without known numbers is not learned
    assert torch.equal(ahead[0][some], ahead[1][some])
    assert some.float().mean() > 0.7 * (~ahead[0].isnan()).float().mean()
