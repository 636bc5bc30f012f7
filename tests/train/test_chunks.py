import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import elman
from elman.encode.corpus import Corpus
from elman.encode.embed import Embed
from elman.errors import ArgumentError
from elman.heads import TokenHead
from elman.model import SequenceModel
from elman.padded import Padded
from elman.state import State
from elman.train.chunks import Chunk, DocumentBatches, ExampleBatches, StreamBatches
from elman.train.order import MOST

END = 0
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=9)
SEEDS = st.none() | st.integers(0, 5)


def corpus_of(lengths: list[int]) -> Corpus:
    """Return documents of these lengths with their end marks; all other tokens are different."""
    ends = np.cumsum(lengths)
    tokens = np.arange(1, ends[-1] + 1).astype(np.uint16)
    tokens[ends - 1] = END
    return Corpus(tokens, np.append(0, ends[:-1]).astype(np.int64), END)


def pairs(corpus: Corpus) -> list[tuple[int, int]]:
    """Return (input, target) of every prediction, by definition."""
    tokens = corpus.tokens.tolist()
    return list(zip([END, *tokens], tokens, strict=False))


@dataclass
class Run:
    """The (input, target, state after the input) that a model without weights reads, by row."""

    rows: list[list[tuple[int, int, int]]]

    def seen(self) -> Counter[tuple[int, int]]:
        return Counter((x, y) for row in self.rows for x, y, _ in row)


def advance(state: int, token: int) -> int:
    """Return a state that depends on all tokens since the last reset, and on their order."""
    return (state * 31 + token + 1) % 1_000_003


def run(batches: StreamBatches, epoch: int = 1, start: int = 0, end: int | None = None) -> Run:
    """Carry the state of `advance` through the chunks as the training loop does."""
    result = Run([[] for _ in range(batches.rows)])
    state: State | None = None
    for chunk in itertools.islice(batches.epoch(epoch, start), end):
        inside = chunk.enter(state)
        segments, steps = chunk.inputs.data.shape
        assert chunk.targets.shape == (segments, steps)
        memory = torch.zeros(1, segments, 1, dtype=torch.int64) if inside is None else inside
        assert isinstance(memory, Tensor)
        values = memory[0, :, 0].tolist()
        for s in range(segments):
            row = result.rows[s if chunk.rows is None else int(chunk.rows[s])]
            assert 1 <= int(chunk.inputs.lengths[s]) <= batches.bptt
            for t in range(int(chunk.inputs.lengths[s])):
                token = int(chunk.inputs.data[s, t])
                values[s] = advance(values[s], token)
                row.append((token, int(chunk.targets[s, t]), values[s]))
        state = chunk.leave(torch.tensor(values).view(1, -1, 1))
        assert isinstance(state, Tensor)
        assert state.shape == (1, batches.rows, 1)
    return result


def in_one_piece(row: list[tuple[int, int, int]], *, independent: bool) -> list[int]:
    """Return the states of a row by definition: a document begins after each end mark."""
    states, state = [], 0
    for i, (token, _, _) in enumerate(row):
        if independent and i > 0 and row[i - 1][1] == END:
            state = 0
        state = advance(state, token)
        states.append(state)
    return states


# ---- truncated: every token, its input, its state


@given(
    lengths=LENGTHS,
    batch_size=st.integers(1, 5),
    bptt=st.integers(1, 9),
    independent=st.booleans(),
    seed=SEEDS,
    exact=st.booleans(),
    epoch=st.integers(1, 3),
)
@settings(max_examples=400, deadline=None)
def test_every_token_is_a_target_once_with_its_input_and_its_state(
    lengths: list[int],
    batch_size: int,
    bptt: int,
    independent: bool,
    seed: int | None,
    exact: bool,
    epoch: int,
) -> None:
    corpus = corpus_of(lengths)
    total = len(corpus)
    bptt = bptt if exact else min(bptt, total)
    batches = StreamBatches(
        corpus, batch_size, bptt, independent=independent, seed=seed, exact=exact
    )
    result = run(batches, epoch)
    assert batches.rows <= batch_size
    assert len(batches) == len(list(batches.epoch(epoch)))
    # Each token is a target once, and its input is the previous token of its document.
    left = Counter(pairs(corpus))
    left.subtract(result.seen())
    assert min(left.values()) >= 0
    assert left.total() == (0 if exact else total % batches.rows)
    # The state equals that of the row, or of the document in the row, in one piece.
    for row in result.rows:
        assert [state for _, _, state in row] == in_one_piece(row, independent=independent)
        # Documents are whole and in sequence, except those that the ends of the row cut.
        for (_, target, _), (following, _, _) in itertools.pairwise(row):
            assert following == target
    if exact and independent:
        starts = [int(corpus.tokens[i]) for i in corpus.starts]
        assert all(row[0][1] in starts and row[-1][1] == END for row in result.rows)
    if not independent or exact:
        # A continuous stream must not be shuffled.
        targets = [y for row in result.rows for _, y, _ in row]
        assert targets == corpus.tokens[: len(targets)].tolist()


