"""Live tagging of words, one at a time, in constant memory.

With a chain, the tag is the likeliest one given the words so far, by the forward algorithm.  It can
differ from the tag in the complete sentence, which also depends on later words.
"""

from __future__ import annotations

import torch

from elman.arguments import text_of_argument
from elman.encode.words import WordIndex
from elman.errors import ArgumentError
from elman.heads import TagHead
from elman.model import SequenceModel
from elman.padded import Padded
from elman.state import State


class LiveTags:
    """A live session of a tagger of words; made by `Tagger.stream`.

    Args:
        model: a model that is not bidirectional.
        index: vocabulary of the model.
        tags: names of the tags.
    """

    def __init__(self, model: SequenceModel, index: WordIndex, tags: list[str]) -> None:
        if not model.core.causal:
            raise ArgumentError(
                "a bidirectional model cannot tag words live: train with bidirectional=False"
            )
        assert isinstance(model.head, TagHead)
        self._model, self._head, self._index, self._tags = model.eval(), model.head, index, tags
        self.restart()

    def restart(self) -> None:
        """Begin a new sentence."""
        self._state: State | None = None
        self._before: torch.Tensor | None = None  # (1, K) log-probabilities of the last tag

    def push(self, word: str) -> tuple[str, float]:
        """Read a word; return its tag and the probability of the tag."""
        word = text_of_argument(word, "word")
        numbers = torch.from_numpy(self._index.encode([word])).long()[None]
        with torch.inference_mode():
            h, self._state = self._model.run(Padded.full(numbers), self._state)
            scores = self._head(h.data[:, 0])
            if self._head.chain:
                if self._before is None:
                    scores = scores + self._head.begin
                else:
                    moved = self._before.unsqueeze(2) + self._head.transitions
                    scores = scores + moved.logsumexp(1)
            self._before = scores.log_softmax(1)
            share, tag = self._before.exp().max(1)
        return self._tags[int(tag)], float(share)
