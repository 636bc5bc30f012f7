"""Live language models equal the batch, can be restored, and draw tokens from a seed."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import elman
from elman.decode.sample import Sampling
from elman.encode.embed import Embed
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError, DataError
from elman.heads import TokenHead
from elman.live.text import LiveText, likeliest
from elman.model import SequenceModel
from elman.padded import Padded
from elman.recur.stack import Stack
from elman.state import leaves_from_bytes
from tests.states import resealed

TEXT = "the cat sat on the mat and the dog lay under the table with a bone"
CORES = {
    "rnn": lambda: elman.RNN(6, 10, batch_first=True),
    "lstm": lambda: elman.LSTM(6, (10, 8), batch_first=True),
    "gru": lambda: elman.GRU(6, 10, 2, batch_first=True),
    "rnn, layer norm": lambda: elman.RNN(6, 10, batch_first=True, layer_norm=True),
    "layer norm": lambda: elman.LSTM(6, 10, batch_first=True, layer_norm=True, peephole=True),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return Vocabulary.build(lambda: [TEXT], tokens="word")


def build(words: Vocabulary, core: str = "lstm", seed: int = 0) -> SequenceModel:
    torch.manual_seed(seed)
    stack: Stack = CORES[core]()
    # With larger weights than at the start of training, no two tokens have similar scores.
    head = TokenHead(stack.output_size, words.size)
    torch.nn.init.normal_(head.weight)
    return SequenceModel(Embed(words.size, 6), stack, head, dropout=0.5)


def batch_scores(model: SequenceModel, words: Vocabulary, text: str) -> Tensor:
    """Return the scores after <eos> and after every token of a text, from one forward pass."""
    tokens = torch.tensor([[words.end, *words.encode(text)]])
    with torch.inference_mode():
        scores, _ = model.eval()(Padded.full(tokens))
    return scores.data[0]


@pytest.mark.parametrize("core", CORES)
def test_pushing_token_by_token_equals_the_batch(words: Vocabulary, core: str) -> None:
    model = build(words, core)
    live = LiveText(model, words)
    expected = batch_scores(model, words, TEXT).softmax(1)
    for step, word in enumerate(["", *TEXT.split()]):
        live.push(word)
        ours = dict(live.predict(words.size - 1))
        theirs = {words.token(i): expected[step, i].item() for i in range(words.size)}
        del theirs["<unk>"]
        # Matrix products of one row instead of 17 may add in another order in float32. The error
        # is a few units in the last place per step, and the gates shrink it.
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)


def test_push_returns_the_number_of_tokens_and_pieces_equal_the_whole_text(
    words: Vocabulary,
) -> None:
    whole, pieces = (LiveText(build(words), words) for _ in range(2))
    assert whole.push(TEXT) == 16
    assert [pieces.push(word) for word in TEXT.split()] == [1] * 16
    assert pieces.push("") == 0
    assert whole.state_bytes() == pieces.state_bytes()


@pytest.mark.parametrize("core", CORES)
def test_a_restored_stream_continues_exactly(words: Vocabulary, core: str) -> None:
    model = build(words, core)
    live, other = LiveText(model, words), LiveText(model, words, seed=5)
    live.push("the cat sat")
    blob = live.state_bytes()
    live.push("on the mat")
    end, likely = live.state_bytes(), live.predict()
    live.restore(blob)
    assert live.state_bytes() == blob
    for stream in (live, other):  # restore the same stream, and another one
        stream.restore(blob)
        stream.push("on the mat")
        assert stream.state_bytes() == end
        assert stream.predict() == likely


@pytest.mark.parametrize("damage", ["", "x", "cut", "flipped"])
def test_invalid_bytes_are_refused_and_do_not_change_the_stream(
    words: Vocabulary, damage: str
) -> None:
    live = LiveText(build(words), words)
    live.push("the cat")
    blob = live.state_bytes()
    bad = {"cut": blob[: len(blob) // 2], "flipped": b"\xff" * 8 + blob[8:]}
    with pytest.raises(DataError):
        live.restore(bad.get(damage, damage.encode()))
    assert live.state_bytes() == blob


@pytest.mark.parametrize("other", ["rnn", "gru", "layer norm"])
def test_a_state_of_another_model_is_refused_and_does_not_change_the_stream(
    words: Vocabulary, other: str
) -> None:
    live = LiveText(build(words, "lstm"), words)
    before = live.state_bytes()
    with pytest.raises(DataError, match="the state is from another model"):
        live.restore(LiveText(build(words, other), words).state_bytes())
    assert live.state_bytes() == before


def test_a_state_with_other_leaves_is_refused(words: Vocabulary) -> None:
    live = LiveText(build(words, "rnn"), words)
    blob, name = live.state_bytes(), "state.1"
    good = leaves_from_bytes(blob)
    h = good[name]
    longer = torch.cat([h, h])
    for changed in (
        {name: h.double()},
        {name: longer},
        {name: h[..., 1:].clone()},
        {"state.9": h.clone()},
    ):
        other = good | changed
        with pytest.raises(DataError, match="restore it into the model that it came from"):
            live.restore(resealed(blob, other))


@pytest.mark.parametrize("core", CORES)
def test_memory_does_not_grow(words: Vocabulary, core: str) -> None:
    live = LiveText(build(words, core), words)
    stream = itertools.cycle(TEXT.split())
    sizes = []
    for pushes in (10, 190):
        for word in itertools.islice(stream, pushes):
            live.push(word)
        sizes.append(len(live.state_bytes()))
    assert sizes[0] == sizes[1] < 1000


def test_next_reads_the_token_that_it_has_drawn(words: Vocabulary) -> None:
    model = build(words)
    live, reader = (LiveText(model, words, seed=1) for _ in range(2))
    for _ in range(20):
        piece = live.next()
        # next() returns <eos> as a line end, which a vocabulary of words reads as <eos>.
        assert reader.push(piece) == 1
        assert reader.state_bytes() == live.state_bytes()


def test_next_is_determined_by_the_seed(words: Vocabulary) -> None:
    model = build(words)

    def drawn(seed: int) -> list[str]:
        live = LiveText(model, words, seed=seed)
        return [live.next() for _ in range(30)]

    torch.manual_seed(0)
    first = drawn(3)
    torch.manual_seed(1)
    assert drawn(3) == first
    assert drawn(4) != first


def test_next_follows_the_sampling(words: Vocabulary) -> None:
    live = LiveText(build(words), words)
    for _ in range(20):
        likeliest_token = live.predict(1)[0][0].replace("<eos>", "\n")
        assert live.next(Sampling(temperature=0)) == likeliest_token


def test_next_refuses_a_repetition_penalty_because_it_keeps_no_tokens(words: Vocabulary) -> None:
    live = LiveText(build(words), words)
    with pytest.raises(ArgumentError, match=r"repetition_penalty must be 1 in a stream.*got 1\.5"):
        live.next(Sampling(repetition_penalty=1.5))


def test_unknown_words_are_read_as_unk_which_is_never_generated(words: Vocabulary) -> None:
    model = build(words)
    with torch.no_grad():
        model.head.bias[words.unknown] = 50.0  # the model is sure that <unk> follows
    live, same = LiveText(model, words), LiveText(model, words)
    assert live.push("zebra quagga") == 2
    same.push("<unk> <unk>")
    assert live.state_bytes() == same.state_bytes()
    assert "<unk>" not in [token for token, _ in live.predict(words.size)]
    assert "<unk>" not in {live.next() for _ in range(50)}


@pytest.mark.parametrize("k", [0, -1, 1000])
def test_k_out_of_range_is_refused(words: Vocabulary, k: int) -> None:
    live = LiveText(build(words), words)
    with pytest.raises(ArgumentError, match=rf"^k must be in 1\.\.{words.size}, got {k}$"):
        live.predict(k)


def test_the_most_likely_tokens_are_sorted_by_probability(words: Vocabulary) -> None:
    scores = torch.zeros(words.size)
    cat, dog = words.encode("cat dog")
    scores[cat], scores[dog] = 3.0, 2.0
    (first, p), (second, q) = likeliest(scores, words, 2)
    total = torch.e**3 + torch.e**2 + words.size - 2
    assert (first, second) == ("cat", "dog")
    assert (p, q) == pytest.approx((torch.e**3 / total, torch.e**2 / total), rel=1e-6)
    assert scores[cat] == 3  # the scores of the caller are unchanged


def test_a_bidirectional_model_is_refused(words: Vocabulary) -> None:
    core = elman.GRU(6, 5, batch_first=True, bidirectional=True)
    model = SequenceModel(Embed(words.size, 6), core, TokenHead(10, words.size))
    with pytest.raises(ArgumentError, match="a bidirectional model cannot read texts live"):
        LiveText(model, words)


def test_restart_and_the_end_of_a_document_reset_the_state(words: Vocabulary) -> None:
    model = build(words)
    live, other = LiveText(model, words), LiveText(model, words, documents_end=True)
    start = live.state_bytes()
    live.push("the cat sat")
    other.push("the cat sat")
    live.finish()
    other.finish()
    assert live.state_bytes() != start  # here the state continues into the next document
    assert other.state_bytes() == start
    live.restart()
    assert live.state_bytes() == start


def test_a_refused_time_changes_nothing(words: Vocabulary) -> None:
    live = LiveText(build(words), words, documents_end=True)
    before = live.state_bytes()
    with pytest.raises(ArgumentError, match="at must be None: texts have no times"):
        live.push("the cat\nthe dog", at=3)  # type: ignore[arg-type]
    assert live.state_bytes() == before
