"""Batches of tokens for back-propagation through time, truncated or full.

Truncated: the documents form one stream, the stream is cut into B rows, and step k contains the
elements k*bptt to (k+1)*bptt of every row.  The state is carried from step to step and detached in
between.  If documents are independent, the state of a row is set to zero at the beginning of each
document.  The model receives a chunk with such borders as a ragged batch of segments, which needs
only the state and lengths that every core supports.

Full: every batch holds whole documents of similar length and no state is carried; the targets are
the next tokens, or a label of the whole document.

Sources: Williams and Peng 1990; Werbos 1990, "Backpropagation through time".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.encode.corpus import Corpus
from elman.encode.encoder import Change
from elman.errors import ArgumentError
from elman.model import SequenceModel
from elman.padded import Padded, pad_arrays
from elman.seq2seq import Seq2Seq
from elman.state import State, detach, select_rows, zero_rows
from elman.train.order import Order


class Chunk(NamedTuple):
    """A batch of segments, and the rows of the state that enter and leave them.

    Attributes:
        inputs: (S, T, ...) segments with their lengths.
        targets: (S, T, ...).
        rows: (S,) the row of the carried state from which each segment starts; None for row s.
        fresh: (S,) true where a segment starts from zeros; None if no segment does.
        last: (B,) the segment that ends each row; None if no state is carried.
    """

    inputs: Padded
    targets: Tensor
    rows: Tensor | None = None
    fresh: Tensor | None = None
    last: Tensor | None = None

    def enter(self, state: State | None) -> State | None:
        """Return the state for the segments, given the state of the rows."""
        if state is None:
            return None
        if self.rows is not None:
            state = select_rows(state, self.rows)
        return state if self.fresh is None else zero_rows(state, self.fresh)

    def leave(self, state: State) -> State | None:
        """Return the detached state of the rows, given the state of the segments."""
        if self.last is None:
            return None
        return detach(state if self.rows is None else select_rows(state, self.last))

    def to(self, device: torch.device | str) -> Chunk:
        """Return the chunk on another device."""
        return Chunk(
            self.inputs.to(device), self.targets.to(device), self.rows, self.fresh, self.last
        )


def check_causal(chunk: Chunk, model: SequenceModel | Seq2Seq) -> None:
    """Raise an error if the state of a bidirectional model would be carried.

    Raises:
        ArgumentError: the chunk carries its state and the core is bidirectional.
    """
    if chunk.last is not None and isinstance(model, SequenceModel) and not model.core.causal:
        raise ArgumentError(
            "a bidirectional core cannot be trained or scored in chunks with a carried state: "
            "set bptt=None for whole documents, or bidirectional=False"
        )


class Batches(Protocol):
    """Training data of the loop: batches of each epoch, which are equal at every request."""

    @property
    def rows(self) -> int:
        """The number of rows of the carried state."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Chunk]:
        """Yield the batches of an epoch (from 1), beginning with the batch `start`."""


@dataclass(frozen=True)
class Refit:
    """Epochs that train on the validation data as well, after the weights have been chosen.

    Attributes:
        batches: all data, including the validation data.
        epochs: passes over them; the learning rate falls from its highest value to zero.
    """

    batches: Batches
    epochs: int


