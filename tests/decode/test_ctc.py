"""CTC searches against an enumeration of all paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.decode.ctc import CtcSearch, greedy_ctc
from elman.decode.fusion import fuse
from elman.decode.hypotheses import SpeechSearch
from elman.errors import ArgumentError, DataError
from elman.padded import Padded
from elman.state import from_bytes, restored, to_bytes
from tests.decode.speech import all_sums, decoded, scores

# Sums of float64 numbers in another order: 1e-9 is far above their rounding (1e-14 here).
TOLERANCE = 1e-9
ALL = SpeechSearch(beam=2000, n_best=2000, token_beam=None, blank_skip=0)
PIECES = ["a", "b", " "]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("steps", "size"), [(1, 3), (5, 4), (7, 3), (8, 2)])
def test_an_unlimited_beam_finds_every_sequence_with_its_probability(
    steps: int, size: int, seed: int
) -> None:
    log_p = scores(steps, size, seed)
    wanted = all_sums(log_p)
    found = decoded(log_p, ALL)
    assert {one.tokens for one in found} == set(wanted)
    assert found[0].tokens == max(wanted, key=lambda y: wanted[y])
    for one in found:
        assert one.log_p == one.score == pytest.approx(wanted[one.tokens], abs=TOLERANCE)
    assert found == sorted(found, key=lambda one: -one.score)


def test_repeated_tokens_need_a_blank_between_them() -> None:
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
    found = decoded(p.log(), SpeechSearch(beam=8, n_best=8, blank_skip=0))
    assert found[0].tokens == (0, 0)
    assert found[0].log_p == pytest.approx(all_sums(p.log())[(0, 0)], abs=TOLERANCE)
    assert found[0].times in {(0, 3), (1, 3)}


@pytest.mark.parametrize("seed", range(4))
def test_a_small_beam_returns_probabilities_that_are_at_most_the_true_ones(seed: int) -> None:
    log_p = scores(7, 4, seed)
    wanted = all_sums(log_p)
    for one in decoded(log_p, SpeechSearch(beam=3, n_best=3, token_beam=2)):
        assert one.log_p <= wanted[one.tokens] + TOLERANCE


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 30), max_size=6),
    beam=st.integers(1, 9),
    seed=st.integers(0, 1000),
    token_beam=st.sampled_from([None, 1, 2]),
)
def test_any_chunking_and_any_interruption_gives_the_results_of_the_whole(
    cuts: list[int], beam: int, seed: int, token_beam: int | None
) -> None:
    log_p = scores(30, 4, seed, 3.0)
    search = SpeechSearch(beam=beam, n_best=beam, token_beam=token_beam, blank_skip=0.05)
    scorer = fuse(search, PIECES, phrases={"ab": 1.3, "b a": 0.7})
    whole = decoded(log_p, search, scorer)
    live = CtcSearch(4, search, scorer)
    new = live.state
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 30], strict=True):
        live.push(log_p[begin:end])
        blob = to_bytes(live.state)
        live = CtcSearch(4, search, scorer)
        state = restored(blob, new)
        assert isinstance(state, tuple)
        live.restore(state)  # type: ignore[arg-type]
        assert to_bytes(live.state) == blob
    assert live.best(final=True) == whole
    live.restart()
    live.push(log_p)
    assert live.best(final=True) == whole


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), beam=st.integers(1, 6))
def test_frames_of_tokens_increase_and_have_their_probabilities(seed: int, beam: int) -> None:
    log_p = scores(25, 5, seed, 3.0)
    for one in decoded(log_p, SpeechSearch(beam=beam, n_best=beam)):
        assert list(one.times) == sorted(set(one.times))
        for token, time, p in zip(one.tokens, one.times, one.probabilities, strict=True):
            assert p == pytest.approx(math.exp(log_p[time, token]), rel=1e-6)


def test_a_token_has_the_frame_in_which_it_is_likely_not_the_first_in_which_it_is_possible() -> (
    None
):
    p = torch.full((12, 3), 0.01)
    p[:, 2] = 0.98
    p[8] = torch.tensor([0.9, 0.05, 0.05])
    p[9] = torch.tensor([0.95, 0.02, 0.03])
    found = decoded(p.log(), SpeechSearch())[0]
    assert (found.tokens, found.times) == ((0,), (9,))
    assert found.probabilities[0] == pytest.approx(0.95, rel=1e-6)


def test_frames_with_almost_only_the_blank_change_a_probability_by_at_most_their_share() -> None:
    log_p = scores(6, 4, 0).repeat_interleave(10, 0)
    log_p[torch.arange(60) % 10 > 2] = torch.tensor([1e-6, 2e-6, 1e-6, 1 - 4e-6]).log()
    exact = decoded(log_p, SpeechSearch(beam=8, blank_skip=0))[0]
    quick = decoded(log_p, SpeechSearch(beam=8, blank_skip=1e-5))[0]
    assert quick.tokens == exact.tokens
    assert quick.times == exact.times
    assert quick.log_p == pytest.approx(exact.log_p, abs=42 * 1e-5)  # 42 skipped frames
    assert quick.log_p != exact.log_p


def test_a_search_uses_the_same_memory_after_more_blanks() -> None:
    log_p = torch.tensor([[0.003, 0.002, 0.995]]).log().expand(300, 3)
    live = CtcSearch(3, SpeechSearch(beam=4, blank_skip=0))
    sizes = set()
    for _ in range(4):
        live.push(log_p)
        sizes.add(len(to_bytes(live.state)))
    assert max(sizes) <= 2000
    quick = CtcSearch(3, SpeechSearch(beam=4, blank_skip=0.01))
    quick.push(log_p)
    assert quick.frames == 300
    assert quick.best(final=True)[0].tokens == ()
    assert len(quick.state.token) == 0


def test_one_token_a_frame_is_considered_if_the_beam_of_tokens_is_1() -> None:
    log_p = torch.tensor([[0.5, 0.3, 0.2]]).log()
    found = decoded(log_p, SpeechSearch(beam=8, n_best=8, token_beam=1))
    assert [one.tokens for one in found] == [(0,), ()]


def test_impossible_tokens_do_not_empty_the_beam() -> None:
    log_p = torch.full((3, 3), -torch.inf)
    log_p[:, 0] = 0
    found = decoded(log_p, SpeechSearch())
    assert found[0].tokens == (0,)
    assert found[0].log_p == 0


def test_greedy_results_are_those_of_the_likeliest_path_of_each_row() -> None:
    p = torch.tensor(
        [
            [[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]],
            [[0.1, 0.1, 0.8], [0.2, 0.5, 0.3], [0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.9, 0.1, 0.0]],
        ]
    )
    first, second = greedy_ctc(Padded(p.log(), torch.tensor([5, 2])))
    assert (first.tokens, first.times) == ((0, 0, 1), (1, 3, 4))
    assert first.log_p == pytest.approx(math.log(0.6 * 0.7 * 0.8 * 0.5 * 0.8), rel=1e-6)
    assert first.probabilities == pytest.approx((0.7, 0.5, 0.8), rel=1e-6)
    assert (second.tokens, second.times) == ((1,), (1,))
    empty = greedy_ctc(Padded(p.log(), torch.tensor([5, 0])))[1]
    assert (empty.tokens, empty.log_p) == ((), 0)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_and_beam_agree_where_the_scores_are_sharp(seed: int) -> None:
    log_p = scores(40, 6, seed, 30.0)
    greedy = greedy_ctc(Padded.full(log_p.unsqueeze(0)))[0]
    for beam in (1, 8):
        found = decoded(log_p, SpeechSearch(beam=beam))[0]
        assert (found.tokens, found.times) == (greedy.tokens, greedy.times)


def test_scores_that_are_not_log_probabilities_are_refused() -> None:
    live = CtcSearch(3, SpeechSearch())
    with pytest.raises(ArgumentError, match=r"log_p must have shape \(n, 3\), got \(2, 4\)"):
        live.push(torch.zeros(2, 4))
    for value in (0.5, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="NaN or a value above 0"):
            live.push(torch.tensor([[-1.0, value, -2.0]]))
    assert live.frames == 0


def test_settings_out_of_range_are_refused() -> None:
    for wrong in (
        {"beam": 0},
        {"n_best": 9},
        {"token_beam": 0},
        {"blank_skip": 1.0},
        {"lm_weight": -1.0},
        {"word_bonus": float("nan")},
        {"boost": float("inf")},
        {"unknown": 1.0},
    ):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            SpeechSearch(**wrong)  # type: ignore[arg-type]


def test_stored_states_with_impossible_values_are_refused() -> None:
    search = SpeechSearch(beam=3)
    live = CtcSearch(4, search)
    live.push(scores(20, 4, 1))
    good = live.state
    before = live.best(final=True)

    def changed(name: str, value: object, at: object = 0) -> tuple[torch.Tensor, ...]:
        leaf = getattr(good, name).clone()
        leaf[at] = value
        return good._replace(**{name: leaf})

    wrong = [
        changed("token", 3),
        changed("token", -1),
        changed("before", 0),
        changed("before", -2),
        changed("time", -1),
        changed("time", 20, -1),
        changed("log_p", float("nan")),
        changed("log_p", 0.5),
        changed("log_p", -float("inf")),
        changed("last", len(good.token)),
        changed("last", int(good.last[1])),
        changed("last", -2),
        changed("last", -2, slice(None)),
        changed("last", -3),
        changed("sums", float("nan")),
        changed("sums", float("inf")),
        changed("sums", 1.0),
        changed("sums", -float("inf")),
        changed("frames", -1),
        changed("frames", 1 << 62),
        good._replace(token=good.token[:-1]),
    ]
    for state in wrong:
        with pytest.raises(DataError, match="a stored search is damaged"):
            live.restore(state)
        assert live.best(final=True) == before
    live.restore(good)
    assert live.best(final=True) == before
    assert isinstance(from_bytes(to_bytes(good)), tuple)


def test_a_long_utterance_is_read_and_freed_without_deep_recursion() -> None:
    tokens = torch.arange(5_000) % 2
    log_p = torch.full((5_000, 3), -12.0)
    log_p[torch.arange(5_000), tokens] = -1e-4
    live = CtcSearch(3, SpeechSearch(beam=2))
    live.push(log_p)
    assert np.array_equal(live.best(final=True)[0].tokens, tokens.numpy())
    state = live.state
    live.restart()
    live.restore(state)
    assert len(live.best(final=True)[0].tokens) == 5_000