@given(
    lengths=LENGTHS,
    batch_size=st.integers(1, 4),
    bptt=st.integers(1, 6),
    seed=SEEDS,
    independent=st.booleans(),
    exact=st.booleans(),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_an_epoch_from_its_middle_equals_its_end(
    lengths: list[int],
    batch_size: int,
    bptt: int,
    seed: int | None,
    independent: bool,
    exact: bool,
    data: st.DataObject,
) -> None:
    corpus = corpus_of(lengths)
    bptt = min(bptt, len(corpus))
    batches = StreamBatches(
        corpus, batch_size, bptt, independent=independent, seed=seed, exact=exact
    )
    start = data.draw(st.integers(0, len(batches)))
    whole = list(batches.epoch(2))[start:]
    again = list(batches.epoch(2, start))
    assert len(again) == len(whole) == len(batches) - start
    assert all(itertools.starmap(same, zip(whole, again, strict=True)))


def same(a: Chunk, b: Chunk) -> bool:
    """Return whether two chunks are equal in every field."""
    assert a.inputs.others == b.inputs.others == ()
    ours, theirs = [*a.inputs[:3], *a[1:]], [*b.inputs[:3], *b[1:]]
    return all(
        x is y if x is None or y is None else torch.equal(x, y)
        for x, y in zip(ours, theirs, strict=True)
    )


def test_the_seed_and_the_epoch_determine_the_order_of_streamed_documents() -> None:
    corpus = corpus_of([3] * 20)

    def order(seed: int | None, epoch: int, *, exact: bool = False) -> list[int]:
        batches = StreamBatches(corpus, 2, 4, independent=True, seed=seed, exact=exact)
        return [y for row in run(batches, epoch).rows for _, y, _ in row]

    orders = [order(seed, epoch) for seed in (1, 2) for epoch in (1, 2, 3)]
    assert len({tuple(o) for o in orders}) == 6
    assert orders == [order(seed, epoch) for seed in (1, 2) for epoch in (1, 2, 3)]
    assert order(None, 1) == order(None, 2) == corpus.tokens.tolist()
    assert order(1, 1, exact=True) == corpus.tokens.tolist()


@given(
    lengths=LENGTHS,
    batch_size=st.sampled_from([2, 4, 6]),
    bptt=st.integers(1, 5),
    seed=SEEDS,
    independent=st.booleans(),
    exact=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_the_shares_of_two_processes_together_equal_the_whole(
    lengths: list[int],
    batch_size: int,
    bptt: int,
    seed: int | None,
    independent: bool,
    exact: bool,
) -> None:
    corpus = corpus_of([*lengths, 2])
    bptt = min(bptt, len(corpus) // 2)

    def build(share: tuple[int, int]) -> StreamBatches:
        return StreamBatches(
            corpus, batch_size, bptt, independent=independent, seed=seed, exact=exact, share=share
        )

    first, second, whole = build((0, 2)), build((1, 2)), build((0, 1))
    rows = run(first).rows + run(second).rows
    if exact or whole.rows % 2 == 0:
        assert rows == run(whole).rows
    if not exact:
        # Both have the same numbers of steps and rows, so no process waits for the other.
        assert (len(first), first.rows) == (len(second), second.rows)
        assert sum(map(len, rows)) == len(corpus) - len(corpus) % len(rows)


def test_a_text_shorter_than_a_chunk_is_refused_unless_it_is_read_exactly() -> None:
    corpus = corpus_of([4, 5])
    with pytest.raises(ArgumentError, match=r"bptt=10: the text has only 9 tokens.* smaller"):
        StreamBatches(corpus, 1, 10, independent=False)
    assert len(StreamBatches(corpus, 1, 10, independent=False, exact=True)) == 1


def test_there_are_fewer_rows_if_the_text_is_too_short() -> None:
    batches = StreamBatches(corpus_of([10]), 64, 4, independent=False)
    assert (batches.rows, len(batches)) == (2, 2)


def test_a_chunk_in_which_no_document_begins_is_one_rectangle() -> None:
    chunks = list(StreamBatches(corpus_of([8, 8]), 2, 4, independent=True).epoch(1))
    assert [chunk.rows for chunk in chunks] == [None, None]
    assert chunks[0].inputs.data.tolist() == [[0, 1, 2, 3], [0, 9, 10, 11]]
    assert chunks[0].fresh is not None
    assert chunks[0].fresh.tolist() == [True, True]
    assert chunks[1].fresh is None


def test_states_that_leave_a_chunk_are_detached_and_fresh_ones_have_no_gradient() -> None:
    corpus = corpus_of([3, 5])
    chunks = list(StreamBatches(corpus, 1, 2, independent=True).epoch(1))
    before = torch.ones(1, 1, 2, requires_grad=True)
    # The chunk has the last token of the first document and the first of the second.
    chunk = chunks[1]
    inside = chunk.enter(before)
    assert isinstance(inside, Tensor)
    assert inside[0, :, 0].tolist() == [1, 0]
    left = chunk.leave(inside * torch.tensor([[[3.0], [5.0]]]) + 1)
    assert isinstance(left, Tensor)
    assert left.flatten().tolist() == [1, 1]
    assert not left.requires_grad
    inside.sum().backward()
    assert before.grad is not None
    assert before.grad.flatten().tolist() == [1, 1]
    assert chunk.enter(None) is None
    assert same(chunk.to("cpu"), chunk)


# ---- truncated, with a real model


@torch.inference_mode()
def total_loss(model: SequenceModel, batches: StreamBatches) -> float:
    """Return the negative log-likelihood in nats, in float64, unlike the loss of the head."""
    total, state = 0.0, None
    for chunk in batches.epoch(1):
        scores, end = model(chunk.inputs, chunk.enter(state))
        state = chunk.leave(end)
        mask = scores.mask()
        wanted = chunk.targets[mask]
        total += float(F.cross_entropy(scores.data[mask], wanted, reduction="sum").detach())
    return total


@pytest.mark.parametrize("cell", [elman.RNN, elman.LSTM, elman.GRU])
def test_exact_rows_give_the_same_loss_for_any_batch_size_and_bptt(
    cell: type[elman.LSTM],
) -> None:
    torch.manual_seed(0)
    lengths = [7, 1, 20, 3, 1, 12, 5, 9, 2, 30]
    corpus = corpus_of(lengths)
    core = cell(4, 6, num_layers=2, batch_first=True)
    model = SequenceModel(Embed(len(corpus) + 1, 4), core, TokenHead(6, len(corpus) + 1))
    model.double().eval()
    ends = np.cumsum(lengths).tolist()
    expected = 0.0
    for start, stop in zip([0, *ends], ends, strict=False):
        inputs = torch.from_numpy(corpus.inputs(start, stop)).unsqueeze(0)
        targets = torch.from_numpy(corpus.tokens[start:stop].astype(np.int64))
        scores, _ = model(Padded.full(inputs))
        expected += float(F.cross_entropy(scores.data[0], targets, reduction="sum").detach())
    for batch_size, bptt in ((1, 64), (1, 7), (2, 5), (3, 3), (8, 5), (50, 64)):
        batches = StreamBatches(corpus, batch_size, bptt, independent=True, exact=True)
        # 90 terms of 5 nats in float64, summed in another order, differ by about 90 * 5 * 1e-16.
        assert total_loss(model, batches) == pytest.approx(expected, rel=0, abs=1e-9)
    inexact = StreamBatches(corpus, 9, 5, independent=True)
    assert abs(total_loss(model, inexact) - expected) > 1e-4


# ---- full


def documents(chunk: Chunk) -> list[list[tuple[int, int]]]:
    """Return the (input, target) pairs of every row."""
    return [
        list(zip(chunk.inputs.data[b, :n].tolist(), chunk.targets[b, :n].tolist(), strict=True))
        for b, n in enumerate(chunk.inputs.lengths.tolist())
    ]


@given(lengths=LENGTHS, batch_size=st.integers(1, 5), seed=st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_every_document_is_in_an_epoch_once_as_a_whole(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    corpus = corpus_of(lengths)
    batches = DocumentBatches(corpus, batch_size, seed=seed)
    everything = pairs(corpus)
    ends = np.cumsum(lengths).tolist()
    expected = [everything[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    for epoch in (1, 2):
        chunks = list(batches.epoch(epoch))
        assert len(chunks) == len(batches) == -(-len(lengths) // batch_size)
        assert sorted(d for chunk in chunks for d in documents(chunk)) == sorted(expected)
        sizes = [len(chunk.inputs.lengths) for chunk in chunks]
        # Only the last batch may be smaller.
        assert sizes[:-1] == [batch_size] * (len(chunks) - 1)
        for chunk in chunks:
            assert (chunk.rows, chunk.fresh, chunk.last) == (None, None, None)
            assert chunk.enter(None) is None
            assert chunk.leave(torch.ones(1, len(chunk.inputs.lengths), 1)) is None
    assert batches.rows == 0


def test_documents_of_similar_length_share_a_batch_and_batches_are_shuffled() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, size=1000).tolist()
    batches = DocumentBatches(corpus_of(lengths), 8, seed=1)
    chunks = list(batches.epoch(1))
    places = sum(chunk.inputs.data.numel() for chunk in chunks)
    # 1,000 lengths in sorted pools of 512: neighbours of 8 differ by 7 * 400 / 512 < 6 on average,
    # so padding is near 6 / 2 of 200 steps; without sorting it would be 40 percent.
    assert places < 1.03 * sum(lengths)
    longest = [chunk.inputs.data.shape[1] for chunk in chunks]
    assert np.corrcoef(longest, np.arange(len(longest)))[0, 1] < 0.3


def test_the_seed_and_the_epoch_determine_the_order_of_documents() -> None:
    corpus = corpus_of([2, 3, 4, 5] * 6)

    def order(seed: int, epoch: int) -> list[list[tuple[int, int]]]:
        batches = DocumentBatches(corpus, 4, seed=seed)
        return [d for chunk in batches.epoch(epoch) for d in documents(chunk)]

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


@given(lengths=LENGTHS, batch_size=st.integers(2, 5), start=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_document_batches_from_the_middle_of_an_epoch_equal_its_end(
    lengths: list[int], batch_size: int, start: int
) -> None:
    batches = DocumentBatches(corpus_of(lengths), batch_size, seed=3)
    whole, again = list(batches.epoch(2))[start:], list(batches.epoch(2, start))
    assert all(itertools.starmap(same, zip(whole, again, strict=True)))


@given(lengths=LENGTHS, batch_size=st.sampled_from([2, 4]), seed=st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_the_shares_of_document_batches_together_equal_the_batches(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    corpus = corpus_of([*lengths, 2])
    first, second, whole = (
        DocumentBatches(corpus, batch_size, seed=seed, share=share)
        for share in ((0, 2), (1, 2), (0, 1))
    )
    # A last batch of one document cannot be shared and is skipped.
    lonely = (len(lengths) + 1) % batch_size == 1
    assert len(first) == len(second) == len(whole) - lonely
    together = [
        sorted(documents(a) + documents(b))
        for a, b in zip(first.epoch(1), second.epoch(1), strict=True)
    ]
    for batch in (*first.epoch(1), *second.epoch(1)):
        assert len(batch.inputs.lengths) >= 1
    if not lonely:
        assert together == [sorted(documents(chunk)) for chunk in whole.epoch(1)]
    else:
        assert sum(map(len, together)) == len(lengths)


def test_a_document_that_is_too_long_for_full_bptt_is_refused() -> None:
    corpus = corpus_of([3, 11, 4])
    with pytest.raises(ArgumentError, match="document 1 has 11 tokens; set bptt"):
        DocumentBatches(corpus, 2, seed=0, longest=10)
    assert len(DocumentBatches(corpus, 2, seed=0, longest=11)) == 2


def test_long_examples_are_in_smaller_batches() -> None:
    lengths = [3, MOST // 2, 5, MOST // 2 - 1, 2 * MOST, 4]
    found = ExampleBatches([np.zeros(n, np.int8) for n in lengths], torch.arange(6), 4, seed=None)
    assert [chunk.targets.tolist() for chunk in found.epoch(1)] == [[0, 5, 2], [3, 1], [4]]
    assert len(found) == 3
    assert [chunk.targets.tolist() for chunk in found.epoch(1, 2)] == [[4]]
    assert len(ExampleBatches([], torch.arange(0), 4, seed=None)) == 0
