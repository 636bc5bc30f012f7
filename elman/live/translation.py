"""Live translation: the source arrives element by element, and is encoded as it arrives.

The encoder keeps its state between elements; only the decoder runs again for each prediction.

Shape legend: T steps of the source so far, M features of the encoder's outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from elman.decode.beam import Search
from elman.encode.bags import Bag
from elman.errors import ArgumentError, DataError
from elman.inputs.input import Input
from elman.inputs.live import LiveInput
from elman.inputs.source import LiveSource
from elman.live.session import Live
from elman.padded import Padded
from elman.seq2seq import Place, Seq2Seq
from elman.seq2seq.recurrent import Recurrent
from elman.state import MOST, State
from elman.targets.live import LiveTarget
from elman.targets.texts import Texts

LARGEST = 1e9  # of the outputs of an encoder; attention to larger ones is not a number


class LiveTranslation(Live[int]):
    """A live session of one source; made by `Translator.stream`.

    `push` returns the number of steps that it has read.  With attention, memory grows with the
    source, which for texts is at most `max_tokens` long; otherwise it is constant.

    Args:
        network: a network with a recurrent encoder that reads forward only.
        learned: the input after training.
        texts: the target after training.
        static: values that do not change within an item, by name.
        search: settings of the beam search.

    Raises:
        ArgumentError: the encoder reads in both directions, or is a transformer.

    Example:
        >>> import elman
        >>> pairs = [("one", "eins"), ("two", "zwei"), ("one two", "eins zwei")] * 20
        >>> model = elman.Translator(
        ...     hidden_size=32, tokens="word", min_count=1, epochs=10, batch_size=4, dropout=0.0,
        ...     learning_rate=0.02, bidirectional=False, device="cpu",
        ... )
        >>> live = model.fit(*zip(*pairs)).stream()
        >>> live.push("one")
        1
        >>> live.predict()
        'eins'
        >>> live.push("two")
        1
        >>> live.finish()
        'eins zwei'
    """

    def __init__(
        self,
        network: Seq2Seq,
        learned: Input,
        texts: Texts,
        static: Mapping[str, object],
        search: Search,
    ) -> None:
        coder = network.eval().coder
        if not isinstance(coder, Recurrent):
            raise ArgumentError("a transformer cannot read a source live: train with another cell")
        self._network, self._coder, self._learned = network, coder, learned
        self._texts, self._search = texts, search
        size = coder.encoder.output_size

        def begin() -> tuple[LiveInput, LiveTarget[int]]:
            return learned.live(static), LiveStates(size, whole=coder.attends)

        super().__init__(coder.embed_source, coder.encoder, begin, noun=learned.reader.noun)

    def restore(self, blob: bytes) -> None:
        """Continue from a state that `state_bytes` returned, see `Live.restore`."""
        before = self.__dict__
        super().restore(blob)
        assert isinstance(self._target, LiveStates)
        source = self._input
        if isinstance(source, LiveSource) and len(source.tokens) != self._target.steps:
            self.__dict__ = before
            raise DataError(
                "the state is damaged: the encoder has not read the tokens of the source"
            )

    @torch.inference_mode()
    def predict(self) -> str:
        """Return the translation of the source so far, as if it ended here."""
        item, state, target = self._input.state, self._network_state, self._target.copy()
        last = self._input.finish()
        if last is not None:
            self._advance(last, target)
        self._input.restore(item)
        self._network_state = state
        assert isinstance(target, LiveStates)
        if not len(target.h):
            return ""
        source, text = torch.zeros(1, 0, dtype=torch.int64), ""
        if isinstance(self._input, LiveSource):
            text, end = self._input.text, self._texts.vocabulary.end
            source = torch.tensor([[*self._input.tokens, end]])
        h = Padded.full(target.h[None])
        start = Place(source, self._coder.begin(h, target.h[-1:]))
        ((found, *_),) = self._texts.search_from(
            self._network, self._learned, start, [target.steps], self._search
        )
        return self._texts.text_of(self._learned, text, found)

    def finish(self) -> str:  # type: ignore[override]
        """Return the translation of the source, which ends here."""
        return self.predict()


class LiveStates(LiveTarget[int]):
    """The outputs of an encoder so far.

    Args:
        size: M.
        whole: whether all outputs are kept, for attention, instead of only the last one.

    Attributes:
        steps: T.
    """

    def __init__(self, size: int, *, whole: bool) -> None:
        self._parts, self.steps, self._whole = [torch.zeros(0, size)], 0, whole

    @property
    def h(self) -> Tensor:
        """The outputs (T, M), or the last one (1, M); none at the beginning."""
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0]

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        return self.h.clone(), torch.tensor(self.steps)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; DataError for impossible values."""
        h, steps = (leaf for leaf in state if isinstance(leaf, Tensor))
        count = int(steps) if self._whole else min(1, int(steps))
        if len(h) != count or not bool((h.abs() < LARGEST).all()) or int(steps) >= MOST:
            raise DataError("the state of the encoder is damaged: it has impossible values")
        self._parts, self.steps = [h], int(steps)

    def copy(self) -> LiveStates:
        """Return an independent copy."""
        other = LiveStates(0, whole=self._whole)
        other._parts, other.steps = [self.h], self.steps
        return other

    def push(self, states: Tensor, bag: Bag | None) -> int:
        """Keep the next states (1, n, M), and return n."""
        new = states[0] if self._whole else states[0, -1:]
        if not self._whole:
            self._parts.clear()
        self._parts.append(new.clone())  # joined when they are needed
        self.steps += states.shape[1]
        return states.shape[1]