class StreamBatches:
    """Batches for truncated BPTT over a corpus.

    Args:
        corpus: the documents.
        batch_size: rows B, over all processes.
        bptt: elements of a row in a chunk.
        independent: set the state to zero where a document begins.
        seed: seed for shuffling the documents in every epoch; None to keep their order.
        exact: cut rows only between independent documents, so that every prediction uses its whole
            past; rows then differ in length, and the documents keep their order.
        share: (rank, processes), which determine the rows of this process.

    Raises:
        ArgumentError: the corpus is shorter than one chunk.
    """

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int,
        bptt: int,
        *,
        independent: bool = True,
        seed: int | None = None,
        exact: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.corpus, self.bptt, self.independent = corpus, bptt, independent
        self.seed = None if exact else seed  # the cuts are valid for one order only
        total = len(corpus)
        if exact:
            wanted = np.arange(min(batch_size, total)) * total // batch_size
            near = np.searchsorted(corpus.starts, wanted)
            cuts = corpus.starts[near[near < len(corpus.starts)]] if independent else np.zeros(1)
            begins = np.unique(np.append(np.zeros(1, dtype=np.int64), cuts.astype(np.int64)))
            ends = np.append(begins[1:], total)
        else:
            if total < bptt:
                raise ArgumentError(
                    f"bptt={bptt}: the text has only {total} tokens, fewer than one chunk; "
                    "give more text or a smaller bptt"
                )
            count = max(1, min(batch_size, total // bptt))
            if count % share[1]:
                count = max(share[1], count - count % share[1])
            begins = np.arange(count, dtype=np.int64) * (total // count)
            ends = begins + total // count
        mine = slice(share[0] * len(begins) // share[1], (share[0] + 1) * len(begins) // share[1])
        self.begins, self.ends = begins[mine], ends[mine]
        self.steps = -(-int((self.ends - self.begins).max(initial=0)) // bptt)

    @property
    def rows(self) -> int:
        """The number of rows of this process."""
        return len(self.begins)

    def __len__(self) -> int:
        """Return the number of chunks in an epoch."""
        return self.steps

    def epoch(self, number: int, start: int = 0) -> Iterator[Chunk]:
        """Yield the chunks of an epoch; the order depends only on the seed and the number."""
        order = None
        if self.seed is not None and self.independent and len(self.corpus.starts) > 1:
            order = np.random.default_rng((self.seed, number)).permutation(len(self.corpus.starts))
        stream = _Stream(self.corpus, order, self.independent)
        for step in range(start, self.steps):
            low = self.begins + step * self.bptt
            high = np.minimum(low + self.bptt, self.ends)
            yield stream.chunk(np.minimum(low, high), high)


class DocumentBatches:
    """Batches for full BPTT: whole documents of similar length, shuffled in every epoch.

    Args:
        corpus: the documents.
        batch_size: documents in a batch, over all processes.
        seed: seed of the order.
        share: (rank, processes), which determine the documents of this process.
        longest: maximum number of tokens of a document.

    Raises:
        ArgumentError: a document is longer than `longest`.
    """

    rows = 0  # no state is carried

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int,
        *,
        seed: int,
        share: tuple[int, int] = (0, 1),
        longest: int = 20_000,
    ) -> None:
        self.corpus = corpus
        self.lengths = np.diff(np.append(corpus.starts, len(corpus)))
        self._order = Order(self.lengths, batch_size, seed, share)
        worst = int(self.lengths.argmax())
        if self.lengths[worst] > longest:
            raise ArgumentError(
                f"bptt=None trains on whole documents, but document {worst} has "
                f"{self.lengths[worst]} tokens; set bptt (for example 35), or document=line"
            )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._order)

    def epoch(self, number: int, start: int = 0) -> Iterator[Chunk]:
        """Yield the batches of an epoch."""
        for chosen in self._order.epoch(number, start):
            begins = self.corpus.starts[chosen]
            spans = [(b, b + n) for b, n in zip(begins, self.lengths[chosen], strict=True)]
            rows = [torch.from_numpy(self.corpus.inputs(*span)) for span in spans]
            wanted = [_tensor(self.corpus.tokens[b:e]) for b, e in spans]
            yield Chunk(Padded.pad(rows), Padded.pad(wanted).data)


class ExampleBatches:
    """Batches of sequences with targets, of similar length, shuffled in every epoch.

    Args:
        sequences: tokens or features (T_n, ...) of every example; T_n can be 0.
        targets: (N, ...), or a sequence (T_n) for each example.
        batch_size: examples in a batch, over all processes.
        seed: seed of the order; None for batches from the shortest to the longest, with fewer
            examples in a batch if they are very long.
        share: (rank, processes), which determine the examples of this process.
        padding: value after the end of targets with lengths of their own; None for a target of
            each element, which changes along with it.
        times: how often an epoch uses each example.
        change: returns a random variation of an array, and for each of its steps the index of the
            original step; None to use the examples unchanged.
        extra: (N, ...) information about each example as a whole, or (T_n, ...) about its steps;
            None for none.

    Example:
        >>> import torch
        >>> from elman.train.chunks import ExampleBatches
        >>> batches = ExampleBatches([[3, 1], [2], []], torch.tensor([0, 1, 1]), 2, seed=None)
        >>> [chunk.targets.tolist() for chunk in batches.epoch(1)]
        [[1, 1], [0]]
    """

    rows = 0  # no state is carried

    def __init__(
        self,
        sequences: Sequence[Sequence[int] | NDArray[Any]],
        targets: Tensor | Sequence[NDArray[np.int64]],
        batch_size: int,
        *,
        seed: int | None,
        share: tuple[int, int] = (0, 1),
        padding: int | None = None,
        times: int = 1,
        change: Change | None = None,
        extra: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        self.extra = extra
        self.sequences, self.targets, self.padding = sequences, targets, padding
        self.seed, self.rank, self.change = seed, share[0], change
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        self._order = Order(lengths, batch_size, seed, share, times)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._order)

    def epoch(self, number: int, start: int = 0) -> Iterator[Chunk]:
        """Yield the batches of an epoch."""
        for batch, chosen in enumerate(self._order.epoch(number, start), start):
            arrays = [self.sequences[n] for n in chosen]
            targets = (
                None if isinstance(self.targets, Tensor) else [self.targets[n] for n in chosen]
            )
            if self.change is not None:
                draw = np.random.default_rng((self.seed or 0, number, batch, self.rank))
                changed = [self.change(array, draw) for array in arrays]
                arrays = [array for array, _ in changed]
                if targets is not None and self.padding is None:
                    targets = [t[places] for t, (_, places) in zip(targets, changed, strict=True)]
            if isinstance(self.targets, Tensor):
                wanted = self.targets[torch.from_numpy(chosen)]
            else:
                some = [torch.from_numpy(target) for target in targets or ()]
                wanted = nn.utils.rnn.pad_sequence(some, True, self.padding or 0)
            inputs = pad_arrays(arrays)
            if isinstance(self.extra, Tensor):
                inputs = inputs._replace(extra=self.extra[torch.from_numpy(chosen)])
            elif self.extra is not None:
                some = [self.extra[n] for n in chosen]
                inputs = inputs._replace(extra=nn.utils.rnn.pad_sequence(some, True))
            yield Chunk(inputs, wanted)


class _Stream:
    """The documents of a corpus as one stream, in a given order."""

    def __init__(self, corpus: Corpus, order: NDArray[np.int64] | None, independent: bool) -> None:
        self.corpus, self.order = corpus, order
        if order is None:
            self.starts = corpus.starts if independent else corpus.starts[:1]
        else:
            lengths = np.diff(np.append(corpus.starts, len(corpus)))[order]
            self.starts = np.append(0, np.cumsum(lengths)[:-1])

    def read(self, low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets at the positions low..high of the stream."""
        if self.order is None:
            return self.corpus.inputs(low, high), self.corpus.tokens[low:high].astype(np.int64)
        inputs, targets = [], []
        document = int(np.searchsorted(self.starts, low, side="right")) - 1
        while low < high:
            end = self.starts[document + 1] if document + 1 < len(self.starts) else high
            begin = self.corpus.starts[self.order[document]] + low - self.starts[document]
            stop = begin + min(end, high) - low
            inputs.append(self.corpus.inputs(begin, stop))
            targets.append(self.corpus.tokens[begin:stop].astype(np.int64))
            low, document = min(end, high), document + 1
        return np.concatenate(inputs), np.concatenate(targets)

    def chunk(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> Chunk:
        """Return the rows low[r]..high[r] as a chunk, cut where a document begins inside a row."""
        if self.order is None and bool((high - low == high[0] - low[0]).all()):
            simple = self._rectangle(low, int(high[0] - low[0]))
            if simple is not None:
                return simple
        pieces: list[tuple[int, int, int, bool]] = []  # row, from, to, fresh
        last = np.zeros(len(low), dtype=np.int64)
        for row, (begin, end) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            if begin < end:
                first, after = np.searchsorted(self.starts, [begin, end]).tolist()
                inside = self.starts[first:after].tolist()
                fresh = inside[:1] == [begin]
                borders = [begin, *inside[fresh:], end]
                for i, (a, b) in enumerate(itertools.pairwise(borders)):
                    pieces.append((row, a, b, fresh or i > 0))
            last[row] = max(0, len(pieces) - 1)
        parts = [self.read(a, b) for _, a, b, _ in pieces]
        rows = [torch.from_numpy(inputs) for inputs, _ in parts]
        targets = [torch.from_numpy(wanted) for _, wanted in parts]
        return Chunk(
            Padded.pad(rows),
            Padded.pad(targets).data,
            torch.tensor([row for row, *_ in pieces]),
            torch.tensor([fresh for *_, fresh in pieces]),
            torch.from_numpy(last),
        )

    def _rectangle(self, low: NDArray[np.int64], steps: int) -> Chunk | None:
        """Return the chunk in one piece if no document begins inside a row."""
        first = np.searchsorted(self.starts, low)
        after = np.searchsorted(self.starts, low + steps)
        fresh = self.starts[np.minimum(first, len(self.starts) - 1)] == low
        if bool((after - first > fresh).any()):
            return None
        place = low[:, None] + np.arange(steps)
        inputs = self.corpus.tokens[place - 1].astype(np.int64)
        inputs[place == 0] = self.corpus.end
        return Chunk(
            Padded.full(torch.from_numpy(inputs)),
            _tensor(self.corpus.tokens[place]),
            None,
            torch.from_numpy(fresh) if fresh.any() else None,
            torch.arange(len(low)),
        )


def _tensor(tokens: NDArray[np.unsignedinteger]) -> Tensor:
    return torch.from_numpy(tokens.astype(np.int64))
