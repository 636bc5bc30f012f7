"""Recordings as arrays, which do not depend on later steps, and augmentation in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from elman.encode.augment import Augment
from elman.encode.recordings import RecordingIndex, windows_of
from elman.errors import ArgumentError, DataError
from elman.read.recordings import Recording, Recordings

NAN = np.nan


def recording(times: list[float], values: list[list[float]], *static: object) -> Recording:
    return Recording("r", 0.0, np.array(times, dtype=float), np.array(values, dtype=float), static)


def all_of(*items: Recording, timed: bool = True) -> Recordings:
    channels = tuple("abcdef"[: items[0].values.shape[1]])
    return Recordings(list(items), [], [], channels, timed)


def test_a_step_has_the_last_numbers_a_mask_and_the_time_since() -> None:
    one = recording([0, 1, 3, 7], [[1, 10], [NAN, 20], [5, NAN], [NAN, 30]])
    index = RecordingIndex.build(all_of(one), elapsed=True)
    assert (index.gappy, index.step, index.features) == (["a", "b"], 2.0, 7)
    a, b, a_there, b_there, a_since, b_since, elapsed = index.encode(one).T
    np.testing.assert_allclose(a, [-1, -1, 1, 1])  # mean 3, deviation 2
    np.testing.assert_allclose(b, (np.array([10, 20, 20, 30]) - 20) / np.sqrt(200 / 3), rtol=1e-6)
    assert (a_there.tolist(), b_there.tolist()) == ([1, 0, 1, 0], [1, 1, 0, 1])
    np.testing.assert_allclose(a_since, np.log1p(np.array([0, 1, 0, 4]) / 2), rtol=1e-6)
    np.testing.assert_allclose(b_since, np.log1p(np.array([0, 0, 2, 0]) / 2), rtol=1e-6)
    np.testing.assert_allclose(elapsed, np.log1p(np.array([0, 1, 2, 4]) / 2), rtol=1e-6)


def test_a_channel_without_a_number_so_far_is_the_mean() -> None:
    one = recording([0, 1], [[NAN, 1], [4, 2]])
    index = RecordingIndex.build(all_of(one, recording([0], [[2, 3]])))
    assert index.encode(one)[0, 0] == 0
    assert index.encode(one)[1, 0] == 1


def test_a_long_tail_is_read_as_a_logarithm_and_clipped() -> None:
    tail = [[x] for x in (0.0, 1, 1, 2, 2, 3, 4, 100)]
    index = RecordingIndex.build(all_of(recording(list(range(8)), tail)))
    assert index.tails == {"a": 2.0}
    logs = np.log1p(np.array([x for (x,) in tail]) / 2)
    expected = (logs - logs.mean()) / logs.std()
    np.testing.assert_allclose(
        index.encode(recording(list(range(8)), tail))[:, 0], expected, rtol=1e-6
    )
    far = index.encode(recording([0, 1], [[1e30], [-5]]))[:, 0]
    assert far[0] == 8
    assert far[1] == pytest.approx(expected[0])  # numbers below 0 count as 0
    assert not RecordingIndex.build(all_of(recording([0, 1, 2], [[0], [1], [2]]))).tails


def test_the_time_between_steps_is_read_if_it_is_uneven() -> None:
    even = recording([0, 1, 2, 3], [[1], [2], [3], [4]])
    uneven = recording([0, 1, 5, 5.5], [[1], [2], [3], [4]])
    assert not RecordingIndex.build(all_of(even)).elapsed
    assert RecordingIndex.build(all_of(uneven)).elapsed
    assert not RecordingIndex.build(all_of(uneven, timed=False)).elapsed
    assert not RecordingIndex.build(all_of(uneven), rate=1.0).elapsed


def test_static_columns_are_numbers_or_words() -> None:
    items = [
        recording([0], [[k]], age, kind)
        for k, (age, kind) in enumerate([(20, "x"), (40, "y"), (None, "x"), ("30", None)])
    ]
    index = RecordingIndex.build(all_of(*items), static=["age", "kind"])
    assert index.words == {"kind": ["x", "y"]}
    fixed = np.array([index.encode(one)[0, 1:] for one in items])
    scale = np.sqrt(200 / 3)
    np.testing.assert_allclose(
        fixed,
        [[-10 / scale, 1, 1, 0], [10 / scale, 1, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]],
        rtol=1e-6,
    )
    strange = recording([0], [[0]], 30, "new")
    np.testing.assert_allclose(index.encode(strange)[0, 1:], [0, 1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("rate", [None, 0.5])
@pytest.mark.parametrize("decays", [False, True])
def test_a_recording_in_parts_is_encoded_as_the_whole(rate: float | None, decays: bool) -> None:
    draw = np.random.default_rng(0)
    values = draw.standard_normal((40, 3))
    values[draw.random((40, 3)) < 0.4] = NAN
    one = Recording("r", 0.0, np.cumsum(draw.exponential(1, 40)), values, ("x", 3))
    found = Recordings([one], [], [], ("a", "b", "c"), timed=True)
    index = RecordingIndex.build(
        found, static=["s", "t"], rate=rate, elapsed=decays or None, decays=decays
    )
    whole, sampled = index.encode(one), index.resampled(one)
    assert whole.shape == (len(sampled), index.features)
    for cut in (0, 1, 7, len(sampled)):
        encoder = index.encoder(one.static)
        parts = [
            encoder.push(Recording("r", 0.0, sampled.times[part], sampled.values[part]))
            for part in (slice(0, cut), slice(cut, None))
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_nothing_depends_on_a_later_step() -> None:
    draw = np.random.default_rng(1)
    values = draw.standard_normal((30, 2))
    values[draw.random((30, 2)) < 0.4] = NAN
    one = recording(np.cumsum(draw.exponential(1, 30)).tolist(), values.tolist())
    index = RecordingIndex.build(all_of(one))
    other = values.copy()
    other[20:] = 1e6
    changed = index.encode(recording(one.times.tolist(), other.tolist()))
    np.testing.assert_array_equal(changed[:20], index.encode(one)[:20])


def test_a_cell_of_time_has_the_mean_of_its_steps() -> None:
    one = recording([0, 0.4, 0.9, 1.0, 3.5], [[1], [2], [6], [7], [9]])
    index = RecordingIndex.build(all_of(one), rate=1.0)
    assert index.cells(one).tolist() == [0, 0, 0, 1, 3]
    found = index.resampled(one)
    np.testing.assert_array_equal(found.values[:, 0], [3, 7, NAN, 9])
    assert found.times.tolist() == [0, 1, 2, 3]
    assert index.encode(one)[:, 1].tolist() == [1, 1, 0, 1]  # the mask of the empty cell is 0
    fine = RecordingIndex.build(all_of(one), rate=10.0)
    assert fine.resampled(one).values[4, 0] == 2  # 0.4 * 10 is a little less than 4


def test_a_rate_that_needs_too_many_cells_is_refused() -> None:
    far = recording([0, 1e9], [[1], [2]])
    index = RecordingIndex.build(all_of(recording([0, 1], [[1], [2]])), rate=100.0)
    with pytest.raises(DataError, match="100,000,000,001 cells at rate=100; set a lower rate"):
        index.encode(far)


def test_settings_that_need_stamps_or_numbers_are_refused() -> None:
    one = recording([0, 1], [[1, NAN], [2, NAN]])
    with pytest.raises(ArgumentError, match="rate needs stamps; set ds to their column"):
        RecordingIndex.build(all_of(one, timed=False), rate=1.0)
    with pytest.raises(DataError, match="channel 'b': has no number in the training data"):
        RecordingIndex.build(all_of(one))
    many = [recording([0], [[1]], f"word {n}") for n in range(101)]
    with pytest.raises(DataError, match="static column 's': 101 different words, expected 1 to"):
        RecordingIndex.build(all_of(*many), static=["s"])
    with pytest.raises(ArgumentError, match="expected 2 channels, got 1"):
        RecordingIndex.build(all_of(recording([0], [[1, 2]]))).encode(recording([0], [[1]]))


def test_windows_overlap_and_end_with_the_recording() -> None:
    assert windows_of(100, None, 0.5) == [(0, 100)]
    assert windows_of(100, 40, 0.0) == [(0, 40), (40, 80), (60, 100)]
    assert windows_of(0, 40, 0.0) == [(0, 0)]


def test_a_warp_changes_the_pace_and_keeps_both_ends() -> None:
    change, draw = Augment(1, warp=0.4), np.random.default_rng(3)
    x = np.stack([np.arange(50), np.arange(50) % 2], 1).astype(np.float32)
    lengths = set()
    for _ in range(20):
        new, places = change(x, draw)
        lengths.add(len(new))
        assert (new[0, 0], new[-1, 0]) == pytest.approx((0, 49), abs=1e-4)
        assert (np.diff(new[:, 0]) > 0).all()
        # A new step is within half a step of the old one whose other columns it has.
        assert np.abs(new[:, 0] - places).max() <= 0.5 + 1e-4
        np.testing.assert_array_equal(new[:, 1], places % 2)
    assert len(lengths) > 5
    assert x[:, 0].tolist() == list(range(50))


def test_noise_and_rescaling_change_only_channels() -> None:
    x = np.ones((4000, 3), dtype=np.float32)
    new, places = Augment(2, jitter=0.1, rescale=0.2)(x, np.random.default_rng(0))
    np.testing.assert_array_equal(new[:, 2], 1)
    assert places.tolist() == list(range(4000))
    # 4,000 draws: the deviation is within 0.005 of 0.1 in all but one of 100,000 cases.
    assert new[:, 0].std() == pytest.approx(0.1, abs=0.005)
    assert abs(new[:, 0].mean() - 1) > 0.02
    assert abs(new[:, 0].mean() - new[:, 1].mean()) > 0.01
    assert not Augment(2)


@pytest.mark.parametrize(("factor", "level"), [(2.0**-40, 0), (1e12, 0), (1e-5, 52.52), (1, 1e7)])
def test_the_unit_and_level_of_channels_do_not_matter(factor: float, level: float) -> None:
    draw = np.random.default_rng(0)
    values = np.stack([draw.normal(2, 3, 60), draw.exponential(2, 60) ** 2, np.full(60, 7.0)], 1)
    values[draw.random(60) < 0.3, 0] = NAN
    moved = values * factor + level
    plain, other = (
        (RecordingIndex.build(all_of(one), static=["s"]), one)
        for one in (
            recording(list(range(60)), x.tolist(), 3 * scale + shift)
            for x, scale, shift in ((values, 1.0, 0.0), (moved, factor, level))
        )
    )
    assert plain[0].tails.keys() == other[0].tails.keys() == {"b"}
    found, expected = other[0].encode(other[1]), plain[0].encode(plain[1])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # A channel that never changes in the training data has no effect later.
    changed = recording([0], [[*moved[1, :2], 9 * factor + level]], 8 * factor + level)
    np.testing.assert_allclose(other[0].encode(changed)[0, [2, 4]], 0, atol=1e-12)


def test_a_model_of_version_0_1_0_reads_long_tails_from_zero() -> None:
    tail = recording([0, 1, 2, 3], [[5.0], [6], [6], [105]])
    index = replace(RecordingIndex.build(all_of(tail)), lows={}, tails={"a": 6.0})
    mean, deviation = index.units["a"]
    expected = (np.log1p(np.array([5, 6, 6, 105]) / 6) - mean) / deviation
    np.testing.assert_allclose(index.encode(tail)[:, 0], expected, rtol=1e-6)
