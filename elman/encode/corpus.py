"""Token numbers of documents in one long array, stored on disk and mapped into memory.

    tokens   d1 d1 d1 <eos> d2 <eos> d3 d3 ...        uint16 or uint32
    starts   0              4        6                int64, where each document begins

A text of any size is tokenised once into the cache folder under the hash of its content and
vocabulary, and read from there, see `elman.encode.cache`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.encode.cache import cached
from elman.encode.text import Vocabulary
from elman.read.split import Pieces

ARRAYS = ("tokens", "starts")
GROUP = 1 << 22  # characters given to the tokenizer at a time


@dataclass(frozen=True)
class Corpus:
    """Documents as token numbers: `tokens` (N,) and `starts` (documents,), ascending from 0.

    Every document ends with the number `end`.  This number is also the first input, from which the
    first token of the first document is predicted.
    """

    tokens: NDArray[np.unsignedinteger]
    starts: NDArray[np.int64]
    end: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the names of arrays that are files, so that another process maps them again."""
        files = tuple(getattr(array, "filename", None) for array in (self.tokens, self.starts))
        if None in files:
            return Corpus, (self.tokens, self.starts, self.end)
        return _mapped, (*files, self.tokens.dtype, self.end)

    def __len__(self) -> int:
        """Return the number of tokens including `<eos>`, which is the number of predictions."""
        return len(self.tokens)

    def count(self, *numbers: int) -> int:
        """Count the tokens that are one of the numbers, without loading the whole array."""
        blocks = (self.tokens[at : at + GROUP] for at in range(0, len(self), GROUP))
        return sum(int(np.isin(block, numbers).sum()) for block in blocks)

    def inputs(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the inputs for the targets `tokens[start:stop]`: the tokens one step earlier."""
        if start > 0:
            return self.tokens[start - 1 : stop - 1].astype(np.int64)
        before = np.full(min(1, stop), self.end, dtype=np.int64)
        return np.concatenate([before, self.tokens[: max(0, stop - 1)].astype(np.int64)])


def tokenise(
    pieces: Callable[[], Pieces],
    vocabulary: Vocabulary,
    *,
    key: str,
) -> Corpus:
    """Tokenise the pieces of a text, or load the result from the cache if it is undamaged.

    Args:
        pieces: yields parts of the text, and whether a document ends with each.
        vocabulary: the tokens.
        key: identifies the content of the text; the vocabulary is added to it.

    Raises:
        FolderError: the cache folder cannot be written or the disk is full.
    """
    dtype = np.dtype(np.uint16 if vocabulary.size <= 1 << 16 else np.uint32)
    folder = cached(
        key + vocabulary.tokenizer.to_str(),
        ARRAYS,
        lambda empty: _write(pieces(), vocabulary, empty, dtype),
    )
    return _mapped(folder / "tokens", folder / "starts", dtype, vocabulary.end)


def _mapped(tokens: Path, starts: Path, dtype: np.dtype[np.unsignedinteger], end: int) -> Corpus:
    """Return a corpus whose arrays are files mapped into memory."""
    return Corpus(
        np.memmap(tokens, dtype=dtype, mode="r"), np.memmap(starts, dtype=np.int64, mode="r"), end
    )


def _write(
    pieces: Pieces,
    vocabulary: Vocabulary,
    folder: Path,
    dtype: np.dtype[np.unsignedinteger],
) -> None:
    written, fresh, previous = 0, True, -1
    with (folder / "tokens").open("wb") as tokens, (folder / "starts").open("wb") as starts:
        for group in _grouped(pieces):
            encoded = vocabulary.encode_batch([text for text, _ in group])
            beginnings: list[int] = []
            for numbers, (_, ends) in zip(encoded, group, strict=True):
                if fresh:
                    beginnings.append(written)
                    previous = -1
                previous = numbers[-1] if numbers else previous
                # In a word vocabulary the last line end already ends the document.
                line_end = vocabulary.tokens == "word" and previous == vocabulary.end
                if ends and not line_end:
                    numbers.append(vocabulary.end)
                tokens.write(np.asarray(numbers, dtype=dtype).tobytes())
                written += len(numbers)
                fresh = ends
            starts.write(np.asarray(beginnings, dtype=np.int64).tobytes())
        for file in (tokens, starts):
            file.flush()
            os.fsync(file.fileno())


def _grouped(pieces: Iterable[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    group: list[tuple[str, bool]] = []
    size = 0
    for text, ends in pieces:
        group.append((text, ends))
        size += len(text) + 1
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
