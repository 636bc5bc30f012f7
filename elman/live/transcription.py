"""Live transcription: words as they are spoken, in utterances that end at pauses.

    samples -> frames -> core -> search -> the text so far, and the utterances that have ended

Where an utterance ends, the search and the recurrence begin again, as in a new clip, so that memory
and the time for a chunk do not grow.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from elman.decode.endpoints import Endpoints
from elman.decode.transcript import Transcript
from elman.encode.bags import Bag
from elman.encode.encoder import Encoder
from elman.encode.pyramid import Pyramid, PyramidStream
from elman.errors import DataError
from elman.inputs.live import LiveInput, Step
from elman.live.session import Live
from elman.recur.blocks import AnyCore
from elman.state import MOST, State
from elman.targets.live import LiveTarget
from elman.targets.transcripts import Search, Transcripts

PIECE = 64  # steps after which an endpoint begins the recurrence again at the latest


class Heard(NamedTuple):
    """The result of a chunk of sound.

    Attributes:
        text: text of the current utterance so far, which later sound can change.
        final: utterances that have ended with this chunk.
    """

    text: str
    final: tuple[Transcript, ...] = ()


class LiveTranscript(LiveTarget[Heard]):
    """The utterances of a stream.

    Args:
        transcripts: the target after training.
        frames: returns what the search reads, given states (1, n, D).
        search: a search at its beginning.
        endpoints: the rules for the end of an utterance; None for one utterance without an end.
        key: text of the settings of the search; a stored state continues only with equal ones.
    """

    def __init__(
        self,
        transcripts: Transcripts,
        frames: Callable[[Tensor], Tensor],
        search: Search,
        endpoints: Endpoints | None,
        key: str,
    ) -> None:
        self._transcripts, self._frames, self._search = transcripts, frames, search
        self._endpoints, self.key = endpoints, repr((key, endpoints))
        self._begin = 0  # step at which the utterance begins
        self._final: list[Transcript] = []

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        return (torch.tensor([self._begin]), tuple(self._search.state))

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        numbers, search = state
        assert isinstance(numbers, Tensor)
        begin = int(numbers)
        if not 0 <= begin < MOST:
            raise DataError(f"the state of the transcript is damaged: it begins at {begin}")
        self._search.restore(tuple(leaf for leaf in search if isinstance(leaf, Tensor)))
        self._begin, self._final = begin, []

    def copy(self) -> LiveTranscript:
        """Return an independent copy."""
        other = copy.copy(self)
        other._search, other._final = copy.deepcopy(self._search), list(self._final)
        return other

    def push(self, states: Tensor, bag: Bag | None) -> Heard:
        """Read states (1, n, D) without looking for endpoints."""
        self._search.push(self._frames(states)[0])
        return self.heard()

    def read(self, states: Tensor) -> int | None:
        """Read states (1, n, D) up to an endpoint.

        Returns:
            The number of states that belong to the utterance that has ended; None if none has.
        """
        frames = self._frames(states)[0]
        if self._endpoints is None:
            self._search.push(frames)
            return None
        seconds = self._transcripts.step_seconds
        for n in range(len(frames)):
            self._search.push(frames[n : n + 1])
            times = self._search.best(final=False)[0].times
            since = (self._search.frames - 1 - times[-1]) * seconds if times else None
            if self._endpoints.reached(self._search.frames * seconds, since):
                self.end()
                return n + 1
        return None

    def end(self) -> None:
        """End the utterance; it is final if it has any word."""
        transcript = self._transcripts.transcript(
            self._search.best(final=True)[0], self._begin * self._transcripts.step_seconds
        )
        if transcript.text:
            self._final.append(transcript)
        self._begin += self._search.frames
        self._search.restart()

    def heard(self) -> Heard:
        """Return the text so far, and the utterances that have ended since the last call."""
        final, self._final = tuple(self._final), []
        return Heard(self._transcripts.text(self._search.best(final=False)[0]), final)


class LiveTranscription(Live[Heard]):
    """A live session of speech; made by `Transcriber.stream`.

    Args:
        encode: layer from numbers to vectors, in evaluation mode.
        core: a recurrence that reads forward only.
        begin: returns the input and the target of a new stream.
        noun: plural name of the items, for messages.
    """

    _target: LiveTranscript

    def __init__(
        self,
        encode: Encoder | None,
        core: AnyCore,
        begin: Callable[[], tuple[LiveInput, LiveTranscript]],
        *,
        noun: str,
    ) -> None:
        self._pyramid = encode if isinstance(encode, Pyramid) else None
        front = encode if self._pyramid is None else self._pyramid.encode
        super().__init__(front, core, begin, noun=noun)

    def _new_stream(self) -> PyramidStream:
        layers = () if self._pyramid is None else self._pyramid.layers
        return PyramidStream(layers, self._core)

    def _advance(self, step: Step, target: LiveTarget[Heard]) -> Heard | None:
        if not len(step.array):
            return None
        stream = self._stream
        assert isinstance(stream, PyramidStream)
        assert isinstance(target, LiveTranscript)
        for piece in self._steps(step).split(PIECE, dim=1):
            x = piece
            while x.shape[1]:
                before = stream.unread
                read = target.read(stream.run(x))
                if read is None:
                    break
                stream.restart()
                x = x[:, read * stream.reduction - before :]
        return target.heard()

    def finish(self) -> Heard:
        """Return the last utterance, which ends here."""
        with torch.inference_mode():
            complete = self._input.finish()
            heard = None if complete is None else self._advance(complete, self._target)
            self._target.end()
        before = () if heard is None else heard.final
        return Heard("", before + self._target.heard().final)
