"""Searches of a transducer against an enumeration of all paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from elman.decode.fusion import fuse
from elman.decode.hypotheses import SpeechSearch
from elman.decode.transducer import TransducerSearch, greedy_transducer
from elman.errors import ArgumentError, DataError
from elman.padded import Padded
from elman.state import State, restored, to_bytes
from tests.decode.speech import Sums

# The predictor computes in float64, in batches of other sizes: 1e-9 is far above its rounding.
TOLERANCE = 1e-9
J, V = 5, 3


class Predictor:
    """A small random transducer; it counts the rows that it reads."""

    def __init__(self, seed: int, size: int = V) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embed = nn.Embedding(size, J).double()
            self.core = nn.GRUCell(J, J).double()
            self.out = nn.Linear(J, size).double()
        self.out.weight.data *= 4
        self.read = 0

    def begin(self, n: int) -> tuple[Tensor, State]:
        return torch.zeros(n, J).double(), (torch.zeros(1, n, J).double(),)

    def advance(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        self.read += len(tokens)
        h = self.core(self.embed(tokens), state[0][0])  # type: ignore[index]
        return h, (h.unsqueeze(0),)

    def join(self, e: Tensor, p: Tensor) -> Tensor:
        return self.out(torch.tanh(e + p)).log_softmax(1)


def frames(steps: int, seed: int) -> Tensor:
    return torch.randn(steps, J, generator=torch.Generator().manual_seed(seed)).double().mul(2)


def all_sums(model: Predictor, e: Tensor) -> Sums:
    """Return log p of every sequence of tokens, by enumeration of all paths."""
    sums = Sums()
    with torch.inference_mode():
        for path in itertools.product(range(V), repeat=len(e)):
            p, state = model.begin(1)
            total = 0.0
            for frame, token in zip(e, path, strict=True):
                total += float(model.join(frame[None], p)[0, token])
                if token != V - 1:
                    p, state = model.advance(torch.tensor([token]), state)
            y = tuple(token for token in path if token != V - 1)
            sums[y] = float(np.logaddexp(sums.get(y, -np.inf), total))
    return sums


@pytest.mark.parametrize("seed", range(4))
def test_an_unlimited_beam_finds_every_sequence_with_its_probability(seed: int) -> None:
    model, e = Predictor(seed), frames(5, seed)
    wanted = all_sums(model, e)
    live = TransducerSearch(model, V, SpeechSearch(beam=500, n_best=500))
    live.push(e)
    found = live.best(final=True)
    assert {one.tokens for one in found} == set(wanted)
    assert found[0].tokens == max(wanted, key=lambda y: wanted[y])
    for one in found:
        assert one.log_p == pytest.approx(wanted[one.tokens], abs=TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 20), max_size=4),
    beam=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_any_chunking_and_any_interruption_gives_the_results_of_the_whole(
    cuts: list[int], beam: int, seed: int
) -> None:
    model, e = Predictor(seed), frames(20, seed)
    search = SpeechSearch(beam=beam, n_best=beam)
    scorer = fuse(search, ["a", " "], phrases={"a a": 1.0})
    whole = TransducerSearch(model, V, search, scorer=scorer)
    new = whole.state
    whole.push(e)
    parts = TransducerSearch(model, V, search, scorer=scorer)
    stored = TransducerSearch(model, V, search, scorer=scorer)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 20], strict=True):
        parts.push(e[begin:end])
        state = restored(to_bytes(stored.state), new)
        stored = TransducerSearch(model, V, search, scorer=scorer)
        stored.restore(state)  # type: ignore[arg-type]
        stored.push(e[begin:end])
    assert parts.best(final=True) == whole.best(final=True)
    for one, two in zip(stored.best(final=True), whole.best(final=True), strict=True):
        assert (one.tokens, one.times) == (two.tokens, two.times)
        assert one.score == pytest.approx(two.score, abs=TOLERANCE)
    parts.restart()
    parts.push(e)
    assert parts.best(final=True) == whole.best(final=True)


def test_the_greedy_path_of_each_row_does_not_depend_on_the_other_rows() -> None:
    model = Predictor(3)
    rows = [frames(9, 1), frames(4, 2), frames(0, 0), frames(7, 4)]
    found = greedy_transducer(model, Padded.pad(rows))
    for row, one in zip(rows, found, strict=True):
        tokens, times, total = [], [], 0.0
        with torch.inference_mode():
            p, state = model.begin(1)
            for t, frame in enumerate(row):
                log_p = model.join(frame[None], p)[0]
                token = int(log_p.argmax())
                total += float(log_p[token])
                if token != V - 1:
                    tokens.append(token)
                    times.append(t)
                    p, state = model.advance(torch.tensor([token]), state)
        assert (list(one.tokens), list(one.times)) == (tokens, times)
        assert one.log_p == pytest.approx(total, abs=TOLERANCE)
    assert sum(len(one.tokens) for one in found) > 3


def test_only_hypotheses_that_grew_are_read_by_the_predictor() -> None:
    model = Predictor(0)
    model.out.bias.data = torch.tensor([-50.0, -50.0, 50.0]).double()
    live = TransducerSearch(model, V, SpeechSearch(beam=4))
    live.push(frames(3, 0))
    before = model.read
    live.push(frames(200, 0))
    # The beam of 4 has the empty prefix, two of one token, and one of two tokens.
    assert model.read - before <= 20
    assert len(live.state.token) <= 20
    assert live.best(final=True)[0].tokens == ()


def test_wrong_shapes_and_damaged_states_are_refused() -> None:
    live = TransducerSearch(Predictor(0), V, SpeechSearch(beam=2))
    with pytest.raises(ArgumentError, match="e must have shape"):
        live.push(torch.zeros(J))
    live.push(frames(8, 2))
    state = live.state
    assert len(state.token)
    with pytest.raises(DataError, match="token 0 is 2"):
        live.restore(state._replace(token=torch.full_like(state.token, V - 1)))
    with pytest.raises(DataError, match="not all 0 or less"):
        live.restore(state._replace(sums=state.sums + 1e6))
